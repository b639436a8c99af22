"""A kernel that did not come up after a jump is not jumped into again before somebody has looked."""

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.state import attempts
from kexec_hook.system.directory import StateError
from kexec_hook.system.host import Host
from kexec_hook.system.sysroot import Sysroot

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    if not sysroot.is_host or decision.plan is None or decision.plan.release is None:
        return []
    try:
        known = attempts.failed(Host(str(sysroot.root), decision.programs, decision.owner, True))
    except PermissionError:  # a dry run without rights
        return []
    except StateError as error:
        return [Objection(f"whether the last jump came up is not known: {error}", "jumps")]
    attempt = known.get(decision.plan.release)
    if attempt is None:
        return []
    release = attempt.release
    reason = f"the jump into {release} of {attempt.when} did not come up; `kexec-hook ack {release}` allows it again"
    return [Objection(reason, "jumps")]
