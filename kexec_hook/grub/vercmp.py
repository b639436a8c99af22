"""How GRUB orders the file names of Boot Loader Specification entries: two rules, as sort keys, oldest first."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import re
from typing import Union

# Keys compare as tuples do, and equal keys are names that GRUB takes for equal.
Flat = tuple[Union[int, str], ...]
Key = tuple[object, ...]

_TILDE, _END, _PLUS, _LETTERS, _DIGITS = range(5)
_RUNS = r"([^0-9]*)([0-9]*)"
_SUFFIXES = r"(?:\.[A-Za-z~][A-Za-z0-9~]*)*\Z"


def number(digits: str) -> tuple[int, str]:
    """A number of any length: leading zeros do not count, and int() refuses more than 4300 digits."""
    digits = digits.lstrip("0")
    return len(digits), digits


def segments_key(version: str, plus: str) -> Flat:
    """The order of rpmvercmp: `~` < the end < `plus` < letters < numbers, all else only separates.

    version = { separator | "~" | plus | letter { letter } | digit { digit } }

    >>> sorted(["1.0", "1.0~rc1", "1.0+1", "1.0.1", "1.0a"], key=lambda v: segments_key(v, "+"))
    ['1.0~rc1', '1.0', '1.0+1', '1.0a', '1.0.1']
    """
    key: list[int | str] = []
    for segment in re.findall(rf"[0-9]+|[A-Za-z]+|[~{re.escape(plus)}]", version):
        if segment == "~":
            key.append(_TILDE)
        elif segment == plus:
            key.append(_PLUS)
        elif segment.isdigit():
            key += (_DIGITS, *number(segment))
        else:
            key += (_LETTERS, segment)
    return (*key, _END)


def rhboot_key(filename: str, plus: str = "+") -> Flat:
    """The order of rhboot's blscfg (commands/blscfg.c: bls_cmp, vercmp); EL 8's has no plus.

    filename = name [ [ "-" version ] "-" release ] [ ".conf" ]: with a single "-", version is what follows it.

    >>> sorted(["a-6.1-2.conf", "a-6.1-10.conf", "a-0-rescue.conf", "a-6.1~rc1-1.conf"], key=rhboot_key)
    ['a-0-rescue.conf', 'a-6.1~rc1-1.conf', 'a-6.1-2.conf', 'a-6.1-10.conf']
    """
    stem = filename[:-5] if filename.endswith(".conf") else filename
    parts = [*stem.rsplit("-", 2), "", ""][:3]
    return tuple(itertools.chain(*(segments_key(part, plus) for part in parts)))


def el_8_key(filename: str, version: str | None) -> Flat:
    """The order of EL 8's blscfg: by the key `version`, None where not all have it, and then by the file's name.

    >>> names = {"a-5-2": "5-2", "b-5-1": "5-1", "c-5-10": "5-10"}
    >>> sorted(names, key=lambda name: el_8_key(name, names[name]))
    ['b-5-1', 'a-5-2', 'c-5-10']
    """
    of_name = rhboot_key(filename, "")
    if version is None:
        return of_name
    number, release = [*version.rsplit("-", 1), ""][:2]
    return segments_key(number, "") + segments_key(release, "") + of_name


def verrev_key(text: str) -> Flat:
    """The order that dpkg and gnulib share, of a text that is split into non-digits and numbers by turns.

    Within non-digits: `~` < the end < letters < other bytes.  A missing number is 0, so "a" equals "a0".
    """
    pairs = [(run, *number(digits)) for run, digits in re.findall(_RUNS, text)]
    while len(pairs) > 1 and pairs[-1] == ("", 0, ""):
        pairs.pop()
    key: list[int | str] = []
    for run, length, digits in pairs:
        key += (_order(byte) for byte in run.encode("utf-8", "surrogateescape"))
        key += (0, length, digits)
    return (*key, 0)


def _order(byte: int) -> int:
    if byte == 0x7E:
        return -1
    return byte if 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A else byte + 256


def filevercmp_key(filename: str) -> Key:
    """The order of gnulib's filevercmp, which upstream's blscfg (2.14, commands/blsuki.c) applies to whole names.

    filename = { any } { "." ( letter | "~" ) { letter | digit | "~" } }: the suffixes count only in a tie.
    The empty name comes first, then ".", "..", other hidden names, and all the rest.  This is the gnulib of GRUB 2.14
    and of coreutils 9.1; before and after, a hidden name's first part was no suffix (".a" came after ".1").

    >>> sorted(["m-1.0-10.conf", "m-1.0-2.conf", "m-1.0.conf", "m-1.0~rc1-1.conf", ".m-2.conf"], key=filevercmp_key)
    ['.m-2.conf', 'm-1.0~rc1-1.conf', 'm-1.0.conf', 'm-1.0-2.conf', 'm-1.0-10.conf']
    """
    if filename in ("", ".", ".."):
        return (len(filename),)
    suffixes = re.search(_SUFFIXES, filename)
    assert suffixes is not None  # it also matches nothing, at the end
    return (
        3 if filename[0] == "." else 4,
        verrev_key(filename[: suffixes.start()]),
        verrev_key(filename),
    )
