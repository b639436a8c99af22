"""Asks several checks in their order; one that may not look at what it asks about is passed over, not the rest."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from kexec_hook.plugins.api import Note, Objection
from kexec_hook.system.sysroot import NotPermittedError

Answer = TypeVar("Answer")
Checks = tuple[Callable[..., Iterable[Objection]], ...]
Notes = tuple[Callable[..., Iterable[Note]], ...]


def ask(checks: Iterable[Callable[..., Iterable[Answer]]], *about: object) -> Iterator[Answer]:
    """What they answer.  What our rights do not reach stands in `denied`: a note in a dry run, else an objection."""
    for check in checks:
        try:
            yield from check(*about)
        except NotPermittedError:
            continue
