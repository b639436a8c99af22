"""What GRUB makes of compressed files: it unpacks whatever it opens (grub-core/io/gzio.c, xzio.c, lzopio.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Collection

from kexec_hook.grub.disks import Unseen

_MAGIC = {
    "gzio": (b"\x1f\x8b\x08",),
    "xzio": (b"\xfd7zXZ\0",),
    "lzopio": (b"\x89LZO\0\r\n\x1a\n",),
}
_WHAT = {"gzio": "gzip", "xzio": "xz", "lzopio": "lzop"}


def unpack(
    data: bytes, name: str, loaded: Collection[str], unsure: Collection[str], limit: int
) -> bytes:
    """A file's contents as commands get them; `unsure` are modules that may be built in.  Unseen

    A filter works only where its module is loaded; gzip goes first (include/grub/file.h).
    """
    for module, magic in _MAGIC.items():
        if not data.startswith(magic):
            continue
        if module not in loaded and module in unsure:
            raise _unknown(
                f"{name} is packed by {_WHAT[module]}, and whether GRUB unpacks it is not known"
            )
        if module in loaded:
            data = _unpacked(module, data, name, limit)
    return data


def _unpacked(module: str, data: bytes, name: str, limit: int) -> bytes:
    what = _WHAT[module]
    if module == "lzopio":
        raise _unknown(f"{name} is packed by {what}, which is not unpacked here")
    unpacked, whole = (_gunzip if module == "gzio" else _unxz)(data, limit)
    if len(unpacked) > limit:
        raise _unknown(f"{name}, packed by {what}, holds more than {limit >> 20} MiB")
    if not whole:
        raise _unknown(f"{name}, packed by {what}, is damaged or in several parts")
    return unpacked


def _unknown(reason: str) -> Unseen:
    return Unseen(reason, "unpack it", code="cannot-be-known")


def _gunzip(data: bytes, limit: int) -> tuple[bytes, bool]:
    """What it holds, and whether GRUB reads the same: one member, whose length is at the end."""
    import zlib

    reader = zlib.decompressobj(wbits=31)
    try:
        unpacked = reader.decompress(data, limit + 1)
    except zlib.error:
        return b"", False
    length = int.from_bytes(data[-4:], "little")
    return unpacked, reader.eof and not reader.unused_data and length == len(unpacked)


def _unxz(data: bytes, limit: int) -> tuple[bytes, bool]:
    import lzma

    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=128 << 20)
    try:
        unpacked = reader.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError):
        return b"", False
    return unpacked, reader.eof and not reader.unused_data
