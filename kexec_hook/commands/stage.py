"""stage, unstage, and run, which the package managers call."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from kexec_hook.commands import (
    DECLINED,
    FAILED,
    OK,
    as_json,
    decide_here,
    expected_errors,
    fail,
    journal,
    load_plugins,
    not_active,
    refuse,
    say_done,
)
from kexec_hook.plugins.api import Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.plugins.api import Run
    from kexec_hook.staging.load import Done
    from kexec_hook.system.host import World

_SAID = "said"  # why the last run declined, empty when it did not
_STAMP_BEFORE = 2.0  # seconds: file systems' times are as coarse as that


def planned(run: Run) -> Sequence[Sequence[str]]:
    return [run.plan.argv()] if run.plan else []


def stage(world: World, args: Namespace) -> int:
    if args.dry_run:
        return _dry(world, args)
    refused = refuse(world)
    if refused:
        return refused
    done = _stage_panic(world, args) if args.panic else stage_now(world, args)
    journal(world, say_done(done))
    _print_stage(done.run, done.outcome, args, done)
    if done.outcome == "failed":
        return fail(done.error)
    if done.vetoed:
        fail(not_active())
    if any(objection.rights for objection in done.run.objections):
        return FAILED  # nothing was decided
    return DECLINED if done.outcome == "declined" else OK


def _dry(world: World, args: Namespace) -> int:
    run = _decide_panic(world, args) if args.panic else decide_here(world, _trigger(args))
    _print_stage(run, "declined" if run.declined else "would-stage", args)
    return DECLINED if run.declined else OK


def _trigger(args: Namespace) -> Trigger:
    return Trigger("cli", args.entry, args.dry_run, args.force, args.running, getattr(args, "panic", False))


def _print_stage(run: Run, outcome: str, args: Namespace, done: Done | None = None) -> None:
    from kexec_hook.report import explain

    if args.json:
        print(as_json(explain.stage_json(run, outcome, planned(run))))
    else:
        left, vetoed = (done.left, done.vetoed) if done else (False, False)
        outcome = "vetoed" if vetoed else outcome
        print(explain.stage_text(run, outcome, planned(run), verbose=args.verbose, left=left))


def stage_now(world: World, args: Namespace) -> Done:
    from kexec_hook.staging.load import carry_out
    from kexec_hook.state import record

    trigger = _trigger(args)
    plugins = load_plugins()
    with world.state() as state, state.lock() as held:
        state.remove("stamp")  # this is not what `run` would decide
        state.remove(record.COLD)
        done = carry_out(world, held, lambda: decide_here(world, trigger, plugins))
    if done.outcome == "staged":
        plugins.staged(done.run)
    return done


def _decide_panic(world: World, args: Namespace) -> Run:
    from kexec_hook.settings.conf import load_settings
    from kexec_hook.staging import panic

    sysroot = world.sysroot()
    return panic.decide(world, sysroot, load_settings(sysroot), _trigger(args))


def _stage_panic(world: World, args: Namespace) -> Done:
    from kexec_hook.staging import panic

    with world.state() as state, state.lock():
        return panic.act(world, _decide_panic(world, args))


def unstage(world: World, args: Namespace) -> int:
    from kexec_hook.staging.load import forget
    from kexec_hook.state import record
    from kexec_hook.system.kexec import Kexec, KexecError

    refused = refuse(world)
    if refused:
        return refused
    with world.state() as state, state.lock() as held:
        state.remove("stamp")
        found = record.read_staged(state)
        if isinstance(found, record.NoRecord) and not found.found:
            if Kexec(world).loaded():
                return fail("an image is loaded, but not by kexec-hook; `kexec --unload` unloads it", DECLINED)
            print("nothing is staged")
            return OK
        try:
            forget(world, held)
        except KexecError as error:
            return fail(str(error))
    journal(world, "unstaged; the next reboot is an ordinary one")
    print("unstaged; the next reboot is an ordinary one")
    return OK


def run(world: World, args: Namespace) -> int:
    """What the package managers' glue calls: silent where nothing changed, and never a failure of theirs."""
    from kexec_hook.system.directory import Busy

    started = time.time()
    if os.environ.get("KEXEC_HOOK_SUSPEND", "0") not in ("", "0") or not world.is_host:
        return OK
    try:
        done = _run(world, args.source, started)
    except Busy as error:
        print(f"kexec-hook: {error}")
        _look_again(world)
        return OK
    except expected_errors() as error:
        _run_failed(world, str(error))
        return OK
    except Exception as error:  # a bug of ours is no failure of apt's; what is staged may be wrong by now
        import traceback

        from kexec_hook.report.terminal import safe

        for line in traceback.format_exc().splitlines():
            journal(world, safe(line))
        _run_failed(world, f"{type(error).__name__}: {error}; this is a bug, its traceback is in the journal")
        return OK
    if done is not None and done.outcome != "unchanged":
        journal(world, f"{args.source}: {say_done(done)}")
        print(f"kexec-hook: {say_done(done)}")
    return OK


def _look_again(world: World) -> None:
    """What has changed since the other one began is for the next call, which must not believe the other's stamp."""
    from kexec_hook.state.stamp import CHANGED
    from kexec_hook.system.directory import StateError

    try:
        with world.state() as state:
            state.mark(CHANGED)
    except StateError:
        pass  # said already: nothing was decided


def _run(world: World, source: str, started: float) -> Done | None:
    """What came of it; None where it was declined for the reasons that the last run has told already."""
    from kexec_hook.staging.load import carry_out
    from kexec_hook.state.stamp import CHANGED, STAMP, format_stamp

    plugins = load_plugins()
    with world.state() as state, state.lock() as held:
        state.remove(CHANGED)
        done = carry_out(world, held, lambda: decide_here(world, Trigger(source, dry=False), plugins))
        if done.outcome == "failed":
            state.remove(STAMP)
        else:
            held.write(STAMP, format_stamp(done.run.sysroot.reads), mtime=started - _STAMP_BEFORE)
        # unattended-upgrades calls twice
        said = say_done(done).encode("utf-8", "surrogateescape") if done.outcome == "declined" else b""
        if said and said == state.read(_SAID):
            return None
        held.write(_SAID, said)
    if done.outcome == "staged":
        plugins.staged(done.run)
    return done


def _run_failed(world: World, reason: str) -> None:
    """One line, and nothing of ours stays loaded."""
    from kexec_hook.report.terminal import safe
    from kexec_hook.system.kexec import Kexec

    left = forget_ours(world)
    if not left:
        left = "; nothing is staged" + ("" if Kexec(world).loaded() else ", the next reboot is an ordinary one")
    print(f"kexec-hook: {safe(reason)}{left}")
    journal(world, f"{safe(reason)}{left}")


def forget_ours(world: World) -> str:
    """Unload what we staged, if anything; what to add where that fails."""
    from kexec_hook.staging.load import forget
    from kexec_hook.state import record
    from kexec_hook.system.directory import StateError
    from kexec_hook.system.kexec import KexecError

    try:
        with world.state(create=False) as state, state.lock() as held:
            state.remove("stamp")
            found = record.read_staged(state)
            if isinstance(found, record.Staged) or found.found:
                forget(world, held)
    except FileNotFoundError:
        pass
    except (KexecError, StateError, OSError) as error:
        return f" ({error})"
    return ""
