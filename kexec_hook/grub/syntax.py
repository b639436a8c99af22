"""What a GRUB script is made of, once parsed."""

from __future__ import annotations

from typing import NamedTuple, Union

from kexec_hook.grub.source import ScriptError, Source, Span


class Lit(NamedTuple):
    """Literal text; unquoted text still holds its backslash escapes, which the expansion of `*` and `?` needs."""

    text: str
    quoted: bool


class Var(NamedTuple):
    """`$name` or `${name}`; quoted means inside double quotes, where the value is not split."""

    name: str
    quoted: bool


class Message(NamedTuple):
    """`$"text with $variables"`: a string that GRUB would look up in its translations."""

    text: str


Part = Union[Lit, Var, Message]


class Word(NamedTuple):
    """One word of a command line; `constant` is its value where no variable, escape or wildcard is in it."""

    parts: tuple[Part, ...]
    constant: str | None
    start: int
    end: int


class Block(NamedTuple):
    """`{ ... }` as an argument: the offsets of the text between the braces, known to parse."""

    start: int
    end: int


class Command(NamedTuple):
    """`word word... [block]`; menuentry is such a command, not a keyword."""

    words: tuple[Word, ...]
    block: Block | None
    source: Source

    @property
    def span(self) -> Span:
        return Span(self.source, self.words[0].start, self.block.end if self.block else self.words[-1].end)

    def word_span(self, index: int) -> Span:
        """Where the index-th word stands (0 is the command's name); the last one when there are fewer."""
        word = self.words[min(index, len(self.words) - 1)]
        return Span(self.source, word.start, word.end)


class If(NamedTuple):
    condition: tuple[Statement, ...]
    then: tuple[Statement, ...]
    orelse: tuple[Statement, ...] | If | None


class For(NamedTuple):
    name: str
    words: tuple[Word, ...]
    body: tuple[Statement, ...]
    source: Source


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


class Unit(NamedTuple):
    """What GRUB's parser reads at once: the statements of one line, or of the lines one compound spans."""

    functions: tuple[Function, ...]
    statements: tuple[Statement, ...]
    broken: Broken | None
