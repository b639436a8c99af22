"""Is every image that u-root finds among GRUB's entries, as GRUB boots it?  differences.json has the exceptions."""

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
from tests.oracle.world import Question

FAMILY = "u-root"
RHBOOT = ("CentOS", "fedora", "rhel", "bls-")


class Case(NamedTuple):
    directory: Path
    expected: list[dict[str, Any]]


def _find() -> Iterator[tuple[str, Case]]:
    for directory in corpus.directories(FAMILY):
        file = directory / "expected.json"
        yield directory.name, Case(directory, corpus.load(file) if file.exists() else [])


def _inside(image: dict[str, Any] | None) -> str | None:
    """The path inside the file system: behind testdata/NAME or testdata_new/NAME."""
    if image is None:
        return None
    url = str(image.get("url") or image.get("name"))
    _, _, path = url.replace("file:///", "").partition("/")
    return "/" + path.partition("/")[2]


def _image(expected: dict[str, Any]) -> dict[str, Any]:
    found = {
        "title": expected["name"],
        "kernel": _inside(expected["kernel"]),
        "cmdline": expected["cmdline"].split(),
    }
    if "initrd" in expected:
        found["initrd"] = _inside(expected["initrd"])
    return found


def _as_grub(image: dict[str, Any], replace: list[list[str]]) -> dict[str, Any]:
    def changed(text: str) -> str:
        for pattern, grub, *only in replace:
            if not only or re.search(only[0], image["title"]):
                text = re.sub(pattern, grub, text)
        return text

    return {
        name: [new for new in map(changed, value) if new]
        if isinstance(value, list)
        else changed(value)
        for name, value in image.items()
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    boot = corpus.kernel_and_initrds(entry["executed"])
    initrds = boot.get("initrd")
    return {
        "title": entry["title"],
        "kernel": boot.get("kernel", "").partition(")")[2] or boot.get("kernel"),
        "cmdline": boot.get("cmdline", "").split(),
        "initrd": (initrds[0].partition(")")[2] or initrds[0]) if initrds else None,
    }


@pytest.mark.parametrize("case", corpus.cases(FAMILY, _find()))
def test_images_are_among_the_entries(case: Case, subject: Subject, tmp_path: Path) -> None:
    if not case.expected:
        pytest.skip(
            "u-root says nothing about this tree: it is the other partition of a case, or a lone snippet"
        )
    known = corpus.difference(FAMILY, case.directory.name)
    files = corpus.copy(case.directory / "fs", tmp_path / "files")
    images = [_as_grub(_image(image), known.get("replace", [])) for image in case.expected]
    configs = sorted(files.rglob("grub.cfg"), key=lambda path: (len(path.parts), path))
    if not configs:
        configs = [files / "grub2/grub.cfg"]
        corpus.touch(files, ["/grub2/grub.cfg"])
        configs[0].write_text("blscfg\n")
    prefix = "/" + str(configs[0].parent.relative_to(files))
    uuid = (files / "UUID").read_text().strip() if (files / "UUID").exists() else None
    partitions = [Partition(files, uuid)]
    flavour = "rhboot" if any(name in case.directory.name for name in RHBOOT) else "upstream"
    platform = "efi" if "EFI" in prefix else "pc"
    question = Question(partitions, prefix=prefix, flavour=flavour, platform=platform, cpu="x86_64")
    entries = [_entry(entry) for entry in corpus.leaves(subject.evaluate(question)["entries"])]
    missing = [
        image for image in images if image and not any(_same(image, entry) for entry in entries)
    ]
    assert not missing, "\n".join(
        [f"missing {image}" for image in missing] + [f"there is {entry}" for entry in entries]
    )


def _same(image: dict[str, Any], entry: dict[str, Any]) -> bool:
    return all(
        compare.blanks(entry[name]) == compare.blanks(value)
        if isinstance(value, str) and isinstance(entry[name], str)
        else entry[name] == value
        for name, value in image.items()
    )
