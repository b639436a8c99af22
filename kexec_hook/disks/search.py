"""Which of several devices does GRUB come to first when it searches, as far as that is known?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexec_hook.disks.drives import HINT, BlockDevice, Drives, split
from kexec_hook.disks.mounts import FileSystem
from kexec_hook.grub.disks import Unseen
from kexec_hook.tuples import NamedTuple

OF_SEVERAL = "not known, as there are several"
_UNIQUE = "let GRUB search for a UUID that only one file system has"


class Candidate(NamedTuple):
    """A device that answers a search, or may answer it: then `unseen` says why nobody knows."""

    unit: BlockDevice
    system: FileSystem
    unseen: Unseen | None = None


def answer(
    drives: Drives, candidates: Sequence[Candidate], value: str, hints: Sequence[str]
) -> list[str]:
    """The names that a search gives, hinted devices first.  Unseen where the first of them is not known.

    The candidates come in the order of GRUB's iterator (commands/search.c, iterate_device).
    """
    names: list[str] = []
    for hint in filter(None, hints):
        names += _hinted(drives, candidates, hint, unless=bool(names))
    if not names:
        _refuse_doubt(drives, candidates, value)
    for unit in (candidate.unit for candidate in candidates if candidate.unseen is None):
        names.append(drives.promise_name(unit))
    return names


def _hinted(
    drives: Drives, candidates: Sequence[Candidate], hint: str, *, unless: bool
) -> Iterator[str]:
    """The names by which a hint finds something; of `hd0,` the partitions from the first on.  Unseen, unless

    Where one file system alone answers, the hint says how GRUB calls its disk.  Where several do, the hint decides
    which of them GRUB takes, and counts only if it is certain that GRUB calls the disk so.
    """
    whole = hint.endswith(",")
    fitting = [c for c in candidates if drives.may_be_called(hint, c.unit)]
    if not unless and fitting and any(c.system is not fitting[0].system for c in candidates):
        fitting = [c for c in fitting if drives.is_known(hint, c.unit.drive)]
        if not fitting:
            raise number_unknown(hint.rstrip(","), _UNIQUE)
    for candidate in (fitting[::-1] if whole else fitting) or candidates:
        if candidate.unseen is None:
            name = drives.take_hint(hint, candidate.unit, HINT)
            if name:
                unless = True
                yield name
                if not whole:
                    return
        elif not unless and candidate in fitting:
            raise candidate.unseen


def _refuse_doubt(drives: Drives, candidates: Sequence[Candidate], value: str) -> None:
    """What GRUB comes to first must be known to answer, and to come first.  Unseen"""
    if not candidates:
        return
    first = candidates[0]
    if first.unseen:
        raise first.unseen
    others = [other.unit.drive for other in _elsewhere(candidates)]
    if any(not drives.in_known_order(first.unit.drive, other) for other in others):
        raise Unseen(
            f"which disk GRUB finds first when it looks for {value} is {OF_SEVERAL}",
            _UNIQUE,
            code="cannot-be-known",
        )


def number_unknown(name: str, fix: str = "let GRUB search for the file system's UUID") -> Unseen:
    """Several disks may be the one that a name means."""
    return Unseen(
        f"which disk GRUB calls ({split(name)[0]}) is {OF_SEVERAL}",
        fix,
        code="cannot-be-known",
    )


def not_shown(name: str) -> Unseen:
    """A device of which nothing here tells; volumes, arrays and containers may be there and not in use."""
    volume = name.startswith(("lvm", "md", "crypto", "ldm"))
    return Unseen(
        f"({name}) is a device that GRUB may have and Linux does not show",
        "activate it" if volume else "",
        code="not-mounted" if volume else "cannot-be-known",
    )


def _elsewhere(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that are another file system than the first, on another disk."""
    first = candidates[0] if candidates else None
    return [
        other
        for other in candidates
        if first and other.unit.drive is not first.unit.drive and other.system is not first.system
    ]
