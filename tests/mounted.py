"""A root directory made to look like a machine: what is mounted where, udev's links, the firmware's variables."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from kexec_hook.disks.root import RootDisks
from kexec_hook.system.sysroot import Sysroot

GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # the name space of EFI's own variables


class Machine:
    """A root directory that a test fills; `sysroot` and `disks` write its mountinfo."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines = [
            "22 1 0:21 / /proc rw - proc proc rw",
            "23 1 0:5 / /dev rw - devtmpfs udev rw",
        ]

    def put(self, *paths: str) -> Machine:
        for path in paths:
            self.write(path, path)
        return self

    def write(self, path: str, content: str | bytes) -> Machine:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def mkdir(self, *paths: str) -> Machine:
        for path in paths:
            (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self

    def link(self, path: str, to: str) -> Machine:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)
        return self

    def mount(
        self,
        point: str,
        source: str,
        fs: str = "ext4",
        root: str = "/",
        device: str = "8:2",
        options: str = "rw",
        id: int | None = None,
        parent: int | None = None,
    ) -> Machine:
        id = id or 30 + len(self.lines)
        parent = parent or (1 if point == "/" else self.root_id())
        self.lines.append(
            f"{id} {parent} {device} {root} {point} rw,relatime shared:1 - {fs} {source} {options}"
        )
        return self.mkdir(point)

    def root_id(self) -> int:
        return next((int(line.split()[0]) for line in self.lines if line.split()[4] == "/"), 1)

    def by(self, what: str, name: str, node: str) -> Machine:
        return self.link(f"dev/disk/by-{what}/{name}", f"../../{node}")

    def cmdline(self, text: str) -> Machine:
        return self.write("proc/cmdline", text + "\n")

    def efi(self, bits: int = 64) -> Machine:
        return self.write("sys/firmware/efi/fw_platform_size", f"{bits}\n")

    def variable(self, name: str, value: bytes) -> Machine:
        return self.write(f"sys/firmware/efi/efivars/{name}-{GLOBAL}", struct.pack("<I", 7) + value)

    def option(self, number: int, title: str, partuuid: str, path: str) -> Machine:
        """A load option as efibootmgr makes one: a partition of a GPT disk, and a file on it."""
        return self.variable(f"Boot{number:04X}", load_option(title, partuuid, path))

    def sysroot(self, *, is_host: bool | None = None) -> Sysroot:
        self.write("proc/self/mountinfo", "\n".join(self.lines) + "\n")
        return Sysroot(self.root, is_host=is_host)

    def disks(self) -> RootDisks:
        return RootDisks(self.sysroot())


def load_option(title: str, partuuid: str, path: str) -> bytes:
    """UEFI 2.10, 3.1.3 and 10.3.5; `efibootdump --file` reads it."""
    drive = struct.pack(
        "<BBHIQQ16sBB", 4, 1, 42, 1, 2048, 1048576, uuid.UUID(partuuid).bytes_le, 2, 2
    )
    name = path.encode("utf-16-le") + b"\0\0"
    nodes = (
        drive + struct.pack("<BBH", 4, 4, 4 + len(name)) + name + struct.pack("<BBH", 0x7F, 0xFF, 4)
    )
    return struct.pack("<IH", 1, len(nodes)) + title.encode("utf-16-le") + b"\0\0" + nodes
