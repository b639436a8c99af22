"""docs/architecture.md names files and functions as they are, and follows a value in ten hops or fewer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
HOP = re.compile(r"\| (\d+) \| `([^`]+)`(?: `(\w+)`)? \|")
HOPS = [
    HOP.match(line) for line in TEXT.splitlines() if line.startswith("| ") and line[2].isdigit()
]


def place(name: str) -> Path:
    return next(
        (path for path in (ROOT / "kexec_hook" / name, ROOT / name) if path.is_file()), ROOT
    )


@pytest.mark.parametrize("hop", HOPS, ids=lambda hop: f"{hop[2]}-{hop[3]}" if hop else "")
def test_each_hop_is_there(hop: re.Match[str] | None) -> None:
    assert hop is not None
    path = place(hop[2])
    assert path != ROOT
    if hop[3]:
        assert re.search(rf"^ *(?:def|class) {hop[3]}\b", path.read_text(encoding="utf-8"), re.M)


def test_four_values_take_ten_hops_or_fewer() -> None:
    numbers = [int(hop[1]) for hop in HOPS if hop]
    assert numbers.count(1) == 4
    assert max(numbers) <= 10


def test_every_room_is_drawn() -> None:
    drawing = TEXT.partition("## The rooms")[2].partition("## ")[0]
    rooms = {path.parent.name for path in (ROOT / "kexec_hook").glob("*/__init__.py")}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", drawing)} == set()
