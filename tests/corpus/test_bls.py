"""Do Boot Loader Specification files become the menu that rhboot's and GRUB 2.14's blscfg make of them?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import compare
from tests.oracle.world import Question

FAMILY = "bls"


class Case(NamedTuple):
    directory: Path
    expected: Path


def _find() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        for expected in sorted(directory.glob("expected*.json")):
            yield f"{directory.name}-{expected.stem}", Case(directory, expected)


def _place(directory: Path, files: Path) -> None:
    """The files of the case, and those that its snippets name."""
    corpus.copy(directory, files, ["expected*.json", "source.txt"])
    for snippet in files.rglob("*.conf"):
        for line in snippet.read_text().splitlines():
            if line.split()[:1] in (["linux"], ["initrd"]):
                corpus.touch(files, re.findall(r"(?<=\s)/[^\s$]+", line))


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_snippets_become_the_menu_grub_makes(case: Case, subject: Subject, tmp_path: Path) -> None:
    expected = corpus.load(case.expected)
    files = tmp_path / "files"
    _place(case.directory, files)
    config = files / "boot/grub2/grub.cfg"
    text = config.read_text()
    if "2.14" in case.expected.name:
        config.write_text(
            re.sub(r"^blscfg$", lambda _: expected["config_line"], text, flags=re.MULTILINE)
        )
        question = Question([corpus.partition(files, text)], flavour="upstream-2.14")
        differences = compare.listed(expected, subject.evaluate(question))
        assert not differences, "\n".join(differences)
        return
    got = subject.evaluate(Question([corpus.partition(files, text)], flavour="rhboot"))
    default = compare.default_of(got)
    boot = corpus.kernel_and_initrds(got["executed"])
    found = {
        "menu_ids": [entry["id"] for entry in got["entries"] if ">" not in entry["path"]],
        "path": default["path"],
        "id": default["ids"][-1],
        "title": default["titles"][-1],
        "kernel": boot["kernel"].replace("(hd0,gpt1)", "", 1),
        "initrd": [name.replace("(hd0,gpt1)", "", 1) for name in boot["initrd"]],
        "cmdline": boot["cmdline"],
    }
    wanted = {**expected["default"], "menu_ids": expected["cross_check"]["menu_ids"]}
    assert found == {name: wanted.get(name, found[name]) for name in found}
