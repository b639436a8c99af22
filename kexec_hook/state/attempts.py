"""Jumps that were tried, in /var/lib/kexec-hook: noted before one, judged at the next boot, remembered if it failed.

attempt.json is the jump that finalize is about to approve, with the bytes that GRUB's environment blocks hold and are
to hold.  `written` says that it was approved and that they hold them: only then is it blamed, where no kexec follows.
hooks/boot looks for `"written": true`, `"awaited": true` and the boot_id by grep.
failed.json holds the releases that did not come up after a jump, until `kexec-hook ack`.
jumps.json holds the last jumps and what came of them.  Where one came up that nobody awaits, hooks/boot only renames
attempt.json to jumped.json, which counts as the last of them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
from typing import Literal

from kexec_hook.state.names import ATTEMPT, FAILED, JUMPED, JUMPS
from kexec_hook.system.directory import Directory, LockedDirectory
from kexec_hook.system.host import VAR, Host
from kexec_hook.tuples import NamedTuple

_KEPT = 10  # jumps

Judgement = Literal["none", "pending", "jumped", "failed"]


class Change(NamedTuple):
    """What GRUB would write to an environment block, as bytes of the whole block."""

    file: str  # below the root
    before: bytes
    after: bytes


class Attempt(NamedTuple):
    """One jump."""

    release: str
    kernel: str  # below the root
    boot_id: str  # of the boot that jumped
    time: float  # seconds since the epoch
    here: bool = True  # into this root; another one is not for us to judge or to complete
    written: bool = False  # approved, and `changes` are made
    changes: tuple[Change, ...] = ()
    asked: bool = False  # by hand, by `kexec-hook reboot`
    machine: str = ""  # where it was tried
    awaited: bool = False  # a plugin wants to hear what comes of it
    marked: bool = False  # the kernel tells that a kexec has started it, in its device tree

    @property
    def when(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))


class Jump(NamedTuple):
    """One jump, and what came of it."""

    attempt: Attempt
    came_up: bool
    saved: float = 0.0  # seconds that it and all jumps before it have saved, as it was measured


def note(host: Host, attempt: Attempt) -> None:
    """Before the jump, or once more when something of it has changed.  StateError."""
    with host.state(VAR) as state, state.lock() as held:
        for before in _unjudged(host, state).values():
            _blame(held, before)
        _remember(held)
        held.write(ATTEMPT, _format(attempt))


def open_attempt(host: Host) -> Attempt | None:
    """The jump that no boot was judged by yet.  StateError."""
    try:
        with host.state(VAR, create=False) as state:
            return _attempt(state)
    except FileNotFoundError:
        return None


def withdraw(host: Host) -> None:
    """There will be no jump after all."""
    try:
        with host.state(VAR, create=False) as state:
            state.remove(ATTEMPT)
    except FileNotFoundError:
        pass


def came_by_kexec(host: Host) -> bool | None:
    """How was this kernel started?  None where nothing tells."""
    return host.booted_by == "kexec" if host.booted_by else None


def judge(host: Host) -> tuple[Judgement, Attempt | None]:
    """How did this boot come about?  A jump that ended in a firmware boot is remembered as failed.  StateError."""
    try:
        with host.state(VAR, create=False) as state, state.lock() as held:
            attempt = _attempt(state)
            if attempt is not None and attempt.boot_id == host.boot_id:
                return "pending", attempt
            judgement = _judgement(host, attempt) if attempt else "none"
            if attempt is not None and judgement == "jumped":
                _remember(held, attempt, came_up=True)
            if attempt is not None and judgement == "failed":
                _blame(held, attempt)
            state.remove(ATTEMPT)
            return judgement, attempt
    except FileNotFoundError:
        return "none", None


def _judgement(host: Host, attempt: Attempt) -> Judgement:
    """Of this boot, and of what it found."""
    if attempt.boot_id == host.boot_id:
        return "pending"
    jumped = came_by_kexec(host)
    if jumped is None and attempt.marked:
        jumped = False  # else the mark would be there
    machine = machine_of(host)
    elsewhere = attempt.machine and machine and attempt.machine != machine  # a copy of its disk
    if not attempt.here or elsewhere or jumped is None:
        return "none"
    if jumped:
        return "jumped"
    return "failed" if attempt.written else "none"  # perhaps it was never approved


def _blame(held: LockedDirectory, attempt: Attempt) -> None:
    _remember(held, attempt, came_up=False)
    _write(held, {**_failed(held.state), attempt.release: attempt._replace(changes=())})


def failed(host: Host) -> dict[str, Attempt]:
    """Releases that are not jumped into, by their names; a torn file counts as none."""
    try:
        with host.state(VAR, create=False) as state:
            return {**_failed(state), **_unjudged(host, state)}
    except FileNotFoundError:
        return {}


def _unjudged(host: Host, state: Directory) -> dict[str, Attempt]:
    """A jump that failed, as long as no boot comes to multi-user.target, where it would be judged.

    Only where this boot is known to be the next one: where that target is never reached, another one may have come up.
    """
    attempt = _attempt(state)
    if attempt is None or _judgement(host, attempt) != "failed":
        return {}
    from kexec_hook.state.gain import follows

    return {attempt.release: attempt} if follows(state, attempt.boot_id, host.boot_id) else {}


def acknowledge(host: Host, release: str | None = None) -> list[str]:
    """Forget that a release (or all of them) did not come up; which ones that were."""
    try:
        with host.state(VAR, create=False) as state, state.lock() as held:
            for attempt in _unjudged(host, state).values():
                _blame(held, attempt)
                state.remove(ATTEMPT)
            known = _failed(state)
            gone = [name for name in known if release in (None, name)]
            _write(held, {name: attempt for name, attempt in known.items() if name not in gone})
            return gone
    except FileNotFoundError:
        return []


def jumps(host: Host) -> list[Jump]:
    """The last ones of which it is known what came of them, oldest first.  StateError."""
    try:
        with host.state(VAR, create=False) as state:
            return _jumps(state)
    except FileNotFoundError:
        return []


def tried(host: Host) -> bool:
    """Has a jump that was asked for by hand come up on this machine?  StateError."""
    machine = machine_of(host)
    return any(_is_trial(jump) and jump.attempt.machine == machine for jump in jumps(host))


def machine_of(host: Host) -> str:
    """The hardware: what came up on another proves nothing, though the disk is the same."""
    return host.fact("/sys/class/dmi/id/product_uuid")


def _is_trial(jump: Jump) -> bool:
    return jump.came_up and jump.attempt.asked


def _jumps(state: Directory) -> list[Jump]:
    found = _json(state, JUMPS)
    known = [
        Jump(attempt, value.get("came_up") is True, _seconds(value.get("saved")))
        for value in (found if isinstance(found, list) else ())
        if isinstance(value, dict) and (attempt := _parse(value)) is not None
    ]
    last = _parse(_json(state, JUMPED))
    if last is not None and all(jump.attempt.boot_id != last.boot_id for jump in known):
        known.append(_after(state, known, last, came_up=True))
    return known


def _after(state: Directory, known: list[Jump], attempt: Attempt, *, came_up: bool) -> Jump:
    """The next jump.  What it saved stays the same: it is compared with what was measured before it."""
    from kexec_hook.state.gain import read_gaps

    before = known[-1].saved if known else 0.0
    return Jump(
        attempt,
        came_up,
        before + (read_gaps(state).saved_by(attempt.boot_id) if came_up else 0.0),
    )


def _seconds(found: object) -> float:
    return float(found) if isinstance(found, (int, float)) and 0 <= found < 1e12 else 0.0


def _remember(held: LockedDirectory, new: Attempt | None = None, *, came_up: bool = False) -> None:
    """Where there is something new; the last trial that came up is not forgotten for what came after it."""
    if new is None and held.state.read(JUMPED) is None:
        return
    known = _jumps(held.state)
    # Once: whoever remembered it may have been killed before it took it away.
    if new is not None and all(jump.attempt.boot_id != new.boot_id for jump in known):
        known.append(_after(held.state, known, new, came_up=came_up))
    trials = [jump for jump in known[:-_KEPT] if _is_trial(jump)]
    values = [
        {
            **json.loads(_format(jump.attempt._replace(changes=()))),
            "came_up": jump.came_up,
            "saved": jump.saved,
        }
        for jump in (*trials[-1:], *known[-_KEPT:])
    ]
    held.write(JUMPS, json.dumps(values, indent=1).encode() + b"\n")
    held.state.remove(JUMPED)


def _attempt(state: Directory) -> Attempt | None:
    return _parse(_json(state, ATTEMPT))


def _failed(state: Directory) -> dict[str, Attempt]:
    found = _json(state, FAILED)
    items = found.items() if isinstance(found, dict) else ()
    return {name: attempt for name, value in items if (attempt := _parse(value)) is not None}


def _write(held: LockedDirectory, known: dict[str, Attempt]) -> None:
    if known:
        data = {name: json.loads(_format(attempt)) for name, attempt in known.items()}
        held.write(FAILED, json.dumps(data, indent=1).encode() + b"\n")
    else:
        held.state.remove(FAILED)


def _format(attempt: Attempt) -> bytes:
    from base64 import b64encode  # few runs need it

    values = attempt._asdict()
    values["changes"] = [
        {
            "file": change.file,
            "before": b64encode(change.before).decode(),
            "after": b64encode(change.after).decode(),
        }
        for change in attempt.changes
    ]
    return json.dumps(values).encode() + b"\n"


def _json(state: Directory, name: str) -> object:
    data = state.read(name)
    try:
        found: object = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return found


def _parse(found: object) -> Attempt | None:
    """An older version's attempt has neither `here` nor `written`: it was noted when all was written."""
    if not isinstance(found, dict):
        return None
    texts = [found.get(name) for name in ("release", "kernel", "boot_id")]
    moment = found.get("time")
    if not all(isinstance(text, str) for text in texts) or not isinstance(moment, (int, float)):
        return None
    from base64 import b64decode

    try:
        changes = tuple(
            Change(str(one["file"]), b64decode(one["before"]), b64decode(one["after"]))
            for one in found.get("changes", ())
        )
    except (KeyError, TypeError, ValueError):
        return None
    here, written = (found.get(name, True) is True for name in ("here", "written"))
    release, kernel, boot_id = map(str, texts)
    asked, awaited, marked = (found.get(name) is True for name in ("asked", "awaited", "marked"))
    machine = str(found.get("machine", ""))
    more = (changes, asked, machine, awaited, marked)
    return Attempt(release, kernel, boot_id, float(moment), here, written, *more)
