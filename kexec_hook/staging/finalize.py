"""The last word, while the machine shuts down: is this reboot a jump, and into what?

Its first act takes the approval away, and it approves when everything else is done but GRUB's writes (jump.py), so that
whatever happens, a kill, a timeout, a full disk, ends in an ordinary reboot or in the right jump.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable

from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.staging.jump import jump, take_back
from kexec_hook.staging.load import Staging, carry_out, decide_again, forget
from kexec_hook.state import names, record
from kexec_hook.state.record import Staged
from kexec_hook.system.directory import Busy, LockedDirectory, StateError
from kexec_hook.system.editenv import EditenvError
from kexec_hook.system.host import Host
from kexec_hook.system.kexec import Kexec, KexecError
from kexec_hook.system.process import ProcessError
from kexec_hook.tuples import NamedTuple

# kexec-tools' coldreboot on Debian leaves this file for the shutdown scripts that once were.
NO_KEXEC = "/no-kexec-reboot"

_JUMPS = ("reboot.target", "kexec.target")
_SOFT = "soft-reboot.target"
_NO_JUMP = ("poweroff.target", "halt.target", _SOFT, "exit.target")
# systemd-soft-reboot.service(8): where this is a root, the same kernel goes on with it.
_NEXT_ROOT = ("/run/nextroot/etc/os-release", "/run/nextroot/usr/lib/os-release")

_LOCK_WAIT = 15.0  # seconds for an upgrade's run that ends while the machine goes down


class Approval(NamedTuple):
    """Approved, or why not; `failed` where something that should have worked did not."""

    reason: str = ""
    failed: bool = False
    decides: bool = True  # no: this is no reboot, or what is loaded is not ours
    done: Staging | None = None
    approved: bool = False


def finalize(
    host: Host, decide: Callable[[Trigger], Decision], *, awaited: bool = False
) -> Approval:
    """Decide anew, and approve; `awaited`: a plugin wants to hear what comes of the jump.

    StateError where our directory cannot be used, EditenvError where grubenv cannot.
    """
    with host.state() as state:
        try:
            with state.lock(_LOCK_WAIT) as held:
                take_back(host, state)
                return _finalize(host, held, decide, awaited=awaited)
        except Busy:
            record.withdraw(state)
            raise


def _finalize(
    host: Host, held: LockedDirectory, decide: Callable[[Trigger], Decision], *, awaited: bool
) -> Approval:
    before = record.read_staged(held.state)
    ours = record.is_ours(host, before)
    asked = held.state.read(names.COLD) is not None
    cold = host.sysroot().exists(NO_KEXEC)
    foreign = (
        "the image that is loaded is not of kexec-hook" if not ours and Kexec(host).loaded() else ""
    )
    if not ours and not cold:
        return Approval(foreign or "nothing is staged", decides=False)
    reason = not_a_reboot(host)
    try:
        if reason:
            # There, nobody may ask for an approval, and systemctl makes a kexec of the next reboot.
            if ours and reason.startswith(_SOFT) and any(map(host.sysroot().exists, _NEXT_ROOT)):
                forget(host, held)
                reason = f"{reason}, and another root comes next, so what was staged is unloaded"
            return Approval(reason, decides=False)
        if cold or asked:
            _remove_no_kexec(host)  # it is meant for this reboot
            if ours:  # an upgrade that ends while the machine goes down stages once more
                forget(host, held)
            if foreign:
                return Approval(foreign, decides=False)
            return Approval(
                f"{'`kexec-hook coldreboot`' if asked else NO_KEXEC} asks for a firmware boot",
            )
        # Somebody may have loaded another image since (kexec-tools' own service, an administrator).
        done = carry_out(host, held, lambda: decide_again(before, "finalize", decide), reload=True)
        if done.outcome == "failed":
            return Approval(done.failure, failed=True, done=done)
        if done.outcome == "declined":
            return Approval(
                "; ".join(objection.reason for objection in done.decision.objections),
                done=done,
            )
        return _approve(host, held, done, awaited=awaited)
    except KexecError as error:
        return Approval(str(error), failed=True)


def _approve(host: Host, held: LockedDirectory, done: Staging, *, awaited: bool) -> Approval:
    """Let it jump; where a step of that fails, GRUB itself will do the rest."""
    wanted = record.read_staged(held.state)
    assert isinstance(wanted, Staged)
    try:
        jump(host, held, done.decision, wanted, awaited=awaited)
    except (EditenvError, StateError) as error:
        forget(host, held)
        return Approval(str(error), failed=True, done=done)
    return Approval(done=done, approved=True)


def not_a_reboot(host: Host) -> str:
    """Why this is no moment to jump, as systemd's queue of jobs has it; empty where a reboot is coming."""
    try:
        listing = host.programs.run(
            ("systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"), timeout=20
        )
    except ProcessError as error:
        return f"systemd does not say what is queued: {error}"
    starting = {
        words[1] for words in map(str.split, listing.stdout.splitlines()) if words[2:3] == ["start"]
    }
    other = next((target for target in _NO_JUMP if target in starting), "")
    if other:
        return f"{other} is queued, not a reboot"
    if not starting & set(_JUMPS):
        return "no reboot is queued; this is for the shutdown unit, kexec-hook.service"
    return ""


def _remove_no_kexec(host: Host) -> None:
    try:
        host.programs.run(("rm", "-f", host.path(NO_KEXEC)), timeout=20)
    except ProcessError:
        pass  # a read-only /: the next boot may find it, and `coldreboot` asked for a firmware boot only once
