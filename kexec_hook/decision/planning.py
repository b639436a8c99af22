"""From what GRUB loaded to what kexec is told: host paths, and the command line as the settings change it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.grub.disks import DiskError, Unseen
from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.disks import GrubPath
    from kexec_hook.grub.values import Loaded
    from kexec_hook.plugins.api import Objection
    from kexec_hook.settings.conf import Settings
    from kexec_hook.system.sysroot import Sysroot


class Refused(Exception):
    """There is nothing to plan, for this reason."""

    def __init__(self, objection: Objection) -> None:
        super().__init__(objection.reason)
        self.objection = objection


def make_plan(
    loaded: Loaded, disks: RootDisks, sysroot: Sysroot, settings: Settings
) -> Plan | None:
    """The plan for a Linux that GRUB loaded, as the settings change it; None as loaded_plan.  Raises CmdlineError."""
    plan = loaded_plan(loaded, disks, sysroot)
    if plan is None:
        return None
    return plan._replace(
        cmdline=edited(plan.cmdline, settings), kexec_args=tuple(settings.kexec_args.value)
    )


def loaded_plan(loaded: Loaded, disks: RootDisks, sysroot: Sysroot) -> Plan | None:
    """What GRUB loaded, its command line to the byte; None when one of its files is on no mounted file system."""
    if loaded.path is None:
        return None
    if loaded.kind == "chainloader":
        return _unified_plan(disks, sysroot, loaded.path)
    if loaded.kind != "linux":
        return None
    kernel = _place(disks, sysroot, loaded.path)
    initrds = tuple(
        InitrdFile(_place(disks, sysroot, initrd.path) or "", initrd.newc)
        for initrd in loaded.initrds
    )
    devicetree = _place(disks, sysroot, loaded.devicetree) if loaded.devicetree else ""
    if kernel is None or devicetree is None or not all(initrd.path for initrd in initrds):
        return None
    cmdline = "BOOT_IMAGE=" + loaded.kcmdline
    return Plan(kernel, initrds, cmdline, release_of(kernel, sysroot), devicetree or None)


def _unified_plan(disks: RootDisks, sysroot: Sysroot, path: GrubPath) -> Plan | None:
    """The parts of a unified kernel image; None where it is another program, or cannot be read."""
    from kexec_hook.kernel.images import Damaged
    from kexec_hook.kernel.unified import read_unified  # few entries are one

    place = _place(disks, sysroot, path)
    if place is None:
        return None
    try:
        found = read_unified(sysroot, place)
    except (Damaged, SysrootError):
        return None
    return found.plan if found else None


def given_plan(
    kernel: str, initrd: str, cmdline: str, release: str | None, settings: Settings
) -> Plan:
    """The plan for files that GRUB has no say in; no initrd where it is empty.  Raises CmdlineError."""
    initrds = (InitrdFile(initrd),) if initrd else ()
    return Plan(
        kernel, initrds, edited(cmdline, settings), release, None, tuple(settings.kexec_args.value)
    )


def edited(cmdline: str, settings: Settings) -> str:
    """The command line as the administrator's settings change it, to the byte as it was where they do not.

    Raises CmdlineError.
    """
    from kexec_hook.kernel.cmdline import edit_cmdline

    remove, append = settings.remove_parameters.value, settings.append_parameters.value
    if settings.panic_timeout.value:
        remove, append = (*remove, "panic"), (*append, f"panic={settings.panic_timeout.value}")
    return edit_cmdline(cmdline, remove, append) if remove or append else cmdline


def _place(disks: RootDisks, sysroot: Sysroot, path: GrubPath) -> str | None:
    """Where the file is below the root; what no mount shows is lent to the root, and copied when it is looked at."""
    found = disks.locate(path)
    if found:
        return found.host
    try:
        hidden = disks.unmounted(path)
    except Unseen:
        return None
    if hidden is None:
        return None

    def copy() -> int:
        try:
            return hidden.copy()
        except (Unseen, DiskError) as error:
            raise SysrootError(hidden.name, str(error)) from None

    sysroot.lend(hidden.name, copy)
    return hidden.name


def release_of(kernel: str, sysroot: Sysroot) -> str | None:
    """The kernel's release: as it says itself, else by its file's name."""
    words = version_of(kernel, sysroot).split()
    if words:
        return words[0]
    named = re.search(r"(?:vmlinu[xz]|bzImage|linux|kernel|Image)-(.+)$", kernel.rpartition("/")[2])
    return named[1] if named else None


def version_of(kernel: str, sysroot: Sysroot) -> str:
    """What a bzImage says of itself (Linux' Documentation/arch/x86/boot.rst); empty for any other file.

    It is release, builder and build, of which /proc/version has the first and the last.
    """
    try:
        head = sysroot.head(kernel, 0x8000)
    except SysrootError:
        return ""
    if head[0x202:0x206] != b"HdrS" or len(head) <= 0x210:
        return ""
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    return head[start : start + 256].split(b"\0")[0].decode("ascii", "replace")
