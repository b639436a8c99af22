"""What speaks against a choice: the entry itself and how its words came about; and the plugin `checks` as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.grub.commands.refused import describe
from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin import files
from kexec_hook.system.sysroot import Sysroot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kexec_hook.grub.menu import BootResult
    from kexec_hook.grub.values import Binding, Call, Read

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
    found = _named(
        "checks",
        (reason for check in CHECKS for reason in check(decision)) if decision.result else (),
    )
    found += _named("files", files.objections(decision))
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import (
            firmware,  # most runs on a directory need none of them
            trust,
        )
        from kexec_hook.plugins.builtin import host as machine

        found += _named("machine", machine.objections(decision))
        found += _named("firmware", firmware.objections(decision))
        found += _named("trust", trust.objections(decision))
    return found


@hookimpl
def kexec_hook_notes(decision: Decision, sysroot: Sysroot) -> list[str | Note]:
    found: list[str | Note] = [note for notes in NOTES for note in notes(decision)]
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import host as machine

        found += machine.notes(decision)
    return found


def _named(by: str, reasons: Iterable[str | Objection]) -> list[Objection]:
    return [
        reason._replace(by=by) if isinstance(reason, Objection) else Objection(reason, by)
        for reason in reasons
    ]


def title(decision: Decision) -> str:
    """The entry in question as the user knows it."""
    default = decision.result.default if decision.result else None
    return (
        f"«{' > '.join(entry.title for entry in default.entries)}»"
        if default
        else "GRUB's default entry"
    )


def _no_menu(decision: Decision) -> Iterator[str]:
    result = _result(decision)
    assert decision.config is not None
    if result.default or result.ended == "no such entry":
        return
    if result.ended == "no menu":
        first = next(
            (f" ({found.message}, {found.span})" for found in decision.problems if found.span), ""
        )
        yield f"{decision.config.path} makes no menu entry, so GRUB would wait at its prompt{first}; run update-grub"
    elif result.ended == "missing":
        yield f"{decision.config.path} cannot be read; run kexec-hook as root, or make it with update-grub"
    elif result.ended == "boot":
        yield f"{decision.config.path} boots without a menu, which is not followed; put that into a menuentry"
    else:
        what = _LEAVES.get(result.ended, "leaves GRUB")
        yield f"{decision.config.path} ends before a menu, as `{result.ended}` {what}; put that into a menuentry"


def _entry(decision: Decision) -> Iterator[str]:
    """The default entry itself has to boot Linux; GRUB's fallback is not followed."""
    result = _result(decision)
    default, machine = result.default, decision.machine
    if default is None or machine is None:
        return
    how = default.outcome.how
    loaded = machine.loaded
    if how == "password":
        yield (
            f"{title(decision)} needs a password in GRUB, so it does not boot unattended; "
            "give it --unrestricted, or choose another entry with grub-set-default"
        )
    elif how in _LEAVES:
        yield f"{title(decision)} {_LEAVES[how]} ({how}) and boots no Linux; choose another entry with grub-set-default"
    elif how == "boot" and loaded is not None and loaded.kind != "linux":
        what = f"{describe(loaded.kind)} ({loaded.kind})"
        yield f"{title(decision)} starts {what}, not Linux; choose another entry with grub-set-default"
    elif how != "boot":
        yield f"{title(decision)} does not boot in GRUB: {_failure(decision)}; choose another entry, or run update-grub"
        return
    if how == "boot" and loaded is not None and loaded.kind == "linux" and decision.plan is None:
        yield f"{title(decision)} is out of reach: {_unreachable(decision)}; mount what it is on, or run update-grub"


def _result(decision: Decision) -> BootResult:
    assert decision.result is not None
    return decision.result


def _failure(decision: Decision) -> str:
    """The first error of the default entry that explains why nothing boots."""
    from kexec_hook.grub.errors import FILE_NOT_FOUND, UNKNOWN_DEVICE

    default = _result(decision).default
    assert default is not None
    inside = [
        problem for problem in decision.problems if problem.span and problem.span.source is not None
    ]
    names = {entry.span.source.name for entry in default.entries}
    inside = [
        p
        for p in inside
        if p.span and p.span.source.name in names and _within(default.entries[-1].span, p.span)
    ]
    fatal = [p for p in inside if p.errno in (FILE_NOT_FOUND, UNKNOWN_DEVICE)] or inside
    if fatal:
        return f"{fatal[-1].message} ({fatal[-1].span})"
    if default.outcome.how == "menu":
        return "it leads to a menu that boots nothing by itself"
    return "it loads no kernel"


def _within(entry: object, span: object) -> bool:
    """Body sources are cut from the file, so that lines, not offsets, are compared."""
    from kexec_hook.grub.script.source import Span

    assert isinstance(entry, Span)
    assert isinstance(span, Span)
    first, last = entry.line, entry.source.number(max(entry.start, entry.end - 1))
    return first <= span.line <= last


def _initrds(decision: Decision) -> Iterator[str]:
    """GRUB boots without an initrd that it could not load; the machine then does not find its root."""
    machine, result = decision.machine, _result(decision)
    if (
        machine is None
        or machine.loaded is None
        or not result.booted
        or machine.loaded.kind != "linux"
    ):
        return
    wanted = [words for words in machine.executed if words[0].startswith("initrd")]
    if wanted and machine.loaded.initrd_call is None:
        yield f"{title(decision)} would lack its initrd: {_failure(decision)}; make it with update-initramfs or dracut"
    elif wanted and wanted[-1][1:] != machine.loaded.initrd_call.args:  # type: ignore[union-attr]
        why = _failure(decision)
        yield f"{title(decision)} would lack its last initrd: {why}; make it with update-initramfs or dracut"


def _unreachable(decision: Decision) -> str:
    machine, disks = decision.machine, decision.disks
    assert machine is not None
    assert machine.loaded is not None
    assert disks is not None
    loaded = machine.loaded
    for path in filter(None, (loaded.path, *(initrd.path for initrd in loaded.initrds))):
        why = disks.why_missing(path)
        if why:
            return why
    return "its files are on no mounted file system"


def _refused(decision: Decision) -> Iterator[str]:
    machine = decision.machine
    if machine is None:
        return
    for refusal in machine.refusals:
        yield f"{refusal.reason} ({refusal.span}), which a kexec cannot bring about; choose another entry"
    for guess in machine.guesses:
        yield f"what GRUB boots cannot be known: {guess.reason} ({guess.span}); take that out of the configuration"


def _unset_words(decision: Decision) -> Iterator[str]:
    """A path or root= that an unset variable left empty is no accident that kexec should repeat."""
    machine, result = decision.machine, _result(decision)
    if (
        machine is None
        or machine.loaded is None
        or machine.loaded.kind != "linux"
        or not result.booted
    ):
        return
    calls = filter(None, (machine.loaded.call, machine.loaded.initrd_call))
    built = [(word, name, call.span) for call in calls for word, name in _built_from_unset(call)]
    for word, read in _in_snippet(decision):
        name = unset_behind(read)
        if word.startswith("root=") and name:
            built.append((word, name, read.span))
    for word, name, span in built:
        yield f"{word} was built from ${name}, which is not set ({span}); set it, or correct the entry"


def _in_snippet(decision: Decision) -> Iterator[tuple[str, Read]]:
    """The variables that blscfg found written in the default's snippet, each with its word up to there."""
    default = decision.result.default if decision.result else None
    entry = default.entries[-1] if default else None
    for read in entry.reads if entry and entry.span.source.name.endswith(".conf") else ():
        source, start, end = read.span
        if (
            source.text[start:end] == f"${read.name}"
        ):  # not $early_initrd and its like, which stand nowhere
            yield source.text[:end].split()[-1], read


def _built_from_unset(call: Call) -> Iterator[tuple[str, str]]:
    from kexec_hook.grub.commands.boot import LINUX

    words = call.command.words
    for number in range(len(words.words) - call.offset):
        span = words.span(number + call.offset)
        written = span.source.text[span.start : span.end]
        path = call.name not in LINUX or number == 0
        if not path and not written.startswith("root="):
            continue
        for read in call.reads:
            if read.span != span:
                continue
            name = unset_behind(read)
            if name:
                yield ("the path " if path else "") + written, name


def unset_behind(read: Read) -> str | None:
    """The unset variable that a value was made from, if any; what a command such as search answers counts as set."""
    binding: Binding | None = read.binding
    if binding is None:
        return read.name
    if binding.origin is None:
        return None
    command = binding.origin.source.text[binding.origin.start : binding.origin.end].lstrip()
    if not command.startswith(("set ", "set\t")) and "=" not in command.split(None, 1)[0]:
        return None
    return next((name for deeper in binding.via if (name := unset_behind(deeper))), None)


CHECKS = (_no_menu, _entry, _initrds, _refused, _unset_words)


def _assumed(decision: Decision) -> Iterator[str]:
    if decision.disks is None:
        return
    yield from decision.disks.assumed
    machine = decision.machine
    if machine and machine.loaded and machine.loaded.path:
        device = decision.disks.device(machine.loaded.path.device)
        if device and device.assumed and f"({device.name})" in machine.loaded.kcmdline:
            yield f"GRUB's name for the disk is a guess: ({device.name}), {device.assumed}"


def _denied(decision: Decision) -> Iterator[str]:
    for path in decision.sysroot.denied:
        yield f"{path} could not be read with the rights of this user"


def _waits(decision: Decision) -> Iterator[str]:
    machine = decision.menu_machine
    if machine is None or not machine.menu:
        return
    from kexec_hook.grub.errors import CommandError
    from kexec_hook.grub.numbers import as_int, strtoul

    try:
        waits = as_int(strtoul(machine.get("timeout") or "")[0]) < 0
    except CommandError:
        waits = True
    if waits:
        yield "GRUB would wait at its menu for ever (no timeout is set); a kexec does not"


def _unset(decision: Decision) -> Iterator[str]:
    machine = decision.machine
    if machine is None or machine.loaded is None:
        return
    for read in (*machine.loaded.call.reads, *(read for _, read in _in_snippet(decision))):
        if read.binding is None:
            yield f"${read.name} is not set and adds nothing to the command line ({read.span})"


def _fallbacks(decision: Decision) -> Iterator[str]:
    result = decision.result
    if result and len(result.tried) > 1:
        last = result.tried[-1]
        yield f"GRUB's fallback would then try «{last.entries[-1].title}»"


NOTES = (_assumed, _denied, _waits, _unset, _fallbacks)
