"""Is this a virtual machine?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Note
from kexec_hook.system.host import BOOTLOADER_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.system.facts import Facts

# How they call themselves, as systemd's src/basic/virt.c knows them.
_NAMES = (
    "QEMU", "KVM", "OpenStack", "KubeVirt", "VMware", "VirtualBox", "Parallels", "Virtual Machine",
    "Google Compute Engine", "Apple Virtualization", "Alibaba Cloud ECS", "vServer",
)  # fmt: skip


def note(decision: Decision, facts: Facts) -> Iterator[Note]:
    kind = facts.text("/sys/hypervisor/type") or (
        "hypervisor" if "hypervisor" in facts.cpu() else ""
    )
    if kind or facts.exists("/proc/device-tree/hypervisor") or _names_itself_so(facts):
        yield Note(
            "this is a virtual machine, whose firmware is fast, so a kexec saves little time",
            code="virtual-machine",
        )


def _names_itself_so(facts: Facts) -> bool:
    """Elsewhere than on x86 the processor does not tell; most firmware does, and so does QEMU's device tree."""
    if facts.exists(BOOTLOADER_TYPE):
        return False
    named = [
        facts.text(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")
    ]
    if named[0] == "Amazon EC2" and not named[1].endswith(".metal"):
        return True
    board = facts.text("/proc/device-tree/compatible") or ""
    return "linux,dummy-virt" in board or any(name.startswith(_NAMES) for name in named)
