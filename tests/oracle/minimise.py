"""Which lines of a failing case does the failure need?  Lines are taken away while it still fails."""

from __future__ import annotations

from collections.abc import Callable


def minimise(
    lines: list[bytes], fails: Callable[[list[bytes]], bool], tries: int = 200
) -> list[bytes]:
    """Take away halves, quarters and so on down to single lines, until nothing more can go."""
    size = max(1, len(lines) // 2)
    while tries > 0:
        start = 0
        before = len(lines)
        while start < len(lines) and tries > 0:
            shorter = lines[:start] + lines[start + size :]
            tries -= 1
            if shorter and fails(shorter):
                lines = shorter
            else:
                start += size
        if size == 1 and len(lines) == before:
            break
        size = max(1, size // 2)
    return lines
