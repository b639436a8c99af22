"""The parts of a unified kernel image as files that kexec can be given: they are copied out when they are looked at."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from kexec_hook.kernel import uki
from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

_CHUNK = 1 << 20  # bytes
_LINUX = f":{uki.LINUX}"


class Unified(NamedTuple):
    """An image below the root."""

    path: str
    image: uki.Uki
    cmdline: str
    release: str | None

    @property
    def plan(self) -> Plan:
        """Kernel, initrds and command line as systemd-stub would start them."""
        initrds = tuple(
            InitrdFile(f"{self.path}:{section.name}", newc) for section, newc in self.image.initrds
        )
        return Plan(self.path + _LINUX, initrds, self.cmdline, self.release, None)


def read_unified(sysroot: Sysroot, path: str) -> Unified | None:
    """The image at a path below the root; None where it is another program.  Raises Damaged, SysrootError.

    Its sections are lent to the root under the names PATH:.linux and so on.
    """
    with sysroot.window(path) as file:
        image = uki.read_uki(file)
        if image is None:
            return None
        found = Unified(path, image, uki.cmdline_of(image, file), uki.uname_of(image, file))
    for section in (image.section(uki.LINUX), *(section for section, _ in image.initrds)):
        if section is not None:
            _lend(sysroot, path, section)
    return found


def path_of(plan: Plan) -> str:
    """The image that a plan's kernel was taken from; empty where it is a file of its own."""
    return plan.kernel[: -len(_LINUX)] if plan.kernel.endswith(_LINUX) else ""


def _lend(sysroot: Sysroot, path: str, section: uki.Section) -> None:
    def copy() -> int:
        memory = os.memfd_create(section.name, os.MFD_CLOEXEC)
        try:
            _copy(sysroot, path, section, memory)
        except BaseException:
            os.close(memory)
            raise
        os.lseek(memory, 0, os.SEEK_SET)
        return memory

    sysroot.lend(f"{path}:{section.name}", copy)


def _copy(sysroot: Sysroot, path: str, section: uki.Section, memory: int) -> None:
    at, end = section.start, section.start + section.size
    with sysroot.window(path) as file:
        while at < end:
            piece = file.at(at, min(_CHUNK, end - at))
            if not piece:
                raise SysrootError(path, "is shorter than it was", "try again")
            at += os.write(memory, piece)
