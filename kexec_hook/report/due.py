"""Does anybody say that a reboot is due?  Update-notifier and unattended-upgrades by a file, needrestart if asked."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kexec_hook.system.process import ProcessError

if TYPE_CHECKING:
    from kexec_hook.system.host import Host

_FILE = "/run/reboot-required"
# Only about the kernel, in its batch mode, which asks nobody and restarts nothing (README.batch.md).
_NEEDRESTART = ("needrestart", "-b", "-k", "-r", "l")
_SECONDS = 10
_PENDING = ("2", "3")  # NEEDRESTART-KSTA: the same version built anew, or another version


def due(host: Host) -> dict[str, Any] | None:
    """What asks for a reboot, in its own words, and for which packages; None where nothing does."""
    text = host.fact(_FILE)
    if text or host.sysroot().exists(_FILE):
        packages = host.fact(f"{_FILE}.pkgs").splitlines()
        return {"text": text, "packages": sorted(set(packages))}
    text = _needrestart(host)
    return {"text": text, "packages": []} if text else None


def _needrestart(host: Host) -> str:
    """It keeps no record, so it has to be run."""
    if not host.is_host or host.programs.find(_NEEDRESTART[0]) is None:
        return ""
    try:
        answer = host.programs.run(_NEEDRESTART, timeout=_SECONDS, check=False).stdout
    except ProcessError:
        return ""
    found = dict(re.findall(r"^NEEDRESTART-(KSTA|KEXP): *(\S+)$", answer, re.MULTILINE))
    if found.get("KSTA") not in _PENDING:
        return ""
    expected = f" to {found['KEXP']}" if "KEXP" in found else ""
    return f"needrestart: pending kernel upgrade{expected}"
