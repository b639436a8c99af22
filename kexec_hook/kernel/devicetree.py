"""A flattened device tree: what /chosen says, and the same tree with other properties there.

Devicetree Specification 0.4, chapter 5: a header of ten big-endian words, reserved memory, the structure (tokens, each
at a multiple of four bytes), and the names of the properties.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

_MAGIC = 0xD00DFEED
_HEADER = 40  # bytes
_NODE, _END_NODE, _PROPERTY, _NOTHING, _END = 1, 2, 3, 4, 9
_VERSION, _COMPATIBLE = 17, 16


class NoDeviceTree(Exception):
    """These bytes are no device tree, or a torn one."""


class _Token(NamedTuple):
    kind: int
    path: str  # of the node that it begins, ends or is in
    data: bytes  # all of it
    name: str = ""  # of a property
    value: bytes = b""


def chosen(tree: bytes) -> dict[str, bytes]:
    """The properties of /chosen.  NoDeviceTree"""
    return {
        token.name: token.value
        for token in _tokens(tree)
        if token.kind == _PROPERTY and token.path == "/chosen"
    }


def with_chosen(tree: bytes, properties: Mapping[str, bytes]) -> bytes:
    """The same tree, in which /chosen has these, too.  NoDeviceTree"""
    names = _names(tree)
    added = b""
    for name, value in properties.items():
        added += _property(len(names), value)
        names += name.encode() + b"\0"
    structure, placed = b"", False
    for token in _tokens(tree):
        mine = token.path == "/chosen"
        if token.kind == _END_NODE and token.path == "/" and not placed:
            structure += _word(_NODE) + b"chosen\0\0" + added + _word(_END_NODE)
        if not (mine and token.kind == _PROPERTY and token.name in properties):
            structure += token.data
        if mine and token.kind == _NODE and not placed:
            structure, placed = structure + added, True
    return _assembled(tree, structure, names)


def _tokens(tree: bytes) -> Iterator[_Token]:
    """What the structure consists of, to its end."""
    at, names, above = _place(tree, 8), _names(tree), [""]
    while True:
        start, kind, at = at, _number(tree, at), at + 4
        if kind == _NODE:
            end = tree.find(b"\0", at)
            if end < 0:
                raise NoDeviceTree("a node's name has no end")
            name, at = tree[at:end].decode("ascii", "replace"), _aligned(end + 1)
            above.append(f"{above[-1].rstrip('/')}/{name}")
            yield _Token(kind, above[-1], tree[start:at])
        elif kind == _PROPERTY:
            size, named = _number(tree, at), _number(tree, at + 4)
            value, at = tree[at + 8 : at + 8 + size], _aligned(at + 8 + size)
            if at > len(tree):
                raise NoDeviceTree("a property is cut off")
            name = names[named:].split(b"\0")[0].decode("ascii", "replace")
            yield _Token(kind, above[-1], tree[start:at], name, value)
        elif kind == _END_NODE and len(above) > 1:
            yield _Token(kind, above.pop(), tree[start:at])
        elif kind in (_NOTHING, _END):
            yield _Token(kind, above[-1], tree[start:at])
            if kind == _END:
                return
        else:
            raise NoDeviceTree(f"there is no token {kind}")


def _assembled(tree: bytes, structure: bytes, names: bytes) -> bytes:
    reserved = tree[_place(tree, 16) :]
    end = 0
    while any(reserved[end : end + 16]):  # address and size, 8 bytes each
        end += 16
    if end + 16 > len(reserved):
        raise NoDeviceTree("the reserved memory has no end")
    reserved = reserved[: end + 16]
    at = _HEADER + len(reserved)
    header = (
        _MAGIC,
        at + len(structure) + len(names),
        at,
        at + len(structure),
        _HEADER,
        _VERSION,
        _COMPATIBLE,
        _number(tree, 28),  # the processor that boots
        len(names),
        len(structure),
    )
    return b"".join(map(_word, header)) + reserved + structure + names


def _names(tree: bytes) -> bytes:
    start = _place(tree, 12)
    return tree[start : start + _number(tree, 32)]


def _place(tree: bytes, field: int) -> int:
    """An offset that the header has."""
    if _number(tree, 0) != _MAGIC or not _HEADER <= _number(tree, field) <= len(tree):
        raise NoDeviceTree("there is no header")
    return _number(tree, field)


def _property(name: int, value: bytes) -> bytes:
    padded = value + b"\0" * (-len(value) % 4)
    return _word(_PROPERTY) + _word(len(value)) + _word(name) + padded


def _number(tree: bytes, at: int) -> int:
    if at + 4 > len(tree):
        raise NoDeviceTree("it is cut off")
    return int.from_bytes(tree[at : at + 4], "big")


def _word(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _aligned(at: int) -> int:
    return at + -at % 4
