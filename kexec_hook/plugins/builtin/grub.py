"""Where GRUB's configuration is, and which kind of GRUB reads it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pluggy

from kexec_hook.grub.disks import GrubPath, Unseen
from kexec_hook.grub.flavours import FLAVOURS
from kexec_hook.plugins.api import BootConfig, Decision, Note, Objection
from kexec_hook.plugins.builtin import proxmox
from kexec_hook.plugins.builtin.start import (
    CPUS,
    MACHINES,
    OPEN_FIRMWARE,
    Start,
    find_start,
    flavour_of,
    is_another,
    is_vendors,
    look_inside,
)
from kexec_hook.system.distribution import SUSE_LOADER, os_release, other_loader_name, system_ids
from kexec_hook.system.host import machine
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import FILE_LIMIT, NotPermittedError, Sysroot, SysrootError, kind_of

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.system.efi import BootOption

hookimpl = pluggy.HookimplMarker("kexec_hook")

_KNOWN = {"", "x86_64", "i386", "i486", "i586", "i686", *MACHINES}  # uname -m, where it is told
_UNKNOWN = (0, 0)
# IDs in os-release of those whose GRUB is upstream's but for what does not matter here, and of those with rhboot's and
# RHEL's or Fedora's number.  Who is like them has it too, or another one: Mageia is like Fedora, Alibaba Cloud Linux 3
# is made of RHEL 8, and RED OS 7 is not made of RHEL 7.
_UPSTREAM = frozenset(
    ["", "debian", "ubuntu", "arch", "manjaro", "gentoo", "void", "alpine", "nixos", "guix", "slackware"]
)  # fmt: skip
_RHBOOT = frozenset(
    ["fedora", "rhel", "centos", "rocky", "almalinux", "ol", "scientific", "cloudlinux", "virtuozzo", "amzn"]
)  # fmt: skip
_MANDRIVA = frozenset(["mandriva", "mageia", "openmandriva", "rosa"])
_DEBIANS = ((14, (2, 14)), (13, (2, 12)), (0, (2, 6)))  # its releases, and their GRUB


@hookimpl
def kexec_hook_boot_config(sysroot: Sysroot, disks: RootDisks) -> BootConfig | None:
    """What the GRUB that starts next reads first; where nothing tells, grub.cfg in /boot/grub or /boot/grub2."""
    release = os_release(sysroot)
    rhboot, suse = _is_like(release, "fedora", "rhel"), _is_like(release, "suse", "opensuse")
    grub2 = rhboot or suse
    main = _directory(
        sysroot, ("/boot/grub2", "/boot/grub") if grub2 else ("/boot/grub", "/boot/grub2")
    )
    modules = main or ("/boot/grub2" if grub2 else "/boot/grub")
    own = disks.grub_path(main) if main else None
    start = find_start(sysroot, disks, release, modules, own)
    place = start.place or own
    if place is None:
        return None
    version = _version(sysroot, release, modules, start)
    flavours = _flavours(release, version)
    if {"upstream", "upstream-2.14"} & {*flavours} and len(flavours) > 1:
        from kexec_hook.plugins.builtin import foreign  # few distributions are not known

        directories = _directories_of_modules(modules, start)
        known = foreign.has_blscfg(sysroot, disks, directories, start)
        flavours = flavours if known is None else flavours[known : known + 1]
    directory = start.stub or (main if place == own else "")
    config = BootConfig(
        path=f"{directory}/grub.cfg" if directory else disks.name(_grub_cfg(place)),
        config="",
        prefix="",
        flavour=flavours[0],
        version=version,
        platform=start.platform,
        cpu=start.cpu,
        # Signed images (Debian's build-efi-images, Fedora's grub.macros) have the regexp module built in.
        globbing=start.signed,
        cmdpath=start.cmdpath,
        notes=tuple(filter(None, (start.note, _wrong(sysroot, f"{directory}/grub.cfg")))),
        sync=start.sync,
        variables=start.variables,
        told=start.told or start.place is not None,
        relative=suse and start.place is None and _is_btrfs(disks, place),
    )
    found = _kinds(_at(config, place, disks), place, own, start, disks, flavours)
    for other in start.others:
        there = _at(config._replace(path=disks.name(_grub_cfg(other))), other, disks)
        found += _kinds(there, other, own, start, disks, flavours)
    return found[0]._replace(others=tuple(found[1:]))


def _kinds(
    config: BootConfig,
    place: GrubPath,
    own: GrubPath | None,
    start: Start,
    disks: RootDisks,
    flavours: list[str],
) -> list[BootConfig]:
    """A configuration for each kind of GRUB that may read it, this system's or another one's."""
    release = os_release(disks.sysroot)
    if flavour_of(place, release):
        return [config]
    known = place == own or start.place is None or start.sync or is_vendors(place, release)
    if not known:
        from kexec_hook.plugins.builtin import foreign  # few machines start another system's

        if not foreign.is_ours(place, own, disks):
            flavours = foreign.flavours_of(place, start, disks, flavours)
            config = config._replace(version=_UNKNOWN)
    return [config._replace(flavour=flavour) for flavour in flavours]


def _at(config: BootConfig, place: GrubPath, disks: RootDisks) -> BootConfig:
    path = place.path
    if config.relative:  # grub2-btrfs-04-grub2-install of SUSE's
        mount = disks.mounts.at(disks.sysroot.resolve(config.path))
        path = join(parts_of(path)[len(mount.root) if mount else 0 :])
    prefix = f"({disks.lasting_name(place.device)}){path}"
    others = flavour_of(place, os_release(disks.sysroot))
    config = config._replace(flavour=others or config.flavour)
    return config._replace(config=f"{prefix}/grub.cfg", prefix=prefix)


def _is_btrfs(disks: RootDisks, place: GrubPath) -> bool:
    device = disks.device(place.device)
    return device is not None and device.fs == "btrfs"


def _grub_cfg(place: GrubPath) -> GrubPath:
    return place._replace(path=f"{place.path.rstrip('/')}/grub.cfg")


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    """Where GRUB's paths mean something else, and where the firmware starts something else than this GRUB."""
    # without a configuration, the decision says so itself
    other = other_loader(sysroot) if decision.evaluation else None
    found = [
        *_architecture(decision),
        *([other] if other else ()),
        *_relative_paths(decision),
        *_firmware(decision),
    ]
    return [
        objection._replace(by="grub") for objection in found if isinstance(objection, Objection)
    ]


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note]:
    texts = decision.evaluation.config.notes if decision.evaluation else ()
    notes = [note for note in _firmware(decision) if isinstance(note, Note)]
    return [*notes, *(Note(text, code="configuration") for text in texts)]


def _firmware(decision: Decision) -> Iterator[Objection | Note]:
    """Where GRUB was not asked, only what somebody has asked of the next boot counts."""
    given = decision.evaluation is None and decision.plan is not None
    yield from _by_efi(decision, given) if decision.disks.is_efi else _by_bios(decision, given)
    if not given:
        yield from proxmox.findings(decision.sysroot, decision.disks)


def _by_efi(decision: Decision, given: bool) -> Iterator[Objection | Note]:
    from kexec_hook.plugins.builtin import bootorder

    for finding in bootorder.findings(decision.sysroot, decision.disks):
        if not given or finding.code in ("boot-next", "mok-request"):
            yield finding
    if not given:
        yield from _out_of_sight(decision)


def _by_bios(decision: Decision, given: bool) -> Iterator[Objection | Note]:
    from kexec_hook.plugins.builtin import bootcode

    if not given:
        yield from bootcode.findings(decision)


def _out_of_sight(decision: Decision) -> Iterator[Objection | Note]:
    """GRUB's first configuration lies beside its image, or that image leads to it."""
    from kexec_hook.plugins.builtin import bootorder

    disks = decision.disks
    loader = bootorder.expected(decision.sysroot, disks)
    if loader is None or not loader.path or not loader.partuuid:
        return
    why, fix = f"the partition {loader.partuuid} is not there", ""
    for device in bootorder.partitions(disks, loader):
        try:
            stub = disks.stat(GrubPath(device.name, f"{loader.directory}/grub.cfg"))
        except Unseen as unseen:
            why, fix = unseen.reason, unseen.fix
            continue
        if not stub:
            yield from _by_image(decision, loader)
        return
    yield _not_known(loader, why, fix)


def _not_known(loader: BootOption, why: str, fix: str) -> Objection:
    return Objection(
        f"the firmware starts {loader.path}, and which configuration that reads cannot be known: {why}",
        code="not-mounted",
        fix=fix,
    )


def _by_image(decision: Decision, loader: BootOption) -> Iterator[Objection | Note]:
    """No grub.cfg is beside the image: what is built into it tells."""
    if decision.evaluation is None:
        return
    config = decision.evaluation.config
    inside = look_inside(decision.disks, loader, config.cpu)
    if not (inside and inside.place) and is_another(loader, os_release(decision.sysroot)):
        yield Objection(
            f"the firmware starts {loader.path}, which is another system's, and no grub.cfg beside it "
            "tells which configuration that reads",
            code="cannot-be-known",
        )
    elif inside and inside.unseen:
        yield _not_known(loader, inside.why, inside.fix)
    elif inside and inside.holds:
        yield Objection(
            f"the firmware starts {loader.path}, which has its configuration inside, and that is not followed",
            code="cannot-be-known",
        )
    elif inside and inside.why:
        # This system's was evaluated; a stub changes the prefix.
        prefixes = (config.prefix, decision.evaluation.machine.get("prefix") or "")
        uuids = {_uuid_of(decision.disks, prefix).lower() for prefix in prefixes}
        if inside.named and not uuids & inside.named:
            yield Objection(
                f"the firmware starts {loader.path}, which leads elsewhere than to {config.path} ({inside.why})",
                code="other-grub",
            )
            return
        yield Note(
            f"which configuration {loader.path} reads is not known ({inside.why})",
            code="boot-code",
        )


def _uuid_of(disks: RootDisks, prefix: str) -> str:
    try:
        device = disks.device(prefix[1:].partition(")")[0])
    except Unseen:
        return ""
    return device.uuid if device else ""


def other_loader(sysroot: Sysroot) -> Objection | None:
    """Where openSUSE starts something that reads no grub.cfg."""
    name = other_loader_name(sysroot)
    if not name:
        return None
    return Objection(f"{SUSE_LOADER} names {name}, which reads no grub.cfg", code="not-grub")


def _architecture(decision: Decision) -> Iterator[Objection]:
    running = machine(decision.sysroot)
    if running in OPEN_FIRMWARE:
        yield Objection(
            f"this machine is a {running}, whose boot by Open Firmware kexec-hook does not support",
            code="unsupported-architecture",
        )
    elif decision.evaluation and running not in _KNOWN:
        yield Objection(
            f"this machine is a {running}, and how GRUB boots it is not known here",
            code="unsupported-architecture",
        )


def _relative_paths(decision: Decision) -> Iterator[Objection]:
    """Other GRUBs than SUSE's and Fedora's do not know btrfs_relative_path; who sets it expects one of them."""
    if decision.evaluation is None or FLAVOURS[decision.evaluation.config.flavour].btrfs_relative:
        return
    grub = decision.evaluation.machine
    if (grub.get("btrfs_relative_path") or "")[:1] not in ("1", "y"):
        return
    try:
        device = decision.disks.device(grub.get("root") or "")
    except Unseen:
        return
    if device and device.fs == "btrfs":
        yield Objection(
            "the configuration sets btrfs_relative_path, which this GRUB is not known to follow",
            code="btrfs-relative-path",
            fix="set flavour = suse in /etc/kexec-hook.conf where it is openSUSE's GRUB",
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
            return f"{path} is a broken symbolic link" if sysroot.readlink(path) is not None else ""
        kind = kind_of(info.st_mode)
    except SysrootError:
        return ""
    if kind != "file":
        return f"{path} is {'a directory' if kind == 'dir' else 'not a regular file'}"
    return f"{path} is larger than {FILE_LIMIT >> 20} MiB" if info.st_size > FILE_LIMIT else ""


def _flavours(release: dict[str, str], version: tuple[int, int]) -> list[str]:
    """The kind of GRUB that a system has, the likeliest first; where there are several, all must boot the same."""
    ids = {*system_ids(release)}
    if ids & {"suse", "opensuse"}:
        return ["suse"]
    is_new = version >= (2, 14) or (version == _UNKNOWN and release.get("ID") == "debian")
    upstream = "upstream-2.14" if is_new else "upstream"  # Debian unstable has no VERSION_ID
    if ids & {"fedora", "rhel"} and not ids & _MANDRIVA:
        return _of_rhboot(release, version)
    return [upstream] if ids & _UPSTREAM and not ids & _MANDRIVA else [upstream, "rhboot"]


def _of_rhboot(release: dict[str, str], version: tuple[int, int]) -> list[str]:
    number = re.match(r"([78])(\.|$)", release.get("VERSION_ID", ""))
    platform = re.fullmatch(r"platform:\D+([78])", release.get("PLATFORM_ID", ""))
    old = None if release.get("ID") == "fedora" else number or platform
    likely = f"rhboot-{old[1]}" if old else "rhboot"
    if release.get("ID") in _RHBOOT:
        return [likely]
    if version >= (2, 4):
        return ["rhboot"]
    if version != _UNKNOWN:
        return list(dict.fromkeys([likely if old else "rhboot-8", "rhboot-8"]))
    if old:
        return [likely, "rhboot"]
    major = re.match("[0-9]{1,4}", release.get("VERSION_ID", ""))
    # A small number is one of its own, which tells nothing: Alibaba Cloud Linux 3, TencentOS 2.
    return [likely, "rhboot-8"] if major is None or int(major[0]) < 7 else [likely]


def _directories_of_modules(modules: str, start: Start) -> Iterator[str]:
    platforms = (f"{start.cpu}-{start.platform}", *(f"{cpu}-efi" for cpu in CPUS), "i386-pc")
    for directory in (modules, "/usr/lib/grub"):
        for name in dict.fromkeys(platforms):
            yield f"{directory}/{name}"


def _version(
    sysroot: Sysroot, release: dict[str, str], modules: str, start: Start
) -> tuple[int, int]:
    """Of the GRUB that was installed; else of its package, or of the distribution."""
    for directory in _directories_of_modules(modules, start):
        version = _grub_version(sysroot, f"{directory}/modinfo.sh")
        if version:
            return version
    number = re.match("[0-9]{1,4}", release.get("VERSION_ID", ""))
    if release.get("ID") != "debian" or number is None:
        return _UNKNOWN
    return next(version for debian, version in _DEBIANS if int(number[0]) >= debian)


def _grub_version(sysroot: Sysroot, path: str) -> tuple[int, int] | None:
    """grub_version in modinfo.sh, which grub-install copies beside the modules; Arch's is 2:2.12-1."""
    try:
        text = sysroot.text(path, limit=1 << 16)
    except SysrootError:
        return None
    found = re.search(r"""^grub_version=["']?(?:\d+:)?(\d{1,4})\.(\d{1,4})""", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None
