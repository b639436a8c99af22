"""A disk with one partition whose files are in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kexec_hook.grub.commands import TABLE
from kexec_hook.grub.disks import Device, DiskError, FindBy, GrubPath, Stat
from kexec_hook.grub.errors import FILE_NOT_FOUND
from kexec_hook.grub.flavours import FLAVOURS, platform_variables
from kexec_hook.grub.fuel import Fuel
from kexec_hook.grub.machine import Handler, Machine

PREFIX = "(hd0,gpt1)/boot/grub"


class FewFiles:
    """See the Disks protocol; names of files that do not begin with a slash are unknown."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def devices(self) -> Sequence[Device]:
        return [Device("hd0"), Device("hd0,gpt1", "ext2", "1234-abcd", "top", "gpt")]

    def device(self, name: str) -> Device | None:
        return next((device for device in self.devices() if device.name == name), None)

    def find(self, by: FindBy, value: str, hints: Sequence[str] = ()) -> Sequence[str]:
        found = {
            "fs_uuid": value == "1234-abcd",
            "label": value == "top",
            "file": value in self.files,
        }
        return ["hd0,gpt1"] if found[by] else []

    def stat(self, path: GrubPath) -> Stat | None:
        if path.path in self.files:
            return Stat("file", len(self.files[path.path]), 1000)
        above = path.path.rstrip("/") + "/"
        return Stat("dir", 0, 1000) if any(name.startswith(above) for name in self.files) else None

    def identify(self, device: Device) -> Device:
        return device

    def unopened(self, ids: Collection[str]) -> str:
        return ""

    def subvolume(self, name: str, number: int | None) -> str:
        return ""

    def entry(self, path: GrubPath) -> Stat | None:
        return self.stat(path)

    def mtime(self, path: GrubPath) -> int | None:
        entry = self.entry(path)
        return entry.mtime if entry else None

    def read(self, path: GrubPath) -> bytes:
        if path.path not in self.files:
            raise DiskError(FILE_NOT_FOUND, f"file `{path.path}' not found")
        return self.files[path.path]

    def list(self, path: GrubPath) -> Sequence[str]:
        above = path.path.rstrip("/") + "/"
        names = [name[len(above) :] for name in self.files if name.startswith(above)]
        return list(dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in names))

    def lists_in_order(self, path: GrubPath) -> bool:
        return True


def machine(
    files: Mapping[str, bytes] | None = None,
    flavour: str = "upstream",
    table: Mapping[str, Handler] = TABLE,
) -> Machine:
    """A machine that may spend little: 3,000 statements, 100,000 characters."""
    made = Machine(FewFiles(files or {}), table, FLAVOURS[flavour], Fuel())
    made.env = platform_variables(FLAVOURS[flavour], "pc", "i386", PREFIX, "hd0,gpt1")
    made.fuel.steps, made.fuel.text = 3_000, 100_000
    return made
