"""`python -m tests.kills SCENARIO SIGNAL [N]`; both may be `all`, N is the only point to try."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import kexec_hook
from tests.kills import judge, tracing, units
from tests.kills.proof import Row, section, write
from tests.kills.scenarios import SCENARIOS, NothingToStrike, Right, Scenario
from tests.kills.tracing import Blow, Call, Tree
from tests.machine import PROJECT

SIGNALS = {
    "int": signal.SIGINT,
    "term": signal.SIGTERM,
    "kill": signal.SIGKILL,
    "hup": signal.SIGHUP,
}
ALL = ("int", "term", "kill", "e5", "e28", "e30")


class Point(NamedTuple):
    """One blow at one call."""

    blow: Blow
    call: Call

    def __str__(self) -> str:
        target = (
            "it fails"
            if self.blow.errno
            else self.blow.whom + (", the caller goes on later" if self.blow.hold else "")
        )
        return f"{self.call} ({target})"


class Found(NamedTuple):
    """What one point came to."""

    number: int
    point: str
    faults: list[str]


def points(scenario: Scenario, name: str, calls: Sequence[Call]) -> list[Point]:
    """Every blow of this signal or error at these calls."""
    number = int(name[1:]) if name not in SIGNALS else 0
    found = []
    for at, call in enumerate(calls, 1):
        if number:
            # Where the first call is an exec, nothing of ours has run yet.
            begun = at > 1 or call.name != "execve"
            blows = [Blow(at, errno=number, whom="caller")] if call.may_fail and begun else []
        else:
            hold = scenario.kind == "staging" and (name == "kill" or scenario.stuck)
            blows = _signals(at, SIGNALS[name], call, hold)
        found += [Point(blow, call) for blow in blows]
    return found


def _signals(at: int, number: int, call: Call, hold: bool) -> list[Blow]:
    blows = [Blow(at, number, whom="main")]
    if not call.main:
        blows.append(Blow(at, number, whom="caller"))
        if hold:
            blows.append(Blow(at, number, whom="main", hold=True))
    if not call.alone:
        blows.append(Blow(at, number, whom="all"))
    return blows


class Bench:
    """One scenario in a directory of its own."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.directory = directory / "machine"
        self.systemd = units.SYSTEMD
        self.right: Right = scenario.right(self.directory)

    def strike(self, blow: Blow | None) -> judge.Blown:
        computer = self.scenario.make(self.directory)
        computer.systemd = self.systemd
        before = computer.untouched or computer.block
        output = computer.lib / "output"
        tree = Tree(self.scenario.program(computer), output, blow)
        tree.run()
        return judge.Blown(
            computer,
            self.scenario,
            self.right,
            blow or Blow(0),
            tree,
            output.read_text(errors="replace"),
            before,
        )

    def calls(self) -> list[Call]:
        """Of the command where nothing strikes; paths are the machine's."""
        blown = self.strike(None)
        machine = blown.computer
        return [
            call._replace(
                what=call.what.replace(str(machine.root), "").replace(str(machine.directory), "")
            )
            for call in blown.tree.calls
        ]

    def faults(self, blow: Blow) -> Iterator[str]:
        """What is wrong after this blow, in all stories."""
        stories = judge.STORIES[self.scenario.kind]
        try:
            blown = self.strike(blow)
            yield from judge.at_once(blown)
            for story in stories:
                if self.scenario.kind == "staging":
                    yield from story(blown)
                    blown.tree.release()
                    blown = self.strike(blow) if story is not stories[-1] else blown
                    continue
                with blown.computer.kept():
                    yield from story(blown)
        except TimeoutError as error:
            yield str(error)


def preload() -> None:
    """So that each process that is forked has everything."""
    for module in pkgutil.walk_packages(kexec_hook.__path__, "kexec_hook."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    sys.dont_write_bytecode = True


def worker(
    scenario: Scenario,
    chosen: Sequence[tuple[int, Point]],
    directory: Path,
    to: int,
    until: float,
) -> None:
    """Try these points, as long as there is time, and write a line of JSON for each."""
    bench = Bench(scenario, directory)
    with os.fdopen(to, "w") as out:
        for number, point in chosen:
            if time.monotonic() > until:
                break
            faults = list(dict.fromkeys(bench.faults(point.blow)))
            out.write(json.dumps([number, str(point), faults]) + "\n")
            out.flush()


def spread(
    scenario: Scenario,
    chosen: Sequence[tuple[int, Point]],
    directory: Path,
    jobs: int,
    until: float,
) -> list[Found]:
    """The points, by several processes."""
    readers = []
    for job in range(jobs):
        ours, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.close(ours)
                worker(scenario, chosen[job::jobs], directory / str(job), theirs, until)
                status = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(theirs)
        readers.append((pid, os.fdopen(ours)))
    found = []
    for pid, reader in readers:
        with reader:
            found += [Found(*json.loads(line)) for line in reader]
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise SystemExit("a worker failed")
    return sorted(found)


def attempt(
    scenario: Scenario, name: str, args: argparse.Namespace, directory: Path, until: float
) -> tuple[Row, int] | None:
    """All points of one scenario and signal, and how many there was no time for; None where there is no such moment."""
    started = time.monotonic()
    try:
        calls = Bench(scenario, directory / "count").calls()
    except NothingToStrike as nothing:
        print(f"{scenario.name} {name}: {nothing}")
        return None
    numbered = list(enumerate(points(scenario, name, calls), 1))
    chosen = [item for item in numbered if item[0] % args.every == args.shift % args.every]
    if args.number:
        chosen = numbered[args.number - 1 : args.number]
    found = spread(scenario, chosen, directory, args.jobs, until)
    bad = [one for one in found if one.faults]
    print(
        f"{scenario.name} {name}: {len(calls)} calls, {len(numbered)} points, {len(found)} tried, {len(bad)} bad, "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )
    report(bad, args.verbose)
    row = Row(scenario.name, name, len(calls), len(found), len(bad))
    return row, len(chosen) - len(found)


def report(bad: Sequence[Found], verbose: bool) -> None:
    """Each kind of fault with its points."""
    kinds: dict[str, list[Found]] = {}
    for one in bad:
        for fault in one.faults:
            kinds.setdefault(fault, []).append(one)
    for fault, where in kinds.items():
        print(f"  {len(where)} x {fault}")
        for one in where if verbose else where[:3]:
            print(f"      {one.number}: {one.point}")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kills", description=sys.modules["tests.kills"].__doc__
    )
    parser.add_argument(
        "scenario", choices=[*SCENARIOS, "all"], metavar="SCENARIO", help=", ".join(SCENARIOS)
    )
    parser.add_argument(
        "signal",
        metavar="SIGNAL",
        help="int, term, kill, hup, eNN (an errno: e28 is ENOSPC), or all",
    )
    parser.add_argument("number", nargs="?", type=int, metavar="N", help="this point alone")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="each K-th point only")
    parser.add_argument(
        "--shift", type=int, default=0, metavar="S", help="begin with another one of the K"
    )
    parser.add_argument("--seconds", type=float, metavar="T", help="leave out what comes later")
    # Many points wait for a lock that a held process has.
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1), metavar="J")
    parser.add_argument("--proof", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every bad point")
    args = parser.parse_args()
    name = args.signal
    if name not in (*SIGNALS, "all") and not (
        name[0] == "e" and name[1:].isdigit() and int(name[1:]) in errno.errorcode
    ):
        parser.error(f"no signal and no errno: {name}")
    return args


def memory() -> str | None:
    """Where files are made that need no disk; None where programs may not be started from there."""
    shared = "/dev/shm"
    usable = os.access(shared, os.W_OK) and not os.statvfs(shared).f_flag & os.ST_NOEXEC
    return shared if usable else None


def main() -> int:
    args = parse()
    reason = tracing.unsupported()
    if reason:
        print(f"python -m tests.kills: {reason}", file=sys.stderr)
        return 2
    preload()
    rows, left_out = tries(args)
    if args.proof:
        write(args.proof, section(rows, ALL, args.every, checkout()))
    bad = sum(row.bad for row in rows)
    if left_out:
        print(f"no time was left for {left_out} more points of what was begun")
    print(f"{sum(row.tried for row in rows)} points, {bad} bad")
    return 1 if bad else 0


def tries(args: argparse.Namespace) -> tuple[list[Row], int]:
    """What was asked for, and how many points there was no time for."""
    rows, left_out = [], 0
    until = time.monotonic() + (args.seconds or float("inf"))
    directory = Path(tempfile.mkdtemp(prefix="kills-", dir=memory()))
    try:
        scenarios = [*SCENARIOS.values()] if args.scenario == "all" else [SCENARIOS[args.scenario]]
        # Where the time ends before all are reached, it is not always the same ones.
        first = args.shift % len(scenarios)
        for scenario in scenarios[first:] + scenarios[:first]:
            for name in ALL if args.signal == "all" else [args.signal]:
                if name not in SIGNALS and not scenario.errors:
                    continue
                if time.monotonic() > until:
                    print(f"{scenario.name} {name}: no time was left")
                    continue
                found = attempt(scenario, name, args, directory, until)
                if found:
                    rows.append(found[0])
                    left_out += found[1]
    finally:
        shutil.rmtree(directory)
    return rows, left_out


def checkout() -> str:
    """The commit that is tried, and whether there is more than that."""
    argv = ("git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=10")
    return (
        subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
        or "unknown"
    )


if __name__ == "__main__":
    sys.exit(main())
