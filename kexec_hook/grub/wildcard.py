"""How GRUB expands `*` and `?` in words that begin with / ( or * (grub-core/commands/wildcard.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable

from kexec_hook.grub.disks import DiskError
from kexec_hook.grub.errors import CommandError
from kexec_hook.grub.files import Files
from kexec_hook.grub.flavours import Flavour

Matcher = Callable[[str], bool]
_ESCAPED = r"\\([\s\S])"
# rhboot leaves \xHH alone (execute.c:wildcard_escape, wildcard_unescape), so that systemd's escaped names survive.
_ESCAPED_BUT_HEX = r"(\\x[0-9A-Fa-f]{2})|\\([\s\S])"


def matches(machine: Files, pattern: str) -> list[str]:
    """What a word with its escapes still in it stands for, in the order of the directories; [] when nothing matches."""
    paths: list[str] | None = None
    wild = False
    start = 0
    while start < len(pattern):
        plain, end = _split(pattern, start)
        if plain == end:
            text = unescape(pattern[start:end], machine.flavour)
            if paths is None:
                paths = [text]
            else:
                paths = [path + text for path in paths if not wild or _exists(machine, path + text)]
                if not paths:
                    return []
        else:
            wild = True
            fits = _matcher(pattern[plain:end])
            if paths is None and start == plain:
                paths = _devices(machine, fits, whole_disks=pattern[start] != "(")
            else:
                directory = _directory(pattern[start:plain])
                paths = [
                    name
                    for path in paths or [""]
                    for name in _files(machine, path + directory, fits)
                ]
            if not paths:
                return []
        start = end
    return (paths or []) if wild else []


def _split(pattern: str, start: int) -> tuple[int, int]:
    """Where the first part with a wildcard begins, and the end of its name; equal when there is none."""
    plain = end = start
    wild = False
    while end < len(pattern):
        letter = pattern[end]
        if letter == "\\" and end + 1 < len(pattern):
            end += 1
        elif letter in "*?":
            wild = True
        elif letter == "/":
            if wild:
                break
            plain = end + 1
        end += 1
    return (plain, end) if wild else (end, end)


def _directory(text: str) -> str:
    """wildcard.c:make_dir takes a backslash away only before what regular expressions use."""
    return re.sub(r"\\([*.\\|+{}\[\]?])", r"\1", text)


def _matcher(pattern: str) -> Matcher:
    """GRUB makes a regular expression of the name: a backslash stays, and with some letters it has a meaning there."""
    pieces = re.findall(r"\\[\s\S]|\*+|[\s\S]", pattern)
    if any(re.fullmatch(r"[\^$]|\\[wWsSbB<>`'1-9]", piece) for piece in pieces):
        return _posix(pieces)
    # Neighbouring stars are one and not greedy, so that matching stays fast.
    regex = re.compile("".join(map(_as_regex, pieces)), re.DOTALL)
    return lambda name: regex.fullmatch(name) is not None


def _as_regex(piece: str) -> str:
    if piece[0] == "*":
        return ".*?"
    return "." if piece == "?" else re.escape(piece[-1])


def _posix(pieces: list[str]) -> Matcher:
    from kexec_hook.grub.regex import automaton as ere  # few patterns need it

    try:
        regex = ere.compile(f"^{''.join(map(_as_posix, pieces))}$")
    except ere.EreError:
        return lambda name: False

    def matches(name: str) -> bool:
        try:
            return regex.search(name) is not None
        except ere.EreError:
            return False

    return matches


def _as_posix(piece: str) -> str:
    if piece[0] == "*":
        return ".*"
    if piece == "?":
        return "."
    return f"\\{piece}" if piece in ".()@+|{}[]" else piece


def _devices(machine: Files, matches: Matcher, *, whole_disks: bool) -> list[str]:
    names = [
        f"({device.name})"
        for device in machine.devices()
        if not (whole_disks and "," in device.name)
    ]
    return [name for name in names if matches(name)]


def _files(machine: Files, directory: str, matches: Matcher) -> list[str]:
    try:
        names = machine.list(machine.path(directory))
    except (CommandError, DiskError):
        return []
    return [directory + name.rstrip("/") for name in names if matches(name.rstrip("/"))]


def _exists(machine: Files, name: str) -> bool:
    """wildcard.c:check_file: its directory lists the name; with a final slash it is a directory itself."""
    directory, slash, base = name.rpartition("/")
    if not slash:
        return True
    try:
        path = machine.path(directory + "/")
        names = machine.list(path)
    except (CommandError, DiskError):
        return False
    return not base or base in (".", "..") or any(known.rstrip("/") == base for known in names)


def unescape(text: str, flavour: Flavour) -> str:
    """Take away what protected quoted text from being expanded."""
    if "\\" not in text:
        return text
    if flavour.keep_hex_escapes:
        return re.sub(_ESCAPED_BUT_HEX, lambda m: m[1] or m[2], text)
    return re.sub(_ESCAPED, r"\1", text)
