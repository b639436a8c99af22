"""Builds a root directory: files, links, mounts, udev's names of disks, GRUB's files, the firmware's variables."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, Union

from kexec_hook.disks.root import RootDisks
from kexec_hook.system.sysroot import Sysroot

GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # the name space of EFI's own variables
Content = Union[str, bytes]
T = TypeVar("T", bound="Tree")


class Tree:
    """A directory that stands for /, and `tree / "boot/vmlinuz"` is a path in it.

    What builds returns the tree, so that a test reads `Tree(path, {"etc/x": "y"}).mount("/", "/dev/sda2")`.
    """

    def __init__(self, root: Path, files: Mapping[str, Content] | None = None) -> None:
        self.root = root
        self.mounts = [
            "22 1 0:21 / /proc rw - proc proc rw",
            "23 1 0:5 / /dev rw - devtmpfs udev rw",
        ]
        root.mkdir(parents=True, exist_ok=True)
        self.fill(files or {})

    def __truediv__(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def __fspath__(self) -> str:
        return str(self.root)

    def __str__(self) -> str:
        return str(self.root)

    def sysroot(self, *, is_host: bool | None = None) -> Sysroot:
        self._write_mountinfo()
        return Sysroot(self.root, is_host=is_host)

    def disks(self) -> RootDisks:
        return RootDisks(self.sysroot())

    # --- files ---

    def fill(self: T, files: Mapping[str, Content]) -> T:
        for path, content in files.items():
            self.write(path, content)
        return self

    def write(self: T, path: str, content: Content = b"") -> T:
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self._place(path).write_bytes(data)
        return self

    def touch(self: T, *paths: str) -> T:
        """Files that hold nothing but their own path."""
        return self.fill({path: path for path in paths})

    def mkdir(self: T, *paths: str) -> T:
        for path in paths:
            (self / path).mkdir(parents=True, exist_ok=True)
        return self

    def link(self: T, path: str, to: str) -> T:
        self._place(path).symlink_to(to)
        return self

    def _place(self, path: str) -> Path:
        target = self / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    # --- disks ---

    def mount(
        self: T,
        point: str,
        source: str,
        fs: str = "ext4",
        root: str = "/",
        device: str = "8:2",
        options: str = "rw",
        id: int | None = None,
        parent: int | None = None,
    ) -> T:
        id = id or 30 + len(self.mounts)
        parent = parent or (1 if point == "/" else self.root_id())
        self.mounts.append(
            f"{id} {parent} {device} {root} {point} rw,relatime shared:1 - {fs} {source} {options}"
        )
        self._write_mountinfo()
        return self.mkdir(point)

    def root_id(self) -> int:
        """The number of what is mounted at /."""
        return next((int(line.split()[0]) for line in self.mounts if line.split()[4] == "/"), 1)

    def _write_mountinfo(self) -> None:
        self.write("proc/self/mountinfo", "\n".join(self.mounts) + "\n")

    def by(self: T, what: str, name: str, node: str) -> T:
        """udev's link `dev/disk/by-WHAT/NAME`."""
        return self.link(f"dev/disk/by-{what}/{name}", f"../../{node}")

    # --- GRUB and the kernel's command line ---

    def grubcfg(self: T, text: str) -> T:
        return self.write("boot/grub/grub.cfg", text)

    def grubenv(self: T, *assignments: str, path: str = "boot/grub/grubenv") -> T:
        """An environment block of 1024 bytes, as grub-editenv makes it."""
        block = "# GRUB Environment Block\n" + "".join(f"{line}\n" for line in assignments)
        return self.write(path, block.encode().ljust(1024, b"#"))

    def cmdline(self: T, text: str) -> T:
        return self.write("proc/cmdline", text + "\n")

    # --- the firmware ---

    def efi(self: T, bits: int = 64) -> T:
        return self.write("sys/firmware/efi/fw_platform_size", f"{bits}\n")

    def variable(self: T, name: str, value: bytes) -> T:
        return self.write(f"sys/firmware/efi/efivars/{name}-{GLOBAL}", struct.pack("<I", 7) + value)

    def option(
        self: T,
        number: int,
        title: str,
        partuuid: str,
        path: str,
        attributes: int = 1,
        optional: str = "",
    ) -> T:
        """A load option as efibootmgr makes one: a partition of a GPT disk, and a file on it."""
        return self.variable(
            f"Boot{number:04X}", load_option(title, partuuid, path, attributes, optional)
        )

    def device_option(self: T, number: int, title: str, *nodes: bytes, attributes: int = 1) -> T:
        """A load option that names no file, as firmware makes them itself."""
        return self.variable(
            f"Boot{number:04X}", device_option(title, *nodes, attributes=attributes)
        )

    def boot_order(self: T, *numbers: int, current: int | None = None) -> T:
        """BootOrder, and BootCurrent where it is given."""
        if current is not None:
            self.variable("BootCurrent", struct.pack("<H", current))
        return self.variable("BootOrder", struct.pack(f"<{len(numbers)}H", *numbers))


def load_option(
    title: str, partuuid: str, path: str, attributes: int = 1, optional: str = ""
) -> bytes:
    """UEFI 2.10, 3.1.3 and 10.3.5; `efibootdump --file` reads it."""
    drive = struct.pack(
        "<BBHIQQ16sBB", 4, 1, 42, 1, 2048, 1048576, uuid.UUID(partuuid).bytes_le, 2, 2
    )
    file = node(4, 4, path.encode("utf-16-le") + b"\0\0")
    data = optional.encode("utf-16-le") + b"\0\0" if optional else b""
    return device_option(title, drive, file, attributes=attributes) + data


def device_option(title: str, *nodes: bytes, attributes: int = 1) -> bytes:
    path = b"".join(nodes) + struct.pack("<BBH", 0x7F, 0xFF, 4)
    return struct.pack("<IH", attributes, len(path)) + title.encode("utf-16-le") + b"\0\0" + path


def node(kind: int, sub: int, data: bytes = b"") -> bytes:
    """A node of a device path: UEFI 2.10, 10.3.1."""
    return struct.pack("<BBH", kind, sub, 4 + len(data)) + data
