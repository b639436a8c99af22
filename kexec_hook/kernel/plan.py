"""What kexec is told: files below the root, the command line, the argv.  Executes nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.system.sysroot import Sysroot

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

    def argv(self, initrd: str | None = None, devicetree: str | None = None) -> Argv:
        """The kexec call; `initrd` stands for several that were joined, `devicetree` for a tree that was marked."""
        words = ["kexec", *self.kexec_args, "--load-panic" if self.panic else "--load", self.kernel]
        if self.initrds:
            words.append(f"--initrd={initrd or self.joined}")
        if self.devicetree:
            # With the other one kexec(8) passes over the tree.
            words.append("--kexec-syscall")
        if devicetree or self.devicetree:
            words.append(f"--dtb={devicetree or self.devicetree}")
        words.append(f"--command-line={self.cmdline}")
        return tuple(words)

    def below(self, sysroot: Sysroot) -> Plan:
        """The plan with kernel and device tree as they are called from outside the root."""
        devicetree = sysroot.host(self.devicetree) if self.devicetree else None
        return self._replace(kernel=sysroot.host(self.kernel), devicetree=devicetree)

    @property
    def joined(self) -> str:
        """How the argv shows the initrds: several are joined in memory and passed as a descriptor."""
        if len(self.initrds) == 1 and not self.initrds[0].newc:
            return self.initrds[0].path
        return "/proc/self/fd/3"


def paths(plan: Plan) -> Sequence[str]:
    """Every file that kexec would read."""
    return [
        plan.kernel,
        *(initrd.path for initrd in plan.initrds),
        *([plan.devicetree] if plan.devicetree else []),
    ]
