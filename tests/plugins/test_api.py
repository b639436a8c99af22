"""API 1.0 is frozen: the questions, what they are asked with, and what docs/plugins.md promises of it."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from kexec_hook.plugins import api, hookspecs

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/plugins.md").read_text()
# What is added makes it 1.1, with another table beside this one; what is taken away or renamed, 2.0.
QUESTIONS = {
    "kexec_hook_objections": ["decision", "sysroot"],
    "kexec_hook_notes": ["decision", "sysroot"],
    "kexec_hook_choose_entry": ["menu", "default", "trigger"],
    "kexec_hook_boot_config": ["sysroot", "disks"],
    "kexec_hook_package_manager": [],
    "kexec_hook_staged": ["decision"],
    "kexec_hook_judged": ["attempt", "came_up"],
}
# What plugins make, by position and by name: fields, and those that may be left out.
MADE: dict[Any, tuple[str, ...]] = {
    api.Objection: ("reason", "by", "rights", "elsewhere", "code", "fix"),
    api.Note: ("text", "code", "fix"),
    api.PackageManager: ("name", "sources", "glue", "tails", "databases", "programs"),
    api.BootConfig: (
        *("path", "config", "prefix", "flavour", "platform", "cpu", "cmdpath", "globbing"),
        *("notes", "relative", "others", "sync"),
    ),
}


def test_questions_of_api_1_0_are_these() -> None:
    found = {
        name: list(inspect.signature(question).parameters)
        for name, question in vars(hookspecs).items()
        if name.startswith("kexec_hook_")
    }
    assert (api.API_VERSION, found) == ("1.0", QUESTIONS)


def test_document_has_these_questions() -> None:
    rows = re.findall(r"^\| `(kexec_hook_\w+)\((.*)\)` \|", DOCUMENT, re.MULTILINE)
    assert {
        name: arguments.split(", ") if arguments else [] for name, arguments in rows
    } == QUESTIONS
    assert f"This is API {api.API_VERSION}, and it is frozen" in DOCUMENT


def test_what_plugins_make_has_these_fields_in_this_order() -> None:
    for made, fields in MADE.items():
        assert made._fields[: len(fields)] == fields
        extra = set(made._fields[len(fields) :])
        assert extra <= set(made._field_defaults)


def test_what_the_document_promises_of_the_arguments_is_there() -> None:
    rows = re.findall(
        r"^\| `.*` \| (.*)`(kexec_hook[\w.]+)`.* \| (`.*) \|$", DOCUMENT, re.MULTILINE
    )
    assert len(rows) == 7
    for _, path, promised in rows:
        module, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        source = inspect.getsource(kind)
        for field in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", promised)):
            assert hasattr(kind, field) or f"self.{field} " in source, (path, field)
