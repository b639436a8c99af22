"""A finished run as text for people or as data for programs; decides nothing."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kexec_hook.grub.menu import Choice, Sample, try_all
from kexec_hook.grub.source import point
from kexec_hook.plan import make_plan

if TYPE_CHECKING:
    from kexec_hook.grub.machine import Binding, Machine, Problem, Read
    from kexec_hook.plan import Plan
    from kexec_hook.run import Run

SCHEMA = 1

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def safe(text: str) -> str:
    r"""Text from a disk, made harmless for a terminal: control characters become \xNN."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class Style:
    """Colour, on a terminal and unless NO_COLOR is set (no-color.org)."""

    def __init__(self, stream: Any = None) -> None:
        stream = stream or sys.stdout
        self._on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def good(self, text: str) -> str:
        return self._paint(text, "32")

    def bad(self, text: str) -> str:
        return self._paint(text, "31")

    def key(self, text: str) -> str:
        return self._paint(text, "1")

    def dim(self, text: str) -> str:
        return self._paint(text, "2")


# stage


def stage_json(run: Run, outcome: str, commands: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """The answer of `stage --json`; docs/json.md describes it."""
    plan = run.plan
    return {
        "schema": SCHEMA,
        "outcome": outcome,
        "entry": entry_json(run),
        "kernel": plan.kernel if plan else None,
        "initrds": [initrd.path for initrd in plan.initrds] if plan else [],
        "devicetree": plan.devicetree if plan else None,
        "cmdline": plan.cmdline if plan else None,
        "release": plan.release if plan else None,
        "env_writes": env_writes(run),
        "commands": [] if run.objections else [list(argv) for argv in commands],
        "objections": [{"reason": objection.reason, "by": objection.by} for objection in run.objections],
        "problems": [_problem(problem) for problem in run.problems],
        "notes": list(run.notes),
    }


def entry_json(run: Run) -> dict[str, Any] | None:
    default = run.result.default if run.result else None
    if default is None:
        return None
    entry = default.entries[-1]
    return {
        "path": ">".join(map(str, default.path)),
        "titles": [item.title for item in default.entries],
        "id": entry.id,
        "source": str(entry.span),
    }


def env_writes(run: Run) -> dict[str, str | None]:
    """What GRUB would write to grubenv on the way; None: the variable is deleted."""
    return {write.name: write.value for write in run.machine.pending} if run.machine else {}


def _problem(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "source": str(problem.span) if problem.span else None}


def stage_text(run: Run, outcome: str, commands: Sequence[Sequence[str]], *, verbose: bool = False) -> str:
    style = Style()
    lines = [_headline(run, outcome, style)]
    lines += [f"  {line}" for line in _facts(run, commands, style)]
    why = list(_why(run))
    if why:
        lines += ["", style.key("why")] + [f"  {safe(line)}" for line in why]
    lines += _remarks(run, style, verbose=verbose)
    return "\n".join(lines)


def _headline(run: Run, outcome: str, style: Style) -> str:
    if run.objections:
        reasons = "; ".join(safe(objection.reason) for objection in run.objections)
        return f"{style.bad('declined:')} {reasons}\nNothing is staged; the next reboot is an ordinary one. Found:"
    what = {
        "would-stage": "would stage: the next reboot would be a kexec into",
        "staged": "staged: the next reboot is a kexec into",
        "unchanged": "unchanged: the next reboot is a kexec into",
    }.get(outcome, outcome)
    return style.good(what)


def _facts(run: Run, commands: Sequence[Sequence[str]], style: Style) -> Iterator[str]:
    default = run.result.default if run.result else None
    if default is not None:
        titles = " > ".join(safe(entry.title) for entry in default.entries)
        path = ">".join(map(str, default.path))
        yield _fact("entry", titles, style) + style.dim(f"  ({path}, {default.entries[-1].span})")
    plan = run.plan
    if plan is None:
        for words in run.machine.executed if run.machine and default is not None else ():
            yield _fact("GRUB runs", safe(" ".join(words)), style)
        return
    yield _fact("kernel", safe(plan.kernel), style) + style.dim(f"  ({plan.release})" if plan.release else "")
    for number, initrd in enumerate(plan.initrds):
        yield _fact("" if number else "initrd", safe(initrd.path), style)
    if plan.devicetree:
        yield _fact("device tree", safe(plan.devicetree), style)
    yield _fact("command line", safe(plan.cmdline), style)
    for name, value in env_writes(run).items():
        yield _fact("grubenv", f"{safe(name)} deleted" if value is None else f"{safe(name)}={safe(value)}", style)
    if not run.objections:
        for argv in commands:
            yield _fact("kexec", safe(shlex.join(argv)), style)


def _fact(name: str, value: str, style: Style) -> str:
    return style.key(f"{name:<13}") + " " + value


def _remarks(run: Run, style: Style, *, verbose: bool) -> list[str]:
    lines = [f"{style.key('note:')} {safe(note)}" for note in run.notes]
    shown = run.problems if verbose else ()
    lines += [f"{style.key('GRUB would print:')} {safe(problem.message)} ({problem.span})" for problem in shown]
    if run.problems and not verbose:
        count = len(run.problems)
        lines.append(style.dim(f"GRUB would print {count} error{'s' * (count != 1)} on the way (-v shows)"))
    return ["", *lines] if lines else []


def _why(run: Run) -> Iterator[str]:
    """In a few lines: which menu entry, and who said so."""
    result, machine = run.result, run.menu_machine
    if result is None or machine is None:
        return
    for level, (choice, menu) in enumerate(result.choices):
        above = result.default.entries[level - 1].title if level and result.default else ""
        where = f"submenu «{above}»" if above else "menu"
        title = menu[choice.index].title
        yield f"{_chosen(choice)} of the {where}: «{title}»"
        if level == 0:
            binding = machine.env.get("default")
            if run.chosen_by:
                yield f"  wanted by {run.chosen_by}"
            elif binding is not None:
                yield from ("  " + line for line in evidence("default", binding))


def _chosen(choice: Choice) -> str:
    if choice.matched:
        return {
            "number": "by its number, an entry",
            "id": "by its id, an entry",
            "title": "by its title, an entry",
        }.get(choice.why, "an entry")
    if choice.why == "unset":
        return "`default` is not set, so the first entry"
    return "`default` names no entry, so the first one"


def evidence(name: str, binding: Binding, depth: int = 0) -> Iterator[str]:
    """How a variable came to its value: the command that set it, then what that command read."""
    source = f"set at {binding.origin}" if binding.origin else "set by GRUB itself"
    line = ""
    if binding.origin:
        line = binding.origin.source.text[binding.origin.start : binding.origin.end].strip().split("\n")[0]
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


# explain


def explain_text(run: Run) -> str:
    style = Style()
    lines = []
    for title, found in _chapters(run):
        lines += [style.key(title)] + [f"  {safe(part)}" for line in found for part in line.split("\n")] + [""]
    return "\n".join(lines).rstrip()


def explain_json(run: Run, outcome: str, commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        **stage_json(run, outcome, commands),
        "evidence": [{"about": title, "lines": lines} for title, lines in _chapters(run)],
    }


def _chapters(run: Run) -> list[tuple[str, list[str]]]:
    """The chain of evidence, in the order in which GRUB meets it."""
    pending = run.machine.pending if run.machine else []
    chapters = [
        ("configuration", list(_configuration(run))),
        ("default", list(_why(run))),
        ("root", list(_root(run))),
        ("loaded", list(_loaded(run))),
        ("grubenv", [f"{_write(write.name, write.value)} ({write.path}, {write.span})" for write in pending]),
        ("errors that GRUB would print", [point(p.message, p.span) for p in run.problems]),
        ("notes", list(run.notes)),
        ("objections", [f"{objection.reason} [{objection.by}]" for objection in run.objections]),
    ]
    if not run.objections and run.result:
        chapters.append(("verdict", ["nothing speaks against a kexec into this entry"]))
    return [(title, lines) for title, lines in chapters if lines]


def _write(name: str, value: str | None) -> str:
    return f"{name} is deleted" if value is None else f'{name}="{value}" is written'


def _configuration(run: Run) -> Iterator[str]:
    config = run.config
    if config is None:
        return
    yield f"{config.path}, which GRUB calls {config.config}"
    yield f"read as by GRUB's {config.flavour} flavour on {config.platform} ({config.cpu})"
    for name in ("next_entry", "saved_entry", "prev_saved_entry"):
        binding = run.menu_machine.env.get(name) if run.menu_machine else None
        if binding is not None and binding.value:
            yield from evidence(name, binding)
    yield from config.notes


def _root(run: Run) -> Iterator[str]:
    machine = run.machine
    binding = machine.env.get("root") if machine and run.result and run.result.default else None
    if machine is None or binding is None:
        return
    yield from evidence("root", binding)
    device = run.disks.device(binding.value) if run.disks else None
    if device is not None:
        known = ", ".join(filter(None, (device.fs, device.uuid and f"UUID {device.uuid}", device.label)))
        yield f"{binding.value} is {known or 'a file system'}" + (f"; {device.assumed}" if device.assumed else "")


def _loaded(run: Run) -> Iterator[str]:
    machine = run.machine
    if machine is None or machine.loaded is None:
        for words in machine.executed if machine else ():
            yield "ran: " + " ".join(words)
        return
    loaded = machine.loaded
    yield f"{loaded.call.name} {' '.join(loaded.words)} ({loaded.call.span})"
    for read in loaded.call.reads:
        if read.name != "root":
            yield from ("  " + line for line in _read_evidence(read, 0))
    if loaded.initrd_call is not None:
        yield f"{loaded.initrd_call.name} {' '.join(loaded.initrd_call.args)} ({loaded.initrd_call.span})"
    if run.plan is not None:
        yield f"below the root: {run.plan.kernel}" + "".join(f", {initrd.path}" for initrd in run.plan.initrds)
        yield f"/proc/cmdline would be: {run.plan.cmdline}"


# list


def entries_json(run: Run) -> dict[str, Any]:
    """The answer of `list --json`: every entry with what it would boot."""
    return {"schema": SCHEMA, "entries": list(_entries(run))}


def _entries(run: Run) -> Iterator[dict[str, Any]]:
    default = run.result.default.path if run.result and run.result.default else ()
    if run.menu_machine is None:
        return
    titles: dict[tuple[int, ...], str] = {}
    for sample in try_all(run.menu_machine):
        titles[sample.path] = sample.entry.title
        plan = _plan(run, sample.machine) if sample.outcome.how == "boot" else None
        why = _not_bootable(sample, plan)
        yield {
            "path": ">".join(map(str, sample.path)),
            "titles": [titles[sample.path[: level + 1]] for level in range(len(sample.path))],
            "id": sample.entry.id,
            "submenu": sample.entry.submenu,
            "kernel": plan.kernel if plan else None,
            "initrds": [initrd.path for initrd in plan.initrds] if plan else [],
            "cmdline": plan.cmdline if plan else None,
            "release": plan.release if plan else None,
            "default": default[: len(sample.path)] == sample.path,
            "bootable": not why,
            "why": why,
        }


def by_release(entries: list[dict[str, Any]], tail_key: Callable[[str], Any]) -> list[dict[str, Any]]:
    """What boots a kernel, newest first; submenus and the rest behind, in the menu's order."""
    from kexec_hook.releases import release_key

    known = [entry for entry in entries if entry["release"]]
    known.sort(key=lambda entry: release_key(entry["release"], tail_key), reverse=True)
    return known + [entry for entry in entries if not entry["release"]]


def _plan(run: Run, machine: Machine) -> Plan | None:
    if machine.loaded is None or run.disks is None:
        return None
    return make_plan(machine.loaded, run.disks, run.sysroot, run.settings)


def _not_bootable(sample: Sample, plan: Plan | None) -> str:
    """Why kexec could not stand in for this entry; empty when it could."""
    how, loaded = sample.outcome.how, sample.machine.loaded
    if sample.entry.submenu:
        return "a submenu"
    if how == "password":
        return "needs a password"
    if how != "boot":
        errors = [problem.message for problem in sample.machine.problems if problem.errno]
        return how if how not in ("nothing", "menu") else errors[-1] if errors else "loads no kernel"
    if loaded is not None and loaded.kind != "linux":
        return f"not Linux ({loaded.kind})"
    return "" if plan else "its files are on no mounted file system"


def list_text(answer: dict[str, Any]) -> str:
    """An aligned table, the default marked with a star."""
    style = Style()
    rows = [("", "path", "entry", "boots")]
    for entry in answer["entries"]:
        depth = len(entry["titles"]) - 1
        what = entry["release"] or entry["kernel"] or "" if entry["bootable"] else f"- {entry['why']}"
        mark = "*" if entry["default"] else ""
        rows.append((mark, entry["path"], "  " * depth + safe(entry["titles"][-1]), safe(what)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  " + row[3]
        line = line.rstrip()
        lines.append(style.dim(line) if number == 0 else style.good(line) if row[0] else line)
    return "\n".join(lines)


# grub-eval


def grub_eval_text(answer: dict[str, Any]) -> str:
    style = Style()
    lines = []
    default = answer["default"]
    for entry in answer["entries"]:
        depth = entry["path"].count(">")
        mark = "*" if default and entry["path"] == default["path"] else " "
        lines.append(f"{mark} {entry['path']:<8}{'  ' * depth}{safe(entry['title'])}")
    if default:
        lines += ["", style.key("default") + f" {default['path']}: " + " > ".join(map(safe, default["titles"]))]
    lines += ["  " + safe(" ".join(words)) for words in answer["executed"]]
    lines.append(style.good("GRUB boots this") if answer["booted"] else style.bad("GRUB boots nothing by itself"))
    for name, value in answer["env_writes"].items():
        lines.append(f"grubenv: {safe(_write(name, value))}")
    lines += [f"{problem['source']}: {safe(problem['message'])}" for problem in answer["problems"]]
    return "\n".join(lines)
