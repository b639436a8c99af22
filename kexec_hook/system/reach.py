"""The way from a root directory to a file below it, one name at a time, so that no link leads out of the root."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kexec_hook.tuples import NamedTuple

MAX_LINKS = 40  # as in the kernel, path_resolution(7)

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Place(NamedTuple):
    """A file that was reached: descriptors of it and of its directory, both opened with O_PATH."""

    path: str  # below the root, no links in it
    name: str  # in its directory
    parent: int
    fd: int
    info: os.stat_result


@contextmanager
def reach(
    root: str,
    path: str,
    passed: Callable[[str, os.stat_result], None],
    *,
    follow: bool = True,
) -> Iterator[Place]:
    """Walk from the root to a file; an OSError's filename is the path below the root.

    Every directory on the way is held open and every link is read from its own
    descriptor, so a tree that changes under our feet cannot lead us out of it.
    `passed` is told of each link that was followed.
    """
    way = _Way(root)
    todo = path.split("/")[::-1]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", ".", ".."):
                way.stay_or_leave(name)
                continue
            try:
                way.enter(name)
            except OSError as error:
                error.filename = join([*way.names, name, *parts_of("/".join(reversed(todo)))])
                raise
            if stat.S_ISLNK(way.infos[-1].st_mode) and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), join(way.names))
                passed(join(way.names), way.infos[-1])
                todo.extend(reversed(way.follow().split("/")))
        yield way.place
    finally:
        way.close()


class _Way:
    """The directories from the root to where a walk has come, all of them open."""

    def __init__(self, root: str) -> None:
        self._fds = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        self.infos = [os.fstat(self._fds[0])]
        self.names: list[str] = []

    @property
    def place(self) -> Place:
        if not self.names:
            return Place("/", ".", self._fds[0], self._fds[0], self.infos[0])
        parent, fd = self._fds[-2:]
        return Place(join(self.names), self.names[-1], parent, fd, self.infos[-1])

    def enter(self, name: str) -> None:
        fd, info = _open_name(name, self._fds[-1], self.infos[-1])
        self.names.append(name)
        self._fds.append(fd)
        self.infos.append(info)

    def stay_or_leave(self, name: str) -> None:
        """An empty name, `.` and `..`, which the root has no more than any other."""
        if not stat.S_ISDIR(self.infos[-1].st_mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), join(self.names) + "/" + name
            )
        if name == ".." and self.names:
            self._leave()

    def follow(self) -> str:
        """What the link says that we stand on; on from its directory, or from the root."""
        target = os.readlink("", dir_fd=self._fds[-1])
        stay = 0 if target.startswith("/") else len(self.names) - 1
        while len(self.names) > stay:
            self._leave()
        return target

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)

    def _leave(self) -> None:
        self.names.pop()
        self.infos.pop()
        os.close(self._fds.pop())


def parts_of(path: str) -> list[str]:
    """The names of a path, without the empty ones and `.`; `..` stays."""
    return [name for name in path.split("/") if name not in ("", ".")]


def join(names: list[str] | tuple[str, ...]) -> str:
    return "/" + "/".join(names)


def path_in(error: OSError, path: str) -> str:
    """The path below the root that an error is about."""
    return error.filename if isinstance(error.filename, str) else path


def _open_name(name: str, parent: int, parent_info: os.stat_result) -> tuple[int, os.stat_result]:
    """Open a name without following it; NotADirectoryError and its kin as open(2) has them."""
    try:
        fd = os.open(name, _LOOK, dir_fd=parent)
    except ValueError:  # a zero byte, or a character that no file name has
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    info = os.fstat(fd)
    if stat.S_ISDIR(info.st_mode) and info.st_dev != parent_info.st_dev:
        # A mount point may be systemd's automount of /boot or /efi: O_DIRECTORY is what makes the kernel mount it.
        os.close(fd)
        fd = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=parent)
        info = os.fstat(fd)
    return fd, info
