"""Machines with several partitions, of which Linux shows some: what is on them, what is mounted; by a seed."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests import bootfiles
from tests.oracle import images
from tests.oracle.images import Content, Kit
from tests.oracle.world import environment_block

FLAGS = ("maintenance", "flags/rescue", "flags/Long Name.TXT", "boot/flag", "aem/x", "slot-b")
SUBVOLUMES = ("@", "@home", "@snapshots", "@snapshots/1")
# Datasets as GRUB writes them.  Nothing here makes a pool: for GRUB they are directories of an ext4 in its place.
DATASETS = ("ROOT/debian@", "ROOT/other@")
BLOCK = "env/block"
FRAGMENT = "conf/one.cfg"
MENU = "menu/extra.cfg"


@dataclass(frozen=True)
class Mount:
    """A directory of a file system, and where it is mounted."""

    point: str
    root: str = ""  # @, without slashes at its ends


@dataclass
class Part:
    """A partition: GRUB's name and Linux's, what is on it, and what of it is mounted."""

    node: str  # sda2
    grub: str  # hd0,gpt2
    kind: str  # ext4, fat, btrfs, zfs; empty: no file system
    uuid: str = ""
    label: str = ""
    content: Content = field(default_factory=Content)
    mounts: list[Mount] = field(default_factory=list)
    kit: Kit | None = None
    variant: int = 0
    partuuid: str = ""  # once the disk is made

    @property
    def disk(self) -> str:
        return self.grub.partition(",")[0]

    @property
    def places(self) -> tuple[str, ...]:
        """The directories that have files of their own: the top, subvolumes, datasets."""
        if self.kind == "zfs":
            return DATASETS
        return ("", *SUBVOLUMES) if self.kit else ("",)

    @property
    def number(self) -> int:
        return int(self.grub.partition(",")[2].lstrip("gptmsdo"))


@dataclass
class World:
    """A machine with its configuration: GRUB starts on `boot` with `prefix`, a directory of it."""

    parts: list[Part]
    disks: dict[str, tuple[str, str]]  # hd0: its partition map, and sda
    boot: Part
    prefix: str  # /boot/grub
    config: str = ""
    block: bytes = b""
    stub: str = ""  # not empty: what is at the prefix, and leads to the configuration, on `chained`
    chained: tuple[Part, str] | None = None  # the partition and directory of the configuration then
    boot_image: str = ""  # of the running system's command line
    sighted: bool = True  # nothing is asked that the mounts do not show
    guess: bool = False  # it names a disk whose number nothing tells
    blank: bool = (
        False  # it asks a partition that has no file system, or a dataset that is not mounted
    )

    @property
    def has_zfs(self) -> bool:
        """Is an ext4 asked in place of a pool, so that it is not GRUB's driver that judges?"""
        return any(part.kind == "zfs" for part in self.parts)

    @property
    def home(self) -> tuple[Part, str]:
        """The partition and the directory of the configuration and its environment block."""
        return self.chained or (self.boot, self.prefix)

    def find(self, path: str) -> tuple[Part, str] | None:
        """The partition and GRUB's path of a file below the root: the longest mount point that it is below."""
        best: tuple[int, Part, Mount] | None = None
        for part in self.parts:
            for mount in part.mounts:
                point = mount.point.rstrip("/")
                if (path == mount.point or path.startswith(point + "/")) and (
                    best is None or len(point) > best[0]
                ):
                    best = (len(point), part, mount)
        if best is None:
            return None
        length, part, mount = best
        return part, "/" + "/".join(filter(None, (mount.root, path[length:].strip("/"))))

    def shown(self, part: Part, path: str) -> str:
        """Where a file of a partition is, or would be, below the root; empty where no mount shows it."""
        for mount in part.mounts:
            inside = path.lstrip("/")
            if mount.root and not inside.startswith(mount.root + "/"):
                continue
            host = f"{mount.point.rstrip('/')}/{inside[len(mount.root) :].lstrip('/')}"
            if self.find(host) == (part, "/" + inside):
                return host
        return ""


def describe(world: World) -> str:
    """The world as a text to read."""
    lines = [
        f"  {', '.join(f'{name} = {node} ({partmap})' for name, (partmap, node) in world.disks.items())}"
    ]
    for part in world.parts:
        shown = (
            " ".join(f"/{mount.root} at {mount.point}" for mount in part.mounts) or "not mounted"
        )
        boot = f"; GRUB's {world.prefix}" if part is world.boot else ""
        lines.append(
            f"  ({part.grub}) {part.node} {part.kind} {part.uuid} {part.label}: {shown}{boot}"
        )
        names = sorted([*part.content.files, *(f"{a}->{b}" for a, b in part.content.links.items())])
        lines.append(
            "    " + " ".join([*names, *(name + "/" for name in sorted(part.content.directories))])
        )
    flags = " ".join(name for name in ("sighted", "guess", "blank") if getattr(world, name))
    lines.append(
        f"  BOOT_IMAGE={world.boot_image} {flags} grubenv={world.block[25:].rstrip(b'#')!r}"
    )
    lines += [f"    stub | {line}" for line in world.stub.splitlines()]
    return "\n".join([*lines, *("    | " + line for line in world.config.splitlines())])


def kernel(tag: str) -> bytes:
    return bootfiles.bzimage(f"6.1.0-{tag} (worlds) #1")


def initrd(tag: str) -> bytes:
    return bootfiles.cpio({"tag": tag.encode()})


def fill(random: Random, tag: str, links: bool = True) -> Content:
    """The files that configurations ask for, each there or not; no two kernels are alike."""
    made = Content()
    files = made.files
    for flag in FLAGS:
        if random.random() < 0.5:
            files[flag] = random.choice((b"", b"x\n"))
        elif random.random() < 0.15:
            made.directories.add(flag)
    for number in range(random.randint(1, 3)):
        files[f"kern/vmlinuz-{tag}-{number}"] = kernel(f"{tag}.{number}")
        files[f"kern/initrd-{tag}-{number}.img"] = initrd(f"{tag}.{number}")
    if random.random() < 0.6:
        files["vmlinuz"] = kernel(f"{tag}.top")
        files["initrd.img"] = initrd(f"{tag}.top")
    if random.random() < 0.7:
        lines = f"saved_entry={random.choice(('e0', 'e1', 'e2', '1', 'sub>e9'))}\npick=pick-{tag}\nmode=m-{tag}\n"
        files[BLOCK] = environment_block(lines.encode())
        if random.random() < 0.1:
            files[BLOCK] = b"# GRUB Environment Bluck\n" + files[BLOCK][25:]
    if random.random() < 0.7:
        fragment = f'set frag=one-{tag}\nset acc="${{acc}}one-{tag}."\n'.encode()
        files[FRAGMENT] = packed(random, fragment)
    for name in ("conf.d/10-a.cfg", "conf.d/20-b.cfg", "conf.d/30-c.txt"):
        if random.random() < 0.5:
            files[name] = f'set acc="${{acc}}{name[7:9]}-{tag}."\n'.encode()
    if random.random() < 0.6:
        files[MENU] = extra_menu(random, tag).encode()
    if links:
        add_links(random, made, tag)
    return made


def packed(random: Random, data: bytes) -> bytes:
    """GRUB unpacks whatever it reads."""
    chance = random.random()
    if chance < 0.15:
        return gzip.compress(data, mtime=0)
    return lzma.compress(data, check=lzma.CHECK_CRC32) if chance < 0.2 else data


def add_links(random: Random, made: Content, tag: str) -> None:
    targets = {
        "kern/current": f"vmlinuz-{tag}-0",
        "current": f"kern/vmlinuz-{tag}-0",
        "abs": f"/kern/vmlinuz-{tag}-0",
        "up": f"../kern/vmlinuz-{tag}-0",
        "flags/dangling": "nowhere",
        "confdir": "conf.d",
        "one.cfg": FRAGMENT,
        "loop": "loop",
    }
    for name, to in targets.items():
        if random.random() < 0.5:
            made.links[name] = to


def extra_menu(random: Random, tag: str) -> str:
    """A menu of its own, of kernels on the partition that $root names."""
    body = random.choice(
        ("set timeout=0\n", "set timeout=0\nset default=1\n", "set timeout=0\nset default=x1\n")
    )
    for number in range(2):
        body += f"menuentry 'Extra {tag} {number}' --id x{number} {{\n"
        body += f" linux /kern/vmlinuz-{tag}-{number} root=/dev/xda1 x={number}\n"
        body += f" initrd /kern/initrd-{tag}-{number}.img\n}}\n"
    return body


def subvolume_content(random: Random, tag: str) -> Content:
    """Every subvolume of a kit, and its top, with files of their own."""
    tags = {"": "top", "@": "root", "@home": "home", "@snapshots/1": "snap"}
    return merged({place: fill(random, tag + short) for place, short in tags.items()})


def merged(contents: dict[str, Content]) -> Content:
    """Contents of several directories in one."""
    made = Content()
    for place, here in contents.items():
        below = f"{place}/" if place else ""
        made.files.update({below + name: content for name, content in here.files.items()})
        made.links.update({below + name: to for name, to in here.links.items()})
        made.directories.update(below + name for name in here.directories)
    return made


def make_kits(directory: Path, seed: str, count: int = 4) -> list[Kit]:
    """The btrfs images with subvolumes, made once per run.  RuntimeError where nothing may be mounted."""
    kits = []
    for number in range(count):
        random = Random(f"kit {seed} {number}")
        content = subvolume_content(random, f"k{number}")
        # The kernel mounts no two of one id, and two runs may go side by side.
        uuid = f"{zlib.crc32(seed.encode()):08x}-2222-4333-8444-00000000000{number}"
        compress = ("", "zstd", "zlib", "lzo")[number % 4]
        kits.append(
            images.make_kit(
                directory / f"kit{number}", content, uuid, f"KIT{number}", SUBVOLUMES, compress
            )
        )
    return kits


class Machines:
    """Partitions, file systems and mounts of one world; the configuration comes after."""

    def __init__(self, random: Random, kits: Sequence[Kit]) -> None:
        self.random = random
        self.kits = random.sample(list(kits), len(kits))  # each is in a world but once

    def make(self) -> World:
        disks = self._disks()
        parts = list(self._parts(disks))
        for number, part in enumerate(parts):
            self._fill(part, number)
        if self.random.random() < 0.05:
            self._pool(parts[0])
        boot, prefix = self._mount(parts)
        world = World(parts, disks, boot, prefix)
        kernels = [name for name in boot.content.files if "vmlinuz" in name]
        if kernels and self.random.random() < 0.6:
            world.boot_image = f"({boot.grub})/{self.random.choice(kernels)}"
        return world

    def _disks(self) -> dict[str, tuple[str, str]]:
        names: tuple[str, ...] = self.random.choice(
            (("sda", "sdb"), ("vda", "vdb"), ("nvme0n1", "nvme1n1"), ("sda", "nvme0n1"))
        )
        if self.random.random() < 0.6:
            names = names[:1]
        elif self.random.random() < 0.3:
            names = (names[1], names[0])
        return {
            f"hd{n}": (self.random.choice(("gpt", "gpt", "msdos")), name)
            for n, name in enumerate(names)
        }

    def _parts(self, disks: dict[str, tuple[str, str]]) -> Iterator[Part]:
        for disk, (partmap, node) in disks.items():
            most = (1, 2, 3) if partmap == "gpt" else (1, 2, 5)
            numbers = (
                most[: self.random.randint(2, 3)]
                if disk == "hd0"
                else most[: self.random.randint(1, 2)]
            )
            if disk == "hd0" and self.random.random() < 0.2:
                numbers = (*numbers, 9 if partmap == "gpt" else 6 if 5 in numbers else 3)
            for number in numbers:
                dash = "p" if node[-1].isdigit() else ""
                yield Part(f"{node}{dash}{number}", f"{disk},{partmap}{number}", "")

    def _fill(self, part: Part, number: int) -> None:
        random = self.random
        part.kind = random.choice(("ext4", "ext4", "ext4", "fat", "fat", "btrfs", "kit", "kit"))
        part.variant = random.randrange(6)
        if part.kind == "kit":
            part.kind = "btrfs"
            if self.kits:
                part.kit = self.kits.pop()
                part.uuid, part.label, part.content = (
                    part.kit.uuid,
                    part.kit.label,
                    part.kit.content,
                )
                return
        if number and random.random() < 0.06:
            part.kind = ""
            return
        self._name(part, number)

    def _pool(self, part: Part) -> None:
        tags = zip(DATASETS, ("zroot", "zother"))
        part.kind, part.uuid, part.label, part.kit = "zfs", "", "rpool", None
        part.content = merged({place: fill(self.random, tag, links=False) for place, tag in tags})

    def _name(self, part: Part, number: int) -> None:
        part.label = self.random.choice(("DATA", "OTHER", "BOOT", "ROOT")) + str(number)
        part.uuid = (
            f"AAAA-{number:04X}"
            if part.kind == "fat"
            else f"{number:08x}-2222-4333-8444-555555555555"
        )
        tag = f"{part.disk[2:]}p{part.number}"
        part.content = fill(self.random, tag, links=part.kind != "fat")

    def _mount(self, parts: list[Part]) -> tuple[Part, str]:
        """Mount / and perhaps /boot and more; GRUB's directory is on one of them."""
        random = self.random
        if not any(part.kind in ("ext4", "btrfs", "zfs") for part in parts):
            parts[0].kind = "ext4"
            self._name(parts[0], 0)
        pools = [part for part in parts if part.kind == "zfs"]
        root = random.choice(pools or [part for part in parts if part.kind in ("ext4", "btrfs")])
        inside = "@" if root.kit else DATASETS[0] if root in pools else ""
        root.mounts.append(Mount("/", inside))
        others = [p for p in parts if p is not root and p.kind and p.kit is None]
        boot, prefix = root, f"{'/' if inside else ''}{inside}/boot/grub"
        if others and random.random() < 0.4:
            boot, prefix = random.choice(others), "/grub"
            boot.mounts.append(Mount("/boot"))
        if root.kit and random.random() < 0.5:
            root.mounts.append(Mount("/home", "@home"))
        for point in ("/boot/efi", "/srv", "/mnt/other"):
            left = [part for part in parts if part.kind and not part.mounts]
            if left and random.random() < 0.2:
                part = random.choice(left)
                inside = random.choice(("", "@", "@snapshots/1")) if part.kit else ""
                part.mounts.append(Mount(point, inside))
        return boot, prefix


def known_disks(world: World) -> set[str]:
    """The disks whose number something tells: BOOT_IMAGE, or there is but one."""
    if len(world.disks) == 1:
        return set(world.disks)
    return {world.boot.disk} if world.boot_image else set()
