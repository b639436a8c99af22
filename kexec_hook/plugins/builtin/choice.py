"""What speaks against a choice: the entry itself and how its words came about; and the plugin `checks` as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from kexec_hook.grub.commands.refused import describe
from kexec_hook.plugins.api import Objection, Run
from kexec_hook.plugins.builtin import files
from kexec_hook.system.sysroot import Sysroot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kexec_hook.grub.menu import Result
    from kexec_hook.grub.values import Binding, Call, Read

hookimpl = pluggy.HookimplMarker("kexec_hook")

_LEAVES = {
    "halt": "switches the machine off",
    "reboot": "restarts the machine",
    "exit": "leaves GRUB for the firmware",
    "fwsetup": "opens the firmware's setup",
}


@hookimpl
def kexec_hook_objections(run: Run, sysroot: Sysroot) -> list[Objection]:
    """About the choice always, about the machine only where the root is that of the running one."""
    found = _named("checks", (reason for check in CHECKS for reason in check(run)) if run.result else ())
    found += _named("files", files.objections(run))
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import (
            firmware,  # most runs on a directory need none of them
            trust,
        )
        from kexec_hook.plugins.builtin import host as machine

        found += _named("machine", machine.objections(run))
        found += _named("firmware", firmware.objections(run))
        found += _named("trust", trust.objections(run))
    return found


@hookimpl
def kexec_hook_notes(run: Run, sysroot: Sysroot) -> list[str]:
    found = [note for notes in NOTES for note in notes(run)]
    if sysroot.is_host:
        from kexec_hook.plugins.builtin import host as machine

        found += machine.notes(run)
    return found


def _named(by: str, reasons: Iterable[str | Objection]) -> list[Objection]:
    return [reason._replace(by=by) if isinstance(reason, Objection) else Objection(reason, by) for reason in reasons]


def title(run: Run) -> str:
    """The entry in question as the user knows it."""
    default = run.result.default if run.result else None
    return f"«{' > '.join(entry.title for entry in default.entries)}»" if default else "GRUB's default entry"


def _no_menu(run: Run) -> Iterator[str]:
    result = _result(run)
    assert run.config is not None
    if result.default or result.ended == "no such entry":
        return
    if result.ended == "no menu":
        first = next((f" ({found.message}, {found.span})" for found in run.problems if found.span), "")
        yield f"{run.config.path} makes no menu entry, so GRUB would wait at its prompt{first}; run update-grub"
    elif result.ended == "missing":
        yield f"{run.config.path} cannot be read; run kexec-hook as root, or make it with update-grub"
    elif result.ended == "boot":
        yield f"{run.config.path} boots without a menu, which is not followed; put that into a menuentry"
    else:
        what = _LEAVES.get(result.ended, "leaves GRUB")
        yield f"{run.config.path} ends before a menu, as `{result.ended}` {what}; put that into a menuentry"


def _entry(run: Run) -> Iterator[str]:
    """The default entry itself has to boot Linux; GRUB's fallback is not followed."""
    result = _result(run)
    default, machine = result.default, run.machine
    if default is None or machine is None:
        return
    how = default.outcome.how
    loaded = machine.loaded
    if how == "password":
        yield (
            f"{title(run)} needs a password in GRUB, so it does not boot unattended; "
            "give it --unrestricted, or choose another entry with grub-set-default"
        )
    elif how in _LEAVES:
        yield f"{title(run)} {_LEAVES[how]} ({how}) and boots no Linux; choose another entry with grub-set-default"
    elif how == "boot" and loaded is not None and loaded.kind != "linux":
        what = f"{describe(loaded.kind)} ({loaded.kind})"
        yield f"{title(run)} starts {what}, not Linux; choose another entry with grub-set-default"
    elif how != "boot":
        yield f"{title(run)} does not boot in GRUB: {_failure(run)}; choose another entry, or run update-grub"
        return
    if how == "boot" and loaded is not None and loaded.kind == "linux" and run.plan is None:
        yield f"{title(run)} is out of reach: {_unreachable(run)}; mount what it is on, or run update-grub"


def _result(run: Run) -> Result:
    assert run.result is not None
    return run.result


def _failure(run: Run) -> str:
    """The first error of the default entry that explains why nothing boots."""
    from kexec_hook.grub.errors import FILE_NOT_FOUND, UNKNOWN_DEVICE

    default = _result(run).default
    assert default is not None
    inside = [problem for problem in run.problems if problem.span and problem.span.source is not None]
    names = {entry.span.source.name for entry in default.entries}
    inside = [p for p in inside if p.span and p.span.source.name in names and _within(default.entries[-1].span, p.span)]
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


def _initrds(run: Run) -> Iterator[str]:
    """GRUB boots without an initrd that it could not load; the machine then does not find its root."""
    machine, result = run.machine, _result(run)
    if machine is None or machine.loaded is None or not result.booted or machine.loaded.kind != "linux":
        return
    wanted = [words for words in machine.executed if words[0].startswith("initrd")]
    if wanted and machine.loaded.initrd_call is None:
        yield f"{title(run)} would lack its initrd: {_failure(run)}; make it with update-initramfs or dracut"
    elif wanted and wanted[-1][1:] != machine.loaded.initrd_call.args:  # type: ignore[union-attr]
        yield f"{title(run)} would lack its last initrd: {_failure(run)}; make it with update-initramfs or dracut"


def _unreachable(run: Run) -> str:
    machine, disks = run.machine, run.disks
    assert machine is not None
    assert machine.loaded is not None
    assert disks is not None
    loaded = machine.loaded
    for path in filter(None, (loaded.path, *(initrd.path for initrd in loaded.initrds))):
        why = disks.why_missing(path)
        if why:
            return why
    return "its files are on no mounted file system"


def _refused(run: Run) -> Iterator[str]:
    machine = run.machine
    if machine is None:
        return
    for refusal in machine.refusals:
        yield f"{refusal.reason} ({refusal.span}), which a kexec cannot bring about; choose another entry"
    for guess in machine.guesses:
        yield f"what GRUB boots cannot be known: {guess.reason} ({guess.span}); take that out of the configuration"


def _unset_words(run: Run) -> Iterator[str]:
    """A path or root= that an unset variable left empty is no accident that kexec should repeat."""
    machine, result = run.machine, _result(run)
    if machine is None or machine.loaded is None or machine.loaded.kind != "linux" or not result.booted:
        return
    calls = filter(None, (machine.loaded.call, machine.loaded.initrd_call))
    built = [(word, name, call.span) for call in calls for word, name in _built_from_unset(call)]
    for word, read in _in_snippet(run):
        name = unset_behind(read)
        if word.startswith("root=") and name:
            built.append((word, name, read.span))
    for word, name, span in built:
        yield f"{word} was built from ${name}, which is not set ({span}); set it, or correct the entry"


def _in_snippet(run: Run) -> Iterator[tuple[str, Read]]:
    """The variables that blscfg found written in the default's snippet, each with its word up to there."""
    default = run.result.default if run.result else None
    entry = default.entries[-1] if default else None
    for read in entry.reads if entry and entry.span.source.name.endswith(".conf") else ():
        source, start, end = read.span
        if source.text[start:end] == f"${read.name}":  # not $early_initrd and its like, which stand nowhere
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


def _assumed(run: Run) -> Iterator[str]:
    if run.disks is None:
        return
    yield from run.disks.assumed
    machine = run.machine
    if machine and machine.loaded and machine.loaded.path:
        device = run.disks.device(machine.loaded.path.device)
        if device and device.assumed and f"({device.name})" in machine.loaded.kcmdline:
            yield f"GRUB's name for the disk is a guess: ({device.name}), {device.assumed}"


def _denied(run: Run) -> Iterator[str]:
    for path in run.sysroot.denied:
        yield f"{path} could not be read with the rights of this user"


def _waits(run: Run) -> Iterator[str]:
    machine = run.menu_machine
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


def _unset(run: Run) -> Iterator[str]:
    machine = run.machine
    if machine is None or machine.loaded is None:
        return
    for read in (*machine.loaded.call.reads, *(read for _, read in _in_snippet(run))):
        if read.binding is None:
            yield f"${read.name} is not set and adds nothing to the command line ({read.span})"


def _fallbacks(run: Run) -> Iterator[str]:
    result = run.result
    if result and len(result.tried) > 1:
        last = result.tried[-1]
        yield f"GRUB's fallback would then try «{last.entries[-1].title}»"


NOTES = (_assumed, _denied, _waits, _unset, _fallbacks)
