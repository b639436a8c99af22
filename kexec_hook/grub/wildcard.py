"""How GRUB expands `*` and `?` in words that begin with / ( or * (grub-core/commands/wildcard.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.grub.disks import DiskError
from kexec_hook.grub.errors import CommandError

if TYPE_CHECKING:
    from kexec_hook.grub.machine import Machine


def expand(machine: Machine, pattern: str) -> list[str]:
    """What a word with its escapes still in it stands for, in the order of the directories; [] when nothing matches."""
    paths: list[str] | None = None
    wild = False
    start = 0
    while start < len(pattern):
        plain, end = _split(pattern, start)
        if plain == end:
            text = _unescape(pattern[start:end])
            if paths is None:
                paths = [text]
            else:
                paths = [path + text for path in paths if not wild or _exists(machine, path + text)]
                if not paths:
                    return []
        else:
            wild = True
            regex = _regex(pattern[plain:end])
            prefix = _unescape(pattern[start:plain])
            if paths is None and start == plain:
                paths = _devices(machine, regex, whole_disks=pattern[start] != "(")
            else:
                paths = [name for path in paths or [""] for name in _files(machine, path + prefix, regex)]
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


def _unescape(text: str) -> str:
    return re.sub(r"\\([\s\S])", r"\1", text)


def _regex(pattern: str) -> re.Pattern[str]:
    """Neighbouring stars are one, so that matching stays linear."""
    out = ""
    for piece in re.findall(r"\\[\s\S]|\*+|[\s\S]", pattern):
        out += "[\\s\\S]*?" if piece[0] == "*" else "[\\s\\S]" if piece == "?" else re.escape(piece[-1])
    return re.compile(out)


def _devices(machine: Machine, regex: re.Pattern[str], *, whole_disks: bool) -> list[str]:
    names = [f"({device.name})" for device in machine.disks.devices() if not (whole_disks and "," in device.name)]
    return [name for name in names if regex.fullmatch(name)]


def _files(machine: Machine, directory: str, regex: re.Pattern[str]) -> list[str]:
    try:
        names = machine.disks.list(machine.path(directory))
    except (CommandError, DiskError):
        return []
    return [directory + name.rstrip("/") for name in names if regex.fullmatch(name.rstrip("/"))]


def _exists(machine: Machine, name: str) -> bool:
    try:
        return machine.stat(machine.path(name)) is not None
    except CommandError:
        return False
