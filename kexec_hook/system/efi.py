"""What the firmware's variables say: which loader started this machine, and which one it promised for the next boot.

A variable is a file in efivarfs: four bytes of attributes, then its value.  A load option
(UEFI 2.10, 3.1.3) is: attributes, 4 bytes; length of the device path, 2; title, UTF-16 up to a
zero; the device path: nodes of type, subtype and length (1, 1, 2 bytes) and data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kexec_hook.system.sysroot import Sysroot, SysrootError, join, parts_of

_VARIABLES = "/sys/firmware/efi/efivars"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_HARD_DRIVE, _FILE_PATH = (4, 1), (4, 4)


class Loader(NamedTuple):
    """A boot option of the firmware; what it does not name is empty."""

    title: str  # debian
    partuuid: str  # of the EFI system partition, as udev writes it
    path: str  # on that partition: /EFI/debian/shimx64.efi

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


def started_by(sysroot: Sysroot) -> Loader | None:
    """The loader that started the running system; it is GRUB, or what starts GRUB."""
    return _option(sysroot, "BootCurrent")


def promised(sysroot: Sysroot) -> Loader | None:
    """What the firmware starts at the next boot, and only then; None where nothing was asked of it."""
    return _option(sysroot, "BootNext")


def _option(sysroot: Sysroot, name: str) -> Loader | None:
    number = _variable(sysroot, name)
    if len(number) != 2:
        return None
    option = _variable(sysroot, f"Boot{int.from_bytes(number, 'little'):04X}")
    if len(option) < 8:
        return None
    title, used = _text(option[6:])
    partuuid, names = "", ""
    for kind, data in _nodes(option[6 + used :][: int.from_bytes(option[4:6], "little")]):
        if kind == _HARD_DRIVE and len(data) >= 38:
            partuuid = _partuuid(data)
        elif kind == _FILE_PATH:
            names += "/" + _text(data)[0].replace("\\", "/")
    return Loader(title, partuuid, join(parts_of(names)) if names else "")


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


def _variable(sysroot: Sysroot, name: str) -> bytes:
    try:
        return sysroot.read(f"{_VARIABLES}/{name}-{_GLOBAL}", 1 << 16)[4:]
    except SysrootError:
        return b""
