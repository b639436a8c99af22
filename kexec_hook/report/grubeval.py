"""`grub-eval`: what GRUB makes of a directory's configuration or of a script, as data."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kexec_hook.grub import grubenv
from kexec_hook.grub.commands import TABLE
from kexec_hook.grub.disks import Disks, GrubPath
from kexec_hook.grub.flavours import FLAVOURS, platform_variables
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.menu import BootResult, boot_default, evaluate, spec, try_all
from kexec_hook.grub.script.source import point, read_source
from kexec_hook.grub.values import Entry, Halted, Problem
from kexec_hook.report.terminal import Style, safe, write_text

SCHEMA = 1
# A script runs as by the command `source`: a list and a command stand above it.
_SOURCED = 2


def make_machine(
    disks: Disks,
    flavour: str,
    platform: str,
    cpu: str,
    prefix: str,
    variables: Mapping[str, str] | None = None,
) -> Machine:
    """A machine on these disks, with the variables GRUB starts with.  prefix is GRUB's: (hd0,gpt1)/boot/grub."""
    chosen = FLAVOURS[flavour]
    machine = Machine(disks, TABLE, chosen)
    root = prefix[1:].partition(")")[0] if prefix.startswith("(") else ""
    machine.env = platform_variables(chosen, platform, cpu, prefix, root)
    # The recorded answers are of GRUBs that were given the commands of all platforms, but for this one.
    machine.absent = frozenset() if platform == "pc" else frozenset(["hwmatch"])
    for name, value in (variables or {}).items():
        machine.set(name, value)
    return machine


def script(machine: Machine, name: str, text: bytes) -> tuple[str, list[Problem]]:
    """What a script prints, and the errors GRUB would print between."""
    try:
        machine.run(read_source(name, text), _SOURCED)
    except Halted:
        pass
    # term.c:grub_putcode: the console has a tab stop every 8 columns.
    return "".join(machine.output).expandtabs(8), machine.problems


def configuration(machine: Machine, config: str, *, default_only: bool = False) -> dict[str, Any]:
    """Everything about a configuration: its entries, each tried by itself, and what GRUB boots when left alone."""
    ended = evaluate(machine, config)
    toplevel = [list(words) for words in machine.executed]
    menu = machine.menu or []
    timeout = machine.get("timeout")
    env = {name: binding.value for name, binding in machine.env.items()}
    entries: list[dict[str, Any]] = []
    if default_only:
        entries = [_entry((index,), entry) for index, entry in enumerate(menu)]
    else:
        for sample in try_all(machine):
            booted = sample.outcome.how == "boot"
            described = _entry(sample.path, sample.entry)
            described["executed"] = sample.machine.executed
            described["root"] = sample.machine.get("root")
            described["kcmdline"] = sample.machine.kcmdline
            described["booted"] = booted
            entries.append(described)
    machine.executed = []
    result = boot_default(machine) if ended == "menu" and menu else BootResult(ended=ended)
    default = result.default
    return {
        "schema": SCHEMA,
        "entries": entries,
        "default": default
        and {
            "path": spec(default.path),
            "titles": [entry.title for entry in default.entries],
            "ids": [entry.id for entry in default.entries],
        },
        "toplevel": toplevel,
        "executed": machine.executed,
        "kcmdline": machine.kcmdline,
        "root": machine.get("root"),
        "booted": result.booted,
        "chosen": result.chosen or None,
        "env": env,
        "timeout": timeout,
        "env_writes": _env_writes(machine),
        "output": "".join(machine.output),
        "problems": [problem(p) for p in machine.problems],
    }


def _env_writes(machine: Machine) -> dict[str, str | None]:
    """What the variables that were written have in their block now; a block may hold a name twice."""
    held = {path: dict(grubenv.variables(block)) for path, block in machine.overlay.items()}
    return {write.name: held[write.path].get(write.name) for write in machine.pending}


def problem(found: Problem) -> dict[str, Any]:
    return {"message": found.message, "source": str(found.span) if found.span else None}


def show_problem(found: Problem) -> str:
    return point(found.message, found.span)


def display(names: Mapping[str, str]) -> Any:
    """How a path on one of the devices is shown: below the directory that stands for it."""

    def show(path: GrubPath) -> str:
        return names.get(path.device, f"({path.device})").rstrip("/") + path.path

    return show


def _entry(path: Sequence[int], entry: Entry) -> dict[str, Any]:
    return {
        "path": spec(path),
        "title": entry.title,
        "id": entry.id,
        "submenu": entry.submenu,
        "classes": list(entry.classes),
        "users": entry.users,
        "hotkey": entry.hotkey,
    }


def text(answer: dict[str, Any]) -> str:
    """The answer for people: the menu, what the default entry does, and what comes of it."""
    style = Style()
    lines = []
    default = answer["default"]
    for entry in answer["entries"]:
        depth = entry["path"].count(">")
        mark = "*" if default and entry["path"] == default["path"] else " "
        lines.append(f"{mark} {entry['path']:<8}{'  ' * depth}{safe(entry['title'])}")
    if default:
        lines += [
            "",
            style.key("default")
            + f" {default['path']}: "
            + " > ".join(map(safe, default["titles"])),
        ]
    lines += ["  " + safe(" ".join(words)) for words in answer["executed"]]
    lines.append(
        style.good("GRUB boots this")
        if answer["booted"]
        else style.bad("GRUB boots nothing by itself")
    )
    for name, value in answer["env_writes"].items():
        lines.append(f"grubenv: {safe(write_text(name, value))}")
    for problem in answer["problems"]:
        lines.append(
            (f"{problem['source']}: " if problem["source"] else "") + safe(problem["message"])
        )
    return "\n".join(lines)
