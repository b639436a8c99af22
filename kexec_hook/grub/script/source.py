"""Where a piece of script came from: named text, spans in it, and errors that point."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Sequence

from kexec_hook.tuples import NamedTuple


class Source:
    """Named text as GRUB's line reader delivers it: no carriage returns, every line ended by a newline.

    `numbers[i]` is the 1-based number, in the file `name`, of the text's line i; 0
    stands for a generated line (the setparams line before a menu entry's body).
    """

    def __init__(self, name: str, text: str, numbers: Sequence[int]) -> None:
        self.name = name
        self.text = text
        self.numbers = numbers
        self._counted = 0, 0

    def index(self, offset: int) -> int:
        """Which line of the text holds this offset, from 0."""
        # Most questions are about a place behind that of the last one.
        at, lines = self._counted if self._counted[0] <= offset else (0, 0)
        lines += self.text.count("\n", at, offset)
        self._counted = offset, lines
        return lines

    def number(self, offset: int) -> int:
        """The file's line number of the text at this offset."""
        index = self.index(offset)
        return self.numbers[min(index, len(self.numbers) - 1)] if self.numbers else 0

    def line(self, offset: int) -> tuple[str, int]:
        """The line that holds this offset, without its newline, and where it starts."""
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else None], start

    def cut(self, start: int, end: int, prefix: str = "") -> Source:
        """A part of this text as a source of its own, behind a generated first line.

        GRUB's line reader finds an empty line behind the last newline (script/execute.c:
        grub_script_execute_sourcecode_getline), so that a backslash may end the line before it.
        """
        first, last = self.index(start), self.index(end)
        numbers = [0] * prefix.count("\n") + list(self.numbers[first : last + 1])
        return Source(self.name, prefix + self.text[start:end] + "\n", numbers)


def read_source(name: str, data: bytes) -> Source:
    """A configuration file as GRUB reads it: carriage returns vanish, lines that begin with # are dropped.

    lib/getline.c:grub_file_getline drops CR wherever it stands, C strings end at a
    NUL; normal/main.c:read_config_file_getline drops the comment lines, also inside
    a quoted string that spans lines.
    """
    data = data.replace(b"\r", b"")
    if not data.endswith(b"\n") and data:
        data += b"\n"
    data, numbers = _without_comments(data)
    text = data.decode("utf-8", "surrogateescape")
    if "\0" in text:
        text = re.sub("\0.*", "", text)
    return Source(name, text, numbers)


def _without_comments(text: bytes) -> tuple[bytes, list[int]]:
    """The lines that do not begin with #, and their numbers."""
    view = memoryview(text)
    kept: list[memoryview] = []
    numbers: list[int] = []
    start, number = 0, 1
    while start < len(text):
        if text.startswith(b"#", start):
            start = text.find(b"\n", start) + 1
            number += 1
            continue
        end = (text.find(b"\n#", start) + 1) or len(text)
        kept.append(view[start:end])
        following = number + text.count(b"\n", start, end)
        numbers += range(number, following)
        start, number = end, following
    return b"".join(kept), numbers


_LONGEST = 400  # characters of a line that a message shows: one line may be a whole file


class Span(NamedTuple):
    """A place in a Source, as offsets into its text."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.number(self.start)

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}" if self.line else self.source.name


class ScriptError(Exception):
    """Something in a script that GRUB, or we, could not do; prints with file, line and a caret."""

    def __init__(self, message: str, span: Span | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        return point(self.message, self.span, self.hint)


# After these words stand passwords; what a command's name is made of by a variable may be one of them.
_SECRETS = (
    r"(?:^|[\s;{!=])(?:(?:legacy_(?:check_)?)?password(?:_pbkdf2)?|cryptomount)(?=[\s;])"
    r"|(?:^|[;{!])\s*\$\{?\w+\}?(?=\s)"
)


def _masked(line: str, before: str) -> tuple[str, int | None]:
    """The line without passwords, and from which column on something was left out, if so.

    The words may be quoted, and in a line above that a backslash goes on with.
    """
    found = re.search(_SECRETS, line + " ")
    if found:
        return f"{line[: found.end()]} ...", found.end()
    above = ""
    while before.endswith("\\\n"):
        one = before[:-2].rpartition("\n")[2]
        above = one + above
        before = before[: len(before) - 2 - len(one)]
    bare = re.sub("[\\'\"\\\\]", "", above + line)
    return ("...", 0) if re.search(_SECRETS, bare + " ") else (line, None)


def point(message: str, span: Span | None, hint: str = "") -> str:
    """`file:line: message`, then the line with the meant part underlined.

    >>> source = read_source("grub.cfg", b"search --fs-uuid 1234")
    >>> print(point("no such device", Span(source, 17, 21)))
    grub.cfg:1: no such device
        search --fs-uuid 1234
                         ^^^^
    """
    said = f"{message}; {hint}" if hint else message
    if span is None:
        return said
    line, start = span.source.line(span.start)
    said = f"{span}: {said}"
    if not line.strip():
        return said
    line, secret = _masked(line, span.source.text[:start])
    if secret is not None and span.start - start >= secret:
        return f"{said}\n    {line.expandtabs(1)}"
    column = span.start - start
    width = max(1, min(span.end - span.start, len(line) - column))
    if len(line) > _LONGEST:
        first = max(0, column - 40)
        line, column = line[first : first + _LONGEST], column - first
        width = max(1, min(width, len(line) - column))
    return f"{said}\n    {line.expandtabs(1)}\n    {' ' * column}{'^' * width}"
