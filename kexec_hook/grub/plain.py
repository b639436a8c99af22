"""Does a block surely parse?  A look at its lines, which are much the same in each of thousands of entries.

Whatever is not known here to parse, the parser reads as usual.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kexec_hook.grub.lexer import LONGEST_TOKEN, RESERVED

_MANY = 20_000  # lines that are remembered
# What lines there are: c commands, and ifs that end where they began; i if..then; l elif..then; e else; f fi.
_INNER = r"(?:c|ic+(?:lc+)*(?:ec+)?f)+"
_BLOCK = re.compile(rf"(?:c|i{_INNER}(?:l{_INNER})*(?:e{_INNER})?f)+")


class PlainBlocks:
    """The blocks of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._kinds: dict[str, str] = {}
        self._braces = {"\n}": -1, "\n\t}": -1}  # where the next one is, so that none is looked for twice

    def end(self, start: int) -> int:
        """Where the brace stands that ends a block beginning here; -1 where a closer look is needed."""
        newline = self._text.find("\n", start)
        if newline < 0 or self._text[start:newline].strip(" \t"):
            return -1
        end = min(self._next(brace, newline) for brace in self._braces)
        lines = self._text[newline + 1 : end].split("\n")
        try:
            shape = "".join([self._kinds[line] for line in lines])
        except KeyError:
            shape = "".join(map(self._kind, lines))
        return self._text.find("}", end) if _BLOCK.fullmatch(shape) else -1

    def _next(self, brace: str, start: int) -> int:
        at = self._braces[brace]
        if at < start:
            at = self._text.find(brace, start)
            self._braces[brace] = at = at if at >= 0 else len(self._text)
        return at

    def _kind(self, line: str) -> str:
        kind = self._kinds.get(line)
        if kind is None:
            match = _line().fullmatch(line) if len(line) <= LONGEST_TOKEN // 4 else None
            kind = "?" if match is None else match.lastgroup or ""
            if len(self._kinds) < _MANY:
                self._kinds[line] = kind
        return kind


@lru_cache(maxsize=1)
def _line() -> re.Pattern[str]:
    """One line of a block, the named group being its kind; nothing here may match what the parser refuses."""
    char = r"""[^{}|&$;<> \t\n'"\\\[\]]"""
    variable = r"\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)"
    special = rf"""(?:'[^'\n]*'|"[^"\\$\n]*(?:{variable}[^"\\$\n]*)*"|{variable}|\[(?!\[)|\](?!\]))"""
    word = rf"(?!\#)(?:{char}+(?:{special}{char}*)*|(?:{special}{char}*)+)"
    reserved = "|".join(sorted(word for word in RESERVED if word.isalpha()))
    simple = rf"(?!(?:{reserved})(?:[ \t;]|\Z)){word}(?:[ \t]+{word})*"
    commands = rf"{simple}(?:[ \t]*;[ \t]*{simple})*[ \t]*"
    whole = rf"if[ \t]+{commands};[ \t]*then[ \t]+{commands};[ \t]*(?:else[ \t]+{commands};[ \t]*)?fi[ \t]*"
    return re.compile(
        rf"""[ \t]*(?:(?:\#.*)?
        | (?P<c>(?:{commands}|{whole});?[ \t]*)
        | (?P<i>if[ \t]+{commands};[ \t]*then[ \t]*)
        | (?P<l>elif[ \t]+{commands};[ \t]*then[ \t]*)
        | (?P<e>else[ \t]*)
        | (?P<f>fi[ \t]*;?[ \t]*)
        )""",
        re.ASCII | re.VERBOSE,
    )
