"""Flattened device trees, written as the Devicetree Specification 0.4 has them in chapter 5."""

from __future__ import annotations

import struct
from typing import Union

Node = dict[str, Union[bytes, "Node"]]

# What Linux' EFI stub hands over where the firmware describes the machine by ACPI.
STUB: Node = {
    "#address-cells": struct.pack(">I", 2),
    "chosen": {
        "bootargs": b"root=UUID=x ro quiet\0",
        "linux,uefi-system-table": bytes(8),
        "kaslr-seed": b"12345678",
    },
}


def flat(root: Node, *, reserved: bytes = b"", padding: int = 0) -> bytes:
    """The tree as bytes; `padding` bytes stand behind it, as where it may grow."""
    names = bytearray()
    structure = _node("", root, names) + struct.pack(">I", 9)
    memory = reserved + bytes(16)
    first = 40 + len(memory)
    size = first + len(structure) + len(names) + padding
    offsets = (first, first + len(structure), 40, 17, 16, 0, len(names), len(structure))
    header = struct.pack(">10I", 0xD00DFEED, size, *offsets)
    return header + memory + structure + bytes(names) + bytes(padding)


def _node(name: str, node: Node, names: bytearray) -> bytes:
    made = struct.pack(">I", 1) + _padded(name.encode() + b"\0")
    for key, value in node.items():
        if isinstance(value, bytes):
            made += struct.pack(">3I", 3, len(value), len(names)) + _padded(value)
            names += key.encode() + b"\0"
    for key, value in node.items():
        if not isinstance(value, bytes):
            made += _node(key, value, names)
    return made + struct.pack(">I", 2)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
