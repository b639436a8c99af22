"""What a GRUB script is made of, once parsed."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Union

from kexec_hook.grub.script.source import ScriptError, Source, Span
from kexec_hook.tuples import NamedTuple


class Lit(NamedTuple):
    """Literal text; unquoted text still holds its backslash escapes, which the expansion of `*` and `?` needs."""

    text: str
    quoted: bool = False


class Var(NamedTuple):
    """`$name` or `${name}`; quoted means inside double quotes, where the value is not split."""

    name: str
    quoted: bool = False


class Message(NamedTuple):
    """`$"text with $variables"`: a string that GRUB would look up in its translations."""

    text: str


Part = Union[Lit, Var, Message]


class Word(NamedTuple):
    """One word of a command line; `constant` is its value where no variable, escape or wildcard is in it."""

    parts: tuple[Part, ...]
    constant: str | None


class Words(NamedTuple):
    """The words of a command, or of what `for` goes through, and where they were written."""

    words: tuple[Word, ...]
    written: tuple[str, ...]  # each with the blanks before it
    source: Source
    start: int
    end: int

    def span(self, index: int) -> Span:
        """Where the index-th word stands (0 is the command's name); the last one when there are fewer."""
        written = self.written[: index + 1]
        end = self.start + sum(map(len, written))
        return Span(self.source, end - len(written[-1].lstrip(" \t")), end)


class Place(NamedTuple):
    """Where one word was written; the span costs more, and is seldom asked for."""

    words: Words
    number: int

    @property
    def span(self) -> Span:
        return self.words.span(self.number)


class Block(NamedTuple):
    """`{ ... }` as an argument: the offsets of the text between the braces, known to parse."""

    start: int
    end: int


class Command(NamedTuple):
    """`word word... [block]`; menuentry is such a command, not a keyword."""

    words: Words
    block: Block | None

    @property
    def span(self) -> Span:
        words = self.words
        return Span(words.source, words.start, self.block.end if self.block else words.end)


class If(NamedTuple):
    condition: tuple[Statement, ...]
    then: tuple[Statement, ...]
    orelse: tuple[Statement, ...] | If | None


class For(NamedTuple):
    name: str
    words: Words
    body: tuple[Statement, ...]


class Loop(NamedTuple):
    """`while` and, with `until`, its opposite."""

    until: bool
    condition: tuple[Statement, ...]
    body: tuple[Statement, ...]


Statement = Union[Command, If, For, Loop]


class Function(NamedTuple):
    """`function name { ... }`: defined once its closing brace is read, even when the rest of its line is broken."""

    name: str
    body: tuple[Statement, ...]


class Broken(NamedTuple):
    """A statement that does not parse, with everything that shared its lines; the file goes on behind it."""

    error: ScriptError


class Script(NamedTuple):
    """What GRUB's parser reads at once: the statements of one line, or of the lines one compound spans."""

    functions: tuple[Function, ...]
    statements: tuple[Statement, ...]
    broken: Broken | None
