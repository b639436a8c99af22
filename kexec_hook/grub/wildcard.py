"""How GRUB expands `*` and `?` in words that begin with / ( or * (grub-core/commands/wildcard.c)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from kexec_hook.grub.disks import DiskError
from kexec_hook.grub.errors import CommandError

if TYPE_CHECKING:
    from kexec_hook.grub.machine import Machine

Matcher = Callable[[str], bool]


def expand(machine: Machine, pattern: str) -> list[str]:
    """What a word with its escapes still in it stands for, in the order of the directories; [] when nothing matches."""
    paths: list[str] | None = None
    wild = False
    start = 0
    while start < len(pattern):
        plain, end = _split(pattern, start)
        if plain == end:
            text = machine.unescape(pattern[start:end])
            if paths is None:
                paths = [text]
            else:
                paths = [path + text for path in paths if not wild or _exists(machine, path + text)]
                if not paths:
                    return []
        else:
            wild = True
            matches = _matcher(pattern[plain:end])
            if paths is None and start == plain:
                paths = _devices(machine, matches, whole_disks=pattern[start] != "(")
            else:
                directory = _directory(pattern[start:plain])
                paths = [name for path in paths or [""] for name in _files(machine, path + directory, matches)]
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
    out = "".join(".*?" if piece[0] == "*" else "." if piece == "?" else re.escape(piece[-1]) for piece in pieces)
    regex = re.compile(out, re.DOTALL)
    return lambda name: regex.fullmatch(name) is not None


def _posix(pieces: list[str]) -> Matcher:
    from kexec_hook.grub import ere  # few patterns need it

    out = "".join(
        ".*" if piece[0] == "*" else "." if piece == "?" else f"\\{piece}" if piece in ".()@+|{}[]" else piece
        for piece in pieces
    )
    try:
        regex = ere.compile(f"^{out}$")
    except ere.EreError:
        return lambda name: False

    def matches(name: str) -> bool:
        try:
            return regex.search(name) is not None
        except ere.EreError:
            return False

    return matches


def _devices(machine: Machine, matches: Matcher, *, whole_disks: bool) -> list[str]:
    names = [f"({device.name})" for device in machine.disks.devices() if not (whole_disks and "," in device.name)]
    return [name for name in names if matches(name)]


def _files(machine: Machine, directory: str, matches: Matcher) -> list[str]:
    try:
        names = machine.disks.list(machine.path(directory))
    except (CommandError, DiskError):
        return []
    return [directory + name.rstrip("/") for name in names if matches(name.rstrip("/"))]


def _exists(machine: Machine, name: str) -> bool:
    """wildcard.c:check_file: its directory lists the name; with a final slash it is a directory itself."""
    directory, slash, base = name.rpartition("/")
    if not slash:
        return True
    try:
        path = machine.path(directory + "/")
        names = machine.disks.list(path)
    except (CommandError, DiskError):
        return False
    return not base or base in (".", "..") or any(known.rstrip("/") == base for known in names)
