"""Does each form of `default` and `fallback` lead where it leads GRUB?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import compare
from tests.oracle.world import Question

FAMILY = "default-matrix"
FLAVOURS = {"deb": "upstream", "up": "upstream", "rh": "rhboot"}


class Case(NamedTuple):
    config: str
    flavour: str
    expected: dict[str, Any]


def _find() -> Iterator[tuple[str, Case]]:
    base = corpus.root()
    matrix = corpus.load(base / "default-matrix.json") if base else {"results": []}
    for number, result in enumerate(matrix["results"]):
        name = re.sub(r"[^\w>+=-]+", "_", result["set"])
        for build, flavour in FLAVOURS.items():
            config = matrix["body"].replace("%s", result["set"])
            yield f"{number}-{name}-{build}", Case(config, flavour, result[build])


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_default_leads_where_it_leads_grub(case: Case, subject: Subject, tmp_path: Path) -> None:
    files = tmp_path / "files"
    corpus.touch(files, ["/boot/vmlinuz-a", "/boot/grub/grub.cfg"])
    (files / "boot/grub/grub.cfg").write_text(case.config)
    got = subject.evaluate(
        Question([corpus.partition(files, case.config)], flavour=case.flavour), "none"
    )
    found = {
        "path": compare.default_of(got)["path"],
        "cmds": [" ".join(line) for line in got["executed"]],
        "booted": got["booted"],
        "chosen": got["chosen"] if got["booted"] else None,
    }
    expected = {name: case.expected[name] for name in found}
    if not expected["booted"]:
        expected["chosen"] = None
    assert found == expected
