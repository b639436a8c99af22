"""What the machines have shown: each test's last result with its date and versions, and docs/proof.md made of them.

python3 -m tests.vm.proof docs/proof.md
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.kills.proof import put, section_of
from tests.vm.image import CACHE

# A line for each result, the newest last.
RESULTS = CACHE / "results.jsonl"
ROOT = Path(__file__).resolve().parents[2]

HEAD = """\
# What was seen in real machines

Written by `make e2e-all` from the runs on one machine (the last one of each test): virtual machines with real
firmware, GRUBs, kernels and systemds, emulated by QEMU without KVM. Other tests, with roots in place of machines, are
not listed here. Times are UTC, and say when the test ended; the first test of a state also makes it. The last column is
the commit that was tried.
"""

TABLE = "| test | result | seconds | ended | kexec-hook |\n|---|---|---|---|---|"


def remember(test: str, outcome: str, seconds: float, versions: dict[str, str]) -> None:
    """One write, so that two runs at once do not mix their lines."""
    result = {
        "test": test,
        "outcome": outcome,
        "seconds": round(seconds),
        "ended": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "versions": versions,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


def checkout() -> str:
    """The commit that is tested, and whether there is more than that."""
    return _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10")


def qemu() -> str:
    return _first_line("qemu-system-x86_64", "--version").replace("QEMU emulator version ", "")


def _first_line(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return next(iter(done.stdout.splitlines()), "unknown")


def summary() -> str:
    """In Markdown: a table for each module and what it ran with, a line for each test."""
    latest: dict[str, dict[str, Any]] = {}
    for line in RESULTS.read_text().splitlines():
        result = json.loads(line)
        latest[result["test"]] = result
    sections: dict[str, list[str]] = {}
    for test, result in sorted(latest.items()):
        module, _, name = test.partition("::")
        versions = dict(result["versions"])
        commit = versions.pop("kexec-hook")
        title = f"## {module}\n\n{_versions(versions)}\n\n{TABLE}"
        cells = (_words(name), *(result[key] for key in ("outcome", "seconds", "ended")), commit)
        sections.setdefault(title, []).append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([HEAD, *("\n".join([title, *rows, ""]) for title, rows in sections.items())])


def _versions(versions: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {version}" for name, version in versions.items() if version)


def _words(name: str) -> str:
    function, bracket, parameters = name.removeprefix("test_").partition("[")
    return function.replace("_", " ") + (
        f": {parameters.removesuffix(']')}" if bracket else ""
    ).replace("|", "\\|")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    kills = section_of(path.read_text()) if path.exists() else ""
    path.write_text(put(summary(), kills) if kills else summary())
