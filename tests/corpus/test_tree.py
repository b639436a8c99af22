"""Is everything said about a partition's menu what real GRUB said?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import compare
from tests.oracle.envblock import variables
from tests.oracle.world import Question

FAMILY = "tree"
FLAVOURS = {"deb": "upstream", "up": "upstream", "rh": "rhboot"}


class Case(NamedTuple):
    directory: Path
    expected: Path


def _find() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        for expected in sorted(directory.glob("*.json")):
            yield f"{directory.name}-{expected.stem}", Case(directory, expected)


# The judge enters a submenu by a key, and $timeout is 0 only where the menu went on by itself.
NOT_BY_KEY = ("scope", "grub-emu")


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_tree_is_read_as_grub_read_it(case: Case, subject: Subject, tmp_path: Path) -> None:
    if (case.directory.name, subject.name) == NOT_BY_KEY:
        pytest.skip("an entry prints $timeout, which a key press changes")
    expected = corpus.load(case.expected)
    files = corpus.copy(case.directory, tmp_path / "files", ["expected.*", "bls-2.14*"])
    config = files / "boot/grub/grub.cfg"
    partition = corpus.partition(files, config.read_text())
    grubenv = files / "boot/grub/grubenv"
    before = variables(grubenv.read_bytes()) if grubenv.exists() else None
    if "order" in expected:
        config.write_text(
            re.sub(
                r"^blscfg$",
                lambda _: expected["config_line"],
                config.read_text(),
                flags=re.MULTILINE,
            )
        )
        got = subject.evaluate(Question([partition], flavour="upstream-2.14"))
        differences = compare.listed(expected, got)
    else:
        got = subject.evaluate(Question([partition], flavour=FLAVOURS[expected["flavor"]]))
        differences = compare.recorded(expected, got, before, subject.leave_out)
    assert not differences, "\n".join(differences)
