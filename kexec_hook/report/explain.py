"""A finished run as text for people or as data for programs; decides nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kexec_hook.decision.decide import env_blocks
from kexec_hook.grub.menu import Choice
from kexec_hook.grub.script.source import point
from kexec_hook.report.byhand import shell_line
from kexec_hook.report.reasons import fix_of, lines_of, reasons_json
from kexec_hook.report.terminal import Style, safe, write_text

if TYPE_CHECKING:
    from kexec_hook.grub.values import Binding, Problem, Read
    from kexec_hook.plugins.api import Decision

SCHEMA = 1


def stage_json(
    decision: Decision, outcome: str, commands: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """The answer of `stage --json`; docs/json.md describes it."""
    plan = decision.plan
    return {
        "schema": SCHEMA,
        "outcome": outcome,
        "entry": entry_json(decision),
        "kernel": plan.kernel if plan else None,
        "initrds": [initrd.path for initrd in plan.initrds] if plan else [],
        "devicetree": plan.devicetree if plan else None,
        "cmdline": plan.cmdline if plan else None,
        "release": plan.release if plan else None,
        "env_writes": env_writes(decision),
        "env_blocks": [
            {"file": block.file, "writes": dict(block.writes)} for block in env_blocks(decision)
        ],
        "commands": [] if decision.objections else [list(argv) for argv in commands],
        "problems": [_problem(problem) for problem in decision.problems],
        **reasons_json(decision),
    }


def entry_json(decision: Decision) -> dict[str, Any] | None:
    default = decision.default
    if default is None:
        return None
    entry = default.entries[-1]
    return {
        "path": default.spec,
        "titles": list(default.titles),
        "id": entry.id,
        "source": str(entry.span),
    }


def env_writes(decision: Decision) -> dict[str, str | None]:
    """What GRUB would write to grubenv on the way; None: the variable is deleted."""
    return {write.name: write.value for write in decision.pending}


def _problem(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "source": str(problem.span) if problem.span else None}


def stage_text(
    decision: Decision,
    outcome: str,
    *,
    verbose: bool = False,
    left: bool = False,
) -> str:
    """What came of a run; `left`: an image is loaded though it was declined."""
    style = Style()
    lines = [_headline(decision, outcome, left, style)]
    lines += [f"  {line}" for line in _facts(decision, style)]
    why = list(_why(decision))
    if why:
        lines += ["", style.key("why")] + [f"  {safe(line)}" for line in why]
    lines += _remarks(decision, style, verbose=verbose)
    return "\n".join(lines)


def _headline(decision: Decision, outcome: str, left: bool, style: Style) -> str:
    what = "a panic" if decision.trigger.panic else "the next reboot"
    if decision.objections:
        reasons = [
            line
            for objection in decision.objections
            for line in lines_of(style.bad("not staged:"), objection.reason, fix_of(objection))
        ]
        so = "Nothing is staged; the next reboot goes through the firmware."
        if decision.trigger.dry or decision.trigger.panic or left:
            so = f"Nothing {'would be' if decision.trigger.dry else 'was'} staged."
        found = " Found:" if decision.default or decision.plan else ""
        return "\n".join((*reasons, f"{so}{found}"))
    said = {
        "would-stage": f"would stage: {what} would be a kexec into",
        "staged": f"staged: {what} is a kexec into",
        "unchanged": f"unchanged: {what} is a kexec into",
    }.get(outcome, outcome)
    return style.good(said)


def _facts(decision: Decision, style: Style) -> Iterator[str]:
    evaluation, default = decision.evaluation, decision.default
    if default is not None:
        titles = " > ".join(map(safe, default.titles))
        yield _fact("entry", titles, style) + style.dim(
            f"  ({default.spec}, {default.entries[-1].span})"
        )
    plan = decision.plan
    if plan is None:
        for words in evaluation.machine.executed if evaluation and default is not None else ():
            yield _fact("GRUB runs", safe(" ".join(words)), style)
        return
    yield _fact("kernel", safe(plan.kernel), style) + style.dim(
        f"  ({plan.release})" if plan.release else ""
    )
    for number, initrd in enumerate(plan.initrds):
        yield _fact("" if number else "initrd", safe(initrd.path), style)
    if plan.devicetree:
        yield _fact("device tree", safe(plan.devicetree), style)
    yield _fact("command line", safe(plan.cmdline), style)
    for name, value in env_writes(decision).items():
        yield _fact(
            "grubenv",
            f"{safe(name)} deleted" if value is None else f"{safe(name)}={safe(value)}",
            style,
        )
    if not decision.objections:
        yield _fact(
            "kexec", shell_line(plan) or "by kexec-hook only, which reads these files itself", style
        )


def _fact(name: str, value: str, style: Style) -> str:
    return style.key(f"{name:<13}") + " " + value


def _remarks(decision: Decision, style: Style, *, verbose: bool) -> list[str]:
    lines = [
        line
        for note in decision.notes
        for line in lines_of(style.key("note:"), note.text, note.fix)
    ]
    count = len(decision.problems)
    goes_on = "" if decision.objections else " and goes on"
    if verbose or count == 1:
        lines += [
            f"{style.key(f'GRUB prints an error{goes_on}:')} {safe(f'{problem.message} ({problem.span})')}"
            for problem in decision.problems
        ]
    elif count:
        fix = "`kexec-hook stage --dry-run -v` shows them"
        lines.append(style.dim(f"GRUB prints {count} errors{goes_on}; {fix}"))
    return ["", *lines] if lines else []


def _why(decision: Decision) -> Iterator[str]:
    """In a few lines: which menu entry, and who said so."""
    evaluation = decision.evaluation
    if evaluation is None:
        return
    result = evaluation.result
    for level, (choice, menu) in enumerate(result.choices):
        above = result.default.entries[level - 1].title if level and result.default else ""
        where = f"submenu «{above}»" if above else "menu"
        title = menu[choice.index].title
        yield f"«{title}» in the {where}, {_chosen(choice)}"
        if level == 0:
            binding = evaluation.menu.env.get("default")
            if evaluation.chosen_by:
                yield f"  wanted by {evaluation.chosen_by}"
            elif binding is not None:
                yield from ("  " + line for line in evidence("default", binding))


def _chosen(choice: Choice) -> str:
    if not choice.matched:
        why = "is not set" if choice.why == "unset" else "names no entry"
        return f"the first one, since `default` {why}"
    named = choice.why if choice.why in ("number", "id", "title") else ""
    return f"named by its {named}" if named else "chosen there"


def evidence(name: str, binding: Binding, depth: int = 0) -> Iterator[str]:
    """How a variable came to its value: the command that set it, then what that command read."""
    source = f"set at {binding.origin}" if binding.origin else "set by GRUB itself"
    line = ""
    if binding.origin:
        line = (
            binding.origin.source.text[binding.origin.start : binding.origin.end]
            .strip()
            .split("\n")[0]
        )
        line = f": {line}"
    yield f'{"  " * depth}{name}="{binding.value}", {source}{line}'
    seen: set[str] = set()
    for read in binding.via:
        if read.name not in seen and depth < 6:
            seen.add(read.name)
            yield from _read_evidence(read, depth + 1)


def _read_evidence(read: Read, depth: int) -> Iterator[str]:
    if read.binding is None:
        yield f"{'  ' * depth}{read.name} was not set (read at {read.span})"
    else:
        yield from evidence(read.name, read.binding, depth)


def explain_text(decision: Decision) -> str:
    style = Style()
    lines = []
    for title, found in _chapters(decision):
        lines += (
            [style.key(title)]
            + [f"  {safe(part)}" for line in found for part in line.split("\n")]
            + [""]
        )
    return "\n".join(lines).rstrip()


def explain_json(
    decision: Decision, outcome: str, commands: Sequence[Sequence[str]]
) -> dict[str, Any]:
    return {
        **stage_json(decision, outcome, commands),
        "evidence": [{"about": title, "lines": lines} for title, lines in _chapters(decision)],
    }


def _chapters(decision: Decision) -> list[tuple[str, list[str]]]:
    """The chain of evidence, in the order in which GRUB meets it."""
    chapters = [
        ("configuration", list(_configuration(decision))),
        ("default", list(_why(decision))),
        ("root", list(_root(decision))),
        ("loaded", list(_loaded(decision))),
        (
            "grubenv",
            [
                f"{write_text(write.name, write.value)} ({write.path}, {write.span})"
                for write in decision.pending
            ],
        ),
        ("errors that GRUB would print", [point(p.message, p.span) for p in decision.problems]),
        ("settings", list(_settings(decision))),
        ("notes", [_with_fix(note.text, note.fix) for note in decision.notes]),
        (
            "objections",
            [
                _with_fix(f"{objection.reason} [{objection.by}]", fix_of(objection))
                for objection in decision.objections
            ],
        ),
    ]
    if not decision.objections and decision.evaluation:
        chapters.append(("verdict", ["nothing forbids a kexec into this entry"]))
    return [(title, lines) for title, lines in chapters if lines]


def _with_fix(text: str, fix: str) -> str:
    return f"{text}\n  fix: {fix}" if fix else text


def _settings(decision: Decision) -> Iterator[str]:
    """Every value, and where it comes from."""
    for name, setting in decision.settings._asdict().items():
        if name == "kexec_default":
            continue
        value = setting.value
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif type(value) is tuple:  # a Selection is one, too
            value = " ".join(value)
        yield f"{name} = {value} ({setting.origin})"


def _configuration(decision: Decision) -> Iterator[str]:
    evaluation = decision.evaluation
    if evaluation is None:
        return
    config = evaluation.config
    yield f"{config.path}, which GRUB calls {config.config}"
    yield f"read as by GRUB's {config.flavour} flavour on {config.platform} ({config.cpu})"
    for name in ("next_entry", "saved_entry", "prev_saved_entry"):
        binding = evaluation.menu.env.get(name)
        if binding is not None and binding.value:
            yield from evidence(name, binding)


def _root(decision: Decision) -> Iterator[str]:
    evaluation = decision.evaluation
    if evaluation is None or evaluation.default is None:
        return
    binding = evaluation.machine.env.get("root")
    if binding is None:
        return
    yield from evidence("root", binding)
    device = decision.disks.device(binding.value)
    if device is not None:
        known = ", ".join(
            filter(None, (device.fs, device.uuid and f"UUID {device.uuid}", device.label))
        )
        yield f"{binding.value} is {known or 'a file system'}" + (
            f"; {device.assumed}" if device.assumed else ""
        )


def _loaded(decision: Decision) -> Iterator[str]:
    evaluation = decision.evaluation
    if evaluation is None:
        return
    loaded = evaluation.machine.loaded
    if loaded is None:
        for words in evaluation.machine.executed:
            yield "ran: " + " ".join(words)
        return
    yield f"{loaded.call.name} {' '.join(loaded.words)} ({loaded.call.span})"
    for read in loaded.call.reads:
        if read.name != "root":
            yield from ("  " + line for line in _read_evidence(read, 0))
    if loaded.initrd_call is not None:
        yield f"{loaded.initrd_call.name} {' '.join(loaded.initrd_call.args)} ({loaded.initrd_call.span})"
    if decision.plan is not None:
        yield f"below the root: {decision.plan.kernel}" + "".join(
            f", {initrd.path}" for initrd in decision.plan.initrds
        )
        yield f"/proc/cmdline would be: {decision.plan.cmdline}"
