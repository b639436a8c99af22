"""The systemd units: is the one that decides at shutdown at work, and are the drop-ins there that ask for its word?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.system.host import MARK
from kexec_hook.system.process import ProcessError, Programs
from kexec_hook.system.sysroot import Sysroot, SysrootError

UNIT = "kexec-hook.service"
ALWAYS = "kexec-hook-always.service"
_DROP_INS = (
    "systemd-reboot.service.d/50-kexec-hook.conf",
    "systemd-kexec.service.d/50-kexec-hook.conf",
)
_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def active(programs: Programs, unit: str = UNIT) -> bool:
    """Will it act, when the machine goes down?"""
    try:
        return (
            programs.run(
                ("systemctl", "is-active", "--quiet", unit), timeout=20, check=False
            ).status
            == 0
        )
    except ProcessError:
        return False


def starting(programs: Programs, unit: str) -> bool:
    """Is the command of this oneshot at work?"""
    try:
        said = programs.run(("systemctl", "is-active", unit), timeout=20, check=False)
    except ProcessError:
        return False
    return said.stdout.strip() == "activating"


def drop_ins(sysroot: Sysroot) -> bool:
    """Are they there?  With them, what kexec-hook staged jumps only where the unit has approved it.

    Those of an older version, which do not know the mark, are none: they let an image jump whose record was lost.
    """
    return all(MARK in _first(sysroot, name) for name in _DROP_INS)


def _first(sysroot: Sysroot, name: str) -> str:
    """The file that counts: systemd reads the first of a name."""
    for place in _DIRECTORIES:
        try:
            return sysroot.text(f"{place}/{name}", limit=1 << 16)
        except SysrootError:
            continue
    return ""
