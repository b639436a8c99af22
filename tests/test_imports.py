"""What a dry run on a stock Debian loads: each module costs every run of apt half a millisecond."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "tests/roots/debian-12-microcode/tree"

# What few machines need (a btrfs, partitions that are not mounted, snippets, UEFI) is loaded where it is needed.
MAY_LOAD = {
    "": "cli errors tuples",
    "commands": "options stage",
    "decision": "decide planning",
    "disks": "answers drives mounts root search volumes",
    "grub": "disks environment errors files flavours fuel grubenv machine menu numbers values wildcard words",
    "grub.commands": "boot conditions control entries guesses inert probes refused registry search variables",
    "grub.script": "lexer parser source syntax",
    "kernel": "cmdline images initrd plan",
    "plugins": "api asking hookspecs",
    "plugins.builtin": "bootcode checks choice files fixes grub jumps proxmox sight start tpm unset",
    "report": "byhand explain reasons terminal",
    "settings": "conf shellvars",
    "state": "",
    "system": "distribution file host process reach sysroot",
}
NEVER = {
    *("json", "subprocess", "importlib.metadata", "packaging", "hashlib", "struct", "tempfile"),
    *("dataclasses", "pathlib"),
}
CODE = f"""
import argparse, sys
import pluggy  # 1.0 loads importlib.metadata, and what that needs
argparse.ArgumentParser().add_argument("word")  # Python 3.14's loads dataclasses
theirs = set(sys.modules)
from kexec_hook.cli import main
sys.stdout = sys.stderr
assert main(["--root", {str(TREE)!r}, "stage", "--dry-run"]) == 0
sys.__stdout__.write("\\n".join(set(sys.modules) - theirs))
"""


def test_a_stock_dry_run_loads_no_more_than_it_needs() -> None:
    # -S: an editable install's finder loads modules of its own
    code = f"import sys; sys.path[:] = {sys.path!r}\n{CODE}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True
    )
    loaded = set(done.stdout.split("\n"))
    ours = {name for name in loaded if name.startswith("kexec_hook.")}
    rooms = {f"kexec_hook.{room}".rstrip(".") for room in MAY_LOAD}
    may = {
        f"kexec_hook.{room}.{name}".replace("..", ".")
        for room, names in MAY_LOAD.items()
        for name in names.split()
    }
    assert sorted(ours - may - rooms) == []
    assert sorted(may - ours) == []
    assert sorted(NEVER & loaded) == []
