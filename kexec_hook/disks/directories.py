"""The disks of `grub-eval`: directories that stand for the partitions of one disk."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Sequence

from kexec_hook.disks.answers import VolumeDisks
from kexec_hook.disks.drives import part_of, split
from kexec_hook.disks.mounts import Mount, Mounts
from kexec_hook.disks.volumes import UNKNOWN_DEVICE, UNKNOWN_FS, Volume
from kexec_hook.grub.disks import Device, DiskError, FindBy, GrubPath
from kexec_hook.system.sysroot import Sysroot
from kexec_hook.tuples import NamedTuple


class Partition(NamedTuple):
    """A directory, and what the file system answers to; nothing: to no UUID, and to the empty label."""

    directory: str | os.PathLike[str]
    uuid: str = ""
    label: str = ""
    fs: str = "ext2"

    @classmethod
    def parse(cls, text: str) -> Partition:
        """partition = DIR [ ":" UUID [ ":" LABEL ] ]; a directory of that whole name goes first."""
        if os.path.isdir(text) or ":" not in text:
            return cls(text)
        directory, _, rest = text.partition(":")
        uuid, _, label = rest.partition(":")
        return cls(directory, uuid, label)


class PartitionDisks(VolumeDisks):
    """One disk hd0 with a GPT; its partitions are hd0,gpt1, hd0,gpt2, ... in the order given.

    `search` looks at them as real GRUB does: the disk first, which holds no file
    system, then the last partition first (kern/device.c pushes them on a list).
    """

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.partitions = tuple(partitions)
        self._volumes: list[Volume] = []
        for partition in self.partitions:
            mount = Mount(1, 0, "", (), "/", "", str(partition.directory))
            self._volumes.append(
                Volume(Sysroot(partition.directory), Mounts([mount]), [mount], partition.fs)
            )

    def devices(self) -> Sequence[Device]:
        return [Device("hd0"), *(self._device(n) for n in range(len(self.partitions), 0, -1))]

    def device(self, name: str) -> Device | None:
        number = self._number(name)
        if number is None:
            return None
        return self._device(number) if number else Device("hd0")

    def find(self, by: FindBy, value: str, hints: Sequence[str] = ()) -> Sequence[str]:
        """Also a hint's name as it was written, and then the device again, as `search` without --set prints them."""
        names: list[str] = []
        for hint in hints:
            names.append(hint[:-1] if hint.endswith(",") else hint)
            if hint == "hd0,":
                names += [f"hd0,gpt{n}" for n in range(1, len(self.partitions) + 1)]
        names += [device.name for device in self.devices()]
        return [name for name in names if self._answers(name, by, value)]

    def volume(self, name: str) -> Volume:
        number = self._number(name)
        if number is None:
            known = split(name)[0] == "hd0"
            raise DiskError(
                UNKNOWN_DEVICE, "no such partition" if known else f"disk `{name}' not found"
            )
        if number == 0:
            raise DiskError(UNKNOWN_FS, "unknown filesystem")
        return self._volumes[number - 1]

    def _number(self, name: str) -> int | None:
        """0 for the disk, else the partition's number; None where there is none."""
        disk, part = split(name)
        if disk != "hd0":
            return None
        if not part:
            return 0 if name == "hd0" else None
        partmap, number = part_of(part)
        return number if partmap in ("", "gpt") and 0 < number <= len(self.partitions) else None

    def _device(self, number: int) -> Device:
        partition = self.partitions[number - 1]
        return Device(f"hd0,gpt{number}", partition.fs, partition.uuid, partition.label, "gpt")

    def _answers(self, name: str, by: FindBy, value: str) -> bool:
        device = self.device(name)
        if device is None or not device.fs:
            return False
        if by == "fs_uuid":
            return bool(device.uuid) and device.uuid.lower() == value.lower()
        if by == "label":
            return device.label == value
        stat = self.stat(GrubPath(name, value))
        return stat is not None and stat.kind == "file"
