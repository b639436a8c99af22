"""Text on a terminal: harmless whatever it holds, and coloured where that is wanted."""

from __future__ import annotations

import os
import sys
from typing import Any


def safe(text: str) -> str:
    r"""Text from a disk, made harmless for a terminal: what is not printable becomes \xNN or \uNNNN."""
    return text if text.isprintable() else "".join(map(_safe, text))


def _safe(character: str) -> str:
    """Control characters, what turns the direction of writing, and bytes that are no UTF-8 (surrogates of theirs)."""
    if character.isprintable():
        return character
    code = ord(character)
    code -= 0xDC00 if 0xDC80 <= code <= 0xDCFF else 0
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Style:
    """Colour, on a terminal and unless NO_COLOR is set (no-color.org)."""

    def __init__(self, stream: Any = None) -> None:
        stream = stream or sys.stdout
        self._on = (
            stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def good(self, text: str) -> str:
        return self._paint(text, "32")

    def bad(self, text: str) -> str:
        return self._paint(text, "31")

    def key(self, text: str) -> str:
        return self._paint(text, "1")

    def dim(self, text: str) -> str:
        return self._paint(text, "2")
