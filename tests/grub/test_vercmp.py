"""The order of Boot Loader Specification entries is the one that rhboot's blscfg and GRUB 2.14's give them."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.grub.vercmp import filevercmp_key, rhboot_key

# Oldest line first; the names on one line are equal.  Both lists were put in order by GRUB's own comparison in C.
RHBOOT = """
~
~-1-1
- -- é
+
A-1-1
a-~-1
a a-- a-
a--1
a-b a-b-
a-0-rescue
a-1-~
a-1 a-01
a-1-0
a-1-1
a-1.0~rc1-1
a-1.0
a-1.0-1~rc1
a-1.0-1 a-1.0.-1 a-1_0-1
a-1.0-1+debug
a-1.0-1.fc9.x86_64
a-1.0-1.fc41.x86_64
a-1.0-1.fc41.x86_64+debug
a-1.0-1.fc41.x86_64+16k
a-1.0-2
a-1.0-10
a-1.0+-1
a-1.0a-1 a-1.0.a-1
a-99999999999999999999-1
a-100000000000000000000-1
a-1.0+2-1-1
a-1.0+3-0-1
arch
arch-macbook
arch2
b+3-0
ffffffffffffffff-f21f2e2-3.3.60
linux-cachyos
ostree-1-fedora
ostree-2-fedora
6.10.3-1
653b444d513a43239c37deae4f5fe644-8d1ad9f-5.4.7-100.fc30.x86_64
2024-10-09_11-05-07_linux
2024-10-09_11-05-07_linux-fallback
0123456789abcdef-0-rescue
0123456789abcdef-6.9.12-1.el9
0123456789abcdef-6.10.3-1.el9
0123456789abcdef-6.10.3-1.el9_1
0123456789abcdef-6.10.3-9
0123456789abcdef-6.10.3-10
"""
UPSTREAM = """
.
..
.a.conf
.hidden.conf
..a.conf
.1.conf
....conf
~.conf
~a.conf
0123-0-rescue.conf
0123-6.9.12-1.el9.conf
0123-6.10.3-1.el9.conf
0123-6.10.3-1.el9_1.conf
0123-6.10.3-9.conf
0123-6.10.3-10.conf
653b-8d1ad9f-5.4.7-100.fc30.x86_64.conf
653b-8d1ad9f-5.4.7-100.fc30.x86_64+debug.conf
2024-10-09_11-05-07_linux.conf
2024-10-09_11-05-07_linux-fallback.conf
A-upper.conf
arch.conf
arch2.conf
arch-macbook.conf
a-comment.conf
a-...conf
ffffffff-f21f2e2-3.3.60.conf
k.conf
k-1.conf
linux-cachyos.conf
m-1.a.conf
m-1.conf m-01.conf
m-1a.conf
m-1.0~rc1-1.conf
m-1.0.conf
m-1.0+2-1-1.conf
m-1.0+3-0-1.conf
m-1.0-1.conf m-1.0-01.conf
m-1.0-2
m-1.0-2.bak.conf
m-1.0-2.conf
m-1.0-3
m-1.0-10.conf
m-1.0_1.conf
n-1.conf
x.x64.conf
x.x86.conf
x.x86_64.conf
é.conf
"""


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (RHBOOT, rhboot_key),
        (RHBOOT, lambda name: rhboot_key(f"{name}.conf")),
        (UPSTREAM, filevercmp_key),
    ],
    ids=["rhboot", "rhboot with .conf", "upstream"],
)
def test_all_pairs_are_in_order(text: str, key: Callable[[str], Any]) -> None:
    place = {name: number for number, names in enumerate(lines(text)) for name in names}
    for left, right in product(place, repeat=2):
        if place[left] < place[right]:
            assert key(left) < key(right), (left, right)
        elif place[left] == place[right]:
            assert key(left) == key(right), (left, right)
            assert hash(key(left)) == hash(key(right))


def test_only_one_conf_is_cut_off() -> None:
    assert rhboot_key("a-1.conf.conf") != rhboot_key("a-1.conf") == rhboot_key("a-1")


def test_numbers_may_be_longer_than_python_converts() -> None:
    assert rhboot_key("a-" + "9" * 5000) > rhboot_key("a-1" + "0" * 4999)
    assert filevercmp_key("a-" + "9" * 5000) > filevercmp_key("a-1" + "0" * 4999)


def test_names_that_are_not_utf8_have_a_place() -> None:
    assert filevercmp_key("a\udce9") > filevercmp_key("a_")
    assert rhboot_key("a\udce9-1") == rhboot_key("a-1")


EXPECTED = [
    ("expected.json", rhboot_key),
    ("expected-2.14.json", filevercmp_key),
    ("bls-2.14-boot.json", filevercmp_key),
]


@pytest.mark.parametrize(("name", "key"), EXPECTED)
def test_corpus_is_ordered_as_grub_ordered_it(
    corpus: Path, name: str, key: Callable[[str], Any]
) -> None:
    orders = [
        json.loads(path.read_bytes())["order"]
        for top in ("bls", "tree")
        for path in corpus.glob(f"{top}/*/{name}")
    ]
    assert orders
    for order in orders:
        assert sorted(order, key=lambda entry: key(f"{entry}.conf"), reverse=True) == order
