"""Who is asked (kexec-hook, or grub-emu to test the tests), and the line per family at the end of a run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import compare, emu, judge, ours
from tests.oracle.world import Question

SUBJECT = "KEXEC_HOOK_SUBJECT"
Json = dict[str, Any]


class Subject:
    """kexec-hook, through its command line."""

    name = "kexec-hook"
    leave_out: frozenset[str] = frozenset()  # loader commands it cannot show

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def evaluate(self, question: Question, depth: str = "all") -> Json:
        """The answer; `depth` says how much of it is needed, where more costs more."""
        return ours.evaluate(question, default_only=depth == "none")

    def script(self, question: Question, file: Path) -> tuple[str, bool]:
        """What the script wrote, and whether an error was reported."""
        answer = ours.script(question, file)
        return answer.out, bool(answer.err.strip())


class GrubEmu(Subject):
    """Debian 12's grub-emu: it must agree with the recorded answers of its own version."""

    name = "grub-emu"
    leave_out = compare.NOT_SEEN_BY_EMU

    def _check(self, question: Question) -> None:
        if question.flavour != "upstream":
            pytest.skip("grub-emu here is GRUB 2.06")
        if any(part.uuid and len(part.uuid) != 36 for part in question.partitions):
            pytest.skip("an ext2 file system cannot have this UUID")

    def evaluate(self, question: Question, depth: str = "all") -> Json:
        self._check(question)
        answer = judge.evaluate(question, self.directory, depth, seconds=8.0)
        for entry in answer.get("entries", ()):
            entry.pop("submenu", None)  # an entry that calls configfile looks like one
        return answer

    def script(self, question: Question, file: Path) -> tuple[str, bool]:
        self._check(question)
        run = judge.script(question, self.directory, file.read_bytes())
        return run.text, bool(run.errors)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    if os.environ.get(SUBJECT) == "grub-emu":
        reason = emu.missing()
        if reason:
            pytest.skip(reason)
        return GrubEmu(tmp_path / "emu")
    return Subject(tmp_path)


@pytest.fixture(autouse=True)
def _family(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    record_property("corpus family", request.module.FAMILY)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts: dict[str, Counter[str]] = {}
    kinds = {
        "passed": "agree",
        "failed": "differ",
        "error": "differ",
        "xfailed": "differ",
        "skipped": "not run",
    }
    for outcome, kind in kinds.items():
        for report in terminalreporter.stats.get(outcome, []):
            family = dict(getattr(report, "user_properties", ())).get("corpus family")
            if family:
                counts.setdefault(str(family), Counter())[kind] += 1
    if counts:
        terminalreporter.section("corpus: " + (os.environ.get(SUBJECT) or "kexec-hook"))
    for family, count in sorted(counts.items()):
        terminalreporter.write_line(
            f"{family:16} agree {count['agree']:4}   differ {count['differ']:4}   not run {count['not run']:4}"
        )
