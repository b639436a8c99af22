"""Every command of the GRUBs that are installed here has a fate: done, harmless, refused, or a question to hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.grub.commands import TABLE

LISTS = sorted(Path("/usr/lib/grub").glob("*/command.lst"))


@pytest.mark.oracle
@pytest.mark.parametrize("commands", LISTS, ids=[path.parent.name for path in LISTS])
def test_every_command_has_a_fate(commands: Path) -> None:
    names = {
        line.partition(":")[0].lstrip("*")
        for line in commands.read_text().splitlines()
        if ":" in line
    }
    assert names - set(TABLE) == set()
