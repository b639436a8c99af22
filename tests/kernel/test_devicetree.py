"""Device trees: what /chosen says, what is put there, and that a torn one is none."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from kexec_hook.kernel.devicetree import NoDeviceTree, chosen, with_chosen
from tests.devicetree import STUB, Node, flat

MARK = {"kexec-hook,jumped-from": b"one\0"}
BOARD: Node = {
    "model": b"A board\0",
    "memory@0": {"reg": bytes(range(16))},
    "soc": {"chosen": {"kaslr-seed": b"not this"}, "odd": b"abcde"},
    "chosen": {"stdout-path": b"serial0\0", "framebuffer@1": {"status": b"okay\0"}},
    "z": {},
}
# Linux looks at the first node of this name, with an address or without.
UNUSUAL: Node = {"chosen@0": {"stdout-path": b"x\0"}, "chosen": {"stdout-path": b"y\0"}}


@pytest.mark.parametrize("tree", [STUB, BOARD, {}, {"model": b"no chosen\0"}])
def test_what_is_put_into_chosen_is_all_that_changes(tree: Node) -> None:
    told = tree.get("chosen", {})
    assert isinstance(told, dict)
    before = {name: value for name, value in told.items() if isinstance(value, bytes)}
    assert chosen(flat(tree)) == before
    marked = with_chosen(flat(tree), MARK)
    assert chosen(marked) == {**before, **MARK}
    assert int.from_bytes(marked[4:8], "big") == len(marked)


def test_a_property_that_is_there_is_replaced() -> None:
    once = with_chosen(flat(BOARD), MARK)
    twice = with_chosen(once, {"kexec-hook,jumped-from": b"another\0"})
    assert chosen(twice) == {"stdout-path": b"serial0\0", "kexec-hook,jumped-from": b"another\0"}


def test_reserved_memory_and_room_to_grow_are_borne() -> None:
    reserved = bytes(range(1, 33))
    marked = with_chosen(flat(STUB, reserved=reserved, padding=100), MARK)
    assert marked[40:88] == reserved + bytes(16)
    assert chosen(marked)["kexec-hook,jumped-from"] == b"one\0"


@pytest.mark.skipif(not shutil.which("fdtget"), reason="needs fdtget (device-tree-compiler)")
@pytest.mark.parametrize("tree", [STUB, BOARD, {}, UNUSUAL])
def test_libfdt_reads_what_was_written(tree: Node, tmp_path: Path) -> None:
    (tmp_path / "dtb").write_bytes(with_chosen(flat(tree), MARK))
    words = ("fdtget", "-t", "s", str(tmp_path / "dtb"), "/chosen", "kexec-hook,jumped-from")
    assert subprocess.run(words, capture_output=True, text=True).stdout == "one\n"


def _words(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "big") for word in words)


NODE, END_NODE, PROPERTY, END = 1, 2, 3, 9


@pytest.mark.parametrize(
    ("structure", "is_tree"),
    [
        (_words(END), False),
        (_words(NODE, 0, END), False),  # the root is not closed
        (_words(NODE, 0, END_NODE, END_NODE, END), False),
        (_words(NODE, 0, END_NODE, NODE, 0, END_NODE, END), False),
        (_words(PROPERTY, 0, 0, END), False),
        (_words(NODE, 0, PROPERTY, 0, 999, END_NODE, END), False),  # there is no such name
        (_words(NODE, 0, END_NODE, 4, 4, END), True),
        (_words(NODE) + b"top\0" + _words(END_NODE, END), True),  # nobody reads the root's name
    ],
)
def test_a_tree_that_cannot_be_given_the_mark_is_none(structure: bytes, is_tree: bool) -> None:
    """Whoever gets a tree can count on what was put there: a kernel is blamed by that."""
    empty = flat({})
    head = bytearray(empty[: -len(_words(NODE, 0, END_NODE, END))])
    head[12:16] = _words(len(head) + len(structure))
    tree = bytes(head) + structure
    if is_tree:
        assert chosen(with_chosen(tree, MARK)) == MARK
        return
    with pytest.raises(NoDeviceTree):
        with_chosen(tree, MARK)


def test_a_deep_tree_costs_no_more_than_its_size() -> None:
    deep: Node = {}
    for _ in range(200):
        deep = {"n" * 500: deep}
    tree = flat(deep)
    tracemalloc.start()
    with_chosen(tree, MARK)
    assert tracemalloc.get_traced_memory()[1] < 5 * len(tree)
    tracemalloc.stop()


def test_a_torn_tree_is_none() -> None:
    whole = flat(BOARD)
    for size in range(len(whole) - len(b"kexec-hook")):
        try:
            with_chosen(whole[:size], MARK)
        except NoDeviceTree:
            continue
        # Only the names at the end may be cut: the structure was whole.
        assert size >= int.from_bytes(whole[12:16], "big")


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF" + bytes(100), flat(BOARD).replace(b"\0\0\0\x09", b"\0\0\0\x07")]
)
def test_other_bytes_are_no_tree(data: bytes) -> None:
    with pytest.raises(NoDeviceTree):
        with_chosen(data, MARK)
