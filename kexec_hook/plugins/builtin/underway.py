"""Objections to a kexec now: what else has plans for the next boot of this machine."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.checks import Checks, ask
from kexec_hook.state import record
from kexec_hook.system.directory import StateError
from kexec_hook.system.facts import Facts
from kexec_hook.system.host import MARK, RUN
from kexec_hook.system.systemd import UNIT, active, drop_ins

if TYPE_CHECKING:
    from collections.abc import Iterator

_RELEASE_UPGRADES = r"do-release-upgrade|release-upgrader|\bleapp\b|system-upgrade"


def objections(decision: Decision) -> Iterator[Objection]:
    yield from ask(CHECKS, decision, Facts(decision.sysroot.unnoted))


def _loaded_by_another(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if decision.trigger.force or facts.text("/sys/kernel/kexec_loaded") != "1":
        return
    try:
        known = record.look(f"{str(decision.sysroot.root).rstrip('/')}{RUN}", owner=decision.owner)
    except StateError as error:
        if not decision.trigger.dry:
            yield Objection(
                f"a kernel image is loaded, and it is not known who loaded it ({error})",
                code="foreign-image",
                fix="kexec-hook stage --force",
            )
        return
    if isinstance(known, record.NoRecord) and not known.found and not facts.exists(MARK):
        yield Objection(
            "a kernel image is loaded, but not by kexec-hook",
            code="foreign-image",
            fix="kexec-hook stage --force",
        )


def _system_update(decision: Decision, facts: Facts) -> Iterator[Objection]:
    for path in ("/system-update", "/etc/system-update"):
        if decision.sysroot.stat(path, follow=False):
            yield Objection(
                f"an offline update is waiting for the next boot ({path})", code="offline-update"
            )
            return


def _reboot_parameter(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """`systemctl reboot --reboot-argument=X` leaves it for reboot(2), which a kexec is not given."""
    path = "/run/systemd/reboot-param"
    argument = facts.text(path)
    if argument:
        yield Objection(
            f"the reboot has an argument for the firmware, {argument[:60]!r} ({path})",
            code="reboot-argument",
        )


def _release_upgrade(decision: Decision, facts: Facts) -> Iterator[Objection]:
    kernel = decision.plan.kernel if decision.plan else ""
    if re.search("/vmlinuz-upgrade[.][^/]*$", kernel):
        yield Objection(
            f"a release upgrade is waiting for the next boot ({kernel})", code="release-upgrade"
        )
        return
    for name in _ancestors(facts):
        if re.search(_RELEASE_UPGRADES, name):
            yield Objection(f"a release upgrade is running (`{name[:60]}`)", code="release-upgrade")
            return


def _ancestors(facts: Facts) -> Iterator[str]:
    """The command lines of the processes that called us, the nearest first."""
    process = "self"
    for _ in range(16):
        found = re.search(
            r"^PPid:\s*([0-9]+)$", facts.text(f"/proc/{process}/status") or "", re.MULTILINE
        )
        if found is None or found[1] in ("0", "1"):
            return
        process = found[1]
        yield (facts.text(f"/proc/{process}/cmdline") or "").replace("\0", " ").strip()


def _systemd(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """Only the shutdown unit approves a kexec.  While it stops itself, it is active no more."""
    if decision.trigger.source == "finalize":
        return
    if not facts.exists("/run/systemd/system"):
        yield Objection(
            "systemd does not run here, and only its units decide at shutdown whether a reboot is a kexec",
            code="no-systemd",
        )
    elif not active(decision.programs):
        yield Objection(
            f"{UNIT} is not active, and nothing else decides at shutdown whether the reboot is a kexec",
            code="unit-inactive",
            fix=f"systemctl enable --now {UNIT}",
        )
    elif not drop_ins(decision.sysroot.unnoted):
        yield Objection(
            "the drop-ins of systemd-reboot.service and systemd-kexec.service are missing, or an older version's",
            code="drop-ins-missing",
            fix="kexec-hook hooks install systemd",
        )


CHECKS: Checks = (
    _loaded_by_another,
    _system_update,
    _reboot_parameter,
    _release_upgrade,
    _systemd,
)
