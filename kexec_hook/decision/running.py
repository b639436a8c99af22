"""Is what GRUB would boot what runs already?  In doubt it is not."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.decision.planning import version_of
from kexec_hook.kernel.plan import Plan, paths
from kexec_hook.plugins.api import Decision
from kexec_hook.system.host import Host
from kexec_hook.system.sysroot import SysrootError

_DISK = r"^BOOT_IMAGE=\([^)]*\)"


def already_running(host: Host, decision: Decision) -> bool:
    """The same build of the kernel with the same command line, and none of its files was touched since it booted."""
    plan = decision.plan
    return (
        plan is not None
        and plan.release == host.running
        and _same_build(host, decision, plan)
        and _without_disk(host.cmdline) in _cmdlines(decision, plan)
        and _untouched(host, decision, plan)
    )


def _same_build(host: Host, decision: Decision, plan: Plan) -> bool:
    """A kernel says who built it, when, and what for: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.148-1 (2025-08-26)`."""
    _, _, built = version_of(plan.kernel, decision.sysroot).partition("#")
    _, _, runs = host.fact("/proc/version").partition("#")
    return not built or built.strip() == runs.strip()


def _cmdlines(decision: Decision, plan: Plan) -> set[str]:
    """As a jump would make it, and as GRUB does: the settings' parameters are for jumps alone."""
    loaded = decision.evaluation.machine.loaded if decision.evaluation else None
    by_grub = {"BOOT_IMAGE=" + loaded.kcmdline} if loaded else set()
    return {_without_disk(cmdline) for cmdline in {plan.cmdline} | by_grub}


def _without_disk(cmdline: str) -> str:
    """GRUB's name of the disk is a guess of ours."""
    return re.sub(_DISK, "BOOT_IMAGE=", cmdline.strip())


def _untouched(host: Host, decision: Decision, plan: Plan) -> bool:
    booted = re.search(r"^btime ([0-9]+)$", host.fact("/proc/stat"), re.MULTILINE)
    if booted is None:
        return False
    for path in paths(plan):
        try:
            info = decision.sysroot.stat(path)
        except SysrootError:
            return False
        if info is None or info.st_ctime > int(booted[1]):
            return False
    return True
