"""Every command that a document or a message shows is one.

kexec-hook's are run, on a directory that stands for a machine; so are those of make, Python and the journal looked up.
The README's others are run by `make packages-all`, in a fresh Debian, and docs/packaging.md's by `make packages`.
"""

from __future__ import annotations

import ast
import importlib.util
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
    text = text.replace("\\`", "`")  # in a table of sentences that have code in them
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from (line for block in blocks for line in block.splitlines())
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    # In a message that a table quotes, backquotes are escaped.
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+?)\\?`", rest))


def commands() -> dict[str, str]:
    """Every command line that begins with kexec-hook, and a document that has it."""
    found: dict[str, str] = {}
    for path in DOCUMENTS:
        for line in code(path.read_text(encoding="utf-8")):
            match = re.match(r"(?:[#$] )?(?:sudo )?(?:\.venv/bin/)?kexec-hook( .*|)$", line)
            if match and not re.search(r"[│└]|\.\.\.|^ *,", match[1]):
                found.setdefault(match[1].partition(" # ")[0].strip(), path.name)
    for path in sorted(ROOT.glob("kexec_hook/**/*.py")):
        for line in shown(path):
            found.setdefault(line.strip(), path.name)
    return found


def shown(path: Path) -> Iterator[str]:
    """The command lines of ours that a module may print: whole texts (what to do), and those between backquotes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "fix":
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                yield from re.findall(r"^(?:sudo )?kexec-hook( .*)$", node.value.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"`(?:sudo )?kexec-hook( [^`]*)`", node.value)


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


def test_python_modules_that_are_started_are_there() -> None:
    for path in DOCUMENTS:
        for line in code(path.read_text(encoding="utf-8")):
            for module in re.findall(r"python3 -m (tests\.[a-z_.]+)", line):
                assert importlib.util.find_spec(module), (path.name, module)


def test_fields_of_the_journal_and_of_the_environment_are_there() -> None:
    modules = [*ROOT.glob("kexec_hook/**/*.py"), *ROOT.glob("tests/**/*.py")]
    known = "".join(path.read_text(encoding="utf-8") for path in modules)
    for path in DOCUMENTS:
        for name in re.findall(r"KEXEC_HOOK_[A-Z]+", path.read_text(encoding="utf-8")):
            assert f'"{name}"' in known, (path.name, name)
