"""Two kills in one shutdown, and one more behind the jump: finalize and what follows it, each at any system call."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.kills import tracing, units
from tests.kills.__main__ import preload
from tests.kills.computer import Computer
from tests.kills.scenarios import RUN
from tests.kills.tracing import Blow, Tree

pytestmark = [
    pytest.mark.skipif(bool(tracing.unsupported()), reason=tracing.unsupported()),
    pytest.mark.skipif(not shutil.which("grub-editenv"), reason="grub-editenv is not installed"),
]
# What may follow a finalize that was killed: the shutdown comes to nothing and another one begins, or it goes on.
NEXT = (
    [("complete",), ("finalize",)],
    [("complete",), RUN, ("finalize",)],
    [("complete",), ("unstage",), ("finalize",)],
    [("finalize",)],
    [("stage",)],
    [RUN],
    [("unstage",)],
)
MOST = 110  # about as many calls as finalize makes that change something
SEEDS = 2  # for each of them; more find no more: hundreds were tried by hand


@pytest.fixture(scope="module", autouse=True)
def everything_is_imported() -> None:
    preload()


def killed(computer: Computer, chance: random.Random, *argv: str) -> None:
    at = chance.randint(1, MOST)
    blow = Blow(at, signal.SIGKILL, whom=chance.choice(("all", "main")))
    tree = Tree(units.kexec_hook(computer, *argv), computer.lib / "output", blow)
    tree.run()
    tree.release()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("commands", NEXT, ids=lambda found: "-".join(argv[0] for argv in found))
def test_a_jump_is_right_and_a_firmware_boot_finds_grubenv_untouched(
    tmp_path: Path, commands: list[tuple[str, ...]], seed: int
) -> None:
    chance = random.Random(f"{commands} {seed}")
    computer = Computer(tmp_path / "machine", "debian-12-next")
    untouched = computer.block
    assert computer.call("stage").status == 0
    for argv in (("finalize",), *commands):
        computer.rebooting("kexec.target" if argv == ("finalize",) else "")
        killed(computer, chance, *argv)
    computer.rebooting("kexec.target")
    if computer.last_second(units.KEXEC) == "kexec":
        image = computer.image or ""
        assert (computer.approved, "/vmlinuz-6.1.0-9-amd64\n" in image) == (True, True)
        computer.power_on("kexec")
        killed(computer, chance, "complete")
    else:
        assert computer.block == untouched
        computer.power_on("firmware")
    assert [done for done in computer.start_units() if done.status] == []
    assert computer.block.variables[-1] == "next_entry="
    assert (computer.state("attempt.json"), computer.state("failed.json")) == (None, None)
