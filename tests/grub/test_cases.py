"""Scripts and configurations on which GRUB 2.06 gave the answers beside them; `make oracle` asks it again.

NAME.grub writes NAME.out, error messages left out.  NAME.cfg, with the environment block behind a line of its own, does
what NAME.json says; directories and kernels are those of tests/oracle/world.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import compare, emu, judge, ours, world
from tests.oracle.disk import Partition
from tests.oracle.envblock import variables
from tests.oracle.world import Question

CASES = sorted(Path(__file__).with_name("cases").glob("*.grub"))
CONFIGURATIONS = sorted(Path(__file__).with_name("cases").glob("*.cfg"))
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


def question(case: Path, files: Path) -> tuple[Question, Mapping[str, str] | None]:
    """The partition of a configuration, and the variables of its environment block."""
    config, _, block = case.read_bytes().partition(world.BLOCK_FOLLOWS)
    world.make_bootable(files, config, block)
    grubenv = files / "boot/grub/grubenv"
    return Question([Partition(files, world.UUID, world.LABEL)]), variables(
        grubenv.read_bytes()
    ) if block else None


def answer(case: Path) -> Any:
    return json.loads(case.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=lambda case: case.stem)
def test_a_configuration_does_what_grub_did(case: Path, tmp_path: Path) -> None:
    asked, before = question(case, tmp_path)
    assert compare.judged(answer(case), ours.evaluate(asked), before) == []


@pytest.mark.oracle
@pytest.mark.parametrize("case", CONFIGURATIONS, ids=lambda case: case.stem)
def test_grub_still_does_that(case: Path, tmp_path: Path) -> None:
    why = emu.missing()
    if why:
        pytest.skip(why)
    asked, _ = question(case, tmp_path / "files")
    assert judge.evaluate(asked, tmp_path / "images") == answer(case)
