"""Is what a blow left behind right?  Each story is one way on from there; it yields what is wrong, in words."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tests.kills import units
from tests.kills.computer import Block, Computer, Finished
from tests.kills.scenarios import RUN, Right, Scenario
from tests.kills.tracing import Blow, Tree

Faults = Iterator[str]


class Blown(NamedTuple):
    """A machine after the blow."""

    computer: Computer
    scenario: Scenario
    right: Right
    blow: Blow
    tree: Tree  # may hold a process that goes on later
    output: str
    before: Block  # grubenv, ahead of the command


def at_once(blown: Blown) -> Faults:
    """What the command said, and what the drop-ins would do if nothing of ours ran any more."""
    if "Traceback" in blown.output and not blown.output.rstrip().endswith("KeyboardInterrupt"):
        yield f"a traceback: {blown.output.strip().splitlines()[-1]}"
    if blown.blow.errno and blown.scenario.calls_run and blown.tree.status:
        yield f"run exits {blown.tree.status}"
    if blown.scenario.kind != "staging" or blown.tree.holds:
        return
    for unit in (units.KEXEC, units.REBOOT):
        if blown.computer.last_second(unit) != "reboot":
            yield f"{unit} jumps, and no shutdown has approved it"


def reboots(blown: Blown) -> Faults:
    """The machine is shut down and comes up again."""
    yield from _said(blown.computer.stop())
    blown.tree.release()
    told = blown.scenario.name in ("unstage", "coldreboot") and blown.tree.status == 0
    if told and blown.computer.approved:
        yield f"a jump after {blown.scenario.name}"
    yield from _ends(blown)


def repaired(blown: Blown) -> Faults:
    """The next call of the package managers' hook puts everything right."""
    computer, right = blown.computer, blown.right
    if blown.tree.holds:
        yield from _said([computer.call(*RUN)], ok=(0,))
        blown.tree.release()
    if blown.scenario.argv == ("coldreboot",):
        computer.call("stage")  # `run` does not take back that a firmware boot was asked for
    yield from _said([computer.call(*RUN)], ok=(0,))
    record = computer.record and computer.record["state"]
    if (computer.loaded, record) != ((True, "staged") if right.image else (False, None)):
        yield f"the next run does not repair it: loaded {computer.loaded}, record {record}"
    if computer.leftovers:
        yield f"the next run leaves {computer.leftovers}"
    yield from _said(computer.stop())
    if computer.approved != bool(right.image):
        yield f"after the next run the shutdown approves {computer.approved}"
    yield from _ends(blown)


def goes_on(blown: Blown) -> Faults:
    """Of a shutdown: its last unit, and the next boot."""
    yield from _ends(blown)


def crashes(blown: Blown) -> Faults:
    """Of a shutdown that ends in a jump: the jump ends in the firmware, and that kernel is blamed."""
    computer, right = blown.computer, blown.right
    if computer.last_second(units.KEXEC) != "kexec" or not computer.record:
        return
    release = computer.record["release"]
    computer.power_on("firmware")
    yield from _said(computer.start_units(), ok=(0, 1))
    yield from _written(computer, right, blown.before, "after a jump that failed")
    # Where it was killed, nothing may tell that it was approved.  `run` ends well also where its worker was killed.
    killed = blown.tree.status != 0 or blown.blow.signal == signal.SIGKILL
    if not killed and release not in (computer.state("failed.json") or {}):
        yield "a jump that failed is not remembered"


def power_cut(blown: Blown) -> Faults:
    """Of a shutdown in which everything was killed: nothing comes after that but a boot by the firmware."""
    computer, right = blown.computer, blown.right
    struck = blown.tree.struck
    if (
        blown.blow.signal != signal.SIGKILL
        or not struck
        or not (struck.alone or blown.blow.whom == "all")
    ):
        return
    if computer.block != blown.before and computer.block.fault(right.variables, blown.before):
        yield f"a power cut leaves grubenv half written: {computer.block.fault(right.variables, blown.before)}"
        return
    computer.power_on("firmware")
    yield from _said(computer.start_units(), ok=(0, 1))
    yield from _written(computer, right, blown.before, "after a power cut")


def cancelled(blown: Blown) -> Faults:
    """Of a shutdown: it comes to nothing after all, and the system goes on."""
    computer = blown.computer
    (computer.lib / "jobs").write_text("")
    for command in units.commands(computer.systemd / units.SHUTDOWN, "ExecStart"):
        computer.command(command)
    yield from _said([computer.call(*RUN)], ok=(0,))
    if computer.block.variables != blown.before.variables:
        yield "after a shutdown that was cancelled grubenv stays written"
        return
    yield from _said(computer.stop())
    if not computer.approved:
        yield "after a shutdown that was cancelled the next one does not jump"
    yield from _ends(blown)


def judged(blown: Blown) -> Faults:
    """After a jump that failed: whether the unit starts again or only the next boot does, its kernel is blamed."""
    computer = blown.computer
    if not computer.state("attempt.json") and not computer.state("failed.json"):
        yield "a jump that failed is forgotten"
    as_it_was = computer.block
    yield from _said(computer.start_units(), ok=(0, 1))
    yield from _blames(computer, as_it_was)


def judged_next_time(blown: Blown) -> Faults:
    computer = blown.computer
    computer.power_on("firmware")
    as_it_was = computer.block
    yield from _said(computer.start_units(), ok=(0, 1))
    yield from _blames(computer, as_it_was)


def _blames(computer: Computer, as_it_was: Block) -> Faults:
    if not computer.state("failed.json"):
        yield "a jump that failed is not remembered"
    if computer.state("attempt.json"):
        yield "an attempt stays open"
    if computer.block != as_it_was:
        yield "after a firmware boot something writes grubenv"
    if computer.leftovers:
        yield f"{computer.leftovers} stay"


def completed(blown: Blown) -> Faults:
    """After a jump whose write was to be completed: the unit starts once more."""
    computer, right = blown.computer, blown.right
    if computer.block != blown.before and computer.block.fault(right.variables, blown.before):
        yield f"grubenv is neither as before nor written: {computer.block.fault(right.variables, blown.before)}"
    yield from _said(computer.start_units(), ok=(0,))
    yield from _written(computer, right, blown.before, "after the jump")
    yield from _blames_nobody(computer)
    yield from _next_time(blown)


def completed_never(blown: Blown) -> Faults:
    """After a jump whose write was to be completed: its unit is not started again; then a firmware boot."""
    computer, right = blown.computer, blown.right
    command = blown.scenario.command()
    yield from _said(computer.start_units(but=command.unit if command else ""), ok=(0,))
    computer.power_on("firmware")
    yield from _said(computer.start_units(), ok=(0,))
    yield from _written(computer, right, blown.before, "after the next firmware boot")
    yield from _blames_nobody(computer)
    yield from _next_time(blown)


def rescued(blown: Blown) -> Faults:
    """Of a shutdown: it comes to nothing, and the system ends in rescue mode, where somebody reboots."""
    computer = blown.computer
    (computer.lib / "jobs").write_text("")
    yield from _said(computer.start_units("rescue.target"))
    if computer.block.variables != blown.before.variables:
        yield "in rescue mode grubenv stays written"
    for unit in (units.KEXEC, units.REBOOT):
        if computer.last_second(unit) != "reboot":
            yield f"in rescue mode {unit} still jumps"


Story = Callable[[Blown], Faults]
STORIES: dict[str, tuple[Story, ...]] = {
    "staging": (reboots, repaired),
    "again": (reboots, cancelled),
    "shutdown": (goes_on, crashes, power_cut, cancelled, rescued),
    "cold": (goes_on,),
    "judge": (judged, judged_next_time),
    "complete": (completed, completed_never),
}


def _ends(blown: Blown) -> Faults:
    """The last second of a shutdown, and the boot after it."""
    computer = blown.computer
    target = units.KEXEC if "kexec.target" in (computer.lib / "jobs").read_text() else units.REBOOT
    answers = {unit: computer.last_second(unit) for unit in (units.KEXEC, units.REBOOT)}
    if len(set(answers.values())) != 1:
        yield f"the drop-ins do not agree: {answers}"
    if answers[target] == "kexec" and computer.loaded:
        yield from _jumps(blown)
    elif answers[target] == "reboot":
        yield from _reboots(blown)
    else:
        yield f"{target} asks for {answers[target]}, loaded: {computer.loaded}"
        return
    yield from _blames_nobody(computer)
    yield from _next_time(blown)


def _blames_nobody(computer: Computer) -> Faults:
    if computer.state("failed.json"):
        yield "a kernel is blamed that came up or was never tried"
    if computer.state("attempt.json"):
        yield "an attempt stays open"


def _jumps(blown: Blown) -> Faults:
    computer, right = blown.computer, blown.right
    if not computer.approved:
        yield "a jump that was not approved"
    if blown.scenario.kind == "cold":
        yield "a jump where an ordinary reboot was asked for"
    if computer.image != right.image:
        yield f"a jump into another image: {_named(computer.image)}, not {_named(right.image)}"
    record = computer.record
    if (
        not record
        or record["state"] != "staged"
        or not str(_named(computer.image)).endswith(record["kernel"])
    ):
        yield f"a jump with a wrong record: {record and (record['state'], record['kernel'])}"
    computer.power_on("kexec")
    yield from _said(computer.start_units(), ok=(0,))
    yield from _written(computer, right, blown.before, "after the jump")


def _reboots(blown: Blown) -> Faults:
    computer = blown.computer
    if computer.block != blown.before:
        fault = computer.block.fault(blown.before.variables, blown.before)
        yield f"an ordinary reboot, and grubenv was written: {fault or 'other bytes'}"
    computer.power_on("firmware")
    as_grub_left_it = computer.block
    yield from _said(computer.start_units(), ok=(0,))
    if computer.block != as_grub_left_it:
        yield "after an ordinary reboot something writes grubenv"


def _next_time(blown: Blown) -> Faults:
    """What outlives a boot must not spoil the next stage and shutdown."""
    computer = blown.computer
    kept = [
        path.name for path in (computer / "var/lib/kexec-hook").glob("*") if path.name != "lock"
    ]
    if not (kept or computer.leftovers) or not blown.right.image:
        return
    yield from _said([computer.call("stage")], ok=(0,))
    yield from _said(computer.stop())
    if computer.last_second(units.KEXEC) != "kexec" or not computer.approved:
        yield f"the boot after the next is no jump: {kept}"
    if computer.leftovers:
        yield f"the boot after the next leaves {computer.leftovers}"


def _written(computer: Computer, right: Right, like: Block, when: str) -> Faults:
    fault = computer.block.fault(right.variables, like)
    if fault:
        yield f"{when}, grubenv is wrong: {fault}"


def _said(finished: Iterable[Finished], ok: tuple[int, ...] = (0, 1, 3)) -> Faults:
    for one in finished:
        if "Traceback" in one.output or one.status not in ok:
            yield f"afterwards a command exits {one.status}: {one.output.strip()[-200:]}"


def _named(image: str | None) -> str | None:
    return image and image.split("\n", 1)[0]
