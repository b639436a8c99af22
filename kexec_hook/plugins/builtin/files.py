"""Objections to the files of a choice: kernel and initrds, the root file system, and where GRUB's files are."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING

from kexec_hook.disks.mounts import GRUB_NAMES, links_by
from kexec_hook.grub.errors import BAD_FILE_TYPE, NOT_IMPLEMENTED_YET
from kexec_hook.kernel import images
from kexec_hook.kernel.cmdline import words
from kexec_hook.kernel.initrd import read_initrd
from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.checks import Checks, ask
from kexec_hook.plugins.builtin.fixes import another_entry, correct_entry, remake_initrd
from kexec_hook.plugins.builtin.sight import initrds_wanted, is_blind
from kexec_hook.plugins.builtin.start import OPEN_FIRMWARE
from kexec_hook.system.distribution import Distribution
from kexec_hook.system.host import machine
from kexec_hook.system.sysroot import MissingError, NotPermittedError, Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.disks.mounts import Mount
    from kexec_hook.system.sysroot import Window

# What save_env ends with on a disk, or in a file, that GRUB cannot write.
_NOT_WRITTEN = (NOT_IMPLEMENTED_YET, BAD_FILE_TYPE)

# $grub_cpu -> the kernels that such a GRUB can start
_STARTS = {
    "i386": ("x86_64", "i686"),
    "x86_64": ("x86_64",),
    "arm64": ("aarch64",),
    "riscv64": ("riscv64",),
}
_NO_DISK = (
    "overlay",
    "aufs",
    "unionfs",
    "tmpfs",
    "ramfs",
    "rootfs",
    "nfs",
    "nfs4",
    "cifs",
    "9p",
    "virtiofs",
)
BY = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}


def objections(decision: Decision) -> Iterator[Objection]:
    yield from ask(CHECKS, decision)


def _switched_off(decision: Decision) -> Iterator[Objection]:
    load = decision.settings.load
    if not load.value:
        yield Objection(
            f"kexec-hook is switched off in {load.origin}",
            code="switched-off",
            fix="set `load = yes` in /etc/kexec-hook.conf",
        )


def _kernel(decision: Decision) -> Iterator[Objection]:
    if decision.plan is None:
        return
    path = decision.plan.kernel
    reinstall = Distribution(decision.sysroot).reinstall_kernel(path, decision.plan.release or "")
    try:
        with decision.sysroot.window(path) as file:
            kernel = images.inspect_kernel(file)
            changed = file.changed
    except images.NotLinux as wrong:
        yield Objection(f"{path} {wrong}", code="not-linux", fix=another_entry(decision))
        return
    except images.Damaged as wrong:
        yield Objection(f"{path} {wrong}", code="kernel-damaged", fix=reinstall)
        return
    except NotPermittedError:
        return  # `denied` tells
    except SysrootError as error:
        yield Objection(f"the kernel cannot be read: {error}", code="kernel-unreadable")
        return
    if changed:
        yield _being_written(path)
    fitting = _architectures(decision)
    if fitting and not _fits(kernel.arch, fitting):
        yield Objection(
            f"{path} is built for {kernel.arch}, and this machine needs {' or '.join(fitting)}",
            code="wrong-architecture",
            fix=another_entry(decision),
        )
    # The kernel counts the zero at the end, arch/x86/kernel/kexec-bzimage64.c
    length = len(decision.plan.cmdline.encode("utf-8", "surrogateescape")) + 1
    if kernel.longest and length > kernel.longest:
        yield Objection(
            f"the kernel command line is {length - 1} bytes long, and {path} accepts {kernel.longest - 1}",
            code="cmdline-too-long",
            fix="shorten it",
        )


def _being_written(path: str) -> Objection:
    return Objection(
        f"{path} is still being written",
        code="being-written",
        fix="run `kexec-hook stage` when that has finished",
    )


def _fits(arch: str, fitting: tuple[str, ...]) -> bool:
    if arch == "x86":
        return bool({"x86_64", "i686"} & set(fitting))
    return not arch or arch in fitting


def _architectures(decision: Decision) -> tuple[str, ...]:
    """What a kernel may be made for, as `uname -m` has it; empty where nothing tells."""
    running = _running(decision.sysroot)
    if running:
        return (running,)
    return _STARTS.get(decision.evaluation.config.cpu, ()) if decision.evaluation else ()


def _running(sysroot: Sysroot) -> str:
    running = machine(sysroot)
    if running in OPEN_FIRMWARE:
        return ""  # builtin/grub.py objects
    return re.sub("^i[3-6]86$", "i686", running)


def _initrds(decision: Decision) -> Iterator[Objection]:
    for initrd in decision.plan.initrds if decision.plan else ():
        try:
            with decision.sysroot.window(initrd.path) as file:
                wrong = _damage(file) if not initrd.newc else ""
                changed = file.changed
        except NotPermittedError:
            continue
        except SysrootError as error:
            yield Objection(
                f"the initrd cannot be read: {error}",
                code="initrd-unreadable",
                fix=remake_initrd(decision, initrd.path, new=True),
            )
            continue
        if changed:
            yield _being_written(initrd.path)
        elif wrong:
            yield Objection(
                f"{initrd.path} {wrong}",
                code="initrd-damaged",
                fix=remake_initrd(decision, initrd.path),
            )


def _damage(file: Window) -> str:
    try:
        read_initrd(file)
    except images.Damaged as damaged:
        return str(damaged)
    return ""


def _on_the_way(decision: Decision) -> Iterator[Objection]:
    plan = decision.plan
    for path in (plan.kernel, *(initrd.path for initrd in plan.initrds)) if plan else ():
        for suffix in images.UNFINISHED_SUFFIXES:
            if decision.sysroot.exists(path + suffix):
                yield Objection(
                    f"{path}{suffix} exists, so {path} is being replaced",
                    code="being-replaced",
                    fix=f"wait until that has finished, or, where it was interrupted: rm {quote(path + suffix)}",
                )


def _not_permitted(decision: Decision) -> Iterator[Objection]:
    denied = list(decision.sysroot.denied)
    if denied and not decision.trigger.dry:
        yield Objection(
            f"{', '.join(denied)}: not readable by this user",
            rights=True,
            code="needs-root",
            fix="sudo kexec-hook stage",
        )


# The root file system


def _root(decision: Decision) -> Iterator[Objection]:
    value = parameter(decision, "root")
    if decision.plan is None or value is None:
        return
    kind, equals, name = value.partition("=")
    by = BY.get(kind) if equals else None
    if by:
        if not _is_linked(decision.sysroot, by, name.partition("/PARTNROFF=")[0]):
            yield Objection(
                f"root={value}: there is no such name in /dev/disk/by-{by}",
                code="root-missing",
                fix=_correct_root(decision),
            )
    elif decision.sysroot.is_host and _is_node(value) and decision.sysroot.stat(value) is None:
        yield Objection(
            f"root={value}: there is no such device",
            code="root-missing",
            fix=_correct_root(decision),
        )
    if _needs_initrd(decision, kind, value):
        yield Objection(
            f"the boot entry has no initrd, and the kernel alone cannot find root={value}",
            code="initrd-needed",
            fix=f"make an initrd, then run `{Distribution(decision.sysroot).make_config}`",
        )


def _needs_initrd(decision: Decision, kind: str, value: str) -> bool:
    """Does Linux need an initrd to find its root, and has the entry none?  One that is missing is told already."""
    if decision.plan is None or decision.plan.initrds:
        return False
    if decision.evaluation and is_blind(decision.evaluation):
        return False  # an initrd may be where nobody can look
    if decision.evaluation and initrds_wanted(decision.evaluation):
        return False
    needs = kind in ("UUID", "LABEL") or value.startswith(("/dev/mapper/", "/dev/disk/"))
    return needs and not _has_initramfs(decision.sysroot, decision.plan.release or "")


def _has_initramfs(sysroot: Sysroot, release: str) -> bool:
    """Was one built into the kernel, as on some Gentoo?  Its configuration tells."""
    try:
        configuration = sysroot.text(f"/boot/config-{release}", 1 << 20)
    except SysrootError:
        return False
    return re.search('^CONFIG_INITRAMFS_SOURCE="[^"]', configuration, re.MULTILINE) is not None


def _correct_root(decision: Decision) -> str:
    """Where root= can be corrected: in the entry that holds it."""
    default = decision.default
    return correct_entry(decision, default.entries[-1].span) if default else ""


def _is_node(value: str) -> bool:
    """Is this a device that must be there now?  The initrd sets up /dev/mapper, and makes sense of the others."""
    return re.fullmatch("/dev/(?!mapper/|nfs$|zfs$|ram)[^ ]+", value) is not None


def _is_linked(sysroot: Sysroot, by: str, name: str) -> bool:
    """Does a file system of that name exist, as far as udev's links tell?"""
    directory = f"/dev/disk/by-{by}"
    # A root without udev's links knows no file systems; the machine has them, but no by-label where none has a label.
    if not sysroot.is_dir("/dev/disk" if sysroot.is_host else directory):
        return True
    if sysroot.stat(f"{directory}/{name}", follow=False) if name and "/" not in name else None:
        return True
    known = links_by(sysroot, by).values()
    return name in known or (by in ("uuid", "partuuid") and name.lower() in map(str.lower, known))


def parameter(decision: Decision, name: str) -> str | None:
    """The last value that a parameter of the kernel has."""
    found = None
    for word in words(decision.plan.cmdline) if decision.plan else ():
        if word == "--":
            break
        word = word.replace('"', "")
        if word.startswith(f"{name}="):
            found = word[len(name) + 1 :]
    return found


# Where GRUB's files are


def _two_configurations(decision: Decision) -> Iterator[Objection]:
    both = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
    if (
        decision.evaluation is None
        or decision.evaluation.config.told
        or decision.evaluation.config.path not in both
        or not all(decision.sysroot.is_file(path) for path in both)
    ):
        return
    first, second = (decision.sysroot.read(path) for path in both)
    if first != second:
        yield Objection(
            f"{both[0]} and {both[1]} differ, and it is not known which of them GRUB reads",
            code="two-configurations",
            fix="remove the one that GRUB does not read",
        )


def _unreadable(decision: Decision) -> Iterator[Objection]:
    """Files that the decision hangs on, and that are there and cannot be read."""
    for path in (
        "/etc/fstab",
        "/etc/crypttab",
        "/etc/os-release",
        "/usr/lib/os-release",
        "/etc/kernel/proxmox-boot-uuids",
    ):
        try:
            decision.sysroot.text(path, 1 << 20)
        except (MissingError, NotPermittedError):
            continue
        except SysrootError as error:
            yield Objection(
                f"{error}, so what it says is not known",
                code="file-unreadable",
                fix=f"correct {path}",
            )


def _not_mounted(decision: Decision) -> Iterator[Objection]:
    if not any(mount.device for mount in decision.disks.mounts.all):
        return  # nothing tells what is mounted
    config = decision.evaluation.config if decision.evaluation else None
    # An EFI system partition on which GRUB's first grub.cfg was found, mounted or not, has been seen.
    efi = config is not None and config.platform == "efi" and not config.told
    points = ("/boot", "/boot/efi", "/efi") if efi else ("/boot",)
    wanted = {fields[1] for fields in table(decision.sysroot, "/etc/fstab") if len(fields) > 1}
    for point in points:
        if point in wanted and not any(mount.point == point for mount in decision.disks.mounts.all):
            yield Objection(
                f"{point} is in /etc/fstab but not mounted, so the files that GRUB reads cannot be seen",
                code="not-mounted",
                fix=f"mount {quote(point)}",
            )


def _covered(decision: Decision) -> Iterator[Objection]:
    """GRUB reads disks: what an overlay or memory shows in their place (overlayroot, live systems) it does not see."""
    mounts, sysroot = decision.disks.mounts, decision.sysroot
    if decision.evaluation is None or not any(_is_disk(mount) for mount in mounts.all):
        return
    plan = decision.plan
    paths = [decision.evaluation.config.path, *([plan.kernel] if plan else [])]
    for path in (path for path in paths if path.startswith("/") and ":" not in path):
        mount = mounts.at(sysroot.resolve(path))
        if mount and mount.type in _NO_DISK:
            yield Objection(
                f"{path} is on {mount.type}, which GRUB does not read, so what it boots cannot be known",
                code="cannot-be-known",
                fix=f"mount the disk that GRUB reads on {'/boot' if mount.point == '/' else mount.point}",
            )
            return


def _is_disk(mount: Mount) -> bool:
    return mount.source.startswith("/dev/") and mount.type in GRUB_NAMES


def table(sysroot: Sysroot, path: str) -> list[list[str]]:
    """The fields of a file such as /etc/fstab; none where it cannot be read."""
    try:
        lines = sysroot.text(path, 1 << 20).splitlines()
    except SysrootError:
        return []
    return [fields for line in lines if (fields := line.split()) and not fields[0].startswith("#")]


def _one_time_entry(decision: Decision) -> Iterator[Objection]:
    """Where save_env fails, next_entry stays, and is booted again and again."""
    if any(write.name == "next_entry" for write in decision.pending):
        return  # openSUSE keeps it in a block of its own
    for problem in decision.problems:
        if problem.span and problem.errno in _NOT_WRITTEN:
            source = problem.span.source.text[problem.span.start : problem.span.end]
            if "next_entry" in source:
                yield Objection(
                    f"next_entry is set, and GRUB cannot clear it ({problem.message}, {problem.span}), "
                    "so GRUB would boot that entry every time",
                    code="next-entry-stuck",
                    fix=f"{Distribution(decision.sysroot).editenv} - unset next_entry",
                )


CHECKS: Checks = (
    _switched_off,
    _kernel,
    _initrds,
    _on_the_way,
    _not_permitted,
    _root,
    _two_configurations,
    _unreadable,
    _not_mounted,
    _covered,
    _one_time_entry,
)
