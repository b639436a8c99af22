"""Every row of docs/supported.md is shown by a tree or a test that exists, and trees are served as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS.parent / "docs/supported.md").read_text().splitlines()[9:]
    if line.startswith("| ")
]
CODES = (TESTS.parent / "docs/how-it-decides.md").read_text()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_what_shows_it_exists(row: list[str]) -> None:
    written = "\n".join(path.read_text() for path in (TESTS / "plugins").rglob("test_*.py"))
    names = re.findall("`([^`]+)`", row[4])
    assert names
    for name in names:
        if name.startswith("test_"):
            assert f"\ndef {name}(" in written
        else:
            expected = json.loads((TESTS / "roots" / name / "expected.json").read_text())
            assert ("reason" not in expected) == (row[3] == "served")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_codes_are_those_of_the_documentation(row: list[str]) -> None:
    for code in re.findall("`([^`]+)`", row[3]):
        assert f"`{code}`" in CODES or code == "configurations-differ"
    assert row[3] == "served" or "`" in row[3]
