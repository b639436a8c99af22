"""finalize, reboot, coldreboot, and what is remembered of jumps: judge-boot and ack."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from kexec_hook.commands import (
    DECLINED,
    FAILED,
    OK,
    USAGE,
    decide_here,
    fail,
    journal,
    journal_done,
    load_plugins,
    named,
    require_machine_and_root,
    say_done,
    sentence,
    tell,
)
from kexec_hook.commands.stage import forget_ours, stage_now
from kexec_hook.errors import KexecHookError

if TYPE_CHECKING:
    from kexec_hook.state.attempts import Attempt
    from kexec_hook.system.host import Host


# Seconds, below TimeoutStopSec=60 of the unit: for programs, and for everything.
_FINALIZE_WORK, _FINALIZE = 35.0, 50.0
_HEAR = 30.0  # seconds that plugins have when a boot is judged
# molly-guard wraps `reboot`, and asks for the name of the machine where somebody is logged in over the network.
_GUARDED = ("/lib/molly-guard/molly-guard", "/lib/molly-guard/reboot")
_GUARD_READS = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "TERM", "SUDO_USER", "MOLLYGUARD_CMD")
_ENCODING = ("utf-8", "surrogateescape")


def finalize(host: Host, args: Namespace) -> int:
    """Whatever hangs, it ends before systemd would end it; what it has not approved by then is an ordinary reboot."""
    from kexec_hook.system.process import ProcessError
    from kexec_hook.system.worker import in_worker

    require_machine_and_root(host)
    try:
        answer = in_worker(lambda: _finalize(host.until(_FINALIZE_WORK)), _FINALIZE)
    except ProcessError as error:
        return fail(f"{error}; without an approval this reboot is not a kexec")
    code, _, message = answer.decode("utf-8", "surrogateescape").partition(" ")
    tell(message)
    return int(code)


def _finalize(host: Host) -> bytes:
    """Exit code and message."""
    from kexec_hook.report.terminal import safe
    from kexec_hook.staging.finalize import finalize as decide_now

    plugins = load_plugins()
    try:
        verdict = decide_now(
            host,
            lambda trigger: decide_here(host, trigger, plugins),
            awaited=plugins.await_judgement,
        )
    except KexecHookError as error:
        forget_ours(host)
        return f"{FAILED} this reboot is not a kexec: {safe(sentence(error))}".encode(*_ENCODING)
    except Exception:
        import traceback

        forget_ours(host)
        return f"{FAILED} {traceback.format_exc()}".encode(*_ENCODING)
    if verdict.approved and verdict.done:
        return f"{OK} this reboot is a kexec into {named(verdict.done.decision)}".encode(*_ENCODING)
    if verdict.done:
        codes = ", ".join(objection.code for objection in verdict.done.decision.objections)
        journal_done(host, verdict.done, f"not approved: {codes or 'an error'}")
    # Somebody else's image may well jump, and who powers off does not reboot.
    what = "this reboot is not a kexec" if verdict.decides else "there is nothing to decide"
    code = FAILED if verdict.failed else DECLINED
    return f"{code} {what}: {safe(verdict.reason)}".encode(*_ENCODING)


# reboot, coldreboot, ack, judge-boot


def reboot(host: Host, args: Namespace) -> int:
    require_machine_and_root(host)
    if not args.yes:
        if not sys.stdin.isatty():
            return fail("not a terminal; use `kexec-hook reboot --yes`", USAGE)
        if not _agreed("Reboot this machine now? [y/N] "):
            print("not rebooted")
            return DECLINED
    from kexec_hook.state import names

    code = FAILED
    with host.state() as state:
        with state.lock() as held:
            state.remove(names.COLD)  # of a shutdown that came to nothing
            held.write(names.ASKED, b"")
        try:
            _stage_if_needed(host)
            code = _reboot(host, {})
        finally:
            if code != OK:  # the next reboot is another one
                state.remove(names.ASKED)
    return code


def _stage_if_needed(host: Host) -> None:
    from kexec_hook.state import record
    from kexec_hook.system.kexec import Kexec

    if not (isinstance(_look(host), record.Staged) and Kexec(host).loaded()):
        done = stage_now(host, Namespace(entry=None, dry_run=False, force=False, running=False))
        journal_done(host, done, say_done(done))
        print(f"kexec-hook: {say_done(done)}")


def _agreed(question: str) -> bool:
    """On standard error, as sudo and ssh ask: --quiet is about the other one."""
    print(question, end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer:
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")


def _look(host: Host) -> Any:
    from kexec_hook.state import record
    from kexec_hook.system.host import RUN

    return record.look(host.path(RUN), owner=host.owner)


def coldreboot(host: Host, args: Namespace) -> int:
    """A firmware boot, whatever is loaded."""
    from kexec_hook.staging.jump import take_back
    from kexec_hook.staging.load import forget, unload
    from kexec_hook.state import names, record

    require_machine_and_root(host)
    with host.state() as state:
        with state.lock() as held:
            take_back(host, state)
            if record.is_ours(host, record.read_staged(state)):
                forget(host, held)
            else:
                unload(host, held)
            held.write(names.COLD, b"")
        journal(
            host, "coldreboot: nothing is loaded any more, this reboot goes through the firmware"
        )
        code = _reboot(host, {"SYSTEMCTL_SKIP_AUTO_KEXEC": "1"})
        if code != OK:  # somebody holds the reboot back: the next one is another one
            state.remove(names.COLD)
    return code


def _reboot(host: Host, env: dict[str, str]) -> int:
    """Also where a root waits in /run/nextroot, to which `systemctl reboot` would go on with this kernel."""
    from kexec_hook.system.process import ProcessError

    env = {"SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT": "1", **env}
    try:
        if all(map(host.sysroot().exists, _GUARDED)):
            given = {name: os.environ[name] for name in _GUARD_READS if name in os.environ}
            status = host.programs.attended(("reboot",), {**given, **env})
            return OK if status == 0 else fail("not rebooted: molly-guard refused", DECLINED)
        host.programs.run(("systemctl", "reboot"), env=env)
    except ProcessError as error:
        return fail(str(error))
    return OK


def ack(host: Host, args: Namespace) -> int:
    from kexec_hook.state import attempts

    require_machine_and_root(host)
    gone = attempts.acknowledge(host, args.release)
    if args.release and not gone:
        return fail(
            f"{args.release} is not among the kernels that did not come up; `kexec-hook status` lists them"
        )
    for release in gone:
        tell(f"{release} may be started by kexec again")
    if not gone:
        print("no kernel is held back")
    return OK


def judge_boot(host: Host, args: Namespace) -> int:
    """What a unit calls at boot: did the jump that was tried come up?"""
    from kexec_hook.state import attempts

    require_machine_and_root(host)
    verdict, attempt = attempts.judge(host)
    if attempt is None or verdict in ("pending", "none"):
        return OK
    came_up = verdict == "jumped"
    if came_up:
        tell(f"the kexec into {attempt.release} came up")
    else:
        tell(
            f"the kexec into {attempt.release} on {attempt.when} did not come up, or was never begun, since "
            "the power went or the reboot was forced: this boot came from the firmware; "
            "that kernel is not started by kexec again until `kexec-hook ack`"
        )
    _let_plugins_hear(attempt, came_up=came_up)
    return OK if came_up else FAILED  # so that `systemctl --failed` and OnFailure= see it


def _let_plugins_hear(attempt: Attempt, *, came_up: bool) -> None:
    """When it is remembered and said: whatever becomes of them, it changes nothing."""
    from kexec_hook.system.process import ProcessError
    from kexec_hook.system.worker import in_worker

    def hear() -> bytes:
        plugins = load_plugins()
        plugins.judged(attempt, came_up=came_up)
        return "\n".join(note.text for note in plugins.complaints).encode(*_ENCODING)

    try:
        said = in_worker(hear, _HEAR).decode(*_ENCODING)
    except ProcessError as error:
        said = f"the plugins did not hear whether the kexec came up: {error}"
    for line in said.splitlines():
        tell(line)


def complete(host: Host, args: Namespace) -> int:
    """What a unit calls at boot, before anything else reads GRUB's environment."""
    from kexec_hook.staging.jump import complete as complete_now

    require_machine_and_root(host)
    done, why = complete_now(host)
    if done == "taken back":
        tell(
            "the shutdown came to nothing: GRUB's environment is as it was, and no kexec is approved"
        )
    if done == "written":
        tell("what GRUB would have written was completed")
    return fail(why) if done == "left" else OK
