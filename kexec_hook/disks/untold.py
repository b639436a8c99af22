"""The UUIDs of devices that udev has given no link: another device, a copy of the first perhaps, has taken it.

systemd's udev keeps what it found on a device in /run/udev/data, b8:18 for a block device (device-private.c).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kexec_hook.system.facts import Facts

if TYPE_CHECKING:
    from kexec_hook.disks.mounts import Mount
    from kexec_hook.system.sysroot import Sysroot


def untold_uuids(
    sysroot: Sysroot, mounted: Mapping[str, Mount], others: Iterable[str]
) -> dict[str, str]:
    """Node -> UUID: as udev knows it; of what is mounted also as the kernel or mount was told to find it."""
    facts = Facts(sysroot.unnoted)  # disks come and go
    found = {node: _by_udev(facts, node) for node in {*mounted, *others}}
    for node, mount in mounted.items():
        found[node] = found[node] or _by_name(facts, mount)
    return {node: uuid for node, uuid in found.items() if uuid}


def _by_udev(facts: Facts, node: str) -> str:
    number = facts.text(f"/sys/class/block/{node}/dev") or ""
    if not re.fullmatch(r"\d+:\d+", number):
        return ""
    data = facts.text(f"/run/udev/data/b{number}") or ""
    known = dict(re.findall("^E:(ID_FS_[A-Z]+)=(.*)$", data, re.M))
    return known.get("ID_FS_UUID", "") if known.get("ID_FS_USAGE") == "filesystem" else ""


def _by_name(facts: Facts, mount: Mount) -> str:
    """root=UUID=... of the kernel's command line, or the line in fstab(5)."""
    if mount.point == "/":
        roots = re.findall(r'(?:^|[\s"])root=(\S+)', facts.text("/proc/cmdline") or "")
        if roots and (found := _uuid(roots[-1])):
            return found
    for line in (facts.text("/etc/fstab") or "").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1] == mount.point and not line.startswith("#"):
            return _uuid(fields[0])
    return ""


def _uuid(name: str) -> str:
    return name[len("UUID=") :].strip('"') if name.startswith("UUID=") else ""
