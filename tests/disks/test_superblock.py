"""An ext4 with features that GRUB does not know is no file system to it, also where Linux has mounted it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from kexec_hook.disks.superblock import is_beyond_grub
from kexec_hook.grub.disks import DiskError, FindBy, GrubPath
from kexec_hook.system.sysroot import Sysroot
from tests.tree import Tree

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-8888-7777-6666-555555555555"


def superblock(incompatible: int, clusters: int = 2) -> bytes:
    head = struct.pack("<24xII24xH38xI", 2, clusters, 0xEF53, incompatible)
    return bytes(1024) + head.ljust(1024, b"\0")


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "root").mount("/", "/dev/sda2").by("uuid", UUID, "sda2")
    tree.mount("/srv", "/dev/sda3", device="8:3").by("uuid", OTHER, "sda3").touch("srv/x")
    return tree.by("partuuid", "0fc63daf-8483-4772-8e79-3d69d8477de4", "sda3")


@pytest.mark.parametrize("block", [superblock(0x20000), superblock(0x8000), superblock(0x40, 6)])
def test_what_grub_cannot_read_is_no_file_system(machine: Tree, block: bytes) -> None:
    disks = machine.write("dev/sda3", block).disks()
    assert (disks.find("fs_uuid", OTHER), disks.find("file", "/x")) == ([], [])
    with pytest.raises(DiskError, match="unknown filesystem"):
        disks.read(GrubPath("hd0,gpt3", "/x"))
    assert disks.stat(GrubPath("hd0,gpt3", "/x")) is None


@pytest.mark.parametrize("block", [superblock(0x2C2), superblock(0x12344), b"", b"\0" * 4096])
def test_what_it_can_read_or_nobody_can_look_at_is_one(machine: Tree, block: bytes) -> None:
    disks = machine.write("dev/sda3", block).disks()
    assert list(disks.find("file", "/x")) == ["hd0,gpt3"]


def test_boot_was_read_by_grub_whatever_it_says(machine: Tree) -> None:
    machine.write("dev/sda2", superblock(0x20000)).touch("boot/grub/grub.cfg")
    assert len(machine.disks().find("fs_uuid", UUID)) == 1


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (b"LUKS\xba\xbe".ljust(4096, b"\0"), False),
        (bytes(4086) + b"SWAPSPACE2", False),
        (superblock(0x20000), False),
        (superblock(0x2C2), True),
        (b"", True),
    ],
)
@pytest.mark.parametrize(("by", "value"), [("fs_uuid", OTHER.upper()), ("label", "DATA")])
def test_what_udev_names_and_grub_cannot_read_answers_to_no_name(
    tmp_path: Path, block: bytes, found: bool, by: FindBy, value: str
) -> None:
    """/dev/disk has links to swap space and locked containers as well; none of them is mounted."""
    tree = Tree(tmp_path / "root").mount("/", "/dev/sda2").by("uuid", UUID, "sda2")
    tree.by("uuid", OTHER, "sda3").by("label", "DATA", "sda3").write("dev/sda3", block)
    tree.by("partuuid", "0fc63daf-8483-4772-8e79-3d69d8477de4", "sda3")
    assert list(tree.disks().find(by, value)) == (["hd0,gpt3"] if found else [])


@pytest.mark.parametrize(
    "feature", ["casefold", "inline_data", "ea_inode", "bigalloc", "large_dir", "encrypt", "64bit"]
)
def test_real_grub_says_so(tmp_path: Path, feature: str) -> None:
    if not shutil.which("grub-fstest") or not shutil.which("mkfs.ext4"):
        pytest.skip("needs grub-fstest and mkfs.ext4")
    tree = Tree(tmp_path / "root").touch("dev/x")
    (tree / "dev/sda3").write_bytes(b"")
    content = Tree(tmp_path / "content").touch("x")
    make = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-O",
        feature,
        "-d",
        str(content),
        str(tree / "dev/sda3"),
        "8M",
    ]
    subprocess.run(make, check=True)
    read = ["grub-fstest", str(tree / "dev/sda3"), "cat", "/x"]
    known = subprocess.run(read, capture_output=True).returncode == 0
    assert is_beyond_grub(Sysroot(tree.root), "sda3") is not known
