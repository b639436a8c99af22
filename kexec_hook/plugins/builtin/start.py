"""How the GRUB that starts next was started, and in which directory its first grub.cfg lies."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from kexec_hook.disks.drives import split_node
from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.plugins.builtin import proxmox
from kexec_hook.system.distribution import system_ids
from kexec_hook.system.host import machine
from kexec_hook.system.sysroot import NotPermittedError, SysrootError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.image import Embedded
    from kexec_hook.system.efi import BootOption
    from kexec_hook.system.sysroot import Sysroot

_ESPS = ("/boot/efi", "/efi", "/boot")
# os-release ID -> the directory of its signed GRUB on the EFI system partition, where they differ.
_VENDORS = {
    "rhel": "redhat",
    "ol": "redhat",
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
}
# Directories there -> whose GRUB they hold; other names are those that somebody gave to grub-install.
_FLAVOURS = {
    **dict.fromkeys(("fedora", "redhat", "centos", "rocky", "almalinux"), "rhboot"),
    **dict.fromkeys(("opensuse", "sles", "sled"), "suse"),
    **dict.fromkeys(("debian", "ubuntu", "kali", "arch", "manjaro", "gentoo"), "upstream"),
}
# GRUB's name of a processor -> what EFI calls it in names of loaders; and how many bits its firmware has.
CPUS = {
    "x86_64": ("x64", 64),
    "i386": ("ia32", 32),
    "arm64": ("aa64", 64),
    "riscv64": ("riscv64", 64),
    "loongarch64": ("loongarch64", 64),
}
# uname -m where GRUB's name is neither x86_64 nor i386: it knows these under UEFI alone.
MACHINES = {"aarch64": "arm64", "riscv64": "riscv64", "loongarch64": "loongarch64"}


# uname -m -> $grub_cpu of the machines whose GRUB Open Firmware starts (grub-core/kern/ieee1275)
OPEN_FIRMWARE = {"ppc64": "powerpc", "ppc64le": "powerpc", "ppc": "powerpc", "sparc64": "sparc64"}


# What a script built into an image says where the configuration is in there as well; a UUID that it looks for.
_INSIDE = (
    r"^\s*(((configfile|source|\.|normal)\s+\(memdisk\))|(menuentry|linux|linuxefi|chainloader)\s)"
)
_UUID = r"^search(?:\.fs_uuid|.* (?:--fs-uuid|-u)).*?\s([0-9a-f]{4,}(?:-[0-9a-f]{4,})+)"


class Start(NamedTuple):
    """How a GRUB is started by its platform, as far as that shows."""

    platform: str
    cpu: str
    place: GrubPath | None = None  # the directory of its first grub.cfg; None: nothing tells
    stub: str = ""  # the same below the root, where it is the one on a mounted ESP
    signed: bool = False  # it is an image of the distribution's, whose first grub.cfg is on the ESP
    cmdpath: str = ""  # where GRUB was loaded from, as GRUB names it; empty: not known
    note: str = ""
    others: tuple[GrubPath, ...] = ()  # as good as `place`
    variables: tuple[tuple[str, str], ...] = ()  # that its image sets before it reads that
    told: bool = False  # its image says that it reads this system's
    sync: str = ""


def find_start(
    sysroot: Sysroot,
    disks: RootDisks,
    release: dict[str, str],
    modules: str,
    own: GrubPath | None,
) -> Start:
    """`own` is the directory of this system's grub.cfg, `modules` where its GRUB would be."""
    running = machine(sysroot)
    if running in OPEN_FIRMWARE:
        return Start("ieee1275", OPEN_FIRMWARE[running])
    if not disks.is_efi:
        if running in MACHINES:  # a directory with little of /sys
            return Start("efi", MACHINES[running])
        return _bios(sysroot, disks, own)
    from kexec_hook.plugins.builtin import bootorder

    loader = bootorder.expected(sysroot, disks)
    if loader is None:
        found = _proxmox(sysroot, disks, Start("efi", _cpu(sysroot, modules, "")))
        if found:
            return found
    if loader and loader.partuuid and not _is_mounted(disks, loader):
        start = _unmounted(sysroot, disks, release, modules, loader)
    else:
        start = _mounted(sysroot, disks, release, modules, loader)
    if not loader or not loader.path or _leads_here(start, loader, disks, own):
        return start
    inside = look_inside(disks, loader, start.cpu)
    start = start._replace(variables=inside.variables if inside else ())
    # A GRUB that knows $fw_path reads the one beside it whatever its prefix is (rhboot's normal/main.c).
    tries_beside = {"fedora", "rhel"} & {*system_ids(release)} or (inside and inside.beside)
    if _is_beside(start, loader) and tries_beside:
        return start
    return _of_image(start, inside)


def _is_beside(start: Start, loader: BootOption) -> bool:
    """Is the grub.cfg that was found beside the image?"""
    return start.place is not None and start.place.path.lower() == loader.directory.lower()


def _leads_here(start: Start, loader: BootOption, disks: RootDisks, own: GrubPath | None) -> bool:
    """Is a grub.cfg beside the image, and leads to this system's?  Another one may be left over: its image tells."""
    if start.place is None or not _is_beside(start, loader):
        return False
    return names_ours(start.place, own, disks) is not False


def names_ours(place: GrubPath, own: GrubPath | None, disks: RootDisks) -> bool | None:
    """Does the grub.cfg in a directory name the file system of this system's?  None where that is not known."""
    try:
        device = disks.device(own.device) if own else None
        text = disks.read(place._replace(path=f"{place.path.rstrip('/')}/grub.cfg"))
    except (DiskError, Unseen):
        return None
    if device is None:
        return None
    return bool(device.uuid) and device.uuid.encode() in text


def _of_image(start: Start, inside: Inside | None) -> Start:
    """What is built into the image counts before a grub.cfg beside it, and before the distribution's directory."""
    place = inside.place if inside else None
    if place is None or (start.place and place.path.lower() == start.place.path.lower()):
        return start
    return start._replace(place=place, stub="", signed=False)


def flavour_of(place: GrubPath, release: dict[str, str]) -> str:
    """The flavour of another distribution's GRUB, by its directory on an EFI system partition; else empty."""
    found = re.fullmatch("(?i)/EFI/([^/]+)", place.path)
    return _others_flavour(found[1], release) if found else ""


def is_vendors(place: GrubPath, release: dict[str, str]) -> bool:
    """Is it the directory on an EFI system partition in which this distribution puts its GRUB?"""
    own = {_VENDORS.get(name, name) for name in system_ids(release)} - {""}
    return place.path.lower() in {f"/efi/{name.lower()}" for name in own}


def is_another(loader: BootOption, release: dict[str, str]) -> bool:
    """Is this by its directory another distribution's?"""
    return _others_flavour(loader.directory.rpartition("/")[2], release) != ""


def _others_flavour(directory: str, release: dict[str, str]) -> str:
    own = (_VENDORS.get(name, name) for name in system_ids(release))
    return "" if directory.lower() in own else _FLAVOURS.get(directory.lower(), "")


# BIOS


def _bios(sysroot: Sysroot, disks: RootDisks, own: GrubPath | None) -> Start:
    from kexec_hook.plugins.builtin import bootcode

    # a BIOS knows no partitions: grub-core/kern/i386/pc/init.c, grub_machine_get_bootlocation()
    start = Start("pc", "i386", cmdpath="(hd0)")
    found = _proxmox(sysroot, disks, start)
    if found:
        return found
    places: dict[object, GrubPath] = {}
    for lead in bootcode.living(bootcode.leads(sysroot, disks).found, disks):
        start = start._replace(variables=start.variables + lead.variables)
        if lead.prefix:
            places.setdefault(bootcode.place_of(lead.prefix, disks), lead.prefix)
    told = bool(own and places.pop(bootcode.place_of(own, disks), None))
    if told or (own and not places):
        return start._replace(others=tuple(places.values()), told=told)
    if not places:
        return start
    first, *others = places.values()
    return start._replace(place=first, others=tuple(others))


def _proxmox(sysroot: Sysroot, disks: RootDisks, start: Start) -> Start | None:
    found = proxmox.esps(sysroot, disks)
    places = [esp.place for esp in found if esp.place]
    if places:
        first, *others = places
        signed = first.path.startswith("/EFI/")
        return start._replace(place=first, others=tuple(others), sync=proxmox.SYNC, signed=signed)
    return None


# EFI


def _is_mounted(disks: RootDisks, loader: BootOption) -> bool:
    from kexec_hook.plugins.builtin import bootorder

    found = bootorder.partitions(disks, loader)
    return not found or any(device.seen for device in found)


def _directories(release: dict[str, str], loader: BootOption | None) -> list[str]:
    """Where on the ESP the first grub.cfg may be: beside what was started, else where the distribution puts it."""
    found = [loader.directory] if loader and loader.directory else []
    if loader and is_another(loader, release):
        return found
    return found + [f"/EFI/{_VENDORS.get(name, name)}" for name in system_ids(release) if name]


def _unmounted(
    sysroot: Sysroot,
    disks: RootDisks,
    release: dict[str, str],
    modules: str,
    loader: BootOption,
) -> Start:
    """The partition that the firmware named, through GRUB's own drivers.  What they cannot read is objected to."""
    from kexec_hook.plugins.builtin import bootorder

    start = Start("efi", _cpu(sysroot, modules, ""))
    for device in bootorder.partitions(disks, loader):
        start = start._replace(cmdpath=f"({device.name}){loader.directory}")
        for directory in _directories(release, loader):
            try:
                stub = disks.stat(GrubPath(device.name, f"{directory}/grub.cfg"))
            except Unseen:
                return start
            if stub:
                return start._replace(place=GrubPath(device.name, directory), signed=True)
    return start


def _mounted(
    sysroot: Sysroot,
    disks: RootDisks,
    release: dict[str, str],
    modules: str,
    loader: BootOption | None,
) -> Start:
    esps = [esp for esp in _esps(disks) if not loader or _is_on(disks, esp, loader.partuuid)]
    places = [f"{esp}{directory}" for directory in _directories(release, loader) for esp in esps]
    stub = next((place for place in places if sysroot.is_file(f"{place}/grub.cfg")), "")
    place = stub or next((place for place in places if sysroot.is_dir(place)), "")
    where = disks.grub_path(place) if place else None
    note = ""
    if not place and not any(_is_denied(sysroot, f"{place}/grub.cfg") for place in places):
        note = f"no EFI system partition with GRUB is mounted, so GRUB is assumed to start in {modules}"
    return Start(
        "efi",
        _cpu(sysroot, modules, stub),
        where if stub else None,
        stub if where else "",
        bool(stub),
        str(where) if where else "",
        note,
    )


def _is_denied(sysroot: Sysroot, path: str) -> bool:
    try:
        sysroot.stat(path)
    except NotPermittedError:
        return True
    except SysrootError:
        pass
    return False


class Inside(NamedTuple):
    """What is built into the image of the GRUB that the firmware, or shim, starts."""

    place: GrubPath | None = None  # the directory of its first grub.cfg; None: not known
    why: str = ""  # it is not known
    fix: str = ""
    holds: bool = False  # it reads none: its configuration is in there (grub-mkstandalone)
    unseen: bool = False  # whether it reads one cannot be seen
    beside: bool = False  # it tries the grub.cfg beside it first
    named: frozenset[str] = frozenset()  # the UUIDs that its script looks for, in small letters
    variables: tuple[tuple[str, str], ...] = ()  # that it sets before it reads a configuration


def look_inside(disks: RootDisks, loader: BootOption, cpu: str) -> Inside | None:
    """Of the first image that can be read; None where there is none."""
    device, embedded = next(_images(disks, loader, cpu), ("", None))
    if embedded is None:
        return None
    named = frozenset(re.findall(_UUID, embedded.script.lower(), re.MULTILINE))
    found = Inside(beside=embedded.beside, named=named, variables=embedded.variables)
    if re.search(_INSIDE, embedded.script, re.MULTILINE):  # which goes on to $prefix on Debian's
        prefix = GrubPath(device, embedded.prefix)
        stub = prefix._replace(path=f"{prefix.path}/grub.cfg")
        try:
            reads = prefix.path.startswith("/") and disks.stat(stub)
        except Unseen as unseen:
            return found._replace(why=unseen.reason, fix=unseen.fix, unseen=True)
        return found._replace(place=prefix) if reads else found._replace(holds=True)
    if embedded.prefix.startswith("(memdisk)") or "enable_blscfg" in embedded.script:
        return found._replace(holds=True)  # the second is SUSE's grubbls.efi
    try:
        place, why = _resolved(device, embedded, disks, loader)
    except Unseen as unseen:
        return found._replace(why=unseen.reason, fix=unseen.fix)
    return found._replace(place=place, why=why)


def _resolved(
    device: str, embedded: Embedded, disks: RootDisks, loader: BootOption
) -> tuple[GrubPath | None, str]:
    from kexec_hook.plugins.builtin import bootcode, bootorder

    if embedded.prefix.startswith("/") and not embedded.script.strip():
        return GrubPath(device, embedded.prefix), ""  # on its own partition
    node = bootorder.node_of(disks, loader.partuuid)
    disk = split_node(node[len("/dev/") :])[0] if node else ""
    place, why, _ = bootcode.resolve(embedded, disk, disks)
    on_its_own = GrubPath(device, f"{embedded.prefix}/grub.cfg")
    return place, "" if place or disks.stat(on_its_own) else why


@functools.lru_cache(maxsize=1)
def built_in_modules(disks: RootDisks, platform: str, cpu: str) -> frozenset[str] | None:
    """Those in the image of the GRUB that starts next, which a decision reads once; None where that is not known."""
    if platform == "pc":
        from kexec_hook.plugins.builtin import bootcode

        found = {lead.modules for lead in bootcode.leads(disks.sysroot, disks).found}
    else:
        from kexec_hook.plugins.builtin import bootorder

        loader = bootorder.expected(disks.sysroot, disks) if disks.is_efi else None
        images = _images(disks, loader, cpu) if loader and loader.path else iter(())
        found = {embedded.modules for _, embedded in images}
    return found.pop() or None if len(found) == 1 else None


def _images(disks: RootDisks, loader: BootOption, cpu: str) -> Iterator[tuple[str, Embedded]]:
    """What is built into the GRUB that the firmware or shim starts; and GRUB's name of its partition."""
    from kexec_hook.grub import image
    from kexec_hook.plugins.builtin import bootorder

    beside = (f"{loader.directory}/{name}" for name in (f"grub{CPUS[cpu][0]}.efi", "grub.efi"))
    names = dict.fromkeys([loader.path, *beside])
    for device in bootorder.partitions(disks, loader):
        for name in names:
            try:
                yield device.name, image.of_efi(disks.read(GrubPath(device.name, name)))
            except (DiskError, Unseen, image.Damaged):
                continue


def _esps(disks: RootDisks) -> Sequence[str]:
    """Where FAT is mounted: the firmware reads nothing else, so a stub elsewhere is left over from somewhere."""
    points = [mount.point for mount in disks.mounts.all if mount.type in ("vfat", "msdos")]
    if not any(mount.type for mount in disks.mounts.all):
        return _ESPS  # nothing tells what is mounted where
    return sorted(points, key=lambda point: _ESPS.index(point) if point in _ESPS else len(_ESPS))


def _is_on(disks: RootDisks, point: str, partuuid: str) -> bool:
    """Is this the partition that the firmware named?  Where one of them is not known, it is."""
    path = disks.grub_path(point)
    device = disks.device(path.device) if path else None
    return not partuuid or not device or device.partuuid in ("", partuuid)


def _cpu(sysroot: Sysroot, modules: str, stub: str) -> str:
    """$grub_cpu of an EFI machine: what its firmware runs, whatever its kernel is."""
    try:
        bits = 32 if sysroot.text("/sys/firmware/efi/fw_platform_size").strip() == "32" else 64
    except SysrootError:
        bits = 64
    fitting = [cpu for cpu in CPUS if CPUS[cpu][1] == bits]
    told = machine(sysroot)
    if told:
        running = MACHINES.get(told)
        return running if running in fitting else fitting[0]
    for cpu in fitting:
        loader = f"{stub}/grub{CPUS[cpu][0]}.efi"
        if (stub and sysroot.is_file(loader)) or sysroot.is_dir(f"{modules}/{cpu}-efi"):
            return cpu
    return fitting[0]
