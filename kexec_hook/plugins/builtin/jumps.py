"""What jumps came to on this machine: a kernel that did not come up, and a machine on which none was tried by hand."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin.fixes import AS_ROOT
from kexec_hook.system.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.system.directory import StateError
    from kexec_hook.system.sysroot import Sysroot

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    if not sysroot.is_host or decision.plan is None or decision.plan.release is None:
        return []
    from kexec_hook.system.directory import StateError, StateNotPermitted

    host = _host(decision)
    try:
        return [*_failed_before(host, decision.plan.release), *_untried(host, decision)]
    except StateNotPermitted as error:
        # An ordinary user's dry run: a note.
        return [] if decision.trigger.dry else [_unknown(error)]
    except StateError as error:
        return [_unknown(error)]


def _failed_before(host: Host, release: str) -> Iterator[Objection]:
    from kexec_hook.state import attempts

    attempt = attempts.failed(host).get(release)
    if attempt is not None:
        yield Objection(
            f"the kexec into {release} on {attempt.when} did not come up",
            "jumps",
            code="failed-before",
            fix=f"kexec-hook ack {release}",
        )


def _untried(host: Host, decision: Decision) -> Iterator[Objection]:
    from kexec_hook.state import attempts

    wanted = decision.settings.require_trial
    if wanted.value and not _asked(host) and not attempts.tried(host):
        yield Objection(
            f"no kexec by `kexec-hook reboot` has come up on this machine yet (require_trial, {wanted.origin})",
            "jumps",
            code="untried",
            fix="kexec-hook reboot",
        )


def _asked(host: Host) -> bool:
    from kexec_hook.state import names

    try:
        with host.state(create=False) as state:
            return state.read(names.ASKED) is not None
    except FileNotFoundError:
        return False


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note]:
    if not sysroot.is_host or not decision.trigger.dry:
        return []
    from kexec_hook.state import attempts
    from kexec_hook.system.directory import StateError, StateNotPermitted

    try:
        attempts.failed(_host(decision))
    except StateNotPermitted as error:
        return [Note(_unknown(error).reason, code="attempts-unknown", fix=AS_ROOT)]
    except StateError:
        pass  # an objection
    return []


def _host(decision: Decision) -> Host:
    return Host(decision.sysroot.root, decision.programs, decision.owner, stands_for_host=True)


def _unknown(error: StateError) -> Objection:
    return Objection(
        f"it is not known whether the last kexec came up: {error}", "jumps", code="attempts-unknown"
    )
