"""Which entry of GRUB's menu boots the newest kernel, or the running one?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.decision.planning import loaded_plan
from kexec_hook.grub.menu import try_all

if TYPE_CHECKING:
    from kexec_hook.grub.machine import Machine
    from kexec_hook.kernel.releases import TailKey
    from kexec_hook.plugins.api import Decision
    from kexec_hook.plugins.asking import Plugins
    from kexec_hook.system.host import Host
    from kexec_hook.system.sysroot import Sysroot


def entry_of(
    how: str, decision: Decision, machine: Machine, host: Host, plugins: Plugins
) -> tuple[int, ...]:
    """The first entry, in the menu's order, of the newest or the running kernel; empty where there is none."""
    from kexec_hook.kernel.releases import release_key

    found: list[tuple[str, tuple[int, ...]]] = []
    for sample in try_all(machine):
        loaded = sample.machine.loaded
        if sample.outcome.how != "boot" or loaded is None or sample.entry.submenu:
            continue
        plan = loaded_plan(loaded, decision.disks, decision.sysroot)
        if plan is not None and plan.release:
            found.append((plan.release, sample.path))
    if how == "running":
        return next((path for release, path in found if release == host.running), ())
    tail = tail_key(plugins, decision.sysroot)
    return max(found, key=lambda item: release_key(item[0], tail), default=("", ()))[1]


def tail_key(plugins: Plugins, sysroot: Sysroot) -> TailKey:
    """How this root's package manager orders what follows a kernel's upstream version; dpkg's where none is known."""
    from kexec_hook.kernel import releases

    for manager in plugins.package_managers():
        if any(sysroot.exists(database) for database in manager.databases):
            return releases.rpm_key if manager.tails == "rpm" else releases.dpkg_key
    return releases.dpkg_key
