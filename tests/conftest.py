"""What tests share: the corpus beside the checkout, and a builder for small trees."""

import os
from pathlib import Path
from typing import Union

import pytest

# It asserts for the tests of several machines; here, before anything imports it.
pytest.register_assert_rewrite("tests.vm.scenarios")

ROOT = Path(__file__).resolve().parents[1]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """To run again what has failed, where nothing has, is no error."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.getoption("lf"):
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of GRUB configurations that KEXEC_HOOK_CORPUS names (.ci/run sets it)."""
    name = os.environ.get("KEXEC_HOOK_CORPUS")
    if not name:
        pytest.skip("KEXEC_HOOK_CORPUS names no corpus")
    return Path(name)


class Tree:
    """A root directory that a test fills; `tree / "boot/vmlinuz"` is a path in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def __fspath__(self) -> str:
        return str(self.root)

    def __str__(self) -> str:
        return str(self.root)

    def write(self, path: str, content: Union[str, bytes] = b"") -> Path:
        target = self / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def link(self, path: str, to: str) -> Path:
        target = self / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)
        return target

    def grubcfg(self, text: str) -> Path:
        return self.write("boot/grub/grub.cfg", text)

    def grubenv(self, *assignments: str) -> Path:
        """An environment block of 1024 bytes, as grub-editenv makes it."""
        block = "# GRUB Environment Block\n" + "".join(f"{line}\n" for line in assignments)
        return self.write("boot/grub/grubenv", block.encode().ljust(1024, b"#"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
