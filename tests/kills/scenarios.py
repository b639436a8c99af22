"""What is going on when the blow comes: how the machine was brought there, and the command that is hit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tests.kills import units
from tests.kills.computer import Block, Computer
from tests.kills.tracing import Blow, Tree

INITRD = "boot/initrd.img-6.1.0-39-amd64"

Kind = Literal["staging", "shutdown", "again", "cold", "judge", "complete"]

RUN = ("run", "--source=apt")


class Right(NamedTuple):
    """What a jump must be, where there is one."""

    image: str | None  # None: each jump is wrong
    variables: tuple[str, ...]  # of grubenv, after it


class NothingToStrike(Exception):
    """There is no such moment."""


class Scenario(NamedTuple):
    """One command of one machine."""

    name: str
    kind: Kind
    tree: str
    prepare: Callable[[Computer], None]
    argv: tuple[str, ...] = ()  # of kexec-hook; empty: `command`
    command: Callable[[], units.Command | None] = lambda: None
    stuck: bool = False  # kexec outlives the signal that should end it
    errors: bool = True  # tried with errors as well

    def make(self, directory: Path) -> Computer:
        """The machine, a moment before the command.  NothingToStrike."""
        if not self.argv and self.command() is None:
            raise NothingToStrike("no unit does this")
        computer = Computer(directory, self.tree)
        if self.stuck:
            (computer.lib / "stuck").touch()
        self.prepare(computer)
        return computer

    def program(self, computer: Computer) -> Callable[[], object]:
        if self.argv:
            return units.kexec_hook(computer, *self.argv)
        command = self.command()
        assert command
        return command.program(computer)

    @property
    def calls_run(self) -> bool:
        """Is it what a package manager waits for, which must not fail?"""
        return self.argv[:1] == ("run",) or self.name == "hook"

    def right(self, directory: Path) -> Right:
        """From a machine on which nothing goes wrong: staged, shut down, and about to jump."""
        computer = Computer(directory, self.tree)
        if self.kind == "staging":
            self.prepare(computer)
        computer.call("stage")
        computer.stop()
        image = computer.image if computer.approved else None
        # GRUB would use the one-time entry up.
        computer.grub()
        return Right(image, computer.block.variables)


def _nothing(computer: Computer) -> None:
    pass


def _staged(computer: Computer) -> None:
    assert computer.call("stage").status == 0
    assert computer.loaded


def _another_default(computer: Computer) -> None:
    _staged(computer)
    config = computer / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace('set default="0"', 'set default="1>2"'))


def _always(computer: Computer) -> None:
    """Nothing is staged, and the machine goes down."""
    computer.write("etc/kexec-hook.conf", "when = always\n")
    computer.rebooting()


def _initrd_gone(computer: Computer) -> None:
    _staged(computer)
    (computer / INITRD).unlink()


def _shutting_down(computer: Computer) -> None:
    _staged(computer)
    computer.rebooting("kexec.target")


def _shutting_down_uncounted(computer: Computer) -> None:
    """Linux before 6.3 does not count: all is loaded anew."""
    (computer / "proc/sys/kernel/kexec_load_limit_reboot").unlink()
    _shutting_down(computer)


def _approved(computer: Computer) -> None:
    """The unit has stopped, and what follows comes behind its approval."""
    _staged(computer)
    computer.untouched = computer.block
    computer.stop()
    assert computer.approved
    assert computer.block != computer.untouched


def _approved_and_changed(computer: Computer) -> None:
    """What GRUB would boot next is changed then, and no longer what was approved."""
    _approved(computer)
    config = computer / "boot/grub/grub.cfg"
    config.write_text(config.read_text() + "set timeout=7\n")


def _approved_and_broken(computer: Computer) -> None:
    """An upgrade goes on behind it, and Python cannot run then."""
    _approved(computer)
    computer.write("run/kexec-hook/changed")
    works = (computer.bin / "kexec-hook").read_text()
    broken = '#!/bin/sh\n[ "$1" != run ] || exit 127\n'
    computer.programs("kexec-hook", works.replace("#!/bin/sh\n", broken, 1))


def _cancelled(computer: Computer) -> None:
    """It comes to nothing after all, and the unit is started again."""
    _approved(computer)
    (computer.lib / "jobs").write_text("")


def _asked_for_cold(computer: Computer) -> None:
    _shutting_down(computer)
    computer.write("run/kexec-hook/cold")
    (computer / "run/kexec-hook/cold").chmod(0o600)


def _jump_failed(computer: Computer) -> None:
    _staged(computer)
    computer.stop()
    assert computer.last_second(units.KEXEC) == "kexec"
    computer.power_on("firmware")


def _unwritten(computer: Computer) -> None:
    """Finalize is killed so that the jump comes with grubenv as it was."""
    for at in _numbers(computer):
        before = _made_again(computer)
        _killed(computer, at)
        if (
            computer.last_second(units.KEXEC) == "kexec"
            and computer.block.content == before.content
        ):
            _UNWRITTEN[:] = [at]
            computer.power_on("kexec")
            return
    raise NothingToStrike("no kill of finalize leaves a jump whose write is to be completed")


def _numbers(computer: Computer) -> Iterator[int]:
    """Of finalize's calls: the one that it was, and then all, since two processes take turns as they like."""
    yield from list(_UNWRITTEN)
    _made_again(computer)
    yield from range(len(_killed(computer, 0).calls) + 2, 0, -1)


def _made_again(computer: Computer) -> Block:
    computer.__init__(computer.directory, "debian-12-next")  # type: ignore[misc]
    _shutting_down(computer)
    return computer.block


_UNWRITTEN: list[int] = []  # at which call, once it is known


def _killed(computer: Computer, at: int) -> Tree:
    tree = Tree(
        units.kexec_hook(computer, "finalize"),
        computer.lib / "output",
        Blow(at, signal.SIGKILL, whom="all"),
    )
    tree.run()
    return tree


def _hook() -> units.Command:
    return units.Command("apt", False, ("/bin/sh", "/usr/lib/kexec-hook/run", "apt"))


def _unit(word: str) -> Callable[[], units.Command | None]:
    return lambda: next(iter(units.named(units.SYSTEMD, word)), None)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("finalize", "shutdown", "debian-12-next", _shutting_down, ("finalize",)),
        Scenario(
            "finalize-anew", "shutdown", "debian-12-next", _shutting_down_uncounted, ("finalize",)
        ),
        Scenario("complete", "complete", "debian-12-next", _unwritten, command=_unit("complet")),
        Scenario("judge", "judge", "debian-12-next", _jump_failed, command=_unit("judge")),
        Scenario("stage", "staging", "debian-12-next", _nothing, ("stage",)),
        Scenario("run", "staging", "debian-12", _nothing, RUN),
        Scenario("restage", "staging", "debian-12", _another_default, RUN),
        Scenario("always", "staging", "debian-12", _always, ("run", "--source=shutdown")),
        Scenario("decline", "staging", "debian-12", _initrd_gone, RUN),
        Scenario("unstage", "staging", "debian-12-next", _staged, ("unstage",)),
        Scenario("hook", "staging", "debian-12-next", _staged, command=_hook),
        Scenario("coldreboot", "staging", "debian-12-next", _staged, ("coldreboot",)),
        # Where grubenv cannot be put back, there is no right end: tried with signals alone.
        Scenario(
            "finalize-again", "shutdown", "debian-12-next", _approved, ("finalize",), errors=False
        ),
        Scenario("stage-late", "shutdown", "debian-12-next", _approved, ("stage",), errors=False),
        Scenario(
            "run-late", "shutdown", "debian-12-next", _approved_and_changed, RUN, errors=False
        ),
        Scenario(
            "unstage-late", "shutdown", "debian-12-next", _approved, ("unstage",), errors=False
        ),
        Scenario("hook-late", "shutdown", "debian-12-next", _approved_and_broken, command=_hook),
        Scenario("cancelled", "again", "debian-12-next", _cancelled, ("complete",)),
        Scenario("finalize-cold", "cold", "debian-12-next", _asked_for_cold, ("finalize",)),
        Scenario(
            "stage-stuck",
            "staging",
            "debian-12-next",
            _nothing,
            ("stage",),
            stuck=True,
            errors=False,
        ),
        Scenario(
            "restage-stuck", "staging", "debian-12", _another_default, RUN, stuck=True, errors=False
        ),
    )
}
