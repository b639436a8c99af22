"""How things stand: what runs, what GRUB would boot, what is staged, and what each way to reboot would do."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from kexec_hook.kernel import images
from kexec_hook.kernel.plan import paths
from kexec_hook.kernel.releases import newest
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.builtin.watchdog import watchdog
from kexec_hook.report.due import due
from kexec_hook.report.explain import entry_json
from kexec_hook.report.gain import gain_json, gain_text, jump_text, jumps_json
from kexec_hook.report.reasons import lines_of, reasons_json
from kexec_hook.report.terminal import Style, safe
from kexec_hook.staging.load import asked_for, decide_again, staged, still
from kexec_hook.state import attempts, record
from kexec_hook.state.record import Staged
from kexec_hook.system import systemd as systemd_units
from kexec_hook.system.directory import StateError
from kexec_hook.system.facts import Facts
from kexec_hook.system.host import RUN, Host
from kexec_hook.system.kexec import Kexec
from kexec_hook.system.process import ProcessError
from kexec_hook.system.sysroot import SysrootError
from kexec_hook.system.systemd import UNIT

# systemctl's `reboot` verb chooses a kexec by itself since this version.
_AUTO_KEXEC = 255

_JUMPS_SHOWN = 3
# There is nothing to install where these object.
_ELSEWHERE = {"container", "chroot", "image-build"}
_WAYS = ("reboot", "systemctl reboot", "shutdown -r now", "coldreboot")


def status_json(
    host: Host,
    decision: Decision,
    tail_key: Callable[[str], Any],
    decide: Callable[[Trigger], Decision],
) -> dict[str, Any]:
    """The answer of `status --json`; docs/json.md describes it.  `run` is about GRUB's default."""
    found, unknown = _record(host)
    asked = isinstance(found, Staged) and asked_for(found)
    at_shutdown = decide_again(found, "cli", decide, dry=True) if asked else decision
    loaded = Kexec(host).loaded()
    systemd = _units(host, decision)
    lost = unknown or _unseen(host, systemd)
    return {
        "schema": 1,
        "running": {
            "release": host.running,
            "cmdline": host.cmdline,
            "booted_by": host.booted_by or "unknown",
        },
        "grub": {
            "outcome": "declined" if decision.declined else "would-stage",
            "entry": entry_json(decision),
            "release": decision.plan.release if decision.plan else None,
            "kernel": decision.plan.kernel if decision.plan else None,
            "cmdline": decision.plan.cmdline if decision.plan else None,
        },
        "staged": _staged_json(found, at_shutdown, loaded),
        "staged_unknown": unknown,
        "reboot_required": due(host),
        "loaded": loaded,
        "newest_installed": newest(_installed(decision), tail_key),
        "reboot": dict.fromkeys(_WAYS, "unknown")
        if lost
        else _reboots(host, found, at_shutdown, loaded, systemd),
        "reboot_unknown": lost,
        "units": systemd,
        "failed_jumps": [
            {"release": name, "time": attempt.time}
            for name, attempt in sorted(_failed(host).items())
        ],
        "watchdog": _watchdog(decision),
        "jumps": jumps_json(host),
        "gain": gain_json(host),
        **reasons_json(decision),
    }


def verify(host: Host, decision: Decision) -> list[dict[str, Any]]:
    """Each initrd of GRUB's choice, decompressed to its end: is it sound, and what could not be checked?"""
    from kexec_hook.kernel.images import Damaged
    from kexec_hook.kernel.unpack import unpack_initrd

    found = []
    for initrd in decision.plan.initrds if decision.plan else ():
        wrong = ""
        unchecked: tuple[str, ...] = ()
        try:
            with decision.sysroot.window(initrd.path) as file:
                unchecked = unpack_initrd(file, host.programs)
        except (Damaged, SysrootError) as error:
            wrong = str(error)
        found.append(
            {"initrd": initrd.path, "sound": not wrong, "why": wrong, "unchecked": list(unchecked)}
        )
    return found


def _record(host: Host) -> tuple[record.Staged | record.NoRecord, str]:
    """The record, and why it is not known what is staged."""
    try:
        found = record.look(host.path(RUN), owner=host.owner)
    except StateError as error:
        return record.NoRecord(str(error), found=False), str(error)
    return found, found.reason if isinstance(found, record.NoRecord) and found.found else ""


def _failed(host: Host) -> dict[str, attempts.Attempt]:
    try:
        return attempts.failed(host)
    except StateError:
        return {}


def _staged_json(
    found: record.Staged | record.NoRecord, decision: Decision, loaded: bool
) -> dict[str, Any] | None:
    if not isinstance(found, Staged):
        return None
    sizes = [identity.size for path in paths(found.plan) if (identity := found.reads.get(path))]
    wrong = _wrong(found, decision, loaded)
    return {
        "entry": {
            "path": found.entry_path,
            "titles": list(found.entry_titles),
            "id": found.entry_id,
        },
        "asked": asked_for(found),
        "release": found.release,
        "kernel": found.plan.kernel,
        "initrds": [initrd.path for initrd in found.plan.initrds],
        "cmdline": found.plan.cmdline,
        "env_writes": found.env_writes,
        "time": found.time,
        "bytes": sum(sizes),
        "right": not wrong,
        "why": wrong,
    }


def _wrong(found: Staged, decision: Decision, loaded: bool) -> str:
    """Why what is staged is not what the next reboot should jump into; empty where it is."""
    if not loaded:
        return "the kernel does not hold it any more"
    if found.state != "staged":
        return "loading it was interrupted"
    if decision.accepted is None:
        return "now it would be declined"
    if not still(found, staged(decision, decision.accepted)):
        return "GRUB would boot something else by now; kexec-hook.service loads that at shutdown"
    return ""


def _installed(decision: Decision) -> list[str]:
    names = [
        name
        for name in decision.sysroot.listdir("/boot")
        if not name.endswith(images.UNFINISHED_SUFFIXES)
    ]
    releases = [
        found[1] for name in names if (found := re.fullmatch(r"vmlinu[xz]-([0-9].*)", name))
    ]
    # kernel-install's layout: /boot/MACHINE-ID/RELEASE/linux
    for above in (name for name in names if re.fullmatch("[0-9a-f]{32}", name)):
        below = decision.sysroot.listdir(f"/boot/{above}")
        releases += [
            name for name in below if decision.sysroot.is_file(f"/boot/{above}/{name}/linux")
        ]
    return releases


def _watchdog(decision: Decision) -> dict[str, Any]:
    """Why and fix are in the notes as well."""
    why, fix = watchdog(decision, Facts(decision.sysroot.unnoted))
    return {"armed": not why, "why": why, "fix": fix}


def _units(host: Host, decision: Decision) -> dict[str, Any]:
    """Is the shutdown unit at work, and are the drop-ins in place?"""
    there = systemd_units.drop_ins(decision.sysroot)
    active, version = False, None
    if decision.sysroot.is_host:
        active = systemd_units.active(host.programs)
        found = re.match(r"systemd (\d+)", _says(host, ("systemctl", "--version")))
        version = int(found[1]) if found else None
    return {"active": active, "drop_ins": there, "systemd": version}


def _says(host: Host, argv: tuple[str, ...]) -> str:
    try:
        return host.programs.run(argv, timeout=20, check=False).stdout
    except ProcessError:
        return ""


def _unseen(host: Host, systemd: dict[str, Any]) -> str:
    """Why it is not known what a reboot does."""
    if not host.is_host:
        return f"{host.root} is not the running system"
    return "" if systemd["systemd"] else "systemd is not running"


def _reboots(
    host: Host,
    found: record.Staged | record.NoRecord,
    decision: Decision,
    loaded: bool,
    systemd: dict[str, Any],
) -> dict[str, str]:
    """What each way to reboot would do: kexec or firmware."""
    ways = dict.fromkeys(_WAYS, "firmware")
    then = isinstance(found, Staged) or (not loaded and _staged_at_shutdown(host, decision))
    if systemd["drop_ins"] and then:
        # Where the unit is not active, nobody approves the jump, and what is loaded does not matter.
        if systemd["active"] and not decision.declined:
            ways.update(dict.fromkeys(_WAYS[:3], "kexec"))
    elif loaded:
        ways["reboot"] = ways["shutdown -r now"] = "kexec"
        if systemd["systemd"] >= _AUTO_KEXEC:
            ways["systemctl reboot"] = "kexec"
    return ways


def _staged_at_shutdown(host: Host, decision: Decision) -> bool:
    """Is `when = always`, and the unit at work that stages where nothing is staged?"""
    always = decision.settings.when.value == "always"
    return always and systemd_units.active(host.programs, systemd_units.ALWAYS)


def check(answer: dict[str, Any]) -> tuple[str, str]:
    """What `reboot` would do (kexec, firmware, unknown), and that in one line with its reason."""
    would = answer["reboot"]["reboot"]
    if would == "unknown":
        return would, f"the next reboot: unknown, {safe(answer['reboot_unknown'])}"
    if would == "kexec":
        into = _into(answer)
        return would, f"the next reboot is a kexec into {safe(into or 'what is staged')}"
    reasons = [objection["reason"] for objection in answer["objections"]]
    reason = safe(reasons[0]) if reasons else "nothing is staged"
    return would, f"the next reboot goes through the firmware: {reason}"


def _into(answer: dict[str, Any]) -> str | None:
    if answer["staged"] or not answer["loaded"]:
        found = answer["staged"] or answer["grub"]
        return cast("str | None", found["release"])
    return "an image that somebody loaded"


def status_text(answer: dict[str, Any]) -> str:
    style = Style()
    rows = [
        *_boots(answer),
        *_staged_rows(answer, style),
        ("newest", safe(answer["newest_installed"] or "no kernel in /boot")),
        *_next_reboot(answer),
        *_kexecs(answer),
        *_verified(answer, style),
    ]
    lines = [style.key(f"{name:<13}") + " " + value for name, value in rows]
    elsewhere = {objection["code"] for objection in answer["objections"]} & _ELSEWHERE
    lines += [] if elsewhere else list(_advice(answer))
    for objection in answer["objections"]:
        lines += lines_of(style.bad("objection:"), objection["reason"], objection["fix"])
    for note in answer["note_details"]:
        lines += lines_of(style.key("note:"), note["text"], note["fix"])
    return "\n".join(lines)


Row = tuple[str, str]


def _boots(answer: dict[str, Any]) -> Iterator[Row]:
    """What runs, and what GRUB would boot."""
    running = answer["running"]
    booted_by = running["booted_by"]
    by = f", booted by {booted_by}" if booted_by != "unknown" else ""
    yield "running", safe(running["release"] or "unknown") + by
    grub = answer["grub"]
    titles = " > ".join(map(safe, grub["entry"]["titles"])) if grub["entry"] else "unknown"
    yield "GRUB boots", titles + (f"  ({safe(grub['release'])})" if grub["release"] else "")


def _staged_rows(answer: dict[str, Any], style: Style) -> Iterator[Row]:
    found = answer["staged"]
    if answer["staged_unknown"]:
        yield "staged", f"not known: {safe(answer['staged_unknown'])}"
    elif found is None:
        then = ""
        if answer["loaded"]:
            then = "; the kernel image that is loaded is not kexec-hook's"
        elif answer["reboot"]["reboot"] == "kexec":
            then = " yet; with `when = always` a reboot does it"
        yield "staged", f"nothing{then}"
    else:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found["time"]))
        asked = f", by {safe(found['asked'])}" if found["asked"] else ""
        size = f"{found['bytes'] >> 20} MiB of memory"
        yield "staged", f"{safe(found['release'])} at {when}{asked}, {size}"
        yield "", style.good("still right") if found["right"] else style.bad(safe(found["why"]))


def _next_reboot(answer: dict[str, Any]) -> Iterator[Row]:
    required = answer["reboot_required"]
    if required:
        packages = f" ({safe(', '.join(required['packages']))})" if required["packages"] else ""
        yield "reboot due", safe(required["text"] or "/run/reboot-required") + packages
    for what in ("kexec", "firmware"):
        ways = [name for name, would in answer["reboot"].items() if would == what]
        if ways:
            yield f"by {what}", ", ".join(ways)
    if answer["reboot_unknown"]:
        yield "next reboot", f"unknown: {safe(answer['reboot_unknown'])}"
    if answer["watchdog"]["armed"]:
        yield "watchdog", "armed: it resets this machine if a kernel hangs after a kexec"


def _kexecs(answer: dict[str, Any]) -> Iterator[Row]:
    """What was tried, and what that gained."""
    for at, jump in enumerate(answer["jumps"][-_JUMPS_SHOWN:]):
        yield "" if at else "last kexecs", jump_text(jump)
    if gain_text(answer["gain"]):
        yield "gain", gain_text(answer["gain"])


def _verified(answer: dict[str, Any], style: Style) -> Iterator[Row]:
    for checked in answer.get("verified", ()):
        sound = style.good("sound to its end")
        what = sound if checked["sound"] else style.bad(safe(checked["why"]))
        unchecked = "".join(f"; it {safe(word)}" for word in checked["unchecked"])
        yield "verified", f"{safe(checked['initrd'])}: {what}{unchecked}"


def _advice(answer: dict[str, Any]) -> Iterator[str]:
    units = answer["units"]
    if not units["drop_ins"]:
        yield "The systemd units are not installed: `kexec-hook hooks install` puts them and the package hooks there."
    elif not units["active"]:
        yield f"{UNIT} is not active: `systemctl enable --now {UNIT}`."
    for jump in answer["failed_jumps"]:
        yield f"A kexec into {safe(jump['release'])} did not come up; `kexec-hook ack` allows it again."
