"""Does all that GRUB may read, in each order in which it may find it, lead to the same boot?  By the files' bytes."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kexec_hook.grub.environment import ORDERS
from kexec_hook.plugins.api import Objection
from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kexec_hook.kernel.plan import Plan
    from kexec_hook.plugins.api import BootConfig, Decision
    from kexec_hook.system.sysroot import Sysroot


def unlike(
    answer: Decision, config: BootConfig, ask: Callable[[BootConfig, int], Decision]
) -> Iterator[Objection]:
    """Every configuration that GRUB may read must boot the same, by whatever GRUB, in whatever order it finds files.

    `ask` answers for a configuration, and for one of ORDERS.
    """
    doubted = False
    for other in config.others:
        why = "" if doubted and other.path == config.path else difference(answer, ask(other, 0))
        if why and other.path == config.path:
            doubted = True
            yield Objection(
                f"which kind of GRUB reads {config.path} is not known, and what {config.flavour} and {other.flavour} "
                f"boot is not the same: {why}",
                code="cannot-be-known",
                fix="set flavour in /etc/kexec-hook.conf",
            )
        elif why:
            yield Objection(
                f"GRUB may read {config.path} or {other.path}, and what they boot is not the same: {why}",
                code="configurations-differ",
                fix=config.sync
                or "run grub-install on each disk that begins with GRUB's boot code",
            )
    patterns = answer.evaluation.machine.unordered if answer.evaluation else []
    orders = ORDERS[1:] if patterns else ()
    if any(difference(answer, ask(config, order)) for order in orders):
        for pattern in patterns:
            why = f"{pattern.reason} ({pattern.span})"
            yield Objection(
                f"what GRUB boots cannot be known: {why}",
                code="cannot-be-known",
                fix="take that out of the configuration",
            )


def difference(one: Decision, other: Decision) -> str:
    """What the second does otherwise than the first; empty where they boot the same."""
    if one.evaluation and one.evaluation.machine.guesses:
        return ""  # said already
    if other.evaluation and other.evaluation.machine.guesses:
        return other.evaluation.machine.guesses[0].reason
    if (
        other.evaluation
        and one.evaluation
        and other.evaluation.config.path != one.evaluation.config.path
    ):
        for pattern in other.evaluation.machine.unordered:
            return pattern.reason
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
