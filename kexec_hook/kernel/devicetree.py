"""A flattened device tree: what /chosen says, and the same tree with other properties there.

Devicetree Specification 0.4, chapter 5: a header of ten big-endian words, reserved memory, the structure (tokens, each
at a multiple of four bytes), and the names of the properties.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kexec_hook.tuples import NamedTuple

_MAGIC = 0xD00DFEED
_HEADER = 40  # bytes
_NODE, _END_NODE, _PROPERTY, _NOTHING, _END = 1, 2, 3, 4, 9
_VERSION, _COMPATIBLE = 17, 16


class NoDeviceTree(Exception):
    """These bytes are no device tree, or a torn one."""


class _Token(NamedTuple):
    kind: int
    depth: int  # of the node that it begins, ends or is in; the root's is 1
    in_chosen: bool  # that node is /chosen
    data: bytes  # all of it
    name: str = ""  # of a property
    value: bytes = b""


def chosen(tree: bytes) -> dict[str, bytes]:
    """The properties of /chosen.  NoDeviceTree"""
    return {
        token.name: token.value
        for token in _tokens(tree)
        if token.kind == _PROPERTY and token.in_chosen
    }


def with_chosen(tree: bytes, properties: Mapping[str, bytes]) -> bytes:
    """The same tree, in which /chosen has these, too.  NoDeviceTree"""
    names = _names(tree)
    added = b""
    for name, value in properties.items():
        added += _property(len(names), value)
        names += name.encode() + b"\0"
    structure, placed = [], False
    for token in _tokens(tree):
        if token.kind == _END_NODE and token.depth == 1 and not placed:
            structure += [_word(_NODE), b"chosen\0\0", added, _word(_END_NODE)]
        if not (token.kind == _PROPERTY and token.in_chosen and token.name in properties):
            structure.append(token.data)
        if token.kind == _NODE and token.in_chosen and not placed:
            structure.append(added)
            placed = True
    return _assembled(tree, b"".join(structure) + _word(_END), names)


def _tokens(tree: bytes) -> Iterator[_Token]:
    """What the structure consists of, to its end: one root, and all of it."""
    at, names = _place(tree, 8), _names(tree)
    open_nodes: list[bytes] = []  # their names, from the root's down
    while True:
        start, kind, at = at, _number(tree, at), at + 4
        name, value = "", b""
        if kind == _NODE:
            end = _end_of_name(tree, at)
            open_nodes.append(tree[at:end])
            at = _aligned(end + 1)
        elif kind == _PROPERTY and open_nodes:
            size, named = _number(tree, at), _number(tree, at + 4)
            value, at = tree[at + 8 : at + 8 + size], _aligned(at + 8 + size)
            if at > len(tree):
                raise NoDeviceTree("a property is cut off")
            name = names[named : _end_of_name(names, named)].decode("ascii", "replace")
        elif kind not in (_END_NODE, _NOTHING) or not open_nodes:
            raise NoDeviceTree(f"there is no token {kind} here")
        yield _Token(kind, len(open_nodes), _is_chosen(open_nodes), tree[start:at], name, value)
        if kind == _END_NODE:
            open_nodes.pop()
        if kind == _END_NODE and not open_nodes:
            break
    while _number(tree, at) == _NOTHING:
        at += 4
    if _number(tree, at) != _END:
        raise NoDeviceTree("there is more than one root")


def _is_chosen(open_nodes: Sequence[bytes]) -> bool:
    """As libfdt and Linux find /chosen: `chosen@0` as well, whatever the root is called."""
    return len(open_nodes) == 2 and open_nodes[1].partition(b"@")[0] == b"chosen"


def _end_of_name(data: bytes, at: int) -> int:
    end = data.find(b"\0", at)
    if end < 0:
        raise NoDeviceTree("a name has no end")
    return end


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
