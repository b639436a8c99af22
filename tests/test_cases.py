"""Machines that users have reported, each a folder below the one that KEXEC_HOOK_CASES names.

A case is `tree/`, `links` (PATH -> TARGET, a line each; they are made in the copy), `expected.json`; the image of a
file system is `tree/dev/NAME.gz`.  What expected.json may ask:

    verb                            the words after --root TREE; without it stage --dry-run --json
    outcome | outcome_any           would-stage (exit status 0) or declined (3); one of these
    entry kernel initrds cmdline env_writes env_blocks     when it would stage: the fields of the JSON
    kernel_matches initrds_match    the same as regular expressions
    reason_matches                  when declined: for each expression an objection (reason or fix) that it matches
    reason_must_not_match           no objection may match
    exit                            the exit statuses that will do
    output_matches output_must_not_match                    the same for all that is printed
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

# Wrong today.  Whoever mends one takes it out: a case of this list that is right fails.
WRONG: set[str] = set()
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
STATUS = {"would-stage": 0, "declined": 3}
FIELDS = ("entry", "kernel", "initrds", "cmdline", "env_writes", "env_blocks")
Answer = dict[str, Any]  # JSON, as is what is expected


def cases() -> list[Any]:
    folder = os.environ.get("KEXEC_HOOK_CASES")
    if not folder:
        missing = pytest.mark.skip(reason="KEXEC_HOOK_CASES names no folder of cases")
        return [pytest.param(Path(), id="none", marks=missing)]
    found = sorted(path.parent for path in Path(folder).glob("*/expected.json"))
    wrong = pytest.mark.xfail(raises=AssertionError, reason="known to be wrong")
    return [
        pytest.param(case, id=case.name, marks=[wrong] if case.name in WRONG else [])
        for case in found
    ]


@pytest.mark.parametrize("case", cases())
def test_case_is_right(case: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    if any((case / "tree/dev").rglob("*.gz")) and not shutil.which("grub-fstest", path=PROGRAMS):
        pytest.skip("there is no grub-fstest (grub-common) to read the images of the case")
    shutil.copytree(case / "tree", tree, symlinks=True)
    make_links(case / "links", tree)
    for image in sorted((tree / "dev").rglob("*.gz")):
        unpack(image)
    expected: Answer = json.loads((case / "expected.json").read_text())
    verb = expected.get("verb", ["stage", "--dry-run", "--json"])
    done = subprocess.run(
        [sys.executable, "-m", "kexec_hook", "--root", str(tree), *verb],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )
    assert list(wrong(expected, done.returncode, done.stdout, done.stderr)) == []


def make_links(listed: Path, tree: Path) -> None:
    for line in listed.read_text().splitlines() if listed.exists() else []:
        path, _, target = line.partition(" -> ")
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)


def unpack(image: Path) -> None:
    """dev/sda2.gz becomes dev/sda2, with holes where there are only zeros."""
    size = 0
    with gzip.open(image) as packed, image.with_suffix("").open("wb") as disk:
        while piece := packed.read(1 << 16):
            if piece.strip(b"\0"):
                disk.seek(size)
                disk.write(piece)
            size += len(piece)
        disk.truncate(size)
    image.unlink()


def wrong(expected: Answer, status: int, out: str, err: str) -> Iterator[str]:
    """Sentences, each about one thing that is not as expected."""
    yield from wrong_output(expected, status, out + err)
    outcomes = expected.get("outcome_any") or [expected.get("outcome")]
    if outcomes == [None]:
        return
    try:
        answer = json.loads(out)
    except json.JSONDecodeError:
        yield f"no JSON, exit status {status}: {out + err}"
        return
    if answer["outcome"] not in outcomes:
        yield f"{answer['outcome']}, not {' or '.join(outcomes)}"
    if STATUS.get(answer["outcome"], status) != status:
        yield f"{answer['outcome']} with exit status {status}"
    yield from wrong_objections(expected, answer)
    if answer["outcome"] == "would-stage":
        yield from wrong_plan(expected, answer)


def wrong_output(expected: Answer, status: int, printed: str) -> Iterator[str]:
    if "Traceback" in printed:
        yield f"it crashes: {printed}"
    if status not in expected.get("exit", [status]):
        yield f"exit status {status}"
    for pattern in expected.get("output_matches", []):
        if not re.search(pattern, printed):
            yield f"does not print {pattern!r}: {printed}"
    for pattern in expected.get("output_must_not_match", []):
        if re.search(pattern, printed):
            yield f"prints {pattern!r}: {printed}"


def wrong_objections(expected: Answer, answer: Answer) -> Iterator[str]:
    reasons = [f"{made['reason']}\n{made.get('fix', '')}" for made in answer["objections"]]
    for pattern in expected.get("reason_must_not_match", []):
        for reason in reasons:
            if re.search(pattern, reason):
                yield f"says {pattern!r}: {reason}"
    if answer["outcome"] != "declined":
        return
    if not reasons or answer["commands"]:
        yield f"declined with {reasons} and {answer['commands']}"
    for pattern in expected.get("reason_matches", []):
        if not any(re.search(pattern, reason) for reason in reasons):
            yield f"does not say {pattern!r}: {reasons}"


def wrong_plan(expected: Answer, answer: Answer) -> Iterator[str]:
    got = {**answer, "entry": (answer["entry"] or {}).get("path")}
    for field in FIELDS:
        if field in expected and without_disk(got.get(field)) != without_disk(expected[field]):
            yield f"{field} is {got.get(field)!r}, not {expected[field]!r}"
    if not re.search(expected.get("kernel_matches", ""), got["kernel"]):
        yield f"kernel is {got['kernel']!r}"
    patterns = expected.get("initrds_match", [""] * len(got["initrds"]))
    matched = [bool(re.search(*pair)) for pair in zip(patterns, got["initrds"])]
    if len(patterns) != len(got["initrds"]) or not all(matched):
        yield f"initrds are {got['initrds']!r}"


def without_disk(value: Any) -> Any:
    """GRUB's name of the disk is a guess, and noted as one."""
    return (
        re.sub(r"^BOOT_IMAGE=\([^)]*\)", "BOOT_IMAGE=()", value)
        if isinstance(value, str)
        else value
    )
