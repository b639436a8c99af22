"""docs/grub-compatibility.md lists the commands that there are, each under its fate."""

from __future__ import annotations

import re
from pathlib import Path

from kexec_hook.grub.commands import TABLE

DOCS = Path(__file__).resolve().parents[2] / "docs/grub-compatibility.md"
FATES = {"Probes": {"probes"}, "Inert": {"inert"}, "Refused": {"refused"}}


def test_every_command_is_listed_under_its_fate() -> None:
    chapter = DOCS.read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    parts = re.findall(r"^\*(\w+)\*[^`]*\n\n((?:`[^\n]*\n)+)", chapter, re.MULTILINE)
    assert [fate for fate, _ in parts] == ["Implemented", *FATES]
    for fate, names in parts:
        told = set(re.findall(r"`([^`]+)`", names))
        others = set().union(*FATES.values())
        modules = {name: handler.__module__.rpartition(".")[2] for name, handler in TABLE.items()}
        wanted = {
            name
            for name, module in modules.items()
            if (module in FATES.get(fate, ()) or (fate == "Implemented" and module not in others))
        }
        assert told == wanted
