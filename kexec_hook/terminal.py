"""Text on a terminal: harmless whatever it holds, and coloured where that is wanted."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def safe(text: str) -> str:
    r"""Text from a disk, made harmless for a terminal: control characters become \xNN."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class Style:
    """Colour, on a terminal and unless NO_COLOR is set (no-color.org)."""

    def __init__(self, stream: Any = None) -> None:
        stream = stream or sys.stdout
        self._on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

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
