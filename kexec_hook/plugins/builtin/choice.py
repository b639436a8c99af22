"""What speaks against a choice: the entry itself and how its words came about; and the plugin `checks` as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.grub.commands.refused import describe
from kexec_hook.grub.menu import ENDLESS
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.plugins.builtin import files, sight, unified, unset
from kexec_hook.plugins.builtin.checks import Checks, Notes, ask
from kexec_hook.system.sysroot import Sysroot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kexec_hook.grub.menu import Tried
    from kexec_hook.grub.script.source import Span
    from kexec_hook.grub.values import Loaded, Read
    from kexec_hook.plugins.api import Decision, Evaluation

hookimpl = pluggy.HookimplMarker("kexec_hook")

_LEAVES = {
    "halt": "switches the machine off",
    "reboot": "restarts the machine",
    "exit": "leaves GRUB for the firmware",
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
    if sysroot.is_host:
        # Most runs on a directory need none of them.
        from kexec_hook.plugins.builtin import firmware, host, trust

        found += _named("machine", host.objections(decision))
        found += _named("firmware", firmware.objections(decision))
        found += _named("trust", trust.objections(decision))
    return found


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[str | Note]:
    found: list[str | Note] = list(ask(NOTES, decision))
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import host

        found += host.notes(decision)
    return [*found, *_needs_root(decision)]


def _named(by: str, reasons: Iterable[str | Objection]) -> list[Objection]:
    return [
        reason._replace(by=by) if isinstance(reason, Objection) else Objection(reason, by)
        for reason in reasons
    ]


def title(evaluation: Evaluation) -> str:
    """The entry in question as the user knows it."""
    default = evaluation.default
    return f"«{' > '.join(default.titles)}»" if default else "GRUB's default entry"


def _no_menu(decision: Decision, evaluation: Evaluation) -> Iterator[str | Objection]:
    result, path = evaluation.result, evaluation.config.path
    if result.default or result.ended == "no such entry" or sight.is_blind(evaluation):
        return
    if result.ended == "no menu" and evaluation.machine.bls_nowhere:
        yield from sight.no_snippets(evaluation, "GRUB has no entry to boot")
    elif result.ended == "no menu":
        first = next(
            (f" ({found.message}, {found.span})" for found in decision.problems if found.span), ""
        )
        yield f"{path} makes no menu entry, so GRUB would wait at its prompt{first}; run update-grub"
    elif result.ended == "missing":
        yield f"{path} cannot be read; run kexec-hook as root, or make it with update-grub"
    elif result.ended == "boot":
        yield f"{path} boots without a menu, which is not followed; put that into a menuentry"
    else:
        what = _LEAVES.get(result.ended, "leaves GRUB")
        yield f"{path} ends before a menu, as `{result.ended}` {what}; put that into a menuentry"


def _entry(decision: Decision, evaluation: Evaluation) -> Iterator[str | Objection]:
    """The default entry itself has to boot Linux; GRUB's fallback is not followed."""
    default, loaded = evaluation.default, evaluation.machine.loaded
    if default is None:
        return
    named, how = title(evaluation), default.outcome.how
    if how == "password":
        yield (
            f"{named} needs a password in GRUB, so it does not boot unattended; "
            "give it --unrestricted, or choose another entry with grub-set-default"
        )
    elif how in _LEAVES and evaluation.machine.bls_nowhere:
        yield from sight.no_snippets(evaluation, f"{named} {_LEAVES[how]}")
    elif how in _LEAVES:
        yield f"{named} {_LEAVES[how]} ({how}) and boots no Linux; choose another entry with grub-set-default"
    elif how != "boot" and sight.is_blind(evaluation):
        return
    elif how != "boot" and (link := sight.link_off(decision, evaluation)):
        yield (
            f"{named} does not boot in GRUB: {link} is a symbolic link that leads nowhere on its own file system, "
            "and GRUB follows it there only; name the file that it stands for"
        )
    elif how != "boot":
        why = _failure(decision, default)
        yield f"{named} does not boot in GRUB: {why}; choose another entry, or run update-grub"
    elif decision.plan is not None:
        yield from unified.objections(decision, evaluation)
    elif image := sight.unified_image(decision, loaded):
        yield (
            f"{named} starts {image}, a unified kernel image, by `chainloader`, which cannot be read or is damaged"
        )
    elif loaded is not None and loaded.kind != "linux":
        what = f"{describe(loaded.kind)} ({loaded.kind})"
        yield f"{named} starts {what}, not Linux; choose another entry with grub-set-default"
    elif loaded is not None and decision.plan is None:
        why = _unreachable(decision, loaded)
        yield f"{named} is out of reach: {why}; mount what it is on, or run update-grub"


def _failure(decision: Decision, default: Tried) -> str:
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
        return f"{problem.message} ({span})"
    if default.outcome.how == "menu":
        return "it leads to a menu that boots nothing by itself"
    return "it loads no kernel"


def _within(entry: Span, span: Span) -> bool:
    """Body sources are cut from the file, so that lines, not offsets, are compared."""
    first, last = entry.line, entry.source.number(max(entry.start, entry.end - 1))
    return first <= span.line <= last


def _initrds(decision: Decision, evaluation: Evaluation) -> Iterator[str]:
    """GRUB boots without an initrd that it could not load; the machine then does not find its root."""
    machine, default = evaluation.machine, evaluation.default
    loaded = _linux(evaluation)
    if loaded is None or default is None or sight.is_blind(evaluation):
        return
    wanted = [words for words in machine.executed if words[0].startswith("initrd")]
    if not wanted:
        return
    if loaded.initrd_call is None:
        which = "its initrd"
    elif wanted[-1][1:] != loaded.initrd_call.args:
        which = "its last initrd"
    else:
        return
    why = _failure(decision, default)
    yield f"{title(evaluation)} would lack {which}: {why}; make it with update-initramfs or dracut"


def _linux(evaluation: Evaluation) -> Loaded | None:
    """The Linux that GRUB boots in the end; None where it boots something else, or nothing."""
    loaded = evaluation.machine.loaded
    if loaded is None or not evaluation.result.booted or loaded.kind != "linux":
        return None
    return loaded


def _unreachable(decision: Decision, loaded: Loaded) -> str:
    for path in filter(None, (loaded.path, *(initrd.path for initrd in loaded.initrds))):
        why = decision.disks.why_missing(path)
        if why:
            return why
    return "its files are on no mounted file system"


def _refused(decision: Decision, evaluation: Evaluation) -> Iterator[str]:
    for refusal in evaluation.machine.refusals:
        yield f"{refusal.reason} ({refusal.span}), which a kexec cannot bring about; choose another entry"


def _unset_words(decision: Decision, evaluation: Evaluation) -> Iterator[str]:
    """A path or root= that an unset variable left empty is no accident that kexec should repeat."""
    loaded = _linux(evaluation)
    if loaded is None:
        return
    calls = filter(None, (loaded.call, loaded.initrd_call))
    built = [
        (built.word if built.hole.in_root else f"the path {built.word}", built.hole.name, call.span)
        for call in calls
        for built in unset.bad_words(call)
    ]
    built += [
        (word, hole.name, read.span)
        for word, read in _in_snippet(evaluation)
        for hole in unset.holes(read, (), [word])
        if hole.in_root
    ]
    for word, name, span in built:
        yield f"{word} was built from ${name}, which is not set ({span}); set it, or correct the entry"


def _in_snippet(evaluation: Evaluation) -> Iterator[tuple[str, Read]]:
    """The variables that blscfg found written in the default's snippet, each with its word up to there."""
    entry = evaluation.default.entries[-1] if evaluation.default else None
    for read in entry.reads if entry and entry.span.source.name.endswith(".conf") else ():
        source, start, end = read.span
        if (
            source.text[start:end] == f"${read.name}"
        ):  # not $early_initrd and its like, which stand nowhere
            yield source.text[:end].split()[-1], read


CHECKS: Checks = (
    _no_menu,
    _entry,
    _initrds,
    sight.menu_asked_for,
    _refused,
    sight.unknown,
    _unset_words,
)


def _assumed(decision: Decision) -> Iterator[str]:
    yield from decision.disks.assumed
    loaded = decision.evaluation.machine.loaded if decision.evaluation else None
    if loaded is None or loaded.path is None:
        return
    device = decision.disks.device(loaded.path.device)
    if device and device.assumed and f"({device.name})" in loaded.kcmdline:
        yield f"GRUB's name for the disk is a guess: ({device.name}), {device.assumed}"


def _denied(decision: Decision) -> Iterator[str]:
    for path in decision.sysroot.denied:
        yield f"{path} could not be read with the rights of this user"


def _needs_root(decision: Decision) -> Iterator[Note]:
    """What the machine would say of itself to root; asked last, since all checks and notes add to it."""
    hidden = decision.sysroot.unnoted.denied
    if hidden:
        yield Note(
            f"some checks need root, which may read {', '.join(hidden)}",
            "needs-root",
            "sudo kexec-hook stage --dry-run",
        )


def _waits(decision: Decision) -> Iterator[str]:
    if decision.evaluation is None or not decision.evaluation.menu.menu:
        return
    from kexec_hook.grub.errors import CommandError
    from kexec_hook.grub.numbers import as_int, strtoul

    try:
        waits = as_int(strtoul(decision.evaluation.menu.get("timeout") or "")[0]) < 0
    except CommandError:
        waits = True
    if waits:
        yield "GRUB would wait at its menu for ever (no timeout is set); a kexec does not"


def _unset(decision: Decision) -> Iterator[str]:
    evaluation = decision.evaluation
    if evaluation is None or evaluation.machine.loaded is None:
        return
    loaded = evaluation.machine.loaded
    snippet = (read for _, read in _in_snippet(evaluation))
    for read in (*loaded.call.reads, *snippet):
        if read.binding is None:
            yield f"${read.name} is not set and adds nothing to the command line ({read.span})"
    for word in unset.dropped_words(loaded.initrd_call) if loaded.initrd_call else ():
        yield f"${word.hole.name} is not set and adds no initrd ({word.span})"


def _fallbacks(decision: Decision) -> Iterator[str]:
    tried = decision.evaluation.result.tried if decision.evaluation else []
    if len(tried) > 1:
        yield f"GRUB's fallback would then try «{tried[-1].entries[-1].title}»"


NOTES: Notes = (_assumed, _denied, _waits, _unset, _fallbacks)
