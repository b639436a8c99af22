"""Does a script write what it wrote under real GRUB?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import emu, world
from tests.oracle.world import Question

FAMILY = "script"
# Which recorded answer is a flavour's, best first; `.expected` alone is GRUB 2.14's.
ANSWERS = {
    "upstream": [".2.06-deb12", ".2.12-deb13", ""],
    "upstream-2.14": [""],
    "rhboot": [".rh", "", ".2.12-vanilla"],
}
# rhboot is 2.12 with the limit on depth and the fix to eval's status.  Its variables say that it has 2.14's
# `search --cryptodisk-only` too (tree/*/expected.rh.json), but no script was recorded with it.
LIKE_VANILLA = {"y_menuentry_empty_source"}
NOT_RECORDED = {"y_features", "y_search_cryptodisk_only"}


class Case(NamedTuple):
    file: Path
    expected: Path
    flavour: str


def _find() -> Iterator[tuple[str, Case]]:
    base = corpus.root()
    for file in sorted((base / "script").glob("*.cfg")) if base else []:
        for flavour, suffixes in ANSWERS.items():
            if flavour == "rhboot" and file.stem in NOT_RECORDED:
                continue
            order = (
                [".2.12-vanilla"] if flavour == "rhboot" and file.stem in LIKE_VANILLA else suffixes
            )
            found = [
                path
                for path in (file.with_suffix(".expected" + suffix) for suffix in order)
                if path.exists()
            ]
            yield f"{file.stem}-{flavour}", Case(file, found[0], flavour)


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_script_writes_what_grub_wrote(case: Case, subject: Subject, tmp_path: Path) -> None:
    partition = world.make(tmp_path / "files")
    question = Question([partition], flavour=case.flavour, variables={"grubshell": "yes"})
    expected, errors = emu.split_errors(case.expected.read_text())
    got, complained = subject.script(question, case.file)
    assert got.expandtabs(8) == expected
    assert complained or not errors, f"GRUB reports an error here: {errors}"
