"""Proxmox VE's proxmox-boot-tool: GRUB, its configuration and its kernels on partitions that are not mounted.

proxmox-kernel-helper, proxmox-boot-tool (init_bootloader) and zz-proxmox-boot: the UUIDs in /etc/kernel/
proxmox-boot-uuids, one a line; on a BIOS grub-install gets the partition as --boot-directory, so that GRUB reads
/grub/grub.cfg there.  /boot/grub/grub.cfg is not read.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kexec_hook.disks.mounts import links_by
from kexec_hook.grub.disks import GrubPath, Unseen
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.system.sysroot import SysrootError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.system.sysroot import Sysroot

LIST = "/etc/kernel/proxmox-boot-uuids"
SYNC = "proxmox-boot-tool refresh"


class Esp(NamedTuple):
    """A partition of the list."""

    node: str  # /dev/sda2; where it is not there, its UUID
    place: GrubPath | None = None  # the directory whose grub.cfg GRUB reads first
    why: str = ""  # there is none
    fix: str = ""


def esps(sysroot: Sysroot, disks: RootDisks) -> list[Esp]:
    """The partitions that proxmox-boot-tool keeps, in the order of its list; none where it is not in use."""
    uuids = _uuids(sysroot)
    if not uuids:
        return []
    nodes = {uuid.lower(): node for node, uuid in links_by(sysroot, "uuid").items()}
    directories = ("/EFI/proxmox", "/grub") if disks.is_efi else ("/grub",)
    return [_esp(uuid, nodes.get(uuid, ""), directories, disks) for uuid in uuids]


def findings(sysroot: Sysroot, disks: RootDisks) -> Iterator[Objection | Note]:
    """Partitions of the list that cannot be read: at least one must be."""
    found = esps(sysroot, disks)
    unread = [esp for esp in found if esp.place is None]
    if not unread:
        return
    named = "; ".join(f"{esp.node}: {esp.why}" for esp in unread)
    if len(unread) < len(found):
        yield Note(
            f"proxmox-boot-tool keeps GRUB on several partitions, and not all of them can be read ({named})",
            code="proxmox-boot-tool",
            fix=unread[0].fix,
        )
    elif not disks.is_efi or not _is_started(sysroot):
        yield Objection(
            f"GRUB reads its configuration from the partitions of proxmox-boot-tool, which cannot be read ({named})",
            code="not-mounted",
            fix=unread[0].fix,
        )


def _is_started(sysroot: Sysroot) -> bool:
    """Does the firmware tell which entry started this system?"""
    from kexec_hook.system import efi

    return efi.started_by(sysroot) is not None


def _uuids(sysroot: Sysroot) -> list[str]:
    try:
        lines = sysroot.text(LIST, 1 << 16).split("\n")
    except SysrootError:
        return []
    return [
        line.lower()
        for line in map(str.strip, lines)
        if re.fullmatch("[0-9a-fA-F]{4}-[0-9a-fA-F]{4}", line)
    ]


def _esp(uuid: str, node: str, directories: tuple[str, ...], disks: RootDisks) -> Esp:
    if not node:
        return Esp(uuid.upper(), None, "it is not there", "proxmox-boot-tool clean")
    device = disks.called(node)
    for directory in directories:
        try:
            if disks.stat(GrubPath(device, f"{directory}/grub.cfg")):
                return Esp(f"/dev/{node}", GrubPath(device, directory))
        except Unseen as unseen:
            return Esp(f"/dev/{node}", None, unseen.reason, unseen.fix)
    if disks.is_efi and _holds(disks, GrubPath(device, "/loader/loader.conf")):
        return Esp(f"/dev/{node}", None, "it holds systemd-boot, not GRUB")
    return Esp(f"/dev/{node}", None, "it holds no grub.cfg", SYNC)


def _holds(disks: RootDisks, path: GrubPath) -> bool:
    try:
        return disks.stat(path) is not None
    except Unseen:
        return False
