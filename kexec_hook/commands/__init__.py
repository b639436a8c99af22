"""What the commands share: exit codes, a decision on this machine, the journal, and what came of it in one line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kexec_hook.plugins.api import Run, Trigger
    from kexec_hook.plugins.asking import Plugins
    from kexec_hook.staging.load import Done
    from kexec_hook.system.host import World

OK, FAILED, USAGE, DECLINED = 0, 1, 2, 3


def fail(message: str, code: int = FAILED) -> int:
    print(f"kexec-hook: {message}", file=sys.stderr)
    return code


def expected_errors() -> tuple[type[Exception], ...]:
    """What modules raise for what the world does wrong; anything else is a bug and keeps its traceback."""
    from kexec_hook.settings.conf import SettingsError
    from kexec_hook.system.directory import StateError
    from kexec_hook.system.kexec import KexecError
    from kexec_hook.system.sysroot import SysrootError

    return SettingsError, SysrootError, StateError, KexecError


def as_json(answer: Any) -> str:
    import json

    return json.dumps(answer, indent=1)


def load_plugins() -> Plugins:
    from kexec_hook.plugins.asking import Plugins

    return Plugins()


def decide_here(world: World, trigger: Trigger, plugins: Plugins | None = None) -> Run:
    """A run on this machine.  SettingsError, SysrootError."""
    from kexec_hook.decision.decide import decide
    from kexec_hook.settings.conf import load_settings

    sysroot = world.sysroot()
    settings = load_settings(sysroot)
    return decide(world, sysroot, settings, plugins or load_plugins(), trigger)


def refuse(world: World) -> int:
    """The exit code where this machine, or this user, is not for acting; said already.  0 where it is."""
    if not world.is_host:
        return fail("with --root, nothing but a dry run can be done", USAGE)
    return OK if os.geteuid() == world.owner else fail("this needs root; `stage --dry-run` does not")


def journal(world: World, message: str) -> None:
    """A line to the journal for each decision; a directory that stands for a machine has none."""
    if world.root == "/" and world.is_host:
        import syslog

        syslog.openlog("kexec-hook", 0, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_INFO, message)


def say_done(done: Done) -> str:
    """What came of a run, in one line."""
    from kexec_hook.report.terminal import safe

    run = done.run
    panic = run.trigger.panic
    if done.outcome == "failed":
        left = "an image stays loaded" if done.left else "nothing is staged, the next reboot is an ordinary one"
        return f"failed: {safe(done.error)}; {'no crash kernel was loaded' if panic else left}"
    if done.outcome == "declined":
        first, *others = (safe(objection.reason) for objection in run.objections)
        more = f" (and {len(others)} more; `kexec-hook explain` lists them)" if others else ""
        # Where somebody else's image is loaded, a reboot may well jump into that one.
        so = "nothing was staged" if done.left else "the next reboot is an ordinary one"
        return f"{'no crash kernel was loaded' if panic else so}: {first}{more}"
    if done.vetoed:
        return f"{named(run)} is staged, but {not_active()}"
    return f"{'a panic' if panic else 'next reboot'} jumps into {named(run)}" + (
        f" (staged in {done.seconds:.1f} s)" if done.outcome == "staged" else " (staged already)"
    )


def not_active() -> str:
    from kexec_hook.system.systemd import UNIT

    return f"{UNIT} is not active, so the next reboot is an ordinary one; `systemctl enable --now {UNIT}`"


def named(run: Run) -> str:
    """The entry and its release: `Debian GNU/Linux, 6.1.0-56-amd64`."""
    from kexec_hook.report.terminal import safe

    default = run.result.default if run.result else None
    release = (run.plan.release if run.plan else None) or ""
    title = default.entries[-1].title if default else run.plan.kernel if run.plan else ""
    return safe(title if release and release in title else ", ".join(filter(None, (title, release))))
