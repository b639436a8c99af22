"""What tests share: the corpus beside the checkout, and an empty tree to fill."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ordinary import OrdinaryUser, ordinary_user
from tests.tree import Tree

# It asserts for the tests of several machines; here, before anything imports it.
pytest.register_assert_rewrite("tests.vm.scenarios")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """A shell starts what ends in `&` with SIGINT ignored, and all its children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """To run again what has failed, where nothing has, is no error."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.getoption("lf", False):
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of GRUB configurations that KEXEC_HOOK_CORPUS names (.ci/run sets it)."""
    name = os.environ.get("KEXEC_HOOK_CORPUS")
    if not name:
        pytest.skip("KEXEC_HOOK_CORPUS names no corpus")
    return Path(name)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(scope="session")
def user() -> Iterator[OrdinaryUser]:
    """Somebody who is not root, whoever runs the tests."""
    with ordinary_user() as user:
        yield user


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that packages are installed in."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules) - before:
        del sys.modules[name]
