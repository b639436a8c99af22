"""`make release` in clones: tag, changelogs, archives and checksums; and twice the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kexec_hook import __version__
from tests.packages.chroot import ROOT

pytestmark = pytest.mark.packages

WHO = {"NAME": "Release Test", "EMAIL": "test@localhost"}
ENV = {
    **os.environ,
    **{
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in WHO.items()
    },
}


def run(*argv: object, cwd: Path, umask: int = 0o022) -> str:
    ran = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd, env=ENV, umask=umask, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
    return ran.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are that `make release` installs."""
    directory = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    argv = [str(directory / "bin/pip"), "install", "-q", "build", "twine", "check-wheel-contents"]
    got = subprocess.run(argv, capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"pip cannot get build, twine or check-wheel-contents: {got.stderr.strip()}")
    return directory / "bin"


def released(directory: Path, commit: str, tools: Path, umask: int) -> Path:
    """A clone of what was committed here, with its release made."""
    run("git", "clone", "-q", "--no-checkout", ROOT, directory, cwd=ROOT, umask=umask)
    run("git", "checkout", "-q", "-B", "release", commit, cwd=directory, umask=umask)
    said = run(
        tools / "python",
        "packaging/release.py",
        __version__,
        "2026-12-01",
        cwd=directory,
        umask=umask,
    )
    assert said.splitlines()[-1].endswith("Nothing has been pushed.")
    assert "placeholders; not for publication" in said
    return directory


def test_release_is_tagged_and_checked_and_the_same_when_it_is_made_again(
    tools: Path, tmp_path: Path
) -> None:
    # Once: somebody may be working here.
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    first = released(tmp_path / "first", commit, tools, 0o022)
    assert run("git", "tag", "--points-at", "HEAD", cwd=first) == f"v{__version__}\n"
    assert run("git", "status", "--porcelain", cwd=first) == ""
    assert __version__ not in run("git", "ls-remote", "--tags", "origin", cwd=first)
    names = {path.name for path in (first / "dist").iterdir()}
    wheel, sdist = f"kexec_hook-{__version__}-py3-none-any.whl", f"kexec_hook-{__version__}.tar.gz"
    assert names == {wheel, sdist, f"kexec-hook-{__version__}.tar.gz", "SHA256SUMS"}
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=first / "dist")
    assert "WARNING" not in run(
        tools / "twine", "check", "--strict", wheel, sdist, cwd=first / "dist"
    )
    assert run(tools / "check-wheel-contents", wheel, cwd=first / "dist").endswith(": OK\n")
    second = released(tmp_path / "elsewhere/second", commit, tools, 0o002)
    sums = [(tree / "dist/SHA256SUMS").read_text() for tree in (first, second)]
    assert sums[0] == sums[1]
