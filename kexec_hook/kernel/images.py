"""What the bytes of a kernel say: what it is, and whether it is whole.  Of a packed one only the start is unpacked.

Linux' Documentation/arch/x86/boot.rst, arch/arm64/booting.rst, arch/riscv/boot-image-header.rst,
drivers/firmware/efi/libstub/zboot-header.S, and the headers of PE and ELF.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Protocol

from kexec_hook.tuples import NamedTuple

# What update-initramfs, dracut and dpkg call a file that is not in its place yet, or not any more.
UNFINISHED_SUFFIXES = (".dpkg-bak", ".new", ".tmp", ".dpkg-new", ".dpkg-tmp")


class Pieces(Protocol):
    """A file to look at; sysroot.Window is one."""

    @property
    def size(self) -> int: ...

    def at(self, offset: int, size: int) -> bytes: ...


class Damaged(Exception):
    """What is wrong with a file, as a clause that follows its name: `is cut off: ...`."""


class NotLinux(Damaged):
    """The file may be whole, but it is no kernel of Linux."""


class Bytes(NamedTuple):
    """A file, or its start, that is not on a disk."""

    data: bytes
    size: int

    def at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


class Kernel(NamedTuple):
    kind: str  # bzImage, Image, Image.gz, zboot, ELF
    arch: str  # as `uname -m` has it: x86_64, i686, aarch64; x86: of either width; empty: not known
    signed: bool = False  # has what kexec hands over a signature, whosoever it is?
    longest: int = 0  # bytes of command line that it takes; 0: not known


# Kernels

_PE_MACHINES = {
    0x8664: "x86_64",
    0x14C: "i686",
    0xAA64: "aarch64",
    0x5064: "riscv64",
    0x6264: "loongarch64",
}
_ELF_MACHINES = {
    62: "x86_64",
    3: "i686",
    183: "aarch64",
    243: "riscv64",
    21: "ppc64",
    22: "s390x",
    40: "arm",
}
_MAGICS = {
    b"ARM\x64": "aarch64",
    b"RSC\x05": "riscv64",
}  # at 56, in what the kernel's tree calls `Image`
_PACKED = 1 << 16  # bytes that are unpacked, and made: the headers are in them
_SIGNATURES = 1 << 20  # the most that they take behind a kernel
_UNPACKED = 1 << 28  # the most that a whole one takes
_UNLIMITED = 1 << 62  # where only the start is there


def inspect_kernel(file: Pieces) -> Kernel:
    """What a kernel is.  NotLinux; Damaged where its end is missing."""
    head = file.at(0, 4096)
    if not head:
        raise Damaged("is empty")
    if head[0x1FE:0x200] == b"\x55\xaa" and head[0x202:0x206] == b"HdrS":
        return _bzimage(file, head)
    if head[:2] == b"MZ" and head[4:8] == b"zimg":
        return _zboot(file, head)
    if head[56:60] in _MAGICS:
        pe = _pe(file) if head[:2] == b"MZ" else _NO_PE
        _whole(file, pe.end)
        return Kernel("Image", _MAGICS[head[56:60]], pe.signed)
    if head[:4] == b"\x7fELF":
        return _elf(file, head)
    if head[:2] == b"\x1f\x8b":
        return _image_gz(file)
    if head[:2] == b"MZ":
        raise NotLinux("is an EFI program, not a Linux kernel")
    raise NotLinux("is not a Linux kernel")


def _bzimage(file: Pieces, head: bytes) -> Kernel:
    protocol = little_endian(head, 0x206, 2)
    pointer = little_endian(head, 0x20E, 2)
    name = (
        file.at(pointer + 0x200, 256).split(b"\0")[0].decode("ascii", "replace").strip()
        if pointer
        else ""
    )
    if name and not re.match(r"\d+\.\d+", name):  # memtest86+ has all of the header, but for this
        raise NotLinux(f"is «{name}», not Linux")
    if (
        protocol < 0x208
    ):  # iPXE, memdisk; or Linux before 2.6.26, which no kexec of today was tried with
        raise NotLinux(
            f"has the boot protocol {protocol >> 8}.{protocol & 255:02}, which is older than Linux 2.6.26"
        )
    # syssize counts paragraphs of 16 bytes after the sectors of the real-mode setup
    _whole(file, ((head[0x1F1] or 4) + 1) * 512 + little_endian(head, 0x1F4, 4) * 16)
    pe = _pe(file) if head[:2] == b"MZ" else _NO_PE
    arch = "x86"
    if protocol >= 0x20C:
        arch = "x86_64" if head[0x236] & 1 else "i686"  # xloadflags: XLF_KERNEL_64
    return Kernel("bzImage", arch, pe.signed, little_endian(head, 0x238, 4))


def _elf(file: Pieces, head: bytes) -> Kernel:
    _whole(file, 64)
    big, wide = head[5] == 2, head[4] == 2
    arch = _ELF_MACHINES.get(_number(head[18:20], big), "")
    if arch in ("x86_64", "i686"):
        raise NotLinux("is a bare vmlinux; GRUB loads only a bzImage here")
    table, each, count = (32, 54, 56) if wide else (28, 42, 44)
    word = 8 if wide else 4
    at, size, number = (
        _number(head[a : a + n], big) for a, n in ((table, word), (each, 2), (count, 2))
    )
    offset, length = (8, 32) if wide else (4, 16)  # of a segment's bytes, in its header
    end = at + size * number
    for one in range(number):
        header = file.at(at + one * size, size)
        ends = _number(header[offset : offset + word], big) + _number(
            header[length : length + word], big
        )
        end = max(end, ends)
    _whole(file, end)
    return Kernel("ELF", arch)


def _zboot(file: Pieces, head: bytes) -> Kernel:
    """kexec(8) unpacks it, kexec-pe-zboot.c: its own signature, which the firmware looks at, does not count then."""
    pe = _pe(file)
    start, size = little_endian(head, 8, 4), little_endian(head, 12, 4)
    _whole(file, max(start + size, pe.end))
    inner = _unpacked_start(file.at(start, min(size, _PACKED)))
    signed = inner[:2] == b"MZ" and _pe(Bytes(inner, _UNLIMITED)).signed
    return Kernel("zboot", pe.arch, signed)


def _image_gz(file: Pieces) -> Kernel:
    """An arm64 or riscv64 Image that was packed as a whole; GRUB unpacks whatever it reads, and kexec(8) this."""
    inner = _unpacked_start(file.at(0, _PACKED))
    if inner[56:60] not in _MAGICS:
        raise NotLinux("is a gzip file without a Linux kernel that kexec could load")
    # gzip's last word, by which GRUB goes as well, grub-core/io/gzio.c; of a file that is cut off, it is any word.
    size = little_endian(file.at(file.size - 4, 4), 0, 4)
    in_memory = little_endian(inner, 16, 8)  # text, data and what is zero at first
    pe = _pe(Bytes(inner, size)) if inner[:2] == b"MZ" else _NO_PE
    if size < pe.end or (in_memory and size > in_memory + _SIGNATURES):
        raise Damaged("is cut off: its last four bytes are not the size of what is packed in it")
    return Kernel("Image.gz", _MAGICS[inner[56:60]], pe.signed)


def _unpacked_start(packed: bytes) -> bytes:
    """Of what gzip has packed; empty where it is packed otherwise."""
    import zlib

    try:
        return zlib.decompressobj(31).decompress(packed, _PACKED)
    except zlib.error:
        return b""


def unpacked(file: Pieces) -> Pieces:
    """The kernel that is in a gzip file, as GRUB reads it; any other file as it is.  Damaged"""
    if file.at(0, 2) != b"\x1f\x8b":
        return file
    import zlib

    gzip = zlib.decompressobj(31)
    try:
        inner = gzip.decompress(file.at(0, file.size), _UNPACKED)
    except zlib.error as error:
        raise Damaged(f"cannot be unpacked: {error}") from error
    if not gzip.eof:
        raise Damaged("cannot be unpacked to its end")
    return Bytes(inner, len(inner))


class _Pe(NamedTuple):
    arch: str
    end: int  # of what its headers speak of
    signed: bool = False


_NO_PE = _Pe("", 0)


def _pe(file: Pieces) -> _Pe:
    """What matters of a PE header, which the kernel's EFI stub makes; Damaged where its signature is cut off."""
    start = little_endian(file.at(0x3C, 4), 0, 4)
    head = file.at(start, 24 + 240)
    sections, optional = little_endian(head, 6, 2), little_endian(head, 20, 2)
    end = start + 24 + optional + sections * 40
    if head[:4] != b"PE\0\0":
        return _Pe("", start + 24)
    for one in range(sections):
        section = file.at(start + 24 + optional + one * 40, 40)
        end = max(end, little_endian(section, 20, 4) + little_endian(section, 16, 4))
    # the data directories: four bytes before them their number, the fifth of them is that of certificates
    directories = 24 + (112 if little_endian(head, 24, 2) == 0x20B else 96)
    place = directories + 4 * 8
    has = optional + 24 >= place + 8 and little_endian(head, directories - 4, 4) > 4
    at, size = (little_endian(head, place, 4), little_endian(head, place + 4, 4)) if has else (0, 0)
    if size and at + size > file.size:
        raise Damaged(
            f"is cut off: its signature ends at byte {at + size}, the file at {file.size}"
        )
    return _Pe(_PE_MACHINES.get(little_endian(head, 4, 2), ""), end, signed=size > 0)


def _whole(file: Pieces, needed: int) -> None:
    if file.size < needed:
        raise Damaged(f"is cut off: it has {file.size} of {needed} bytes")


def little_endian(data: bytes, at: int, size: int) -> int:
    """A number in the bytes there."""
    return int.from_bytes(data[at : at + size], "little")


def _number(data: bytes, big: bool) -> int:
    return int.from_bytes(data, "big" if big else "little")
