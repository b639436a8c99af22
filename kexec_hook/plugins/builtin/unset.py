r"""Variables that nobody set: what a word was built from, and what is left of it.

GRUB drops an unquoted word that expands to nothing, so `initrd /a.img $more` loads one initrd where $more is not
set.  Where text is left around such a variable (`/boot/$name.img`), a path is not the one that was meant.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from kexec_hook.grub.commands.boot import LINUX
from kexec_hook.grub.script.source import Span
from kexec_hook.grub.values import Binding, Call, Read
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.plugins.builtin.sight import booted_linux
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from kexec_hook.plugins.api import Decision, Evaluation

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Hole(NamedTuple):
    """An unset variable behind a word."""

    name: str
    alone: bool = (
        True  # Does nothing stand around it, so that GRUB drops the word, or that part of it?
    )
    in_root: bool = False  # Is it a part of root=?


class Built(NamedTuple):
    """A word with a hole in it."""

    word: str  # as it is written
    hole: Hole
    span: Span


def objections(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """A path or root= that an unset variable left empty is no accident that kexec should repeat."""
    loaded = booted_linux(evaluation)
    if loaded is None:
        return
    calls = filter(None, (loaded.call, loaded.initrd_call))
    built = [
        (built.word if built.hole.in_root else f"the path {built.word}", built.hole.name, call.span)
        for call in calls
        for built in bad_words(call)
    ]
    built += [
        (word, hole.name, read.span)
        for word, read in _in_snippet(evaluation)
        for hole in holes(read, (), [word])
        if hole.in_root
    ]
    for word, name, span in built:
        yield Objection(
            f"{word} uses ${name}, which is not set ({span})",
            code="unset-variable",
            fix=f"set {name}, or correct {span}",
        )


def notes(decision: Decision) -> Iterator[Note]:
    evaluation = decision.evaluation
    if evaluation is None or evaluation.machine.loaded is None:
        return
    loaded = evaluation.machine.loaded
    snippet = (read for _, read in _in_snippet(evaluation))
    for read in (*loaded.call.reads, *snippet):
        if read.binding is None:
            yield Note(
                f"${read.name} is not set, so it adds nothing to the command line ({read.span})",
                code="unset-word",
            )
    for word in dropped_words(loaded.initrd_call) if loaded.initrd_call else ():
        yield Note(
            f"${word.hole.name} is not set, so it adds no initrd ({word.span})", code="unset-word"
        )


def _in_snippet(evaluation: Evaluation) -> Iterator[tuple[str, Read]]:
    """The variables that blscfg found written in the default's snippet, each with its word up to there."""
    entry = evaluation.default.entries[-1] if evaluation.default else None
    for read in entry.reads if entry and entry.span.source.name.endswith(".conf") else ():
        source, start, end = read.span
        if (
            source.text[start:end] == f"${read.name}"
        ):  # not $early_initrd and its like, which stand nowhere
            yield source.text[:end].split()[-1], read


def bad_words(call: Call) -> Iterator[Built]:
    """A path with a hole in it, a kernel's path that is one, a root= with one."""
    for number, built in _built(call):
        if call.name in LINUX:
            bad = number == 0 or built.hole.in_root
        else:
            bad = not built.hole.alone
        if bad:
            yield built


def dropped_words(call: Call) -> Iterator[Built]:
    """The words of a command that GRUB drops, since nothing is left of them."""
    return (built for _, built in _built(call) if built.hole.alone)


def holes(
    read: Read,
    beside: Collection[Read],
    pieces: Collection[str],
    known: dict[int, list[Hole]] | None = None,
) -> list[Hole]:
    """The unset variables behind one that is read; what a command such as search answers counts as set.

    `beside` are the reads, and `pieces` the parts between blanks, of the words that it is read for.
    """
    if read.binding is None:
        behind = [Hole(read.name)]
    else:
        behind = _behind(read.binding, {} if known is None else known)
    around = [piece for piece in pieces if read.name in _names(piece)]
    alone = bool(around) and not any(_left(piece, read, beside) for piece in around)
    in_root = any(piece.lstrip("\"'").startswith("root=") for piece in around)
    return list(
        dict.fromkeys(
            Hole(hole.name, alone and hole.alone, in_root or hole.in_root) for hole in behind
        )
    )


def _behind(binding: Binding, known: dict[int, list[Hole]]) -> list[Hole]:
    """The unset variables behind a value; each value is looked at once, however often it is used."""
    if id(binding) not in known:
        known[id(binding)] = []
        via = _assigned_from(binding)
        # What was assigned is split where it is used: a="/x $y" makes two words.
        found = [
            holes(read, via, _value(_text(read.span)).split(), known)
            for read in {read.name: read for read in via}.values()
        ]
        known[id(binding)] = list(dict.fromkeys(itertools.chain(*found)))
    return known[id(binding)]


def _built(call: Call) -> Iterator[tuple[int, Built]]:
    """Each hole in the words behind the command's name, and the number of its word."""
    words = call.command.words
    for number in range(len(words.words) - call.offset):
        span = words.span(number + call.offset)
        word = _text(span)
        reads = {read.name: read for read in call.reads if read.span == span}
        for read in reads.values():
            for hole in holes(read, reads.values(), [word]):
                yield number, Built(word, hole, span)


def _assigned_from(binding: Binding) -> tuple[Read, ...]:
    """What an assignment read, `set a=$b` or `a=$b`."""
    words = _text(binding.origin).split(None, 1) if binding.origin else []
    return binding.via if words and (words[0] == "set" or "=" in words[0]) else ()


def _value(word: str) -> str:
    """The right side of an assignment, without its quotes."""
    return re.sub(r"""^\w+=|["']""", "", word)


def _names(piece: str) -> list[str]:
    return [braced or plain for braced, plain in _VARIABLE.findall(piece)]


def _left(piece: str, read: Read, beside: Collection[Read]) -> str:
    """What stands around a variable in a piece of a word; quotes too, since GRUB keeps a word that has them."""
    values = {other.name: other.binding.value if other.binding else "" for other in beside}
    around = re.sub(rf"\$(?:\{{{read.name}\}}|{read.name}(?!\w))", "", piece, count=1)
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), around)


def _text(span: Span) -> str:
    return span.source.text[span.start : span.end]
