"""Is this machine reset where a kernel hangs after a kexec?  By a watchdog that runs on over it, and by nothing else.

systemd starts it before the kexec (KExecWatchdogSec=) and pings it after (RuntimeWatchdogSec=); where only the first
is set, a kernel that came up well is reset, too: systemd-system.conf(5).  And most drivers stop their watchdog as the
kexec begins, since they hear of a reboot and it is one, unless Linux is told otherwise: its Documentation/watchdog/
watchdog-parameters.rst, stop_on_reboot.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Note
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kexec_hook.system.facts import Facts

_SOFTWARE = "Software Watchdog"  # softdog's identity
_OFF = ("", "0", "off", "no", "false")
_KEEP = "watchdog.stop_on_reboot=0"


class Watchdog(NamedTuple):
    why: str = ""  # it would not reset this machine; empty: it is armed
    fix: str = ""


def note(decision: Decision, facts: Facts) -> Iterator[Note]:
    why, fix = watchdog(decision, facts)
    if why:
        yield Note(
            f"if the new kernel hangs, no watchdog resets this machine: {why}",
            code="no-watchdog",
            fix=fix,
        )


def watchdog(decision: Decision, facts: Facts) -> Watchdog:
    conf = _system_conf(facts)
    after, before = (conf.get(f"{name}WatchdogSec", "off") for name in ("Runtime", "KExec"))
    wanted = decision.settings.watchdog
    if after in _OFF or before in _OFF:
        if wanted.value and before in _OFF:
            origin = wanted.origin
            return Watchdog(f"{origin} is for the next boot", "/usr/lib/kexec-hook/watchdog")
        which = "KExecWatchdogSec= without RuntimeWatchdogSec=" if before not in _OFF else "none"
        return Watchdog(
            f"{which} is set", f"set watchdog = 180 in /etc/kexec-hook.conf and boot with {_KEEP}"
        )
    if not facts.exists("/sys/class/watchdog/watchdog0"):
        return Watchdog("it has none, or its driver is not loaded")
    if facts.text("/sys/class/watchdog/watchdog0/identity") == _SOFTWARE:
        return Watchdog("softdog ends with its kernel")
    if facts.text("/sys/module/watchdog/parameters/stop_on_reboot") != "0":
        return Watchdog("its driver stops it as the kexec begins", f"boot with {_KEEP}")
    return Watchdog()


def _system_conf(facts: Facts) -> Mapping[str, str]:
    """systemd-system.conf(5): the file, then the snippets by their names, of which the later words count."""
    directories = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
    main = next((path for d in directories[::-1] if facts.exists(path := f"{d}/system.conf")), "")
    snippets = {
        name: f"{d}/system.conf.d/{name}"
        for d in directories
        for name in facts.names(f"{d}/system.conf.d")
    }
    found: dict[str, str] = {}
    for path in (main, *(snippets[name] for name in sorted(snippets) if name.endswith(".conf"))):
        for line in (facts.text(path) or "").splitlines() if path else ():
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith(("#", ";")):
                found[key.strip()] = value.strip()
    return found
