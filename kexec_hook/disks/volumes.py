"""How GRUB's file system drivers follow a path, on directories of ours that show the same file system.

Read in GRUB 2.06: grub-core/fs/fshelp.c (grub_fshelp_find_file), fs/btrfs.c
(find_path), fs/zfs/zfs.c (dnode_get_path), kern/file.c and kern/fs.c for the errors.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kexec_hook.disks.mounts import Mount, Mounts
from kexec_hook.grub.disks import DiskError, Stat
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import (
    Kind,
    MissingError,
    NotPermittedError,
    Sysroot,
    SysrootError,
    TooLargeError,
    kind_of,
)
from kexec_hook.tuples import NamedTuple

# grub_err_t, include/grub/err.h
OUT_OF_MEMORY = 3
BAD_FILE_TYPE = 4
FILE_NOT_FOUND = 5
FILE_READ_ERROR = 6
BAD_FILENAME = 7
UNKNOWN_FS = 8
UNKNOWN_DEVICE = 12
SYMLINK_LOOP = 25
ACCESS_DENIED = 30

FOLD_CASE = frozenset(("fat", "exfat", "ntfs", "hfsplus"))
_NO_LINKS = frozenset(("fat", "exfat"))
_LINKS = {"btrfs": 31, "zfs": 40}  # zfs.c has no bound of its own
_FSHELP_LINKS = 7

NOT_MOUNTED = "it is not mounted"

Parts = tuple[str, ...]


class NotFound(DiskError):
    """`file not found`: no such file is on that file system."""

    def __init__(self, path: str) -> None:
        super().__init__(FILE_NOT_FOUND, f"file `{path}' not found")


class Hidden(Exception):
    """It may be there, but no mount shows it; `why` says what is in the way."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Unreadable(DiskError):
    """A file that GRUB would have read and we could not: no rights, or too large."""


class Node(NamedTuple):
    """A file, directory or link as GRUB's driver sees it."""

    kind: Kind
    place: str  # below the root; empty where no mount shows it
    mount: Mount | None = None
    size: int = 0
    mtime: int = 0
    hidden: str = ""  # not empty: a directory, and this is why its contents are not known
    device: int = 0  # st_dev: each subvolume of btrfs has its own

    @property
    def stat(self) -> Stat:
        return Stat(
            "dir" if self.kind == "dir" else "file",
            0 if self.kind == "dir" else self.size,
            self.mtime,
        )


class Volume:
    """One file system, seen through the mounts that show directories of it.  What they do not show is Hidden."""

    def __init__(
        self, sysroot: Sysroot, mounts: Mounts, mine: Sequence[Mount], kind: str = "ext2"
    ) -> None:
        self.sysroot = sysroot
        self.kind = kind
        self._mounts = mounts
        # The longest root first: /@/boot/efi before /@; of two, the later mount.
        self._mine = sorted(mine, key=lambda mount: len(mount.root))[::-1]
        self._roots = {mount.root for mount in mine}
        self._subvolumes = {mount.root for mount in mine if mount.subvolume}
        self._seen: dict[Parts, Node | None] = {}

    def find(self, path: str, expect: Literal["file", "dir", "any"] = "any") -> tuple[Parts, Node]:
        """Follow a path as GRUB does.  DiskError, with GRUB's number and words."""
        parts, node = self._walk(path, last=True)
        if self.kind == "btrfs" and node.kind == "file" and path.endswith("/"):
            raise NotFound(path)  # find_path() looks at what follows; fshelp does not mind a slash
        if expect != "any" and node.kind != expect:
            raise DiskError(
                BAD_FILE_TYPE, "not a regular file" if expect == "file" else "not a directory"
            )
        return parts, node

    def entry(self, path: str) -> Stat | None:
        """What GRUB's `test -e -f -d -nt` see, a directory's own entry: a link is a file, wherever it leads."""
        _, node = self._walk(path.rstrip("/") or "/", last=False)
        return node.stat

    def names(self, path: str) -> list[tuple[str, bool]]:
        """Names in a directory and whether each is one, sorted: the order on disk cannot be told from outside.

        mke2fs -d and package managers write in that order as often as not, and a
        directory that ext4 has hashed is listed in an order that GRUB does not use.
        A link to a directory is no directory, as in GRUB (grub_ext2_dir_iter).
        """
        parts, node = self.find(path, "dir")
        if not node.place:
            raise Hidden(node.hidden or f"only directories below {join(parts)} are mounted")
        try:
            entries = self.sysroot.entries(node.place, follow=False)
        except SysrootError as error:
            raise _as_grub(error, path) from error
        return [(entry.name, entry.kind == "dir") for entry in entries]

    def read(self, path: str, limit: int) -> bytes:
        """A whole regular file."""
        _, node = self.find(path, "file")
        try:
            return self.sysroot.read(node.place, limit, follow=False)
        except SysrootError as error:
            raise _as_grub(error, path) from error

    def why_unreachable(self, parts: Parts) -> str:
        """Why no mount shows this directory or file; empty when one does, or would if it existed."""
        if self._place(parts) or any(root[: len(parts)] == parts for root in self._roots):
            return ""
        if not self._mine:
            return NOT_MOUNTED
        for mount in self._mine:
            if parts[: len(mount.root)] == mount.root:
                over = self._mounts.at(_below(mount, parts))
                where = over.point if over else "/"
                return f"what is mounted on {where} hides it"
        return f"no mount below the root reaches {join(parts)}"

    def _walk(self, path: str, *, last: bool) -> tuple[Parts, Node]:
        followed: list[str] = []
        try:
            return self._follow(path, followed, last=last)
        except Hidden as hidden:
            if not followed:
                raise
            raise Hidden(f"it is a link, to {followed[-1]}, and {hidden.why}") from None

    def _follow(self, path: str, followed: list[str], *, last: bool) -> tuple[Parts, Node]:
        """Name by name; links in the middle are followed, and with `last` also the last one."""
        if not path.startswith("/"):
            raise DiskError(BAD_FILENAME, f"invalid file name `{path}'")
        base, todo = self._start(path)
        here = base
        node = self._look(base, path)
        links = 0
        todo.reverse()
        while todo:
            name = todo.pop()
            self._enter(node, path)
            if name == ".":
                continue
            if name == "..":
                here = self._up(here, base)
                node = self._look(here, path)
                continue
            if self.kind in FOLD_CASE:
                name = self._spelling(here, name)
            node = self._look((*here, name), path)
            if node.kind == "other" and (todo or last):
                raise NotFound(
                    path
                )  # a FIFO or a device is of unknown type to GRUB: listed, but not found
            if node.kind != "link" or not (todo or last):
                here = (*here, name)
                continue
            links += 1
            if links > _LINKS.get(self.kind, _FSHELP_LINKS):
                raise DiskError(SYMLINK_LOOP, "too deep nesting of symlinks")
            target = self._target(node, path)
            followed.append(target)
            here = base if target.startswith("/") else here
            node = self._look(here, path)
            todo.extend(reversed(_names(target)))
        return here, node

    def _enter(self, node: Node, path: str) -> None:
        """DiskError where it is no directory."""
        if self.kind == "btrfs" and node.kind == "file":
            raise NotFound(path)
        if node.kind != "dir":
            raise DiskError(BAD_FILE_TYPE, "not a directory")

    def _start(self, path: str) -> tuple[Parts, list[str]]:
        """Where a path begins: the top, or ZFS's data set, `/ROOT/debian@/boot/x` or `/ROOT/debian/@/boot/x`."""
        if self.kind != "zfs":
            return (), _names(path)
        dataset, at, rest = path.partition("@")
        if not at:
            raise DiskError(BAD_FILE_TYPE, "missing `@' symbol")
        snapshot, _, inside = rest.partition("/")
        return ("/".join(parts_of(dataset)) + "@" + snapshot,), _names(inside)

    def _up(self, here: Parts, base: Parts) -> Parts:
        if self.kind == "zfs" and here == base:
            raise DiskError(FILE_NOT_FOUND, "can't resolve ..")
        if self._is_subvolume(
            here
        ):  # its `..` is itself: the top of a btrfs subvolume has no other parent to GRUB
            return here
        if self._may_be_subvolume(here):
            raise Hidden(
                f"whether {join(here)} is a subvolume does not show in a copy of its files"
            )
        return here[:-1] if len(here) > len(base) else base

    def _may_be_subvolume(self, here: Parts) -> bool:
        """Below the top of a btrfs of which another root has a copy: only st_dev tells a subvolume."""
        node = self._seen.get(here)
        if self.kind != "btrfs" or self.sysroot.is_host or not here or not node or not node.mount:
            return False
        above = self.sysroot.stat(node.mount.point + "/..")
        return not node.mount.root and (above is None or above.st_dev == node.device)

    def _is_subvolume(self, here: Parts) -> bool:
        if here in self._subvolumes or self.kind != "btrfs" or not here:
            return here in self._subvolumes
        node, above = self._seen.get(here), self._seen.get(here[:-1])
        return bool(node and above and node.device and above.device and node.device != above.device)

    def _look(self, parts: Parts, path: str) -> Node:
        if parts not in self._seen:
            try:
                self._seen[parts] = self._node(parts)
            except SysrootError as error:
                raise _as_grub(error, path) from error
        node = self._seen[parts]
        if node is None:
            why = self.why_unreachable(parts)
            if why:
                raise Hidden(why)
            raise NotFound(path)
        return node

    def _node(self, parts: Parts) -> Node | None:
        placed = self._place(parts)
        if placed:
            place, mount = placed
            info = self.sysroot.stat(place, follow=False)
            if info is not None:
                kind = kind_of(info.st_mode)
                if kind == "link" and self.kind in _NO_LINKS:
                    return None
                return Node(
                    kind, place, mount, info.st_size, int(info.st_mtime), device=info.st_dev
                )
        if any(root[: len(parts)] == parts for root in self._roots):
            return Node("dir", "")  # it must exist, as a directory above what is mounted
        for mount in self._mine:
            if parts[: len(mount.root)] == mount.root:
                place = _below(mount, parts)
                over = self._mounts.at(place)
                info = (
                    self.sysroot.stat(place, follow=False) if over and over.point == place else None
                )
                if info is not None and kind_of(info.st_mode) == "dir":
                    return Node("dir", "", mount, hidden=self.why_unreachable(parts))
        return None

    def _place(self, parts: Parts) -> tuple[str, Mount] | None:
        """Where below the root a file of this file system is seen, whether it exists or not."""
        for mount in self._mine:
            if parts[: len(mount.root)] == mount.root:
                place = _below(mount, parts)
                if self._mounts.at(place) is mount:
                    return place, mount
        return None

    def _target(self, node: Node, path: str) -> str:
        try:
            target = self.sysroot.readlink(node.place)
        except SysrootError as error:
            raise _as_grub(error, path) from error
        if target is None:
            raise NotFound(path)
        return target

    def _spelling(self, here: Parts, name: str) -> str:
        """The name as it stands in a directory that does not mind case."""
        directory = self._seen.get(here)
        if directory is None or not directory.place or self._exact((*here, name)):
            return name
        try:
            entries = self.sysroot.entries(directory.place, follow=False)
        except SysrootError:
            return name
        return next((entry.name for entry in entries if _fold(entry.name) == _fold(name)), name)

    def _exact(self, parts: Parts) -> bool:
        try:
            self._look(parts, "")
        except DiskError:
            return False
        return True


def _as_grub(error: SysrootError, path: str) -> DiskError:
    if isinstance(error, MissingError):
        return NotFound(path)
    if isinstance(error, NotPermittedError):
        return Unreadable(ACCESS_DENIED, str(error))
    if isinstance(error, TooLargeError):
        return Unreadable(OUT_OF_MEMORY, str(error))
    return Unreadable(FILE_READ_ERROR, str(error))


def _below(mount: Mount, parts: Parts) -> str:
    return join([*parts_of(mount.point), *parts[len(mount.root) :]])


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _fold(name: str) -> str:
    """grub_strcasecmp() folds ASCII only."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)
