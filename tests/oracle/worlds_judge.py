"""A world on disk: whole disks for GRUB, a root for kexec-hook, what both make of it, and where they differ."""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.oracle import emu, images, ours
from tests.oracle.envblock import variables
from tests.oracle.worlds import BLOCK, Mount, Part, World

Json = dict[str, Any]
_POOL = "99999999-2222-4333-8444-555555555555"  # of the ext4 in place of a pool
SIGHTS = ("readable", "unreadable")
# How a result is called: those that are right, and those that are not.
RIGHT = ("staged alike", "neither boots", "declined by rule", "declined unseen")
WRONG = ("differs", "false sentence", "no need to decline")

# Codes of objections: what cannot be seen; what must not be said of something that GRUB boots; what GRUB cannot write.
_UNSEEN = frozenset(
    [
        *("not-mounted", "cannot-be-known", "files-unreachable"),
        *("kernel-unreadable", "initrd-unreadable"),
    ]
)
_NO_INITRD = frozenset(["initrd-needed"])
_FALSE = _NO_INITRD | {
    *("entry-fails", "no-entry", "no-such-entry", "config-unreadable", "leaves-without-menu"),
    *("kernel-missing", "initrd-missing", "root-missing", "nothing-to-load", "broken-link"),
}
_WRITES = frozenset(["environment-not-writable", "next-entry-stuck"])


class Built:
    """A world on disk."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.directory = directory
        self.root = directory / "tree"
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "parts").mkdir(parents=True)
        self._own_files()
        self.disks = {name: directory / name for name in world.disks}
        for number, (name, (partmap, _)) in enumerate(world.disks.items()):
            mine = [part for part in world.parts if part.disk == name]
            slots = images.make_disk(
                self.disks[name],
                partmap,
                {part.number: self.image(part) for part in mine},
                0x0FED0000 + number,
            )
            for part, slot in zip(mine, slots):
                part.partuuid = slot.partuuid
        self._tree()
        self.before = {key: variables(content) for key, content in self._blocks()}

    def image(self, part: Part) -> Path:
        return self.directory / "parts" / part.node

    def _own_files(self) -> None:
        """GRUB's directory and where it leads get their files, and each partition its image."""
        world = self.world
        home, directory = world.home
        files: dict[int, dict[str, bytes]] = {id(part): {} for part in world.parts}
        files[id(home)] = {
            f"{directory}/grub.cfg": world.config.encode(),
            f"{directory}/grubenv": world.block,
        }
        if world.stub:
            files[id(world.boot)] = {f"{world.prefix}/grub.cfg": world.stub.encode()}
        for part in world.parts:
            self._image(part, files[id(part)])

    def _image(self, part: Part, files: dict[str, bytes]) -> None:
        image = self.image(part)
        if part.kit is not None:
            config = files.get("/@/boot/grub/grub.cfg", b"# another system's\n")
            part.content = part.kit.copy(
                image, config, files.get("/@/boot/grub/grubenv", b"#" * 1024)
            )
        elif part.kind:
            part.content.files.update({path[1:]: content for path, content in files.items()})
            kind = "ext4" if part.kind == "zfs" else part.kind
            uuid = part.uuid or _POOL
            images.make(kind, image, part.content, uuid, part.label, part.variant)
        else:
            image.write_bytes(b"\0" * 4096)

    def _tree(self) -> None:
        """What Linux shows: the mounted files, mountinfo, udev's links."""
        world, root = self.world, self.root
        lines = [
            "24 30 0:22 / /proc rw - proc proc rw",
            "25 30 0:5 / /dev rw - devtmpfs udev rw",
            *mountinfo(world),
        ]
        for _, mount in mounts(world):
            (root / mount.point[1:]).mkdir(parents=True, exist_ok=True)
        for part in world.parts:
            self._show(part)
            for what, value in (
                ("uuid", part.uuid if part.kind != "zfs" else "81985529216486895"),
                ("label", part.label),
                ("partuuid", part.partuuid),
            ):
                if value:
                    link = root / "dev/disk" / f"by-{what}" / value
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(f"../../{part.node}")
        _write(root / "proc/self/mountinfo", "\n".join(lines) + "\n")
        _write(
            root / "proc/cmdline",
            f"BOOT_IMAGE={world.boot_image or '/vmlinuz-running'} root=/dev/running ro\n",
        )
        _write(root / "etc/os-release", 'ID=debian\nVERSION_ID="12"\n')

    def _show(self, part: Part) -> None:
        """The files of a partition that its mounts show."""
        shown = images.Content()
        times = {}
        for name, content in part.content.files.items():
            host = self.world.shown(part, "/" + name)
            if host:
                shown.files[host[1:]] = content
                times[host[1:]] = images.written(name)
        for name, to in part.content.links.items():
            host = self.world.shown(part, "/" + name)
            if host:
                shown.links[host[1:]] = to
                times[host[1:]] = images.written(name)
        for name in (*part.content.directories, *(["lost+found"] if part.kind == "ext4" else [])):
            host = self.world.shown(part, "/" + name)
            if host:
                shown.directories.add(host[1:])
        shown.write(self.root)
        for name, when in times.items():
            os.utime(self.root / name, (when, when), follow_symlinks=False)

    def sight(self, readable: bool) -> None:
        """Put the images where the block devices would be, or what GRUB cannot read, or only in part."""
        way = zlib.crc32(self.world.config.encode()) % len(_UNREADABLE)
        for part in self.world.parts:
            node = self.root / "dev" / part.node
            node.unlink(missing_ok=True)
            if part.kind == "zfs":
                node.touch()
            elif readable:
                os.link(self.image(part), node)
            else:
                _UNREADABLE[way](self.image(part), node)

    def content(self, name: str) -> bytes | None:
        """What kexec-hook's name of a file stands for, read by GRUB's driver where no mount shows it."""
        if ":" in name:
            node, _, path = name.partition(":")
            return images.read(self.directory / "parts" / node.rpartition("/")[2], "", path)
        try:
            return (self.root / name[1:]).read_bytes()
        except OSError:
            return None

    def grub_content(self, word: str, root: str) -> bytes | None:
        """The file that a loader opened."""
        device, path = root, word
        if word.startswith("("):
            device, _, path = word[1:].partition(")")
        disk, _, part = device.partition(",")
        return images.read(self.disks[disk], part, path) if disk in self.disks else None

    def _blocks(self) -> Iterator[tuple[tuple[str, str], bytes]]:
        """The environment blocks as they were made: device and path, and what is in them."""
        home, directory = self.world.home
        yield (home.grub, f"{directory}/grubenv"), self.world.block
        for part in self.world.parts:
            for name, content in part.content.files.items():
                if name.endswith(BLOCK):
                    yield (part.grub, "/" + name), content

    def written(self) -> dict[tuple[str, str], dict[str, str] | None]:
        """The environment blocks that GRUB has changed, as they are now."""
        found = {}
        if "save_env" not in self.world.config:
            return {}
        for (device, path), before in self.before.items():
            now = variables(self.grub_content(f"({device}){path}", "") or b"")
            if now != before:
                found[device, path] = now
        return found

    def name(self, device: str, path: str) -> str:
        """Our name of a file that GRUB names."""
        part = next(part for part in self.world.parts if part.grub == device)
        return self.world.shown(part, path) or f"/dev/{part.node}:{path}"


def _empty(_image: Path, node: Path) -> None:
    node.touch()


def _garbage(_image: Path, node: Path) -> None:
    node.write_bytes(b"\xa5" * 100_000)


def _cut(image: Path, node: Path) -> None:
    """Half of it: some of what is asked can be read, and the rest is an error."""
    images.copy_sparse(image, node)
    os.truncate(node, 40_000 if image.stat().st_size < images.ROOM // 2 else 15_000_000)


_UNREADABLE = (_empty, _empty, _garbage, _cut)


def mounts(world: World) -> list[tuple[Part, Mount]]:
    """What is mounted, in the order in which it can be."""
    found = [(part, mount) for part in world.parts for mount in part.mounts]
    return sorted(found, key=lambda one: one[1].point)


def mountinfo(world: World) -> Iterator[str]:
    """The lines of proc(5) for it: / is 30, and each names the mount that it is on."""
    ids = {"/": 30}
    for number, (part, mount) in enumerate(mounts(world)):
        above = [point for point in ids if f"{mount.point}/".startswith(f"{point.rstrip('/')}/")]
        parent = ids[max(above, key=len)] if number else 1
        ids.setdefault(mount.point, 40 + number)
        device = f"8:{number + 1}" if part.kind != "btrfs" else f"0:{40 + world.parts.index(part)}"
        if part.kind == "zfs":
            source = f"rpool/{mount.root[:-1]}"
            yield f"{ids[mount.point]} {parent} 0:50 / {mount.point} rw - zfs {source} rw,xattr"
            continue
        options = f"rw,subvol=/{mount.root}" if part.kind == "btrfs" else "rw"
        kind = "vfat" if part.kind == "fat" else part.kind
        place = f"{ids[mount.point]} {parent} {device} /{mount.root} {mount.point}"
        yield f"{place} rw,relatime - {kind} /dev/{part.node} {options}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ask_grub(built: Built, seconds: float = 15.0) -> emu.BootRun:
    """Boot the disks, without a hand on the keyboard, until something is loaded or GRUB waits."""
    world = built.world
    settings = {"root": world.boot.grub, "prefix": f"({world.boot.grub}){world.prefix}"}
    return emu.boot_disks(built.disks, built.directory, settings, seconds)


def ask_us(built: Built) -> Json:
    answer = ours.call(["--root", str(built.root), "stage", "--dry-run", "--json"], 60)
    try:
        found = json.loads(answer.out)
    except ValueError as error:
        raise ours.OursFailed(
            f"exit {answer.code}, no JSON ({error}): {answer.err[-1500:]}"
        ) from error
    assert isinstance(found, dict)
    return found


def judge(built: Built, said: emu.BootRun, got: Json, readable: bool) -> tuple[str, list[str]]:
    """The result (RIGHT, WRONG), and what is wrong."""
    kernel = _kernel(said) if said.booted else None
    if got["outcome"] == "would-stage":
        if kernel is None:
            return "differs", [
                f"GRUB boots nothing ({said.end}; {said.errors}), kexec-hook stages {got['kernel']}"
            ]
        found = _staged(built, said, kernel, got)
        return ("differs" if found else "staged alike"), found
    if kernel is None:
        return "neither boots", []
    return _declined(built, said, got["objections"], readable)


def _declined(
    built: Built, said: emu.BootRun, objections: Sequence[Json], readable: bool
) -> tuple[str, list[str]]:
    """GRUB boots, and we do not: for which reasons may that be?"""
    world = built.world

    def of(codes: frozenset[str]) -> list[str]:
        return [f"{one['reason']} ({one['code']})" for one in objections if one["code"] in codes]

    initrd = _initrd(said)
    if initrd is not None and not initrd.opened:
        return "declined by rule", []  # GRUB boots without an initrd that it could not load
    if initrd is None and of(_NO_INITRD):
        return "declined by rule", []
    if of(_FALSE):
        return "false sentence", of(_FALSE)
    if of(_WRITES) and _writes_elsewhere(built, said):
        return "declined by rule", []
    unseen = of(_UNSEEN)
    if not unseen:
        reasons = [f"{one['reason']} ({one['code']})" for one in objections]
        return "differs", [f"GRUB boots {said.chosen}, kexec-hook declines: {r}" for r in reasons]
    if all("when that was changed" in reason for reason in unseen):
        # of a link that leads to no file grub-fstest does not tell it
        return "declined by rule", []
    if world.guess or world.blank or (not readable and not world.sighted):
        return "declined unseen", []
    what = "the images can be read" if readable else "the mounts show all that is asked"
    return "no need to decline", [f"{what}, yet: {reason}" for reason in unseen]


def _writes_elsewhere(built: Built, said: emu.BootRun) -> bool:
    """Has GRUB written to a block that no mount shows, or could it not write?"""
    names = [built.name(*key) for key in built.written()]
    return any(":" in name for name in names) or any(
        "sparse file not allowed" in error for error in said.errors
    )


def _kernel(said: emu.BootRun) -> emu.Loader | None:
    return next(
        (loader for loader in said.loaders[::-1] if loader.words[0] == "linux" and loader.opened),
        None,
    )


def _initrd(said: emu.BootRun) -> emu.Loader | None:
    return next((loader for loader in said.loaders[::-1] if loader.words[0] == "initrd"), None)


def _staged(built: Built, said: emu.BootRun, kernel: emu.Loader, got: Json) -> list[str]:
    found: list[str] = []
    entry = (kernel.chosen or "").rpartition(">")[2]
    if entry != got["entry"]["id"]:
        found.append(f"entry: GRUB {entry!r}, kexec-hook {got['entry']['id']!r}")
    cmdline = " ".join([f"BOOT_IMAGE={kernel.words[1]}", *kernel.words[2:]])
    if _without_device(cmdline) != _without_device(got["cmdline"]):
        found.append(f"cmdline: GRUB {cmdline!r}, kexec-hook {got['cmdline']!r}")
    _same_file(built, "kernel", kernel.words[1], kernel.root, got["kernel"], found)
    initrd = _initrd(said)
    words = initrd.words[1:] if initrd else ()
    if len(words) != len(got["initrds"]):
        found.append(f"initrds: GRUB {words}, kexec-hook {got['initrds']}")
    for word, name in zip(words, got["initrds"]):
        assert initrd is not None
        _same_file(built, "initrd", word, initrd.root, name, found)
    return found + _writes(built, got)


def _without_device(cmdline: str) -> str:
    return re.sub(r"^BOOT_IMAGE=\([^)]*\)", "BOOT_IMAGE=", cmdline)


def _same_file(built: Built, what: str, word: str, root: str, name: str, found: list[str]) -> None:
    content = built.grub_content(word, root)
    if content is None or built.content(name) != content:
        found.append(f"{what}: GRUB ({root}) {word}, kexec-hook {name}: not the same bytes")
    if ":" in name:
        node, _, path = name[len("/dev/") :].partition(":")
        part = next((part for part in built.world.parts if part.node == node), None)
        shown = built.world.shown(part, path) if part else ""
        if part is None or shown:
            found.append(f"{what}: {name} is mounted, as {shown}")


def _writes(built: Built, got: Json) -> list[str]:
    """The environment blocks after GRUB, and as they would be after our writes."""
    found = []
    changed = built.written()
    blocks = got.get("env_blocks")
    home, directory = built.world.home
    if blocks is None:
        blocks = [
            {"file": built.name(home.grub, f"{directory}/grubenv"), "writes": got["env_writes"]}
        ]
    for key, before in built.before.items():
        name = built.name(*key)
        wanted = before
        for block in blocks:
            if block["file"] == name:
                wanted = _after(wanted or {}, block["writes"])
        grub = changed.get(key, before)
        if grub != wanted:
            found.append(f"{name} after the boot: GRUB {grub!r}, kexec-hook {wanted!r}")
    return found


def _after(block: dict[str, str], writes: dict[str, str | None]) -> dict[str, str]:
    found = dict(block)
    for name, value in writes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found
