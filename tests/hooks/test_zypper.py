"""The commit plugin of libzypp answers each message to the end, and asks once, when the commit is over."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "hooks/zypper/kexec-hook"
ACK = b"ACK\n\n\0"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def frame(command: str, body: str = "", **headers: str) -> bytes:
    """As libzypp's PluginFrame::writeTo puts it."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return f"{command}\n{lines}\n{body}".encode() + b"\0"


# What libzypp 17.36 sent when zypper installed a package, each message up to its NUL byte.
COMMIT = tuple(
    message + b"\0"
    for message in Path(__file__).with_name("zypper-commit.stream").read_bytes().split(b"\0")[:-1]
)


class Plugin:
    """hooks/zypper/kexec-hook with its directories below one, called by a zypper whose standard error is `screen`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.caller = directory / "caller"
        (self.caller / "fd").mkdir(parents=True)
        self.called_by("zypper", directory / "screen")
        self.run_says("")
        text = PLUGIN.read_text()
        for line, value in {
            "run=/usr/lib/kexec-hook/run": f"run={directory}/run",
            "asks=/run/kexec-hook.asks-$PPID": f"asks={directory}/asks",
            "caller=/proc/$PPID": f"caller={self.caller}",
        }.items():
            assert text.count(f"\n{line}\n") == 1
            text = text.replace(f"\n{line}\n", f"\n{value}\n")
        self.script = directory / "plugin"
        self.script.write_text(text)

    def run_says(self, line: str, status: int = 0) -> None:
        run = self.directory / "run"
        there = f'[ -e {self.directory}/asks ] && echo "asks is there" >> {self.log}'
        says = f"echo '{line}'" if line else ":"
        run.write_text(
            f'#!/bin/sh\ncat\necho "run $*" >> {self.log}\n{there}\n{says}\nexit {status}\n'
        )
        run.chmod(0o755)

    def called_by(self, name: str, screen: Path) -> None:
        (self.caller / "cmdline").write_text(f"{name}\0--non-interactive\0in\0")
        (self.caller / "fd/2").unlink(missing_ok=True)
        (self.caller / "fd/2").symlink_to(screen)

    def told(self, *frames: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", str(self.script)], input=b"".join(frames), capture_output=True, timeout=60
        )

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_recorded_commit_is_a_whole_one() -> None:
    commands = [message.partition(b"\n")[0].decode() for message in COMMIT]
    assert commands == ["PLUGINBEGIN", "COMMITBEGIN", "COMMITEND", "PLUGINEND", "_DISCONNECT"]


def test_each_message_is_acknowledged_and_the_question_comes_once(plugin: Plugin) -> None:
    done = plugin.told(*COMMIT)
    assert (done.stdout, done.stderr, done.returncode) == (ACK * len(COMMIT), b"", 0)
    assert plugin.asked() == ["run zypper"]
    assert not (plugin.directory / "asks").exists()


def test_rpms_triggers_are_held_off_from_the_beginning_to_the_end(plugin: Plugin) -> None:
    process = subprocess.Popen(
        ["bash", str(plugin.script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"".join(COMMIT[:2]))
    process.stdin.flush()
    assert process.stdout.read(2 * len(ACK)) == 2 * ACK
    assert (plugin.directory / "asks").exists()
    assert plugin.asked() == []
    process.communicate()
    assert not (plugin.directory / "asks").exists()


@pytest.mark.parametrize("last", [(frame("PLUGINEND"),), (), (b"COMMITEN",)])
def test_commit_without_an_end_is_asked_about_as_well(
    plugin: Plugin, last: tuple[bytes, ...]
) -> None:
    done = plugin.told(*COMMIT[:2], *last)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert plugin.asked() == ["run zypper"]
    assert not (plugin.directory / "asks").exists()


def test_nothing_is_asked_where_nothing_was_committed(plugin: Plugin) -> None:
    assert plugin.told(COMMIT[0], *COMMIT[3:]).returncode == 0
    assert plugin.told().returncode == 0
    assert plugin.asked() == []


def test_each_commit_of_one_session_is_asked_about(plugin: Plugin) -> None:
    done = plugin.told(*COMMIT[:3], *COMMIT[1:])
    assert done.stdout == ACK * 7
    assert plugin.asked() == ["run zypper", "run zypper"]


@pytest.mark.parametrize(
    "body",
    ["COMMITEND\n", "\nCOMMITEND\n\n", "ü" * 5000, "\\", "$(touch x) `touch x` *\n" * 9, "\udc80"],
)
def test_no_body_is_taken_for_a_message(plugin: Plugin, body: str) -> None:
    frames = frame("COMMITBEGIN").replace(b"\0", body.encode("utf-8", "surrogateescape") + b"\0")
    done = plugin.told(
        COMMIT[0], frames, frame("COMMITFUTURE", body.encode("utf-8", "replace").decode())
    )
    assert (done.stdout, done.stderr) == (3 * ACK, b"")
    assert plugin.asked() == ["run zypper"]


@pytest.mark.parametrize(
    "run", ["fails", "is not there", "is no program", "has no interpreter", "is killed"]
)
def test_whatever_becomes_of_run_the_messages_are_answered(plugin: Plugin, run: str) -> None:
    path = plugin.directory / "run"
    if run == "fails":
        plugin.run_says("", status=9)
    elif run == "is not there":
        path.unlink()
    elif run == "is no program":
        path.chmod(0o644)
    elif run == "has no interpreter":
        path.write_text("#!/no/such/interpreter\n")
    else:
        path.write_text("#!/bin/sh\nkill -9 $$\n")
    done = plugin.told(*COMMIT)
    assert (done.stdout, done.returncode) == (ACK * len(COMMIT), 0)


def test_what_run_says_goes_to_the_log_and_never_among_the_answers(plugin: Plugin) -> None:
    plugin.run_says("kexec-hook: staged")
    done = plugin.told(*COMMIT)
    assert (done.stdout, done.stderr) == (ACK * len(COMMIT), b"kexec-hook: staged\n")
    # zypper's standard error is a file: nobody sits there.
    assert not (plugin.directory / "screen").read_bytes()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("zypper", True), ("/usr/bin/zypper", True), ("/usr/lib/YaST2/bin/y2base", False)],
)
def test_zyppers_user_sees_it_on_a_terminal_and_yasts_does_not(
    plugin: Plugin, name: str, shown: bool
) -> None:
    ours, theirs = pty.openpty()
    try:
        plugin.called_by(name, Path(os.ttyname(theirs)))
        plugin.run_says("kexec-hook: staged")
        assert plugin.told(*COMMIT).stderr == b"kexec-hook: staged\n"
        os.write(theirs, b"end\n")
        seen = b""
        while not seen.endswith(b"end\r\n"):
            seen += os.read(ours, 100)
        assert seen.replace(b"\r", b"") == (b"kexec-hook: staged\n" if shown else b"") + b"end\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_caller_that_is_gone_is_no_trouble(plugin: Plugin) -> None:
    shutil.rmtree(plugin.caller)
    plugin.run_says("kexec-hook: staged")
    done = plugin.told(*COMMIT)
    assert (done.stdout, done.stderr) == (ACK * len(COMMIT), b"kexec-hook: staged\n")


def test_libzypp_that_reads_no_more_ends_it(plugin: Plugin) -> None:
    process = subprocess.Popen(
        ["bash", str(plugin.script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, error = process.communicate(b"".join(COMMIT[:2]), timeout=60)
    assert (error, process.returncode) == (b"", 0)
    assert plugin.asked() in ([], ["run zypper"])
