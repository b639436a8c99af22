"""Does an initrd unpack to its end?  The check that takes as long as the kernel needs for it, for `status --verify`.

gzip, bzip2, xz and lzma are unpacked here, and the cpio archives in them are followed to their trailers;
zstd, lz4 and lzo are left to their programs, which compare checksums.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kexec_hook.kernel.images import Damaged, Pieces
from kexec_hook.kernel.initrd import Part, cpio_lengths, parts, read_initrd
from kexec_hook.system.process import ProcessError, ProgramNotFound, Programs

_CHUNK = 1 << 20  # bytes, packed and unpacked
_TIMEOUT = 300.0  # seconds
_PROGRAMS = {"zstd": "zstd", "lz4": "lz4", "lzo": "lzop"}


def unpack_initrd(file: Pieces, programs: Programs) -> tuple[str, ...]:
    """What could not be checked, in words that go on after the file's name.  Damaged where something is wrong."""
    unchecked: list[str] = []
    read_initrd(file)
    at: int | None = 0
    while at is not None:
        found, at = tuple(parts(file, at)), None
        for part in found:
            if part.kind in _UNPACKERS:
                end = _unpacked(file, part)
                at = end if part.end is None else None
            elif part.kind in _PROGRAMS:
                unchecked += _by_program(file, part, programs)
            elif part.kind != "cpio":
                unchecked.append(f"holds a file system, {part.kind}, which was not looked into")
    return tuple(unchecked)


class _Unpacker(Protocol):
    """As bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        import zlib

        self._z = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._z.eof

    @property
    def needs_input(self) -> bool:
        return not self._z.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._z.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._z.decompress(self._z.unconsumed_tail + data, max_length)


def _bzip2() -> _Unpacker:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> _Unpacker:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


def _lzma() -> _Unpacker:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_ALONE)


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "lzma": _lzma,
}


def _unpacked(file: Pieces, part: Part) -> int:
    """Unpack a part, and follow the archives in it; where it ends."""
    import lzma
    import zlib

    unpacker, contents = _UNPACKERS[part.kind](), _Contents(part.kind)
    at = part.start
    try:
        while not unpacker.eof:
            piece = file.at(at, _CHUNK) if unpacker.needs_input else b""
            at += len(piece)
            if not piece and unpacker.needs_input:
                raise Damaged(f"is cut off: it ends at byte {at} in the middle of {part.kind} data")
            contents.take(unpacker.decompress(piece, _CHUNK))
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:  # OSError: bz2
        raise Damaged(f"does not unpack: {part.kind} data at byte {part.start}: {error}") from None
    contents.finish()
    return at - len(unpacker.unused_data)


class _Contents:
    """The archives in a packed part, as flush_buffer() of init/initramfs.c takes them."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._rest = b""
        self._skip = 0  # bytes of a member that are still to come
        self._at = 0
        self._inside = False
        self._archives = 0

    def take(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while True:
            step = min(self._skip, len(data) - at)
            at, self._skip = at + step, self._skip - step
            while not self._inside and at < len(data) and not data[at]:
                at += 1
            if (
                self._skip or len(data) - at < 110 + 11
            ):  # no header is shorter than that of the trailer
                break
            self._member(data[at : at + 110 + 11], self._at + at)
        self._rest = data[at:]
        self._at += at

    def finish(self) -> None:
        if self._inside or self._skip or self._rest:
            raise Damaged(f"unpacks ({self._kind}) to a cpio archive without a trailer")
        if not self._archives:
            raise Damaged(f"unpacks ({self._kind}) to nothing")

    def _member(self, head: bytes, at: int) -> None:
        lengths = cpio_lengths(head)
        if lengths is None:
            what = "a damaged cpio archive" if self._archives or self._inside else "no cpio archive"
            raise Damaged(f"unpacks ({self._kind}) to {what}, at byte {at}")
        size, name_size = lengths
        self._inside = name_size != 11 or head[110:] != b"TRAILER!!!\0"
        self._archives += not self._inside
        names = 110 + name_size
        self._skip = names + -names % 4 + size + -size % 4


def _by_program(file: Pieces, part: Part, programs: Programs) -> list[str]:
    program = _PROGRAMS[part.kind]
    end = file.size if part.end is None else part.end
    data = file.at(part.start, end - part.start)
    try:
        programs.run((program, "-t", "-q"), stdin=data, timeout=_TIMEOUT)
    except ProgramNotFound:
        return [f"is packed with {part.kind}, and there is no {program} to check it"]
    except ProcessError as error:
        raise Damaged(f"does not unpack: {error}") from None
    return []
