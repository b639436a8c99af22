"""Which GRUB will a BIOS start: the disks that begin with GRUB's boot code, and the configuration it leads to."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kexec_hook.disks.drives import split_node
from kexec_hook.grub.disks import GrubPath, Unseen
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import NotPermittedError, Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.disks import FindBy
    from kexec_hook.grub.image import Embedded
    from kexec_hook.plugins.api import BootConfig, Decision

_DIRECTORIES = ("/boot/grub", "/boot/grub2")
_DISKS = r"(?:sd|vd|xvd|hd)[a-z]+|nvme\d+n\d+|mmcblk\d+"
_EDD = "/sys/firmware/edd/int13_dev80/mbr_signature"  # of the disk that the BIOS starts from
# What grub-install builds in where the disk of /boot is not the one that starts (util/grub-install.c).
_SEARCH = r"^search\.(?P<by>fs_uuid|fs_label|file) (?P<what>[^\s$]+) root\b.*$"
_SET_PREFIX = r"^set prefix=\(\$root\)'?(?P<path>[^'\n]*)'?$"
_HARMLESS = r"(cryptomount -u \S+|insmod \S+|set debug=.*|(configfile|source|normal) \$prefix/grub\.cfg|normal|)\s*$"
_SOUGHT: dict[str, tuple[FindBy, str]] = {
    "fs_uuid": ("fs_uuid", "has the UUID"),
    "fs_label": ("label", "has the label"),
    "file": ("file", "holds"),
}


class Lead(NamedTuple):
    """A disk that begins with GRUB's boot code, and where that code looks for its configuration."""

    disk: str  # /dev/sda
    prefix: GrubPath | None  # None: not known
    why: str = ""  # it is not known
    gone: bool = False  # that is not there any more
    same: bool = False  # it is the core.img that this system has installed
    signature: str = ""  # of the disk, as Linux shows what the BIOS tells
    inside: bool = False  # its configuration is built in (grub-mkstandalone)
    foreign: bool = False  # its boot code is not GRUB's
    modules: frozenset[str] = frozenset()  # those that are built in; none: not known
    variables: tuple[tuple[str, str], ...] = ()  # that it sets before it reads its configuration


class Found(NamedTuple):
    """Where an image of GRUB reads its configuration."""

    prefix: GrubPath | None = None  # None: not known
    why: str = ""  # it is not known
    gone: bool = False  # that is not there any more


class Leads(NamedTuple):
    """What the disks begin with that a BIOS may start from."""

    found: list[Lead]
    refused: list[str]  # disks that could not be read
    foreign: list[str]  # disks with boot code of something else: Windows, a boot manager


def findings(decision: Decision) -> Iterator[Objection | Note]:
    """Everything that makes a BIOS start another GRUB than the one that was evaluated, or may."""
    evaluation = decision.evaluation
    if evaluation is None:
        return
    found, refused, foreign = leads(decision.sysroot, decision.disks)
    unknown = foreign and not found and not refused and decision.sysroot.is_host
    if unknown and not leads(decision.sysroot, decision.disks, removable=True).found:
        # A GRUB that a hypervisor brings along (Linode) needs no boot code, and such disks have none.
        yield Objection(
            f"the boot code of {' and '.join(foreign)} is not GRUB's, so which system it starts next is not known",
            code="boot-disk-unknown",
            fix=f"grub-install {foreign[0]}, if GRUB is to be started",
        )
    if refused:
        yield Note(
            f"which GRUB the firmware starts is not known: {refused[0]} is not readable by this user",
            code="boot-code",
        )
    config = evaluation.config
    ours = [_prefix(each) for each in (config, *config.others)]
    found = living(found, decision.disks)
    if all(_is_ours(lead, ours, decision.disks) for lead in found):
        return
    names = " and ".join(lead.disk for lead in found)
    if len({place_of(lead.prefix, decision.disks) if lead.prefix else None for lead in found}) > 1:
        yield Objection(
            f"{names} begin with GRUB's boot code and lead to different configurations "
            f"({', '.join(_shown(lead) for lead in found)}), and which one the firmware starts cannot be known",
            code="boot-disk-unknown",
            fix=f"run grub-install on {names}",
        )
    elif found[0].inside:
        yield Objection(
            f"the boot code of {names} has its configuration inside, and that is not followed",
            code="cannot-be-known",
        )
    elif found[0].prefix is None:
        yield Note(
            f"where the boot code of {names} leads is not known ({found[0].why})",
            code="boot-code",
        )
    else:
        yield Objection(
            f"the boot code of {names} leads GRUB to {found[0].prefix}/grub.cfg, not to {config.path}",
            code="other-grub",
        )


def leads(sysroot: Sysroot, disks: RootDisks, *, removable: bool = False) -> Leads:
    found: list[Lead] = []
    refused, foreign = [], []
    first = _first_of_bios(sysroot)
    for disk in _disks(sysroot, removable):
        try:
            lead = _lead(sysroot, disks, disk)
        except NotPermittedError:
            refused.append(f"/dev/{disk}")
            continue
        except SysrootError:
            continue
        if lead and lead.foreign:
            foreign.append(lead.disk)
            continue
        if lead and first and lead.signature == first:
            return Leads([lead], [], [])
        found += [lead] if lead else []
    return Leads(found, refused, foreign)


def living(found: list[Lead], disks: RootDisks) -> list[Lead]:
    """Without what is left over and leads nowhere, if something leads here: that has started this system."""
    ours = [place for place in map(disks.grub_path, _DIRECTORIES) if place]
    alive = [lead for lead in found if not _leads_nowhere(lead, disks)]
    return alive if any(_is_ours(lead, ours, disks) for lead in alive) else found


def _leads_nowhere(lead: Lead, disks: RootDisks) -> bool:
    """Is there no configuration where it leads?"""
    try:
        config = lead.prefix and lead.prefix._replace(path=f"{lead.prefix.path}/grub.cfg")
        return disks.stat(config) is None if config else lead.gone
    except Unseen:
        return False


def _prefix(config: BootConfig) -> GrubPath:
    device, _, path = config.prefix[1:].partition(")")
    return GrubPath(device, path)


def _is_ours(lead: Lead, ours: Sequence[GrubPath], disks: RootDisks) -> bool:
    """Does a disk lead to what was evaluated?"""
    if lead.prefix is None:
        return lead.same
    return any(_is_same(lead.prefix, each, disks) for each in ours)


def _is_same(one: GrubPath, ours: GrubPath, disks: RootDisks) -> bool:
    name, path = place_of(one, disks)
    own_name, own_path = place_of(ours, disks)
    # SUSE's starts at a subvolume
    return name == own_name and (
        path == own_path or (_is_btrfs(ours, disks) and own_path.endswith(path))
    )


def place_of(path: GrubPath, disks: RootDisks) -> tuple[str, str]:
    """One spelling of a file: several devices of one file system are one place."""
    try:
        device = disks.device(path.device)
    except Unseen:
        device = None
    name = (device.uuid or device.name) if device else path.device
    return name, join(parts_of(path.path))


def _is_btrfs(path: GrubPath, disks: RootDisks) -> bool:
    device = disks.device(path.device)
    return device is not None and device.fs == "btrfs"


def _shown(lead: Lead) -> str:
    if lead.prefix is None:
        return f"{lead.disk}: {lead.why}"
    return f"{lead.disk}: {lead.prefix}"


def _disks(sysroot: Sysroot, removable: bool) -> list[str]:
    """What a BIOS may start from: that can be pulled out, or that cannot."""
    known = sysroot.listdir("/sys/block") or sysroot.listdir("/dev")
    disks = [disk for disk in known if re.fullmatch(_DISKS, disk)]
    return [disk for disk in disks if _is_removable(sysroot, disk) is removable]


def _is_removable(sysroot: Sysroot, disk: str) -> bool:
    try:
        return sysroot.text(f"/sys/block/{disk}/removable", 16).strip() == "1"
    except SysrootError:
        return False


def _first_of_bios(sysroot: Sysroot) -> str:
    try:
        return sysroot.text(_EDD, 64).strip().lower()
    except SysrootError:
        return ""


def _lead(sysroot: Sysroot, disks: RootDisks, disk: str) -> Lead | None:
    """Where a disk's boot code leads; None where it is not GRUB's.  SysrootError"""
    from kexec_hook.grub import image

    lead = Lead(f"/dev/{disk}", None)
    # A root of its own: what a disk is written to says nothing about its boot code.
    with Sysroot(sysroot.root, is_host=sysroot.is_host).window(lead.disk, block=True) as file:
        sector = file.at(0, image.SECTOR)
        start = 0
        if not image.is_boot_sector(sector):
            start = _active(sector)
            if not start or not image.is_boot_sector(file.at(start, image.SECTOR)):
                return lead._replace(foreign=True) if _has_code(sector) else None
        lead = lead._replace(signature=f"0x{int.from_bytes(sector[440:444], 'little'):08x}")
        try:
            core = image.read_core(lambda offset, size: file.at(offset or start, size))
        except image.Damaged as damaged:
            return lead._replace(why=str(damaged), gone=isinstance(damaged, image.Overwritten))
    try:
        embedded = image.of_core(core)
        found = resolve(embedded, disk, disks)
    except image.Damaged as damaged:
        return lead._replace(why=str(damaged), same=_is_installed(sysroot, core))
    inside = embedded.prefix.startswith("(memdisk)")
    return lead._replace(
        **found._asdict(),
        inside=inside,
        modules=embedded.modules,
        variables=embedded.variables,
    )


def _has_code(sector: bytes) -> bool:
    return sector[510:512] == b"\x55\xaa" and any(sector[:440])


def _active(sector: bytes) -> int:
    """Where the active partition begins, in bytes, which boot code of Windows' or Debian's mbr goes on to; 0: none."""
    for at in range(446, 510, 16):
        if sector[510:512] == b"\x55\xaa" and sector[at] == 0x80:
            return int.from_bytes(sector[at + 8 : at + 12], "little") * 512
    return 0


def _is_installed(sysroot: Sysroot, core: bytes) -> bool:
    from kexec_hook.grub import image

    for directory in _DIRECTORIES:
        try:
            file = sysroot.read(f"{directory}/i386-pc/core.img", image.LARGEST)
        except SysrootError:
            continue
        if image.same_core(core, file):
            return True
    return False


def resolve(embedded: Embedded, disk: str, disks: RootDisks) -> Found:
    """Where the configuration is that an image of GRUB reads, started from this disk; or why that is not known."""
    if embedded.script.strip():
        return _by_script(embedded.script, disks)
    found = re.fullmatch(r"\((?P<device>[^)]*)\)(?P<path>.*)", embedded.prefix)
    device, path = (found["device"], found["path"]) if found else ("", embedded.prefix)
    if device and not device.startswith(","):
        try:
            known = disks.device(device)
        except Unseen as unseen:
            return Found(why=unseen.reason)
        return (
            Found(GrubPath(device, path)) if known else Found(why=f"({device}) is not known here")
        )
    number = re.match(r",[a-z]*(\d+)", device)
    node = partition(disk, int(number[1])) if number else disk
    name = disks.called(node)
    if name:
        return Found(GrubPath(name, path))
    gone = bool(node) and not disks.sysroot.exists(f"/dev/{node}")
    return Found(why=f"/dev/{node} is not known here", gone=gone)


def _by_script(script: str, disks: RootDisks) -> Found:
    search = re.search(_SEARCH, script, re.MULTILINE)
    prefix = re.search(_SET_PREFIX, script, re.MULTILINE)
    rest = [
        line
        for line in script.splitlines()
        if not re.match(f"{_HARMLESS}|{_SEARCH}|{_SET_PREFIX}", line)
    ]
    if search is None or prefix is None or rest:
        return Found(why="its script is not one of grub-install")
    by, what = _SOUGHT[search["by"]]
    try:
        found = disks.find(by, search["what"])
    except Unseen as unseen:
        return Found(why=unseen.reason)
    if not found:
        return Found(why=f"no file system here {what} {search['what']}", gone=True)
    return Found(GrubPath(found[0], prefix["path"]))


def partition(disk: str, number: int) -> str:
    """The node of a disk's partition: sda2, nvme0n1p2."""
    return next(
        node
        for node in (f"{disk}{number}", f"{disk}p{number}")
        if split_node(node) == (disk, number)
    )
