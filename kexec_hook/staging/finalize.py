"""The last word, while the machine shuts down: is this reboot a jump, and into what?

Its first act takes the approval away and its last act gives it, so that whatever happens in between, a kill, a
timeout, a full disk, ends in an ordinary reboot.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from kexec_hook.plugins.api import Run, Trigger
from kexec_hook.staging.load import Done, carry_out, decide_again, forget
from kexec_hook.state import attempts, record
from kexec_hook.state.record import Staged
from kexec_hook.system.directory import Held, StateError
from kexec_hook.system.editenv import Editenv, EditenvError
from kexec_hook.system.host import World
from kexec_hook.system.kexec import Kexec, KexecError
from kexec_hook.system.process import ProcessError

# kexec-tools' coldreboot on Debian leaves this file for the shutdown scripts that once were.
NO_KEXEC = "/no-kexec-reboot"

_JUMPS = ("reboot.target", "kexec.target")
_NO_JUMP = ("poweroff.target", "halt.target", "soft-reboot.target", "exit.target")


class Verdict(NamedTuple):
    """Approved, or why not; `failed` where something that should have worked did not."""

    approved: bool
    reason: str = ""
    failed: bool = False
    decides: bool = True  # no: this is no reboot, or what is loaded is not ours
    done: Done | None = None


def finalize(world: World, decide: Callable[[Trigger], Run]) -> Verdict:
    """Decide anew; approve as the very last act.  StateError where our directory cannot be used."""
    with world.state() as state:
        record.withdraw(state)
        with state.lock() as held:
            return _finalize(world, held, decide)


def _finalize(world: World, held: Held, decide: Callable[[Trigger], Run]) -> Verdict:
    before = record.read_staged(held.state)
    ours = isinstance(before, Staged) or before.found
    asked = held.state.read(record.COLD) is not None
    cold = world.sysroot().exists(NO_KEXEC)
    foreign = "the image that is loaded is not of kexec-hook" if not ours and Kexec(world).loaded() else ""
    if not ours and not cold:
        return Verdict(False, foreign or "nothing is staged", decides=False)
    reason = not_a_reboot(world)
    if reason:
        return Verdict(False, reason, decides=False)
    try:
        if cold or asked:
            _remove_no_kexec(world)  # it is meant for this reboot
            if ours:  # an upgrade that ends while the machine goes down stages once more
                forget(world, held)
            if foreign:
                return Verdict(False, foreign, decides=False)
            return Verdict(False, f"{'`kexec-hook coldreboot`' if asked else NO_KEXEC} asks for a firmware boot")
        # Somebody may have loaded another image since (kexec-tools' own service, an administrator).
        done = carry_out(world, held, lambda: decide_again(before, "finalize", decide), anew=True)
        if done.outcome == "failed":
            return Verdict(False, done.error, failed=True, done=done)
        if done.outcome == "declined":
            return Verdict(False, "; ".join(objection.reason for objection in done.run.objections), done=done)
        return _approve(world, held, done)
    except KexecError as error:
        return Verdict(False, str(error), failed=True)


def _approve(world: World, held: Held, done: Done) -> Verdict:
    """Note the attempt, make GRUB's writes, approve; where one fails, GRUB itself will do the rest."""
    wanted = record.read_staged(held.state)
    assert isinstance(wanted, Staged)
    try:
        with ExitStack() as undo:  # all of it, also where a part of it fails; the last first
            undo.callback(forget, world, held)
            undo.callback(attempts.withdraw, world)
            attempts.note(world, wanted.release, wanted.kernel)
            if wanted.env_writes:
                block = world.path(wanted.env_file or "")
                editenv = Editenv.find(world.programs)
                undo.callback(editenv.replay, editenv.replay(wanted.env_writes, block), block)
            record.approve(held)
            undo.pop_all()
    except (EditenvError, StateError) as error:
        return Verdict(False, str(error), failed=True, done=done)
    return Verdict(True, done=done)


def not_a_reboot(world: World) -> str:
    """Why this is no moment to jump, as systemd's queue of jobs has it; empty where a reboot is coming."""
    try:
        listing = world.programs.run(("systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"), timeout=20)
    except ProcessError as error:
        return f"systemd does not say what is queued: {error}"
    starting = {words[1] for words in map(str.split, listing.stdout.splitlines()) if words[2:3] == ["start"]}
    other = next((target for target in _NO_JUMP if target in starting), "")
    if other:
        return f"{other} is queued, not a reboot"
    if not starting & set(_JUMPS):
        return "no reboot is queued; this is for the shutdown unit, kexec-hook.service"
    return ""


def _remove_no_kexec(world: World) -> None:
    try:
        world.programs.run(("rm", "-f", world.path(NO_KEXEC)), timeout=20)
    except ProcessError:
        pass  # a read-only /: the next boot may find it, and `coldreboot` asked for a firmware boot only once
