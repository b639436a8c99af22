"""ruff, its formatter and mypy have nothing to say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--quiet", "kexec_hook", "tests", "tests/roots/make-roots", "bench"),
        ("ruff", "format", "--check", "--diff", "--quiet", "kexec_hook", "tests", "tests/roots/make-roots", "bench"),
        ("mypy", "--strict", "--no-error-summary", "--hide-error-context"),
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_linter_is_silent(command: tuple[str, ...]) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_shell_scripts_parse() -> None:
    for script in (".ci/run",):
        done = subprocess.run(["bash", "-n", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert (done.stderr, done.returncode) == ("", 0)
