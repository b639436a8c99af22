"""A mark in the device tree that the next kernel gets: where nothing else tells that a kexec has started it.

On x86 the kernel says so (bootloader_type).  On arm64 kexec_file_load leaves a property in /chosen since Linux 5.13,
drivers/of/kexec.c; kexec_load hands over the tree that kexec(8) is given, and that gets a property of ours.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from kexec_hook.kernel.plan import Plan
from kexec_hook.system.host import BOOTLOADER_TYPE, DEVICE_TREE, OUR_PROPERTY, Host
from kexec_hook.system.sysroot import SysrootError

_LIMIT = 2 << 20  # bytes; what arm64's kernel takes
_FILE_SYSCALL_MARKS = (5, 13)


def marks(host: Host, plan: Plan) -> bool:
    """Will the kernel that this loads tell how it was started?"""
    return _tree(host, plan) is not None


@contextmanager
def marked_tree(host: Host, plan: Plan) -> Iterator[tuple[str | None, tuple[int, ...]]]:
    """The path for --dtb and its descriptor; None where the tree stays as it is."""
    tree = _tree(host, plan)
    if tree is None:
        yield None, ()
        return
    memory = os.memfd_create("devicetree", os.MFD_CLOEXEC)
    try:
        os.write(memory, tree)
        os.lseek(memory, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{memory}", (memory,)
    finally:
        os.close(memory)


def _tree(host: Host, plan: Plan) -> bytes | None:
    if host.fact(BOOTLOADER_TYPE) or host.machine != "aarch64" or plan.panic:
        return None
    release = re.match(r"(\d+)\.(\d+)", host.running)
    if release is None or (int(release[1]), int(release[2])) < _FILE_SYSCALL_MARKS:
        return None
    from kexec_hook.kernel.devicetree import NoDeviceTree, chosen, with_chosen  # arm64 alone

    try:
        running = host.sysroot().read(DEVICE_TREE, _LIMIT)
        # The firmware's tables, which GRUB and the kernel's stub add to a tree that GRUB was told to load.
        firmware = {
            name: value for name, value in chosen(running).items() if name.startswith("linux,uefi-")
        }
        own = plan.devicetree and host.sysroot().read(plan.devicetree, _LIMIT)
        mark = {OUR_PROPERTY: host.boot_id.encode() + b"\0"}
        return with_chosen(own, {**firmware, **mark}) if own else with_chosen(running, mark)
    except (NoDeviceTree, SysrootError):
        return None
