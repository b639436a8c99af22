"""Several initrds as GRUB hands them to the kernel: one after the other, padded to 4 bytes, `newc:` files as cpio.

Follows grub-core/loader/linux.c:grub_initrd_load.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexec_hook.tuples import NamedTuple


class Piece(NamedTuple):
    """A part of the joined initrd: bytes as they are, or (path) a whole file."""

    data: bytes = b""
    path: str = ""


def join(initrds: Sequence[tuple[str, str, int]]) -> Iterator[Piece]:
    """What GRUB puts into memory for (path, newc name or empty, size in bytes) in their order."""
    end = 0  # bytes so far
    inside = False  # an archive of ours that its trailer has to end
    made: set[str] = set()
    for path, newc, size in initrds:
        data = bytes(-end % 4)
        if newc:
            inside = True
            data += _directories(newc, made) + _header(newc, 0o100777, size)
        elif inside:
            data += _trailer()
            inside = False
            made.clear()
        if data:
            yield Piece(data)
        yield Piece(path=path)
        end = size  # everything before it ends on a multiple of 4
    if inside:
        yield Piece(bytes(-end % 4) + _trailer())


def _header(name: str, mode: int, size: int) -> bytes:
    """One header of a `newc` cpio archive, as GRUB fills it: a single link, everything else 0."""
    encoded = name.encode("utf-8", "surrogateescape") + b"\0"
    fields = (0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % value for value in fields) + encoded
    return header + bytes(-len(header) % 4)


def _directories(name: str, made: set[str]) -> bytes:
    """Headers of the directories that the member is in, and no header has made yet."""
    found = b""
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        directory = "/".join(parts[:depth])
        if directory and directory not in made:
            made.add(directory)
            found += _header(directory, 0o040777, 0)
    return found


def _trailer() -> bytes:
    return _header("TRAILER!!!", 0, 0)
