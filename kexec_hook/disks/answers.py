"""The answers of all our disks: there, not there, or unseen; from mounts first, then from where GRUB alone looks."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from kexec_hook.disks.volumes import FILE_READ_ERROR, Hidden, Unreadable, Volume
from kexec_hook.grub.disks import Device, DiskError, GrubPath, Stat, Unseen
from kexec_hook.system.sysroot import FILE_LIMIT


class Beyond(Protocol):
    """What is on a file system and no mount shows, as GRUB's drivers find it.  Every method may raise Unseen."""

    def stat(self) -> Stat | None: ...

    def entry(self) -> Stat | None: ...

    def mtime(self) -> int | None: ...

    def read(self, limit: int) -> bytes: ...

    def list(self) -> Sequence[str]: ...


class VolumeDisks:
    """What all our disks have in common once the volume of a device is known; see the Disks protocol."""

    limit = FILE_LIMIT

    def volume(self, name: str) -> Volume:
        """The file system of a device.  DiskError: no such device, or nothing on it that GRUB can read."""
        raise NotImplementedError

    def device(self, name: str) -> Device | None:
        raise NotImplementedError

    def identify(self, device: Device) -> Device:
        return device

    def subvolume(self, name: str, number: int | None) -> str:
        raise Unseen(f"which subvolume ({name}) has by default is not known")

    def unopened(self, ids: Collection[str]) -> str:
        return ""

    def beyond(self, path: GrubPath, why: str) -> Beyond:
        """Where to ask for what no mount shows.  Unseen"""
        raise Unseen(f"{path}: {why}")

    def stat(self, path: GrubPath) -> Stat | None:
        try:
            return self.volume(path.device).find(path.path)[1].stat
        except Hidden as hidden:
            return self.beyond(path, hidden.why).stat()
        except DiskError as error:
            _raise_unread(error)
            return None

    def entry(self, path: GrubPath) -> Stat | None:
        """What GRUB's `test` sees, which asks the directory: a link is there, and a file, wherever it leads."""
        try:
            return self.volume(path.device).entry(path.path)
        except Hidden as hidden:
            return self.beyond(path, hidden.why).entry()
        except DiskError as error:
            _raise_unread(error)
            return None

    def mtime(self, path: GrubPath) -> int | None:
        try:
            entry = self.volume(path.device).entry(path.path)
        except Hidden as hidden:
            return self.beyond(path, hidden.why).mtime()
        except DiskError as error:
            _raise_unread(error)
            return None
        return entry.mtime if entry else None

    def read(self, path: GrubPath) -> bytes:
        try:
            return self.volume(path.device).read(path.path, self.limit)
        except Hidden as hidden:
            return self.beyond(path, hidden.why).read(self.limit)

    def list(self, path: GrubPath) -> Sequence[str]:
        try:
            names = self.volume(path.device).names(path.path)
        except Hidden as hidden:
            return self.beyond(path, hidden.why).list()
        return [name + "/" if is_dir else name for name, is_dir in names]

    def lists_in_order(self, path: GrubPath) -> bool:
        try:
            self.volume(path.device).names(path.path)
        except Hidden:
            return True  # GRUB's driver has listed it
        except DiskError:
            pass
        return False


def _raise_unread(error: DiskError) -> None:
    """A disk that fails tells nothing; what our rights do not reach is told elsewhere."""
    if isinstance(error, Unreadable) and error.errno == FILE_READ_ERROR:
        raise Unseen(error.message) from None
