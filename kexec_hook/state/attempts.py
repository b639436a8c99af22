"""Jumps that were tried, in /var/lib/kexec-hook: noted before one, judged at the next boot, remembered if it failed.

attempt.json   the jump that finalize has approved, until the next boot is judged
failed.json    releases that did not come up after a jump, until `kexec-hook ack`
"""

from __future__ import annotations

import json
import time
from typing import Literal, NamedTuple

from kexec_hook.state.names import ATTEMPT, FAILED
from kexec_hook.system.directory import Directory, LockedDirectory
from kexec_hook.system.host import VAR, Host

# /proc/sys/kernel/bootloader_type: Linux' Documentation/arch/x86/boot.rst, 0xD for kexec.
_KEXEC = "208"

Judgement = Literal["none", "pending", "jumped", "failed"]


class Attempt(NamedTuple):
    """One jump."""

    release: str
    kernel: str  # below the root
    boot_id: str  # of the boot that jumped
    time: float  # seconds since the epoch

    @property
    def when(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))


def note(host: Host, release: str, kernel: str) -> None:
    """Before the jump.  StateError."""
    attempt = Attempt(release, kernel, host.boot_id, time.time())
    with host.state(VAR) as state, state.lock() as held:
        held.write(ATTEMPT, json.dumps(attempt._asdict()).encode() + b"\n")


def withdraw(host: Host) -> None:
    """There will be no jump after all."""
    try:
        with host.state(VAR, create=False) as state:
            state.remove(ATTEMPT)
    except FileNotFoundError:
        pass


def judge(host: Host) -> tuple[Judgement, Attempt | None]:
    """How did this boot come about?  A jump that ended in a firmware boot is remembered as failed.  StateError."""
    try:
        with host.state(VAR, create=False) as state, state.lock() as held:
            attempt = _attempt(state)
            if attempt is None:
                state.remove(ATTEMPT)
                return "none", None
            if attempt.boot_id == host.boot_id:
                return "pending", attempt
            kind = host.fact("/proc/sys/kernel/bootloader_type")
            if not kind:  # not an x86: nothing tells how this kernel was started, so none is blamed
                state.remove(ATTEMPT)
                return "none", None
            jumped = kind == _KEXEC
            if not jumped:
                _write(held, {**_failed(state), attempt.release: attempt})
            state.remove(ATTEMPT)
            return "jumped" if jumped else "failed", attempt
    except FileNotFoundError:
        return "none", None


def failed(host: Host) -> dict[str, Attempt]:
    """Releases that are not jumped into, by their names; a torn file counts as none."""
    try:
        with host.state(VAR, create=False) as state:
            return _failed(state)
    except FileNotFoundError:
        return {}


def acknowledge(host: Host, release: str | None = None) -> list[str]:
    """Forget that a release (or all of them) did not come up; which ones that were."""
    try:
        with host.state(VAR, create=False) as state, state.lock() as held:
            known = _failed(state)
            gone = [name for name in known if release in (None, name)]
            _write(held, {name: attempt for name, attempt in known.items() if name not in gone})
            return gone
    except FileNotFoundError:
        return []


def _attempt(state: Directory) -> Attempt | None:
    return _parse(_json(state, ATTEMPT))


def _failed(state: Directory) -> dict[str, Attempt]:
    found = _json(state, FAILED)
    items = found.items() if isinstance(found, dict) else ()
    return {name: attempt for name, value in items if (attempt := _parse(value)) is not None}


def _write(held: LockedDirectory, known: dict[str, Attempt]) -> None:
    if known:
        data = json.dumps({name: attempt._asdict() for name, attempt in known.items()}, indent=1)
        held.write(FAILED, data.encode() + b"\n")
    else:
        held.state.remove(FAILED)


def _json(state: Directory, name: str) -> object:
    data = state.read(name)
    try:
        found: object = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return found


def _parse(found: object) -> Attempt | None:
    if not isinstance(found, dict):
        return None
    texts = [found.get(name) for name in ("release", "kernel", "boot_id")]
    moment = found.get("time")
    if not all(isinstance(text, str) for text in texts) or not isinstance(moment, (int, float)):
        return None
    return Attempt(str(texts[0]), str(texts[1]), str(texts[2]), float(moment))
