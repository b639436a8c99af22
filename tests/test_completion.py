"""Completions, typed into the real shells: what they run is the command line that they completed."""

from __future__ import annotations

import os
import pty
import runpy
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = ROOT / "tests/roots/debian-12/tree"

# Prints what it was called with; only what the completions ask for is answered by the real one.
_PROGRAM = r"""#!/bin/sh
case " $* " in *" candidates "*) @PYTHON@ -m kexec_hook "$@"; echo > ~/asked; exit ;; esac
printf '[%s]' "$@"
echo =ran
"""
_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_LOAD = {
    "bash": "source {share}/bash-completion/completions/kexec-hook; PS1='ready> '",
    "zsh": "fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -D -u; PS1='ready> '",
    "fish": "source {share}/fish/vendor_completions.d/kexec-hook.fish; function fish_prompt; echo 'ready> '; end",
}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("completions")
    runpy.run_path(str(ROOT / "man/make.py"))["write"](prefix)
    program = prefix / "bin/kexec-hook"
    program.parent.mkdir()
    program.write_text(_PROGRAM.replace("@PYTHON@", sys.executable))
    program.chmod(0o755)
    (prefix / "home/of the tests").mkdir(parents=True)
    return prefix / "share"


class Shell:
    """An interactive one, on a terminal of its own."""

    def __init__(self, name: str, share: Path) -> None:
        self.master, slave = pty.openpty()
        self.home = home = share.parent / "home"
        env = {
            "PATH": f"{share.parent}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *_START[name]],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=home,
        )
        os.close(slave)
        self.type(_LOAD[name].format(share=share) + "; echo load''ed\r")
        self.read_until("loaded\r\n")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, mark: str, seconds: float = 20) -> str:
        text, end = "", time.monotonic() + seconds
        while mark not in text:
            left = end - time.monotonic()
            assert left > 0, f"no {mark!r} in {text!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    text += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    pytest.fail(f"it ended: {text}")
        return text

    def completed(self, typed: str, asks: bool) -> str:
        """The arguments, in brackets, that a program is run with after `typed`, a tab and the return key."""
        asked = self.home / "asked"
        asked.unlink(missing_ok=True)
        self.type(typed + "\t")
        while asks and not asked.exists():
            time.sleep(0.05)
        time.sleep(0.3)
        self.type("\r")
        line = self.read_until("=ran\r\n").replace("\r", "").split("=ran\n")[0].splitlines()[-1]
        return line[line.index("[") :]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture(scope="module", params=sorted(_START))
def shell(request: pytest.FixtureRequest, share: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    found = Shell(request.param, share)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("stag", "[stage]"),
        ("expl", "[explain]"),
        ("--root / unst", "[--root][/][unstage]"),
        ("--verb", "[--verbose]"),
        ("stage --dry", "[stage][--dry-run]"),
        ("stage -v --runn", "[stage][-v][--running]"),
        ("list --no-l", "[list][--no-legend]"),
        ("--chec", "[--check]"),
        ("hooks inst", "[hooks][install]"),
        ("help unst", "[help][unstage]"),
        ("grub-eval --flavour rhb", "[grub-eval][--flavour][rhboot]"),
        (f"--root {DEBIAN} explain --entry 1\\>5", f"[--root][{DEBIAN}][explain][--entry][1>5]"),
        (f"--root {DEBIAN.parent}/tr", f"[--root][{DEBIAN}]"),
    ],
)
def test_word_is_completed(shell: Shell, typed: str, arguments: str) -> None:
    asks = "--entry" in typed or "help" in typed
    assert shell.completed(f"kexec-hook {typed}", asks).replace("tree/]", "tree]") == arguments
