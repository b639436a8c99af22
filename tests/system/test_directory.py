"""state.py: who may use the directory, and what is in it whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kexec_hook.system.directory import Busy, Directory, StateError

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Another process of ours."""
    argv = [sys.executable, "-c", code, *words]
    return subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kexec-hook"


def test_the_directory_and_its_files_are_ours_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with Directory.open(path) as state, state.lock() as held:
            held.write("a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {
        "a": 0o600,
        "lock": 0o600,
    }


def test_write_read_remove(path: Path) -> None:
    with Directory.open(path) as state:
        assert state.read("a") is None
        assert state.remove("a") is False
        with state.lock() as held:
            held.write("a", b"one")
            held.write("a", b"")
            assert state.read("a") == b""
            held.write("a", b"x" * 300_000)
        assert state.read("a") == b"x" * 300_000
        assert state.remove("a") is True
        assert state.read("a") is None
    assert [file.name for file in path.iterdir()] == ["lock"]


def test_looking_does_not_make_it(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Directory.open(path, create=False)
    assert not path.exists()


def refused(path: Path, owner: int | None = None) -> str:
    with pytest.raises(StateError) as caught:
        Directory.open(path, owner=owner)
    return str(caught.value)


def test_a_directory_that_others_may_enter_is_refused(path: Path) -> None:
    path.mkdir(0o700)
    path.chmod(0o755)
    assert refused(path) == (
        f"{path} has mode 0755, so that others than its owner may enter; remove it, kexec-hook makes its own directory"
    )
    path.chmod(0o710)
    assert "has mode 0710" in refused(path)
    path.chmod(0o1777)
    assert "has mode 1777" in refused(path)


def test_a_directory_of_somebody_else_is_refused(path: Path) -> None:
    path.mkdir(0o700)
    me = os.geteuid()
    assert refused(path, owner=me + 1) == (
        f"{path} belongs to user {me}, not to {me + 1}; remove it, kexec-hook makes its own directory"
    )


def test_a_link_or_a_file_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    path.symlink_to("elsewhere")
    assert (
        refused(path) == f"{path} is a symbolic link; remove it, kexec-hook makes its own directory"
    )
    path.unlink()
    path.symlink_to("nowhere")
    assert "is a symbolic link" in refused(path)
    path.unlink()
    path.write_text("")
    assert (
        refused(path) == f"{path} is not a directory; remove it, kexec-hook makes its own directory"
    )


def test_no_place_for_the_directory(tmp_path: Path) -> None:
    assert (
        refused(tmp_path / "run/kexec-hook")
        == f"{tmp_path}/run/kexec-hook cannot be made: no such file or directory"
    )


def test_files_that_we_did_not_make_are_not_read(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with Directory.open(path) as state:
        (path / "link").symlink_to("../secret")
        (path / "directory").mkdir()
        os.mkfifo(path / "fifo")
        for name, why in (
            ("link", "cannot be read: too many levels of symbolic links"),
            ("directory", "is not a file of ours; remove it"),
            ("fifo", "is not a file of ours; remove it"),
        ):
            with pytest.raises(StateError) as caught:
                state.read(name)
            assert str(caught.value) == f"{path}/{name} {why}"
        (path / "lock").symlink_to("../secret")
        with (
            pytest.raises(
                StateError, match="lock cannot be opened: too many levels of symbolic links"
            ),
            state.lock(),
        ):
            pass
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_link_is_replaced_not_written_through(path: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    with Directory.open(path) as state, state.lock() as held:
        (path / "a").symlink_to("../victim")
        held.write("a", b"ours")
        assert state.read("a") == b"ours"
    assert (tmp_path / "victim").read_text() == "untouched"


HOLD = """
import sys, time
from kexec_hook.system.directory import Directory
with Directory.open(sys.argv[1]) as state, state.lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_waits_briefly_and_says_who_is_at_work(path: Path) -> None:
    with python(HOLD, str(path)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with Directory.open(path) as state:
            started = time.monotonic()
            with pytest.raises(Busy) as caught, state.lock(wait=0.3):
                pass
            assert 0.3 <= time.monotonic() - started < 3
            assert str(caught.value) == (
                f"another kexec-hook (process {other.pid}) is at work; try again when it is done"
            )
            other.kill()
            other.wait()
            with state.lock(wait=0.0):
                pass


def test_a_program_that_outlives_us_does_not_hold_the_lock(path: Path) -> None:
    code = HOLD.replace("import sys", "import subprocess, sys").replace(
        'print("held", flush=True)',
        "print(subprocess.Popen(['sleep', '60'], stdout=2).pid, flush=True)",
    )
    with python(code, str(path)) as other:
        assert other.stdout is not None
        sleeper = int(other.stdout.readline())
        try:
            other.kill()
            other.wait()
            with Directory.open(path) as state, state.lock(wait=0.0):
                pass
        finally:
            os.kill(sleeper, signal.SIGKILL)


COUNT = """
import sys
from kexec_hook.system.directory import Directory
for _ in range(int(sys.argv[2])):
    with Directory.open(sys.argv[1]) as state, state.lock(wait=30) as held:
        held.write("count", b"%d" % (int(state.read("count") or b"0") + 1))
"""


def test_two_processes_at_once_a_hundred_rounds(path: Path) -> None:
    both = [python(COUNT, str(path), "100") for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [
        ("", 0)
    ] * 2
    assert (path / "count").read_text() == "200"


WRITE = """
import sys
from kexec_hook.system.directory import Directory
print("ready", flush=True)
number = 0
while True:
    with Directory.open(sys.argv[1]) as state, state.lock() as held:
        held.write("record", b"%06d" % number + b"x" * (number * 997 % 100_000) + b"end")
    number += 1
"""


def test_killed_at_any_moment_it_leaves_a_whole_file_and_no_lock(path: Path) -> None:
    chance = random.Random(4)
    written = 0
    for _ in range(50):
        with python(WRITE, str(path)) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.02))
            writer.kill()
        with Directory.open(path) as state, state.lock(wait=0.0) as held:
            data = state.read("record")
            assert sorted(file.name for file in path.iterdir()) in (["lock"], ["lock", "record"])
            if data is not None:
                number = int(data[:6])
                assert data == b"%06d" % number + b"x" * (number * 997 % 100_000) + b"end"
                written += 1
            held.write("record", b"000000end")
    assert written > 25


FULL = """
import os, sys
from kexec_hook.system.directory import Directory, StateError
path = sys.argv[1] + "/kexec-hook"
with Directory.open(path) as state:
    with state.lock() as held:
        held.write("record", b"old")
    with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
    with state.lock() as held:
        try:
            held.write("record", b"n" * 100_000)
        except StateError as error:
            print(error)
    print(state.read("record").decode(), sorted(os.listdir(path)))
    print(state.remove("record"))
"""

READ_ONLY = """
import os, subprocess, sys
from kexec_hook.system.directory import Directory, StateError
path = sys.argv[1] + "/kexec-hook"
with Directory.open(path) as state, state.lock() as held:
    held.write("record", b"old")
subprocess.run(["mount", "-o", "remount,bind,ro", sys.argv[1]], check=True)
def attempt(do):
    try:
        do()
    except StateError as error:
        print(error)
with Directory.open(path) as state:
    attempt(lambda: state.lock().__enter__())
    attempt(lambda: state.remove("record"))
    print(state.read("record").decode(), sorted(os.listdir(path)))
attempt(lambda: Directory.open(sys.argv[1] + "/new"))
"""


def on_a_small_disk(code: str, directory: Path) -> list[str]:
    """Run code on a file system of its own, which nobody else sees."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare (util-linux)")
    namespace = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-r", "-m"]
    mount = 'mount -t tmpfs -o size=64k,mode=0755 tmpfs "$1"'
    if subprocess.run(
        [*namespace, "sh", "-c", mount, "sh", str(directory)], capture_output=True, check=False
    ).returncode:
        pytest.skip("may not mount a tmpfs in a namespace of its own")
    argv = [
        *namespace,
        "sh",
        "-c",
        f'{mount} && exec "$2" -c "$3" "$1"',
        "sh",
        str(directory),
        sys.executable,
        code,
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_full_disk_is_a_clear_failure_that_leaves_what_was_there(tmp_path: Path) -> None:
    assert on_a_small_disk(FULL, tmp_path) == [
        f"{tmp_path}/kexec-hook/record cannot be written: no space left on device",
        "old ['lock', 'record']",
        "True",
    ]


def test_a_read_only_disk_is_a_clear_failure(tmp_path: Path) -> None:
    assert on_a_small_disk(READ_ONLY, tmp_path) == [
        f"{tmp_path}/kexec-hook/lock cannot be opened: read-only file system",
        f"{tmp_path}/kexec-hook/record cannot be removed: read-only file system",
        "old ['lock', 'record']",
        f"{tmp_path}/new cannot be made: read-only file system",
    ]
