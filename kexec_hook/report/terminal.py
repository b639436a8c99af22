"""Text on a terminal: harmless whatever it holds, and coloured where that is wanted."""
# SPDX-License-Identifier: GPL-3.0-or-later

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


def columns() -> int:
    """How wide a line may be: $COLUMNS, or what the terminal says; 0, where nobody reads in columns."""
    import shutil

    if not os.environ.get("COLUMNS", "").isdigit() and not sys.stdout.isatty():
        return 0
    return shutil.get_terminal_size().columns


def width(text: str) -> int:
    """In columns; Chinese, Japanese and Korean take two for a character."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(character) else 1 + (east_asian_width(character) in "FW")
        for character in text
    )


def pad(text: str, wide: int) -> str:
    return text + " " * (wide - width(text))


def shorten(text: str, wide: int) -> str:
    """Left out in the middle: titles differ at their ends."""
    if width(text) <= wide:
        return text
    if wide < 6:
        return text[:wide]
    left, right = text, text
    while width(left) > (wide - 3) // 2:
        left = left[:-1]
    while width(right) > wide - 3 - width(left):
        right = right[1:]
    return f"{left}...{right}"


def printed(text: str) -> str:
    """Harmless, and as it looks where the encoding lacks a character of it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return safe(text).encode(encoding, "backslashreplace").decode(encoding)


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


def write_text(name: str, value: str | None) -> str:
    """A write to GRUB's environment."""
    return f"{name} is deleted" if value is None else f'{name}="{value}" is written'
