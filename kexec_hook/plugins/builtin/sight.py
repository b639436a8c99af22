"""What GRUB sees and we do not, and what only looks like a fault of the configuration: each gets its true name."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.grub.commands.boot import LINUX
from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.errors import CommandError
from kexec_hook.plugins.api import Objection
from kexec_hook.system.distribution import Distribution
from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.grub.values import Loaded
    from kexec_hook.plugins.api import Decision, Evaluation

_MENU_ONCE = ("menu_show_once", "menu_show_once_timeout")


def is_blind(evaluation: Evaluation) -> bool:
    """Did the configuration ask for something that cannot be seen?  What follows from it is no fault of anybody."""
    return any(guess.code for guess in evaluation.machine.guesses)


def booted_linux(evaluation: Evaluation) -> Loaded | None:
    """The Linux that GRUB boots in the end; None where it boots something else, or nothing."""
    loaded = evaluation.machine.loaded
    if loaded is None or not evaluation.result.booted or loaded.kind != "linux":
        return None
    return loaded


def unknown(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """What boots hangs on the clock, on hardware or keys, or on what no mount shows and GRUB's drivers cannot read."""
    for guess in evaluation.machine.guesses:
        where = f" ({guess.span})" if guess.span else ""
        if guess.code == "not-mounted":
            yield Objection(
                f"what GRUB boots cannot be known: {guess.reason}{where}",
                code="not-mounted",
                fix=guess.fix,
            )
        else:
            yield Objection(
                f"what GRUB boots cannot be known: {guess.reason}{where}",
                code="cannot-be-known",
                fix=guess.fix or "take that out of the configuration",
            )


def menu_asked_for(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """Fedora's grubenv remembers that somebody wants to see the menu once; a kexec would take that away."""
    for write in evaluation.machine.pending:
        if write.name in _MENU_ONCE and write.value is None:
            block = decision.disks.name(write.path)
            yield Objection(
                f"somebody asked for GRUB's menu at the next boot ({write.name} in {block})",
                code="menu-asked-for",
                fix=f"{Distribution(decision.sysroot).editenv} - unset {write.name}",
            )


def asks_for_linux(evaluation: Evaluation) -> bool:
    """Is it an entry for Linux that has failed, or none at all?"""
    return any(words[0] in LINUX for words in evaluation.machine.executed)


def initrds_wanted(evaluation: Evaluation) -> list[list[str]]:
    """The initrd commands that belong to the kernel that was loaded last: each takes those before it away."""
    executed = evaluation.machine.executed
    last = max((at for at, words in enumerate(executed) if words[0] in LINUX), default=-1)
    return [words for words in executed[last + 1 :] if words[0].startswith("initrd")]


def no_snippets(evaluation: Evaluation, so: str) -> Iterator[Objection]:
    """blscfg has found nothing, which is why the menu holds nothing that boots Linux."""
    empty = evaluation.machine.bls_nowhere[-1]
    yield Objection(f"{empty.reason} ({empty.span}), so {so}", code="no-entry", fix=empty.fix)


def unified_image(decision: Decision, loaded: Loaded | None) -> str:
    """The unified kernel image (UAPI.5) that chainloader starts; empty where it starts something else.

    Such images lie in /EFI/Linux, and are PE files with a section .linux.
    """
    if loaded is None or loaded.kind != "chainloader" or loaded.path is None:
        return ""
    if re.search(r"(?i)/EFI/Linux/[^/]+\.efi$", loaded.path.path):
        return loaded.path.path
    found = decision.disks.locate(loaded.path)
    try:
        head = decision.sysroot.head(found.host, 4096) if found else b""
    except SysrootError:
        return ""
    return loaded.path.path if b".linux\0\0" in head else ""


def link_off(decision: Decision, evaluation: Evaluation) -> str:
    """The kernel's path where it is a link that leads nowhere on its own file system; else empty."""
    machine = evaluation.machine
    words = next((words for words in reversed(machine.executed) if words[0] in LINUX), [])
    return "" if machine.loaded or len(words) < 2 else broken_link(decision, evaluation, words[1])


def broken_link(decision: Decision, evaluation: Evaluation, name: str) -> str:
    """The path of a file that a command named, where that is a link that leads nowhere for GRUB; else empty."""
    try:
        path = evaluation.machine.path(name)
        if decision.disks.stat(path) or not decision.disks.entry(path):
            return ""
    except (CommandError, Unseen):
        return ""
    return str(path)
