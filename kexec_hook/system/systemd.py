"""The systemd units: is the one that decides at shutdown at work, and are the drop-ins there that ask for its word?"""

from __future__ import annotations

from kexec_hook.system.process import ProcessError, Programs
from kexec_hook.system.sysroot import Sysroot

UNIT = "kexec-hook.service"
_DROP_INS = (
    "systemd-reboot.service.d/50-kexec-hook.conf",
    "systemd-kexec.service.d/50-kexec-hook.conf",
)
_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def active(programs: Programs) -> bool:
    """Will it act, when the machine goes down?"""
    try:
        return (
            programs.run(
                ("systemctl", "is-active", "--quiet", UNIT), timeout=20, check=False
            ).status
            == 0
        )
    except ProcessError:
        return False


def drop_ins(sysroot: Sysroot) -> bool:
    """Are they there?  With them, what kexec-hook staged jumps only where the unit has approved it."""
    return all(
        any(sysroot.exists(f"{place}/{name}") for place in _DIRECTORIES) for name in _DROP_INS
    )


def nobody_approves(programs: Programs, sysroot: Sysroot) -> bool:
    """Can nothing that is staged jump, since nobody approves it?"""
    return drop_ins(sysroot) and not active(programs)
