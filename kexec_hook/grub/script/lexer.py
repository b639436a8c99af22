r"""How GRUB cuts script text into tokens and words (grub-core/script/yylex.l).

    word     = { char | escape | '...' | "..." | $"..." | variable }
    char     = any but blank, tab, newline and { } | & $ ; < > ' " \
    escape   = "\" any character, newline included
    variable = "$" ( name | digits | "?" | "#" | "*" | "@" ), or the same in braces
    comment  = "#" at the start of a word, to the end of the line

GRUB scans line by line and joins a line to the next where a quoted string or a
backslash runs over its end.  Scanning the whole text gives the same tokens.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.grub.script.syntax import Lit, Message, Part, Var, Word

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = rf"\$(?:{NAME}|[0-9]+|[?#*@]|\{{(?:{NAME}|[0-9]+|[?#*@])\}})"
_CHARS = r"""[^{}|&$;<> \t\n'"\\]"""
_DOUBLE = r'"[^"\\]*(?:\\[\s\S][^"\\]*)*"'
_WORD = rf"(?:{_CHARS}+|'[^']*'|\$?{_DOUBLE}|\\[\s\S]|{_VARIABLE})+"

TOKEN = re.compile(
    rf"""[ \t]*(?:
      (?P<end>\#[^\n]*\n|\n)
    | (?P<word>{_WORD})
    | (?P<operator>\|\||&&|;;|[|&;<>{{}}])
    | (?P<open>\$?"|')
    | (?P<bad>[\s\S])
    )?""",
    re.VERBOSE,
)

FURTHER_WORD = re.compile(rf"[ \t]+(?!\#){_WORD}")

RESERVED = frozenset([
    "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then", "until",
    "while", "[[", "]]",
])  # fmt: skip

# %option array: flex stops GRUB for good at a token that does not fit YYLMAX bytes.
LONGEST_TOKEN = 8191

_PIECE = re.compile(
    rf"""(?P<plain>[^'"$\\]+)
    | (?P<escape>\\[\s\S]?)
    | '(?P<single>[^']*)'
    | (?P<double>"(?:[^"\\]|\\[\s\S])*")
    | (?P<message>\$"(?:[^"\\]|\\[\s\S])*")
    | (?P<variable>{_VARIABLE})
    """,
    re.VERBOSE,
)
_IN_DOUBLE = rf"""(?P<text>[^$\\]+)|(?P<escape>\\[\s\S])|(?P<variable>{_VARIABLE})|(?P<bad>\$)"""
_IN_MESSAGE = r"""\\([\s\S])"""
_SIMPLE = re.compile(r"[^$*?\\'\"]+")


class BadDollar(Exception):
    """A `$` inside double quotes that names no variable; carries its offset in the word."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def make_word(raw: str) -> Word:
    """The word of this text.  Raises BadDollar."""
    if raw[0] == "'" and raw.index("'", 1) == len(raw) - 1:
        inside = raw[1:-1]
        return Word((Lit(inside, quoted=True),), inside)
    if _SIMPLE.fullmatch(raw):
        return Word((Lit(raw),), raw)
    parts: list[Part] = []
    text = ""  # not quoted
    for piece in _PIECE.finditer(raw):
        kind = piece.lastgroup
        if kind == "plain" or kind == "escape":
            text += "" if piece[0] == "\\\n" else piece[0]
            continue
        if text:
            # The rule for `$"` gives its type to the text before it as well.
            parts.append(Message(text) if kind == "message" else Lit(text))
            text = ""
        if kind == "single":
            parts.append(Lit(piece["single"], quoted=True))
        elif kind == "double":
            parts.extend(_double(piece["double"][1:-1], piece.start() + 1))
        elif kind == "message":
            parts.append(Message(re.sub(_IN_MESSAGE, _message_escape, piece["message"][2:-1])))
        else:
            parts.append(Var(piece["variable"].strip("${}")))
    if text:
        parts.append(Lit(text))
    return Word(tuple(parts), _constant(parts))


def _double(text: str, offset: int) -> list[Part]:
    r"""Inside "...": only \$ \\ \" and \newline are escapes; a lone `$` is an error."""
    parts: list[Part] = []
    literal = ""
    for piece in re.finditer(_IN_DOUBLE, text):
        kind = piece.lastgroup
        if kind == "text":
            literal += piece[0]
        elif kind == "escape":
            literal += _escaped(piece[0])
        elif kind == "variable":
            parts += [Lit(literal, quoted=True), Var(piece[0].strip("${}"), quoted=True)]
            literal = ""
        else:
            raise BadDollar(offset + piece.start())
    parts.append(Lit(literal, quoted=True))
    return parts


def _escaped(pair: str) -> str:
    if pair == "\\\n":
        return ""
    return pair[1] if pair[1] in '$\\"' else pair


def _message_escape(match: re.Match[str]) -> str:
    # The backslash pair stays for the second pass, which expands variables (execute.c:parse_string).
    return {"\\": "\\\\", '"': '"', "\n": ""}.get(match[1], match[0])


def _constant(parts: list[Part]) -> str | None:
    value = ""
    for part in parts:
        if not isinstance(part, Lit) or (not part.quoted and any(c in part.text for c in "*?\\")):
            return None
        value += part.text
    return value if parts else None
