"""Do petitboot's parser tests come out as real GRUB has it?  Where petitboot differs, differences.json says how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import compare
from tests.oracle.disk import Partition
from tests.oracle.envblock import variables
from tests.oracle.world import Question

FAMILY = "petitboot"


class Case(NamedTuple):
    directory: Path
    expected: dict[str, Any]


def _find() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        yield directory.name, Case(directory, corpus.load(directory / "expected.json"))


def _partitions(case: Case, files: Path) -> list[Partition]:
    found = []
    for device in case.expected["devices"]:
        target = files / device["name"]
        target.mkdir(parents=True)
        source = case.directory / "fs" / device["name"]
        if source.is_dir():
            corpus.copy(source, target)
        found.append(Partition(target, device.get("uuid"), device.get("label")))
    for made in case.expected["dirs"]:
        (files / made["device"] / made["path"].lstrip("/")).mkdir(parents=True, exist_ok=True)
    return found


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_menu_is_what_grub_makes_of_it(case: Case, subject: Subject, tmp_path: Path) -> None:
    known = corpus.difference(FAMILY, case.directory.name)
    expected = corpus.instead(case.expected, known)
    partitions = _partitions(case, tmp_path)
    directory = str(Path(expected["config"]["path"]).parent)
    before = variables_of(partitions[0].files, expected)
    got = subject.evaluate(Question(partitions, prefix=directory, flavour="rhboot"))
    leaves = corpus.leaves(got["entries"])
    differences = []
    if expected["boot_option_count"] is not None and expected["boot_option_count"] != len(leaves):
        differences.append(f"{len(leaves)} entries, GRUB has {expected['boot_option_count']}")
    for option in expected["options"]:
        differences += _compare(option, leaves, compare.default_of(got)["path"])
    for check in expected["file_checks"] or []:
        after = (
            compare.after_writes(before, got["env_writes"])
            if "env_writes" in got
            else got["grubenv_after"]
        )
        wanted = check.get("variables", variables(check["content"].encode()))
        if after != wanted:
            differences.append(f"{check['path']}: {after!r}, GRUB has {wanted!r}")
    assert not differences, "\n".join(differences)


def variables_of(files: Path, expected: dict[str, Any]) -> dict[str, str]:
    for check in expected["file_checks"] or []:
        return variables((files / check["path"][1:]).read_bytes()) or {}
    return {}


def _path(word: str) -> str:
    return word.partition(")")[2] if word.startswith("(") else word


def _compare(
    option: dict[str, Any], leaves: list[dict[str, Any]], default: str | None
) -> list[str]:
    if option["index"] >= len(leaves):
        return [f"there is no entry {option['index']}"]
    entry = leaves[option["index"]]
    boot = corpus.kernel_and_initrds(entry["executed"])
    found: dict[str, Any] = {
        "name": entry["title"],
        "args": boot.get("cmdline"),
        "kernel": _path(boot.get("kernel", "")),
        "initrd": _path(boot["initrd"][0]) if boot.get("initrd") else None,
        "default": entry["path"] == default,
    }
    differences = []
    for name in found:
        if name not in option:
            continue
        wanted = option[name]["path"] if isinstance(option[name], dict) else option[name]
        if isinstance(wanted, str):
            wanted = compare.blanks(wanted)
        if name == "args":
            wanted, found[name] = wanted or "", found[name] or ""  # a kernel without arguments
        if found[name] != wanted:
            differences.append(
                f"entry {option['index']} {name}: {found[name]!r}, GRUB has {wanted!r}"
            )
    return differences
