"""Where a piece of script came from: named text, spans in it, and errors that point."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Text as GRUB's line reader delivers it, with the line numbers of the file it was taken from.

    `lines` holds what GRUB's grub_file_getline (grub-core/normal/getline.c) would
    return: no line ends, no carriage returns.  `numbers[i]` is the 1-based line of
    `lines[i]` in the file `name`; lines that GRUB's readers drop are not in `lines`.
    """

    name: str
    lines: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)

    def line_number(self, index: int) -> int:
        """The file's line number of `lines[index]`; 0 where the text is generated (a body's setparams line)."""
        if not self.numbers:
            return 0
        return self.numbers[min(index, len(self.numbers) - 1)]

    def span(self, index: int, column: int = 0, width: int = 0) -> Span:
        return Span(self, index, column, width)


@dataclass(frozen=True)
class Span:
    """A place in a Source: one line, the first character and how many are meant (0: the line as a whole)."""

    source: Source
    index: int  # in source.lines
    column: int = 0  # in characters
    width: int = 0

    @property
    def line(self) -> int:
        return self.source.line_number(self.index)

    @property
    def text(self) -> str:
        lines = self.source.lines
        return lines[self.index] if 0 <= self.index < len(lines) else ""

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}"


class ScriptError(Exception):
    """Something in a script that GRUB, or we, could not do; prints with file, line and a caret."""

    def __init__(self, message: str, span: Span | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        return point(self.message, self.span, self.hint)


def point(message: str, span: Span | None, hint: str = "") -> str:
    """`file:line: message (hint)`, then the line with the meant part underlined.

    >>> source = Source("grub.cfg", ("search --fs-uuid 1234",), (41,))
    >>> print(point("no such device", source.span(0, 17, 4)))
    grub.cfg:41: no such device
        search --fs-uuid 1234
                         ^^^^
    """
    said = f"{message}; {hint}" if hint else message
    if span is None:
        return said
    lines = [f"{span}: {said}"]
    text = span.text
    if text.strip():
        column, width = (span.column, span.width) if span.width else (_indent(text), len(text.strip()))
        width = max(1, min(width, len(text) - column))
        lines.append("    " + text.replace("\t", " ").rstrip())
        lines.append("    " + " " * column + "^" * width)
    return "\n".join(lines)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
