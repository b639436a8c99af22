"""What jumps came to on this machine and what they save, as text and as JSON; nothing where it was not measured."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from typing import Any

from kexec_hook.report.terminal import safe
from kexec_hook.state import attempts
from kexec_hook.state.gain import Gain, Gap, gain, median
from kexec_hook.system.directory import StateError
from kexec_hook.system.host import Host
from kexec_hook.system.process import ProcessError

_WORTH_SAYING = 5.0  # seconds
_AGREES = 0.2
# Of ACPI's FPDT or the loader's EFI variables, in µs before the kernel's start; 0 where there is neither.
_FIRMWARE = (
    *("systemctl", "show", "--property=FirmwareTimestampMonotonic"),
    "--property=LoaderTimestampMonotonic",
)


def measured(host: Host) -> Gain:
    """Nothing for those who may not look."""
    try:
        return gain(host)
    except StateError:
        return Gain()


def gain_json(host: Host) -> dict[str, Any]:
    found = measured(host)
    return {
        "firmware": _gaps_json(found.firmware),
        "jump": _gaps_json(found.jump),
        "saves": found.saves,
        "saved": _saved(host),
        "firmware_reports": _firmware_reports(host, found.firmware),
    }


def jumps_json(host: Host) -> list[dict[str, Any]]:
    """The last jumps, oldest first."""
    try:
        known = attempts.jumps(host)
    except StateError:
        return []
    seconds = {gap.before: gap.seconds for gap in measured(host).jump}
    return [
        {
            "release": attempt.release,
            "time": attempt.time,
            "asked": attempt.asked,
            "came_up": came_up,
            "seconds": seconds.get(attempt.boot_id),
        }
        for attempt, came_up, _ in known
    ]


def _saved(host: Host) -> float:
    """Seconds, by all jumps of this machine."""
    try:
        known = attempts.jumps(host)
    except StateError:
        return 0.0
    return known[-1].saved if known else 0.0


def jump_text(jump: dict[str, Any]) -> str:
    """2026-11-27 05:10 into 6.1.0-39-amd64: came up, 9 s without a kernel"""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(jump["time"]))
    what = "came up" if jump["came_up"] else "did not come up"
    gap = "" if jump["seconds"] is None else f", {took(jump['seconds'])} without a kernel"
    return f"{when} into {safe(jump['release'])}: {what}{gap}"


def _gaps_json(gaps: tuple[Gap, ...]) -> dict[str, Any] | None:
    return {"seconds": median(gaps), "boots": len(gaps)} if gaps else None


def _firmware_reports(host: Host, gaps: tuple[Gap, ...]) -> dict[str, float] | None:
    """Seconds, by the firmware's own account of this boot; after a jump it still tells of an older one."""
    if not gaps or gaps[-1].boot != host.boot_id:
        return None
    try:
        told = host.programs.run(_FIRMWARE, timeout=20, check=False).stdout
    except ProcessError:
        return None
    found = dict(line.partition("=")[::2] for line in told.splitlines())
    texts = [found.get(f"{name}TimestampMonotonic", "") for name in ("Firmware", "Loader")]
    whole, loader = (int(text) / 1e6 if text.isdigit() else 0.0 for text in texts)
    if abs(whole - gaps[-1].seconds) > _AGREES * gaps[-1].seconds or not 0 < loader <= whole:
        return None
    return {"firmware": whole - loader, "loader": loader}


def gain_text(answer: dict[str, Any]) -> str:
    """firmware and boot loader took 2 min 14 s at the last 3 boots; the last kexec took 9 s without them"""
    firmware, jump, reports = answer["firmware"], answer["jump"], answer["firmware_reports"]
    parts = []
    if firmware:
        last = "the last boot" if firmware["boots"] == 1 else f"the last {firmware['boots']} boots"
        parts.append(f"firmware and boot loader took {took(firmware['seconds'])} at {last}")
        if reports:
            of = f"{took(reports['firmware'])} and {took(reports['loader'])}"
            parts[0] += f" ({of} by the firmware's own account)"
    if jump:
        last = "the last kexec" if jump["boots"] == 1 else f"the last {jump['boots']} kexecs"
        without = "them" if firmware else "firmware and boot loader"
        parts.append(f"{last} took {took(jump['seconds'])} without {without}")
    return "; ".join(parts)


def saves(host: Host) -> str:
    """What apt's line ends in: `, saves about 2 min`."""
    seconds = measured(host).saves
    return f", saves about {about(seconds)}" if seconds and seconds >= _WORTH_SAYING else ""


def took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def about(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds >= 90 else f"{round(seconds / 5) * 5} s"
