"""Do two configurations that GRUB may read lead to the same boot?  Files are compared by their bytes."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from kexec_hook.kernel.plan import Plan
    from kexec_hook.plugins.api import Decision
    from kexec_hook.system.sysroot import Sysroot


def difference(one: Decision, other: Decision) -> str:
    """What the second does otherwise than the first; empty where they boot the same."""
    if one.evaluation and one.evaluation.machine.guesses:
        return ""  # said already
    if other.evaluation and other.evaluation.machine.guesses:
        return other.evaluation.machine.guesses[0].reason
    if one.plan is None or other.plan is None:
        return "" if one.plan is other.plan else "one of them does not boot Linux"
    for what, mine, theirs in (
        ("kernel", one.plan.kernel, other.plan.kernel),
        ("device tree", one.plan.devicetree or "", other.plan.devicetree or ""),
    ):
        if not _same(one.sysroot, mine, theirs):
            return f"the {what} is {mine or 'none'} or {theirs or 'none'}"
    if _words(one.plan) != _words(other.plan):
        return f"the command line is {one.plan.cmdline!r} or {other.plan.cmdline!r}"
    if not _same_initrds(one.sysroot, one.plan, other.plan):
        return "the initrds differ"
    writes = [[(write.name, write.value) for write in each.pending] for each in (one, other)]
    return "" if writes[0] == writes[1] else "they leave different environments"


def _same_initrds(sysroot: Sysroot, one: Plan, other: Plan) -> bool:
    return len(one.initrds) == len(other.initrds) and all(
        mine.newc == theirs.newc and _same(sysroot, mine.path, theirs.path)
        for mine, theirs in zip(one.initrds, other.initrds)
    )


def _words(plan: Plan) -> str:
    """Without GRUB's name of the disk."""
    return re.sub(r"^(BOOT_IMAGE=)\([^)]*\)", r"\1", plan.cmdline)


def _same(sysroot: Sysroot, one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return bool(one and other) and _digest(sysroot, one) == _digest(sysroot, other)
    except SysrootError:
        return False


def _digest(sysroot: Sysroot, path: str) -> bytes:
    import hashlib  # few runs need it

    digest = hashlib.blake2b()
    with sysroot.descriptor(path) as fd:
        offset = 0
        while piece := os.pread(fd, 1 << 20, offset):
            digest.update(piece)
            offset += len(piece)
    return digest.digest()
