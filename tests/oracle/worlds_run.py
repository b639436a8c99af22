"""Worlds against GRUB: `python3 -m tests.oracle.worlds_run N=100 SEED=7`.

SIGHT=readable or unreadable asks one kind, ONLY=3,8 some worlds; SHRINK=1 takes lines away that a difference does not
need, and shows the world.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.oracle import emu, images, ours
from tests.oracle.images import Kit
from tests.oracle.minimise import minimise
from tests.oracle.run import fresh_seed
from tests.oracle.worlds import Machines, World, describe, make_kits
from tests.oracle.worlds_config import Configuration
from tests.oracle.worlds_judge import RIGHT, SIGHTS, WRONG, Built, ask_grub, ask_us, judge

# What a pool is for GRUB here is an ext4 with the same paths: its ZFS driver is not asked.
ZFS = "zfs, trees only, not judged by GRUB's driver"


@dataclass
class Counts:
    """How the worlds came out, images readable or not; what was not run, by its reason."""

    by: Counter[str] = field(default_factory=Counter)
    not_run: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        text = ", ".join(
            f"{self.by[name]} {name}" for name in (*RIGHT, *WRONG) if self.by[name] or name in WRONG
        )
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.not_run.most_common())
        return f"{text}, {sum(self.not_run.values())} not run{f' ({reasons})' if reasons else ''}"


@dataclass
class Outcome:
    """A run: counts by sight, what is wrong as text, and why there were no subvolumes."""

    counts: dict[str, Counts]
    wrong: list[str] = field(default_factory=list)
    no_kits: str = ""


def make_world(seed: str, number: int, kits: Sequence[Kit]) -> World:
    """One world; it depends on the seed, its number and the kits only."""
    random = Random(f"world {seed} {number}")
    world = Machines(random, kits).make()
    Configuration(random, world).write()
    return world


def answers(
    world: World, directory: Path, sights: Sequence[str]
) -> dict[str, tuple[str, list[str]]]:
    """Put one world to both.  emu.GrubFailed where GRUB gave no answer."""
    built = Built(world, directory)
    said = ask_grub(built)
    found = {}
    for sight in sights:
        built.sight(sight == "readable")
        try:
            found[sight] = judge(built, said, ask_us(built), sight == "readable")
        except ours.OursFailed as error:
            found[sight] = "differs", [f"kexec-hook: {error}"]
    return found


def shrink(
    world: World, directory: Path, sight: str, wrong: Sequence[str]
) -> tuple[World, list[str]]:
    """The same world with as few lines of configuration as this difference takes."""

    def smaller(lines: list[bytes]) -> World:
        return dataclasses.replace(world, config=b"".join(lines).decode())

    def kinds(lines: Sequence[str]) -> set[str]:
        return {re.sub(r"[^a-zA-Z ]\S*|\b[ex]\d+\w*", "", line.partition(":")[0]) for line in lines}

    def fails(lines: list[bytes]) -> bool:
        try:
            return kinds(answers(smaller(lines), directory, [sight])[sight][1]) == kinds(wrong)
        except emu.GrubFailed:
            return False

    least = smaller(minimise(world.config.encode().splitlines(keepends=True), fails, 120))
    return least, answers(least, directory, [sight])[sight][1]


def run(
    count: int,
    seed: str,
    directory: Path,
    sights: Sequence[str] = SIGHTS,
    only: Sequence[int] = (),
    report: Callable[[str], None] = lambda text: None,
    smallest: bool = False,
) -> Outcome:
    """Judge worlds with their images readable and not."""
    kits: Sequence[Kit] = ()
    outcome = Outcome({sight: Counts() for sight in (*sights, ZFS)})
    try:
        kits = make_kits(directory, seed)
    except (RuntimeError, FileNotFoundError) as error:
        outcome.no_kits = str(error)
    for number in only or range(count):
        world = make_world(seed, number, kits)
        try:
            found = answers(world, directory / "world", sights)
        except emu.GrubFailed as failed:
            for sight in sights:
                outcome.counts[sight].not_run[str(failed).partition(":")[0]] += 1
            continue
        for sight, (result, lines) in found.items():
            outcome.counts[ZFS if world.has_zfs else sight].by[result] += 1
            if result in RIGHT:
                continue
            seen = " (all of it mounted)" if world.sighted else ""
            text = f"=== world {number}, {sight}: {result}{seen}\n"
            if smallest:
                world, lines = shrink(world, directory / "world", sight, lines)
                text += describe(world) + "\n"
            outcome.wrong.append(text + "\n".join("  " + line for line in lines))
            report(outcome.wrong[-1])
    return outcome


def main(argv: list[str]) -> int:
    """Run the worlds asked for and print what is wrong; 1 if anything was, 2 where they cannot be run."""
    options = {name.upper(): value for name, _, value in (word.partition("=") for word in argv)}
    reason = emu.missing() or images.missing()
    if reason:
        print(f"worlds: not run: {reason}", file=sys.stderr)
        return 2
    seed = fresh_seed(options.get("SEED"))
    only = [int(number) for number in options.get("ONLY", "").split(",") if number]
    sights = options.get("SIGHT", ",".join(SIGHTS)).split(",")
    start = time.monotonic()
    with emu.scratch() as directory:
        outcome = run(
            int(options.get("N", "100")),
            seed,
            directory,
            sights,
            only,
            lambda text: print(text, flush=True),
            options.get("SHRINK", "0") == "1",
        )
    for sight, count in outcome.counts.items():
        print(f"worlds: {sight}, seed {seed}: {count}; {time.monotonic() - start:.0f} s")
    if outcome.no_kits:
        print(f"worlds: without btrfs subvolumes: {outcome.no_kits}")
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
