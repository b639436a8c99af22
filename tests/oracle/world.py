"""What a question to GRUB consists of, and the partition that scripts run on (the recorded answers were made on it)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracle.disk import Partition

UUID = "11111111-2222-3333-4444-555555555555"
LABEL = "lab"
ENV = b"saved_entry=foo bar\nx\\=y=1\nnext_entry=\nesc=a\\\\b\\\nc\n"
FILES = {
    "g/a1": (b"a1\n", 1000),
    "g/a2": (b"a2\n", 2000),
    "g/b1": (b"b1\n", 2500),
    "g/sub/c1": (b"c1\n", 1500),
    "boot/empty": (b"", 1000),
    "boot/non_empty": (b"non_empty\n", 1000),
}


@dataclass(frozen=True)
class Question:
    """Partitions hd0,gpt1 and on, and how GRUB was started on the first; `prefix` is a directory of it."""

    partitions: Sequence[Partition]
    prefix: str | None = None
    flavour: str = "upstream"
    platform: str = "pc"
    cpu: str = "i386"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The directory that holds grub.cfg: the one given, or the first of the usual ones."""
        if self.prefix:
            return self.prefix
        files = self.partitions[0].files
        usual = ("/boot/grub", "/boot/grub2", "/grub", "/grub2")
        return next((path for path in usual if (files / path[1:] / "grub.cfg").exists()), usual[0])


def environment_block(lines: bytes, size: int = 1024) -> bytes:
    block = b"# GRUB Environment Block\n" + lines
    return block + b"#" * (size - len(block))


def make(directory: Path) -> Partition:
    """Fill a directory with the files of that partition."""
    for name, (content, mtime) in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (mtime, mtime))
    (directory / "boot/grub").mkdir(exist_ok=True)
    (directory / "boot/env").mkdir(exist_ok=True)
    (directory / "boot/env/e1").write_bytes(environment_block(ENV))
    return Partition(directory, UUID, LABEL)


# In a generated case, what follows this line is the environment block beside the configuration.
BLOCK_FOLLOWS = b"#### grubenv\n"
KERNELS = (
    "boot/vmlinuz-a",
    "boot/vmlinuz-b",
    "boot/initrd-a",
    "boot/initrd-b",
    "vmlinuz-top",
    "boot/k with blank",
)


def make_bootable(directory: Path, config: bytes, block: bytes, every_kernel: bool = False) -> None:
    """Fill a directory with a configuration, its environment block, a few kernels or every one that it names."""
    shutil.rmtree(directory, ignore_errors=True)
    make(directory)
    names = list(KERNELS)
    if every_kernel:
        for line in re.findall(rb"^\s*(?:linux|initrd)\w*\s(.*)", config, re.MULTILINE):
            names += re.findall(r"(?<!\S)/([\w./+~-]+)", line.decode("utf-8", "replace"))
    for name in names:
        path = directory / name
        with contextlib.suppress(OSError):  # a damaged name may be a directory, or below a file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x\n")
    grub = directory / "boot/grub"
    (grub / "grub.cfg").write_bytes(config)
    if block:
        (grub / "grubenv").write_bytes(environment_block(block))
    else:
        (grub / "grubenv").unlink(missing_ok=True)
