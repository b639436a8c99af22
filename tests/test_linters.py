"""ruff, its formatter and mypy have nothing to say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PYTHON = (
    *("kexec_hook", "tests", "tests/roots/make-roots", "bench", "docs", "man", "hooks", "setup.py"),
)
SHELL = (
    *(
        ".ci/run",
        "hooks/run",
        "hooks/boot",
        "hooks/gap",
        "hooks/watchdog",
        "hooks/apt/zzz-kexec-hook",
        "hooks/dnf/99-kexec-hook.install",
        "packaging/rpm/coldreboot",
    ),
    *(
        f"packaging/debian/{name}"
        for name in ("preinst", "postinst", "postrm", "prerm", "tests/smoke", "tests/upgrades")
    ),
)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--quiet", *PYTHON),
        ("ruff", "format", "--check", "--diff", "--quiet", *PYTHON),
        ("mypy", "--strict", "--no-error-summary", "--hide-error-context"),
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_linter_is_silent(command: tuple[str, ...]) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("script", SHELL)
def test_shell_script_parses(script: str) -> None:
    shell = Path((ROOT / script).read_text().splitlines()[0].split()[-1].lstrip("#!")).name
    assert shell in ("sh", "bash")
    done = subprocess.run([shell, "-n", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
