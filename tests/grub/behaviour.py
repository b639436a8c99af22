"""One behaviour of GRUB script per test: what a script writes here and, when `make oracle` asks, in grub-emu."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.disks.directories import Partition, PartitionDisks
from kexec_hook.report import grubeval
from tests.oracle import emu, world

# What a script may use: `p` writes how many words it got, and each in angle brackets.
PRELUDE = 'function p { echo -n "$#:"; if [ $# != 0 ]; then for a in "$@"; do echo -n "<$a>"; done; fi; echo; }\n'
Table = Mapping[str, tuple[str, str]]  # a sentence: a script, and what it writes


def ours(directory: Path, script: str) -> str:
    partition = world.make(directory)
    disks = PartitionDisks(
        [Partition(partition.files, partition.uuid or "", partition.label or "")]
    )
    machine = grubeval.make_machine(
        disks, "upstream", "pc", "i386", "(hd0,gpt1)/boot/grub", {"grubshell": "yes"}
    )
    written, _ = grubeval.script(machine, "script", (PRELUDE + script).encode())
    return written


@contextmanager
def grub() -> Iterator[emu.Grub]:
    why = emu.missing()
    if why:
        pytest.skip(why)
    with emu.scratch() as directory:
        yield emu.Grub([world.make(directory / "files")], directory / "images")


def behaviours(table: Table) -> tuple[Callable[..., None], Callable[..., None], Any]:
    """A test of ours, one of GRUB, and the fixture that the latter needs."""
    rows = [
        pytest.param(script, wanted, id=sentence) for sentence, (script, wanted) in table.items()
    ]

    @pytest.mark.parametrize(("script", "wanted"), rows)
    def test_kexec_hook(tmp_path: Path, script: str, wanted: str) -> None:
        assert ours(tmp_path, script) == wanted

    @pytest.mark.oracle
    @pytest.mark.parametrize(("script", "wanted"), rows)
    def test_grub_emu(running: emu.Grub, script: str, wanted: str) -> None:
        assert running.script(PRELUDE + script, {"grubshell": "yes"}).text == wanted

    @pytest.fixture(scope="module")
    def running() -> Iterator[emu.Grub]:
        with grub() as made:
            yield made

    return test_kexec_hook, test_grub_emu, running
