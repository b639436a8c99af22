"""File systems and volumes made by their own tools: grub-fstest and we find the same files on them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kexec_hook.grub.disks import DiskError, GrubPath
from kexec_hook.rootdisks import RootDisks
from kexec_hook.sysroot import Sysroot

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what the tools have made"),
]
UUID = "11111111-2222-3333-4444-555555555555"


def needs(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def mounted(image: Path, at: Path, options: str = "") -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", f"loop{options and ','}{options}", image, at)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def disks_of(root: Path, node: str = "sda2") -> RootDisks:
    """The disks of a root as mountinfo has them, with a disk in place of the loop device; /proc and /dev are files."""
    lines = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == str(root) or fields[4].startswith(f"{root}/"):
            fields[4] = fields[4][len(str(root)) :] or "/"
            source = fields.index("-") + 2
            fields[source] = f"/dev/{node}"
            lines.append(" ".join(fields))
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")
    by_uuid = root / "dev/disk/by-uuid"
    by_uuid.mkdir(parents=True, exist_ok=True)
    if not (by_uuid / UUID).is_symlink():
        (by_uuid / UUID).symlink_to(f"../../{node}")
    return RootDisks(Sysroot(root))


def grub_says(image: Path, path: str) -> str | None:
    done = subprocess.run(["grub-fstest", str(image), "cat", f"(loop0){path}"], capture_output=True, text=True)
    return done.stdout if not done.stderr else None


def we_say(disks: RootDisks, path: str) -> str | None:
    device = disks.find("fs_uuid", UUID)[0]
    try:
        return disks.read(GrubPath(device, path)).decode()
    except DiskError:
        return None


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory):
    """Subvolumes @, @home and @/nested, a snapshot of @, links in all directions; the default subvolume is @."""
    needs("mkfs.btrfs", "btrfs", "grub-fstest")
    directory = tmp_path_factory.mktemp("btrfs")
    image = directory / "image"
    with open(image, "wb") as stream:
        stream.truncate(128 << 20)
    run("mkfs.btrfs", "-q", "-U", UUID, image)
    with mounted(image, directory / "top") as top:
        for name in ("@", "@home", "@/nested"):
            run("btrfs", "subvolume", "create", top / name)
        for name in ("@/boot/vmlinuz", "@/nested/file", "@home/file", "plain/file", "@/home/under", "boot/top"):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(f"{name}\n")
        for name, to in LINKS.items():
            (top / name).symlink_to(to)
        run("btrfs", "subvolume", "snapshot", top / "@", top / "@snap")
        run("btrfs", "subvolume", "set-default", top / "@")
    return image


LINKS = {
    "@/abs": "/boot/vmlinuz",
    "@/top": "/@/boot/vmlinuz",
    "@/rel": "boot/vmlinuz",
    "@/up": "../plain/file",
    "@/nested/up": "../boot/vmlinuz",
    "@/into": "nested/file",
    "@/home-of": "/@home/file",
}
PATHS = [
    *(f"/{name}" for name in LINKS),
    "/@/boot/vmlinuz", "/boot/vmlinuz", "/boot/top", "/@/nested/file", "/nested/file", "/@home/file", "/plain/file",
    "/@snap/boot/vmlinuz", "/@snap/rel", "/@/nested/../boot/vmlinuz", "/@/nested/../file", "/@/../plain/file",
    "/@/../boot/vmlinuz", "/@/boot/../boot/vmlinuz", "/@/boot/vmlinuz/", "/@/boot/vmlinuz/x", "/@/boot",
    "/@//boot/./vmlinuz", "/@BOOT/vmlinuz", "/@/home/under", "/",
]  # fmt: skip


@pytest.mark.parametrize(
    "mounts",
    [
        {"": "subvolid=5"},
        {"": ""},  # what set-default has named
        {"": "subvol=@", "/home": "subvol=@home"},
        {"": "subvol=@", "/home": "subvol=@home", "/nested": "subvol=@/nested"},
        {"": "subvol=@snap"},
    ],
    ids=["top", "default", "subvolumes", "nested", "snapshot"],
)
def test_btrfs_paths_start_at_the_top_whatever_is_mounted_or_the_default(btrfs, tmp_path, mounts):
    """What a mount shows is what GRUB finds; what none shows is missing, never something else."""
    root = tmp_path / "root"
    found = 0
    with mounted(btrfs, root, mounts[""]):
        others = [mounted(btrfs, root / point[1:], options) for point, options in mounts.items() if point]
        entered = [other.__enter__() for other in others]
        try:
            disks = disks_of(root)
            for path in PATHS:
                said, ours = grub_says(btrfs, path), we_say(disks, path)
                assert ours in (said, None), path
                hidden = disks.why_missing(GrubPath(disks.find("fs_uuid", UUID)[0], path))
                assert ours == said or hidden.partition(": ")[2], f"{path}: nothing hides what GRUB finds, {said!r}"
                found += ours is not None
        finally:
            for other in reversed(others[: len(entered)]):
                other.__exit__(None, None, None)
            shutil.rmtree(root / "proc", ignore_errors=True)
            shutil.rmtree(root / "dev", ignore_errors=True)
    assert found >= 2
