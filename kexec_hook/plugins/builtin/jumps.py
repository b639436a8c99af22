"""A kernel that did not come up after a kexec is not started by kexec again before somebody has looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin.fixes import AS_ROOT
from kexec_hook.system.host import Host

if TYPE_CHECKING:
    from kexec_hook.state.attempts import Attempt
    from kexec_hook.system.directory import StateError
    from kexec_hook.system.sysroot import Sysroot

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    if not sysroot.is_host or decision.plan is None or decision.plan.release is None:
        return []
    from kexec_hook.system.directory import StateError, StateNotPermitted

    try:
        known = _failed(decision)
    except StateNotPermitted as error:
        # An ordinary user's dry run: a note.
        return [] if decision.trigger.dry else [_unknown(error)]
    except StateError as error:
        return [_unknown(error)]
    attempt = known.get(decision.plan.release)
    if attempt is None:
        return []
    release = attempt.release
    return [
        Objection(
            f"the kexec into {release} on {attempt.when} did not come up",
            "jumps",
            code="failed-before",
            fix=f"kexec-hook ack {release}",
        )
    ]


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note]:
    if not sysroot.is_host or not decision.trigger.dry:
        return []
    from kexec_hook.system.directory import StateError, StateNotPermitted

    try:
        _failed(decision)
    except StateNotPermitted as error:
        return [Note(_unknown(error).reason, code="attempts-unknown", fix=AS_ROOT)]
    except StateError:
        pass  # an objection
    return []


def _failed(decision: Decision) -> dict[str, Attempt]:
    """Raises StateError."""
    from kexec_hook.state import attempts

    root = str(decision.sysroot.root)
    return attempts.failed(Host(root, decision.programs, decision.owner, True))


def _unknown(error: StateError) -> Objection:
    return Objection(
        f"it is not known whether the last kexec came up: {error}", "jumps", code="attempts-unknown"
    )
