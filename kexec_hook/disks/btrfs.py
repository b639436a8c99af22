"""Which subvolume of a btrfs is the default one, and where it lies, read from the disk.

The on-disk format: btrfs.readthedocs.io, dev/On-disk-format; Linux' include/uapi/linux/btrfs_tree.h.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kexec_hook.tuples import NamedTuple

TOP = 5  # BTRFS_FS_TREE_OBJECTID
_SUPER = 0x10000
_MAGIC = b"_BHRfS_M"
_ROOT_TREE_DIR, _FIRST_INODE = 6, 256
_INODE_REF, _DIR_ITEM, _ROOT_ITEM, _ROOT_BACKREF, _CHUNK_ITEM = 12, 84, 132, 144, 228
_HEADER, _KEY = 101, struct.Struct("<QBQ")
_DEEPEST = 64  # directories and trees
_MOST = 10_000  # blocks that are read

ReadAt = Callable[[int, int], bytes]


class Damaged(Exception):
    """No btrfs, or not one that we can read."""


class _Chunk(NamedTuple):
    logical: int
    length: int
    physical: int  # on this device


@contextmanager
def _whole() -> Iterator[None]:
    """What is torn is damaged."""
    try:
        yield
    except struct.error:
        raise Damaged("it is torn") from None


class Btrfs:
    """One device of a file system, read only.  Every method may raise Damaged."""

    def __init__(self, read_at: ReadAt) -> None:
        self._read_at = read_at
        self._reads = 0
        block = read_at(_SUPER, 4096)
        if len(block) < 4096:
            raise Damaged("it cannot be read")
        if block[0x40:0x48] != _MAGIC:
            raise Damaged("it is not a btrfs file system")
        self._root, self._chunk_root = struct.unpack_from("<QQ", block, 0x50)
        self._node_size = struct.unpack_from("<I", block, 0x94)[0]
        self._device = struct.unpack_from("<Q", block, 0xC9)[0]
        size = struct.unpack_from("<I", block, 0xA0)[0]
        self._chunks = list(self._system_chunks(block[0x32B : 0x32B + size]))
        self._chunks += [
            chunk
            for (_, kind, logical), data in self._items(self._chunk_root, _FIRST_INODE, _CHUNK_ITEM)
            if (chunk := self._chunk(logical, data))
        ]

    def default(self) -> int:
        """The number of the default subvolume."""
        with _whole():
            for _, data in self._items(self._root, _ROOT_TREE_DIR, _DIR_ITEM):
                number, _, _ = _KEY.unpack_from(data)
                length = struct.unpack_from("<H", data, _KEY.size + 10)[0]
                if data[30 : 30 + length] == b"default":
                    return int(number)
        return TOP

    def path(self, number: int) -> tuple[str, ...]:
        """Where a subvolume lies, from the top of the file system."""
        with _whole():
            return tuple(self._path(number))

    def _path(self, number: int) -> list[str]:
        names: list[str] = []
        for _ in range(_DEEPEST):
            if number == TOP:
                return names
            found = next(self._items(self._root, number, _ROOT_BACKREF), None)
            if found is None:
                break
            (_, _, parent), data = found
            directory, _, length = struct.unpack_from("<QQH", data)
            names.insert(0, _name(data[18 : 18 + length]))
            names[:0] = self._directories(parent, directory)
            number = parent
        raise Damaged(f"it has no subvolume {number}")

    def _directories(self, tree: int, inode: int) -> list[str]:
        """The directories of a subvolume above an inode of it, that one included."""
        item = next(self._items(self._root, tree, _ROOT_ITEM), None)
        if item is None:
            raise Damaged(f"it has no tree {tree}")
        root = struct.unpack_from("<Q", item[1], 176)[0]
        names: list[str] = []
        for _ in range(_DEEPEST):
            if inode == _FIRST_INODE:
                return names
            found = next(self._items(root, inode, _INODE_REF), None)
            if found is None:
                break
            (_, _, inode), data = found
            length = struct.unpack_from("<H", data, 8)[0]
            names.insert(0, _name(data[10 : 10 + length]))
        raise Damaged("its directories have no end")

    def _items(
        self, node: int, wanted: int, kind: int, level: int = 16
    ) -> Iterator[tuple[tuple[int, int, int], bytes]]:
        """The items of an object and a kind, in the order of their keys."""
        data = self._read(node)
        count, own = struct.unpack_from("<IB", data, 96)
        if own >= level or count > self._node_size:
            raise Damaged("a node of its trees is damaged")
        keys = [
            _KEY.unpack_from(data, _HEADER + number * (25 if own == 0 else 33))
            for number in range(count)
        ]
        for number, key in enumerate(keys):
            at = _HEADER + number * (25 if own == 0 else 33) + _KEY.size
            if own == 0:
                if key[:2] == (wanted, kind):
                    start, size = struct.unpack_from("<II", data, at)
                    yield key, data[_HEADER + start : _HEADER + start + size]
            elif key[:2] <= (wanted, kind) and (
                number + 1 == count or keys[number + 1][:2] >= (wanted, kind)
            ):
                yield from self._items(struct.unpack_from("<Q", data, at)[0], wanted, kind, own)

    def _read(self, logical: int) -> bytes:
        self._reads += 1
        if self._reads > _MOST:
            raise Damaged("its trees have no end")
        for chunk in self._chunks:
            if chunk.logical <= logical < chunk.logical + chunk.length:
                found = self._read_at(chunk.physical + logical - chunk.logical, self._node_size)
                if len(found) == self._node_size and found[48:56] == struct.pack("<Q", logical):
                    return found
        raise Damaged("a block of its trees is not on this device")

    def _system_chunks(self, array: bytes) -> Iterator[_Chunk]:
        at = 0
        while at + _KEY.size + 48 <= len(array):
            _, _, logical = _KEY.unpack_from(array, at)
            at += _KEY.size
            chunk = self._chunk(logical, array[at:])
            if chunk:
                yield chunk
            at += 48 + 32 * struct.unpack_from("<H", array, at + 44)[0]

    def _chunk(self, logical: int, data: bytes) -> _Chunk | None:
        """A chunk that has a copy on this device; None where it has not, or is striped."""
        length, _, _, kind = struct.unpack_from("<QQQQ", data)
        if kind & 0x1C8:  # RAID0, RAID10, RAID5, RAID6
            return None
        for number in range(struct.unpack_from("<H", data, 44)[0]):
            device, physical = struct.unpack_from("<QQ", data, 48 + 32 * number)
            if device == self._device:
                return _Chunk(logical, length, physical)
        return None


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def open_btrfs(read_at: ReadAt) -> Btrfs:
    """Damaged, also where what is read is torn."""
    with _whole():
        return Btrfs(read_at)
