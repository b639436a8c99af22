"""GRUB's menu as a table or as data; decides nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kexec_hook.decision.planning import make_plan
from kexec_hook.grub.menu import ENDLESS, Trial, spec, try_all
from kexec_hook.kernel.cmdline import CmdlineError
from kexec_hook.report.explain import SCHEMA
from kexec_hook.report.terminal import Style, columns, pad, printed, shorten, width

if TYPE_CHECKING:
    from kexec_hook.grub.machine import Machine
    from kexec_hook.kernel.plan import Plan
    from kexec_hook.plugins.api import Decision


def entries_json(decision: Decision) -> dict[str, Any]:
    """The answer of `list --json`: every entry with what it would boot."""
    return {"schema": SCHEMA, "entries": list(_entries(decision))}


def _entries(decision: Decision) -> Iterator[dict[str, Any]]:
    evaluation = decision.evaluation
    if evaluation is None or evaluation.result.ended == ENDLESS:
        return
    default = evaluation.default.path if evaluation.default else ()
    titles: dict[tuple[int, ...], str] = {}
    for sample in try_all(evaluation.menu):
        titles[sample.path] = sample.entry.title
        plan, why = None, ""
        try:
            plan = _plan(decision, sample.machine) if sample.outcome.how == "boot" else None
        except CmdlineError as error:
            why = str(error)
        why = why or _not_bootable(sample, plan)
        yield {
            "path": spec(sample.path),
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


def by_release(
    entries: list[dict[str, Any]], tail_key: Callable[[str], Any]
) -> list[dict[str, Any]]:
    """What boots a kernel, newest first; submenus and the rest behind, in the menu's order."""
    from kexec_hook.kernel.releases import release_key

    known = [entry for entry in entries if entry["release"]]
    known.sort(key=lambda entry: release_key(entry["release"], tail_key), reverse=True)
    return known + [entry for entry in entries if not entry["release"]]


def _plan(decision: Decision, machine: Machine) -> Plan | None:
    if machine.loaded is None:
        return None
    return make_plan(machine.loaded, decision.disks, decision.sysroot, decision.settings)


def _not_bootable(sample: Trial, plan: Plan | None) -> str:
    """Why kexec could not stand in for this entry; empty when it could."""
    how, loaded = sample.outcome.how, sample.machine.loaded
    if sample.entry.submenu:
        return "a submenu"
    if how == "password":
        return "needs a password"
    if how != "boot":
        if how not in ("nothing", "menu"):
            return how
        errors = [problem.message for problem in sample.machine.problems if problem.errno]
        return errors[-1] if errors else "loads no kernel"
    if loaded is not None and loaded.kind != "linux":
        return f"not Linux ({loaded.kind})"
    return "" if plan else "its files are on no mounted file system"


def list_text(answer: dict[str, Any], *, legend: bool = True) -> str:
    """An aligned table as wide as the terminal, the default marked with a star."""
    style = Style()
    rows = [("", "path", "entry", "boots")] if legend else []
    for entry in answer["entries"]:
        depth = len(entry["titles"]) - 1
        what = (
            entry["release"] or entry["kernel"] or "" if entry["bootable"] else f"- {entry['why']}"
        )
        mark = "*" if entry["default"] else ""
        title = "  " * depth + printed(entry["titles"][-1])
        rows.append((mark, entry["path"], title, printed(what)))
    widths = _widths(rows)
    lines = []
    for number, row in enumerate(rows):
        cells = (pad(shorten(cell, wide), wide) for cell, wide in zip(row, widths))
        line = "  ".join(cells).rstrip()
        if legend and number == 0:
            line = style.dim(line)
        elif row[0]:
            line = style.good(line)
        lines.append(line)
    return "\n".join(lines)


def _widths(rows: list[tuple[str, str, str, str]]) -> list[int]:
    """Of each column; titles are shortened first, down to half of what is left for the two last ones."""
    widths = [max(width(row[column]) for row in rows) for column in range(4)]
    widths[0] = 1
    room = columns() - widths[0] - widths[1] - 6
    if columns() and widths[2] + widths[3] > room:
        widths[3] = min(widths[3], max(room - widths[2], room // 2))
        widths[2] = max(room - widths[3], 1)
    return widths
