"""The tool itself: what it strikes, what it finds wrong, and the same few points of each scenario."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kills import tracing, units
from tests.kills.__main__ import Bench, points, preload, spread
from tests.kills.computer import Computer
from tests.kills.proof import TITLE, Row, put, section
from tests.kills.scenarios import SCENARIOS, NothingToStrike
from tests.kills.tracing import Blow, Tree

pytestmark = [
    pytest.mark.skipif(bool(tracing.unsupported()), reason=tracing.unsupported()),
    pytest.mark.skipif(not shutil.which("grub-editenv"), reason="grub-editenv is not installed"),
]
# Each so manieth point of a scenario is tried here; `make kills` tries them all.
FEW = 3


@pytest.fixture(scope="module", autouse=True)
def everything_is_imported() -> None:
    preload()


def shell(script: str) -> Callable[[], object]:
    return lambda: os.execv("/bin/sh", ["sh", "-c", script])


def test_calls_that_change_something_are_counted_in_all_processes(tmp_path: Path) -> None:
    tree = Tree(
        shell(f"cd {tmp_path}; : < /dev/null; echo a > a; (mv a b); exit 3"), tmp_path / "out"
    )
    tree.run()
    assert tree.status == 3
    calls = [(call.name, call.what, call.main) for call in tree.calls]
    assert ("openat", "a", True) in calls
    assert any(name.startswith("rename") and what == "b" and not main for name, what, main in calls)
    assert not any(what == "/dev/null" for _, what, _ in calls)
    assert [call.alone for call in tree.calls][-1]


def number(tree: Tree, name: str, what: str) -> int:
    return next(
        at for at, call in enumerate(tree.calls, 1) if (call.name, call.what) == (name, what)
    )


def test_error_comes_in_place_of_the_call(tmp_path: Path) -> None:
    script = shell(f"cd {tmp_path}; mkdir made; echo $?")
    tree = Tree(script, tmp_path / "out")
    tree.run()
    (tmp_path / "made").rmdir()
    again = Tree(
        script,
        tmp_path / "out",
        Blow(number(tree, "mkdir", "made"), errno=errno.ENOSPC, whom="caller"),
    )
    again.run()
    assert not (tmp_path / "made").exists()
    assert (tmp_path / "out").read_text().endswith("No space left on device\n1\n")


@pytest.mark.parametrize(
    ("whom", "status", "made"), [("main", -9, True), ("caller", 0, False), ("all", -9, False)]
)
def test_signal_reaches_the_main_process_the_caller_or_all(
    tmp_path: Path, whom: tracing.Whom, status: int, made: bool
) -> None:
    script = shell(f"cd {tmp_path}; mkdir made; exit 0")
    tree = Tree(script, tmp_path / "out")
    tree.run()
    (tmp_path / "made").rmdir()
    blow = Blow(number(tree, "mkdir", "made"), signal.SIGKILL, whom=whom)
    again = Tree(script, tmp_path / "out", blow)
    again.run()
    assert (again.status, (tmp_path / "made").exists()) == (status, made)


def test_process_that_is_held_goes_on_when_told(tmp_path: Path) -> None:
    script = shell(f"cd {tmp_path}; mkdir made; exit 0")
    tree = Tree(script, tmp_path / "out")
    tree.run()
    (tmp_path / "made").rmdir()
    blow = Blow(number(tree, "mkdir", "made"), signal.SIGKILL, whom="main", hold=True)
    again = Tree(script, tmp_path / "out", blow)
    again.run()
    assert (again.status, again.holds, (tmp_path / "made").exists()) == (-9, True, False)
    again.release()
    assert (again.holds, (tmp_path / "made").exists()) == (False, True)


def test_units_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    unit = tmp_path / "a.service"
    unit.write_text(
        "[Service]\nExecStart=/bin/false\nExecStart=\n# no\n"
        "ExecStart=-/bin/sh -c 'echo \"$$HOME\" \\\n 100%%'\nExecStart=/bin/true\n"
    )
    assert units.commands(unit, "ExecStart") == [
        units.Command("a.service", True, ("/bin/sh", "-c", 'echo "$HOME"   100%')),
        units.Command("a.service", False, ("/bin/true",)),
    ]


def test_what_nobody_strikes_is_right(tmp_path: Path) -> None:
    computer = Computer(tmp_path / "machine", "debian-12-next")
    assert computer.call("stage").status == 0
    assert [computer.last_second(unit) for unit in (units.KEXEC, units.REBOOT)] == [
        "reboot",
        "reboot",
    ]
    assert [finished.status for finished in computer.stop()][-1] == 0
    assert [computer.last_second(unit) for unit in (units.KEXEC, units.REBOOT)] == [
        "kexec",
        "kexec",
    ]
    computer.power_on("kexec")
    assert not computer.loaded
    assert (computer / "proc/sys/kernel/osrelease").read_text() == "6.1.0-9-amd64\n"
    computer.start_units()
    assert computer.block.variables[-1] == "next_entry="
    assert computer.state("attempt.json") is computer.state("failed.json") is None


def test_drop_in_that_jumps_unasked_is_found(tmp_path: Path) -> None:
    """What the tool is for: a jump that no shutdown has approved."""
    systemd = tmp_path / "systemd"
    shutil.copytree(units.SYSTEMD, systemd)
    for drop_in in (systemd / f"{units.KEXEC}.d").iterdir():
        drop_in.write_text(
            "[Service]\nExecStart=\nExecStart=/bin/sh -c 'systemctl --force kexec'\n"
        )
    bench = Bench(SCENARIOS["stage"], tmp_path)
    calls = bench.calls()
    bench.systemd = systemd
    faults = list(bench.faults(Blow(len(calls), signal.SIGKILL)))
    assert faults[0] == "systemd-kexec.service jumps, and no shutdown has approved it"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_few_points_of_each_scenario_are_right(name: str, tmp_path: Path) -> None:
    bench = Bench(SCENARIOS[name], tmp_path)
    try:
        found = points(bench.scenario, "kill", bench.calls())
    except NothingToStrike as nothing:
        pytest.skip(str(nothing))
    step = max(1, len(found) // FEW)
    chosen = list(enumerate(found[step // 2 :: step]))
    # All at once: many of them wait for a lock that a held process has.
    tried = spread(bench.scenario, chosen, tmp_path, len(chosen), float("inf"))
    assert len(tried) == len(chosen)
    assert [one for one in tried if one.faults] == []


def test_numbers_take_the_place_of_the_last_ones() -> None:
    rows = [Row("stage", "kill", 70, 180, 0), Row("stage", "int", 70, 140, 2)]
    text = put("# Proof\n\n## test_bls.py\n\n| a |\n", section(rows, ("int", "kill"), 1, "abc"))
    assert "- 320 points, 2 bad\n" in text
    assert "| stage | 70 | 140, 2 | 180, 0 |\n" in text
    text += "\n## After\n"
    again = put(text, section(rows[:1], ("int", "kill"), 1, "abc"))
    assert again.count(TITLE) == 1
    assert again.startswith("# Proof\n\n## test_bls.py\n\n| a |\n")
    assert again.endswith("| stage | 70 |  | 180, 0 |\n\n## After\n")
