"""How files become ext4, FAT and btrfs in images, and images a disk; only subvolumes of btrfs need a mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracle.disk import MIB, SECTOR, tool

# Each partition has this much room, so that few layouts are needed; the rest of it is a hole.
ROOM = 128 * MIB
_EXT4 = [
    "-t",
    "ext4",
    "-m",
    "0",
    "-J",
    "size=1",
    "-O",
    "^metadata_csum_seed,^orphan_file,^resize_inode",
]
_BIG_FILE = "@/boot/grub/grub.cfg"  # of a kit: its blocks are found in the image and written anew for each world
_BIG = 24 * 1024


@dataclass
class Content:
    """What is in a file system: files, links and empty directories by their paths from its top."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def write(self, directory: Path) -> None:
        """Make all of it below a directory."""
        for name in sorted(self.directories):
            (directory / name).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
            os.utime(directory / name, (written(name), written(name)))
        for name, to in self.links.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).symlink_to(to)
            os.utime(directory / name, (written(name), written(name)), follow_symlinks=False)


def written(name: str) -> int:
    """The time of a file's or link's last change (seconds since the epoch, even, as FAT has it)."""
    return 1_600_000_000 + zlib.crc32(name.encode()) % 100 * 2


@dataclass(frozen=True)
class Slot:
    """A partition of a layout: its number, and where it starts (bytes)."""

    number: int
    start: int
    partuuid: str


def run(*argv: str | Path, stdin: str = "") -> str:
    environment = {
        **os.environ,
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }  # FAT has local time; to GRUB it is UTC
    done = subprocess.run(
        [str(word) for word in argv], input=stdin.encode(), capture_output=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def missing() -> str | None:
    """Why these images cannot be made here, or None."""
    for name in ("sfdisk", "mke2fs", "mkfs.btrfs", "mformat", "mcopy", "grub-fstest"):
        if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            return f"{name} is not installed"
    return None


def make(kind: str, image: Path, content: Content, uuid: str, label: str, variant: int = 0) -> None:
    """Write the image of one file system; `variant` chooses among block sizes, FAT widths and the like."""
    with tempfile.TemporaryDirectory(dir=image.parent) as place:
        files = Path(place)
        content.write(files)
        {"ext4": _ext4, "fat": _fat, "btrfs": _btrfs}[kind](image, files, uuid, label, variant)


def _empty(image: Path, size: int) -> None:
    with open(image, "wb") as stream:
        stream.truncate(size)


def _ext4(image: Path, files: Path, uuid: str, label: str, variant: int) -> None:
    block = ("1024", "4096", "1024")[variant % 3]
    _empty(image, 16 * MIB)
    argv = [
        tool("mke2fs"),
        "-q",
        "-F",
        *_EXT4,
        "-b",
        block,
        "-N",
        "256",
        "-d",
        str(files),
        "-U",
        uuid,
        "-L",
        label,
    ]
    if block == "4096":
        argv[argv.index("size=1")] = "size=4"
    run(*argv, "-E", "lazy_itable_init=1,nodiscard", image)


def _fat(image: Path, files: Path, uuid: str, label: str, variant: int) -> None:
    sectors = (8192, 65536, 81920)[variant % 3]
    width = ["-F"] if sectors == 81920 else []
    argv = [tool("mformat"), "-C", "-i", str(image), "-T", str(sectors), "-h", "16", "-s", "32"]
    run(*argv, *width, "-v", label, "-N", uuid.replace("-", ""), "::")
    names = sorted(str(path) for path in files.iterdir())
    if names:
        run(tool("mcopy"), "-s", "-m", "-i", image, *names, "::")


def _btrfs(image: Path, files: Path, uuid: str, label: str, variant: int) -> None:
    _empty(image, 32 * MIB if variant % 2 else 114 * MIB)
    mixed = ["-M"] if variant % 2 else []
    run(tool("mkfs.btrfs"), "-q", "-f", *mixed, "-U", uuid, "-L", label, "-r", files, image)


@dataclass(frozen=True)
class Kit:
    """A btrfs with subvolumes, made by a mount once; each world gets a copy with a configuration of its own."""

    image: Path
    content: Content
    uuid: str
    label: str
    subvolumes: tuple[str, ...]
    config_at: int
    block_at: int

    def copy(self, to: Path, config: bytes, block: bytes) -> Content:
        """The image, and what is in it, with these files below @/boot/grub."""
        copy_sparse(self.image, to)
        padded = config + b"#" * (_BIG - len(config) - 1) + b"\n"  # one comment
        if len(padded) != _BIG:
            raise ValueError(f"a configuration of {len(config)} bytes is too long for a kit")
        with open(to, "r+b") as stream:
            stream.seek(self.config_at)
            stream.write(padded)
            stream.seek(self.block_at)
            stream.write(block)
        files = {**self.content.files, _BIG_FILE: padded, "@/boot/grub/grubenv": block}
        return Content(files, dict(self.content.links), set(self.content.directories))


def make_kit(
    image: Path,
    content: Content,
    uuid: str,
    label: str,
    subvolumes: Sequence[str],
    compress: str = "",
) -> Kit:
    """Make the file system, its subvolumes by a mount.  RuntimeError where nothing may be mounted."""
    config, block = b"#config of a kit\n" * (_BIG // 17 + 1), b"#grubenv of a kit\n" * 57
    config, block = config[:_BIG], block[:1024]
    _empty(image, 114 * MIB)
    run(tool("mkfs.btrfs"), "-q", "-f", "-m", "single", "-U", uuid, "-L", label, image)
    with _mounted(image, "max_inline=0") as top:
        for name in subvolumes:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            run(tool("btrfs"), "subvolume", "create", top / name)
        Content({_BIG_FILE: config, "@/boot/grub/grubenv": block}).write(top)
    with _mounted(image, f"compress-force={compress}" if compress else "") as top:
        content.write(top)
    data = image.read_bytes()
    places = [data.find(what) for what in (config, block)]
    if min(places) < 0 or data.count(config) != 1 or data.count(block) != 1:
        raise RuntimeError("the configuration of a kit is not to be found in its image")
    return Kit(image, content, uuid, label, tuple(subvolumes), *places)


@contextmanager
def _mounted(image: Path, options: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=image.parent) as place:
        run(tool("mount"), "-o", f"loop{options and ','}{options}", image, place)
        try:
            yield Path(place)
        finally:
            run(tool("umount"), place)


def copy_sparse(source: Path, to: Path) -> None:
    run("/bin/cp", "--sparse=auto", "--no-preserve=mode", source, to)


def make_disk(disk: Path, partmap: str, images: Mapping[int, Path], identity: int) -> list[Slot]:
    """Write a disk with a partition table and these partitions by their numbers; from 5 on logical ones in an MBR."""
    slots = []
    for place, number in enumerate(images):
        partuuid = (
            f"{identity:08x}-1111-4222-8333-{number:012x}"
            if partmap == "gpt"
            else f"{identity:08x}-{number:02x}"
        )
        slots.append(
            Slot(number, MIB + place * (ROOM + MIB), partuuid)
        )  # a MiB between them has room for an EBR
    _empty(disk, MIB + len(slots) * (ROOM + MIB) + MIB)
    script = _gpt(slots, identity) if partmap == "gpt" else _msdos(slots, identity)
    run(tool("sfdisk"), "-q", "--no-tell-kernel", disk, stdin=script)
    for slot, image in zip(slots, images.values()):
        insert(image, disk, slot.start)
    return slots


def _gpt(slots: Sequence[Slot], identity: int) -> str:
    lines = ["label: gpt", f"label-id: {identity:08x}-0000-4000-8000-000000000000"]
    for slot in slots:
        lines.append(f"{_line(slot)}, type=linux, uuid={slot.partuuid}")
    return "\n".join(lines) + "\n"


def _msdos(slots: Sequence[Slot], identity: int) -> str:
    lines = ["label: dos", f"label-id: 0x{identity:08x}"]
    logical = [slot for slot in slots if slot.number >= 5]
    lines += [f"{_line(slot)}, type=83" for slot in slots if slot.number < 5]
    if logical:
        first = logical[0].start - MIB // 2
        length = logical[-1].start + ROOM - first
        lines.append(f"4: start={first // SECTOR}, size={length // SECTOR}, type=5")
        lines += [f"{_line(slot)}, type=83" for slot in logical]
    return "\n".join(lines) + "\n"


def _line(slot: Slot) -> str:
    return f"{slot.number}: start={slot.start // SECTOR}, size={ROOM // SECTOR}"


def insert(image: Path, disk: Path, offset: int) -> None:
    """Copy an image into a disk, without its holes."""
    source = os.open(image, os.O_RDONLY)
    target = os.open(disk, os.O_WRONLY)
    try:
        size = os.fstat(source).st_size
        at = 0
        while at < size:
            try:
                start = os.lseek(source, at, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                break
            at = os.lseek(source, start, os.SEEK_HOLE)
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(target, offset + start, os.SEEK_SET)
            left = at - start
            while left:
                left -= os.sendfile(target, source, None, left)
    finally:
        os.close(source)
        os.close(target)


def read(disk: Path, device: str, path: str) -> bytes | None:
    """What GRUB's driver reads there (`gpt2` of a whole disk, or nothing for an image); None where it cannot."""
    name = f"(loop0,{device})" if device else "(loop0)"
    done = subprocess.run(
        [tool("grub-fstest"), str(disk), "cat", name + path],
        capture_output=True,
        env={"PATH": "/nonexistent"},
    )
    return None if done.returncode or done.stderr else done.stdout
