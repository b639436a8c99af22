"""Does a block surely parse?  A look at its lines, which are much the same in each of thousands of entries.

Whatever is not known here to parse, the parser reads as usual.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable

from kexec_hook.grub.script.lexer import LONGEST_TOKEN, RESERVED
from kexec_hook.grub.script.syntax import If, Statement

_MANY = 20_000  # lines that are remembered
_BODIES = 1_000
_CHARS = r"""[^{}|&$;<>'"\\\[\]#]*"""
_SAFE = rf"{_CHARS}(?:'[^']*'{_CHARS})*"
# What lines there are: c whole commands, i if..then, l elif..then, e else, f fi.
_INNER = r"(?:c|ic+(?:lc+)*(?:ec+)?f)+"
_BLOCK = rf"(?:c|i{_INNER}(?:l{_INNER})*(?:e{_INNER})?f)+"


class QuickBlocks:
    """The blocks of one text; `parse` gives the commands that a text is one whole unit of, or none."""

    def __init__(self, text: str, parse: Callable[[str], tuple[Statement, ...]]) -> None:
        self._text = text
        self._parse = parse
        self._kinds: dict[str, str] = {}
        self._parsing: set[str] = set()  # whole bodies that surely parse
        self._braces = {
            "\n}": -1,
            "\n\t}": -1,
        }  # where the next one is, so that none is looked for twice

    def end(self, start: int) -> int:
        """Where the brace stands that ends a block beginning here; -1 where a closer look is needed."""
        newline = self._text.find("\n", start)
        if newline < 0 or self._text[start:newline].strip(" \t"):
            return -1
        end = min(self._next("\n}", newline), self._next("\n\t}", newline))
        body = self._text[newline + 1 : end]
        if body not in self._parsing:
            lines = body.split("\n")
            try:
                shape = "".join([self._kinds[line] for line in lines])
            except KeyError:
                shape = "".join(map(self._kind, lines))
            if not re.fullmatch(_BLOCK, shape):
                return -1
            if len(self._parsing) < _BODIES:
                self._parsing.add(body)
        return self._text.find("}", end)

    def _next(self, brace: str, start: int) -> int:
        at = self._braces[brace]
        if at < start:
            at = self._text.find(brace, start)
            self._braces[brace] = at = at if at >= 0 else len(self._text)
        return at

    def _kind(self, line: str) -> str:
        kind = self._kinds.get(line)
        if kind is None:
            kind = self._kind_of(line) if len(line) <= LONGEST_TOKEN // 4 else "?"
            if len(self._kinds) < _MANY:
                self._kinds[line] = kind
        return kind

    def _kind_of(self, line: str) -> str:
        line = line.strip(" \t")
        first = (line.split() or [line])[0]
        if first[:1] in ("", "#"):
            return ""
        if first not in RESERVED and re.fullmatch(_SAFE, line):
            return "c"
        if line in ("else", "fi"):
            return line[0]
        if line.endswith("\\"):
            return "?"
        if self._parse(line + "\n"):
            return "c"
        if first == "if" and _opens(self._parse(line + "\na\nfi\n")):
            return "i"
        if first == "elif" and _opens(self._parse(line[2:] + "\na\nfi\n")):
            return "l"
        return "?"


def _opens(commands: tuple[Statement, ...]) -> bool:
    """Is this one `if` without `else`, and nothing behind its `then` but what was put there?"""
    return (
        len(commands) == 1
        and isinstance(commands[0], If)
        and len(commands[0].then) == 1
        and not commands[0].orelse
    )
