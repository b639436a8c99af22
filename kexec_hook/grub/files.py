"""Files as a script names them: paths, reading, and what save_env would write (kern/file.c)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping

from kexec_hook.grub.disks import DiskError, GrubPath, Stat
from kexec_hook.grub.environment import Environment
from kexec_hook.grub.errors import (
    BAD_DEVICE,
    BAD_FILE_TYPE,
    BAD_FILENAME,
    FILE_NOT_FOUND,
    GRUBS_OWN,
    NOT_IMPLEMENTED_YET,
    UNKNOWN_FS,
    CommandError,
    unknown_device,
)
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.values import Call, EnvWrite, Refusal

_DISKFILTER = r"lvm/|lvmid/|md/|mduuid/|crypto|cryptouuid/|ldm/"


class Files(Environment):
    """An environment that can look at its disks."""

    def path(self, name: str, call: Call | None = None) -> GrubPath:
        """`(device)/path`, or a path on $root, as grub_file_open takes it.  CommandError."""
        device, path = self.get("root") or "", name
        if name.startswith("("):
            device, closed, path = name[1:].partition(")")
            if not closed:
                raise CommandError(BAD_FILENAME, "missing `)' symbol")
        elif not device:
            raise CommandError(BAD_DEVICE, "variable `root' isn't set")
        return GrubPath(device, path)

    def stat(self, path: GrubPath) -> Stat | None:
        return self.disks.stat(path)

    def open(self, name: str) -> GrubPath:
        """The file of this name, if GRUB could open it; else CommandError with GRUB's words."""
        path = self.path(name)
        device = self.disks.device(path.device)
        if device is None:
            raise unknown_device(path.device)
        if not path.path.startswith("/"):
            _check_block_list(path.path)
            return path
        if not device.fs:
            raise CommandError(UNKNOWN_FS, "unknown filesystem")
        found = self.stat(path)
        if found is None:
            raise self._missing(path)
        if found.kind == "dir":
            raise CommandError(BAD_FILE_TYPE, "not a regular file")
        return path

    def _missing(self, path: GrubPath) -> CommandError:
        above = path.path.rstrip("/")
        while "/" in above:
            above = above.rpartition("/")[0].rstrip("/")
            found = self.stat(GrubPath(path.device, above or "/"))
            if found is not None and found.kind == "file":
                return CommandError(BAD_FILE_TYPE, "not a directory")
            if found is not None:
                break
        return CommandError(FILE_NOT_FOUND, f"file `{path.path}' not found")

    def read(self, name: str, call: Call | None = None) -> bytes:
        """The contents of a file, with what the script itself wrote to it.  CommandError."""
        path = self.open(name)
        if self._same(path) in self.overlay:
            return self.overlay[self._same(path)]
        try:
            return self.disks.read(path)
        except DiskError as error:
            blocks = not path.path.startswith("/")
            if call and (blocks or error.errno not in GRUBS_OWN):
                what = f"what the blocks {path} hold" if blocks else f"what {path} holds"
                self.guesses.append(Refusal(f"{what} is not known: {error.message}", call.span))
                self.report(error.message, call.span, error.errno)
            if blocks:
                return b"\0" * 512
            raise CommandError(error.errno, error.message) from None

    def _same(self, path: GrubPath) -> GrubPath:
        """One spelling for the names of one file: (hd0,1)//grubenv is (hd0,gpt1)/grubenv."""
        device = self.disks.device(path.device)
        name = (
            posixpath.normpath(path.path).replace("//", "/")
            if path.path.startswith("/")
            else path.path
        )
        return GrubPath(device.name if device else path.device, name)

    def write_env(
        self, path: GrubPath, block: bytes, writes: Mapping[str, str | None], call: Call
    ) -> None:
        """save_env: nothing is written here; the script goes on as if.  CommandError where GRUB cannot write."""
        device = self.disks.device(path.device)
        if re.match(_DISKFILTER, path.device):
            raise call.error(NOT_IMPLEMENTED_YET, "diskfilter writes are not supported")
        if device is not None and device.fs in ("btrfs", "zfs") and path.path.startswith("/"):
            raise call.error(BAD_FILE_TYPE, "sparse file not allowed")
        path = self._same(path)
        self.overlay[path] = block
        self.pending += [EnvWrite(path, name, value, call.span) for name, value in writes.items()]

    def _display(self, name: str) -> str:
        """A file's name for messages."""
        return self.display(self.path(name)) if self.display else name

    display: Callable[[GrubPath], str] | None = None


def _check_block_list(blocks: str) -> None:
    """blocks = [ offset ] "+" length { "," [ offset ] "+" length }   in sectors (kern/fs.c:grub_fs_blocklist_open)"""
    rest = blocks
    for _ in range(blocks.count(",") + 1):
        try:
            if not rest.startswith("+"):
                rest = strtoul(rest)[1]
            if not rest.startswith("+"):
                raise CommandError(BAD_FILENAME, "")
            length, rest = strtoul(rest[1:])
        except CommandError:
            length, rest = 0, ""
        if not length or (rest and rest[0] not in ", \n\r\t"):
            raise CommandError(BAD_FILENAME, f"invalid file name `{blocks}'")
        rest = rest[1:]
