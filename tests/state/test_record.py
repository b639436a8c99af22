"""record.py: a record comes back as it was written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.state.names import APPROVED
from kexec_hook.state.record import (
    EnvBlock,
    NoRecord,
    Staged,
    approve,
    format_staged,
    look,
    parse_staged,
    read_staged,
    withdraw,
    write_staged,
)
from kexec_hook.system.directory import Directory, StateError
from kexec_hook.system.sysroot import Identity

STAGED = Staged(
    state="staged",
    version="0.1.0",
    time=1764000000.25,
    wanted="1>2",
    running=False,
    entry_path="1>2",
    entry_titles=("Advanced options", "caf\udce9 \u00e9 \n"),
    entry_id="gnulinux-6.1",
    plan=Plan(
        "/boot/vmlinuz-6.1",
        (InitrdFile("/boot/ucode.img"), InitrdFile("/boot/initrd.img-6.1", "/newc:it")),
        'BOOT_IMAGE=/vmlinuz-6.1 root=UUID=1 x="a b" \\\\',
        "6.1",
        None,
        ("-a", "-l"),
    ),
    env_blocks=(
        EnvBlock("/boot/grub/grubenv", {"next_entry": "", "prev_saved_entry": None}),
        EnvBlock("/boot/grub/other", {"next_entry": "1"}),
    ),
    reads={
        "/boot/grub/grub.cfg": Identity("file", 64769, 1234, 9000, 1764000000123456789),
        "/boot/grub/custom.cfg": None,
        "/boot": Identity("dir", 64769, 2, 0, 0),
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kexec-hook"


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    with Directory.open(path) as state, state.lock() as held:
        write_staged(held, STAGED)
        assert read_staged(state) == STAGED
        assert parse_staged(format_staged(STAGED._replace(calls_left=5))).calls_left == 5
    assert look(path) == STAGED
    found = look(path)
    assert isinstance(found, Staged)
    assert list(found.reads) == list(STAGED.reads)
    assert isinstance(found.reads["/boot"], Identity)
    plan = STAGED.plan._replace(devicetree="/boot/x.dtb", release=None)
    loading = STAGED._replace(state="loading", plan=plan, env_blocks=(), reads={})
    assert parse_staged(format_staged(loading)) == loading


def test_each_field_has_its_wrong_value() -> None:
    assert set(WRONG) == set(json.loads(format_staged(STAGED))) - {"schema", "panic"}


def test_a_record_of_an_older_version_is_read() -> None:
    data = json.loads(format_staged(STAGED._replace(calls_left=5)))
    for name in ADDED:
        del data[name]
    assert parse_staged(json.dumps(data).encode()) == STAGED


def test_a_record_is_json_with_a_schema() -> None:
    data = json.loads(format_staged(STAGED))
    assert data["schema"] == 2
    assert data["reads"]["/boot"] == ["dir", 64769, 2, 0, 0, 0]
    assert data["kernel"] == "/boot/vmlinuz-6.1"
    assert data["initrds"][1] == {"path": "/boot/initrd.img-6.1", "newc": "/newc:it"}
    assert data["env_blocks"][1] == {"file": "/boot/grub/other", "writes": {"next_entry": "1"}}
    assert STAGED.env_writes == {"next_entry": "1", "prev_saved_entry": None}


def test_nothing_staged(path: Path) -> None:
    assert look(path) == NoRecord(
        "nothing has been staged since this system was booted", found=False
    )
    assert not path.exists()
    with Directory.open(path) as state:
        assert read_staged(state) == NoRecord("nothing is staged", found=False)


def test_a_record_torn_anywhere_is_no_record(path: Path) -> None:
    data = format_staged(STAGED)
    for size in range(0, len(data) - 2, 7):
        with Directory.open(path) as state, state.lock() as held:
            held.write("staged.json", data[:size])
        assert look(path) == NoRecord(
            f"{path}/staged.json is not a valid record: it is not JSON, or only the beginning of it",
            found=True,
        )


WRONG: dict[str, Any] = {
    "state": "ready",
    "version": 1,
    "time": "now",
    "wanted": 1,
    "running": "no",
    "entry_path": None,
    "entry_titles": "title",
    "entry_id": ["id"],
    "kernel": None,
    "initrds": [{"path": "/boot/initrd.img-6.1"}],
    "devicetree": 7,
    "cmdline": ["quiet"],
    "release": {},
    "kexec_args": ["-a", 1],
    "env_blocks": [{"file": "/boot/grub/grubenv", "writes": {"next_entry": 0}}],
    "reads": {"/boot": ["dir", 1, 2, 3]},
    "calls_left": True,
    "marked": "yes",
}
# An older version's record lacks them.
ADDED = {"calls_left", "marked"}


@pytest.mark.parametrize("name", WRONG)
def test_each_field_is_needed_and_of_its_kind(path: Path, name: str) -> None:
    good = json.loads(format_staged(STAGED))
    wrong = [{**good, name: WRONG[name]}, {**good, name: [{}]}]
    if name not in ADDED:
        wrong.append({key: value for key, value in good.items() if key != name})
    for bad in wrong:
        with Directory.open(path) as state, state.lock() as held:
            held.write("staged.json", json.dumps(bad).encode())
        assert look(path) == NoRecord(
            f"{path}/staged.json is not a valid record: its {name} is missing or of the wrong kind",
            found=True,
        )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is not JSON, or only the beginning of it"),
        (b"\xff\xfe", "it is not JSON, or only the beginning of it"),
        (b"[" * 100_000, "it is not JSON, or only the beginning of it"),
        (b"[]", "it is JSON, but not an object"),
        (b"{}", "its schema is None, not 2"),
        (b'{"schema": 1, "state": "staged"}', "its schema is 1, not 2"),
    ],
)
def test_what_is_no_record(path: Path, data: bytes, why: str) -> None:
    with Directory.open(path) as state, state.lock() as held:
        held.write("staged.json", data)
        found = read_staged(state)
    assert found == NoRecord(f"{path}/staged.json is not a valid record: {why}", found=True)


def test_the_approval(path: Path) -> None:
    with Directory.open(path) as state:
        assert state.read(APPROVED) is None
        assert withdraw(state) is False
        with state.lock() as held:
            approve(held)
        assert state.read(APPROVED) is not None
        assert (path / "approved").is_file()  # the name that the drop-ins know
        with state.lock():
            assert withdraw(state) is True  # also while another run is at work
        assert state.read(APPROVED) is None


def test_looking_into_a_directory_of_somebody_else_is_an_error(path: Path) -> None:
    path.mkdir(0o700)
    path.chmod(0o777)
    with pytest.raises(StateError, match="has mode 0777"):
        look(path)
