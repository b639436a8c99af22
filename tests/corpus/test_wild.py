"""Do configurations from public repositories list and boot what they list and boot under real GRUB?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.corpus import corpus
from tests.corpus.conftest import Subject
from tests.oracle import compare
from tests.oracle.disk import Partition
from tests.oracle.world import Question, environment_block

FAMILY = "wild"
FLAVOURS = {"deb": "upstream", "rh": "rhboot"}
_PARTUUID = re.compile(r"PARTUUID=(?:none|[0-9a-f-]{36})$")
# Titles that are empty look like the end of a menu that is drawn; a configuration that loads itself has no end.
NOT_TO_BE_SEEN = {"salix-salt-boot", "cobbler-ppc-local"}
CPUS = {"pc": "i386", "efi": "x86_64"}


class Case(NamedTuple):
    directory: Path
    name: str
    expected: dict[str, Any]


def _runs() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        for name, run in corpus.load(directory / "grub-emu.json")["runs"].items():
            yield f"{directory.name}-{name.replace('/', '-')}", Case(directory, name, run)


def _derived() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        if not (directory / "expected.json").exists():
            continue
        whole = corpus.load(directory / "expected.json")
        for flavour in ("upstream", "rhboot"):
            for number, variant in enumerate([whole, *whole.get("variants", [])]):
                expected = {**variant, "assumptions": whole["assumptions"]}
                yield f"{directory.name}-{number}-{flavour}", Case(directory, flavour, expected)


def _place(case: Case, files: Path) -> str:
    config = (case.directory / "grub.cfg").read_bytes()
    corpus.touch(files, ["/boot/grub/grub.cfg"])
    (files / "boot/grub/grub.cfg").write_bytes(config)
    if (case.directory / "grubenv").exists():
        (files / "boot/grub/grubenv").write_bytes((case.directory / "grubenv").read_bytes())
    return config.decode("utf-8", "replace")


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _runs()))
def test_configuration_alone_lists_and_boots_the_same(
    case: Case, subject: Subject, tmp_path: Path
) -> None:
    if "error" in case.expected:
        pytest.skip(f"the recorded run says nothing: {case.expected['error']}")
    if subject.name == "grub-emu" and case.directory.name in NOT_TO_BE_SEEN:
        pytest.skip("not to be seen on grub-emu's screen")
    files = tmp_path / "files"
    config = _place(case, files)
    flavour, platform = case.name.split("/")
    question = Question(
        [corpus.partition(files, config)],
        flavour=FLAVOURS[flavour],
        platform=platform,
        cpu=CPUS[platform],
    )
    got = subject.evaluate(question, "top")
    keys = ("path", "title", "id", "submenu")
    entries = [dict(zip(keys, entry)) for entry in case.expected["entries"]]
    differences = compare.entries(entries, got["entries"], only_top=True)
    expected = corpus.instead(case.expected, corpus.difference(FAMILY, case.directory.name))
    del expected["entries"]
    expected["executed"] = _comparable(expected["executed"], subject.leave_out)
    default = compare.default_of(got)
    found = {
        "default_path": default["path"],
        "default_titles": default["titles"],
        "executed": _comparable(got["executed"], subject.leave_out),
    }
    for side in (expected, found):
        if side.get("default_titles"):
            side["default_titles"] = [compare.blanks(title) for title in side["default_titles"]]
    differences += [
        f"{name}: {expected[name]!r} != {found[name]!r}"
        for name in expected
        if expected[name] != found[name]
    ]
    assert not differences, "\n".join(differences)


def _comparable(executed: list[list[str]], leave_out: frozenset[str]) -> list[list[str]]:
    """Less the UUID of the partition, which each run's disk has its own of."""
    return [
        [_PARTUUID.sub("PARTUUID=", word) for word in line]
        for line in compare.words(executed, leave_out)
    ]


def _files_of(expected: dict[str, Any]) -> list[str]:
    default = expected["default"]
    modules = [module["file"] for module in default.get("modules", [])]
    return [
        *default.get("initrd", []),
        *modules,
        *(default[k] for k in ("kernel", "chainloader") if k in default),
    ]


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _derived()))
def test_configuration_boots_what_was_worked_out_by_hand(
    case: Case, subject: Subject, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    config = _place(case, files)
    expected = case.expected
    default = expected["default"]
    if case.name == "rhboot":
        default = expected.get("default_rhboot", default)
    if "change" in expected:
        name = expected["change"].partition("=")[0]
        lines = [
            expected["change"] if line.startswith((name + "=", f"set {name}=")) else line
            for line in config.split("\n")
        ]
        (files / "boot/grub/grub.cfg").write_text("\n".join(lines))
    if "grubenv" in expected:
        environment = files / expected.get("grubenv_file", "/boot/grub/grubenv")[1:]
        environment.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in expected["grubenv"].items()]
        environment.write_bytes(environment_block("".join(lines).encode()))
    extra = case.directory / "fs/grub2"
    if extra.is_dir():
        corpus.copy(extra, files / "boot/grub")
    corpus.touch(
        files, [path for path in _files_of(expected) if not path.startswith(("(loop)", "+"))]
    )
    platform = expected.get("assume", expected["assumptions"])["platform"]
    partitions = _partitions(files, config, default)
    question = Question(partitions, flavour=case.name, platform=platform, cpu=CPUS[platform])
    got = subject.evaluate(question, "none")
    found = {**compare.default_of(got), **corpus.kernel_and_initrds(got["executed"])}
    wanted = {name: value for name, value in default.items() if name not in ("root_by", "loopback")}
    assert {name: _plain(found.get(name)) for name in wanted} == {
        name: _plain(wanted[name]) for name in wanted
    }


def _plain(value: Any) -> Any:
    return compare.blanks(value) if isinstance(value, str) else value


def _partitions(files: Path, config: str, default: dict[str, Any]) -> list[Partition]:
    """One partition for each UUID and label searched for, and at least four; all hold the same files."""
    uuids = corpus.searched_uuids(config)
    labels = corpus.searched_labels(config)
    kind, _, value = default.get("root_by", "").partition(" ")
    if kind == "uuid":
        uuids = [value, *(uuid for uuid in uuids if uuid != value)]
    elif kind == "label":
        labels = [value, *(label for label in labels if label != value)]
    count = max(len(uuids), len(labels), 4)
    names = zip(
        [*uuids, *[None] * (count - len(uuids))], [*labels, *[None] * (count - len(labels))]
    )
    return [Partition(files, uuid, label) for uuid, label in names]
