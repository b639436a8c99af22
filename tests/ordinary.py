"""Commands as a user who is not root runs them: in a process that has given root up, from code that all may read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machine import PROJECT, Box

NOBODY = 65534

_COMMAND = """
import sys
from kexec_hook.__main__ import run
from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
root, programs, owner, *sys.argv[1:] = sys.argv[1:]
run(Host(root, Programs((programs,)), int(owner), True))
"""


class OrdinaryUser:
    """Somebody who is not root, with a directory that all may enter and a copy of our code in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._code = directory / "code"

    def directory(self) -> Path:
        """A new one, which all may enter."""
        made = Path(tempfile.mkdtemp(dir=self._directory))
        made.chmod(0o755)
        return made

    def python(self, code: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program that may import what is ours and what it needs, the tests included."""
        interpreter = _interpreter()
        assert interpreter is not None
        nobody = NOBODY if is_root() else None
        return subprocess.run(
            [interpreter, "-B", "-c", code, *argv],
            cwd=self._code,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(self._code), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            user=nobody,
            group=nobody,
            extra_groups=[] if is_root() else None,
        )

    def run(
        self, box: Box, *argv: str, owner: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`kexec-hook` on the machine that a box stands for; its files are their maker's, if not another owner's."""
        owner = os.geteuid() if owner is None else owner
        return self.python(_COMMAND, str(box.root), str(box.bin), str(owner), *argv)


def is_root() -> bool:
    return os.geteuid() == 0


def close(*paths: Path) -> None:
    """Let nobody but root read these."""
    for path in paths:
        path.chmod(0)


def reopen(directory: Path) -> None:
    """So that the directory can be removed by its owner."""
    for path in (directory, *directory.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


@contextmanager
def ordinary_user() -> Iterator[OrdinaryUser]:
    """In a directory of its own, since pytest's may be entered by nobody else, nor perhaps the checkout's."""
    place = next(filter(_may_enter, (tempfile.gettempdir(), "/tmp", "/var/tmp")), None)
    if place is None or _interpreter() is None:
        pytest.skip("no directory, or no Python, that every user may enter")
    directory = Path(tempfile.mkdtemp(dir=place))
    try:
        directory.chmod(0o755)
        _copy_code(directory / "code")
        yield OrdinaryUser(directory)
    finally:
        reopen(directory)
        shutil.rmtree(directory)


def _interpreter() -> str | None:
    """A Python that all may run: that of the tests may lie in root's home."""
    ours = os.path.realpath(sys.executable)
    return next(filter(_may_enter, (ours, "/usr/bin/python3")), None)


def _may_enter(name: str) -> bool:
    path = Path(name).resolve()
    return path.exists() and all(above.stat().st_mode & 0o001 for above in (path, *path.parents))


def _copy_code(to: Path) -> None:
    import pluggy

    import packaging

    skipped = shutil.ignore_patterns("__pycache__", "tree", ".*")
    packages = [Path(module.__path__[0]) for module in (packaging, pluggy)]
    for package in (PROJECT / "kexec_hook", *packages):
        shutil.copytree(package, to / package.name, ignore=skipped)
    for path in (to, *to.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
