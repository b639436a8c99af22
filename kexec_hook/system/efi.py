"""What the firmware's variables say: its boot entries, which one started this machine, and what it was asked for.

A variable is a file in efivarfs: four bytes of attributes, then its value.  A load option
(UEFI 2.10, 3.1.3) is: attributes, 4 bytes; length of the device path, 2; title, UTF-16 up to a
zero; the device path: nodes of type, subtype and length (1, 1, 2 bytes) and data; optional data.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

VARIABLES = "/sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"  # shim's SHIM_LOCK_GUID
# shim 16, mok.c, check_mok_request(): with one of these, shim starts MokManager in place of GRUB.
MOK_REQUESTS = (
    "MokNew",
    "MokSB",
    "MokPW",
    "MokAuth",
    "MokDel",
    "MokDB",
    "MokXNew",
    "MokXDel",
    "MokXAuth",
    "MokListTrustedNew",
)
_ACTIVE, _CATEGORY = 0x1, 0x1F00  # UEFI 2.10, 3.1.3: LOAD_OPTION_ACTIVE, LOAD_OPTION_CATEGORY

Media = Literal["file", "disk", "network", "removable", "firmware"]

_HARD_DRIVE, _FILE_PATH = (4, 1), (4, 4)
# UEFI 2.10, 10.3.4: MAC, IPv4, IPv6, vlan, URI, Wi-Fi, DNS
_NETWORK = {(3, 11), (3, 12), (3, 13), (3, 20), (3, 24), (3, 28), (3, 31)}
_REMOVABLE = {(3, 5), (3, 15), (3, 16), (4, 2)}  # USB, its class and its WWID; CD-ROM
_FIRMWARE = {(4, 6), (4, 7)}  # a file in a volume of the firmware's own
_BBS = (5, 1)  # a BIOS's device, UEFI 2.10, 10.3.6
_BBS_MEDIA: dict[int, Media] = {
    1: "removable",
    3: "removable",
    5: "removable",
    6: "network",
    0x80: "network",
}


class BootOption(NamedTuple):
    """A boot entry of the firmware; what it does not name is empty."""

    number: int  # Boot0001 has 1
    title: str  # debian
    partuuid: str  # of the EFI system partition, as udev writes it
    path: str  # on that partition: /EFI/debian/shimx64.efi
    media: Media = "file"
    active: bool = True
    app: bool = False  # an application of the firmware, which is not part of the boot order
    second: str = ""  # what shim is told to start in place of GRUB

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2].lower()

    def __str__(self) -> str:
        return f"Boot{self.number:04X} «{self.title}»"


def number(sysroot: Sysroot, name: str) -> int | None:
    """The number in BootCurrent or BootNext; None where there is none."""
    value = variable(sysroot, f"{name}-{GLOBAL}")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def started_by(sysroot: Sysroot) -> BootOption | None:
    """The boot entry that started the running system; it is GRUB's, or that of what starts GRUB."""
    return option(sysroot, number(sysroot, "BootCurrent"))


def promised(sysroot: Sysroot) -> BootOption | None:
    """What the firmware starts at the next boot, and only then; None where nothing was asked of it."""
    return option(sysroot, number(sysroot, "BootNext"))


def boot_order(sysroot: Sysroot) -> list[int]:
    """The numbers of the entries that the firmware tries, in that order; none where it says none."""
    value = variable(sysroot, f"BootOrder-{GLOBAL}")
    return [int.from_bytes(value[at : at + 2], "little") for at in range(0, len(value) - 1, 2)]


def mok_requests(sysroot: Sysroot) -> list[str]:
    """What mokutil has asked of MokManager, by the names of shim's variables."""
    names = set(sysroot.listdir(VARIABLES))
    return [name for name in MOK_REQUESTS if f"{name}-{SHIM}" in names]


def option(sysroot: Sysroot, number: int | None) -> BootOption | None:
    """A boot entry by its number; None where there is none, or it is torn."""
    if number is None:
        return None
    value = variable(sysroot, f"Boot{number:04X}-{GLOBAL}")
    if len(value) < 8:
        return None
    attributes, length = (int.from_bytes(part, "little") for part in (value[:4], value[4:6]))
    title, used = _text(value[6:])
    path, optional = value[6 + used :][:length], value[6 + used + length :]
    partuuid, file, kinds = "", "", []
    for kind, data in _nodes(path):
        kinds.append((kind, data))
        if kind == _HARD_DRIVE and len(data) >= 38:
            partuuid = _partuuid(data)
        elif kind == _FILE_PATH:
            file += "/" + _text(data)[0].replace("\\", "/")
    return BootOption(
        number,
        title,
        partuuid,
        join(parts_of(file)) if file else "",
        _media(kinds, file),
        bool(attributes & _ACTIVE),
        bool(attributes & _CATEGORY),
        _second_stage(optional),
    )


def _media(nodes: list[tuple[tuple[int, int], bytes]], file: str) -> Media:
    """What kind of thing a device path leads to.  A disk without a file is searched for \\EFI\\BOOT by the firmware."""
    kinds = {kind for kind, _ in nodes}
    if kinds & _NETWORK:
        return "network"
    if kinds & _FIRMWARE:
        return "firmware"
    if file:
        return "file"
    legacy = next((data for kind, data in nodes if kind == _BBS), b"")
    if kinds & _REMOVABLE:
        return "removable"
    return _BBS_MEDIA.get(int.from_bytes(legacy[:2], "little"), "disk")


def _second_stage(optional: bytes) -> str:
    """What shim would start: the first word of the optional data, where that is text (shim, load-options.c)."""
    words = _text(optional)[0].split(" ") if len(optional) % 2 == 0 else [""]
    return words[0] if re.fullmatch(r"[\x21-\x7e]+\.efi", words[0], re.IGNORECASE) else ""


def _nodes(path: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The nodes of a device path; a torn one ends it."""
    while len(path) >= 4:
        length = int.from_bytes(path[2:4], "little")
        if length < 4:
            return
        yield (path[0], path[1]), path[4:length]
        path = path[length:]


def _text(data: bytes) -> tuple[str, int]:
    """UTF-16 up to a zero, and how many bytes that takes."""
    end = next((at for at in range(0, len(data) - 1, 2) if data[at : at + 2] == b"\0\0"), len(data))
    return data[:end].decode("utf-16-le", "replace"), end + 2


def _partuuid(data: bytes) -> str:
    """number 4, start 8, size 8, signature 16, kind of map 1, kind of signature 1: a GUID is 2, msdos 1."""
    sign = data[20:36]
    if data[37] == 2:
        first, second, third = (
            int.from_bytes(part, "little") for part in (sign[:4], sign[4:6], sign[6:8])
        )
        return f"{first:08x}-{second:04x}-{third:04x}-{sign[8:10].hex()}-{sign[10:].hex()}"
    if data[37] == 1:
        return f"{int.from_bytes(sign[:4], 'little'):08x}-{int.from_bytes(data[:4], 'little'):02x}"
    return ""


def variable(sysroot: Sysroot, name: str) -> bytes:
    """The value of NAME-GUID, without its attributes; empty where there is none."""
    try:
        return sysroot.read(f"{VARIABLES}/{name}", 1 << 16)[4:]
    except SysrootError:
        return b""
