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
from kexec_hook.system.systemd import UNIT, active, drop_ins, starting

if TYPE_CHECKING:
    from collections.abc import Iterator

# Programs by their names, and what do-release-upgrade downloads, whose name is that of the release to come.
_UPGRADERS = r"(^|/)(do-release-upgrade|leapp3?)$|/ubuntu-release-upgrader-\w{6,}/[a-z]+$"
_DNF5 = "/usr/lib/sysimage/libdnf5/offline/offline-transaction-state.toml"
_DNF4 = (
    "/var/lib/dnf/system-upgrade/system-upgrade-state.json",
    "/var/lib/dnf/system-upgrade.json",
)
_PACKAGEKIT = "/var/lib/PackageKit/prepared-upgrade"
# What logind leaves to services that run beside ours as the machine goes down (systemd's docs/ENVIRONMENT.md): Fedora's
# GRUB has one that writes grubenv.  The last name is that of old versions, src/login/logind-dbus.c.
_LOADER_ASKED = (
    "/run/systemd/reboot-to-boot-loader-menu",
    "/run/systemd/reboot-to-boot-loader-entry",
    "/run/systemd/reboot-boot-to-loader-entry",
)
_SETUP_ASKED = "/run/systemd/reboot-to-firmware-setup"


def objections(decision: Decision) -> Iterator[Objection]:
    yield from ask(CHECKS, decision, Facts(decision.sysroot.unnoted))


def _loaded_by_another(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if decision.trigger.force or facts.text("/sys/kernel/kexec_loaded") != "1":
        return
    try:
        known = record.look(f"{decision.sysroot.root.rstrip('/')}{RUN}", owner=decision.owner)
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


def _put_in_place(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """bootc's, where it has no ostree: the boot entries become others while kexec-hook.service decides, or after it."""
    path = "/run/composefs/staged-deployment"
    if facts.exists(path):
        yield Objection(
            f"an update is put in place as the machine goes down ({path})", code="offline-update"
        )


def _asked_of_logind(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """`systemctl reboot --boot-loader-menu=` and its like, and GNOME's button for it."""
    path = next(filter(facts.exists, _LOADER_ASKED), "")
    if path:
        yield Objection(
            f"somebody asked for the boot loader's menu, or for an entry of it, at the next boot ({path})",
            code="menu-asked-for",
        )
    if facts.exists(_SETUP_ASKED):
        yield Objection(
            f"somebody asked for the firmware's setup at the next boot ({_SETUP_ASKED})",
            code="firmware-request",
        )


def _firmware_waits(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """Documentation/ABI/testing of Linux: sysfs-class-firmware-attributes, sysfs-driver-ppi."""
    above = "/sys/class/firmware-attributes"
    for name in facts.names(above):
        path = f"{above}/{name}/attributes/pending_reboot"
        if facts.text(path) == "1":
            yield Objection(
                f"settings of the firmware were changed, and it applies them at the next boot ({path})",
                code="firmware-request",
            )
    for name in facts.names("/sys/class/tpm"):
        path = f"/sys/class/tpm/{name}/ppi/request"
        if re.match("[1-9]", facts.text(path) or ""):
            yield Objection(
                f"the firmware was asked to clear or change the TPM at the next boot ({path})",
                code="firmware-request",
            )


def _reboot_parameter(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """`systemctl reboot --reboot-argument=X` leaves it for reboot(2), which a kexec is not given."""
    path = "/run/systemd/reboot-param"
    argument = facts.text(path)
    if argument:
        yield Objection(
            f"the reboot has an argument for the firmware, {argument[:60]!r} ({path})",
            code="reboot-argument",
        )


def _firmware_wanted(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """zypp-boot-plugin(8) writes what packages ask for, soft-reboot, kexec or reboot; libzypp itself an empty file."""
    path = "/run/reboot-needed"
    if facts.text(path) == "reboot":
        yield Objection(
            f"packages that were installed ask for a reboot through the firmware ({path})",
            code="firmware-wanted",
        )


def _release_upgrade(decision: Decision, facts: Facts) -> Iterator[Objection]:
    kernel = decision.plan.kernel if decision.plan else ""
    if re.search("/vmlinuz-upgrade[.][^/]*$", kernel):
        yield Objection(
            f"a release upgrade is waiting for the next boot ({kernel})", code="release-upgrade"
        )
        return
    for path in filter(None, (_dnf5(facts), _dnf4(facts), _packagekit(decision, facts))):
        yield Objection(
            f"a release upgrade was started and is not finished ({path})", code="release-upgrade"
        )
        return
    for words in _ancestors(facts):
        if re.search(_UPGRADERS, _program_of(words)):
            shown = " ".join(words).strip()[:60]
            yield Objection(f"a release upgrade is running (`{shown}`)", code="release-upgrade")
            return


def _dnf5(facts: Facts) -> str:
    """The state of dnf 5's offline transactions, where it is about a release upgrade that has begun.

    dnf5/offline.hpp; the word for "begun" was `upgrade-incomplete` until 5.1.  What is longer than a line stands in
    three quotes, and is only the command line.
    """
    text = re.sub(r'"""(?s:.*?)"""', "", facts.text(_DNF5) or "")
    state = dict(re.findall(r'^(\w+)\s*=\s*"(.*)"\s*$', text, re.MULTILINE))
    begun = state.get("status") in {"transaction-incomplete", "upgrade-incomplete"}
    verb, before, after = (
        state.get(key, "") for key in ("verb", "system_releasever", "target_releasever")
    )
    return _DNF5 if begun and _changes_release(verb, before, after) else ""


def _dnf4(facts: Facts) -> str:
    """The same of dnf 4's plugin, system_upgrade.py: a dnf that is too old to note its command knows no other."""
    for path in _DNF4:
        text = facts.text(path)
        if not text:
            continue
        import json

        try:
            state = json.loads(text)
        except ValueError:
            continue  # dnf itself begins anew then
        if not isinstance(state, dict) or state.get("upgrade_status") != "incomplete":
            continue
        verb, before, after = (
            str(state.get(key) or "")
            for key in ("upgrade_command", "system_releasever", "target_releasever")
        )
        if _changes_release(verb or "system-upgrade", before, after):
            return path
    return ""


def _changes_release(verb: str, before: str, after: str) -> bool:
    """`dnf system-upgrade`, once `dnf fedup`; or `dnf5 distro-sync --offline --releasever=...`."""
    by_name = verb.split(" ")[0] in {"system-upgrade", "fedup"}
    return by_name or (before != after and bool(before and after))


def _packagekit(decision: Decision, facts: Facts) -> str:
    """PackageKit's: while it waits the running release is updated as ever, so its service must be at work."""
    if not facts.exists(_PACKAGEKIT):
        return ""
    return _PACKAGEKIT if starting(decision.programs, "packagekit-offline-update.service") else ""


def _program_of(words: list[str]) -> str:
    """What a process runs: the script, where it is Python that runs one."""
    if not re.search(r"(^|/)(platform-)?python[0-9.]*$", words[0]):
        return words[0]
    others = iter(words[1:])
    for word in others:
        if not word.startswith("-"):
            return word
        if word in {"-W", "-X"}:
            next(others, "")
        elif not word.startswith(("--", "-W", "-X")) and set("cm") & set(word):
            return words[0]  # no file
    return words[0]


def _ancestors(facts: Facts) -> Iterator[list[str]]:
    """The words of the processes that called us, the nearest first."""
    process = "self"
    for _ in range(16):
        found = re.search(
            r"^PPid:\s*([0-9]+)$", facts.text(f"/proc/{process}/status") or "", re.MULTILINE
        )
        if found is None or found[1] in ("0", "1"):
            return
        process = found[1]
        yield (facts.text(f"/proc/{process}/cmdline") or "").split("\0")


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
    _put_in_place,
    _asked_of_logind,
    _firmware_waits,
    _reboot_parameter,
    _firmware_wanted,
    _release_upgrade,
    _systemd,
)
