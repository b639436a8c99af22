"""A file below a root: what tells it from another, its bytes piece by piece, and what can be wrong with it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
from typing import Literal

from kexec_hook.errors import KexecHookError
from kexec_hook.tuples import NamedTuple

_PIECE = 4096  # bytes that a Window reads at once

Kind = Literal["file", "dir", "link", "other"]


class SysrootError(KexecHookError):
    """A file below the root that could not be used: which one, why, and what to do."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}; {hint}" if hint else f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.hint = hint


class MissingError(SysrootError):
    """There is no such file."""


class LinkLoopError(SysrootError):
    """The links on the way lead in a circle."""


class NotPermittedError(SysrootError):
    """There may be such a file, but we are not allowed to know."""


class TooLargeError(SysrootError):
    """The file is larger than the reader was ready for."""


class Identity(NamedTuple):
    """What tells whether a file is still the one that was looked at."""

    kind: Kind
    dev: int
    inode: int
    size: int  # bytes; 0 for a directory
    mtime_ns: int  # 0 for a directory that was not listed
    ctime_ns: int = (
        0  # of a file alone: whoever copies the time of its contents cannot set this one
    )

    @property
    def is_copy(self) -> bool:
        """Is it of the bytes of a file that no mount shows, or of a part of one?"""
        return self.kind == "file" and self.dev == 0


class Window:
    """An open file that is looked at piece by piece, however large it is."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._then = os.fstat(fd)
        self.size = os.lseek(fd, 0, os.SEEK_END)  # bytes; stat(2) knows none of a block device
        self._start, self._held = 0, b""

    def at(self, offset: int, size: int) -> bytes:
        """The bytes there, fewer only where the file ends.  SysrootError where the disk cannot be read."""
        inside = offset - self._start
        if inside < 0 or inside + size > len(self._held):
            self._start, self._held, inside = offset, self._read(offset, max(size, _PIECE)), 0
        return self._held[inside : inside + size]

    @property
    def changed(self) -> bool:
        """Has somebody written to the file, or put another in its place, since it was opened?"""
        now = os.fstat(self._fd)
        gone = now.st_nlink == 0 and self._then.st_nlink != 0  # a copy in memory has no name
        return gone or identity(now, listed=False) != identity(self._then, listed=False)

    def _read(self, offset: int, size: int) -> bytes:
        pieces = []
        try:
            while size > 0 and (piece := os.pread(self._fd, size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        except OSError as error:
            raise SysrootError(
                self.path, in_words(error), "is the disk failing? see `dmesg`"
            ) from error
        return b"".join(pieces)


def identity(info: os.stat_result, *, listed: bool) -> Identity:
    """A directory that was only passed may get and lose names; one that was listed may not."""
    kind = kind_of(info.st_mode)
    size = 0 if kind == "dir" else info.st_size
    mtime = info.st_mtime_ns if kind != "dir" or listed else 0
    ctime = info.st_ctime_ns if kind == "file" else 0
    return Identity(kind, info.st_dev, info.st_ino, size, mtime, ctime)


def missing(path: str, error: OSError) -> SysrootError:
    """What is wrong where there is no such file."""
    if error.errno == errno.ELOOP:
        return LinkLoopError(path, "its symbolic links lead in a circle")
    return MissingError(path, in_words(error))


def contents_identity(fd: int) -> Identity:
    """Of a copy: what tells it from another is in it."""
    import hashlib  # few runs need it

    digest = hashlib.blake2b(digest_size=7)
    offset = 0
    while piece := os.pread(fd, 1 << 20, offset):
        digest.update(piece)
        offset += len(piece)
    return Identity("file", 0, int.from_bytes(digest.digest(), "big"), offset, 0)


def kind_of(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def in_words(error: OSError) -> str:
    """As a clause of a sentence."""
    return (error.strerror or str(error)).lower()
