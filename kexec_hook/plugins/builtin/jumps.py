"""A kernel that did not come up after a jump is not jumped into again before somebody has looked."""

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import Objection, Run
from kexec_hook.state import attempts
from kexec_hook.system.directory import StateError
from kexec_hook.system.host import World
from kexec_hook.system.sysroot import Sysroot

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl
def kexec_hook_objections(run: Run, sysroot: Sysroot) -> list[Objection]:
    if not sysroot.is_host or run.plan is None or run.plan.release is None:
        return []
    try:
        known = attempts.failed(World(str(sysroot.root), run.programs, run.owner, True))
    except PermissionError:  # a dry run without rights
        return []
    except StateError as error:
        return [Objection(f"whether the last jump came up is not known: {error}", "jumps")]
    attempt = known.get(run.plan.release)
    if attempt is None:
        return []
    release = attempt.release
    reason = f"the jump into {release} of {attempt.when} did not come up; `kexec-hook ack {release}` allows it again"
    return [Objection(reason, "jumps")]
