"""How a directory becomes a GPT disk that GRUB reads: sfdisk and mke2fs -d, no root, no loop device."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
MIB = 1024 * 1024
TOOL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Partition:
    """A file system to be: the files of one directory, and the names it answers to."""

    files: Path
    uuid: str | None = None
    label: str | None = None


def find_tool(name: str) -> str | None:
    return shutil.which(name, path=TOOL_PATH)


def tool(name: str) -> str:
    path = find_tool(name)
    if path is None:
        raise FileNotFoundError(f"{name} is needed to build a disk for grub-emu")
    return path


def _run(*argv: str, stdin: str = "") -> bytes:
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


@functools.cache
def _gpt(sizes: tuple[int, ...]) -> tuple[bytes, bytes, int]:
    """First MiB, last 33 sectors and size of a GPT disk; sfdisk waits 0.25 s, so it is asked once per layout."""
    total = (sum(sizes) + 2) * MIB
    start = MIB // SECTOR
    script = "label: gpt\nlabel-id: 00000000-0000-4000-8000-000000000001\n"
    for number, size in enumerate(sizes, 1):
        count = size * MIB // SECTOR
        script += (
            f"start={start}, size={count}, type=linux, uuid=00000000-0000-4000-8000-{number:012x}\n"
        )
        start += count
    with tempfile.TemporaryDirectory() as tmp:
        image = Path(tmp, "disk")
        with open(image, "wb") as stream:
            stream.truncate(total)
        _run(tool("sfdisk"), "-q", "--no-tell-kernel", str(image), stdin=script)
        data = image.read_bytes()
    return data[:MIB], data[-33 * SECTOR :], total


def _mib_for(files: Path) -> int:
    used = count = 0
    for path, _, names in os.walk(files):
        count += 1
        for name in names:
            used += os.lstat(os.path.join(path, name)).st_size + 1024
    return max(3, (used + count * 1024) * 5 // 4 // MIB + 2)


def _filesystem(image: Path, offset: int, mib: int, part: Partition) -> None:
    inodes = sum(len(names) + len(dirs) for _, dirs, names in os.walk(part.files)) + 64
    argv = [
        tool("mke2fs"),
        "-q",
        "-F",
        "-t",
        "ext2",
        "-b",
        "1024",
        "-m",
        "0",
        "-O",
        "^resize_inode",
    ]
    argv += ["-N", str(inodes), "-d", str(part.files), "-E", f"offset={offset},lazy_itable_init=1"]
    argv += ["-U", part.uuid or "ffffffff-ffff-4fff-8fff-fffffffffff0"]
    if part.label:
        argv += ["-L", part.label]
    _run(*argv, str(image), f"{mib * 1024}k")
    # A directory that GRUB would see and kexec-hook would not.
    _run(tool("debugfs"), "-w", "-R", "rmdir /lost+found", f"{image}?offset={offset}")


def build(image: Path, partitions: Sequence[Partition]) -> None:
    """Write a disk whose partitions are hd0,gpt1, hd0,gpt2 and so on."""
    sizes = tuple(_mib_for(part.files) for part in partitions)
    head, tail, total = _gpt(sizes)
    with open(image, "wb") as stream:
        stream.write(head)
        stream.truncate(total)
        stream.seek(total - len(tail))
        stream.write(tail)
    offset = MIB
    for mib, part in zip(sizes, partitions):
        _filesystem(image, offset, mib, part)
        offset += mib * MIB


def build_whole(image: Path, files: Path) -> None:
    """Write a disk without a partition table: one file system, hd77 as a whole."""
    mib = _mib_for(files)
    with open(image, "wb") as stream:
        stream.truncate(mib * MIB)
    _filesystem(
        image, 0, mib, Partition(files, label="judge")
    )  # an empty label could be searched for


def read_file(image: Path, path: str) -> bytes | None:
    """What a file of the first partition holds now, or None where there is none."""
    argv = [tool("debugfs"), "-R", f"cat {path}", f"{image}?offset={MIB}"]
    done = subprocess.run(argv, capture_output=True)
    return None if b"File not found" in done.stderr else done.stdout
