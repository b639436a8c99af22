"""What a GRUB script can ask of disks: device names, paths on them, and the answers.  Types only."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Protocol

from kexec_hook.tuples import NamedTuple

FindBy = Literal["fs_uuid", "label", "file"]


class GrubPath(NamedTuple):
    """A file as GRUB names it: `(hd0,gpt2)/vmlinuz-6.1`."""

    device: str  # without parentheses: hd0,gpt2
    path: str  # from the top of that file system: /vmlinuz-6.1

    def __str__(self) -> str:
        return f"({self.device}){self.path}"


class Device(NamedTuple):
    """A disk or partition that GRUB could name; what is not known is empty."""

    name: str  # hd0,gpt2
    fs: str = ""  # GRUB's name of the file system: ext2, fat, btrfs, xfs, zfs, iso9660, ...
    uuid: str = ""  # of the file system, as grub-probe prints it
    label: str = ""
    partmap: str = ""  # GRUB's name of the partition map: gpt, msdos, or empty
    partuuid: str = ""
    assumed: str = ""  # not empty: why the name is a guess
    seen: bool = True  # False: not mounted, so that type, UUID and label may be missing here
    locked: str = ""  # the id of a container that GRUB has to unlock to see it
    filtered: bool = (
        False  # a container that lies on a logical volume or an array, which GRUB does not write
    )


class Stat(NamedTuple):
    """What GRUB's file systems tell of a file."""

    kind: Literal["file", "dir"]
    size: int  # bytes; of a file that is not mounted only whether it is 0
    mtime: int | None  # seconds since the epoch; None: see Disks.mtime


class DiskError(Exception):
    """A disk, directory or file that GRUB could not use, in GRUB's own words."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno  # grub_err_t, include/grub/err.h: 5 file not found is GRUB_ERR_FILE_NOT_FOUND in $?
        self.message = message


class Unseen(Exception):
    """GRUB would find out, and we cannot: neither there nor not there.  str() is the reason."""

    def __init__(
        self,
        reason: str,
        fix: str = "",
        path: GrubPath | None = None,
        code: str = "not-mounted",
    ) -> None:
        super().__init__(reason)
        self.code = code  # of the objection: would a mount show it?
        self.reason = reason  # a sentence without its end: /dev/sda2 (label DATA) is not mounted
        self.fix = fix  # what to do about it; empty: nothing is known
        self.path = path  # what GRUB would look for


class Disks(Protocol):
    """The disks of one machine, read only.

    Device names come without parentheses.  A path is followed as GRUB's file
    system drivers do; nothing outside the disks is ever reached.  A question has
    three answers: there, not there (None, or DiskError with GRUB's own words), and
    `Unseen`, which every method may raise.
    """

    def devices(self) -> Sequence[Device]:
        """Every device, in the order in which GRUB iterates over them."""

    def device(self, name: str) -> Device | None:
        """The device that answers to this name, aliases included (hd0,gpt2 = hd0,2), or None."""

    def identify(self, device: Device) -> Device:
        """The same with type, UUID and label of its file system, where it is not mounted."""

    def subvolume(self, name: str, number: int | None) -> str:
        """Where a subvolume of btrfs lies: /@, empty for the top; None is the default one.  Unseen"""

    def find(self, by: FindBy, value: str, hints: Sequence[str] = ()) -> Sequence[str]:
        """Names of the devices that answer to a UUID, a label or hold a file; hinted devices first."""

    def unopened(self, ids: Collection[str]) -> str:
        """/dev/sda3, a container with one of these ids (empty: any) that Linux has not opened, or nothing."""

    def stat(self, path: GrubPath) -> Stat | None:
        """What is there; None when the device, its file system or the file is missing."""

    def entry(self, path: GrubPath) -> Stat | None:
        """What its directory says is there, as `test -d` asks: a symbolic link is a file, wherever it leads."""

    def mtime(self, path: GrubPath) -> int | None:
        """When that entry was last written; None without an entry, or without a time."""

    def read(self, path: GrubPath) -> bytes:
        """The whole file.  DiskError when it cannot be read or is larger than the implementation's bound."""

    def list(self, path: GrubPath) -> Sequence[str]:
        """Names in a directory, directories with a final slash, `.` and `..` left out.  DiskError."""

    def lists_in_order(self, path: GrubPath) -> bool:
        """Are those names in GRUB's order?  A mount does not tell the order on the disk."""
