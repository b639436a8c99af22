"""Where Debian's and Fedora's families keep GRUB's configuration, which GRUB reads it, and how it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pluggy

from kexec_hook.plugins.api import BootConfig, Decision, Note, Objection
from kexec_hook.plugins.builtin import bootcode, bootorder
from kexec_hook.system.distribution import os_release, system_ids
from kexec_hook.system.sysroot import FILE_LIMIT, NotPermittedError, Sysroot, SysrootError, kind_of

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks

hookimpl = pluggy.HookimplMarker("kexec_hook")

_ESPS = ("/boot/efi", "/efi", "/boot")
# os-release ID -> the directory of its signed GRUB on the EFI system partition, where they differ.
_VENDORS = {
    "rhel": "redhat",
    "ol": "redhat",
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
}
# GRUB's name of a processor -> what EFI calls it in names of loaders; and how many bits its firmware has.
_CPUS = {
    "x86_64": ("x64", 64),
    "i386": ("ia32", 32),
    "arm64": ("aa64", 64),
    "riscv64": ("riscv64", 64),
}
_MACHINES = {
    "aarch64": "arm64",
    "riscv64": "riscv64",
}  # uname -m where GRUB's name is neither x86_64 nor i386


class _Start(NamedTuple):
    """How a GRUB is started by its platform, as far as that shows."""

    platform: str
    cpu: str
    stub: str = (
        ""  # the directory on the ESP whose grub.cfg a signed GRUB reads; empty: there is none
    )
    cmdpath: str = ""  # where GRUB was loaded from, as GRUB names it; empty: not known
    note: str = ""


@hookimpl
def kexec_hook_boot_config(sysroot: Sysroot, disks: RootDisks) -> BootConfig | None:
    """The EFI stub where there is one and it can be read, else grub.cfg in /boot/grub or /boot/grub2."""
    release = os_release(sysroot)
    rhboot = _is_like(release, "fedora", "rhel")
    grub2 = rhboot or _is_like(release, "suse", "opensuse")
    main = _directory(
        sysroot, ("/boot/grub2", "/boot/grub") if grub2 else ("/boot/grub", "/boot/grub2")
    )
    modules = main or ("/boot/grub2" if grub2 else "/boot/grub")
    start = _start(sysroot, disks, release, modules)
    found = [
        (directory, disks.grub_path(directory)) for directory in (start.stub, main) if directory
    ]
    directory, path = next(((directory, path) for directory, path in found if path), (None, None))
    if path is None:
        return None
    prefix = f"({disks.lasting_name(path.device)}){path.path}"
    return BootConfig(
        path=f"{directory}/grub.cfg",
        config=f"{prefix}/grub.cfg",
        prefix=prefix,
        flavour="rhboot" if rhboot else _upstream(sysroot, release, modules, start),
        platform=start.platform,
        cpu=start.cpu,
        # Signed images (Debian's build-efi-images, Fedora's grub.macros) have the regexp module built in.
        globbing=bool(start.stub),
        cmdpath=start.cmdpath,
        notes=tuple(filter(None, (start.note, _wrong(sysroot, f"{directory}/grub.cfg")))),
    )


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    """Where GRUB's paths mean something else, and where the firmware starts something else than this GRUB."""
    found = [*_relative_paths(decision), *_firmware(decision)]
    return [
        objection._replace(by="grub") for objection in found if isinstance(objection, Objection)
    ]


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note]:
    notes = [note for note in _firmware(decision) if isinstance(note, Note)]
    for text in decision.evaluation.config.notes if decision.evaluation else ():
        notes.append(Note(text, code="configuration"))
    return notes


def _firmware(decision: Decision) -> Iterator[Objection | Note]:
    """Where GRUB was not asked, only what somebody has asked of the next boot counts."""
    given = decision.evaluation is None and decision.plan is not None
    for finding in bootorder.findings(decision.sysroot, decision.disks):
        if not given or finding.code in ("boot-next", "mok-request"):
            yield finding
    if not given:
        yield from _out_of_sight(decision)
        yield from bootcode.findings(decision)


def _out_of_sight(decision: Decision) -> Iterator[Objection]:
    """GRUB's first configuration lies beside its image, or that image leads to it."""
    disks = decision.disks
    loader = bootorder.expected(decision.sysroot, disks)
    if loader is None or not loader.path or not loader.partuuid:
        return
    if any(device.fs for device in bootorder.partitions(disks, loader)):
        return
    node = bootorder.node_of(disks, loader.partuuid)
    where = f"{node} is not mounted" if node else f"the partition {loader.partuuid} is not there"
    yield Objection(
        f"the firmware starts {loader.path}, but {where}, so which configuration GRUB reads cannot be known",
        code="not-mounted",
        fix=f"mount {node}" if node else "",
    )


def _relative_paths(decision: Decision) -> Iterator[Objection]:
    """SUSE's and Fedora's GRUB (fs/btrfs.c, grub_btrfs_mount): paths from a subvolume, else from the default one."""
    if decision.evaluation is None:
        return
    machine = decision.evaluation.machine
    if (machine.get("btrfs_relative_path") or "")[:1] not in ("1", "y"):
        return
    device = decision.disks.device(machine.get("root") or "")
    if device and device.fs == "btrfs":
        where = machine.get("btrfs_subvol") or machine.get("btrfs_subvolid") or "the default one"
        yield Objection(
            f"GRUB's paths start at a subvolume of btrfs ({where}; btrfs_relative_path)",
            code="btrfs-relative-path",
        )


def _is_like(release: dict[str, str], *ids: str) -> bool:
    return any(word in ids for word in system_ids(release))


def _directory(sysroot: Sysroot, directories: tuple[str, ...]) -> str | None:
    """The first that holds a grub.cfg; else one with something of that name, or into which we may not look."""
    found = {directory: _look(sysroot, f"{directory}/grub.cfg") for directory in directories}
    for kind in ("file", "odd", "denied"):
        for directory in directories:
            if found[directory] == kind:
                return directory
    return None


def _look(sysroot: Sysroot, path: str) -> str:
    try:
        if sysroot.is_file(path):
            return "file"
        return "odd" if sysroot.stat(path, follow=False) else "missing"
    except NotPermittedError:
        return "denied"
    except SysrootError:
        return "odd"


def _wrong(sysroot: Sysroot, path: str) -> str:
    """Why a file can be no configuration; what our rights do not let us see is told elsewhere."""
    try:
        info = sysroot.stat(path)
        if info is None:
            return (
                f"{path} is a link that leads nowhere" if sysroot.readlink(path) is not None else ""
            )
        kind = kind_of(info.st_mode)
    except SysrootError:
        return ""
    if kind != "file":
        return f"{path} is {'a directory' if kind == 'dir' else 'no regular file'}"
    return f"{path} is larger than {FILE_LIMIT >> 20} MiB" if info.st_size > FILE_LIMIT else ""


def _start(sysroot: Sysroot, disks: RootDisks, release: dict[str, str], modules: str) -> _Start:
    if not sysroot.exists("/sys/firmware/efi"):
        # a BIOS knows no partitions: grub-core/kern/i386/pc/init.c, grub_machine_get_bootlocation()
        return _Start("pc", "i386", cmdpath="(hd0)")
    loader = bootorder.expected(sysroot, disks)
    directories = [loader.directory] if loader and loader.directory else []
    directories += [f"/EFI/{_VENDORS.get(name, name)}" for name in system_ids(release) if name]
    esps = [esp for esp in _esps(disks) if not loader or _is_on(disks, esp, loader.partuuid)]
    places = [f"{esp}{directory}" for directory in directories for esp in esps]
    stub = next((place for place in places if sysroot.is_file(f"{place}/grub.cfg")), "")
    cpu = _cpu(sysroot, modules, stub)
    place = stub or next((place for place in places if sysroot.is_dir(place)), "")
    where = disks.grub_path(place) if place else None
    hidden = any(_look(sysroot, f"{place}/grub.cfg") == "denied" for place in places)
    note = (
        ""
        if place or hidden
        else f"no EFI system partition with GRUB is mounted: it is taken to start in {modules}"
    )
    return _Start("efi", cpu, stub, str(where) if where else "", note)


def _esps(disks: RootDisks) -> list[str]:
    """Where FAT is mounted: the firmware reads nothing else, so a stub elsewhere is left over from somewhere."""
    points = [mount.point for mount in disks.mounts.all if mount.type in ("vfat", "msdos")]
    if not any(mount.type for mount in disks.mounts.all):
        return list(_ESPS)  # nothing tells what is mounted where
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
    fitting = [cpu for cpu in _CPUS if _CPUS[cpu][1] == bits]
    if sysroot.is_host:
        running = _MACHINES.get(os.uname().machine)
        return running if running in fitting else fitting[0]
    for cpu in fitting:
        loader = f"{stub}/grub{_CPUS[cpu][0]}.efi"
        if (stub and sysroot.is_file(loader)) or sysroot.is_dir(f"{modules}/{cpu}-efi"):
            return cpu
    return fitting[0]


def _upstream(sysroot: Sysroot, release: dict[str, str], modules: str, start: _Start) -> str:
    """The flavour by the version of the GRUB that was installed; else of its package, or of the distribution."""
    platform = f"{start.cpu}-{start.platform}"
    for directory in (modules, "/usr/lib/grub"):
        for name in dict.fromkeys((platform, *(f"{cpu}-efi" for cpu in _CPUS), "i386-pc")):
            version = _grub_version(sysroot, f"{directory}/{name}/modinfo.sh")
            if version:
                return "upstream-2.14" if version >= (2, 14) else "upstream"
    # Debian 14 has 2.14; testing and unstable have no VERSION_ID
    number = re.match("[0-9]{1,4}", release.get("VERSION_ID", ""))
    new = release.get("ID") == "debian" and (int(number[0]) >= 14 if number else True)
    return "upstream-2.14" if new else "upstream"


def _grub_version(sysroot: Sysroot, path: str) -> tuple[int, int] | None:
    """grub_version in modinfo.sh, which grub-install copies beside the modules."""
    try:
        text = sysroot.text(path, limit=1 << 16)
    except SysrootError:
        return None
    found = re.search(r"""^grub_version=["']?(\d{1,4})\.(\d{1,4})""", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None
