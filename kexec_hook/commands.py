"""What each command does, prints and returns: 0 done, 1 failed, 2 usage, 3 declined."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from kexec_hook.run import Trigger
from kexec_hook.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.act import Done
    from kexec_hook.plugins import Plugins
    from kexec_hook.run import Run

OK, FAILED, USAGE, DECLINED = 0, 1, 2, 3

_STAMP_BEFORE = 2.0  # seconds: file systems' times are as coarse as that


def fail(message: str, code: int = FAILED) -> int:
    print(f"kexec-hook: {message}", file=sys.stderr)
    return code


def _plugins() -> Plugins:
    from kexec_hook.plugins import Plugins

    return Plugins()


def _decide(world: World, trigger: Trigger, plugins: Plugins | None = None) -> Run:
    """A run on this machine.  SettingsError, SysrootError."""
    from kexec_hook.settings import load_settings
    from kexec_hook.stage import decide

    sysroot = world.sysroot()
    settings = load_settings(sysroot)
    return decide(world, sysroot, settings, plugins or _plugins(), trigger)


def _commands(run: Run) -> Sequence[Sequence[str]]:
    return [run.plan.argv()] if run.plan else []


def _not_root(world: World) -> str:
    if not world.is_host:
        return "with --root, nothing but a dry run can be done"
    return "" if os.geteuid() == world.owner else "this needs root; `stage --dry-run` does not"


def _journal(world: World, message: str) -> None:
    """A line to the journal for each decision; a directory that stands for a machine has none."""
    if world.root == "/" and world.is_host:
        import syslog

        syslog.openlog("kexec-hook", 0, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_INFO, message)


def _say_done(done: Done) -> str:
    """What came of a run, in one line."""
    from kexec_hook.explain import safe

    run = done.run
    if done.outcome == "failed":
        return f"failed: {safe(done.error)}; nothing is staged, the next reboot is an ordinary one"
    if done.outcome == "declined":
        reasons = "; ".join(safe(objection.reason) for objection in run.objections)
        return f"the next reboot is an ordinary one: {reasons}"
    return f"next reboot jumps into {named(run)}" + (
        f" (staged in {done.seconds:.1f} s)" if done.outcome == "staged" else " (staged already)"
    )


def named(run: Run) -> str:
    """The entry and its release: `Debian GNU/Linux, 6.1.0-56-amd64`."""
    from kexec_hook.explain import safe

    default = run.result.default if run.result else None
    release = (run.plan.release if run.plan else None) or ""
    title = default.entries[-1].title if default else run.plan.kernel if run.plan else ""
    return safe(title if release and release in title else ", ".join(filter(None, (title, release))))


# stage, unstage, run, finalize


def stage(world: World, args: Namespace) -> int:
    if args.dry_run:
        return _dry(world, args)
    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    done = _stage_panic(world, args) if args.panic else _stage(world, args)
    _journal(world, _say_done(done))
    _print_stage(done.run, done.outcome, args)
    if done.outcome == "failed":
        return fail(done.error)
    return DECLINED if done.outcome == "declined" else OK


def _dry(world: World, args: Namespace) -> int:
    run = _decide_panic(world, args) if args.panic else _decide(world, _trigger(args))
    _print_stage(run, "declined" if run.declined else "would-stage", args)
    return DECLINED if run.declined else OK


def _trigger(args: Namespace) -> Trigger:
    return Trigger("cli", args.entry, dry=args.dry_run, force=args.force, running=args.running)


def _print_stage(run: Run, outcome: str, args: Namespace) -> None:
    from kexec_hook import explain

    if args.json:
        print(json.dumps(explain.stage_json(run, outcome, _commands(run)), indent=1))
    else:
        print(explain.stage_text(run, outcome, _commands(run), verbose=args.verbose))


def _stage(world: World, args: Namespace) -> Done:
    from kexec_hook.act import carry_out

    trigger = _trigger(args)
    plugins = _plugins()
    with world.state() as state, state.lock() as held:
        state.remove("stamp")  # this is not what `run` would decide
        done = carry_out(world, held, lambda: _decide(world, trigger, plugins))
    if done.outcome == "staged":
        plugins.staged(done.run)
    return done


def _decide_panic(world: World, args: Namespace) -> Run:
    from kexec_hook import panic
    from kexec_hook.settings import load_settings

    sysroot = world.sysroot()
    return panic.decide(world, sysroot, load_settings(sysroot), _trigger(args))


def _stage_panic(world: World, args: Namespace) -> Done:
    from kexec_hook import panic

    with world.state() as state, state.lock():
        return panic.act(world, _decide_panic(world, args))


def unstage(world: World, args: Namespace) -> int:
    from kexec_hook import record
    from kexec_hook.act import forget
    from kexec_hook.kexec import Kexec, KexecError

    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
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
    _journal(world, "unstaged; the next reboot is an ordinary one")
    print("unstaged; the next reboot is an ordinary one")
    return OK


def run(world: World, args: Namespace) -> int:
    """What the package managers' glue calls: silent where nothing changed, and never a failure of theirs."""
    from kexec_hook.state import Busy

    started = time.time()
    if os.environ.get("KEXEC_HOOK_SUSPEND") or not world.is_host:
        return OK
    try:
        done = _run(world, args.source, started)
    except Busy as error:
        print(f"kexec-hook: {error}")
        return OK
    except expected_errors() as error:
        _run_failed(world, str(error))
        return OK
    except Exception as error:  # a bug of ours is no failure of apt's; what is staged may be wrong by now
        import traceback

        for line in traceback.format_exc().splitlines():
            _journal(world, line)
        _run_failed(world, f"{type(error).__name__}: {error}; this is a bug, its traceback is in the journal")
        return OK
    if done.outcome != "unchanged":
        _journal(world, f"{args.source}: {_say_done(done)}")
        print(f"kexec-hook: {_say_done(done)}")
    return OK


def _run(world: World, source: str, started: float) -> Done:
    from kexec_hook.act import carry_out
    from kexec_hook.quiet import CHANGED, STAMP, format_stamp

    plugins = _plugins()
    with world.state() as state, state.lock() as held:
        state.remove(CHANGED)
        done = carry_out(world, held, lambda: _decide(world, Trigger(source, dry=False), plugins))
        if done.outcome == "failed":
            state.remove(STAMP)
        else:
            held.write(STAMP, format_stamp(done.run.sysroot.reads), mtime=started - _STAMP_BEFORE)
    if done.outcome == "staged":
        plugins.staged(done.run)
    return done


def _run_failed(world: World, reason: str) -> None:
    """One line, and nothing of ours stays loaded."""
    from kexec_hook.explain import safe

    left = _forget_ours(world)
    print(f"kexec-hook: {safe(reason)}; nothing is staged, the next reboot is an ordinary one{left}")
    _journal(world, f"{safe(reason)}{left}")


def _forget_ours(world: World) -> str:
    """Unload what we staged, if anything; what to add where that fails."""
    from kexec_hook import record
    from kexec_hook.act import forget
    from kexec_hook.kexec import KexecError
    from kexec_hook.state import StateError

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


def finalize(world: World, args: Namespace) -> int:
    from kexec_hook.finalize import finalize as decide_now

    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    plugins = _plugins()
    try:
        verdict = decide_now(world, lambda: _decide(world, Trigger("finalize", dry=False), plugins))
    except Exception:
        _forget_ours(world)
        raise
    if verdict.approved and verdict.done:
        message = f"this reboot is a kexec into {named(verdict.done.run)}"
    else:
        message = f"this reboot is no kexec: {verdict.reason}"
    print(message)
    if verdict.approved:
        return OK
    return FAILED if verdict.failed else DECLINED


# reboot, coldreboot, ack, judge-boot


def reboot(world: World, args: Namespace) -> int:
    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    if not args.yes:
        if not sys.stdin.isatty():
            return fail("nobody is there to ask; `kexec-hook reboot --yes` does not ask", USAGE)
        if input("Reboot this machine now? [y/N] ").strip().lower() not in ("y", "yes"):
            print("not rebooted")
            return DECLINED
    from kexec_hook import record
    from kexec_hook.kexec import Kexec

    if not (isinstance(_look(world), record.Staged) and Kexec(world).loaded()):
        done = _stage(world, Namespace(entry=None, dry_run=False, force=False, running=False))
        _journal(world, _say_done(done))
        print(f"kexec-hook: {_say_done(done)}")
    return _systemctl(world, {})


def _look(world: World) -> Any:
    from kexec_hook import record

    return record.look(world.path(record.DIRECTORY), owner=world.owner)


def coldreboot(world: World, args: Namespace) -> int:
    """A firmware boot, whatever is loaded."""
    from kexec_hook import record
    from kexec_hook.kexec import Kexec

    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    with world.state() as state:
        record.withdraw(state)
        with state.lock():
            Kexec(world).unload()
            state.remove(record.STAGED)
    _journal(world, "coldreboot: nothing is loaded any more, this reboot goes through the firmware")
    return _systemctl(world, {"SYSTEMCTL_SKIP_AUTO_KEXEC": "1"})


def _systemctl(world: World, env: dict[str, str]) -> int:
    from kexec_hook.process import ProcessError

    try:
        world.programs.run(("systemctl", "reboot"), env=env)
    except ProcessError as error:
        return fail(str(error))
    return OK


def ack(world: World, args: Namespace) -> int:
    from kexec_hook import attempts

    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    gone = attempts.acknowledge(world, args.release)
    if args.release and not gone:
        return fail(f"{args.release} is not among the kernels that did not come up; `kexec-hook status` lists them")
    for release in gone:
        print(f"{release} may be jumped into again")
    if not gone:
        print("no kernel is held back")
    return OK


def judge_boot(world: World, args: Namespace) -> int:
    """What a unit calls at boot: did the jump that was tried come up?"""
    from kexec_hook import attempts

    refusal = _not_root(world)
    if refusal:
        return fail(refusal, FAILED if world.is_host else USAGE)
    verdict, attempt = attempts.judge(world)
    if attempt is None or verdict == "pending":
        return OK
    if verdict == "jumped":
        print(f"the jump into {attempt.release} came up")
    else:
        print(
            f"the jump into {attempt.release} of {attempt.when} did not come up: this boot came from the firmware; "
            "that kernel is not jumped into again until `kexec-hook ack`"
        )
    return OK


# list, explain, status, grub-eval


def list_entries(world: World, args: Namespace) -> int:
    from kexec_hook import explain
    from kexec_hook.stage import tail_key

    plugins = _plugins()
    found = _decide(world, Trigger("cli"), plugins)
    answer = explain.entries_json(found)
    if args.sort:
        answer["entries"] = explain.by_release(answer["entries"], tail_key(plugins, found.sysroot))
    if args.json:
        print(json.dumps(answer, indent=1))
    elif answer["entries"]:
        print(explain.list_text(answer))
    if answer["entries"]:
        return OK
    return fail("; ".join(objection.reason for objection in found.objections) or "the menu is empty")


def explain_choice(world: World, args: Namespace) -> int:
    from kexec_hook import explain

    found = _decide(world, Trigger("cli", args.entry))
    outcome = "declined" if found.declined else "would-stage"
    if args.json:
        print(json.dumps(explain.explain_json(found, outcome, _commands(found)), indent=1))
    else:
        print(explain.explain_text(found))
    return DECLINED if found.declined else OK


def status(world: World, args: Namespace) -> int:
    from kexec_hook.stage import tail_key
    from kexec_hook.status import status_json, status_text

    plugins = _plugins()
    found = _decide(world, Trigger("cli"), plugins)
    answer = status_json(world, found, tail_key(plugins, found.sysroot))
    print(json.dumps(answer, indent=1) if args.json else status_text(answer))
    return OK


def grub_eval(world: World, args: Namespace) -> int:
    from pathlib import Path

    from kexec_hook import grubeval
    from kexec_hook.grub.machine import Limit
    from kexec_hook.grub.source import ScriptError
    from kexec_hook.partitions import Partition, PartitionDisks
    from kexec_hook.sysroot import Sysroot, SysrootError

    partitions = [Partition(Path(args.directory), args.uuid, args.label), *map(Partition.parse, args.extra)]
    for partition in partitions:
        if not partition.directory.is_dir():
            return fail(f"{partition.directory}: not a directory", USAGE)
    variables = {}
    for word in args.variables:
        name, equals, value = word.partition("=")
        if not equals:
            return fail(f"--set {word}: write NAME=VALUE", USAGE)
        variables[name] = value
    disks = PartitionDisks(partitions)
    prefix = args.prefix or _find_prefix(disks) or "/boot/grub"
    if not prefix.startswith("("):
        prefix = "(hd0,gpt1)" + prefix
    machine = grubeval.make_machine(disks, args.flavour, args.platform, args.cpu, prefix, variables)
    names = {f"hd0,gpt{number}": str(partition.directory) for number, partition in enumerate(partitions, 1)}
    machine.display = grubeval.display(names)
    try:
        if args.script:
            directory, name = os.path.split(os.path.abspath(args.script))
            output, problems = grubeval.script(machine, args.script, Sysroot(directory).read("/" + name))
            sys.stdout.write(output)
            for problem in problems:
                print(grubeval.show_problem(problem), file=sys.stderr)
            return OK
        answer = grubeval.configuration(machine, f"{prefix}/grub.cfg", default_only=args.default_only)
    except SysrootError as error:
        return fail(f"{args.script}: {error.reason}")
    except (Limit, ScriptError) as error:
        return fail(str(error))
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from kexec_hook import explain

        print(explain.grub_eval_text(answer))
    return OK


def _find_prefix(disks: Any) -> str | None:
    from kexec_hook.grub.disks import GrubPath

    for prefix in ("/boot/grub", "/boot/grub2", "/grub", "/grub2"):
        if disks.stat(GrubPath("hd0,gpt1", prefix + "/grub.cfg")):
            return prefix
    return None


def expected_errors() -> tuple[type[Exception], ...]:
    """What modules raise for what the world does wrong; anything else is a bug and keeps its traceback."""
    from kexec_hook.kexec import KexecError
    from kexec_hook.settings import SettingsError
    from kexec_hook.state import StateError
    from kexec_hook.sysroot import SysrootError

    return SettingsError, SysrootError, StateError, KexecError
