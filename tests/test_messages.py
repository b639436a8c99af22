"""What people read: every sentence has a code, is in the documentation, and is plain English."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from kexec_hook.plugins.api import Objection
from kexec_hook.report import troubleshooting
from kexec_hook.report.reasons import fix_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs/how-it-decides.md"
MODULES = sorted((ROOT / "kexec_hook").rglob("*.py"))

# Words that only this project's authors would understand, or that hide who does what.
PRIVATE = r"jumps?|jumped|jumping|said|told|glue|words?|judged?|speaks? against|the ordinary way|an ordinary one"


def sentence(node: ast.expr) -> str:
    """The text of an expression, with … for what differs from case to case."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        return re.sub("…+", "…", "".join(parts))
    return "…"


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every Objection(...) and Note(...) in the program, and where it is."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("Objection", "Note"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def code_of(call: ast.Call) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    if named is None and isinstance(call.func, ast.Name) and call.func.id == "Note":
        return call.args[1]
    return named


def in_code() -> dict[str, set[str]]:
    found = defaultdict(set)
    for _, call in calls():
        code = code_of(call)
        found[sentence(code) if code else "plugin"].add(sentence(call.args[0]))
    return dict(found)


def rows() -> list[tuple[str, set[str]]]:
    """The tables of the documentation: code and sentences."""
    found = []
    for line in DOCS.read_text().splitlines():
        cells = line[2:].split(" | ")
        if line.startswith("| `"):
            plain = cells[1].replace("\\`", "`").split("<br>")
            texts = {re.sub("…+", "…", re.sub(r"\*[^*]+\*", "…", text)) for text in plain}
            found.append((cells[0].strip("`"), texts))
    return found


@pytest.mark.parametrize(("where", "call"), list(calls()))
def test_every_objection_and_note_has_a_code(where: str, call: ast.Call) -> None:
    code = code_of(call)
    if code is None:
        assert where.startswith("kexec_hook/plugins/asking.py"), "a plugin's own sentence"
    else:
        assert isinstance(code, ast.Constant)
        assert re.fullmatch("[a-z]+(-[a-z]+)*", str(code.value))


def test_every_code_is_documented_once() -> None:
    codes = [code for code, _ in rows()]
    assert sorted(codes) == sorted(in_code())


def test_every_sentence_is_in_the_documentation_and_no_other() -> None:
    assert dict(rows()) == in_code()


def test_every_code_has_its_row_in_troubleshooting() -> None:
    assert sorted(troubleshooting.rows()) == sorted(in_code())


def test_a_reason_without_a_fix_of_its_own_has_the_general_one() -> None:
    own = Objection("a key waits", code="mok-request", fix="mokutil --revoke-import")
    assert fix_of(own) == "mokutil --revoke-import"
    assert fix_of(own._replace(code="firmware-update", fix="")) == "reboot; it takes place then"
    nothing_helps = own._replace(code="confidential-vm", fix="")
    assert fix_of(nothing_helps) == ""
    assert fix_of(Objection("a plugin's own", code="quorum")) == ""


def texts() -> Iterator[tuple[str, str]]:
    """Every text in the program that is no docstring and has more than one word, and where it is."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if id(node) not in docstrings and " " in node.value:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


# For users; what is for developers may define more, and proof.md and timeline.md are written by programs.
FOR_USERS = (
    *("README.md", "SECURITY.md", "CONTRIBUTING.md", "NEWS.md", "kexec_hook/data/kexec-hook.conf"),
    *("man/kexec-hook.md", "docs/settings.md", "docs/json.md", "docs/troubleshooting.md"),
    *("docs/how-it-decides.md", "docs/reboot-paths.md", "docs/supported.md", "docs/plugins.md"),
    "docs/packaging.md",
)


@pytest.mark.parametrize("path", FOR_USERS)
def test_documents_use_no_private_words(path: str) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", (ROOT / path).read_text(), flags=re.DOTALL)
    private = PRIVATE.replace("words?|", "").replace("judged?|", "")  # a command line has words
    found = [line for line in text.splitlines() if re.search(rf"\b(?i:{private})\b", line)]
    assert found == []


def test_messages_use_no_private_words() -> None:
    found = [
        f"{where}: {text}"
        for where, text in texts()
        if not text.startswith(("kexec-hook ", "[ "))  # a command's name, and a regular expression
        and re.search(rf"\b({PRIVATE})\b", text)
    ]
    assert found == []


def test_messages_negate_the_verb() -> None:
    """`x is not a y`, as people say it, and not `x is no y`."""
    pattern = r"(?<!there )\b(is|are|was|were) no (?!longer\b|more\b)"
    found = [f"{where}: {text}" for where, text in texts() if re.search(pattern, text)]
    assert found == []
