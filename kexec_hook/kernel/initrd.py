"""What the bytes of an initrd say: of which parts it is made, and whether they are whole.  Nothing is unpacked.

Linux' Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c; RFC 8878 (zstd),
lib/decompress_unlz4.c (lz4's legacy frames, the only ones that the kernel unpacks), xz-file-format.txt.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator

from kexec_hook.kernel.images import Damaged, Pieces, little_endian
from kexec_hook.tuples import NamedTuple


class Part(NamedTuple):
    """A piece of an initrd that the kernel unpacks by itself."""

    kind: str  # cpio, zstd, lz4, xz, gzip, bzip2, lzma, lzo, or a file system: ext2, squashfs, romfs, cramfs
    start: int
    end: int | None  # None: only unpacking it tells, so what follows is not known


def read_initrd(file: Pieces) -> tuple[Part, ...]:
    """What an initrd consists of, as init/initramfs.c would unpack it.  Damaged."""
    if not file.size:
        raise Damaged("is empty")
    found = tuple(parts(file))
    if not found:
        raise Damaged("holds nothing but zeros")
    return found


def parts(file: Pieces, at: int = 0) -> Iterator[Part]:
    """The parts from a byte on; none comes after one whose end is not known.  Damaged."""
    end = _without_bootconfig(file)
    while (at := _after_zeros(file, at, end)) < end:
        kind, walk = _identify(file, at)
        if not kind:
            raise Damaged(f"holds nothing that Linux could unpack at byte {at} of {end}")
        after = walk(file, at, end) if walk else None
        yield Part(kind, at, after)
        if after is None:
            return
        at = after


Walk = Callable[[Pieces, int, int], int]


def _identify(file: Pieces, at: int) -> tuple[str, Walk | None]:
    """The kind of what begins here, and how to find its end; empty where the kernel would not unpack it."""
    head = file.at(at, 16)
    if head[:6] in (b"070701", b"070702") and at % 4 == 0:  # the kernel looks for it nowhere else
        return "cpio", _cpio_end
    for magic, kind, walk in _FORMATS:
        if head.startswith(magic):
            return kind, walk
    if (
        at == 0
    ):  # what initrds were before there was an initramfs; init/do_mounts_rd.c still takes them
        kind = next(
            (kind for offset, magic, kind in _FILE_SYSTEMS if file.at(offset, len(magic)) == magic),
            "",
        )
        return kind, None
    return "", None


def _without_bootconfig(file: Pieces) -> int:
    """Where the initrd ends: the kernel takes a boot config off it (Documentation/admin-guide/bootconfig.rst)."""
    tail = file.at(max(0, file.size - 20), 20)
    if (
        len(tail) == 20
        and tail[8:] == b"#BOOTCONFIG\n"
        and little_endian(tail, 0, 4) + 20 <= file.size
    ):
        return file.size - 20 - little_endian(tail, 0, 4)
    return file.size


def _after_zeros(file: Pieces, at: int, end: int) -> int:
    while at < end:
        piece = file.at(at, min(4096, end - at))
        found = piece.lstrip(b"\0")
        at += len(piece) - len(found)
        if found:
            return at
        if not piece:
            break
    return end


def _cpio_end(file: Pieces, at: int, end: int) -> int:
    while True:
        header = file.at(at, 110)
        if at + 110 > end:
            raise Damaged(
                f"is cut off: it ends at byte {end} inside a cpio archive, before its trailer"
            )
        lengths = cpio_lengths(header)
        if lengths is None:
            raise Damaged(f"holds a cpio archive that is damaged at byte {at}")
        size, name_size = lengths
        name = file.at(at + 110, min(name_size, 11))
        at = _up4(_up4(at + 110 + name_size) + size)
        if name == b"TRAILER!!!\0" and name_size == 11:
            return min(at, end)


def cpio_lengths(header: bytes) -> tuple[int, int] | None:
    """How long a member is and how long its name, of the 110 bytes before them; None where they are no header."""
    if header[:6] not in (b"070701", b"070702") or not header[6:110].isalnum():
        return None
    try:
        return int(header[54:62], 16), int(header[94:102], 16)
    except ValueError:
        return None


def _zstd_end(file: Pieces, at: int, end: int) -> int:
    descriptor = file.at(at + 4, 1)[0] if at + 5 <= end else 0
    single, checksum = descriptor & 0x20, descriptor & 0x04
    content = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at += 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content
    last = 0
    while not last:
        block = _inside(file, at, 3, end, "zstd")
        number = little_endian(block, 0, 3)
        last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if kind == 3:
            raise Damaged(f"holds a zstd frame that is damaged at byte {at}")
        at += 3 + (1 if kind == 1 else size)  # kind 1: one byte that is repeated
    at += 4 if checksum else 0
    _inside(file, at, 0, end, "zstd")
    return at


def _lz4_end(file: Pieces, at: int, end: int) -> int:
    """Blocks up to the end or a zero: whatever follows is taken for the size of a block."""
    magic = file.at(at, 4)
    at += 4
    while at < end:
        size = file.at(at, min(4, end - at))
        if not size.strip(b"\0"):
            return at
        _inside(file, at, 4, end, "lz4")
        at += 4
        if size != magic:
            at += little_endian(size, 0, 4)
            _inside(file, at, 0, end, "lz4")
    return at


def _xz_end(file: Pieces, at: int, end: int) -> int:
    """header { block } index footer; everything is a multiple of 4 bytes long."""
    check = (0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64)[
        _inside(file, at, 12, end, "xz")[7] & 15
    ]
    at += 12
    while size := _inside(file, at, 1, end, "xz")[0]:
        header = _inside(file, at, (size + 1) * 4, end, "xz")
        start, at = at, at + len(header)
        if header[1] & 0x40:  # the packed size, where several threads packed it
            packed, _ = _xz_number(header, 2)
            at += packed
        else:
            at = _lzma2_end(file, at, end)
        at += -(at - start) % 4 + check
    start, at = at, at + 1
    records, used = _xz_number(_inside(file, at, 9, end, "xz"), 0)
    at += used
    for _ in range(records * 2):
        _, used = _xz_number(_inside(file, at, 9, end, "xz"), 0)
        at += used
    at += -(at - start) % 4 + 4
    footer = _inside(file, at, 12, end, "xz")
    if footer[10:] != b"YZ":
        raise Damaged(f"holds an xz stream that is damaged at byte {at}")
    return at + 12


def _lzma2_end(file: Pieces, at: int, end: int) -> int:
    while control := _inside(file, at, 1, end, "xz")[0]:
        head = _inside(file, at, 6, end, "xz")
        if control >= 0x80:
            at += (6 if control >= 0xC0 else 5) + int.from_bytes(head[3:5], "big") + 1
        elif control <= 2:
            at += 3 + int.from_bytes(head[1:3], "big") + 1
        else:
            raise Damaged(f"holds an xz stream that is damaged at byte {at}")
    return at + 1


def _xz_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and how many bytes it takes."""
    value = 0
    for used, byte in enumerate(data[at : at + 9], 1):
        value |= (byte & 0x7F) << 7 * (used - 1)
        if byte < 0x80:
            return value, used
    raise Damaged("holds an xz stream with a number that does not end")


def _inside(file: Pieces, at: int, size: int, end: int, kind: str) -> bytes:
    """What must still be inside the initrd."""
    if at + size > end:
        raise Damaged(f"is cut off: it ends at byte {end} in the middle of {kind} data")
    return file.at(at, size)


# lib/decompress.c, compressed_formats
_FORMATS: tuple[tuple[bytes, str, Walk | None], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd_end),
    (b"\x02\x21\x4c\x18", "lz4", _lz4_end),
    (b"\xfd7zXZ\0", "xz", _xz_end),
    (b"\x1f\x8b", "gzip", None),
    (b"\x1f\x9e", "gzip", None),
    (b"BZh", "bzip2", None),
    (b"\x5d\0\0", "lzma", None),
    (b"\x89LZO\0", "lzo", None),
)
_FILE_SYSTEMS = (
    (1080, b"\x53\xef", "ext2"),
    (0, b"hsqs", "squashfs"),
    (0, b"-rom1fs-", "romfs"),
    (0, b"\x45\x3d\xcd\x28", "cramfs"),
)


def _up4(at: int) -> int:
    return at + -at % 4
