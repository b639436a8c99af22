"""Release order agrees with dpkg, rpm and `sort -V` on every pair of long lists of nasty versions."""

import ctypes
import ctypes.util
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from kexec_hook.grub.vercmp import filevercmp_key
from kexec_hook.kernel.releases import dpkg_key, newest, release_key, rpm_key, sort_v_key

# Releases as uname says them: Debian, Ubuntu, Fedora, EL, SUSE, Arch, Alpine, hand-made.
KERNELS = """
6.1.0-9-amd64 6.1.0-10-amd64 6.1.0-39-amd64 6.1.0-39-cloud-amd64 6.1.0-39-rt-amd64 6.1.0-0.deb11.21-amd64
6.12.38+deb13-amd64 6.12.38+deb13-cloud-amd64 6.12.38+deb13+1-amd64 6.12.38+deb12-amd64 6.12-amd64 6.12.9-amd64
6.8-rc1-amd64 6.8-rc10-amd64 6.8.0-rc2-amd64 6.8.0-trunk-amd64 6.8~rc7-amd64 5.10.0-0.bpo.3-amd64 4.19.0-27-686-pae
5.15.0-100-generic 5.15.0-99-generic 5.15.0-100-lowlatency 6.8.0-060800-generic 6.8.0-060800rc1-generic
6.5.0-1025-oem 6.5.0-1025.26-oem 6.8.0-45-generic 6.8.0-45-generic-64k 6.8.0-45.45~22.04.1-generic
6.11.4-301.fc41.x86_64 6.11.10-300.fc41.x86_64 6.11.10-300.fc41.x86_64+debug 6.12.0-0.rc5.44.fc42.x86_64
6.12.0-0.rc1.20240930git9852d.18.fc42.x86_64 6.12.0-65.fc42.x86_64 5.14.0-362.8.1.el9_3.x86_64
5.14.0-362.18.1.el9_3.x86_64 5.14.0-427.el9.x86_64
4.18.0-80.el8.x86_64 4.18.0-80.1.2.el8_0.x86_64 3.10.0-1160.el7.x86_64 3.10.0-957.el7.x86_64
6.4.0-150600.21-default 6.4.0-150600.23.25-default 5.3.18-lp152.19-default 6.10.1-arch1-1 6.10.10-arch1-1
6.10.1-zen1-1-zen 6.6.52-1-lts 6.6.52-0-lts 6.1.0 6.1 6.1.0-custom 6.1.0+ 6.1.0-dirty 6.8.0-rc1-00012-gabcdef
6.9.0-next-20240520 5.15.167.4-microsoft-standard-WSL2 6.6.31+rpt-rpi-v8 2.6.32-754.el6.x86_64 2.6.32-5-686
"""
# No distribution ships these; the edges of each rule lie here.
NASTY = """
0 00 000 1 01 1. 1.0 1.00 1.0.0 1.0. 1..0 1.~ 1.a 1.A 1.a1 1.a01 1.a1b 1a 1a0 1aa 1b 1ab 1~ 1~~ 1~~a 1~a 1~0 1~1
1.0~rc1 1.0~rc1~git 1.0~rc10 1.0~ 1.0~~ 1.0rc1 1.0-rc1 1.0+b1 1.0+ 1.0+b10 1.0-1 1.0-01 1.0-1+b1 1.0-1~bpo 1.0--1
1-1-1 1-1 1- 10 9 99999999999999999999 100000000000000000000 1.10 1.9 1.010 1.09 1.1 1.1-1.1 1.1.1 0.0.1 0.1 0~1
1.0a.1 1.0a1 1.0.a1 a a1 a01 a10 a9 A B Z z ab a.b a.b.c a~ a~b a-b a+b a_b a.1 a.~1 a.1b a.b~c a.b1 a-1.b a-1.b_c
x86_64 el9 el9_1 fc40 fc9 git20240930 1^ 1^a 1^git 1^^ 1~^ 1^~ 1.0^20240101 1.0^20240101~a 1^1 1.^1
"""
VERSIONS = KERNELS.split() + NASTY.split()


def outcome(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def disagreements(
    key: Callable[[str], Any], judge: Callable[[str, str], int], names: list[str]
) -> Iterator[str]:
    keys = {name: key(name) for name in names}
    for left, right in product(names, repeat=2):
        said, truth = outcome(keys[left], keys[right]), judge(left, right)
        if said != truth:
            yield f"{left} ? {right}: {said}, should be {truth}"
        if said == 0:
            assert hash(keys[left]) == hash(keys[right])


def run(*argv: str, stdin: str) -> str:
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    return done.stdout


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


# dpkg: its own comparison in C wants a process for each pair, so it judges neighbours, and Dpkg::Version all pairs.
DPKG_PAIRS = """
use Dpkg::Version;
my @all = map { chomp; Dpkg::Version->new($_, check => 0) } <STDIN>;
for my $left (@all) { print join(" ", map { $left <=> $_ } @all), "\\n" }
"""
DEBIAN = sorted(
    {
        version
        for version in VERSIONS
        if version[0].isdigit() and "^" not in version and "_" not in version
    }
)
DEBIAN += [
    "0:1.0",
    "00:1",
    "1:0",
    "1:1.0",
    "2:1.0~",
    "10:1.0-1",
    "1:1.0-1:2",
    "1.0-0",
    "1.0-00",
    "1.0-a",
    "1.0-~",
]


def test_dpkg_key_agrees_with_dpkg_version_on_all_pairs() -> None:
    need("perl")
    versions = [
        version for version in DEBIAN if len(version) < 20 or not version.isdigit()
    ]  # Perl would round these
    table = run("perl", "-e", DPKG_PAIRS, stdin="\n".join(versions) + "\n")
    if not table:
        pytest.skip("perl has no Dpkg::Version")
    truth = {
        (left, right): int(answer)
        for left, row in zip(versions, table.splitlines())
        for right, answer in zip(versions, row.split())
    }
    assert len(truth) == len(versions) ** 2 > 14000
    assert list(disagreements(dpkg_key, lambda left, right: truth[left, right], versions)) == []


def test_dpkg_key_agrees_with_dpkg_on_neighbours() -> None:
    need("dpkg")
    ordered = sorted((version for version in DEBIAN if not version.endswith("-")), key=dpkg_key)
    for older, newer in zip(ordered, ordered[1:]):
        relation = "eq" if dpkg_key(older) == dpkg_key(newer) else "lt"
        assert (
            subprocess.run(["dpkg", "--compare-versions", older, relation, newer]).returncode == 0
        ), (older, newer)


def rpmvercmp() -> Callable[[str, str], int]:
    for name in ("rpm", "rpmio"):
        try:
            function = ctypes.CDLL(ctypes.util.find_library(name) or "").rpmvercmp
        except (OSError, AttributeError, TypeError):
            continue
        function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_int
        return lambda left, right: int(function(left.encode(), right.encode()))
    pytest.skip("there is no librpm with rpmvercmp")


def test_rpm_key_agrees_with_librpm_on_all_pairs() -> None:
    assert list(disagreements(rpm_key, rpmvercmp(), VERSIONS)) == []


def test_rpm_key_agrees_with_librpm_on_random_pairs() -> None:
    judge, dice = rpmvercmp(), random.Random(20240930)
    for _ in range(20000):
        left, right = ("".join(dice.choices("019aAb.-~^+", k=dice.randint(0, 6))) for _ in range(2))
        assert outcome(rpm_key(left), rpm_key(right)) == judge(left, right), (left, right)


# Hidden names are where coreutils 9.1 and its neighbours differ; no kernel and, for GRUB, no entry is called so.
HIDDEN = [".a", ".a.conf", ".1", "..a", ".~", "...", ".b-1.conf", ".m-2.conf", ".é", ".b.c_d"]
FILES = [*VERSIONS, *(f"{version}.conf" for version in VERSIONS[::2])]
FILES += [".", "..", "~", "~a", "a.", "a..b", "a.b.", "a.b-1.c", "vmlinuz"]
FILES += [
    "a.tar.gz",
    "a.tar.7z",
    "a1.tar",
    "a01.tar",
    "é",
    "a.é",
    "a.b.é.c",
    "e\u0301",
    "a b",
    "a.b c",
]


def need_sort() -> None:
    """`sort -V` of coreutils 9, whose order gnulib and GRUB 2.14 have; EL 9's 8.32 has another."""
    need("sort")
    found = re.search(r"(\d+)\.\d+", run("sort", "--version", stdin=""))
    if not found or int(found[1]) < 9:
        pytest.skip("needs sort of coreutils 9")


def sort_v(pairs: list[tuple[str, str]]) -> list[int]:
    """filevercmp of each pair, by one stable `sort`: each pair makes two groups, one for either order."""
    need_sort()
    groups = [names for pair in pairs for names in (pair, pair[::-1])]
    lines = [f"{number}\t{name}\n" for number, names in enumerate(groups) for name in names]
    out = run("sort", "-t", "\t", "-k1,1n", "-k2,2V", "-s", stdin="".join(lines)).split("\n")
    firsts = [line.partition("\t")[2] for line in out[:-1:2]]
    assert len(firsts) == len(groups)
    # Where the two tie, each group keeps the order in which it came.
    return [
        0 if left == right or (first, second) == (left, right) else -1 if first == left else 1
        for (left, right), first, second in zip(pairs, firsts[::2], firsts[1::2])
    ]


def sort_is_as_grub() -> bool:
    """Is this the coreutils 9.1 whose filevercmp GRUB 2.14 has?"""
    return sort_v([(".a", ".1")]) == [-1]


def test_filevercmp_key_agrees_with_sort_on_all_pairs() -> None:
    names = FILES + (HIDDEN if sort_is_as_grub() else [".b-1.conf"])
    pairs = [(left, right) for left in names for right in names]
    truth = dict(zip(pairs, sort_v(pairs)))
    assert len(truth) > 60000
    assert list(disagreements(filevercmp_key, lambda left, right: truth[left, right], names)) == []


def test_filevercmp_key_agrees_with_sort_on_random_pairs() -> None:
    dice = random.Random(9)
    names = ["".join(dice.choices("019aAb..-~+_", k=dice.randint(0, 7))) for _ in range(60000)]
    if not sort_is_as_grub():
        names = [name.lstrip(".") for name in names]
    pairs = list(zip(names[::2], names[1::2]))
    for (left, right), truth in zip(pairs, sort_v(pairs)):
        assert outcome(filevercmp_key(left), filevercmp_key(right)) == truth, (left, right)


def test_sort_v_key_orders_whole_lists_as_sort_does() -> None:
    need_sort()
    for seed in range(5):
        shuffled = random.Random(seed).sample(FILES, len(FILES))
        assert run("sort", "-V", stdin="\n".join(shuffled) + "\n").splitlines() == sorted(
            shuffled, key=sort_v_key
        )


def test_candidates_come_before_the_release_and_in_order() -> None:
    ordered = [
        "6.7.12",
        "6.8-rc1",
        "6.8.0-rc2",
        "6.8-rc10-amd64",
        "6.8-rc10-arm64",
        "6.8.0",
        "6.8.0-1-amd64",
        "6.8.1",
    ]
    for tail_key in (dpkg_key, rpm_key, sort_v_key):
        assert sorted(set(ordered), key=lambda release: release_key(release, tail_key)) == ordered


# Oldest first, each list by its distribution's own view of which is newer.
DEBIAN_KERNELS = """
rescue 2.6.32-5-686 4.19.0-27-686-pae 5.10.0-0.bpo.3-amd64 5.15.0-99-generic 5.15.0-100-generic 6.1.0-9-amd64
6.1.0-10-amd64 6.1.0-39-amd64 6.1.0-39-cloud-amd64 6.1.0-39-rt-amd64 6.8.0-060800rc1-generic 6.8~rc7-amd64
6.8.0-060800-generic 6.12.38+deb12-amd64 6.12.38+deb13-amd64 6.12.38+deb13+1-amd64
"""
FEDORA_KERNELS = """
3.10.0-957.el7.x86_64 3.10.0-1160.el7.x86_64 4.18.0-80.el8.x86_64 5.14.0-362.8.1.el9_3.x86_64
5.14.0-362.18.1.el9_3.x86_64 5.14.0-427.el9.x86_64 6.4.0-150600.21-default 6.4.0-150600.23.25-default
6.11.4-301.fc41.x86_64 6.11.10-300.fc41.x86_64 6.12.0-0.rc1.20240930git9852d.18.fc42.x86_64
6.12.0-0.rc5.44.fc42.x86_64 6.12.0-65.fc42.x86_64
"""


@pytest.mark.parametrize(
    ("names", "tail_key"), [(DEBIAN_KERNELS, dpkg_key), (FEDORA_KERNELS, rpm_key)]
)
def test_releases_of_one_distribution_on_all_pairs(
    names: str, tail_key: Callable[[str], Any]
) -> None:
    ordered = names.split()
    place = {release: number for number, release in enumerate(ordered)}

    def judge(left: str, right: str) -> int:
        return outcome(place[left], place[right])

    assert list(disagreements(lambda release: release_key(release, tail_key), judge, ordered)) == []
    assert newest(ordered, tail_key) == ordered[-1]


def test_any_string_has_a_place_and_different_strings_have_different_ones() -> None:
    strings = [
        *VERSIONS,
        "",
        "vmlinuz",
        "rc1",
        "-",
        "6.",
        "6.8.",
        "6.8-rc",
        "6.8rc1rc2",
        "9" * 5000,
        "6\n",
        "\udce9",
        "\u0666.8",
    ]
    for tail_key in (dpkg_key, rpm_key, sort_v_key):
        assert len({release_key(string, tail_key) for string in strings}) == len(set(strings))
        assert len(sorted(strings, key=lambda string: release_key(string, tail_key))) == len(
            strings
        )


def test_nothing_installed_has_no_newest() -> None:
    assert newest([], dpkg_key) is None
