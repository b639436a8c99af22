"""Every command that a document shows is one: kexec-hook's are run, on a directory that stands for a machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import Box

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("man/*.md")])
# What stands for something else in a document.
EXAMPLES = {
    "RELEASE": "6.1.0-39-amd64",
    "SPEC": "1>2",
    "ENTRY": "1>2",
    "DIR": "{tree}/boot",
    "FILE": "{tree}/boot/grub/grub.cfg",
    "COMMAND": "stage",
    "CODE": "not-mounted",
    "NAME": "apt",
    "/mnt/boot": "{tree}/boot",
    "list|install|remove": "list",
}


def code(text: str) -> Iterator[str]:
    """Code spans, and lines of code blocks."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from (line for block in blocks for line in block.splitlines())
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest))


def commands() -> dict[str, str]:
    """Every command line that begins with kexec-hook, and a document that has it."""
    found: dict[str, str] = {}
    for path in DOCUMENTS:
        for line in code(path.read_text(encoding="utf-8")):
            match = re.match(r"(?:[#$] )?(?:sudo )?kexec-hook( .*|)$", line)
            if match and not re.search(r"[│└]|\.\.\.|^ *,", match[1]):
                found.setdefault(match[1].partition(" # ")[0].strip(), path.name)
    return found


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp("machine"))


@pytest.mark.parametrize(("line", "document"), sorted(commands().items()))
def test_command_of_a_document_is_one(
    line: str, document: str, box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.strip("[]") for word in shlex.split(line)]
    words = [EXAMPLES.get(word, word).format(tree=box.root) for word in words]
    status = box.run(*words)
    error = capsys.readouterr().err
    if words[:1] == ["reboot"] and not {"-y", "--yes"} & set(words):
        assert "not a terminal" in error
    else:
        assert status != 2, (document, error)


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for path in DOCUMENTS:
        for line in code(path.read_text(encoding="utf-8")):
            for target in re.findall(r"^make ([a-z][a-z0-9-]*)", line):
                assert re.search(rf"^{target}\b.*:", makefile, re.MULTILINE), (path.name, target)
