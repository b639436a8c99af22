"""Objections and notes, as lines for people and as data for programs."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kexec_hook.report.terminal import safe

if TYPE_CHECKING:
    from kexec_hook.plugins.api import Decision, Objection


def reasons_json(decision: Decision) -> dict[str, Any]:
    """`objections`, `notes` (sentences) and `note_details`, as docs/json.md describes them."""
    return {
        "objections": [
            {
                "reason": objection.reason,
                "by": objection.by,
                "code": objection.code,
                "fix": fix_of(objection),
            }
            for objection in decision.objections
        ],
        "notes": [note.text for note in decision.notes],
        "note_details": [note._asdict() for note in decision.notes],
    }


def fix_of(objection: Objection) -> str:
    """What to do about it: as its check knows, else what docs/troubleshooting.md says of its code, if anything."""
    if objection.fix:
        return objection.fix
    from kexec_hook.install import InstallError
    from kexec_hook.report.troubleshooting import rows

    try:
        row = rows().get(objection.code)
    except InstallError:
        return ""
    if row is None or row.todo.startswith("Nothing"):
        return ""
    return row.todo[0].lower() + row.todo[1:].rstrip(".")


def lines_of(label: str, text: str, fix: str) -> Iterator[str]:
    """One line that says it, and below it one line with what to do about it, where that is known."""
    yield f"{label} {safe(text)}"
    if fix:
        yield f"  fix: {safe(fix)}"
