"""The questions plugins answer; docs/plugins.md has examples."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from kexec_hook.plugins.api import BootConfig, Decision, Note, Objection, PackageManager, Trigger

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.values import Entry
    from kexec_hook.state.attempts import Attempt
    from kexec_hook.system.sysroot import Sysroot


hookspec = pluggy.HookspecMarker("kexec_hook")


@hookspec
def kexec_hook_package_manager() -> PackageManager:  # type: ignore[empty-body]
    """The package manager this plugin stands for.  All answers are used."""


@hookspec(firstresult=True)
def kexec_hook_boot_config(sysroot: Sysroot, disks: RootDisks) -> BootConfig | None:
    """Where GRUB's configuration is on this root; None where it is not this plugin's kind."""


@hookspec(firstresult=True)
def kexec_hook_choose_entry(
    menu: Sequence[Entry], default: str | None, trigger: Trigger
) -> str | None:
    """Another entry than GRUB's default, as GRUB's `default` variable would name it; None for GRUB's own."""


@hookspec
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection | str]:  # type: ignore[empty-body]
    """Every reason not to stage this run.  A plugin that raises here is an objection itself."""


@hookspec
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note | str]:  # type: ignore[empty-body]
    """What the administrator should know, though it forbids nothing."""


@hookspec
def kexec_hook_staged(decision: Decision) -> None:
    """A kernel was staged: for logs and notifications."""


@hookspec
def kexec_hook_judged(attempt: Attempt, came_up: bool) -> None:
    """A boot has shown what came of a kexec, noted as `attempt`: for logs and notifications.  Called once for each."""
