"""The disks of a root as GRUB would name them, and the way from a GRUB path to a file below the root and back."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from kexec_hook.disks import search
from kexec_hook.disks.answers import VolumeDisks
from kexec_hook.disks.drives import BOOT_IMAGE, BlockDevice, Drives, split, split_node
from kexec_hook.disks.mounts import (
    FileSystem,
    Mount,
    Mounts,
    file_systems,
    line_of,
    links_by,
    partitions,
    read_mounts,
)
from kexec_hook.disks.search import Candidate
from kexec_hook.disks.volumes import (
    UNKNOWN_DEVICE,
    UNKNOWN_FS,
    Hidden,
    Node,
    NotFound,
    Volume,
)
from kexec_hook.grub.disks import Device, DiskError, FindBy, GrubPath, Unseen
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import Sysroot
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from kexec_hook.disks.mapped import Mapped
    from kexec_hook.disks.sight import HiddenFile, Sight
    from kexec_hook.system.process import Programs

# Devices of GRUB that no file tells of, unless they are among the disks of a root.
_GRUBS_ALONE = (
    r"memdisk$|proc$|host$|tftp|https?\b|pxe|fd\d*$|cd\d*$|ieee1275|(ahci|ata|pata|scsi|usb|ohci|uhci|ehci)\d"
    r"|crypto\d+$|cryptouuid/|lvm(id)?/|md(uuid)?/|md\d+$|ldm/"
)


class Location(NamedTuple):
    """A file that GRUB names, and where it is for us."""

    grub: GrubPath  # (hd0,gpt2)/vmlinuz-6.1, as the script wrote it
    mount: Mount  # the mount that made it reachable
    host: str  # /boot/vmlinuz-6.1, below the root, links followed as GRUB follows them


class RootDisks(VolumeDisks):
    """The disks below one root.

    `assumed` says, one sentence each, what was taken for true and could not be known.
    """

    def __init__(
        self,
        sysroot: Sysroot,
        programs: Programs | None = None,
        known: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.sysroot = sysroot
        self._programs = programs
        self._assumed: dict[str, None] = {}
        mounts = read_mounts(sysroot)
        systems = file_systems(sysroot, mounts)
        self.mounts = mounts or Mounts(systems[0].mounts)
        self.is_efi = sysroot.is_dir("/sys/firmware/efi")  # started by UEFI firmware
        self._drives = Drives(self.is_efi)
        self._systems: list[tuple[BlockDevice, FileSystem]] = []
        self._volumes: dict[int, Volume] = {}
        self._known: dict[tuple[str, ...], FileSystem] = {}
        self._name_units(systems)
        self._believe_boot_image()
        self._drives.believe(known or {})

    @cached_property
    def sight(self) -> Sight:
        """What no mount shows; few runs look there."""
        from kexec_hook.disks.sight import Sight
        from kexec_hook.system.fstest import Drivers

        return Sight(self.sysroot, self.mounts, Drivers(self._programs))

    @property
    def assumed(self) -> tuple[str, ...]:
        return tuple(self._assumed)

    @property
    def contradiction(self) -> Mapping[str, tuple[str, str]]:
        """What was learnt of GRUB's numbers after others had been given out: those to start with; else nothing."""
        return self._drives.known if self._drives.renamed_late else {}

    def devices(self) -> Sequence[Device]:
        found = []
        for drive, units in self._drives.in_order():
            if not any(unit.name == drive.name for unit in units):
                found.append(Device(drive.name))
            found += [self._device(unit) for unit in units]
        return found

    def device(self, name: str) -> Device | None:
        """Aliases are those of the partition (hd0,2) and those that a search's hint told."""
        unit = self._unit(name)
        if unit is not None:
            self._refuse_guess(name, unit)
            return self._device(unit)
        drive = self._drives.drive(name)
        if drive is None:
            self._refuse_unknown(name)
        return Device(drive.name, assumed=drive.why) if drive else None

    def identify(self, device: Device) -> Device:
        unit = self._unit(device.name)
        system = self._system(unit) if unit else None
        if system is None or system.mounts:
            return device
        return self.sight.identify(device, system)

    def unopened(self, ids: Collection[str]) -> str:
        return self.sight.unopened([system for _, system in self._systems], ids)

    def subvolume(self, name: str, number: int | None) -> str:
        unit = self._unit(name)
        system = self._system(unit) if unit else None
        if system is None:
            raise Unseen(f"which subvolume ({name}) has by default is not known")
        return self.sight.subvolume(system, number)

    def read(self, path: GrubPath) -> bytes:
        """A file, or a list of blocks (512+2), which is read from the device itself."""
        unit = None if path.path.startswith("/") else self._unit(path.device)
        system = self._system(unit) if unit else None
        return super().read(path) if system is None else self.sight.blocks(path.path, system)

    def beyond(self, path: GrubPath, why: str) -> HiddenFile:
        unit = self._unit(path.device)
        system = self._system(unit) if unit else None
        assert system is not None  # something of it was hidden
        return self.sight.at(path, system, why)

    def name(self, path: GrubPath) -> str:
        """A file for people: /boot/vmlinuz, /dev/sda2:/vmlinuz where no mount shows it, else as GRUB names it."""
        location = self.locate(path)
        if location is not None:
            return location.host
        try:
            self.volume(path.device).find(path.path)
        except Hidden as hidden:
            return self.beyond(path, hidden.why).name
        except (DiskError, Unseen):
            pass
        return str(path)

    def unmounted(self, path: GrubPath) -> HiddenFile | None:
        """A file that no mount shows and GRUB's drivers find; None where a mount shows it, or nobody does."""
        try:
            self.volume(path.device).find(path.path)
        except Hidden as hidden:
            place = self.beyond(path, hidden.why)
            stat = place.stat()
            return place if stat and stat.kind == "file" else None
        except DiskError:
            pass
        return None

    def find(self, by: FindBy, value: str, hints: Sequence[str] = ()) -> Sequence[str]:
        """A hint that can be true is believed, becomes the device's name, and is answered as it was written."""
        return search.answer(self._drives, self._matching(by, value), value, hints)

    def volume(self, name: str) -> Volume:
        unit = self._unit(name)
        if unit is None:
            if self._drives.drive(name):
                raise DiskError(UNKNOWN_FS, "unknown filesystem")
            known = self._drives.drive(split(name)[0])
            raise DiskError(
                UNKNOWN_DEVICE, "no such partition" if known else f"disk `{name}' not found"
            )
        system = self._system(unit)
        if system is None or (system.mounts and not system.kind):
            raise DiskError(UNKNOWN_FS, "unknown filesystem")
        return self._volume(system)

    def locate(self, path: GrubPath) -> Location | None:
        """Where a file, or a directory, is below the root; None when GRUB would not find it or no mount shows it."""
        try:
            node = self.volume(path.device).find(path.path)[1]
        except (DiskError, Hidden, Unseen):
            return None
        return Location(path, node.mount, node.place) if node.mount and node.place else None

    def why_missing(self, path: GrubPath) -> str:
        """One sentence for what `locate` does not find; empty when it does."""
        try:
            node: Node = self.volume(path.device).find(path.path)[1]
        except NotFound:
            return f"{path} does not exist"
        except (Hidden, Unseen) as hidden:
            return f"{path}: {hidden}"
        except DiskError as error:
            return f"{path}: {error.message}"
        return (
            ""
            if node.place
            else f"{path}: {node.hidden or 'only directories below it are mounted'}"
        )

    def grub_path(self, path: str) -> GrubPath | None:
        """GRUB's name of a file below the root; None when it is on nothing that GRUB could read."""
        host = self.sysroot.resolve(path)
        mount = self.mounts.at(host)
        for unit, system in self._systems:
            if mount is not None and any(mount is mine for mine in system.mounts) and system.kind:
                inside = [*mount.root, *parts_of(host)[len(parts_of(mount.point)) :]]
                return GrubPath(self._drives.promise_name(unit), join(inside))
        return None

    def called(self, node: str) -> str:
        """GRUB's name of a block device below /dev; empty where this root does not have it."""
        disk, number = split_node(node)
        for unit in self._drives.units:
            if unit.drive.key == disk and (unit.number or 0) == (number or 0):
                return self._drives.promise_name(unit)
        return ""

    def keep(self, device: Device) -> Device:
        """One of `devices()`, by a name that it keeps whatever is learnt of its disk."""
        unit = next((unit for unit in self._drives.units if unit.name == device.name), None)
        return device._replace(name=self._drives.promise_name(unit)) if unit else device

    def lasting_name(self, name: str) -> str:
        """How grub-install names a device in its image: a volume, array or container by its id where that is known."""
        unit = self._unit(name)
        return self._drives.lasting_name(unit) if unit else name

    @cached_property
    def _opened(self) -> frozenset[str]:
        """The containers with /boot, which GRUB has unlocked to read its configuration."""
        boot = self._systems[0][1] if self._systems else None
        units = (unit for unit, system in self._systems if system is boot)
        return frozenset().union(*(unit.containers for unit in units))

    def _unit(self, name: str) -> BlockDevice | None:
        return self._drives.called(name)

    def _device(self, unit: BlockDevice) -> Device:
        system = self._system(unit)
        locked = min(unit.containers - self._opened, default="")
        why = "" if unit.drive.why == BOOT_IMAGE else unit.drive.why
        if unit.number and not unit.exact and not why:
            why = "its kind of partition map is not known"
        if system is None:
            return Device(unit.name, "", "", "", unit.partmap, unit.partuuid, why, locked=locked)
        return Device(
            unit.name, system.kind, system.uuid, system.label, unit.partmap, unit.partuuid, why,
            bool(system.mounts), locked, unit.filtered,
        )  # fmt: skip

    def _system(self, unit: BlockDevice) -> FileSystem | None:
        return next((self._as_grub(system) for mine, system in self._systems if mine is unit), None)

    def _as_grub(self, system: FileSystem) -> FileSystem:
        """The same without its kind where GRUB cannot read it; /boot it has read."""
        if system.kind != "ext2" or len(system.nodes) != 1 or system is self._systems[0][1]:
            return system
        if system.nodes not in self._known:
            from kexec_hook.disks.superblock import is_beyond_grub  # most machines have one

            beyond = is_beyond_grub(self.sysroot, system.nodes[0])
            self._known[system.nodes] = system._replace(kind="") if beyond else system
        return self._known[system.nodes]

    def _volume(self, system: FileSystem) -> Volume:
        if id(system) not in self._volumes:
            self._volumes[id(system)] = Volume(
                self.sysroot, self.mounts, system.mounts, system.kind or "ext2"
            )
        return self._volumes[id(system)]

    def _refuse_guess(self, name: str, unit: BlockDevice) -> None:
        """A number that the script wrote is looked up where it can mean one disk only.  Unseen"""
        if name not in unit.promised and self._drives.is_guess(unit.drive):
            raise search.number_unknown(name)

    def _refuse_unknown(self, name: str) -> None:
        """What GRUB may have and no file tells of: its memory, the network, volumes that are not assembled.  Unseen"""
        disk, part = split(name)
        if "," in part and self._drives.drive(disk):
            raise Unseen(f"({name}) is a partition inside of one, which Linux does not name so")
        if re.match(_GRUBS_ALONE, disk) or self._drives.may_exist(disk):
            raise search.not_shown(name)

    def _matching(self, by: FindBy, value: str) -> list[Candidate]:
        """The devices that answer, and those that may, in the order in which GRUB comes to them."""
        order = [unit for _, units in self._drives.in_order() for unit in units]
        systems = [(unit, system) for unit in order if (system := self._system(unit)) is not None]
        systems = [(unit, system) for unit, system in systems if system.kind or not system.mounts]
        found = []
        for unit, system in systems:
            try:
                if self._answers(unit, system, by, value):
                    found.append(Candidate(unit, system))
            except Unseen as unseen:
                found.append(Candidate(unit, system, unseen))
        if by != "file" and not found:
            found = [
                Candidate(unit, system, untold)
                for unit, system in systems
                if (untold := self.sight.untold(self._device(unit), system))
            ]
        if by != "file" and all(candidate.unseen for candidate in found):
            for unit, system in systems:
                if system.anything:
                    self._assumed[system.anything] = None
                    found.append(Candidate(unit, system))
        return found

    def _answers(self, unit: BlockDevice, system: FileSystem, by: FindBy, value: str) -> bool:
        """Does a file system answer to a UUID or label, or hold a file?  Unseen"""
        if by == "file":
            try:
                self._volume(system).find(value, "file")
            except Hidden as hidden:
                return self.sight.holds(GrubPath(unit.name, value), system, hidden.why)
            except DiskError:
                return False
            return True
        uuid, label = system.uuid, system.label
        if not uuid and not system.mounts and self.sight.is_image(system):
            device = self.sight.identify(self._device(unit), system)
            uuid, label = device.uuid, device.label
        if by == "label" and not label and system.nodes:
            from kexec_hook.disks.untold import untold_label  # few configurations search by label

            label = untold_label(self.sysroot, system)
        named, wanted = (uuid.lower(), value.lower()) if by == "fs_uuid" else (label, value)
        if not named or named != wanted:
            return False
        return bool(system.mounts) or not self.sight.is_beyond_grub(system)

    def _holds(self, system: FileSystem, path: str) -> Literal["yes", "hidden", "no"]:
        try:
            self._volume(system).find(path, "file")
        except Hidden:
            return "hidden"
        except DiskError:
            return "no"
        return "yes"

    def _name_units(self, systems: Sequence[FileSystem]) -> None:
        """The drive with /boot comes first and becomes hd0; then the others in the order of their names."""
        partuuids = links_by(self.sysroot, "partuuid")
        for system in systems:
            for node in system.nodes:
                unit = self._add(node, partuuids.get(node, ""))
                self._systems.append((unit, system))
            if not system.nodes:
                key = next((mount.source for mount in system.mounts), "")
                self._systems.append((self._drives.add_unknown(key), system))
        known = {node for system in systems for node in system.nodes}
        for node in sorted({*partuuids, *partitions(self.sysroot)} - known):
            unit = self._drives.add(node, partuuids.get(node, ""))
            self._systems.append((unit, FileSystem("", (node,))))

    def _add(self, node: str, partuuid: str) -> BlockDevice:
        if not node.startswith(("dm-", "md", "mapper/")):
            return self._drives.add(node, partuuid)
        return self._mapped.add(self._drives, node, partuuid)

    @cached_property
    def _mapped(self) -> Mapped:
        from kexec_hook.disks.mapped import Mapped  # few machines need it

        return Mapped(self.sysroot)

    def _believe_boot_image(self) -> None:
        """What GRUB called the disk at the last boot, where /proc/cmdline still has it and it fits."""
        found = re.search(
            r'(?:^|[\s"])BOOT_IMAGE=\(([^()\s]+)\)(\S*)', line_of(self.sysroot, "/proc/cmdline")
        )
        if found:
            name, path = found[1], found[2].rstrip('"')
            fitting = [(unit, system) for unit, system in self._systems if system.mounts]
            holders = sorted(
                (item for item in fitting if self._holds(item[1], path) != "no"),
                key=lambda item: self._holds(item[1], path) == "hidden",
            )
            # that kernel may be gone: then it was on the disk with /boot
            for unit, _ in (*holders, *fitting[:1]):
                if self._drives.take_hint(name, unit, BOOT_IMAGE):
                    return
