"""The contract on our files: what modules, hooks, units and packages call them is what names.py says, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kexec_hook.state.names import NAMES, Name

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("hooks", "systemd", "packaging")
# In shell, python and units: whole, or below a variable or a function of the script that stands for the directory.
_NAMED = re.compile(
    r"(?P<whole>/(?:run|var/lib)/kexec-hook(?:/(?!\$)[\w.-]+|\.[\w.-]+)?)"
    r'|\$state/(?P<below>[\w.-]+)|"\$state/\$(?P<each>marker)"|^\s*mark (?P<argument>changed|new)',
    re.MULTILINE,
)
# Directories, and words of the text that are none of ours.
_DIRECTORIES = {"/run/kexec-hook", "/var/lib/kexec-hook"}


def outside() -> list[str]:
    found = (path for name in OUTSIDE for path in (ROOT / name).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(ROOT)) for path in found if path.suffix != ".pyc")


def code(path: str) -> str:
    """Without comments and documentation."""
    lines = (ROOT / path).read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "//", "|")))


def named_in(path: str) -> set[str]:
    """The files of ours that a file outside of the package names."""
    found = set()
    for match in _NAMED.finditer(code(path)):
        if match["each"]:
            found |= {"/run/kexec-hook/changed", "/run/kexec-hook/new"}
        elif match["whole"]:
            found.add(re.sub(r"\.asks\b.*", ".asks-PID", match["whole"]))
        else:
            found.add(f"/run/kexec-hook/{match['below'] or match['argument']}")
    return found - _DIRECTORIES


def who(name: Name) -> set[str]:
    return {*name.written, *name.read, *name.removed}


@pytest.mark.parametrize("path", outside())
def test_scripts_and_units_name_only_what_the_contract_has_for_them(path: str) -> None:
    expected = {name.path for name in NAMES if path in who(name)}
    assert named_in(path) == expected


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_who_is_named_is_there(name: Name) -> None:
    for one in who(name):
        path = ROOT / one if "/" in one else ROOT / f"kexec_hook/{one.replace('.', '/')}.py"
        assert path.is_file(), one


def test_documentation_has_the_same_files() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("## State") : text.index("## The next reboot")]
    assert re.findall(r"^\| `(/[^`]+)` \| (.*) \|$", table, re.MULTILINE) == [
        (name.path, name.what) for name in NAMES
    ]
