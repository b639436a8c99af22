"""The section of docs/proof.md that `make kills` writes, and tests.vm.proof keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TITLE = "## Killed at each system call"
_TEXT = """\
Written by `make kills`: a command and all that it starts are run under ptrace, and at each system call that changes
something the main process, the caller or all of them get a signal, or the call fails with an error (e28 is ENOSPC).
Then the commands of systemd/ shut the machine, a directory, down and boot it. A point is bad where neither an ordinary
reboot with grubenv untouched nor the right jump comes of it, with image, record and grubenv right after the next boot;
or where a later run or boot does not put it right. Each cell has the points that were tried, and how many were bad."""


class Row(NamedTuple):
    """One scenario and signal."""

    scenario: str
    signal: str
    calls: int
    tried: int
    bad: int


def section(rows: Sequence[Row], signals: Sequence[str], every: int, version: str) -> str:
    """In Markdown, without a line feed at its end."""
    head = f"| scenario | calls | {' | '.join(signals)} |\n|{'---|' * (len(signals) + 2)}"
    lines = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        ours = {row.signal: row for row in rows if row.scenario == scenario}
        cells = [
            f"{ours[name].tried}, {ours[name].bad}" if name in ours else "" for name in signals
        ]
        calls = max(row.calls for row in ours.values())
        lines.append(f"| {scenario} | {calls} | {' | '.join(cells)} |")
    total = f"{sum(row.tried for row in rows)} points, {sum(row.bad for row in rows)} bad"
    some = "" if every == 1 else f" One of {every} points was tried."
    ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    facts = f"- kexec-hook: {version}\n- ended: {ended}\n- {total}"
    return "\n\n".join([TITLE, _TEXT + some, facts, "\n".join([head, *lines])])


def put(text: str, new: str) -> str:
    """The document with this section in place of the one that it has, or at its end."""
    old = section_of(text)
    return text.replace(old, new) if old else f"{text.rstrip()}\n\n{new}\n"


def section_of(text: str) -> str:
    """The section that a document has; empty where it has none."""
    _, title, rest = text.partition(TITLE)
    return title + rest.partition("\n\n## ")[0].rstrip("\n") if title else ""


def write(path: Path, new: str) -> None:
    path.write_text(put(path.read_text(), new))
