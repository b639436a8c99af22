"""Generated cases against GRUB: `python3 -m tests.oracle.run N=500 SEED=7 MODE=scripts,menus,mutants CORPUS=DIR`."""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.oracle import compare, emu, judge, ours, world
from tests.oracle.disk import Partition
from tests.oracle.envblock import variables
from tests.oracle.generate import Blocks, Menus, Scripts
from tests.oracle.minimise import minimise
from tests.oracle.mutate import Mutants
from tests.oracle.world import Question

# What a case took in GRUB until it is given up; a script with a loop that mutation made endless needs this long.
PATIENCE = 8.0
# How much of N each mode gets: a menu costs GRUB five to ten times what a script does.
MODES = {"scripts": 1.0, "grammar": 1.0, "blocks": 0.5, "menus": 0.2, "mutants": 0.2}


@dataclass(frozen=True)
class Disagreement:
    """One case on which GRUB and kexec-hook differ, as small as it could be made."""

    mode: str
    name: str
    source: bytes
    small: bytes
    differences: tuple[str, ...]

    def __str__(self) -> str:
        text = self.small.decode("utf-8", "backslashreplace")
        lines = [f"=== {self.mode} {self.name}", *("  " + line for line in self.differences), text]
        return "\n".join(lines)


@dataclass
class Counts:
    """How many cases of a mode agreed, differed, or could not be judged."""

    agree: int = 0
    differ: int = 0
    unknown: Counter[str] = field(default_factory=Counter)  # by the reason

    def __str__(self) -> str:
        text = f"{self.agree} agree, {self.differ} differ, {sum(self.unknown.values())} not run"
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.unknown.most_common())
        return f"{text} ({reasons})" if reasons else text


class Judged:
    """Puts one case to both and says where they differ."""

    mode = ""

    reason = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def differences(self, source: bytes) -> list[str]:
        raise NotImplementedError

    def safely(self, source: bytes) -> list[str] | None:
        """None where GRUB gave no answer (`reason` says why); that kexec-hook gave none is a difference."""
        try:
            return self.differences(source)
        except emu.GrubFailed as failed:
            self.reason = str(failed).partition(":")[0].partition(";")[0]
            return None
        except ours.OursFailed as error:
            return [f"kexec-hook: {error}"]

    def fails(self, lines: list[bytes]) -> bool:
        """For the minimiser: does the case made of these lines still differ?"""
        return bool(self.safely(b"".join(lines)))


class ScriptCases(Judged):
    """Scripts, on the partition that the recorded answers were made on."""

    mode = "scripts"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        partition = world.make(directory / "files")
        self.question = Question([partition], variables={"grubshell": "yes"})
        self.grub = emu.Grub([partition], directory / "images", PATIENCE)
        self.file = directory / "script"

    def differences(self, source: bytes) -> list[str]:
        # `$?` of the first command is what ran before the script in grub-emu, and nothing elsewhere.
        source = b"true\n" + source
        run = self.grub.script(source)
        if "(proc)" in run.raw or "(hd77)" in run.raw:
            raise emu.GrubFailed(
                "a word that begins with `*` lists the devices, and grub-emu has its own"
            )
        self.file.write_bytes(source)
        answer = ours.script(self.question, self.file)
        found = []
        if not same_text(run.text, answer.out, b"\t" in source or b"\\t" in source):
            found.append(f"GRUB wrote {run.raw!r}")
            found.append(f"kexec-hook {answer.out!r}")
        elif run.errors and not answer.err.strip():
            found.append(f"GRUB reported {run.errors!r}, kexec-hook nothing")
        return found


class BlockCases(ScriptCases):
    """Scripts that read and write the environment block that follows them."""

    mode = "blocks"

    def differences(self, source: bytes) -> list[str]:
        script, _, block = source.partition(world.BLOCK_FOLLOWS)
        files = self.question.partitions[0].files
        (files / "boot/grub/grubenv").write_bytes(block)
        self.grub = emu.Grub(
            self.question.partitions, self.directory / "images", PATIENCE, fresh=True
        )
        return super().differences(script)


class MenuCases(Judged):
    """Whole configurations; the last lines of a case may be its environment block."""

    mode = "menus"
    depth = "all"
    every_kernel = False

    def differences(self, source: bytes) -> list[str]:
        files = self.directory / "files"
        config, _, block = source.partition(world.BLOCK_FOLLOWS)
        world.make_bootable(files, config, block, self.every_kernel)
        grubenv = files / "boot/grub/grubenv"
        question = Question([Partition(files, world.UUID, world.LABEL)])
        expected = judge.evaluate(
            question, self.directory / "images", self.depth, seconds=PATIENCE, fresh=True
        )
        before = variables(grubenv.read_bytes()) if grubenv.exists() else None
        got = ours.evaluate(question)
        if self.depth == "top":
            got["entries"] = [entry for entry in got["entries"] if ">" not in entry["path"]]
        return compare.judged(expected, got, before)


class DefaultCases(MenuCases):
    """Whole configurations, only what boots and the top menu: a third of the price."""

    depth = "top"


class MutantCases(DefaultCases):
    """Real configurations with lines cut, doubled, moved and damaged."""

    mode = "mutants"
    every_kernel = True


def same_text(grub: str, got: str, tabs: bool) -> bool:
    """GRUB's terminal makes blanks of a tab: as many as the column needs, which errors and wide characters move.

    A carriage return is not seen, since each line on a terminal has one.
    """
    got = got.replace("\r", "")
    if got == grub:
        return True
    return tabs and [line.split() for line in got.split("\n")] == [
        line.split() for line in grub.split("\n")
    ]


def cases(
    mode: str, seed: str, count: int, corpus: Path | None, directory: Path
) -> Iterator[tuple[str, bytes, Judged]]:
    """Name, source and judge of each case; a case depends on the seed and its own number only."""
    scripts, blocks = ScriptCases(directory / "scripts"), BlockCases(directory / "blocks")
    whole, default, mutants = (
        kind(directory / "menus") for kind in (MenuCases, DefaultCases, MutantCases)
    )
    pool = Mutants(corpus) if mode == "mutants" else None
    for number in range(count):
        random = Random(f"{mode} {seed} {number}")
        if mode == "scripts":
            yield str(number), Scripts(random).script(), scripts
        elif mode == "grammar":
            yield str(number), Scripts(random).grammar(), scripts
        elif mode == "blocks":
            yield str(number), Blocks(random).case(), blocks
        elif mode == "menus":
            source = Menus(random).configuration()
            yield str(number), source, whole if number % 4 == 0 else default
        elif pool:
            name, source = pool.mutant(random)
            yield f"{number} {name}", source, mutants


def run(
    mode: str,
    count: int,
    seed: str,
    directory: Path,
    corpus: Path | None = None,
    report: Callable[[Disagreement], None] | None = None,
    shrink: bool = True,
) -> tuple[Counts, list[Disagreement]]:
    """Judge `count` cases of one mode."""
    counts = Counts()
    found: list[Disagreement] = []
    for name, source, judged in cases(mode, seed, count, corpus, directory):
        differences = judged.safely(source)
        if differences is None:
            counts.unknown[judged.reason] += 1
        elif not differences:
            counts.agree += 1
        else:
            counts.differ += 1
            small = source
            if shrink:
                small = b"".join(minimise(source.splitlines(keepends=True), judged.fails))
                differences = judged.safely(small) or differences
            found.append(Disagreement(mode, name, source, small, tuple(differences)))
            if report:
                report(found[-1])
    return counts, found


def share(mode: str, count: int) -> int:
    """How many cases of a mode belong to N."""
    return max(1, round(count * MODES[mode]))


def fresh_seed(given: str | None) -> str:
    """The seed asked for; 0 or none is a new one."""
    return given if given and given != "0" else str(secrets.randbelow(1_000_000_000) + 1)


def main(argv: list[str]) -> int:
    """Run the modes asked for and print what differs; 1 if anything did, 2 where it cannot be run."""
    given = dict(word.partition("=")[::2] for word in argv)
    options = {name.upper(): value for name, value in given.items()}
    reason = emu.missing()
    if reason:
        print(f"oracle: not run: {reason}", file=sys.stderr)
        return 2
    count = int(options.get("N", "200"))
    seed = fresh_seed(options.get("SEED"))
    corpus = Path(options["CORPUS"]) if "CORPUS" in options else None
    status = 0
    for mode in options.get("MODE", ",".join(MODES)).split(","):
        start = time.monotonic()
        with emu.scratch() as directory:
            counts, _ = run(
                mode,
                share(mode, count),
                seed,
                directory,
                corpus,
                report=lambda found: print(found, flush=True),
            )
        seconds = time.monotonic() - start
        print(f"oracle: {mode}, seed {seed}: {counts}; {seconds:.0f} s", flush=True)
        status = status or int(counts.differ > 0)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
