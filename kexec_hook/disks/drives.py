"""What GRUB calls the disks of a root: a guess that gets better with every hint, and says that it is one.

GRUB numbers disks as the firmware shows them, which no file tells.  In order: the
device in BOOT_IMAGE, which GRUB itself wrote at the last boot; the hint of a
`search`; hd0 for the disk with /boot, and the partition's number.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Family = Literal["hd", "lvm", "md", "crypto"]

BOOT_IMAGE = "from BOOT_IMAGE in /proc/cmdline"
HINT = "from the hint of a search"
UNTOLD = "nothing tells its number"
_PARTITION = r"(?P<disk>.*\d)p(?P<a>[1-9]\d*)|(?P<letters>[a-z]+)(?P<b>[1-9]\d*)"
_WHOLE = r"(sr|dm-|md|nvme\d+n|mmcblk|pmem|ubd)\d+"
_FIRMWARE = r"(hd|fd|cd)\d*"
_FAMILIES = {
    "lvm": ("lvm/", "lvmid/"),
    "md": ("md", "mduuid/"),
    "crypto": ("crypto", "cryptouuid/"),
}


class Drive:
    """A disk, or what GRUB treats as one: a logical volume, an array, an unlocked container."""

    def __init__(self, key: str, family: Family, name: str, why: str = "") -> None:
        self.key = key  # of the kernel: sda, nvme0n1, md0, mapper/vg-root
        self.family = family
        self.name = name  # GRUB's
        self.aliases: list[str] = []
        self.why = why  # where the name comes from

    @property
    def fixed(self) -> bool:
        """Somebody told its name, which does not change any more."""
        return self.why in (BOOT_IMAGE, HINT)

    def goes_by(self, name: str) -> bool:
        """Is this one of its names?  A container's id may be written in any case, and from 2.12 on with dashes."""
        if name.startswith("cryptouuid/"):
            name = "cryptouuid/" + name[len("cryptouuid/") :].replace("-", "").lower()
        return name == self.name or name in self.aliases


class BlockDevice:
    """What may hold a file system: a partition, or a drive without partitions."""

    def __init__(
        self,
        drive: Drive,
        number: int | None = None,
        partmap: str = "",
        partuuid: str = "",
        exact: bool = True,
    ) -> None:
        self.drive = drive
        self.number = number  # 0: the drive itself; None: not known
        self.partmap = partmap  # gpt, msdos; empty: not known, or none
        self.partuuid = partuuid
        self.exact = exact  # is the kind of the partition map known?
        self.containers: frozenset[str] = frozenset()  # that must be unlocked to read it
        self.filtered = False  # does it lie on a logical volume or an array?
        self.promised: list[str] = []  # names that a search gave for it, and those we gave out

    @property
    def name(self) -> str:
        """hd0,gpt2"""
        return f"{self.drive.name},{self.partmap}{self.number}" if self.number else self.drive.name

    def is_called(self, name: str) -> bool:
        """Is this one of its names: hd0,2 = hd0,gpt2, lvmid/.. = lvm/vg-root, ahci0,gpt2 where a search said so?"""
        if name in self.promised:
            return True
        disk, part = split(name)
        return self.drive.goes_by(disk) and self.is_part(part)

    def is_part(self, part: str) -> bool:
        """Does `gpt2`, `msdos2`, `2` or nothing at all name this part of its drive?"""
        if not part:
            return not self.number
        partmap, number = part_of(part)
        if not number or self.number == 0:
            return False
        return self.number in (None, number) and (partmap in ("", self.partmap) or not self.exact)


class Drives:
    """All drives and units of a root, and their names as far as they are known by now."""

    def __init__(self, efi: bool) -> None:
        self.units: list[BlockDevice] = []
        self.renamed_late = False  # a name that was given out turned out to be another disk's
        self._drives: dict[str, Drive] = {}
        self._efi = efi

    def add(
        self,
        node: str,
        partuuid: str = "",
        mapped: str = "",
        dm_uuid: str = "",
        array: tuple[str, str] = ("", ""),
    ) -> BlockDevice:
        """The unit of a block device: `sda2`; `dm-0` with name and uuid in device-mapper; `md0` with name and id."""
        disk, number = split_node(node)
        family, aliases = _family(
            node, mapped, dm_uuid, array[0] or (disk if disk.startswith("md") else "")
        )
        aliases += [f"mduuid/{array[1]}"] if family == "md" and array[1] else []
        part = re.match(r"part(\d+)-", dm_uuid)
        if part:  # a partition of a multipath disk
            disk, number = mapped.rpartition("part")[0] or mapped, int(part[1])
        drive = self._drives.get(disk)
        if drive is None:
            drive = self._drives[disk] = self._new_drive(disk, family, aliases)
        unit = BlockDevice(drive, number, partuuid=partuuid)
        if number and partuuid:
            unit.partmap = "msdos" if re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{2}", partuuid) else "gpt"
        elif number:
            unit.partmap, unit.exact = "gpt" if self._efi else "msdos", False
        self.units.append(unit)
        return unit

    def _new_drive(self, disk: str, family: Family, aliases: list[str]) -> Drive:
        """One with a name of its own, or with a guess at its number."""
        if not aliases:
            return Drive(disk, family, self._free("cd" if disk.startswith("sr") else "hd"), UNTOLD)
        drive = Drive(disk, family, aliases[0])
        drive.aliases = aliases[1:]
        return drive

    def add_unknown(self, key: str) -> BlockDevice:
        """The unit of a file system whose block device is not known."""
        drive = self._drives.setdefault(
            key, Drive(key, "hd", self._free("hd"), why="nothing tells its device")
        )
        unit = BlockDevice(drive, exact=False)
        self.units.append(unit)
        return unit

    def in_order(self) -> list[tuple[Drive, list[BlockDevice]]]:
        """Every drive with its units as GRUB's iterator may meet them: of a drive the last partition first."""
        drives = sorted(
            self._drives.values(), key=lambda drive: (drive.family != "hd", _natural(drive.name))
        )
        return [
            (
                drive,
                sorted((u for u in self.units if u.drive is drive), key=lambda u: -(u.number or 0)),
            )
            for drive in drives
        ]

    def called(self, name: str) -> BlockDevice | None:
        """The unit that answers to a name.  What was given out, in $prefix say, stays true when we learn better."""
        promised = next((unit for unit in self.units if name in unit.promised), None)
        return promised or next((unit for unit in self.units if unit.is_called(name)), None)

    def promise_name(self, unit: BlockDevice) -> str:
        """The unit's name, which it will answer to from now on."""
        if unit.name not in unit.promised:
            unit.promised.append(unit.name)
        return unit.name

    def lasting_name(self, unit: BlockDevice) -> str:
        """The unit's name by the id of its volume, array or container, where it has one."""
        by_id = _FAMILIES.get(unit.drive.family, ("", ""))[1]
        known = next(
            (alias for alias in unit.drive.aliases if by_id and alias.startswith(by_id)), ""
        )
        return (
            f"{known},{unit.partmap}{unit.number}"
            if known and unit.number
            else known or self.promise_name(unit)
        )

    @property
    def known(self) -> dict[str, tuple[str, str]]:
        """The names that somebody told, and who; by the kernel's name of the disk."""
        return {
            drive.key: (drive.name, drive.why) for drive in self._drives.values() if drive.fixed
        }

    def believe(self, known: Mapping[str, tuple[str, str]]) -> None:
        """Take the names that an earlier reading of the same configuration told, before any is given out."""
        for key, (name, why) in known.items():
            drive = self._drives.get(key)
            if drive and not drive.fixed and (drive.name == name or self._rename(drive, name)):
                drive.why = why

    def drive(self, name: str) -> Drive | None:
        return next((d for d in self._drives.values() if d.goes_by(name)), None)

    def is_guess(self, drive: Drive) -> bool:
        """Could its name be another disk's?  Not where there is one disk, or where all others are known."""
        return self._is_one_of_several(drive, (UNTOLD,))

    def is_proven(self, drive: Drive) -> bool:
        """The same for the order of a search: a hint is only what grub-mkconfig took the disk's number for."""
        return not self._is_one_of_several(drive, (UNTOLD, HINT))

    def _is_one_of_several(self, drive: Drive, whys: tuple[str, ...]) -> bool:
        firmware = [other for other in self._drives.values() if re.fullmatch(_FIRMWARE, other.name)]
        alike = [other for other in firmware if other.why in whys]
        return drive in alike and len(alike) > 1

    def is_known(self, hint: str, drive: Drive) -> bool:
        """Does GRUB certainly call the drive of a hint so?"""
        disk = split(hint.rstrip(","))[0]
        return drive.goes_by(disk) and self.is_proven(drive)

    def in_known_order(self, one: Drive, other: Drive) -> bool:
        """Is it more than a guess which of two GRUB comes to first?

        Volumes, arrays and containers that it has met already come before the firmware's disks, others after them
        (kern/disk.c, grub_disk_dev_register; disk/diskfilter.c, grub_diskfilter_iterate).
        """
        if one.family != "hd" or other.family != "hd":
            return False
        numbers = sorted(
            self._numbers()
        )  # with a gap, the number of the last one is none that GRUB gives
        no_gap = numbers == list(range(len(numbers)))
        return no_gap and self.is_proven(one) and self.is_proven(other)

    def _numbers(self) -> list[int]:
        return [int(d.name[2:]) for d in self._drives.values() if re.fullmatch(r"hd\d+", d.name)]

    def may_exist(self, name: str) -> bool:
        """Has GRUB a disk of this name, since it has one with a higher number?"""
        found = re.fullmatch(r"hd(\d+)", name)
        return found is not None and int(found[1]) < max(self._numbers(), default=0)

    def may_be_called(self, hint: str, unit: BlockDevice) -> bool:
        """Can a hint mean a partition of a firmware's disk, by its name or by one that it may have?"""
        disk, part = split(hint[:-1] if hint.endswith(",") else hint)
        if not (unit.is_part(part) or (hint.endswith(",") and not part)):
            return False
        other = self.drive(disk)
        if unit.drive is other:
            return True
        free = not unit.drive.fixed and not (other and other.fixed)
        return free and unit.drive.family == "hd" and bool(re.fullmatch(_FIRMWARE, disk))

    def take_hint(self, name: str, unit: BlockDevice, why: str) -> str:
        """Take a name for a unit if it can be one; the name by which it goes now, or nothing.

        `hd0,` is what a search calls "the partitions of hd0".
        """
        disk, part = split(name[:-1] if name.endswith(",") else name)
        if not (unit.is_part(part) or (name.endswith(",") and not part)):
            return ""
        if unit.drive.family != "hd":
            known = self._is_volume(disk, unit.drive)
        elif re.fullmatch(_FIRMWARE, disk):
            known = unit.drive.goes_by(disk) or self._rename(unit.drive, disk)
        else:
            # ahci0 is a name after `nativedisk` only, but then it is this one
            unit.promised.append(f"{disk},{part}" if part else disk)
            return ""
        if not known:
            return ""
        if unit.drive.family == "hd" and unit.drive.why != BOOT_IMAGE:
            unit.drive.why = why
        if part and not unit.exact:
            partmap, unit.number = part_of(part)
            unit.partmap, unit.exact = partmap or unit.partmap, bool(partmap)
        return name if part or not name.endswith(",") else unit.name

    def _is_volume(self, disk: str, drive: Drive) -> bool:
        """Is it one of the names of a logical volume, an array, a container?  If we could not know, it becomes one."""
        by_name, by_id = _FAMILIES[drive.family]
        names = (drive.name, *drive.aliases)
        if not drive.goes_by(disk):
            same_kind = any(known.startswith(by_id) == disk.startswith(by_id) for known in names)
            if same_kind or not disk.startswith((by_name, by_id)):
                return False
            drive.aliases.append(disk)
        return True

    def _rename(self, drive: Drive, name: str) -> bool:
        other = self.drive(name)
        if drive.fixed or (other and other.fixed):
            return False
        given_out = any(unit.promised for unit in self.units if unit.drive is drive)
        if other:
            taken = any(unit.promised for unit in self.units if unit.drive is other)
            self.renamed_late = self.renamed_late or taken
            other.name = self._free("hd") if given_out else drive.name
        self.renamed_late = self.renamed_late or given_out
        drive.name = name
        return True

    def _free(self, kind: str) -> str:
        taken = {drive.name for drive in self._drives.values()}
        return next(f"{kind}{n}" for n in range(len(taken) + 1) if f"{kind}{n}" not in taken)


def split(name: str) -> tuple[str, str]:
    """`hd0,gpt2` -> `hd0` and `gpt2`; a comma after a backslash belongs to the disk (kern/disk.c, find_part_sep)."""
    found = re.fullmatch(r"((?:[^\\,]|\\,|\\)*)(?:,(.*))?", name, re.DOTALL)
    return (found[1], found[2] or "") if found else (name, "")


def part_of(part: str) -> tuple[str, int]:
    """`gpt2` -> gpt, 2; nothing and 0 where it is no partition (kern/partition.c, grub_partition_probe)."""
    found = re.fullmatch(r"([A-Za-z]*)\s*(0[xX][0-9a-fA-F]{1,8}|\d{1,10})", part, re.ASCII)
    if not found:
        return "", 0
    digits = found[2]
    octal = digits.startswith("0") and digits[:2] not in ("0x", "0X")
    try:
        return found[1], int(digits, 8 if octal else 0)
    except ValueError:  # 08: octal to grub_strtoul
        return "", 0


def split_node(node: str) -> tuple[str, int]:
    """`sda2` -> sda, 2; `nvme0n1p2` -> nvme0n1, 2; `dm-0`, `md127` and `sda` are drives: 0."""
    base = node.rpartition("/")[2]
    if re.fullmatch(_WHOLE, base) or node.startswith("mapper/"):
        return node, 0
    found = re.fullmatch(_PARTITION, base)
    if not found:
        return node, 0
    return found["disk"] or found["letters"], int(found["a"] or found["b"])


def _family(node: str, mapped: str, dm_uuid: str, md_name: str) -> tuple[Family, list[str]]:
    """The kind of a drive and the names it has for certain, first the one that GRUB's iterator uses."""
    if dm_uuid.startswith("LVM-") and len(dm_uuid) >= 68:
        return "lvm", [f"lvm/{mapped}", f"lvmid/{_lvm_id(dm_uuid[4:36])}/{_lvm_id(dm_uuid[36:68])}"]
    crypt = re.match(r"CRYPT-(?:LUKS[12]|PLAIN)-([0-9a-fA-F]{32})-", dm_uuid)
    by_name = re.fullmatch(r"luks-([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})", mapped)
    known = crypt or by_name
    if known:
        return "crypto", ["crypto0", f"cryptouuid/{known[1].replace('-', '').lower()}"]
    if dm_uuid.startswith("CRYPT-"):
        return "crypto", ["crypto0"]
    if md_name:
        return "md", [f"md/{md_name[2:] if re.fullmatch(r'md[0-9]+', md_name) else md_name}"]
    if dm_uuid.startswith(("mpath-", "part")):
        return "hd", []
    if node.startswith(("dm-", "mapper/")):
        # Without its uuid: device-mapper's name of a logical volume has a dash that is not doubled.
        if re.search(r"[^-](?:--)*-[^-]", mapped):
            return "lvm", [f"lvm/{mapped}"]
        return "crypto", ["crypto0"]
    return "hd", []


def _lvm_id(raw: str) -> str:
    """LVM writes its 32 characters in groups of 6-4-4-4-4-4-6."""
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(raw[a:b] for a, b in zip(cuts, cuts[1:]))


def _natural(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\D*)(\d+)", name)
    return (found[1], int(found[2])) if found else (name, 0)
