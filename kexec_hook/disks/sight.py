"""What GRUB's own drivers see of the file systems of a root where no mount shows them; which may be asked at all."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kexec_hook.disks.drives import split_node
from kexec_hook.disks.mounts import FileSystem, Mounts
from kexec_hook.disks.volumes import NOT_MOUNTED, NotFound
from kexec_hook.grub.disks import Device, GrubPath, Stat, Unseen
from kexec_hook.system import fstest
from kexec_hook.system.fstest import Drivers, Image
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import Sysroot, SysrootError, kind_of

if TYPE_CHECKING:
    from kexec_hook.disks.btrfs import Btrfs

_SECTOR = 512  # bytes
_MOST_BLOCKS = 1 << 20  # bytes that are read of a list of blocks
_LUKS = (0, b"LUKS\xba\xbe")
# Where swap space, LUKS and BitLocker are known by: libblkid's superblocks/swap.c, luks.c, bitlocker.c.
_NO_FILE_SYSTEM = (
    (4086, b"SWAPSPACE2"),
    (65526, b"SWAPSPACE2"),
    _LUKS,
    (3, b"-FVE-FS-"),
)


class Sight:
    """Looks at the devices below one root.

    `counted` is what the kernel had counted of writes to what was read, by file of /sys; `unwatched` says that
    an answer may change without that: of a device that is mounted, or that could not be read.
    """

    def __init__(self, sysroot: Sysroot, mounts: Mounts, drivers: Drivers) -> None:
        self._sysroot = sysroot
        self._mounts = mounts
        self.drivers = drivers
        self._images: dict[tuple[str, ...], Image] = {}
        self.counted: dict[str, str] = {}
        self.unwatched = False

    def at(self, path: GrubPath, system: FileSystem, why: str) -> HiddenFile:
        """A path on a file system that may be looked at.  Unseen"""
        return HiddenFile(self, path, system, why)

    def holds(self, path: GrubPath, system: FileSystem, why: str) -> bool:
        """Is there such a file?  Not where there is no file system.  Unseen"""
        try:
            return self.image(system).kind(path.path) == "file"
        except fstest.NoAnswer as unseen:
            if self.is_none(system, unseen):
                return False
            self.unwatched = True
            raise _unseen(system, why, unseen, path) from None

    def is_none(self, system: FileSystem, unseen: fstest.NoAnswer) -> bool:
        """GRUB finds no file system: is that because there is none, or because it cannot be read here?"""
        if str(unseen) != fstest.UNKNOWN or system.mounts:
            return False
        return not system.uuid or self.is_beyond_grub(system)

    def is_beyond_grub(self, system: FileSystem) -> bool:
        """What udev names, and no GRUB can read: swap space, a locked container, an ext4 of new features."""
        if not system.nodes:
            return False
        if any(self._has(system, at, magic) for at, magic in _NO_FILE_SYSTEM):
            return True
        from kexec_hook.disks.superblock import is_beyond_grub

        return is_beyond_grub(self._sysroot, system.nodes[0])

    def unopened(self, systems: Sequence[FileSystem], ids: Collection[str]) -> str:
        """See Disks."""
        from kexec_hook.disks.mapped import opened_ids

        known = opened_ids(self._sysroot)
        for system in systems:
            name = system.uuid.replace("-", "").lower()
            if system.mounts or name in known or not system.nodes:
                continue
            if (name and name in ids) or ("" in ids and self._may_be_locked(system)):
                return f"/dev/{system.nodes[0]}"
        return ""

    def _may_be_locked(self, system: FileSystem) -> bool:
        """Is it a container of LUKS?  An empty file in the place of a device may be one."""
        empty = self.is_image(system, empty=True) and not self.is_image(system)
        return empty or self._has(system, *_LUKS)

    def _has(self, system: FileSystem, at: int, magic: bytes) -> bool:
        try:
            with self._sysroot.unnoted.window(f"/dev/{system.nodes[0]}", block=True) as file:
                return file.at(at, len(magic)) == magic
        except SysrootError:
            return False

    def is_image(self, system: FileSystem, *, empty: bool = False) -> bool:
        """Is a file in the place of its device?  Then no udev has told what is on it."""
        node = system.nodes[0] if system.nodes else ""
        try:
            info = self._sysroot.stat(f"/dev/{node}") if node else None
        except SysrootError:
            return False
        return info is not None and kind_of(info.st_mode) == "file" and (empty or info.st_size > 0)

    def identify(self, device: Device, system: FileSystem) -> Device:
        """The device with what GRUB tells of its file system.  Unseen"""
        try:
            info = self.image(system).info()
            unknown = fstest.NoAnswer(fstest.UNKNOWN)
            if not info.kind and not self.is_none(system, unknown):
                raise unknown
        except fstest.NoAnswer as unseen:
            self.unwatched = True
            raise _unseen(system, NOT_MOUNTED, unseen, None) from None
        return device._replace(fs=info.kind, uuid=info.uuid, label=info.label)

    def blocks(self, text: str, system: FileSystem) -> bytes:
        """What lies in `512+2`, [ start ] "+" count, and so on, in sectors (kern/fs.c, grub_fs_blocklist).  Unseen"""
        try:
            if len(system.nodes) != 1:
                raise fstest.NoAnswer("is not the only device of its file system")
            self.image(system)  # may it be looked at?
            runs = [
                (int(start or 0) * _SECTOR, int(count) * _SECTOR)
                for start, count in re.findall(r"(\d*)\+(\d+)", text)
            ]
            whole = sum(size for _, size in runs)
            if whole > _MOST_BLOCKS:
                raise fstest.NoAnswer(f"is read up to {_MOST_BLOCKS} bytes only")
            with self._sysroot.unnoted.window(f"/dev/{system.nodes[0]}", block=True) as file:
                data = b"".join(file.at(start, size) for start, size in runs)
            if len(data) != whole:
                raise fstest.NoAnswer("ends before them")
        except (fstest.NoAnswer, SysrootError) as unseen:
            self.unwatched = True
            raise Unseen(f"what the blocks {text} of {describe(system)} hold: {unseen}") from None
        return data

    def untold(self, device: Device, system: FileSystem) -> Unseen | None:
        """Why nobody tells what is on it: an empty file is in the place of its device, and udev has no link to it."""
        if system.uuid or system.mounts or not self.is_image(system, empty=True):
            return None
        try:
            self.identify(device, system)
        except Unseen as unseen:
            return unseen
        return None

    def subvolume(self, system: FileSystem, number: int | None) -> str:
        """Where a subvolume of btrfs lies, the default one for None; empty for the top.  Unseen"""
        from kexec_hook.disks import btrfs  # few file systems are one

        asked = "the default subvolume" if number is None else f"subvolume {number}"
        try:
            if number is None:
                number = self._default_subvolume(system)
            for mount in system.mounts:
                if f"subvolid={number}" in mount.options and mount.subvolume:
                    return join(mount.root).rstrip("/")
            with self._btrfs(system) as volume:
                return join(volume.path(number)).rstrip("/")
        except (btrfs.Damaged, SysrootError) as error:
            raise Unseen(
                f"{asked} of {describe(system)}, where GRUB's paths start, is not known: {error}"
            ) from None

    def _default_subvolume(self, system: FileSystem) -> int:
        from kexec_hook.system.subvolume import default_subvolume

        if self._sysroot.root == "/":
            for mount in system.mounts:
                if self._mounts.at(mount.point) is mount:
                    return default_subvolume(mount.point)
        with self._btrfs(system) as volume:
            return volume.default()

    @contextmanager
    def _btrfs(self, system: FileSystem) -> Iterator[Btrfs]:
        """From the device itself: right where it is not mounted here, so that nothing is on its way to the disk."""
        from kexec_hook.disks import btrfs

        if self._sysroot.root == "/" and system.mounts:
            raise btrfs.Damaged("it is not mounted")
        with self._sysroot.unnoted.window(f"/dev/{(*system.nodes, '?')[0]}", block=True) as file:
            yield btrfs.open_btrfs(file.at)

    def image(self, system: FileSystem) -> Image:
        """The file system for GRUB's drivers.  fstest.NoAnswer"""
        if not system.nodes:
            raise fstest.NoAnswer("cannot be read, as its device is not known")
        if system.kind == "zfs":
            raise fstest.NoAnswer("cannot be read, as it is ZFS")
        if system.nodes not in self._images:
            self._images[system.nodes] = self._open(system)
        return self._images[system.nodes]

    def _open(self, system: FileSystem) -> Image:
        for node in system.nodes:
            if self._is_removable(node):
                raise fstest.NoAnswer("is not read, as it is removable")
        devices = [self._sysroot.host(f"/dev/{node}") for node in system.nodes]
        points: Sequence[str] = ()
        if self._sysroot.root == "/":
            points = [m.point for m in system.mounts if self._mounts.at(m.point) is m]
            if system.mounts and not points:
                raise fstest.NoAnswer("cannot be read, as each of its mounts is hidden by another")
        self.unwatched = self.unwatched or bool(system.mounts)
        for name in sorted({name for node in system.nodes for name in (node, split_node(node)[0])}):
            self._count(f"/sys/class/block/{name}/stat")
        return Image(self.drivers, devices, points)

    def _count(self, path: str) -> None:
        try:
            self.counted[path] = writes(self._sysroot.text(path, 4096))
        except SysrootError:
            self.unwatched = True

    def _is_removable(self, node: str) -> bool:
        disk = split_node(node)[0]
        try:
            return self._sysroot.text(f"/sys/class/block/{disk}/removable", 64).strip() == "1"
        except SysrootError:
            return False


def writes(stat: str) -> str:
    """The numbers of writes and discards in /sys/class/block/*/stat (Documentation/block/stat.rst)."""
    numbers = stat.split()
    return " ".join([*numbers[4:7], *numbers[11:14]])


class HiddenFile:
    """One path on one file system: see Beyond."""

    def __init__(self, sight: Sight, path: GrubPath, system: FileSystem, why: str) -> None:
        self.path = path
        self._sight = sight
        self._system = system
        self._why = why

    @property
    def name(self) -> str:
        """How people and programs are told: /dev/sda2:/vmlinuz-6.1"""
        node = self._system.nodes[0] if self._system.nodes else self.path.device
        return f"/dev/{node}:{join(parts_of(self.path.path))}"

    def stat(self) -> Stat | None:
        try:
            image = self._sight.image(self._system)
            kind = image.kind(self.path.path)
            empty = kind != "file" or image.is_empty(self.path.path)
        except fstest.NoAnswer as unseen:
            if self._is_no_file_system(unseen):
                return None
            raise self._unseen(unseen) from None
        if not kind:
            return None
        return Stat(kind, 0 if empty else 1, None)

    def entry(self) -> Stat | None:
        try:
            kind = self._sight.image(self._system).entry_kind(self.path.path)
        except fstest.NoAnswer as unseen:
            if self._is_no_file_system(unseen):
                return None
            raise self._unseen(unseen) from None
        return Stat(kind, 1, None) if kind else None

    def mtime(self) -> int | None:
        try:
            entry = self._sight.image(self._system).entry(self.path.path)
        except fstest.NoAnswer as unseen:
            raise self._unseen(unseen) from None
        if entry and not entry.is_dir and entry.size is None and entry.mtime is None:
            # a link that leads to no file, which `ls -l` leaves out
            raise self._unseen(fstest.NoAnswer("does not tell when that was changed"))
        return entry.mtime if entry else None

    def read(self, limit: int) -> bytes:
        try:
            data = self._sight.image(self._system).read(self.path.path, limit)
        except fstest.NoAnswer as unseen:
            raise self._unseen(unseen) from None
        if data is None:
            raise NotFound(self.path.path)
        return data

    def copy(self) -> int:
        """A sealed memory file, which the caller closes.  NotFound, Unseen"""
        try:
            fd = self._sight.image(self._system).copy(self.path.path)
        except fstest.NoAnswer as unseen:
            raise self._unseen(unseen) from None
        if fd is None:
            raise NotFound(self.path.path)
        return fd

    def list(self) -> Sequence[str]:
        try:
            entries = self._sight.image(self._system).entries(self.path.path)
        except fstest.NoAnswer as unseen:
            raise self._unseen(unseen) from None
        if entries is None:
            raise NotFound(self.path.path)
        return [entry.name + "/" if entry.is_dir else entry.name for entry in entries]

    def _is_no_file_system(self, unseen: fstest.NoAnswer) -> bool:
        """A file in the place of a device, of which udev tells nothing, may be anything."""
        if not self._system.uuid and self._sight.is_image(self._system):
            return False
        return self._sight.is_none(self._system, unseen)

    def _unseen(self, unseen: fstest.NoAnswer) -> Unseen:
        self._sight.unwatched = True
        return _unseen(self._system, self._why, unseen, self.path)


def _unseen(system: FileSystem, why: str, unseen: fstest.NoAnswer, path: GrubPath | None) -> Unseen:
    device = describe(system)
    if why == NOT_MOUNTED:
        reason, fix = (
            f"{device} is not mounted, and it {unseen}",
            f"mount {device.partition(' (')[0]}" if system.kind != "zfs" else _elsewhere(system),
        )
    else:
        reason, path = f"{path} is out of sight: {why}, and {device} {unseen}", None
        fix = _elsewhere(system)
    if "grub-fstest, from" in str(unseen):
        install = f"install grub-fstest, from {fstest.PACKAGES}"
        fix = f"{install}, or {fix}" if fix else install
    return Unseen(reason, fix, path)


def _elsewhere(system: FileSystem) -> str:
    """How to see all of a file system that is mounted in part, or whose mount hides something."""
    if system.kind == "zfs":
        return "mount the data set"
    options = "-o subvol=/ " if system.kind == "btrfs" else ""
    return f"mount {options}/dev/{system.nodes[0]} /mnt" if system.nodes else ""


def describe(system: FileSystem) -> str:
    """/dev/sda2 (label DATA)"""
    name = f"/dev/{system.nodes[0]}" if system.nodes else "a device that is not known"
    if system.label:
        return f"{name} (label {system.label})"
    return f"{name} (UUID {system.uuid})" if system.uuid else name
