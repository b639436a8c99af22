"""One tree of errors, which the command line catches at its root; no setting and no configuration ends in a traceback."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kexec_hook
from kexec_hook import errors
from kexec_hook.errors import KexecHookError
from tests.machine import Box

# Exceptions outside grub/ that are no KexecHookError, and why.
ANSWERS = {
    "kexec_hook.disks.btrfs.Damaged": "no btrfs that can be read; what it was asked for is not known then",
    "kexec_hook.disks.volumes.Hidden": "no mount shows it; GRUB's drivers are asked, or it is Unseen",
    "kexec_hook.kernel.devicetree.NoDeviceTree": "what bytes are; whoever asked goes on without",
    "kexec_hook.kernel.images.Damaged": "what a file is; each check makes its own sentence of it",
    "kexec_hook.kernel.images.NotLinux": "so is this",
    "kexec_hook.decision.planning.Refused": "there is nothing to plan; decide makes an objection of it",
    "kexec_hook.settings.conf.WrongValueError": "the word of a value that is wrong; load_settings adds file and line",
}


def exceptions() -> Iterator[type[BaseException]]:
    """Every exception class of ours that is not private."""
    for info in pkgutil.walk_packages(kexec_hook.__path__, "kexec_hook."):
        if info.name == "kexec_hook.__main__":
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if (
                isinstance(value, type)
                and issubclass(value, BaseException)
                and value.__module__ == info.name
                and not name.startswith("_")
            ):
                yield value


def path_of(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_every_error_has_its_place_in_the_tree() -> None:
    outside = {
        path_of(kind)
        for kind in exceptions()
        if not issubclass(kind, KexecHookError)
        and not any(base.__module__.startswith("kexec_hook.grub.") for base in kind.__mro__)
    }
    assert outside == set(ANSWERS)


def test_the_tree_is_drawn_as_it_is() -> None:
    """Each class of the tree, with its module, at the depth of its base."""
    drawn = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        head, branch, rest = line.partition("─ ")
        name, *words = rest.split() or [""]
        if not branch or not name.isidentifier() or name == "in":
            continue
        above[len(head)] = name
        drawn[name] = above.get(len(head) - 3)
        if words and words[-1].endswith(".py"):
            assert (Path(kexec_hook.__file__).parent / words[-1]).is_file()
    real = {
        kind.__name__: kind.__mro__[1].__name__
        for kind in exceptions()
        if issubclass(kind, KexecHookError)
    }
    assert {name: base or "Exception" for name, base in drawn.items()} == real


@pytest.fixture
def odd_quote(tmp_path: Path) -> Box:
    """A machine whose default entry has a quote that is never closed, and whose settings append a word."""
    box = Box(tmp_path)
    config = box / "boot/grub/grub.cfg"
    text = config.read_text()
    config.write_text(re.sub(r"^(\s+linux\s.*)", r"""\1 'a="b'""", text, flags=re.M))
    assert config.read_text() != text
    box.write("etc/kexec-hook.conf", "append_parameters = quiet2\n")
    return box


REASON = "nothing can be appended: a quote is never closed in `BOOT_IMAGE="


def test_a_command_line_that_cannot_be_edited_is_an_objection(
    odd_quote: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert odd_quote.run("stage", "--dry-run") == 3
    assert REASON in capsys.readouterr().out
    assert odd_quote.run("explain") == 3
    assert REASON in capsys.readouterr().out
    assert odd_quote.run("run", "--source=apt") == 0
    assert f"kexec-hook: not staged: {REASON}" in capsys.readouterr().out
    assert not odd_quote.loaded


def test_list_and_status_tell_of_a_command_line_that_cannot_be_edited(
    odd_quote: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert odd_quote.run("list") == 0
    assert f"- {REASON}" in capsys.readouterr().out
    assert odd_quote.run("status") == 0
    assert REASON in capsys.readouterr().out


def test_a_kernel_with_a_quote_that_is_never_closed_may_be_the_newest(
    odd_quote: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    odd_quote.write("etc/kexec-hook.conf", "append_parameters = quiet2\nselect = newest\n")
    assert odd_quote.run("stage", "--dry-run") == 3
    assert REASON in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--running",), ("--panic",)])
def test_the_running_command_line_is_edited_or_an_objection(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.write("proc/cmdline", 'BOOT_IMAGE=/x root=/dev/sda1 a="b\n')
    box.write("proc/sys/kernel/osrelease", "6.1.0-39-amd64\n")
    box.write("etc/kexec-hook.conf", "append_parameters = quiet2\n")
    assert box.run("stage", "--dry-run", *words) == 3
    assert "nothing can be appended: a quote is never closed in `" in capsys.readouterr().out
