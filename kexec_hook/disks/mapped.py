"""What Linux says of the devices it has made of others: their names and ids, and what has to be unlocked for them."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.disks.drives import BlockDevice, Drive, Drives, split_node
from kexec_hook.disks.mounts import line_of
from kexec_hook.system.sysroot import Sysroot

_CONTAINER = r"CRYPT-\w+-([0-9a-f]{32})-"
_DEEPEST = 16  # devices upon devices


class Mapped:
    """The devices of device-mapper, and the arrays, of a root."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._sysroot = sysroot
        self._names = _mapper_names(sysroot)
        self._arrays, self._ids = _array_names(sysroot)

    def add(self, drives: Drives, node: str, partuuid: str) -> BlockDevice:
        """The unit of one of them."""
        is_mapped = node.startswith("dm-")
        dm_uuid = line_of(self._sysroot, f"/sys/class/block/{node}/dm/uuid") if is_mapped else ""
        name = self._names.get(node, "" if is_mapped else node.partition("mapper/")[2])
        disk = split_node(node)[0]
        array = (self._arrays.get(disk, ""), self._ids.get(disk, ""))
        unit = drives.add(node, partuuid, name, dm_uuid, array)
        if unit.drive.family != "hd":
            below = _below(self._sysroot, disk)
            unit.containers = _containers(below, disk, unit.drive)
            unit.filtered = any(
                node.startswith("md") or uuid.startswith("LVM-") for node, uuid in below
            )
        return unit


def _mapper_names(sysroot: Sysroot) -> dict[str, str]:
    """Node of device-mapper -> its name below /dev/mapper."""
    names = sysroot.listdir("/dev/mapper")
    return {sysroot.resolve(f"/dev/mapper/{name}")[len("/dev/") :]: name for name in names}


def _array_names(sysroot: Sysroot) -> tuple[dict[str, str], dict[str, str]]:
    """The names of arrays in their superblocks, and their ids; by node.

    GRUB takes the home host off the name (disk/diskfilter.c, grub_diskfilter_make_raid), as udev does for /dev/md.
    """
    names, ids = {}, {}
    for name in sysroot.listdir("/dev/md"):
        if not name.isdigit():
            names[sysroot.resolve(f"/dev/md/{name}")[len("/dev/") :]] = name
    for link in sysroot.listdir("/dev/disk/by-id"):
        found = re.fullmatch(r"md-(?:name-(?:[^:]*:)?(?P<name>.+)|uuid-(?P<id>[0-9a-f:]+))", link)
        if found:
            node = sysroot.resolve(f"/dev/disk/by-id/{link}")[len("/dev/") :]
            if found["id"]:
                ids[node] = found["id"].replace(":", "")
            else:
                names[node] = found["name"]
    return names, ids


def opened_ids(sysroot: Sysroot) -> set[str]:
    """The ids of the encrypted containers that Linux has opened, by device-mapper or by the names of cryptsetup."""
    uuids = (
        line_of(sysroot, f"/sys/class/block/{node}/dm/uuid")
        for node in sysroot.listdir("/sys/class/block")
        if node.startswith("dm-")
    )
    named = (name[len("luks-") :] for name in sysroot.listdir("/dev/mapper") if "luks-" in name[:5])
    told = {found[1] for uuid in uuids if (found := re.match(_CONTAINER, uuid))}
    return told | {name.replace("-", "").lower() for name in named}


def _below(sysroot: Sysroot, disk: str) -> list[tuple[str, str]]:
    """The devices that a disk is made of, down to the last, each with its uuid in device-mapper."""
    found = []
    above = [disk]
    for _ in range(_DEEPEST):
        above = [
            name for node in above for name in sysroot.listdir(f"/sys/class/block/{node}/slaves")
        ]
        found += [(node, line_of(sysroot, f"/sys/class/block/{node}/dm/uuid")) for node in above]
    return found


def _containers(below: list[tuple[str, str]], disk: str, drive: Drive) -> frozenset[str]:
    """The encrypted containers that a disk lies in, itself perhaps: by their ids, or by what Linux calls them."""
    found = {_id(drive, disk)} if drive.family == "crypto" else set()
    for node, uuid in below:
        if uuid.startswith("CRYPT-"):
            known = re.match(_CONTAINER, uuid)
            found.add(known[1] if known else node)
    return frozenset(found)


def _id(drive: Drive, disk: str) -> str:
    names = (name.partition("cryptouuid/")[2] for name in drive.aliases)
    return next(filter(None, names), disk)
