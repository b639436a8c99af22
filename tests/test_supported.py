"""docs/supported.md is written from the tests: it is current, and what it names exists and is served as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.distributions import LAYOUTS
from tests.supported import PAGE, Row, page, rows

TESTS = Path(__file__).resolve().parent
CODES = (PAGE.parent / "how-it-decides.md").read_text()


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run python3 -m tests.supported"


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row[:3]))
def test_what_shows_it_exists(row: Row) -> None:
    written = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert row.shown
    for name in row.shown.split():
        if name.startswith("test_"):
            assert f"\ndef {name}(" in written
        elif name not in [layout.name for layout in LAYOUTS]:
            expected = json.loads((TESTS / "roots" / name / "expected.json").read_text())
            assert ("reason" not in expected) == (row.answer == "served")


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row[:3]))
def test_codes_are_those_of_the_documentation(row: Row) -> None:
    for code in re.findall("`([^`]+)`", row.answer):
        assert f"`{code}`" in CODES
    assert row.answer == "served" or "`" in row.answer
