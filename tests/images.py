"""Images of file systems, made without root: ext4, FAT and btrfs with the files of a directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kexec_hook.system.subvolume import default_subvolume

UUID = "11111111-2222-4333-8444-555555555555"


def _run(program: str, *words: object) -> None:
    argv = [_find(program) or program, *map(str, words)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


def _find(program: str) -> str | None:
    """Also in /usr/sbin, which Debian leaves out of an ordinary user's PATH."""
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")


def _need(*programs: str) -> None:
    for program in programs:
        if not _find(program):
            pytest.skip(f"needs {program}")


def _blank(image: Path, mebibytes: int) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)


def ext4(
    image: Path, files: Path, label: str = "DATA", mebibytes: int = 8, uuid: str = UUID
) -> Path:
    _need("mkfs.ext4")
    _blank(image, mebibytes)
    _run("mkfs.ext4", "-q", "-F", "-U", uuid, "-L", label, "-d", files, image)
    return image


def fat(
    image: Path, files: Path, label: str = "DATA", mebibytes: int = 8, serial: str = "ABCD1234"
) -> Path:
    _need("mkfs.vfat", "mcopy")
    _blank(image, mebibytes)
    _run("mkfs.vfat", "-i", serial, "-n", label, image)
    names = sorted(files.iterdir())
    if names:
        _run("mcopy", "-i", image, "-s", *names, "::")
    return image


def btrfs(
    image: Path, files: Path, label: str = "DATA", mebibytes: int = 120, uuid: str = UUID
) -> Path:
    _need("mkfs.btrfs")
    _blank(image, mebibytes)
    _run("mkfs.btrfs", "-q", "-f", "-U", uuid, "-L", label, "--rootdir", files, image)
    return image


MAKERS: dict[str, Callable[..., Path]] = {"ext4": ext4, "fat": fat, "btrfs": btrfs}


def btrfs_subvolumes(
    image: Path, mount: Path, subvolumes: dict[str, Path | None], default: str, uuid: str = UUID
) -> int:
    """A btrfs with these subvolumes, filled from directories, and the number of the default one.  As root."""
    _need("mkfs.btrfs", "btrfs", "losetup", "mount")
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a btrfs")
    _blank(image, 120)
    _run("mkfs.btrfs", "-q", "-f", "-U", uuid, image)
    mount.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-o", "loop", image, mount)
    except subprocess.CalledProcessError:
        pytest.skip("no loop device to mount a btrfs")
    try:
        for name, files in subvolumes.items():
            (mount / name).parent.mkdir(parents=True, exist_ok=True)
            _run("btrfs", "subvolume", "create", mount / name)
            if files:
                shutil.copytree(files, mount / name, dirs_exist_ok=True)
        _run("btrfs", "subvolume", "set-default", mount / default)
        found = default_subvolume(str(mount))
        # Another process's mount namespace may keep it mounted for a while.
        _run("sync", "-f", mount)
    finally:
        _run("umount", mount)
    return found
