"""Unified kernel images: the sections of an EFI program, and what systemd-stub makes of them.

The format is UAPI.5, Unified Kernel Image, in a PE file (PE/COFF specification, section table).  What the stub does
with the sections, and what it adds: systemd's src/boot/stub.c and systemd-stub(7).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.kernel.images import Damaged, Pieces
from kexec_hook.tuples import NamedTuple

LINUX, INITRD, CMDLINE, OSREL, PROFILE = ".linux", ".initrd", ".cmdline", ".osrel", ".profile"

_SECTIONS = 96  # the most that the format allows for an image
_CMDLINE_LIMIT = 1 << 16  # bytes; x86's COMMAND_LINE_SIZE is 2048
_MAGIC = re.compile(rb"systemd-stub ([0-9]{3})")

# What the stub hands over beside kernel, initrd and command line: section -> what it is.
_ADDED = {
    ".ucode": "microcode",
    ".pcrsig": "signed TPM policies",
    ".pcrpkey": "the key of signed TPM policies",
    ".dtb": "a device tree",
    ".dtbauto": "device trees",
    ".efifw": "firmware",
}
# Since 257, .osrel and .profile are files below /.extra of the initrd.
_PASSES_OSREL = 257
# 259 and later may append a console and put a secret of this boot into the initrd.
_NEWEST_KNOWN = 258


class Section(NamedTuple):
    """A piece of the file, in bytes."""

    name: str
    start: int
    size: int


class Uki(NamedTuple):
    """A kernel, its initrd and its command line in one EFI program."""

    sections: tuple[Section, ...]  # of the profile that is started: the first
    signed: bool  # has it a signature, whosoever it is?
    stub: int | None  # systemd's version; None: another stub
    profiles: int

    def section(self, name: str) -> Section | None:
        """The last of this name: a profile's stands behind that of the image, and replaces it."""
        return next((one for one in reversed(self.sections) if one.name == name and one.size), None)

    @property
    def initrds(self) -> tuple[tuple[Section, str], ...]:
        """What the kernel gets as initrd, in its order, each with the name it gets in an archive (empty: it is one)."""
        found = [(self.section(INITRD), "")]
        if self.stub is not None and self.stub >= _PASSES_OSREL:
            found += [
                (self.section(OSREL), ".extra/os-release"),
                (self.section(PROFILE), ".extra/profile"),
            ]
        return tuple((section, name) for section, name in found if section is not None)

    @property
    def adds(self) -> str:
        """What the stub would add that a kexec does not bring about; empty where that is nothing."""
        for name, what in _ADDED.items():
            if self.section(name):
                return f"{what} ({name})"
        if self.profiles > 1:
            return f"one of {self.profiles} profiles ({PROFILE})"
        if self.stub is not None and self.stub > _NEWEST_KNOWN:
            return f"what systemd {self.stub} may append to command line and initrd"
        return ""


def read_uki(file: Pieces) -> Uki | None:
    """What a unified kernel image consists of; None where it is another EFI program, or none.  Damaged."""
    start = _le(file.at(0x3C, 4))
    head = file.at(start, 24 + 240)
    if file.at(0, 2) != b"MZ" or head[:4] != b"PE\0\0":
        return None
    count, optional = _le(head[6:8]), _le(head[20:22])
    table = file.at(start + 24 + optional, 40 * min(count, _SECTIONS))
    every = [_section(table[at : at + 40]) for at in range(0, len(table) - 39, 40)]
    marks = [place for place, section in enumerate(every) if section.name == PROFILE]
    mine = every[: marks[1]] if len(marks) > 1 else every
    if not any(section.name == LINUX and section.size for section in mine):
        return None
    for section in mine:
        if section.start + section.size > file.size:
            raise Damaged(
                f"is cut off: {section.name} ends at byte {section.start + section.size}, the file at {file.size}"
            )
    magic = next((one for one in every if one.name == ".sdmagic"), None)
    version = _MAGIC.search(file.at(magic.start, min(magic.size, 256))) if magic else None
    return Uki(tuple(mine), _signed(head), int(version[1]) if version else None, len(marks))


def cmdline_of(uki: Uki, file: Pieces) -> str:
    """The command line as the stub passes it: control characters are blanks, and none stand around it."""
    section = uki.section(CMDLINE)
    if section is None:
        return ""
    if section.size > _CMDLINE_LIMIT:
        raise Damaged(f"has a command line of {section.size} bytes")
    text = file.at(section.start, section.size).split(b"\0")[0]
    return re.sub(rb"[\x01-\x20]", b" ", text).strip(b" ").decode("utf-8", "surrogateescape")


def uname_of(uki: Uki, file: Pieces) -> str | None:
    """The kernel's release as .uname has it."""
    section = uki.section(".uname")
    if section is None:
        return None
    text = file.at(section.start, min(section.size, 256)).split(b"\0")[0]
    return text.decode("ascii", "replace").strip() or None


def _section(header: bytes) -> Section:
    """name 8, size in memory 4, address 4, size in the file 4, place in the file 4; what memory has more is zeros."""
    name = header[:8].rstrip(b"\0").decode("ascii", "replace")
    used, stored = _le(header[8:12]), _le(header[16:20])
    return Section(name, _le(header[20:24]), min(used, stored))


def _signed(head: bytes) -> bool:
    """Is there a certificate table, the fifth of the data directories?  It follows 96 or 112 bytes of other fields."""
    directories = 24 + (112 if _le(head[24:26]) == 0x20B else 96)
    place = directories + 4 * 8
    return _le(head[directories - 4 : directories]) > 4 and _le(head[place + 4 : place + 8]) > 0


def _le(data: bytes) -> int:
    return int.from_bytes(data, "little")
