"""The machine we act on: its root, its programs, and where we keep what we know; a directory may stand for one."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from kexec_hook.system.process import Programs
from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from kexec_hook.system.directory import Directory, Mark

RUN = "/run/kexec-hook"  # until the machine is booted: record, approval, stamp
# There from before kexec is started until the kernel is known to hold nothing.  It is not in the
# directory beside it, which somebody may remove: without the mark, an image is the administrator's.
MARK = "/run/kexec-hook.loaded"
BOOTLOADER_TYPE = "/proc/sys/kernel/bootloader_type"
KEXEC = "208"
# Where there is no bootloader_type: the device tree as the kernel got it (only root may read it), where it is unpacked
# (not with ACPI), and the properties that only a kexec puts into its /chosen.  hooks/boot and hooks/gap look for them.
DEVICE_TREE = "/sys/firmware/fdt"
CHOSEN = "/proc/device-tree/chosen"
OUR_PROPERTY = "kexec-hook,jumped-from"
KEXEC_PROPERTIES = ("linux,booted-from-kexec", OUR_PROPERTY)
# Linux' Documentation/arch/x86/boot.rst, type_of_loader: 0xD is kexec, 7 with the version 2 GRUB.  Newer GRUBs start
# Linux by its EFI stub, too.
_LOADERS = {KEXEC: "kexec", "114": "GRUB", "33": "EFI stub"}
VAR = "/var/lib/kexec-hook"  # over boots: jumps that were tried


class Host(NamedTuple):
    """A machine.  With a root other than `/` nothing is acted on, unless it `stands_for` the running one."""

    root: str = "/"
    programs: Programs = Programs()
    owner: int = 0  # the user who must own what is believed
    stands_for_host: bool | None = None

    def sysroot(self) -> Sysroot:
        return Sysroot(self.root, is_host=self.stands_for_host)

    @property
    def is_host(self) -> bool:
        return (
            self.stands_for_host
            if self.stands_for_host is not None
            else os.path.realpath(self.root) == "/"
        )

    def path(self, path: str) -> str:
        """Where a path below the root is for us."""
        return path if self.root == "/" else self.root.rstrip("/") + path

    def state(self, directory: str = RUN, *, create: bool = True) -> Directory:
        """Our directory.  StateError; FileNotFoundError where it is missing and not to be made."""
        from kexec_hook.system.directory import Directory  # what only looks has none

        return Directory.open(self.path(directory), create=create, owner=self.owner)

    def until(self, seconds: float) -> Host:
        """The same, on which from now on no program runs longer than that."""
        return self._replace(programs=self.programs._replace(deadline=time.monotonic() + seconds))

    @property
    def in_any_case(self) -> Host:
        """The same for what has to be undone, without a deadline that has passed by then."""
        return self._replace(programs=self.programs._replace(deadline=None))

    @property
    def mark(self) -> Mark:
        """The image that the kernel may hold is ours."""
        from kexec_hook.system.directory import Mark

        return Mark(self.path(MARK), self.owner)

    def fact(self, path: str) -> str:
        """A line of /proc, /sys or /run; empty where it cannot be read."""
        try:
            return self.sysroot().text(path, limit=1 << 20).strip()
        except SysrootError:
            return ""

    @property
    def running(self) -> str:
        """The release of the running kernel."""
        return self.fact("/proc/sys/kernel/osrelease")

    @property
    def cmdline(self) -> str:
        """The command line of the running kernel."""
        return self.fact("/proc/cmdline")

    @property
    def booted_by(self) -> str:
        """kexec, GRUB, EFI stub or unknown; empty where nothing tells.

        bootloader_type is of x86 alone; elsewhere a device tree may tell of a kexec, and of nothing else.
        """
        kind = self.fact(BOOTLOADER_TYPE)
        if kind:
            return _LOADERS.get(kind, "unknown")
        return "kexec" if self._tree_tells_of_kexec() else ""

    def _tree_tells_of_kexec(self) -> bool:
        sysroot = self.sysroot()
        if any(sysroot.exists(f"{CHOSEN}/{name}") for name in KEXEC_PROPERTIES):
            return True
        try:
            tree = sysroot.read(DEVICE_TREE)
        except SysrootError:
            return False
        return any(name.encode() in tree for name in KEXEC_PROPERTIES)

    @property
    def machine(self) -> str:
        """As `uname -m` has it; empty where it is not known."""
        return machine(self.sysroot())

    @property
    def boot_id(self) -> str:
        return self.fact("/proc/sys/kernel/random/boot_id")


def machine(sysroot: Sysroot) -> str:
    """As `uname -m` has it on the machine whose root this is; empty where it is not known."""
    try:
        return sysroot.text("/proc/sys/kernel/arch", 1 << 12).strip()  # since Linux 6.1
    except SysrootError:
        return os.uname().machine if sysroot.root == "/" else ""
