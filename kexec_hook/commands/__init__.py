"""What the commands share: exit codes, a decision on this machine, the journal, and what came of it in one line."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from kexec_hook.errors import KexecHookError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kexec_hook.plugins.api import Decision, Trigger
    from kexec_hook.plugins.asking import Plugins
    from kexec_hook.staging.load import Staging
    from kexec_hook.system.host import Host

OK, FAILED, USAGE, DECLINED = 0, 1, 2, 3
BY_FIRMWARE = "the next reboot goes through the firmware"


class Refusal(KexecHookError):
    """This command is not for this machine or user, or was called wrongly; with its exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int = FAILED) -> int:
    print(_harmless(f"kexec-hook: {message}"), file=sys.stderr)
    return code


def _harmless(message: str) -> str:
    from kexec_hook.report.terminal import safe

    return "\n".join(map(safe, message.split("\n")))


def sentence(error: KexecHookError) -> str:
    """Without the line of a file and the caret below it, where one line is all there is."""
    return str(error).partition("\n")[0]


def tell(message: str) -> None:
    """Print it; that nobody reads it, or the disk is full, is no failure of what was done."""
    try:
        print(_harmless(message), flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_json(answer: Any) -> str:
    import json

    return json.dumps(answer, indent=1)


def load_plugins() -> Plugins:
    from kexec_hook.plugins.asking import Plugins

    return Plugins()


def decide_here(host: Host, trigger: Trigger, plugins: Plugins | None = None) -> Decision:
    """A run on this machine.  SettingsError, SysrootError."""
    from kexec_hook.decision.decide import decide
    from kexec_hook.settings.conf import load_settings

    sysroot = host.sysroot()
    settings = load_settings(sysroot)
    return decide(host, sysroot, settings, plugins or load_plugins(), trigger)


def exit_code(decision: Decision) -> int:
    """Of a command that changes nothing: what may not be read is a failure, since then nothing was decided."""
    if any(objection.rights for objection in decision.objections):
        return FAILED
    return DECLINED if decision.declined else OK


def require_machine_and_root(host: Host) -> None:
    """Raises Refusal where this machine, or this user, is not for acting."""
    if not host.is_host:
        raise Refusal(
            "this command changes the running system only; "
            "with --root use `stage --dry-run`, `list` or `explain`",
            USAGE,
        )
    if os.geteuid() != host.owner:
        raise Refusal("this needs root; `stage --dry-run`, `list`, `explain` and `status` do not")


def journal(host: Host, message: str, fields: Iterable[tuple[str, str]] = ()) -> None:
    """A line to the journal; a directory that is not the running system has none."""
    if host.is_host:
        from kexec_hook.system.journal import send

        send(host, message, fields)


def journal_done(host: Host, done: Staging, message: str) -> None:
    """What came of a decision, with the code of each reason (KEXEC_HOOK_CODE) and what was decided about."""
    from kexec_hook.system.journal import INFO, MESSAGE_IDS, WARNING

    decision = done.decision
    declined = done.outcome == "declined"
    fields = [
        ("PRIORITY", str(INFO if done.outcome in ("staged", "unchanged") else WARNING)),
        ("KEXEC_HOOK_OUTCOME", done.outcome),
        ("KEXEC_HOOK_SOURCE", decision.trigger.source),
    ]
    if done.outcome in MESSAGE_IDS:
        fields.append(("MESSAGE_ID", MESSAGE_IDS[done.outcome]))
    fields += [("KEXEC_HOOK_CODE", one.code) for one in decision.objections if declined]
    fields += [("KEXEC_HOOK_NOTE", note.code) for note in decision.notes]
    if decision.plan and decision.plan.release:
        fields.append(("KEXEC_HOOK_RELEASE", decision.plan.release))
    journal(host, message, fields)


def fix_line(done: Staging) -> str:
    """What to do about the first reason, as a line below it; empty where it was not declined, or nothing is known."""
    if done.outcome != "declined":
        return ""
    from kexec_hook.report.reasons import fix_of
    from kexec_hook.report.terminal import safe

    fix = fix_of(done.decision.objections[0])
    return f"\n  fix: {safe(fix)}" if fix else ""


def say_done(done: Staging, reboot: str = "next reboot") -> str:
    """What came of a run, in one line; `reboot` is what to call the reboot that it is about."""
    from kexec_hook.report.terminal import safe

    decision = done.decision
    panic = decision.trigger.panic
    if done.outcome == "failed":
        left = (
            "a kernel image stays loaded"
            if done.image_loaded
            else f"nothing is staged, {BY_FIRMWARE}"
        )
        return f"failed: {safe(done.failure)}; {'no crash kernel was loaded' if panic else left}"
    if done.outcome == "declined":
        first, *others = (safe(objection.reason) for objection in decision.objections)
        more = f" (and {len(others)} more: `kexec-hook explain`)" if others else ""
        return f"{'no crash kernel was loaded' if panic else 'not staged'}: {first}{more}"
    return f"{'on a panic' if panic else reboot}: kexec into {named(decision)}" + (
        f" (staged in {done.seconds:.1f} s)" if done.outcome == "staged" else " (staged already)"
    )


def named(decision: Decision) -> str:
    """The entry and its release: `Debian GNU/Linux, 6.1.0-56-amd64`."""
    from kexec_hook.report.terminal import safe

    default = decision.default
    release = (decision.plan.release if decision.plan else None) or ""
    title = decision.plan.kernel if decision.plan else ""
    if default:
        title = default.entries[-1].title
    return safe(
        title if release and release in title else ", ".join(filter(None, (title, release)))
    )
