"""From what GRUB loaded to what kexec is told: host paths, the kernel's command line, the argv.  Executes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.grub.disks import GrubPath
    from kexec_hook.grub.machine import Loaded
    from kexec_hook.rootdisks import RootDisks
    from kexec_hook.settings import Settings
    from kexec_hook.sysroot import Sysroot

Argv = tuple[str, ...]


class InitrdFile(NamedTuple):
    """One initrd as GRUB would put it into memory."""

    path: str  # below the root
    newc: str = ""  # the name it gets as a cpio member


class Plan(NamedTuple):
    """What kexec would be given; paths are below the root."""

    kernel: str
    initrds: tuple[InitrdFile, ...]
    cmdline: str  # as /proc/cmdline would show it after a GRUB boot
    release: str | None
    devicetree: str | None
    kexec_args: tuple[str, ...] = ()
    panic: bool = False  # for the moment the running kernel panics

    def argv(self, initrd: str | None = None) -> Argv:
        """The kexec call; `initrd` stands for several that were joined."""
        words = ["kexec", *self.kexec_args, "--load-panic" if self.panic else "--load", self.kernel]
        if self.initrds:
            words.append(f"--initrd={initrd or self.joined}")
        if self.devicetree:
            words.append(f"--dtb={self.devicetree}")
        words.append(f"--command-line={self.cmdline}")
        return tuple(words)

    def below(self, sysroot: Sysroot) -> Plan:
        """The plan with kernel and device tree as they are called from outside the root."""
        devicetree = str(sysroot.host(self.devicetree)) if self.devicetree else None
        return self._replace(kernel=str(sysroot.host(self.kernel)), devicetree=devicetree)

    @property
    def joined(self) -> str:
        """How the argv shows the initrds: several are joined in memory and passed as a descriptor."""
        if len(self.initrds) == 1 and not self.initrds[0].newc:
            return self.initrds[0].path
        return "/proc/self/fd/3"


def make_plan(loaded: Loaded, disks: RootDisks, sysroot: Sysroot, settings: Settings) -> Plan | None:
    """The plan for a Linux that GRUB loaded; None when one of its files is on no mounted file system."""
    if loaded.kind != "linux" or loaded.path is None:
        return None
    kernel = _host(disks, loaded.path)
    initrds = tuple(InitrdFile(_host(disks, initrd.path) or "", initrd.newc) for initrd in loaded.initrds)
    devicetree = _host(disks, loaded.devicetree) if loaded.devicetree else ""
    if kernel is None or devicetree is None or not all(initrd.path for initrd in initrds):
        return None
    cmdline = edited("BOOT_IMAGE=" + loaded.kcmdline, settings)
    args = tuple(settings.kexec_args.value)
    return Plan(kernel, initrds, cmdline, release_of(kernel, sysroot), devicetree or None, args)


def given_plan(kernel: str, initrd: str, cmdline: str, release: str | None, settings: Settings) -> Plan:
    """The plan for files that GRUB has no say in; no initrd where it is empty."""
    initrds = (InitrdFile(initrd),) if initrd else ()
    return Plan(kernel, initrds, edited(cmdline, settings), release, None, tuple(settings.kexec_args.value))


def edited(cmdline: str, settings: Settings) -> str:
    """The command line as the administrator's settings change it; to the byte as it was where they do not."""
    from kexec_hook.cmdline import edit_cmdline

    remove, append = settings.remove_parameters.value, settings.append_parameters.value
    if settings.panic_timeout.value:
        remove, append = (*remove, "panic"), (*append, f"panic={settings.panic_timeout.value}")
    return edit_cmdline(cmdline, remove, append) if remove or append else cmdline


def _host(disks: RootDisks, path: GrubPath) -> str | None:
    found = disks.locate(path)
    return str(found.host) if found else None


def release_of(kernel: str, sysroot: Sysroot) -> str | None:
    """The kernel's release: as a bzImage says it (Linux' Documentation/arch/x86/boot.rst), else by its file's name."""
    from kexec_hook.sysroot import SysrootError

    try:
        head = sysroot.head(kernel, 0x8000)
    except SysrootError:
        head = b""
    if head[0x202:0x206] == b"HdrS" and len(head) > 0x210:
        start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
        words = head[start : start + 256].split(b"\0")[0].split()
        if words:
            return words[0].decode("ascii", "replace")
    named = re.search(r"(?:vmlinu[xz]|bzImage|linux|kernel|Image)-(.+)$", kernel.rpartition("/")[2])
    return named[1] if named else None


def paths(plan: Plan) -> Sequence[str]:
    """Every file that kexec would read."""
    return [plan.kernel, *(initrd.path for initrd in plan.initrds), *([plan.devicetree] if plan.devicetree else [])]
