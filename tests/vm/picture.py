"""A timeline as an SVG picture: a bar for each way to reboot, a piece for each part of it.  Pure: values in, text out.

It has a white panel of its own, hence it is the same on light and dark pages.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = {
    "shutdown": "#7d7f87",
    "firmware": "#c4453c",
    "GRUB": "#b8791f",
    "kexec": "#8a5a9e",
    "kernel": "#2f78a8",
    "userspace": "#3d8a5f",
}
WIDTH, MARGIN, PANEL = 860, 24, 16
BAR, GAP, TOP = 46, 46, 96
TICKS_WANTED = 8
CHARACTER = 6.6  # the width of one at size 12, about
LINE = 18


@dataclass(frozen=True)
class Way:
    """One way to reboot: its parts in their order, and how many seconds each took in each run."""

    name: str
    parts: tuple[str, ...]
    runs: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> tuple[float, ...]:
        """Of each part by itself."""
        return tuple(statistics.median(part) for part in zip(*self.runs))

    @property
    def totals(self) -> tuple[float, ...]:
        return tuple(sum(run) for run in self.runs)


def svg(title: str, ways: Sequence[Way], notes: Sequence[str]) -> str:
    longest = max(sum(way.medians) for way in ways)
    scale = (WIDTH - 2 * MARGIN) / longest
    foot = TOP + len(ways) * (BAR + GAP)
    height = foot + 78 + LINE * len(notes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">',
            f"<title>{escape(title)}</title>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="{PANEL}" fill="#ffffff"'
            ' stroke="#d0d7de"/>',
            _text(MARGIN, 38, title, size=18, weight="bold"),
            *_grid(longest, scale, foot),
            *(
                line
                for number, way in enumerate(ways)
                for line in _bar(way, TOP + number * (BAR + GAP), scale)
            ),
            *_legend(ways, foot + 44),
            *(
                _text(MARGIN, foot + 78 + LINE * number, note, fill="#57606a")
                for number, note in enumerate(notes)
            ),
            "</svg>",
            "",
        ]
    )


def _bar(way: Way, top: float, scale: float) -> list[str]:
    totals = way.totals
    said = f"{statistics.median(totals):.1f} s"
    spread = f" ({min(totals):.1f} to {max(totals):.1f} s in {len(totals)} runs)"
    lines = [_text(MARGIN, top - 10, way.name, size=14), _total(said, spread, top - 10)]
    left = float(MARGIN)
    for part, seconds in zip(way.parts, way.medians):
        width = seconds * scale
        lines.append(
            f'<rect x="{left:.1f}" y="{top}" width="{max(width, 1):.1f}" height="{BAR}" fill="{COLOURS[part]}">'
            f"<title>{escape(part)}: {seconds:.2f} s</title></rect>"
        )
        label = f"{seconds:.1f}"
        if width > len(label) * CHARACTER + 8:
            middle = left + width / 2
            lines.append(
                _text(
                    middle,
                    top + BAR / 2 + 5,
                    label,
                    size=14,
                    weight="bold",
                    fill="#ffffff",
                    at="middle",
                )
            )
        left += width
    return lines


def _total(said: str, spread: str, y: float) -> str:
    bold = f'<tspan font-size="14" font-weight="bold">{said}</tspan>'
    return f'<text x="{WIDTH - MARGIN}" y="{y:g}" text-anchor="end">{bold}{spread}</text>'


def _grid(longest: float, scale: float, foot: float) -> list[str]:
    step = next(
        step
        for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
        if longest / step <= TICKS_WANTED
    )
    lines = []
    for seconds in range(0, int(longest) + 1, step):
        x = MARGIN + seconds * scale
        lines.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{foot - 20}" stroke="#d8dee4"/>'
        )
        lines.append(
            _text(x, foot - 4, f"{seconds} s", fill="#57606a", at="middle" if seconds else "start")
        )
    return lines


def _legend(ways: Sequence[Way], y: float) -> list[str]:
    """Each part once, in the order of time."""
    lines = []
    x = float(MARGIN)
    for part in (part for part in COLOURS if any(part in way.parts for way in ways)):
        lines.append(
            f'<rect x="{x:.1f}" y="{y - 11}" width="12" height="12" fill="{COLOURS[part]}"/>'
        )
        lines.append(_text(x + 18, y, part))
        x += 18 + len(part) * CHARACTER + 24
    return lines


def _text(
    x: float, y: float, said: str, *, size: int = 12, weight: str = "", fill: str = "", at: str = ""
) -> str:  # fmt: skip
    given = {
        "font-size": "" if size == 12 else str(size),
        "font-weight": weight,
        "fill": fill,
        "text-anchor": at,
    }
    attributes = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    return f'<text x="{x:.1f}" y="{y:g}"{attributes}>{escape(said)}</text>'
