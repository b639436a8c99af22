"""Objections to the entry itself and to how its words came about; and the plugin `checks` as a whole."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.grub.commands.refused import describe
from kexec_hook.grub.menu import ENDLESS
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.plugins.builtin import files, sight, tpm, unset
from kexec_hook.plugins.builtin.checks import Checks, Notes, ask
from kexec_hook.plugins.builtin.fixes import AS_ROOT, another_entry, correct_entry, remake_initrd
from kexec_hook.system.distribution import Distribution
from kexec_hook.system.sysroot import Sysroot
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kexec_hook.grub.menu import Tried
    from kexec_hook.grub.script.source import Span
    from kexec_hook.grub.values import Loaded
    from kexec_hook.plugins.api import Decision, Evaluation

hookimpl = pluggy.HookimplMarker("kexec_hook")

_NAME_THE_FILE = "name the file that it stands for"
_LEAVES = {
    "halt": "switches the machine off",
    "reboot": "restarts the machine",
    "exit": "returns to the firmware",
    "fwsetup": "opens the firmware's setup",
}


@hookimpl
def kexec_hook_objections(decision: Decision, sysroot: Sysroot) -> list[Objection]:
    """About the choice always, about the machine only where the root is that of the running one."""
    evaluation = decision.evaluation
    found: list[Objection] = []
    if evaluation is not None and evaluation.result.ended != ENDLESS:
        found = _named("checks", ask(CHECKS, decision, evaluation))
    found += _named("files", files.objections(decision))
    found += _named("files", ask((tpm.objections,), decision))
    if sysroot.is_host:
        # Most runs on a directory need none of them.
        from kexec_hook.plugins.builtin import host, trust, underway

        on_machine = (*host.objections(decision), *underway.objections(decision))
        found += _named("machine", on_machine)
        found += _named("firmware", _revoked(decision))
        found += _named("trust", trust.objections(decision))
    if sysroot.is_host or decision.disks.is_efi:
        from kexec_hook.plugins.builtin import firmware

        found += _named("firmware", firmware.objections(decision))
    return found


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[Note]:
    found = list(ask(NOTES, decision))
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import host

        found += host.notes(decision)
        if decision.disks.is_efi:
            from kexec_hook.plugins.builtin import revoked

            found += revoked.notes(decision)
    return [*found, *_needs_root(decision)]


def _revoked(decision: Decision) -> list[Objection]:
    if not decision.disks.is_efi:
        return []
    from kexec_hook.plugins.builtin import revoked

    return list(ask((revoked.objections,), decision))


def _named(by: str, reasons: Iterable[Objection]) -> list[Objection]:
    return [reason._replace(by=by) for reason in reasons]


def title(evaluation: Evaluation) -> str:
    """The entry in question as the user knows it."""
    default = evaluation.default
    return f"«{' > '.join(default.titles)}»" if default else "GRUB's default entry"


def _no_menu(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    result, path = evaluation.result, evaluation.config.path
    if result.default or result.ended == "no such entry" or sight.is_blind(evaluation):
        return
    commands = Distribution(decision.sysroot)
    into_entry = "put its commands into a menuentry"
    if result.ended == "no menu" and evaluation.machine.bls_nowhere:
        yield from sight.no_snippets(evaluation, "GRUB has no entry to boot")
    elif result.ended == "no menu":
        first = next(
            (f" ({found.message}, {found.span})" for found in decision.problems if found.span), ""
        )
        yield Objection(
            f"{path} has no menu entry, so GRUB would stop at its prompt{first}",
            code="no-entry",
            fix=commands.correct_config(path),
        )
    elif result.ended == "missing":
        fix = commands.make_config if commands.is_own_config(path) else ""
        yield Objection(f"{path} cannot be read", code="config-unreadable", fix=fix)
    elif result.ended == "boot":
        yield Objection(
            f"{path} boots without showing a menu, which kexec-hook does not follow",
            code="boots-without-menu",
            fix=into_entry,
        )
    elif result.ended == "menu":
        why = "its menus lead to one another without end"
        yield Objection(
            f"GRUB cannot boot {title(evaluation)}: {why}",
            code="entry-fails",
            fix=commands.correct_config(path),
        )
    else:
        what = _LEAVES.get(result.ended, "leaves GRUB")
        yield Objection(
            f"{path} shows no menu: its command `{result.ended}` {what}",
            code="leaves-without-menu",
            fix=into_entry,
        )


def _entry(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """The default entry itself has to boot Linux; GRUB's fallback is not followed."""
    default = evaluation.default
    if default is None:
        return
    named, how = title(evaluation), default.outcome.how
    if how == "password":
        yield Objection(
            f"{named} needs a GRUB password, so it does not boot unattended",
            code="needs-password",
            fix=_without_password(decision, default),
        )
    elif how in _LEAVES and evaluation.machine.bls_nowhere:
        yield from sight.no_snippets(evaluation, f"{named} {_LEAVES[how]}")
    elif how in _LEAVES:
        yield Objection(
            f"{named} does not boot Linux: its command `{how}` {_LEAVES[how]}",
            code="not-linux",
            fix=another_entry(decision),
        )
    elif how != "boot" and sight.is_blind(evaluation):
        return
    elif how != "boot" and evaluation.machine.bls_nowhere and not sight.asks_for_linux(evaluation):
        yield from sight.no_snippets(evaluation, f"{named} boots nothing")
    elif how != "boot":
        yield _does_not_boot(decision, evaluation, default)
    else:
        yield from _no_linux(decision, evaluation, named)


def _no_linux(decision: Decision, evaluation: Evaluation, named: str) -> Iterator[Objection]:
    """What an entry starts must be Linux, in files that can be reached."""
    loaded = evaluation.machine.loaded
    if loaded is None:
        return
    if decision.plan is not None:
        if loaded.kind != "linux":
            from kexec_hook.plugins.builtin import unified  # few entries are one

            yield from unified.objections(decision, evaluation)
    elif image := sight.unified_image(decision, loaded):
        yield Objection(
            f"{named} starts {image}, a unified kernel image that cannot be read or is damaged",
            code="uki-damaged",
            fix=another_entry(decision),
        )
    elif loaded.kind != "linux":
        what = f"{describe(loaded.kind)} ({loaded.kind})"
        yield Objection(
            f"{named} starts {what}, not Linux", code="not-linux", fix=another_entry(decision)
        )
    else:
        yield Objection(
            f"the files of {named} cannot be reached: {_unreachable(decision, loaded)}",
            code="files-unreachable",
            fix="mount the file system that holds them",
        )


def _without_password(decision: Decision, default: Tried) -> str:
    span = default.entries[-1].span
    if span.source.name.endswith(".conf"):
        return f"take grub_users out of {span.source.name}"
    commands = Distribution(decision.sysroot)
    if commands.generates_config:
        return f"add --unrestricted to CLASS in /etc/grub.d/10_linux, then run `{commands.make_config}`"
    return f"add --unrestricted to the menuentry at {span}"


def _does_not_boot(decision: Decision, evaluation: Evaluation, default: Tried) -> Objection:
    named = title(evaluation)
    link = sight.link_off(decision, evaluation)
    if link:
        return Objection(
            f"GRUB cannot boot {named}: {link} is a symbolic link that leads nowhere on its own file system, "
            "and GRUB follows it only there",
            code="broken-link",
            fix=_NAME_THE_FILE,
        )
    failure = _failure(decision, default)
    fix = correct_entry(decision, failure.span or default.entries[-1].span)
    if failure.missing and failure.command.startswith("linux"):
        return Objection(
            f"GRUB cannot load the kernel of {named}: {failure.why}", code="kernel-missing", fix=fix
        )
    return Objection(f"GRUB cannot boot {named}: {failure.why}", code="entry-fails", fix=fix)


class _Failure(NamedTuple):
    """Why an entry does not boot, or lacks a file."""

    why: str
    span: Span | None = None
    command: str = ""  # the name of the command that failed
    missing: bool = False  # its file, or the device it names, was not found


def _failure(decision: Decision, default: Tried) -> _Failure:
    """The first error of the default entry that explains why nothing boots."""
    from kexec_hook.grub.errors import FILE_NOT_FOUND, UNKNOWN_DEVICE

    names = {entry.span.source.name for entry in default.entries}
    inside = [
        (problem, problem.span)
        for problem in decision.problems
        if problem.span
        and problem.span.source.name in names
        and _within(default.entries[-1].span, problem.span)
    ]
    fatal = [item for item in inside if item[0].errno in (FILE_NOT_FOUND, UNKNOWN_DEVICE)]
    if fatal or inside:
        problem, span = (fatal or inside)[-1]
        line = span.source.line(span.start)[0].split()
        return _Failure(f"{problem.message} ({span})", span, line[0] if line else "", bool(fatal))
    if default.outcome.how == "menu":
        return _Failure("it leads to a menu that boots nothing by itself")
    return _Failure("it loads no kernel")


def _within(entry: Span, span: Span) -> bool:
    """Body sources are cut from the file, so that lines, not offsets, are compared."""
    first, last = entry.line, entry.source.number(max(entry.start, entry.end - 1))
    return first <= span.line <= last


def _initrds(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """GRUB boots without an initrd that it could not load; the machine then does not find its root."""
    default = evaluation.default
    loaded = sight.booted_linux(evaluation)
    if loaded is None or default is None or sight.is_blind(evaluation):
        return
    wanted = sight.initrds_wanted(evaluation)
    if not wanted:
        return
    if loaded.initrd_call is None:
        which = "initrd"
    elif wanted[-1][1:] != loaded.initrd_call.args:
        which = "last initrd"
    else:
        return
    failure = _failure(decision, default)
    path = next((word for word in wanted[-1][1:] if word and word in failure.why), "")
    link = sight.broken_link(decision, evaluation, path) if path else ""
    if link:
        yield Objection(
            f"GRUB cannot load the {which} of {title(evaluation)}: {link} is a symbolic link that leads nowhere "
            "on its own file system, and GRUB follows it only there",
            code="broken-link",
            fix=_NAME_THE_FILE,
        )
        return
    if failure.missing and path:
        fix = remake_initrd(decision, path, new=True)
    else:
        fix = correct_entry(decision, failure.span)
    yield Objection(
        f"GRUB cannot load the {which} of {title(evaluation)}: {failure.why}",
        code="initrd-missing",
        fix=fix,
    )


def _unreachable(decision: Decision, loaded: Loaded) -> str:
    for path in filter(None, (loaded.path, *(initrd.path for initrd in loaded.initrds))):
        why = decision.disks.why_missing(path)
        if why:
            return why
    return "its files are on no mounted file system"


def _refused(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    for refusal in evaluation.machine.refusals:
        yield Objection(
            f"{refusal.reason} ({refusal.span}), and a kexec cannot do the same",
            code="only-grub-can",
            fix=another_entry(decision),
        )


CHECKS: Checks = (
    _no_menu,
    _entry,
    _initrds,
    sight.menu_asked_for,
    _refused,
    sight.unknown,
    unset.objections,
)


def _assumed(decision: Decision) -> Iterator[Note]:
    for text in decision.disks.assumed:
        yield Note(text, "assumed-disk")
    loaded = decision.evaluation.machine.loaded if decision.evaluation else None
    if loaded is None or loaded.path is None:
        return
    device = decision.disks.device(loaded.path.device)
    if device and device.assumed and f"({device.name})" in loaded.kcmdline:
        yield Note(
            f"GRUB's name for the disk is assumed to be ({device.name}): {device.assumed}",
            code="assumed-disk",
        )


def _denied(decision: Decision) -> Iterator[Note]:
    for path in decision.sysroot.denied:
        yield Note(f"{path} is not readable by this user", code="needs-root", fix=AS_ROOT)


def _needs_root(decision: Decision) -> Iterator[Note]:
    """What the machine would say of itself to root; asked last, since all checks and notes add to it."""
    hidden = decision.sysroot.unnoted.denied
    if hidden:
        yield Note(
            f"some checks need root, to read {', '.join(hidden)}",
            code="needs-root",
            fix=AS_ROOT,
        )


def _waits(decision: Decision) -> Iterator[Note]:
    if decision.evaluation is None or not decision.evaluation.menu.menu:
        return
    from kexec_hook.grub.errors import CommandError
    from kexec_hook.grub.numbers import as_int, strtoul

    try:
        waits = as_int(strtoul(decision.evaluation.menu.get("timeout") or "")[0]) < 0
    except CommandError:
        waits = True
    if waits:
        yield Note(
            "GRUB's menu has no timeout, so GRUB would wait there; a kexec does not wait",
            code="menu-waits",
        )


def _fallbacks(decision: Decision) -> Iterator[Note]:
    tried = decision.evaluation.result.tried if decision.evaluation else []
    if len(tried) > 1:
        yield Note(
            f"GRUB would then try its fallback, «{tried[-1].entries[-1].title}»", code="fallback"
        )


NOTES: Notes = (_assumed, _denied, _waits, unset.notes, _fallbacks)
