#!/usr/bin/env python3
"""How fast kexec-hook is, as ratios to public programs measured in the same minute.

Usage: bench.py [--runs N] [--strict]

Needs hyperfine, GNU time, and for the comparison with GRUB grub-emu and mke2fs.  Says PASS or OVER; --strict makes
OVER an exit status.  What stages does so on a directory that stands for the machine, with a program in kexec's place.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kexec_hook.decision.decide import decide  # noqa: E402
from kexec_hook.plugins.api import Trigger  # noqa: E402
from kexec_hook.plugins.asking import Plugins  # noqa: E402
from kexec_hook.settings.conf import load_settings  # noqa: E402
from kexec_hook.state.stamp import format_stamp  # noqa: E402
from tests.bootfiles import cpio  # noqa: E402
from tests.images import ext4  # noqa: E402
from tests.machine import Box  # noqa: E402
from tests.packages import deb_lab  # noqa: E402
from tests.packages.chroot import ChrootError  # noqa: E402

TREE = ROOT / "tests/roots/debian-12/tree"
OTHER = "07f3d2c9-8c64-4e0f-9a3e-1d5b6a7f8e33"  # the tree's sda3
INITRD = "boot/initrd.img-6.1.0-39-amd64"
BEFORE = "fa8f5bd"  # what a dry run may cost is measured by what it cost then
ENTRIES = {1000: 1.05, 10000: 0.35}  # of a menu, and the part of GRUB's time that they may take
# Where what stages does so: as /run does, it brings a file to no disk when it is told to.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
LEFT_OUT = shutil.ignore_patterns(".*", "build", "__pycache__", "tests")
IMPORTS = (
    "import argparse, json, subprocess, pathlib, dataclasses, packaging.version, pluggy;"
    " pluggy.PluginManager('x').load_setuptools_entrypoints('kexec_hook')"
)


@dataclass(frozen=True)
class Row:
    what: str
    ours: list[str]
    theirs: list[str] | None  # None: nothing to compare with
    limit: float  # of the ratio
    than: str
    beyond: float | None = None  # seconds that ours may take more; then no ratio counts
    before: str = ""  # run before each run of ours
    least: int = 0  # runs, where single ones say little


def install(directory: Path) -> tuple[str, str]:
    """This checkout, copied since a build leaves its files there, as `installed` has it."""
    shutil.copytree(ROOT, directory / "source", ignore=LEFT_OUT)
    return installed(directory)


def before(directory: Path) -> str | None:
    """The kexec-hook of BEFORE; None where git's history does not have it, as in an archive or a shallow clone."""
    argv = ["git", "-C", str(ROOT), "archive", BEFORE]
    archive = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if archive.returncode:
        return None
    source = directory / "source"
    source.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    return installed(directory)[0]


def installed(directory: Path) -> tuple[str, str]:
    """What is in `source` as pip installs it, in a place of its own: its kexec-hook and its python."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], check=True
    )
    python = str(directory / "venv/bin/python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "--python",
        python,
        "install",
    ]
    subprocess.run([*pip, str(directory / "source")], check=True, stderr=subprocess.DEVNULL)
    return str(directory / "venv/bin/kexec-hook"), python


def debian(directory: Path, lines: int) -> Path:
    """The shipped Debian 12 tree, with as many recovery entries more as make a configuration that long."""
    root = directory / f"debian-{lines}"
    shutil.copytree(TREE, root, symlinks=True)
    path = root / "boot/grub/grub.cfg"
    config = path.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(config) if line.startswith("\tmenuentry"))
    last = next(number for number in range(first, len(config)) if config[number] == "\t}\n")
    end = next(number for number in range(last, len(config)) if config[number] == "}\n")
    entry = config[first : last + 1]
    while len(config) + len(entry) <= lines:
        config[end:end] = entry
    config[end:end] = ["\n"] * (lines - len(config))
    path.write_text("".join(config))
    return root


def looking(directory: Path, plain: Path) -> Path:
    """The same with five questions about a partition that is not mounted: they are put to GRUB's own drivers."""
    root = directory / "looking"
    shutil.copytree(plain, root, symlinks=True)
    (directory / "flags").mkdir()
    (directory / "flags/3").touch()
    ext4(root / "dev/sda3", directory / "flags", uuid=OTHER)
    asks = "".join(f"if [ -f ($other)/{n} ]; then set flag={n}; fi\n" for n in range(5))
    path = root / "boot/grub/grub.cfg"
    path.write_text(f"search --fs-uuid --set=other {OTHER}\n{asks}{path.read_text()}")
    return root


def many(directory: Path, entries: int) -> Path:
    """A partition with so many top-level entries, each as grub-mkconfig wrote it for Debian."""
    root = directory / f"many-{entries}"
    shutil.copytree(TREE / "boot", root / "boot")
    path = root / "boot/grub/grub.cfg"
    # grub-emu would paint its graphical terminal, which is no work of the kind compared here
    config = path.read_text().replace("terminal_output gfxterm", "terminal_output console")
    head, start, rest = config.partition("menuentry ")
    body, end, _ = (start + rest).partition("\n}\n")
    entry = (
        (body + end)
        .replace("gnulinux-simple-", "linux-NUMBER-")
        .replace("Debian GNU/Linux'", "Linux NUMBER'")
    )
    path.write_text(
        head + "".join(entry.replace("NUMBER", str(number)) for number in range(entries))
    )
    return root


def grub_emu(root: Path) -> list[str] | None:
    """The same configuration on a disk image, `halt` at the end: GRUB reads it all, then stops."""
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin")
    emu = shutil.which("grub-emu")
    if not mke2fs or not emu:
        return None
    halting = root.parent / f"{root.name}-halting"
    shutil.copytree(root, halting)
    with (halting / "boot/grub/grub.cfg").open("a") as config:
        config.write("halt\n")
    size = sum(path.stat().st_size for path in halting.rglob("*") if path.is_file()) // 1024 + 4096
    image, map_file = root.parent / f"{root.name}.img", root.parent / f"{root.name}.map"
    with image.open("wb") as empty:
        empty.truncate(size * 1024)
    subprocess.run([mke2fs, "-q", "-F", "-t", "ext2", "-d", str(halting), str(image)], check=True)
    map_file.write_text(f"(hd0) {image}\n")
    # `halt` powers a machine off where it is allowed to; grub-emu only ends, and must have no right to more
    guard = (
        [shutil.which("setpriv") or "", "--bounding-set=-sys_boot", "--no-new-privs"]
        if is_root()
        else []
    )
    return [*guard, emu, "-m", str(map_file), "-r", "hd0", "-d", "/boot/grub"]


def quiet(directory: Path) -> list[str]:
    """hooks/run where nothing has changed of what a Debian machine's decision read, its state in a directory here."""
    box = Box(directory / "q")
    sysroot = box.host.sysroot()
    decide(
        box.host,
        sysroot,
        load_settings(sysroot),
        Plugins(installed=False),
        Trigger("apt", dry=False),
    )
    long_ago = time.time() - 3600
    for path in (*box.root.rglob("*"), box.root):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    state = directory / "q/state"
    state.mkdir()
    # As on the machine itself, where /dev and /etc are no directories to watch; then below this one.
    stamp = format_stamp(sysroot.reads).decode().replace("\n'/", f"\n'{box.root}/")
    (state / "stamp").write_text(stamp)
    os.utime(state / "stamp", (long_ago + 1800, long_ago + 1800))
    text = (ROOT / "hooks/run").read_text()
    for old, new in (
        ("\nstate=/run/kexec-hook\n", f"\nstate={state}\n"),
        (
            'kexec_hook() { /usr/bin/kexec-hook "$@"; }',
            f"kexec_hook() {{ echo x >> {state}/called; }}",
        ),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (directory / "q/run").write_text(text)
    argv = ["sh", str(directory / "q/run"), "apt"]
    subprocess.run(argv, check=True)
    assert not (state / "called").exists(), "something seems to have changed"
    return argv


def staging(directory: Path, python: str) -> tuple[Box, list[str]]:
    """A machine with a large initrd, whose kexec takes 0.2 s longer than to read it, and how to run commands on it."""
    box = Box(directory / "s")
    initrd = box / INITRD
    initrd.write_bytes(cpio({"firmware": bytes(64 << 20)}))
    (box.lib / "while-loading").write_text("sleep 0.2\n")
    host = box.host
    driver = directory / "s/driver.py"
    driver.write_text(
        "from kexec_hook.__main__ import run\n"
        "from kexec_hook.system.process import Programs\nfrom kexec_hook.system.host import Host\n"
        f"run(Host({host.root!r}, Programs({host.programs.path!r}), {host.owner}, True))\n"
    )
    return box, [python, str(driver)]


def stage_rows(box: Box, run: list[str]) -> Iterator[Row]:
    """What staging itself takes: the lock, the record, the mark, the journal.  To decide twice would take more."""
    stage, kexec = [*run, "stage"], str(box.bin / "kexec")
    dry = [*run, "stage", "--dry-run"]
    yield Row("stage, staged already", stage, dry, 0, "stage --dry-run", beyond=0.03, least=30)
    load = [kexec, "--how", "--load", f"--initrd={box / INITRD}"]
    yield Row(
        "stage, kexec taking 0.2 s",
        stage,
        ["sh", "-c", f"{joined(dry)} && {joined(load)}"],
        0,
        "stage --dry-run, then that kexec",
        beyond=0.1,
        before=f"{kexec} --how --unload",
    )


def finalize_lines(box: Box, run: list[str], runs: int) -> Iterator[str]:
    """What the decision at shutdown takes: where Linux counts loads, and where it does not."""
    box.rebooting()
    limit = box / "proc/sys/kernel/kexec_load_limit_reboot"
    for what, counts in (("is loaded", True), ("is loaded anew", False)):
        limit.unlink(missing_ok=True)
        if counts:
            box.counts_calls()
        subprocess.run([*run, "unstage"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*run, "stage"], check=True, stdout=subprocess.DEVNULL)
        cpu, wall = zip(*(_cost([*run, "finalize"]) for _ in range(runs)))
        took = f"{ms(statistics.median(wall))} {ms(statistics.median(cpu))} of CPU"
        yield f"{f'finalize, what GRUB would boot {what}':44} {took}"


def _cost(argv: list[str]) -> tuple[float, float]:
    """Seconds of CPU, its children's included, and of the clock."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def apt_row(runs: int, scratch: Path) -> tuple[str, bool]:
    """apt's whole run, with the package's glue, where nothing has changed that boots; and whether it takes too long."""
    what, limit = "apt-get install --reinstall of a small package", 1.1
    try:
        ours, theirs = map(statistics.median, deb_lab.apt_seconds(runs, scratch / "apt"))
    except (ChrootError, OSError, subprocess.CalledProcessError) as error:
        return f"{what:44} not measured: {error}", False
    ratio = ours / theirs
    verdict = "PASS" if ratio <= limit else "OVER"
    compared = f"{ms(ours)} {ms(theirs)} {ratio:6.2f} {limit:6}"
    return f"{what:44} {compared} {'':18}  {verdict}  (apt without kexec-hook)", verdict == "OVER"


def is_root() -> bool:
    return subprocess.run(["id", "-u"], stdout=subprocess.PIPE, text=True).stdout.strip() == "0"


def seconds(commands: list[list[str]], runs: int, scratch: Path, before: str = "") -> list[float]:
    """Median of each command; hyperfine runs them without a shell, in turns, so that all see the same machine."""
    out = scratch / "hyperfine.json"
    argv = [
        "hyperfine",
        "-N",
        "--warmup",
        "1",
        *(["--prepare", before] if before else []),
        "--export-json",
        str(out),
    ]
    times: list[list[float]] = [[] for _ in commands]
    while len(times[0]) < runs:
        turn = str(max(2, min(3, runs - len(times[0]))))  # hyperfine wants two at least
        quiet = subprocess.DEVNULL
        subprocess.run(
            [*argv, "--runs", turn, *map(joined, commands)], check=True, stdout=quiet, stderr=quiet
        )
        for found, result in zip(times, json.loads(out.read_text())["results"]):
            found += result["times"]
    return [statistics.median(found) for found in times]


def joined(argv: list[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)


def memory(argv: list[str], scratch: Path) -> int:
    """Peak resident size in KiB, as GNU time says it."""
    out = scratch / "time"
    quiet = subprocess.DEVNULL
    subprocess.run(
        ["/usr/bin/time", "-f", "%M", "-o", str(out), *argv],
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
    )
    return int(out.read_text().split()[-1])


def works(argv: list[str]) -> str | None:
    """Why a command is not worth measuring, or None."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode == 0:
        return None
    words = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return f"exit {done.returncode}: {words[-1]}"


def ms(seconds: float) -> str:
    return f"{seconds * 1000:6.{0 if seconds > 0.01 else 1}f} ms"


def cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description="measure kexec-hook against public programs")
    parser.add_argument("--runs", type=int, default=15, help="runs of each command (default: 15)")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 where a ratio is over its limit"
    )
    args = parser.parse_args()
    for tool in ("hyperfine", "/usr/bin/time"):
        if shutil.which(tool) is None:
            print(f"bench: {tool} is missing: apt-get install -y hyperfine time", file=sys.stderr)
            return 1
    print(f"{cpu()}, Python {platform.python_version()}, {platform.system()} {platform.release()}")
    over = False
    with (
        tempfile.TemporaryDirectory() as temporary,
        tempfile.TemporaryDirectory(dir=MEMORY) as in_memory,
    ):
        scratch = Path(temporary)
        kexec_hook, python = install(scratch)
        imports = [python, "-c", IMPORTS]
        dry = ["--root", str(debian(scratch, 265)), "stage", "--dry-run"]
        what = "stage --dry-run, 265 lines"
        rows = [Row(what, [kexec_hook, *dry], imports, 1.6, "python3 and its imports")]
        former = before(scratch / "before")
        if former:
            rows.append(Row(what, [kexec_hook, *dry], [former, *dry], 1.0, BEFORE, least=40))
        looks = ["--root", str(looking(scratch, Path(dry[1]))), "stage", "--dry-run"]
        rows.append(
            Row(
                "the same with five looks by grub-fstest",
                [kexec_hook, *looks],
                [kexec_hook, *dry],
                0,
                "without",
                beyond=0.15,
            )
        )
        for count, limit in ENTRIES.items():
            root = many(scratch, count)
            ours = [kexec_hook, "grub-eval", str(root), "--default-only"]
            rows.append(
                Row(
                    f"grub-eval --default-only, {count} entries",
                    ours,
                    grub_emu(root),
                    limit,
                    "grub-emu",
                )
            )
        rows.append(
            Row(
                "hooks/run, nothing changed",
                quiet(scratch),
                ["sh", "-c", ":"],
                1.5,
                "sh -c :",
                least=400,
            )
        )
        box, run = staging(Path(in_memory), python)
        rows += stage_rows(box, run)
        print(
            f"{'':44} {'median':>9} {'compared':>9} {'ratio':>6} {'limit':>6} {'memory':>8} {'compared':>9}"
        )
        for row in rows:
            why = works(row.ours)
            if why:
                print(f"{row.what:44} not measured: {why}")
                over = True
                continue
            commands = [row.ours, *([row.theirs] if row.theirs else [])]
            medians = seconds(commands, max(args.runs, row.least), scratch, row.before)
            peaks = [memory(argv, scratch) / 1024 for argv in commands]
            if row.theirs is None:
                print(
                    f"{row.what:44} {ms(medians[0])} {'-':>9} {'-':>6} {'-':>6} {peaks[0]:4.0f} MiB"
                )
                continue
            more, ratio = medians[0] - medians[1], medians[0] / medians[1]
            verdict = (
                "PASS"
                if (ratio <= row.limit if row.beyond is None else more <= row.beyond)
                else "OVER"
            )
            over = over or verdict == "OVER"
            compared = f"{ratio:6.2f} {row.limit:6}"
            if row.beyond is not None:
                compared = f"{more * 1000:+6.0f} {row.beyond * 1000:+6.0f}"  # ms
            print(
                f"{row.what:44} {ms(medians[0])} {ms(medians[1])} {compared}"
                f" {peaks[0]:4.0f} MiB {peaks[1]:5.0f} MiB  {verdict}  ({row.than})"
            )
        loads = [words for words in box.calls if "--load" in words and "--how" not in words]
        copies = [words for words in loads if f"--initrd={box / INITRD}" not in words]
        over = over or bool(copies) or not loads
        print(f"{'stage, a single initrd':44} {len(copies)} copies in {len(loads)} stages")
        print(*finalize_lines(box, run, args.runs), sep="\n")
        line, slow = apt_row(max(args.runs, 20), scratch)
        print(line)
        over = over or slow
    return 1 if over and args.strict else 0


if __name__ == "__main__":
    sys.exit(main())
