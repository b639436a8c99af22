#!/usr/bin/env python3
"""What `make demo` shows: what would be staged, an upgrade, a one-time `grub-reboot`, a damaged initrd.

A directory stands for the machine: a copy of a Debian 12 from tests/roots, with programs of its own in the place of
kexec and systemctl.  Nothing is loaded and nothing of this machine is changed.  `demo.py --svg FILE` records a run as
a picture.
"""

from __future__ import annotations

import html
import json
import os
import pty
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kexec_hook.report.terminal import Style  # noqa: E402
from tests.machine import ROOTS, Box  # noqa: E402

COLUMNS = 100
TREE = "debian-12-microcode"
NEW, OLD = "6.1.0-39-amd64", "6.1.0-37-amd64"


def play() -> None:
    os.environ["COLUMNS"] = str(COLUMNS)
    with tempfile.TemporaryDirectory() as directory:
        box = Box(Path(directory), TREE)

        def shell(line: str, *, why: str = "") -> None:
            comment = f"   # {why}" if why else ""
            print(Style().key(f"$ {line}") + Style().dim(comment), flush=True)

        def run(line: str, why: str = "") -> None:
            shell(line, why=why)
            box.run(*line.split()[1:])
            print(flush=True)

        run("kexec-hook list", f"GRUB's menu; this machine runs {OLD}")
        run("kexec-hook stage --dry-run", "what would be staged, and why")
        shell("apt upgrade", why="ends with a line from kexec-hook")
        box.run("run", "--source=apt")
        print(flush=True)

        shell("grub-reboot '1>4'", why="an even older kernel, once")
        box.grubenv("next_entry=1>4")
        run("kexec-hook status", "it follows, as GRUB does")
        box.grubenv("")

        initrd = box / f"boot/initrd.img-{NEW}"
        whole = initrd.read_bytes()
        shell(f"truncate -s -100 /boot/initrd.img-{NEW}", why="a full disk, say")
        initrd.write_bytes(whole[:-100])
        run("kexec-hook status --check", "nothing is left to luck")
        run("kexec-hook help initrd-damaged")
        shell("update-initramfs -u")
        initrd.write_bytes(whole)

        shell("reboot", why="as the machine goes down, kexec-hook decides once more")
        box.rebooting()
        box.run("finalize")
        print(flush=True)
        shell("diff what-a-real-GRUB-booted what-kexec-was-given")
        print(Style().good(same(box)))


def same(box: Box) -> str:
    """That a stand-in for kexec was given what GRUB boots on this tree: `make oracle` puts the same to a real one."""
    expected = json.loads((ROOTS / TREE / "expected.json").read_text())
    words = [word for word in box.calls[-1] if word.startswith(("--command-line=", "/"))]
    given = {"kernel": words[0][len(str(box.root)) :], "cmdline": words[1].partition("=")[2]}
    initrds = [(box / path.lstrip("/")).read_bytes() for path in expected["initrds"]]
    joined = b"".join(data + bytes(-len(data) % 4) for data in initrds[:-1]) + initrds[-1]
    if (box.lib / "initrd").read_bytes() != joined or given != {
        name: expected[name] for name in given
    }:
        raise SystemExit(f"they differ: {expected} {given}")
    length = len(expected["cmdline"])
    return (
        f"the same kernel, the same {len(initrds)} initrds, the same {length} bytes of command line"
    )


# The picture.

_STYLES = {"1": "key", "2": "dim", "31": "bad", "32": "good"}
_CSS = """
svg { background: #fff; color-scheme: light dark } rect { fill: #f6f8fa; stroke: #d0d7de }
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; fill: #1f2328 }
.key { font-weight: bold } .dim { fill: #59636e } .bad { fill: #d1242f } .good { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
 svg { background: #0d1117 } rect { fill: #151b23; stroke: #3d444d } text { fill: #f0f6fc }
 .dim { fill: #9198a1 } .bad { fill: #ff7b72 } .good { fill: #3fb950 }
}
@keyframes show { from { opacity: 0 } to { opacity: 1 } }
@media (prefers-reduced-motion: no-preference) { text { animation: show .1s backwards } }
"""


def record() -> str:
    """What a run prints on a terminal."""
    output = b""

    def read(fd: int) -> bytes:
        nonlocal output
        data = os.read(fd, 65536)
        output += data
        return data

    os.environ.update(TERM="xterm", NO_COLOR="", PYTHONUTF8="1")
    pty.spawn([sys.executable, __file__], read)
    return output.decode().replace("\r\n", "\n").rstrip("\n")


def folded(line: str) -> Iterator[str]:
    """As a terminal of so many columns has it."""
    plain = re.sub(r"\x1b\[\d+m", "", line)
    if len(plain) <= COLUMNS:
        yield line
        return
    for at in range(0, len(plain), COLUMNS):
        yield plain[at : at + COLUMNS]


def picture(text: str) -> str:
    lines = [part for line in text.split("\n") for part in folded(line)]
    height = 18 * len(lines) + 28
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" role="img"'
        f' viewBox="0 0 820 {height}" width="820" height="{height}"'
        ' aria-label="A terminal: kexec-hook on a machine whose kernel was upgraded">',
        f"<style>{_CSS}</style>",
        f'<rect x=".5" y=".5" width="819" height="{height - 1}" rx="6"/>',
    ]
    second = 0.0
    for number, line in enumerate(lines):
        second += 1.2 if line.startswith(("$", "\x1b[1m$")) else 0.05
        spans = re.sub(r"\x1b\[(\d+)m(.*?)\x1b\[0m", r"\0\1\0\2\0", line).split("\0")
        body = ""
        for at in range(0, len(spans), 3):
            body += html.escape(spans[at], quote=False)
            if at + 2 < len(spans):
                style, part = _STYLES[spans[at + 1]], html.escape(spans[at + 2], quote=False)
                body += f'<tspan class="{style}">{part}</tspan>'
        if body:
            delay = f"animation-delay:{second:.2f}s"
            out.append(f'<text x="14" y="{18 * number + 28}" style="{delay}">{body}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--svg"]:
        Path(sys.argv[2]).write_text(picture(record()), encoding="utf-8")
    else:
        play()
