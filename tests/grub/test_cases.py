"""Each cases/NAME.grub writes NAME.out: what GRUB 2.06 wrote, less its error messages; `make oracle` asks it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracle import emu, ours, world
from tests.oracle.world import Question

CASES = sorted(Path(__file__).with_name("cases").glob("*.grub"))
VARIABLES = {"grubshell": "yes"}


def wanted(case: Path) -> str:
    return case.with_suffix(".out").read_text(encoding="utf-8", errors="surrogateescape")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_script_writes_what_grub_wrote(case: Path, tmp_path: Path) -> None:
    question = Question([world.make(tmp_path)], variables=VARIABLES)
    assert ours.script(question, case).out == wanted(case)


@pytest.fixture(scope="module")
def grub() -> Iterator[emu.Grub]:
    why = emu.missing()
    if why:
        pytest.skip(why)
    with emu.scratch() as directory:
        yield emu.Grub([world.make(directory / "files")], directory / "images")


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_grub_still_writes_that(case: Path, grub: emu.Grub) -> None:
    assert grub.script(case.read_bytes(), VARIABLES).text == wanted(case)
