"""The UUIDs of devices that udev has given no link: another device, a copy of the first perhaps, has taken it.

systemd's udev keeps what it found on a device in /run/udev/data, b8:18 for a block device (device-private.c).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kexec_hook.system.sysroot import Sysroot, SysrootError

if TYPE_CHECKING:
    from kexec_hook.disks.mounts import Mount


def untold_uuids(
    sysroot: Sysroot, mounted: Mapping[str, Mount], others: Iterable[str]
) -> dict[str, str]:
    """Node -> UUID: as udev knows it; of what is mounted also as the kernel or mount was told to find it."""
    unnoted = Sysroot(sysroot.root, is_host=sysroot.is_host)  # disks come and go
    found = {node: _by_udev(unnoted, node) for node in {*mounted, *others}}
    for node, mount in mounted.items():
        found[node] = found[node] or _by_name(unnoted, mount)
    return {node: uuid for node, uuid in found.items() if uuid}


def _by_udev(sysroot: Sysroot, node: str) -> str:
    number = _text(sysroot, f"/sys/class/block/{node}/dev").strip()
    if not re.fullmatch(r"\d+:\d+", number):
        return ""
    known = dict(
        re.findall("^E:(ID_FS_[A-Z]+)=(.*)$", _text(sysroot, f"/run/udev/data/b{number}"), re.M)
    )
    return known.get("ID_FS_UUID", "") if known.get("ID_FS_USAGE") == "filesystem" else ""


def _by_name(sysroot: Sysroot, mount: Mount) -> str:
    """root=UUID=... of the kernel's command line, or the line in fstab(5)."""
    if mount.point == "/":
        roots = re.findall(r'(?:^|[\s"])root=(\S+)', _text(sysroot, "/proc/cmdline"))
        if roots and (found := _uuid(roots[-1])):
            return found
    for line in _text(sysroot, "/etc/fstab").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1] == mount.point and not line.startswith("#"):
            return _uuid(fields[0])
    return ""


def _uuid(name: str) -> str:
    return name[len("UUID=") :].strip('"') if name.startswith("UUID=") else ""


def _text(sysroot: Sysroot, path: str) -> str:
    try:
        return sysroot.text(path, 1 << 16)
    except SysrootError:
        return ""
