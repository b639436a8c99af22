"""editenv.py with the real grub-editenv, and with scripts where it must fail in a certain way."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.system.editenv import NAMES, Editenv, EditenvError
from kexec_hook.system.process import SYSTEM_PATH, ProcessError, Programs

REAL = next((path for path in map(Programs().find, NAMES) if path), None)
pytestmark = pytest.mark.skipif(
    REAL is None, reason="needs grub-editenv or grub2-editenv (grub-common)"
)


@pytest.fixture
def editenv() -> Editenv:
    return Editenv.find(Programs())


@pytest.fixture
def block(editenv: Editenv, tmp_path: Path) -> str:
    path = str(tmp_path / "grubenv")
    editenv.create(path)
    return path


def fake(tmp_path: Path, body: str, name: str = "grub-editenv") -> Editenv:
    """A program that may call the real one as "$REAL"; called as: -- FILE COMMAND WORDS..."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / name
    script.write_text(f"#!/bin/sh\nREAL={REAL}\n{body}")
    script.chmod(0o755)
    return Editenv.find(Programs((str(directory), *SYSTEM_PATH)))


def test_a_new_block_is_what_grub_expects(block: str) -> None:
    data = Path(block).read_bytes()
    assert len(data) == 1024
    assert data.startswith(b"# GRUB Environment Block\n")


def test_set_list_unset(editenv: Editenv, block: str) -> None:
    editenv.set(
        block, {"saved_entry": "1>2", "next_entry": "", "kernelopts": 'root=UUID=1 "a b" c=$x'}
    )
    assert list(editenv.list(block).items()) == [
        ("saved_entry", "1>2"),
        ("next_entry", ""),
        ("kernelopts", 'root=UUID=1 "a b" c=$x'),
    ]
    editenv.unset(block, ["saved_entry", "never_there"])
    assert editenv.list(block) == {"next_entry": "", "kernelopts": 'root=UUID=1 "a b" c=$x'}


def test_backslashes_and_line_feeds_are_escaped_as_grub_reads_them(
    editenv: Editenv, block: str
) -> None:
    editenv.set(block, {"a": "x\\y", "b": "one\ntwo", "c": "end\\"})
    assert editenv.list(block) == {"a": "x\\y", "b": "one\ntwo", "c": "end\\"}
    # Expected from grub_envblk_set: a backslash before each backslash and line feed.
    assert b"\na=x\\\\y\nb=one\\\ntwo\nc=end\\\\\n###" in Path(block).read_bytes()


def test_bytes_that_are_not_utf8_are_kept(editenv: Editenv, block: str) -> None:
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    editenv.set(block, {"saved_entry": value})
    assert editenv.list(block) == {"saved_entry": value}
    assert b"\nsaved_entry=caf\xe9\n" in Path(block).read_bytes()


def test_names_like_options_are_names(editenv: Editenv, block: str) -> None:
    editenv.set(block, {"-V": "1", "--help": "2"})
    assert editenv.list(block) == {"-V": "1", "--help": "2"}
    editenv.unset(block, ["--help"])
    assert editenv.list(block) == {"-V": "1"}


@pytest.mark.parametrize("name", ["", "#comment", "a=b", "a\nb", "a\\", "a\0"])
def test_names_that_a_block_cannot_hold_are_refused(
    editenv: Editenv, block: str, name: str
) -> None:
    before = Path(block).read_bytes()
    for call in (
        lambda: editenv.set(block, {name: "x"}),
        lambda: editenv.unset(block, [name]),
        lambda: editenv.replay({"good": "1", name: "x"}, block),
        lambda: editenv.replay({"good": "1", name: None}, block),
    ):
        with pytest.raises(EditenvError, match="cannot hold a variable called"):
            call()
    assert Path(block).read_bytes() == before


def test_a_missing_block_is_not_created_by_reading_or_writing(
    editenv: Editenv, tmp_path: Path
) -> None:
    missing = str(tmp_path / "grubenv")
    for call in (
        lambda: editenv.list(missing),
        lambda: editenv.set(missing, {"a": "b"}),
        lambda: editenv.replay({"a": "b"}, missing),
    ):
        with pytest.raises(EditenvError) as caught:
            call()
        assert str(caught.value) == f"{missing}: there is no environment block"
    assert not Path(missing).exists()


def test_what_is_no_block_is_grub_editenvs_own_error(editenv: Editenv, tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_text("saved_entry=0\n")
    with pytest.raises(EditenvError) as caught:
        editenv.list(str(path))
    assert str(caught.value) == (
        f"`{REAL} -- {path} list` failed with status 1: {REAL}: error: invalid environment block."
    )
    cause = caught.value.__cause__
    assert isinstance(cause, ProcessError)
    assert (cause.status, cause.argv[-1]) == (1, "list")


def test_only_absolute_paths(editenv: Editenv) -> None:
    with pytest.raises(EditenvError) as caught:
        editenv.create("-")
    assert str(caught.value) == "-: not an absolute path"


def test_neither_program_installed(tmp_path: Path) -> None:
    with pytest.raises(EditenvError) as caught:
        Editenv.find(Programs((str(tmp_path),)))
    assert str(caught.value) == (
        "neither grub-editenv nor grub2-editenv is installed; GRUB's environment cannot be written"
    )


def test_grub2_editenv_serves_as_well(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "grub2-editenv").symlink_to(REAL or "")
    editenv = Editenv.find(Programs((str(directory),)))
    assert editenv.program.endswith("/grub2-editenv")
    editenv.create(str(tmp_path / "grubenv"))
    assert editenv.replay({"a": "1"}, str(tmp_path / "grubenv")) == {"a": None}


def test_replay_makes_the_writes_and_returns_what_undoes_them(editenv: Editenv, block: str) -> None:
    editenv.set(block, {"saved_entry": "0", "next_entry": "1>4", "boot_once": "true"})
    before = editenv.list(block)
    undo = editenv.replay(
        {"next_entry": "", "boot_once": None, "saved_entry": "1>4", "new": "\\\n"}, block
    )
    assert editenv.list(block) == {"saved_entry": "1>4", "next_entry": "", "new": "\\\n"}
    assert undo == {"next_entry": "1>4", "boot_once": "true", "saved_entry": "0", "new": None}
    editenv.replay(undo, block)
    assert editenv.list(block) == before


def test_replaying_nothing_writes_nothing(editenv: Editenv, block: str) -> None:
    mtime = Path(block).stat().st_mtime_ns
    assert editenv.replay({}, block) == {}
    assert Path(block).stat().st_mtime_ns == mtime


def test_a_block_that_is_too_small_is_left_as_it_was(editenv: Editenv, block: str) -> None:
    editenv.set(block, {"next_entry": "1>4"})
    before = Path(block).read_bytes()
    with pytest.raises(EditenvError, match="environment block too small"):
        editenv.replay({"next_entry": "", "big": "x" * 2000}, block)
    assert Path(block).read_bytes() == before


def test_a_write_that_does_not_arrive_is_noticed(block: str, tmp_path: Path) -> None:
    editenv = fake(tmp_path, '[ "$3" = set ] || exec "$REAL" "$@"\n')
    with pytest.raises(EditenvError) as caught:
        editenv.replay({"next_entry": ""}, block)
    assert (
        str(caught.value)
        == f"{block}: {editenv.program} wrote next_entry, but it reads back differently"
    )


def test_a_half_done_replay_is_undone(editenv: Editenv, block: str, tmp_path: Path) -> None:
    editenv.set(block, {"next_entry": "1>4", "boot_once": "true"})
    failing = fake(
        tmp_path,
        'if [ "$3" = unset ]; then echo "disk on fire" >&2; exit 1; fi; exec "$REAL" "$@"\n',
    )
    with pytest.raises(EditenvError, match="disk on fire"):
        failing.replay({"next_entry": "", "boot_once": None}, block)
    assert editenv.list(block) == {"next_entry": "1>4", "boot_once": "true"}


def test_an_undo_that_fails_too_is_said(editenv: Editenv, block: str, tmp_path: Path) -> None:
    editenv.set(block, {"next_entry": "1>4"})
    failing = fake(
        tmp_path,
        f'if [ "$3" = set ] && [ -e {tmp_path}/once ]; then echo "full" >&2; exit 1; fi\n'
        f'if [ "$3" = set ]; then touch {tmp_path}/once; fi\n'
        'if [ "$3" = unset ]; then echo "disk on fire" >&2; exit 1; fi; exec "$REAL" "$@"\n',
    )
    with pytest.raises(
        EditenvError,
        match=r"disk on fire; and what was there before could not be put back: .*: full$",
    ):
        failing.replay({"next_entry": "", "boot_once": None}, block)
