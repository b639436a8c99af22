"""Kernels and initrds made as the documents of their formats have it; small, and nothing boots of them."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess

import pytest

RELEASE = "6.1.0-39-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.148-1"


def bzimage(
    version: str = RELEASE,
    *,
    protocol: int = 0x020F,
    wide: bool = True,
    signed: bool = False,
    longest: int = 2047,
) -> bytes:
    """Documentation/arch/x86/boot.rst; the PE header with its certificates as the PE format has it."""
    setup_sects, body = 4, 2048
    setup = bytearray((setup_sects + 1) * 512)
    setup[0x400 : 0x400 + len(version) + 1] = version.encode() + b"\0"
    struct.pack_into("<BHI", setup, 0x1F1, setup_sects, 1, body // 16)
    setup[0x1FE:0x206] = b"\x55\xaa\xeb\x6aHdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<H", setup, 0x20E, 0x200 if version else 0)
    struct.pack_into("<H", setup, 0x236, 0x3F if wide else 0x3E)
    struct.pack_into("<I", setup, 0x238, longest)
    image = len(setup) + body
    setup[:0x40] = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    setup[0x80 : 0x80 + 0xF0] = pe_header(
        0x8664 if wide else 0x14C, certificates=(image, 16) if signed else (0, 0)
    )
    return bytes(setup) + b"\xaa" * body + (b"certificate.....") * signed


def pe_header(
    machine: int, *, sections: tuple[tuple[int, int], ...] = (), certificates: tuple[int, int]
) -> bytes:
    """The COFF header, an optional header (PE32+ where the machine is wide) with six directories, and sections."""
    wide = machine != 0x14C
    directories = [(0, 0)] * 6
    directories[4] = certificates
    optional = struct.pack("<H", 0x20B if wide else 0x10B).ljust(
        108 if wide else 92, b"\0"
    ) + struct.pack("<I", 6)
    optional += b"".join(struct.pack("<II", *directory) for directory in directories)
    head = (
        b"PE\0\0"
        + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, len(optional), 0)
        + optional
    )
    for at, size in sections:
        head += b".text\0\0\0" + struct.pack("<IIIIIIHHI", size, 0, size, at, 0, 0, 0, 0, 0)
    return head.ljust(0xF0, b"\0")


def image(
    machine: int = 0xAA64, magic: bytes = b"ARM\x64", *, stub: bool = True, signed: bool = False
) -> bytes:
    """arm64's and riscv64's Image: Documentation/arch/arm64/booting.rst."""
    head = bytearray(4096)
    head[0:2] = b"MZ" if stub else b"\0\0"
    struct.pack_into("<Q", head, 16, 1 << 20)  # with its bss, which the file has not
    head[56:60] = magic
    struct.pack_into("<I", head, 60, 0x40)
    head[0x40:0x130] = pe_header(
        machine, sections=((4096, 1024),), certificates=(5120, 16) if signed else (0, 0)
    )
    return bytes(head) + b"\xbb" * 1024 + b"certificate....." * signed


def zboot(machine: int = 0xAA64, *, signed: bool = False, inner: bytes = b"") -> bytes:
    """drivers/firmware/efi/libstub/zboot-header.S; packed by gzip where there is something in it."""
    payload = gzip.compress(inner) if inner else b"\xcc" * 1000
    head = bytearray(4096)
    head[0:8] = b"MZ\0\0zimg"
    struct.pack_into("<II", head, 8, 4096, len(payload))
    head[24:28] = b"gzip" if inner else b"zstd"
    struct.pack_into("<I", head, 0x3C, 0x40)
    head[0x40:0x130] = pe_header(
        machine, sections=((4096, 1024),), certificates=(5120, 16) if signed else (0, 0)
    )
    return bytes(head) + payload.ljust(1024, b"\0") + b"certificate....." * signed


def elf(machine: int, *, wide: bool = True, order: str = "<") -> bytes:
    """One segment of 256 bytes at 1024: elf(5)."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]).ljust(12, b"\0")
    if wide:
        head = struct.pack(order + "HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack(order + "IIQQQQQQ", 1, 5, 1024, 0, 0, 256, 512, 0)
    else:
        head = struct.pack(order + "HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack(order + "IIIIIIII", 1, 1024, 0, 0, 256, 512, 5, 0)
    return (ident + head + segment).ljust(1024, b"\0") + b"\xdd" * 256


FILES = {
    "init": b"#!/bin/sh\nexec /sbin/init\n",
    "conf": b"",
    "etc/a": b"x" * 1001,
    "etc/b": bytes(range(256)),
}


def cpio(files: dict[str, bytes] | None = None, magic: bytes = b"070701") -> bytes:
    """A newc archive: Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = b""
    for name, content in [*(FILES if files is None else files).items(), ("TRAILER!!!", b"")]:
        label = name.encode() + b"\0"
        fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(label), 0)
        head = magic + b"".join(b"%08X" % value for value in fields) + label
        out += head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
    return out


def packed(data: bytes, *argv: str) -> bytes:
    """What a program makes of it; where there is no such program, the test is left out."""
    if not shutil.which(argv[0]):
        pytest.skip(f"there is no {argv[0]}")
    return subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout


def uki(
    *sections: tuple[str, bytes], stub: str | None = "257.9-1", certificates: bool = False
) -> bytes:
    """A unified kernel image: an EFI program with these sections, in this order (PE/COFF, UAPI.5)."""
    magic = [(".sdmagic", f"#### LoaderInfo: systemd-stub {stub} ####".encode())] if stub else []
    parts = [*magic, *sections]
    optional = 112 + 8 * 16
    start = -(-(0x80 + 24 + optional + 40 * len(parts)) // 512) * 512
    table, body = b"", b""
    for name, data in parts:
        stored = data.ljust(-(-len(data) // 512) * 512, b"\0")
        place = start + len(body)
        table += name.encode().ljust(8, b"\0")
        table += struct.pack(
            "<IIIIIIHHI", len(data), place, len(stored), place, 0, 0, 0, 0, 0x40000040
        )
        body += stored
    directories = [(0, 0)] * 16
    directories[4] = (start + len(body), 16) if certificates else (0, 0)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    head = head.ljust(0x80, b"\0") + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x8664, len(parts), 0, 0, 0, optional, 0x22)
    head += struct.pack("<H", 0x20B).ljust(108, b"\0") + struct.pack("<I", 16)
    head += b"".join(struct.pack("<II", *directory) for directory in directories)
    return (head + table).ljust(start, b"\0") + body + b"certificate....." * certificates
