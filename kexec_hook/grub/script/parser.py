"""How GRUB groups tokens into statements, one line or compound at a time (grub-core/script/parser.y).

    unit      = newline | statement { ";" statement } newline
    statement = command | function
    function  = "function" name { newline } "{" commands delimiter "}"
    command   = simple | if | for | while | until
    simple    = word { word | reserved } [ "{" commands [ delimiter ] "}" ]
    commands  = { newline } command { delimiter command }
    delimiter = ( ";" | newline ) { newline }

Recovery: after any error GRUB drops what it has read of the unit, and goes on with
the next line; the rest of a broken compound therefore runs at top level.  Functions
that were complete before the error stay defined.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from kexec_hook.grub.script.lexer import (
    FURTHER_WORD,
    LONGEST_TOKEN,
    NAME,
    RESERVED,
    TOKEN,
    BadDollar,
    make_word,
)
from kexec_hook.grub.script.source import ScriptError, Source, Span
from kexec_hook.grub.script.syntax import (
    Block,
    Broken,
    Command,
    For,
    Function,
    If,
    Loop,
    Script,
    Statement,
    Word,
    Words,
)

if TYPE_CHECKING:
    from kexec_hook.grub.script.plain import QuickBlocks

# A small file repeats too few lines.
_LARGE = 100_000
# Units that are parsed before the first of them runs.  One by one, the parser and what runs them would push each other
# out of the processor's caches, and evaluating would take a tenth longer.
_AHEAD = 50
# The Python stack is finite; GRUB's parser stops at 10000 symbols (bison's YYMAXDEPTH).
_DEEPEST = 150


class TokenTooLong(ScriptError):
    """GRUB's lexer stops the whole boot loader here (flex: token too large, exceeds YYLMAX)."""


class _Unexpected(Exception):
    """The current token cannot stand here."""


def parse(source: Source) -> Iterator[Script]:
    """The units of a text in order.  Raises TokenTooLong when those before it have been taken."""
    units = _units(source)
    while ahead := list(islice(units, _AHEAD)):
        for unit in ahead:
            if isinstance(unit, TokenTooLong):
                raise unit
            yield unit


def _units(source: Source) -> Iterator[Script | TokenTooLong]:
    parser = _Parser(source)
    try:
        while not parser.at_end():
            yield parser.unit()
    except TokenTooLong as error:
        yield error


class _Known(dict[str, Word]):
    """Words that came before, each with the blanks before it."""

    def __missing__(self, raw: str) -> Word:
        """Raises BadDollar, and _Unexpected where it is not surely a word."""
        bare = raw.lstrip(" \t")
        if len(bare) > LONGEST_TOKEN // 4 or bare in ("[[", "]]"):
            raise _Unexpected
        word = make_word(bare)
        if bare[0] not in "'\"":  # titles and ids seldom come twice
            self[raw] = word
        return word


class _Parser:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._text = source.text
        self._plain = _quick_blocks(source.text) if len(source.text) > _LARGE else None
        self._end = 0  # of the current token
        self._start = 0
        self._kind = "\n"  # "word", "eof", "bad", an operator or a reserved word
        self._open: list[tuple[str, int]] = []  # what is not closed yet, and where that began
        self._why = "syntax error"
        self._functions: list[Function] = []
        self._known = _Known()
        self._careful = 0  # before this offset, token by token

    def at_end(self) -> bool:
        return self._end >= len(self._text)

    def unit(self) -> Script:
        self._functions = []
        self._open = []
        self._why = "syntax error"
        statements: list[Statement] = []
        try:
            self._advance()
            while self._kind not in ("\n", "eof"):
                if self._kind == "function":
                    self._function()
                else:
                    statements.append(self._command())
                if self._kind == "\n":
                    break
                self._expect(";")
            return Script(tuple(self._functions), tuple(statements), None)
        except _Unexpected:
            why, start, end = self._why, self._start, max(self._end, self._start + 1)
            if self._kind == "$":
                end = start + 1
            elif self._kind == "eof" and self._open:
                word, start = self._open[-1]
                why, end = f"`{word}' is never closed", start + len(word)
            broken = Broken(ScriptError(why, Span(self._source, start, end)))
            if self._kind != "\n":
                self._end = (self._text.find("\n", self._end) + 1) or len(self._text)
            return Script(tuple(self._functions), (), broken)

    def _advance(self) -> None:
        if self._text.startswith("\n", self._end):  # behind most commands
            self._kind, self._start, self._end = "\n", self._end, self._end + 1
            return
        match = TOKEN.match(self._text, self._end)
        assert match is not None
        group = match.lastgroup
        if group is None:
            self._start = self._end = len(self._text)
            self._kind = "eof"
            return
        self._start, self._end = start, end = match.span(group)
        if end - start > LONGEST_TOKEN // 4:
            self._check_length(start, end)
        if group == "word":
            raw = self._text[start:end]
            self._kind = raw if raw in RESERVED else "word"
            if (
                end >= len(self._text)
                or self._text[end] in "\"'"
                or self._text.startswith('$"', end)
            ):
                self._unterminated()
        elif group == "end":
            self._kind = "\n"
        elif group == "operator":
            self._kind = self._text[start:end]
        elif group == "open":
            self._unterminated()
        else:
            self._kind = "bad"
            self._why = "a `$' that names no variable must be quoted"

    def _unterminated(self) -> None:
        # GRUB asks for line after line, finds none, and reports "out of memory".
        self._kind, self._end = "bad", len(self._text)
        self._why = "a quote or a backslash at the end of a line is never closed"

    def _check_length(self, start: int, end: int) -> None:
        if len(self._text[start:end].encode("utf-8", "surrogateescape")) > LONGEST_TOKEN:
            raise TokenTooLong(
                "GRUB stops here: an argument is longer than 8191 bytes",
                Span(self._source, start, start + 40),
            )

    def _expect(self, kind: str) -> None:
        if self._kind != kind:
            raise _Unexpected
        self._advance()

    def _newlines(self) -> None:
        while self._kind == "\n":
            self._advance()

    def _word(self) -> Word:
        raw = self._text[self._start : self._end]
        known = self._known.get(raw)
        if known:
            return known
        try:
            word = self._known[raw] = make_word(raw)
            return word
        except BadDollar as bad:
            self._kind = "$"
            self._start += bad.offset
            self._why = "a `$' that names no variable must be written `\\$'"
            raise _Unexpected from None

    def _arguments(self) -> Words:
        words: list[Word] = []
        written: list[str] = []
        start = end = self._start
        while self._kind == "word" or (self._kind in RESERVED and self._kind not in ("[[", "]]")):
            words.append(self._word())
            written.append(self._text[end : self._end])
            self._further_words(words, written)
            end = self._end
            self._advance()
        return Words(tuple(words), tuple(written), self._source, start, end)

    def _further_words(self, words: list[Word], written: list[str]) -> None:
        """All words up to the end of the line at once, where that is surely what they are, as it mostly is."""
        start = self._end
        if start < self._careful:
            return
        newline = self._text.find("\n", start, start + 2000)
        found = FURTHER_WORD.findall(self._text, start, newline) if newline >= 0 else []
        text = "".join(found)
        end = start + len(text)
        self._careful = newline  # unless all goes well
        if not self._text.startswith(text, start) or self._text[end] not in " \t\n;":
            return
        try:
            words += list(map(self._known.__getitem__, found))
        except (BadDollar, _Unexpected):
            return
        written += found
        self._end, self._careful = end, 0

    def _name(self) -> str:
        name = self._text[self._start : self._end]
        if self._kind != "word" or not re.fullmatch(NAME, name):
            raise _Unexpected
        self._advance()
        return name

    def _command(self) -> Statement:
        kind = self._kind
        if kind == "word":
            return self._simple()
        if kind not in ("if", "for", "while", "until"):
            raise _Unexpected
        self._nest()
        self._advance()
        statement: Statement
        if kind == "if":
            statement = self._if()
            self._expect("fi")
        elif kind == "for":
            statement = self._for()
        else:
            condition = self._commands("do")
            self._expect("do")
            statement = Loop(kind == "until", condition, self._commands("done"))
            self._expect("done")
        self._open.pop()
        return statement

    def _nest(self) -> None:
        self._open.append((self._text[self._start : self._end], self._start))
        if len(self._open) > _DEEPEST:
            self._why = f"more than {_DEEPEST} compounds in one another"
            raise _Unexpected

    def _simple(self) -> Command:
        words = self._arguments()
        block = self._block() if self._kind == "{" else None
        return Command(words, block)

    def _block(self) -> Block:
        start = self._end
        end = self._plain.end(start) if self._plain else -1
        if end >= 0:
            self._end = end + 1
        else:
            self._nest()
            self._advance()
            self._commands("}", delimited=False)
            self._open.pop()
        block = Block(start, self._end - 1)
        self._advance()
        return block

    def _commands(self, *closers: str, delimited: bool = True) -> tuple[Statement, ...]:
        """Commands up to one of these tokens, which is then the current one."""
        self._newlines()
        commands = [self._command()]
        while self._kind in (";", "\n"):
            self._advance()
            self._newlines()
            if self._kind in closers:
                return tuple(commands)
            commands.append(self._command())
        if delimited or self._kind not in closers:
            raise _Unexpected
        return tuple(commands)

    def _if(self) -> If:
        branches = []
        while True:
            condition = self._commands("then")
            self._expect("then")
            branches.append((condition, self._commands("fi", "else", "elif")))
            if self._kind != "elif":
                break
            self._advance()
        orelse: tuple[Statement, ...] | If | None = None
        if self._kind == "else":
            self._advance()
            orelse = self._commands("fi")
        condition, then = branches.pop()
        clause = If(condition, then, orelse)
        for condition, then in reversed(branches):
            clause = If(condition, then, clause)
        return clause

    def _for(self) -> For:
        name = self._name()
        self._expect("in")
        words = self._arguments()
        if self._kind not in (";", "\n"):
            raise _Unexpected
        self._advance()
        self._newlines()
        self._expect("do")
        body = self._commands("done")
        self._expect("done")
        return For(name, words, body)

    def _function(self) -> None:
        self._nest()
        self._advance()
        name = self._name()
        self._newlines()
        self._expect("{")
        body = self._commands("}")
        self._functions.append(Function(name, body))
        self._open.pop()
        self._advance()


def _quick_blocks(text: str) -> QuickBlocks:
    from kexec_hook.grub.script.plain import QuickBlocks  # most files are small

    return QuickBlocks(text, _whole_unit)


def _whole_unit(text: str) -> tuple[Statement, ...]:
    """The commands of a text that is one unit of nothing else; none where it is not."""
    parser = _Parser(Source("", text, ()))
    unit = parser.unit()
    return unit.statements if parser.at_end() and not unit.functions else ()
