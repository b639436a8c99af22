"""The files below one root directory: the one module that opens files, and symbolic links never leave the root."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from kexec_hook.system.file import Identity as Identity
from kexec_hook.system.file import Kind as Kind
from kexec_hook.system.file import LinkLoopError as LinkLoopError
from kexec_hook.system.file import MissingError as MissingError
from kexec_hook.system.file import NotPermittedError as NotPermittedError
from kexec_hook.system.file import SysrootError as SysrootError
from kexec_hook.system.file import TooLargeError as TooLargeError
from kexec_hook.system.file import Window as Window
from kexec_hook.system.file import contents_identity, in_words, missing
from kexec_hook.system.file import identity as identity
from kexec_hook.system.file import kind_of as kind_of
from kexec_hook.system.reach import Place, path_in, reach
from kexec_hook.tuples import NamedTuple

FILE_LIMIT = (
    64 << 20
)  # bytes: configurations are read whole, kernels and initrds are only looked at
_BLOCK = b"# GRUB Environment Block\n"  # the one file that GRUB writes to


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MADE_UP = ("/proc/", "/sys/", "/dev/", "/run/")  # by the kernel, or at each boot
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NOT_PERMITTED = (errno.EACCES, errno.EPERM)


class DirEntry(NamedTuple):
    """A name in a directory; a link is a link, whatever it leads to."""

    name: str
    kind: Kind


class Sysroot:
    """One root directory, which is the whole world: `/etc` and `/../etc` are both `<root>/etc`.

    `reads` holds everything that was looked at, by its path below the root without
    links: files, listed directories, the links on the way, and None for what was
    missing.  What the kernel makes up as it is read (/proc, /sys) is left out.
    `denied` are the paths that our rights did not reach.
    """

    def __init__(self, root: str | os.PathLike[str] = "/", *, is_host: bool | None = None) -> None:
        self.root = os.path.realpath(root)
        # Is the root that of the running machine?  Tests say yes of a directory that stands for one.
        self.is_host = self.root == "/" if is_host is None else is_host
        if not os.path.isdir(self.root):
            raise SysrootError(
                os.fspath(root), "not a directory", "the root must be an existing directory"
            )
        self.reads: dict[str, Identity | None] = {}
        self._denied: dict[str, None] = {}
        self._unnoted: Sysroot | None = None
        self._copies: dict[str, Callable[[], int] | int] = {}

    def __repr__(self) -> str:
        return f"Sysroot({self.root!r})"

    @property
    def unnoted(self) -> Sysroot:
        """The same root, for what is looked at and is no part of `reads`; it has `denied` of its own."""
        if self._unnoted is None:
            self._unnoted = Sysroot(self.root, is_host=self.is_host)
        return self._unnoted

    @property
    def denied(self) -> tuple[str, ...]:
        """What could not be looked at for want of rights, in the order in which it was asked for."""
        return tuple(self._denied)

    def lend(self, name: str, copy: Callable[[], int]) -> None:
        """A file that is no file of this root, /dev/sda2:/vmlinuz: `copy` makes a descriptor of its bytes.

        It is called at the first look, and may raise SysrootError.
        """
        if name not in self._copies:
            self._copies[name] = copy

    def lent(self, paths: Iterable[str]) -> tuple[int, ...]:
        """The descriptors of those of these files that were lent: a program that reads them needs them."""
        return tuple(self._copy(path) for path in paths if path in self._copies)

    def _copy(self, name: str) -> int:
        copy = self._copies[name]
        if not isinstance(copy, int):
            copy = self._copies[name] = copy()
        return copy

    def host(self, path: str) -> str:
        """Where a file is found from outside the root; links are followed, what is missing keeps its name."""
        if path in self._copies:
            return f"/proc/self/fd/{self._copy(path)}"
        return os.path.join(self.root, self.resolve(path).lstrip("/"))

    def is_full(self, path: str, least: int) -> bool:
        """Are there fewer bytes left than that, where the file system tells?"""
        try:
            found = os.statvfs(self.host(path))
        except OSError:
            return False
        return found.f_blocks > 0 and found.f_bavail * found.f_frsize < least

    def resolve(self, path: str) -> str:
        """The path below the root with all its links followed; what is missing or forbidden stays as it is."""
        try:
            with self._reach(path) as place:
                return place.path
        except OSError as error:
            return path_in(error, path)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """What stat(2), or without `follow` lstat(2), tells of a file; None when it is missing."""
        try:
            with self._reach(path, follow=follow) as place:
                self._note(place.path, place.info)
                return place.info
        except OSError as error:
            self._absent(path, error)
        return None

    def note(self, path: str) -> None:
        """What it says counts: a file that is read by others, as a plugin's module is."""
        self.stat(path)

    def exists(self, path: str) -> bool:
        """Is something there?  Where we are not permitted to know, `denied` names it and the answer is no."""
        return self._kind(path) is not None

    def is_loop(self, path: str) -> bool:
        """Do the links on the way lead in a circle?"""
        try:
            with self._reach(path):
                return False
        except OSError as error:
            return error.errno == errno.ELOOP

    def is_broken_link(self, path: str) -> bool:
        """Is there a link that leads nowhere, or in a circle?"""
        if self.is_loop(path):
            return True
        return self.stat(path, follow=False) is not None and not self.exists(path)

    def is_file(self, path: str) -> bool:
        """Is there a regular file, or a link to one?"""
        return self._kind(path) == "file"

    def is_dir(self, path: str) -> bool:
        """Is there a directory, or a link to one?"""
        return self._kind(path) == "dir"

    def readlink(self, path: str) -> str | None:
        """What a symbolic link says; None where there is none."""
        try:
            with self._reach(path, follow=False) as place:
                self._note(place.path, place.info)
                return (
                    os.readlink("", dir_fd=place.fd) if stat.S_ISLNK(place.info.st_mode) else None
                )
        except OSError as error:
            self._absent(path, error)
        return None

    def read(self, path: str, limit: int = FILE_LIMIT, *, follow: bool = True) -> bytes:
        """A regular file, whole.  MissingError, NotPermittedError, TooLargeError, or SysrootError for what is left."""
        try:
            with self._reach(path, follow=follow) as place:
                self._note(place.path, place.info)
                data = self._contents(place, limit)
                return self._contents(place, limit, anew=True) if data.startswith(_BLOCK) else data
        except OSError as error:
            self._absent(path, error)
            raise missing(path, error) from error

    def head(self, path: str, size: int) -> bytes:
        """The first bytes of a regular file.  Fails as `read` does."""
        try:
            with self._reach(path) as place:
                self._note(place.path, place.info)
                return self._contents(place, size, whole=False)
        except OSError as error:
            self._absent(path, error)
            raise missing(path, error) from error

    @contextmanager
    def descriptor(self, path: str, *, block: bool = False) -> Iterator[int]:
        """A regular file, open for reading; its size and time are noted as they are now.  Fails as `read` does.

        With `block` it may be a block device too.
        """
        with ExitStack() as stack:
            try:
                place = stack.enter_context(self._reach(path))
                fd = self._open(place, block=block)
                stack.callback(os.close, fd)
            except OSError as error:
                self._absent(path, error)
                raise missing(path, error) from error
            yield fd

    @contextmanager
    def window(self, path: str, *, block: bool = False) -> Iterator[Window]:
        """A regular file, or with `block` a block device, to look at piece by piece.  Fails as `read` does."""
        with self.descriptor(path, block=block) as fd:
            yield Window(path, fd)

    def text(self, path: str, limit: int = FILE_LIMIT) -> str:
        """A regular file as UTF-8; bytes that are not survive as surrogates."""
        return self.read(path, limit).decode("utf-8", "surrogateescape")

    def entries(self, path: str, *, follow: bool = True) -> list[DirEntry]:
        """What is in a directory, sorted by the bytes of the names so that two runs agree.  MissingError and kin."""
        try:
            with self._reach(path, follow=follow) as place:
                return self._listing(place)
        except OSError as error:
            self._absent(path, error)
            raise missing(path, error) from error

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted; none where there is no such directory, or (see `denied`) no right to it."""
        try:
            return [entry.name for entry in self.entries(path)]
        except SysrootError:
            return []

    def changed(self, reads: Mapping[str, Identity | None] | None = None) -> list[str]:
        """Paths of `reads` (of a former run, else of this one) that are not what they were."""
        then = self.reads if reads is None else reads
        now = Sysroot(self.root, is_host=self.is_host)
        return [
            path
            for path, was in then.items()
            if not (was and was.is_copy) and now._identity(path, was) != was
        ]

    def _identity(self, path: str, was: Identity | None) -> Identity | None:
        try:
            info = self.stat(path, follow=False)
        except SysrootError:
            return None if was else Identity("other", 0, 0, 0, 0)  # different from both
        return identity(info, listed=was is not None and was.mtime_ns != 0) if info else None

    def _kind(self, path: str) -> Kind | None:
        try:
            info = self.stat(path)
        except SysrootError:
            return None
        return kind_of(info.st_mode) if info else None

    def _note(self, path: str, info: os.stat_result | None, *, listed: bool = False) -> None:
        if path.startswith(("/proc/", "/sys/")):
            return
        if path in self._copies:
            self.reads[path] = self.reads.get(path) or contents_identity(self._copy(path))
            return
        known = self.reads.get(path)
        if known is None or listed or known.kind != "dir":
            self.reads[path] = identity(info, listed=listed) if info else None

    def _absent(self, path: str, error: OSError) -> None:
        """Note what is missing; raise for every other kind of failure."""
        where = path_in(error, path)
        if error.errno in _NOT_THERE:
            self._note(where, None)
        elif error.errno in _NOT_PERMITTED:
            self._denied[where] = None
            raise NotPermittedError(where, "not permitted", "run it with sudo") from error
        else:
            raise SysrootError(where, in_words(error)) from error

    def _reach(self, path: str, *, follow: bool = True) -> AbstractContextManager[Place]:
        if path in self._copies:
            fd = self._copy(path)
            return nullcontext(Place(path, f"/proc/self/fd/{fd}", fd, fd, os.fstat(fd)))
        return reach(self.root, path, self._note, follow=follow)

    def _contents(
        self, place: Place, limit: int, *, whole: bool = True, anew: bool = False
    ) -> bytes:
        """`anew`: as it is on the disk, where GRUB has written to it below a mounted file system."""
        fd = self._open(place)
        try:
            if anew:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            chunks: list[bytes] = []
            size = 0
            while chunk := os.read(fd, 1 << 20 if whole else limit):
                chunks.append(chunk)
                size += len(chunk)
                if not whole and size >= limit:
                    return b"".join(chunks)[:limit]
                if size > limit:
                    raise TooLargeError(place.path, f"larger than {_size(limit)}")
            return b"".join(chunks)
        finally:
            os.close(fd)

    def _open(self, place: Place, *, block: bool = False) -> int:
        """A regular file's descriptor; what it is at this moment is noted."""

        def wanted(info: os.stat_result) -> bool:
            return stat.S_ISREG(info.st_mode) or (block and stat.S_ISBLK(info.st_mode))

        if not wanted(place.info):  # before opening: a FIFO or a tape has its own ideas of that
            raise SysrootError(place.path, "not a regular file")
        try:
            follow = os.O_NOFOLLOW if place.path in self._copies else 0
            fd = os.open(place.name, _READ & ~follow, dir_fd=place.parent)
        except OSError as error:
            error.filename = place.path
            raise
        info = os.fstat(fd)
        if not wanted(info):
            os.close(fd)
            raise SysrootError(place.path, "not a regular file")
        self._note(place.path, info)
        return fd

    def _listing(self, place: Place) -> list[DirEntry]:
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.fd)
        except OSError as error:
            error.filename = place.path
            raise
        try:
            info = os.fstat(fd)
            with os.scandir(fd) as found:
                entries = [DirEntry(entry.name, _entry_kind(entry)) for entry in found]
            self._note(place.path, info, listed=True)
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
        finally:
            os.close(fd)


def _entry_kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "dir"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
