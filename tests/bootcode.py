"""Disks that begin with GRUB's boot code, as grub-bios-setup leaves them, and images as grub-mkimage makes them."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence

SECTOR = 512
_MESSAGES = b"GRUB \0Geom\0Hard Disk\0Read\0 Error"
_DECOMPRESSOR = 2848  # bytes that lzma_decompress.img has in 2.06


def core(
    prefix: str, script: str = "", modules: Sequence[str] = (), objects: Sequence[bytes] = ()
) -> bytes:
    """core.img: diskboot.img, a decompressor, and packed the kernel and the objects that follow it."""
    objects = [_object(0, b"\x7fELF some module"), _object(3, prefix.encode() + b"\0"), *objects]
    objects += [_object(0, _module(name, wide=False)) for name in modules]
    if script:
        objects.insert(1, _object(2, script.encode() + b"\0"))
    body = b"".join(objects)
    kernel = b"mimg in the code".ljust(4096, b"k")
    image = kernel + struct.pack("<4sII", b"mimg", 12, 12 + len(body)) + body
    form = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}
    packed = lzma.compress(image, lzma.FORMAT_RAW, filters=[form])
    head = struct.pack("<8xIII", len(packed), len(image), 0).ljust(_DECOMPRESSOR, b"\x90")
    return _block_list(2, -(-(len(head) + len(packed)) // SECTOR)) + head + packed


def disk(core_image: bytes, signature: int = 0, start: int = 1, mended: bool = True) -> bytes:
    """The beginning of a disk: boot.img, and core.img from a sector on."""
    boot = bytearray(SECTOR)
    boot[0x5C : 0x5C + 8] = struct.pack("<Q", start)
    boot[0x180 : 0x180 + len(_MESSAGES)] = _MESSAGES
    boot[440:444] = struct.pack("<I", signature)
    boot[510:512] = b"\x55\xaa"
    sectors = -(-len(core_image) // SECTOR)
    extra = sectors if mended else 0
    total = (sectors + extra) * SECTOR
    laid = bytearray(core_image.ljust(total, b"\0"))
    if mended:
        laid[len(core_image) :] = b"\x99" * (total - len(core_image))
        laid[SECTOR + 16 : SECTOR + 20] = struct.pack("<I", total - len(core_image))
    laid[:SECTOR] = _block_list(start + 1, sectors + extra - 1)
    return bytes(boot).ljust(start * SECTOR, b"\0") + bytes(laid) + bytes(64 * SECTOR)


def program(text: bytes = b"", section: bytes = b".text") -> bytes:
    """A program for UEFI with one section."""
    optional = struct.pack("<H", 0x20B).ljust(240, b"\0")
    header = struct.pack("<8sIIII16x", section, len(text), 0x1000, len(text), 0x400)
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + coff + optional + header
    return head.ljust(0x400, b"\0") + text


def efi(
    prefix: str, script: str = "", modules: Sequence[str] = (), objects: Sequence[bytes] = ()
) -> bytes:
    """grubx64.efi: a program whose section `mods` holds the objects."""
    objects = [_object(0, b"\x7fELF"), _object(3, prefix.encode() + b"\0"), *objects]
    objects += [_object(0, _module(name, wide=True)) for name in modules]
    if script:
        objects.append(_object(2, script.encode() + b"\0"))
    body = b"".join(objects)
    return program(struct.pack("<4s4xQQ", b"mimg", 24, 24 + len(body)) + body, b"mods")


def _module(name: str, *, wide: bool) -> bytes:
    """A module as ELF, with the section that says its name, behind that of the sections' names."""
    names, text = b"\0.shstrtab\0.modname\0", name.encode() + b"\0"
    size, head, section = (
        (64, "<16s24xQ10xHHH", "<II16xQQ24x") if wide else (52, "<16s16xI10xHHH", "<II8xII16x")
    )
    elf = struct.pack(head, b"\x7fELF" + (b"\2" if wide else b"\1"), size, 64 if wide else 40, 3, 1)
    start = size + 3 * struct.calcsize(section)
    for at, place, length in (
        (0, 0, 0),
        (1, start, len(names)),
        (11, start + len(names), len(text)),
    ):
        elf += struct.pack(section, at, 0, place, length)
    return elf + names + text


def unlocked() -> bytes:
    """grub-install --disable-shim-lock"""
    return _object(6, b"")


def key() -> bytes:
    """A public key of OpenPGP: grub-install --pubkey."""
    return _object(4, b"\x99\x01\x0d\x04 and more")


def _object(kind: int, data: bytes) -> bytes:
    padded = data.ljust(-(-len(data) // 8) * 8, b"\0")
    return struct.pack("<II", kind, 8 + len(padded)) + padded


def _block_list(start: int, count: int) -> bytes:
    """diskboot.img"""
    return b"loading\0Geom\0Read\0 Error\0".ljust(SECTOR - 12, b"\0") + struct.pack(
        "<QHH", start, count, 0x820
    )
