"""Files as a script names them: paths, reading, and what save_env would write (kern/file.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from kexec_hook.grub.disks import Device, DiskError, FindBy, GrubPath, Stat, Unseen
from kexec_hook.grub.environment import Environment
from kexec_hook.grub.errors import (
    BAD_DEVICE,
    BAD_FILE_TYPE,
    BAD_FILENAME,
    FILE_NOT_FOUND,
    GRUBS_OWN,
    NOT_IMPLEMENTED_YET,
    OK,
    UNKNOWN_DEVICE,
    UNKNOWN_FS,
    CommandError,
    unknown_device,
)
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.script.source import Span
from kexec_hook.grub.values import Call, EnvWrite, Refusal

_LARGEST = 64 << 20  # bytes that a file may have once it is unpacked
_DISKFILTER = r"lvm/|lvmid/|md/|mduuid/|ldm/"  # disk/cryptodisk.c does write


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
        return GrubPath(device, self._from_top(device, path))

    def _from_top(self, name: str, path: str) -> str:
        """Where a path on btrfs lies: fs/btrfs.c, grub_btrfs_mount and find_path, of SUSE and rhboot.  Unseen"""
        relative = (self.get("btrfs_relative_path") or "")[:1] in ("1", "y")
        if not self.flavour.btrfs_relative or not relative or not path.startswith("/"):
            return path
        device = self.disks.device(name)
        if device is None or (device if device.seen else self.disks.identify(device)).fs != "btrfs":
            return path
        for directory, subvolume in self.subvolumes.items():
            if path == directory or path.startswith(f"{directory}/"):
                return f"/{subvolume}{path[len(directory) :]}"
        number, named = self.get("btrfs_subvolid") or "", self.get("btrfs_subvol") or ""
        if named and not number:
            return f"/{named.strip('/')}{path}"
        return f"{self.disks.subvolume(name, strtoul(number)[0] if number else None)}{path}"

    # What is asked of the disks: three answers, one of them Unseen.

    def device(self, name: str) -> Device | None:
        self._refuse_loopback(name)
        found = self.disks.device(name)
        return None if found is None or self._is_locked(found) else found

    def devices(self) -> Sequence[Device]:
        return [device for device in self.disks.devices() if not self._is_locked(device)]

    def _is_locked(self, device: Device) -> bool:
        """Is it in a container that nobody has opened?  GRUB then has no such device (disk/cryptodisk.c)."""
        return bool(device.locked) and not {"", device.locked} & self.unlocked

    def stat(self, path: GrubPath) -> Stat | None:
        self._refuse_loopback(path.device)
        return self.disks.stat(path)

    def entry(self, path: GrubPath) -> Stat | None:
        self._refuse_loopback(path.device)
        return self.disks.entry(path)

    def list(self, path: GrubPath) -> Sequence[str]:
        if self.device(path.device) is None:
            raise DiskError(UNKNOWN_DEVICE, f"disk `{path.device}' not found")
        return self.disks.list(path)

    def find(self, by: FindBy, value: str, hints: Sequence[str]) -> Sequence[str]:
        """Names of the devices that answer; a disk that `loopback` made comes before them, behind hints alone."""
        found = [name for name in self.disks.find(by, value, hints) if self.device(name)]
        if not any(_is_hinted(name, hints) for name in found[:1]):
            for name in self.loopbacks:
                self._refuse_loopback(name)
            if by == "file" or not found:
                self._refuse_unopened()
        for name in found[:1]:
            self._refuse_unloaded(name)
        return found

    def _refuse_unloaded(self, name: str) -> None:
        """A partition map or a volume is there for GRUB only with its module, which nothing loads by itself.  Unseen"""
        place = (self.get("prefix") or "")[1:].partition(")")[0]
        if place.partition(",")[0] == name.partition(",")[0]:
            return
        needed, own = self._modules_for(name), self._modules_for(place)
        if (
            not needed
            or needed == own
            or any(
                module in needed or module.endswith(tuple(f"/{each}.mod" for each in needed))
                for module in self.modules
            )
        ):
            return
        built_in = self.built_in()
        if built_in is not None and not {*needed} & {*built_in}:
            raise Unseen(
                f"({name}) is there for GRUB only with its module {needed[0]}, which nothing loads",
                f"insmod {needed[0]}",
                code="cannot-be-known",
            )

    def _modules_for(self, name: str) -> tuple[str, ...]:
        kind = re.match(r"(lvm|md)(id|uuid)?/", name)
        if kind:
            return ("lvm",) if kind[1] == "lvm" else ("mdraid1x", "mdraid09")
        device = self.disks.device(name) if name else None
        if device is None or not device.partuuid:
            return ()
        return (f"part_{device.partmap}",) if device.partmap else ()

    def _refuse_unopened(self) -> None:
        """What `cryptomount` opens comes before the disks, and Linux need not have opened it.  Unseen"""
        node = self.disks.unopened(self.unlocked) if self.unlocked else ""
        if node:
            raise Unseen(
                f"{node} is an encrypted container that GRUB opens and Linux has not, and GRUB looks into it",
                f"open it (cryptsetup open {node} NAME), and mount what is in it",
            )

    def _refuse_loopback(self, device: str) -> None:
        image = self.loopbacks.get(device.partition(",")[0])
        if image is not None:
            raise Unseen(
                f"({device}) is what `loopback` makes of the image {image}",
                "choose an entry that takes nothing from an image",
                code="cannot-be-known",
            )

    def unseen(self, unseen: Unseen, span: Span | None) -> None:
        """What boots hangs on something that cannot be known."""
        asked = f", and GRUB looks for {unseen.path.path} on it" if unseen.path else ""
        reason = f"{unseen.reason}{asked}"
        if not any(guess.reason == reason for guess in self.guesses):
            self.guesses.append(Refusal(reason, span, unseen.code, unseen.fix))
        self.report(f"not known: {reason}", span, OK)

    def open(self, name: str) -> GrubPath:
        """The file of this name, if GRUB could open it; else CommandError with GRUB's words."""
        return self.open_path(self.path(name))

    def open_path(self, path: GrubPath) -> GrubPath:
        """The same for a file from the top of its file system."""
        device = self.device(path.device)
        if device is None:
            raise unknown_device(path.device)
        if not path.path.startswith("/"):
            _check_block_list(path.path)
            return path
        if device.seen and not device.fs:
            raise CommandError(UNKNOWN_FS, "unknown filesystem")
        found = self.stat(path)
        if found is None:
            raise self._missing(path)
        if found.kind == "dir":
            raise CommandError(BAD_FILE_TYPE, "not a regular file")
        return path

    def open_kernel(self, name: str, call: Call) -> GrubPath:
        """The same for what is loaded in place of what was loaded before."""
        before, self.loaded = self.loaded, None
        try:
            return self.open(name)
        except CommandError:
            if before:  # some leave it, some have freed its memory
                why = f"where `{call.name}` fails, not every GRUB boots what was loaded before"
                self.guesses.append(Refusal(why, call.span, "cannot-be-known"))
            raise

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
            return self._unpacked(path, self.disks.read(path))
        except DiskError as error:
            blocks = not path.path.startswith("/")
            if call and (blocks or error.errno not in GRUBS_OWN):
                what = f"what the blocks {path} hold" if blocks else f"what {path} holds"
                self.guesses.append(Refusal(f"{what} is not known: {error.message}", call.span))
                self.report(error.message, call.span, error.errno)
            if blocks:
                return b"\0" * 512
            raise CommandError(error.errno, error.message) from None

    def _unpacked(self, path: GrubPath, data: bytes) -> bytes:
        if data[:1] not in (b"\x1f", b"\xfd", b"\x89"):
            return data
        from kexec_hook.grub.packed import unpack

        return unpack(data, self._shown(path), self.modules, self.unsure_modules, _LARGEST)

    def missing(self, module: str) -> Literal["", "unknown", "failing"]:
        """Where a module is nowhere: are its commands unknown, or, as command.lst names them, such that fail?

        normal/dyncmd.c.  Fedora's signed image has no modules beside it, and under Secure Boot none is loaded.
        """
        built_in = self.built_in()
        if built_in is None or module in built_in:
            return ""
        directory = f"{self.get('prefix')}/{self.get('grub_cpu')}-{self.get('grub_platform')}"
        try:
            if not self.refuses_modules():
                named = any(name.endswith(f"/{module}.mod") for name in self.modules)
                if named or self.stat(self.path(f"{directory}/{module}.mod")):
                    return ""
            return "failing" if self.stat(self.path(f"{directory}/command.lst")) else "unknown"
        except (CommandError, Unseen):
            return ""

    def _same(self, path: GrubPath) -> GrubPath:
        """One spelling for the names of one file: (hd0,1)//grubenv is (hd0,gpt1)/grubenv."""
        device = self.device(path.device)
        name = (
            posixpath.normpath(path.path).replace("//", "/")
            if path.path.startswith("/")
            else path.path
        )
        return GrubPath(device.name if device else path.device, name)

    def write_env(
        self,
        path: GrubPath,
        before: bytes,
        block: bytes,
        writes: Mapping[str, str | None],
        call: Call,
    ) -> None:
        """save_env: nothing is written here; the script goes on as if.  CommandError where GRUB cannot write."""
        device = self.device(path.device)
        if re.match(_DISKFILTER, path.device) or (device and device.filtered):
            raise call.error(NOT_IMPLEMENTED_YET, "diskfilter writes are not supported")
        if device is not None and not device.seen:
            device = self.disks.identify(device)
        if device is not None and device.fs in ("btrfs", "zfs") and path.path.startswith("/"):
            raise call.error(BAD_FILE_TYPE, "sparse file not allowed")
        out_of_reach = not path.path.startswith("/") or (device is not None and not device.seen)
        if out_of_reach and block == before:
            return  # nothing would be another than it is
        path = self._same(path)
        self.overlay[path] = block
        self.pending += [EnvWrite(path, name, value, call.span) for name, value in writes.items()]

    def _display(self, name: str) -> str:
        """A file's name for messages."""
        return self.display(self.path(name)) if self.display else name

    def _shown(self, path: GrubPath) -> str:
        return self.display(path) if self.display else str(path)

    display: Callable[[GrubPath], str] | None = None


def _is_hinted(name: str, hints: Sequence[str]) -> bool:
    return any(name == hint or (hint[-1:] == "," and name.startswith(hint)) for hint in hints)


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
