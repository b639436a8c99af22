"""The UUID and label of a device that udev has given no link: another, a copy of the first perhaps, has taken it.

systemd's udev keeps what it found on a device in /run/udev/data, b8:18 for a block device (device-private.c).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kexec_hook.disks.mounts import unescape_udev
from kexec_hook.system.facts import Facts

if TYPE_CHECKING:
    from kexec_hook.disks.mounts import FileSystem, Mount
    from kexec_hook.system.sysroot import Sysroot


def untold_uuids(
    sysroot: Sysroot, mounted: Mapping[str, Mount], others: Iterable[str]
) -> dict[str, str]:
    """Node -> UUID: as udev knows it; of what is mounted also as the kernel or mount was told to find it."""
    facts = Facts(sysroot.unnoted)  # disks come and go
    found = {node: _by_udev(facts, node, "ID_FS_UUID") for node in {*mounted, *others}}
    for node, mount in mounted.items():
        found[node] = found[node] or _by_name(facts, mount, "UUID")
    return {node: uuid for node, uuid in found.items() if uuid}


def untold_label(sysroot: Sysroot, system: FileSystem) -> str:
    """As udev knows it, or the kernel or mount was told to find it; empty where the file system has none."""
    facts = Facts(sysroot.unnoted)
    found = (_by_udev(facts, node, "ID_FS_LABEL_ENC") for node in system.nodes)
    told = (_by_name(facts, mount, "LABEL") for mount in system.mounts)
    return unescape_udev(next(filter(None, (*found, *told)), ""))


def _by_udev(facts: Facts, node: str, what: str) -> str:
    number = facts.text(f"/sys/class/block/{node}/dev") or ""
    if not re.fullmatch(r"\d+:\d+", number):
        return ""
    data = facts.text(f"/run/udev/data/b{number}") or ""
    known = dict(re.findall("^E:(ID_FS_[A-Z_]+)=(.*)$", data, re.M))
    return known.get(what, "") if known.get("ID_FS_USAGE") == "filesystem" else ""


def _by_name(facts: Facts, mount: Mount, what: str) -> str:
    """root=UUID=... of the kernel's command line, or the line in fstab(5)."""
    if mount.point == "/":
        roots = re.findall(r'(?:^|[\s"])root=(\S+)', facts.text("/proc/cmdline") or "")
        if roots and (found := _named(roots[-1], what)):
            return found
    for line in (facts.text("/etc/fstab") or "").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1] == mount.point and not line.startswith("#"):
            return _named(fields[0], what)
    return ""


def _named(name: str, what: str) -> str:
    return name[len(what) + 1 :].strip('"') if name.startswith(f"{what}=") else ""
