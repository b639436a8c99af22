"""The manual pages: their sections, what their tables become, and that groff has nothing to say."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from kexec_hook.commands.options import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    name: text
    for name, text in runpy.run_path(str(ROOT / "man/make.py"))["made"]()
    if "/man/" in name
}
MAIN = next(text for name, text in PAGES.items() if name.endswith("kexec-hook.8"))


def test_manual_has_the_sections_that_one_looks_for() -> None:
    sections = re.findall(r"^\.SH (.*)$", MAIN, re.MULTILINE)
    wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES"]
    assert [name for name in (*wanted, "EXAMPLES", "SEE ALSO") if name not in sections] == []
    conf = next(text for name, text in PAGES.items() if name.endswith(".5"))
    assert {"EXAMPLES", "FILES", "SEE ALSO"} <= set(re.findall(r"^\.SH (.*)$", conf, re.MULTILINE))


def test_every_command_is_in_the_manual() -> None:
    plain = MAIN.replace("\\-", "-")
    assert [name for name in COMMANDS if f"kexec-hook {name}" not in plain] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_entry_is_the_head_of_a_table(name: str) -> None:
    entries = re.findall(r"^\.TP\n(.*)$", PAGES[name], re.MULTILINE)
    heads = {"status", "variable", "file", "place", "code", "read in this order"}
    assert heads & set(entries) == set()


@pytest.mark.parametrize("name", PAGES)
def test_groff_has_nothing_to_say(name: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-z"], input=PAGES[name], capture_output=True, text=True
    )
    assert (done.stderr, done.returncode) == ("", 0)
