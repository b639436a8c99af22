"""stage, unstage, and run, which the package managers call."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from kexec_hook.commands import (
    BY_FIRMWARE,
    DECLINED,
    FAILED,
    OK,
    as_json,
    decide_here,
    exit_code,
    fail,
    fix_line,
    journal,
    journal_done,
    load_plugins,
    require_machine_and_root,
    say_done,
    sentence,
    tell,
)
from kexec_hook.errors import KexecHookError
from kexec_hook.plugins.api import Trigger
from kexec_hook.system.host import RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.plugins.api import Decision
    from kexec_hook.staging.load import Staging
    from kexec_hook.system.host import Host

# Seconds that apt waits, whatever hangs: for programs, and for everything.
_RUN_WORK, _RUN = 35.0, 55.0
_SHUTDOWN = "shutdown"  # the source by which kexec-hook-always.service calls
_STAMP_BEFORE = 2.0  # seconds: file systems' times are as coarse as that


def planned(decision: Decision) -> Sequence[Sequence[str]]:
    return [decision.plan.argv()] if decision.plan else []


def stage(host: Host, args: Namespace) -> int:
    if args.dry_run:
        return _dry(host, args)
    require_machine_and_root(host)
    done = _stage_panic(host, args) if args.panic else stage_now(host, args)
    journal_done(host, done, say_done(done))
    _print_stage(done.decision, done.outcome, args, done)
    if done.outcome == "failed":
        return fail(done.failure)
    if any(objection.rights for objection in done.decision.objections):
        return FAILED  # nothing was decided
    return DECLINED if done.outcome == "declined" else OK


def _dry(host: Host, args: Namespace) -> int:
    decision = _decide_panic(host, args) if args.panic else decide_here(host, _trigger(args))
    _print_stage(decision, "declined" if decision.declined else "would-stage", args)
    return exit_code(decision)


def _trigger(args: Namespace) -> Trigger:
    return Trigger(
        "cli", args.entry, args.dry_run, args.force, args.running, getattr(args, "panic", False)
    )


def _print_stage(
    decision: Decision, outcome: str, args: Namespace, done: Staging | None = None
) -> None:
    from kexec_hook.report import explain

    if args.json:
        print(as_json(explain.stage_json(decision, outcome, planned(decision))))
    else:
        left = done.image_loaded if done else False
        print(explain.stage_text(decision, outcome, verbose=args.verbose, left=left))


def stage_now(host: Host, args: Namespace) -> Staging:
    from kexec_hook.staging.load import carry_out
    from kexec_hook.state import names

    trigger = _trigger(args)
    plugins = load_plugins()
    with host.state() as state, state.lock() as held:
        state.remove(names.STAMP)  # this is not what `run` would decide
        state.remove(names.COLD)
        done = carry_out(host, held, lambda: decide_here(host, trigger, plugins))
    if done.outcome == "staged":
        plugins.staged(done.decision)
    return done


def _decide_panic(host: Host, args: Namespace) -> Decision:
    from kexec_hook.settings.conf import load_settings
    from kexec_hook.staging import panic

    sysroot = host.sysroot()
    return panic.decide(host, sysroot, load_settings(sysroot), _trigger(args))


def _stage_panic(host: Host, args: Namespace) -> Staging:
    from kexec_hook.staging import panic

    with host.state() as state, state.lock():
        return panic.act(host, _decide_panic(host, args))


def unstage(host: Host, args: Namespace) -> int:
    from kexec_hook.staging.load import give_up
    from kexec_hook.state import names, record
    from kexec_hook.system.kexec import Kexec, KexecError

    require_machine_and_root(host)
    with host.state() as state, state.lock() as held:
        state.remove(names.STAMP)
        found = record.read_staged(state)
        if not record.is_ours(host, found):
            if Kexec(host).loaded():
                return fail(
                    "an image is loaded, but not by kexec-hook; `kexec --unload` unloads it",
                    DECLINED,
                )
            print("nothing is staged")
            return OK
        try:
            give_up(host, held)
        except KexecError as error:
            return fail(str(error))
    then = f"unstaged; {_after_unstage(host)}"
    journal(host, then)
    print(then)
    return OK


def _after_unstage(host: Host) -> str:
    from kexec_hook.settings.conf import SettingsError, load_settings

    try:
        always = load_settings(host.sysroot()).when.value == "always"
    except SettingsError:
        always = False  # then nothing is staged
    if not always:
        return BY_FIRMWARE
    return "with `when = always` the next reboot stages once more; `kexec-hook coldreboot` goes through the firmware"


def run(host: Host, args: Namespace) -> int:
    """What the package managers' glue calls: silent where nothing changed, and never a failure of theirs."""
    from kexec_hook.system.process import ProcessError, TimedOut
    from kexec_hook.system.worker import in_worker

    started = time.time()
    if not host.is_host or _is_none_of_ours(host):
        return OK
    try:
        told = in_worker(lambda: _told(host.until(_RUN_WORK), args.source, started), _RUN)
    except ProcessError as error:
        # Whatever it was about to load, nobody has approved it, and the shutdown unit decides anew.
        _look_again(host)
        hangs = ": does a disk or a network mount hang?" if isinstance(error, TimedOut) else ""
        told = f"nothing was decided: {error}{hangs}".encode()
    if told:
        tell(f"kexec-hook: {told.decode('utf-8', 'surrogateescape')}")
    return OK


def _told(host: Host, source: str, started: float) -> bytes:
    """What is to be printed; nothing where nothing changed."""
    from kexec_hook.report.terminal import safe
    from kexec_hook.system.directory import Busy

    try:
        done = _run(host, source, started)
    except Busy as error:
        _look_again(host)
        line = str(error)
    except KexecHookError as error:
        line = _run_failed(host, sentence(error))
    except Exception as error:
        # A bug of ours is no failure of apt's; what is staged may be wrong by now.
        import traceback

        for line in traceback.format_exc().splitlines():
            journal(host, safe(line))
        line = _run_failed(
            host, f"{type(error).__name__}: {error}; this is a bug, its traceback is in the journal"
        )
    else:
        line = ""
        if done is not None and done.outcome != "unchanged":
            journal_done(host, done, f"{source}: {say_done(done)}")
            line = _told_staged(host, done) if done.outcome == "staged" else say_done(done)
            line += fix_line(done)
    return line.encode("utf-8", "surrogateescape")


def _told_staged(host: Host, done: Staging) -> str:
    """What apt's line says where others say that a reboot is due, it says as well."""
    from kexec_hook.report.due import due
    from kexec_hook.report.gain import saves

    return say_done(done, "reboot due" if due(host) else "next reboot") + saves(host)


def _is_none_of_ours(host: Host) -> bool:
    """Suspended, switched off, or not on the machine itself: nothing is said, and nothing written."""
    from kexec_hook.plugins.builtin.host import is_switched_off, runs_elsewhere
    from kexec_hook.system.facts import Facts

    facts = Facts(host.sysroot())
    return (
        os.environ.get("KEXEC_HOOK_SUSPEND", "0") not in ("", "0")
        or bool(os.environ.get("DPKG_ROOT"))
        or is_switched_off(facts)
        or runs_elsewhere(facts)
    )


def _look_again(host: Host) -> None:
    """What has changed since the other one began is for the next call, which must not believe the other's stamp."""
    from kexec_hook.state.names import CHANGED
    from kexec_hook.system.directory import StateError

    try:
        with host.state() as state:
            state.mark(CHANGED)
    except StateError:
        pass  # said already: nothing was decided


def _run(host: Host, source: str, started: float) -> Staging | None:
    """What came of it; None where there is nothing to do, or nothing to say that the last run has not said."""
    from kexec_hook.settings.conf import load_settings
    from kexec_hook.staging.finalize import not_a_reboot
    from kexec_hook.staging.load import carry_out
    from kexec_hook.state import names
    from kexec_hook.state.names import CHANGED, STAMP
    from kexec_hook.state.stamp import format_stamp

    only_news = load_settings(host.sysroot()).when.value == "upgrade"
    if source == _SHUTDOWN and (only_news or _is_staged(host) or not_a_reboot(host)):
        return None
    plugins = load_plugins()
    with host.state() as state, state.lock() as held:
        state.remove(CHANGED)
        done = carry_out(
            host,
            held,
            lambda: decide_here(host, Trigger(source, dry=False), plugins),
            only_news=only_news,
        )
        sight = done.decision.disks.sight
        if done.outcome == "failed" or sight.unwatched:
            state.remove(STAMP)
        else:
            stamp = format_stamp(done.decision.sysroot.reads, sight.counted)
            held.write(STAMP, stamp, mtime=started - _STAMP_BEFORE)
        # unattended-upgrades calls twice
        said = (
            say_done(done).encode("utf-8", "surrogateescape") if done.outcome == "declined" else b""
        )
        if said and said == state.read(names.SAID):
            return None
        held.write(names.SAID, said)
    if done.outcome == "staged":
        plugins.staged(done.decision)
    return done


def _is_staged(host: Host) -> bool:
    """Something of ours: finalize decides anew about that, as it was asked for."""
    from kexec_hook.state import record

    return record.is_ours(host, record.look(host.path(RUN), owner=host.owner))


def _run_failed(host: Host, reason: str) -> str:
    """One line, and nothing of ours stays loaded."""
    from kexec_hook.report.terminal import safe
    from kexec_hook.system.kexec import Kexec

    left = forget_ours(host)
    if not left:
        left = " Nothing is staged" if reason.endswith("?") else "; nothing is staged"
        left += "" if Kexec(host).loaded() else f", {BY_FIRMWARE}"
    journal(host, f"{safe(reason)}{left}")
    return f"{safe(reason)}{left}"


def forget_ours(host: Host) -> str:
    """Unload what we staged, if anything; what to add where that fails."""
    from kexec_hook.staging.load import give_up
    from kexec_hook.state import names, record

    try:
        with host.state(create=host.mark.is_there) as state, state.lock() as held:
            state.remove(names.STAMP)
            if record.is_ours(host, record.read_staged(state)):
                give_up(host, held)
    except FileNotFoundError:
        pass
    except (KexecHookError, OSError) as error:
        return f" ({error})"
    return ""
