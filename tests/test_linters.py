"""ruff, its formatter and mypy have nothing to say; each program tells its licence."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PYTHON = (
    *("kexec_hook", "tests", "tests/roots/make-roots", "bench", "docs", "man", "hooks", "setup.py"),
    "packaging",
    "contrib",
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
        "hooks/zypper/kexec-hook",
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


def programs() -> list[str]:
    """What is installed or takes part in a build, and has a place for a comment."""
    tops = ("contrib", "kexec_hook", "hooks", "man", "packaging", "setup.py")
    found = [path for top in tops for path in (ROOT / top, *(ROOT / top).rglob("*"))]
    return sorted(str(path.relative_to(ROOT)) for path in found if is_program(path))


def is_program(path: Path) -> bool:
    if not path.is_file() or "packaging/debian" in str(path) or "__pycache__" in path.parts:
        return False
    return path.suffix == ".py" or path.read_bytes().startswith(b"#!")


@pytest.mark.parametrize("name", programs())
def test_program_tells_its_licence_below_what_it_knows(name: str) -> None:
    """Who looks for the licence finds it in the file itself (licensecheck, REUSE)."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert "# SPDX-License-Identifier: GPL-3.0-or-later" in lines[1:30], "add this line"
