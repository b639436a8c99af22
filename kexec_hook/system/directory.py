"""The directory that holds our state: only we may enter, files appear whole or not at all, one writer at a time."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from kexec_hook.errors import KexecHookError

LOCK = "lock"
LOADER = (
    "loader"  # locked by a kexec that loads or unloads while it lives, also when its caller is dead
)
WAIT = 3.0  # seconds for another run to end
LOADER_WAIT = 5.0  # seconds for a kexec whose caller was killed
LIMIT = 16 << 20  # bytes of a file of ours
MARKED = b"kexec-hook\n"

_AGAIN = 0.02  # seconds between two looks at the lock
_NEW = ".new"
_NOT_PERMITTED = (errno.EACCES, errno.EPERM)


class StateError(KexecHookError):
    """The directory or a file in it cannot be used; one sentence."""


class Busy(StateError):
    """Another process of ours holds the lock."""


class StateNotPermitted(StateError):
    """An ordinary user may not look into the directory."""


_REMOVE = "remove it, kexec-hook makes its own directory"


def _make(path: str) -> None:
    """StateError"""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise StateError(f"{path} cannot be made: {_words(error)}") from error


def _not_opened(path: str, error: OSError) -> StateError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        kind = "a symbolic link" if os.path.islink(path) else "not a directory"
        return StateError(f"{path} is {kind}; {_REMOVE}")
    failure = StateNotPermitted if error.errno in _NOT_PERMITTED else StateError
    return failure(f"{path} cannot be opened: {_words(error)}")


def _wrong_owner(info: os.stat_result, owner: int) -> str:
    """Why others could have written there; empty where they could not."""
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid != owner:
        return f"belongs to user {info.st_uid}, not to {owner}"
    if mode & 0o077:
        return f"has mode {mode:04o}, so that others than its owner may enter"
    return ""


class Directory:
    """An open directory of ours; reading and removing need no lock, writing does."""

    def __init__(self, path: str, fd: int, owner: int) -> None:
        self.path = path
        self._fd = fd
        self._owner = owner

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, create: bool = True, owner: int | None = None
    ) -> Directory:
        """Open the directory, made if it is missing; FileNotFoundError if it is and we should not `create`.

        StateError when it is not a directory that belongs to `owner` (us) and nobody else may enter;
        StateNotPermitted where we are that nobody.
        """
        path = os.fspath(path)
        owner = os.geteuid() if owner is None else owner
        if create:
            _make(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if create:
                raise StateError(f"{path} has vanished") from None
            raise
        except OSError as error:
            raise _not_opened(path, error) from error
        wrong = _wrong_owner(os.fstat(fd), owner)
        if wrong:
            os.close(fd)
            raise StateError(f"{path} {wrong}; {_REMOVE}")
        return cls(path, fd, owner)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def read(self, name: str) -> bytes | None:
        """A file of ours, whole; None where there is none."""
        try:
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, "read", error) from error
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_uid != self._owner or info.st_size > LIMIT:
                raise StateError(f"{self.path}/{name} is not a file of ours; remove it")
            with os.fdopen(fd, "rb", closefd=False) as file:
                return file.read(LIMIT)
        except OSError as error:
            raise self._error(name, "read", error) from error
        finally:
            os.close(fd)

    def remove(self, name: str) -> bool:
        """Remove a file; whether there was one."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._error(name, "removed", error) from error
        self._sync(name)
        return True

    def mark(self, name: str) -> None:
        """Put an empty file there, whoever holds the lock."""
        try:
            os.close(
                os.open(
                    name,
                    os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                    dir_fd=self._fd,
                )
            )
        except OSError as error:
            raise self._error(name, "written", error) from error

    @contextmanager
    def lock(self, wait: float = WAIT) -> Iterator[LockedDirectory]:
        """Be the only one; Busy when another is, for longer than `wait` seconds.  A killed process holds nothing."""
        try:
            # Closed on exec: a program that outlives us must not hold it; kexec is given `loader`'s.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(LOCK, flags, 0o600, dir_fd=self._fd)
        except OSError as error:
            raise self._error(LOCK, "opened", error) from error
        try:
            self._acquire(fd, time.monotonic() + wait)
            for name in os.listdir(self._fd):
                if name.startswith(".") and name.endswith(_NEW):  # of a run that was killed
                    os.unlink(name, dir_fd=self._fd)
            yield LockedDirectory(self)
        finally:
            os.close(fd)

    @contextmanager
    def _loader(self) -> Iterator[int]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(LOADER, flags, 0o600, dir_fd=self._fd)
        except OSError as error:
            raise self._error(LOADER, "opened", error) from error
        try:
            yield fd
        except OSError as error:
            raise self._error(LOADER, "locked", error) from error
        finally:
            os.close(fd)

    def _acquire(self, fd: int, deadline: float) -> None:
        try:
            alone = _locked(fd, deadline)
        except OSError as error:
            raise self._error(LOCK, "locked", error) from error
        if not alone:
            raise Busy(f"another kexec-hook{_holder(fd)} is at work; try again when it is done")
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # a full /run: the lock holds all the same, only its owner's number is not known

    def _write(self, name: str, data: bytes, mtime: float | None = None) -> None:
        new = f".{name}{_NEW}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(new, flags, 0o600, dir_fd=self._fd)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                if mtime is not None:
                    os.utime(fd, (mtime, mtime))
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException as error:
            try:
                os.unlink(new, dir_fd=self._fd)
            except OSError:
                pass
            if isinstance(error, OSError):
                raise self._error(name, "written", error) from error
            raise
        self._sync(name)

    def _sync(self, name: str) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._error(name, "brought to the disk", error) from error

    def _error(self, name: str, done: str, error: OSError) -> StateError:
        return StateError(f"{self.path}/{name} cannot be {done}: {_words(error)}")


class LockedDirectory:
    """The directory while we hold its lock."""

    def __init__(self, state: Directory) -> None:
        self.state = state

    def write(self, name: str, data: bytes, *, mtime: float | None = None) -> None:
        """Put a file there, whole or not at all; `mtime` in seconds since the epoch, now unless given."""
        self.state._write(name, data, mtime)

    @contextmanager
    def loader(self, wait: float = LOADER_WAIT) -> Iterator[int]:
        """The lock for a kexec that is about to load or unload: a descriptor that it inherits.  Busy, StateError"""
        with self.state._loader() as fd:
            if not _locked(fd, time.monotonic() + wait):
                raise Busy(
                    "a kexec that was started before has not ended, and may still load an image"
                )
            yield fd


class Mark:
    """A file that says one thing by being there, outside of our directory; StateError where that cannot be had."""

    def __init__(self, path: str, owner: int) -> None:
        self.path = path
        self._owner = owner

    @property
    def is_there(self) -> bool:
        """As `[ -e` has it, for those who may not look inside as well."""
        return os.path.exists(self.path)

    def put(self) -> None:
        """It is there for certain: written, and read back."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
            try:
                os.pwrite(fd, MARKED, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                info = os.fstat(fd)
                ours = stat.S_ISREG(info.st_mode) and info.st_uid == self._owner
                found = os.read(fd, len(MARKED)) if ours else b""
            finally:
                os.close(fd)
        except OSError as error:
            raise StateError(f"{self.path} cannot be written: {_words(error)}") from error
        if found != MARKED:
            raise StateError(f"{self.path} is not a file of ours; remove it")

    def remove(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StateError(f"{self.path} cannot be removed: {_words(error)}") from error


def _locked(fd: int, deadline: float) -> bool:
    """Take the lock, if need be when another gives it up; whether that came in time."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_AGAIN)


def _holder(fd: int) -> str:
    try:
        number = os.pread(fd, 32, 0).strip()
    except OSError:
        return ""
    return f" (process {number.decode()})" if number.isdigit() else ""


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
