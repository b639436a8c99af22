"""The picture in the README is a real run of `make demo`, line by line."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def plain(text: str) -> list[str]:
    """Lines without what differs from run to run: times, and blanks at their ends."""
    text = re.sub(r"\d+\.\d s|\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_picture_is_what_the_demo_prints() -> None:
    demo = [sys.executable, str(ROOT / "docs/demo.py")]
    done = subprocess.run(demo, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    svg = (ROOT / "docs/demo.svg").read_text(encoding="utf-8")
    lines = re.findall(r"<text [^>]*>(.*?)</text>", svg)
    shown = "\n".join(html.unescape(re.sub("<[^>]+>", "", line)) for line in lines)
    printed = "\n".join(
        line[at : at + 100] for line in done.stdout.splitlines() for at in range(0, len(line), 100)
    )
    assert plain(shown) == plain(printed)
    assert "prefers-color-scheme: dark" in svg
    assert "![" in (ROOT / "README.md").read_text().split("docs/demo.svg")[0]
