"""An evaluation that would never end is ended, and says where and by what: never by luck, whatever the machine does."""

from __future__ import annotations

import pytest

from kexec_hook.grub.commands import TABLE
from kexec_hook.grub.flavours import FLAVOURS
from kexec_hook.grub.fuel import Fuel, Limit
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import read_source
from tests.property.disk import FewFiles

STATEMENTS = "this runs for ever (20,000 statements)"
TEXT = "the values of variables grow without end (1 MiB)"
TIME = "evaluating takes too long"


def limit(script: str, fuel: Fuel) -> tuple[str, int]:
    """What ends the script, and in which line."""
    machine = Machine(FewFiles({}), TABLE, FLAVOURS["upstream"], fuel)
    with pytest.raises(Limit) as caught:
        machine.run(read_source("grub.cfg", script.encode()))
    span = caught.value.span
    assert span is not None
    return caught.value.message, span.line


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        ("while true; do true; done", STATEMENTS),
        ("a=xx; while true; do a=$a$a; done", TEXT),
        ("while true; do eval 'while true; do true; done'; done", STATEMENTS),
        ("while true; do menuentry x { true; }; done", STATEMENTS),
        ("until false; do x=1; done", STATEMENTS),
    ],
)
def test_what_has_no_end_is_ended_where_it_loops(loop: str, why: str) -> None:
    patient = Fuel(statements=20_000, mib=1, seconds=3600)
    assert limit(f"set a=b\n\n{loop}\n", patient) == (why, 3)


def test_time_ends_what_neither_statements_nor_text_do() -> None:
    assert limit("set a=b\nwhile true; do true; done\n", Fuel(seconds=0)) == (TIME, 2)


def test_a_part_spends_less_and_has_the_time_of_the_whole() -> None:
    whole = Fuel(seconds=0)
    assert limit("while true; do true; done\n", whole.part()) == (TIME, 1)
    whole.deadline += 3600
    message, _ = limit("while true; do true; done\n", whole.part())
    assert message == "this runs for ever (100,000 statements)"
