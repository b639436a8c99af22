"""The last steps before a jump, and what becomes of them: noted, approved, written, marked; taken back; or completed.

Killed anywhere, it is one of two.  Not approved: nothing was written, GRUB boots and writes.  Approved: the jump comes,
and what was not written yet is written by the system it leads into, before anything there reads GRUB's environment.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from typing import Literal

from kexec_hook.errors import KexecHookError
from kexec_hook.kernel.cmdline import words
from kexec_hook.plugins.api import Decision
from kexec_hook.state import attempts, names, record
from kexec_hook.state.attempts import Attempt, Change
from kexec_hook.state.record import Staged
from kexec_hook.system.directory import Directory, LockedDirectory, StateError
from kexec_hook.system.editenv import (
    EditenvError,
    block_now,
    edited,
    read_block,
    replace_block,
)
from kexec_hook.system.host import Host
from kexec_hook.system.process import uninterrupted
from kexec_hook.system.sysroot import Sysroot

Completion = Literal["nothing", "taken back", "written", "left"]

_BY = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}


def jump(
    host: Host, held: LockedDirectory, decision: Decision, wanted: Staged, *, awaited: bool = False
) -> None:
    """Note the attempt, approve, write what GRUB would, mark it written; nothing of it where one fails.

    `awaited`: a plugin wants to hear what comes of it.
    EditenvError, StateError: then GRUB's environment is as it was, and nothing is approved.
    """
    attempt = Attempt(
        wanted.release,
        wanted.plan.kernel,
        host.boot_id,
        time.time(),
        leads_here(host, decision),
        changes=_changes(host, held, wanted),
        asked=held.state.read(names.ASKED) is not None,
        machine=attempts.machine_of(host),
        awaited=awaited,
        marked=wanted.marked,
    )
    with uninterrupted():
        try:
            attempts.note(host, attempt)
            record.approve(held)
            for change in attempt.changes:
                replace_block(_place(host, change), change.before, change.after)
            attempts.note(host, attempt._replace(written=True))
        except (EditenvError, StateError) as error:
            try:
                take_back(host, held.state)
            except KexecHookError as worse:
                raise StateError(f"{error}; {worse}") from error
            raise


def _changes(host: Host, held: LockedDirectory, wanted: Staged) -> tuple[Change, ...]:
    """What every block is to hold, by grub-editenv on a copy."""
    found = []
    for block in wanted.env_blocks:
        before = read_block(host.sysroot().host(block.file))
        after = edited(held, host.programs, before, block.writes)
        found.append(Change(block.file, before, after))
    return tuple(found)


def _place(host: Host, change: Change) -> str:
    return host.sysroot().host(change.file)


def take_back(host: Host, state: Directory) -> bool:
    """Of a shutdown of this boot that came to nothing: GRUB's environment as it was, no approval, no attempt.

    Whether there was one.  The order matters where we are killed: as long as it is approved, it is a jump whose writes
    are to be completed.  StateError, EditenvError: the approval is gone all the same.
    """
    with uninterrupted():
        try:
            attempt = attempts.open_attempt(host)
            if attempt is None or attempt.boot_id != host.boot_id:
                return record.withdraw(state)
            if attempt.written and attempt.changes:
                _note_unwritten(host, state, attempt)
            for change in reversed(attempt.changes):
                place = _place(host, change)
                if block_now(place) == change.after != change.before:
                    replace_block(place, change.after, change.before)
        finally:
            record.withdraw(state)
        attempts.withdraw(host)
        return True


def _note_unwritten(host: Host, state: Directory, attempt: Attempt) -> None:
    try:
        attempts.note(host, attempt._replace(written=False))
    except StateError:
        record.withdraw(state)  # a full /var: a jump from here on would come without its writes


def complete(host: Host) -> tuple[Completion, str]:
    """At boot: make the writes of a jump that came before them; what came of it, and why nothing could be done.

    Only after a kexec, of the boot that noted them, and only while GRUB's environment is what it was then: after a
    firmware boot GRUB has written.  StateError, EditenvError.
    """
    attempt = attempts.open_attempt(host)
    if attempt is None:
        return "nothing", ""
    if attempt.boot_id == host.boot_id:
        with host.state() as state:
            take_back(host, state)
        return "taken back", ""
    if attempt.written:
        return "nothing", ""
    if not attempt.here or not attempts.came_by_kexec(host):
        attempts.withdraw(host)  # whoever is started by a kexec later shall not find it
        return "nothing", ""
    left = ""
    with uninterrupted():
        for change in attempt.changes:
            place = _place(host, change)
            now = block_now(place)
            if now == change.before != change.after:
                replace_block(place, change.before, change.after)
            elif now != change.after:
                left = f"{change.file} was changed before what GRUB would have written could be completed"
        attempts.note(host, attempt._replace(written=True))
    return ("left", left) if left else ("written", "")


def leads_here(host: Host, decision: Decision) -> bool:
    """Is the root that the jump leads to the one that runs, and not an A/B update's other slot or another system?"""
    plan = decision.plan
    if plan is None:
        return False
    then, now = _parameters(plan.cmdline), _parameters(host.cmdline)
    if then == now:
        return True
    mount = decision.disks.mounts.at("/")
    known = {_device(decision.sysroot, now.get("root", ""))}
    known.add(decision.sysroot.resolve(mount.source) if mount else "")
    same = _device(decision.sysroot, then.get("root", "")) in known - {""}
    return same and then.get("rootflags") == now.get("rootflags")


def _parameters(cmdline: str) -> dict[str, str]:
    """What says where the root is; the last of each counts."""
    found = {}
    for word in words(cmdline):
        if word == "--":
            break
        name, _, value = word.replace('"', "").partition("=")
        if name in ("root", "rootflags", "ostree"):
            found[name] = value
    return found


def _device(sysroot: Sysroot, root: str) -> str:
    """The node of `root=`; empty where none is known."""
    kind, equals, name = root.partition("=")
    path = f"/dev/disk/by-{_BY[kind]}/{name}" if equals and kind in _BY else root
    return sysroot.resolve(path) if path.startswith("/dev/") and sysroot.exists(path) else ""
