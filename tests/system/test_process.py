"""process.py against real programs: scripts in a directory of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kexec_hook.system.process import (
    KEPT,
    SYSTEM_PATH,
    ProcessError,
    ProgramNotFound,
    Programs,
    TimedOut,
    uninterrupted,
)
from kexec_hook.system.worker import in_worker


class Bin:
    """A directory of programs that comes first on the path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = Programs((str(directory), *SYSTEM_PATH))

    def add(self, name: str, body: str, shebang: str = "#!/bin/sh\n") -> Path:
        path = self.directory / name
        path.write_text(shebang + body)
        path.chmod(0o755)
        return path


@pytest.fixture
def bin(tmp_path: Path) -> Bin:
    directory = tmp_path / "bin"
    directory.mkdir()
    return Bin(directory)


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_words_arrive_as_they_are(bin: Bin) -> None:
    bin.add("say", 'for word; do printf "<%s>" "$word"; done\n')
    words = ("a b", "$(id)", "`id`", "; reboot", "'\"", "\\x20", "*", "", "-n", "line\nline")
    assert bin.programs.run(("say", *words)).stdout == "".join(f"<{word}>" for word in words)


def test_bytes_that_are_not_utf8_go_there_and_back(bin: Bin) -> None:
    bin.add("say", 'printf %s "$1"\n')
    word = b"caf\xe9 \xc3\xa9".decode("utf-8", "surrogateescape")
    assert bin.programs.run(("say", word)).stdout == word


def test_bytes_arrive_whatever_the_locale_of_the_caller(bin: Bin) -> None:
    bin.add("say", 'printf %s "$1" | od -An -tx1\n')
    code = (
        "from kexec_hook.system.process import Programs\n"
        f"print(Programs({bin.programs.path!r}).run(('say', 'caf\\udce9 \\xe9')).stdout)"
    )
    env = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["63", "61", "66", "e9", "20", "c3", "a9"]


def test_the_world_of_a_program(bin: Bin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_TEST", "leak")
    bin.add("look", "pwd; env | sort; readlink /proc/self/fd/0; umask; ls -m /proc/$$/fd\nexit 0\n")
    lines = bin.programs.run(("look",)).stdout.splitlines()
    assert lines[0] == "/"
    env = [
        line
        for line in lines[1:]
        if "=" in line and not line.startswith(("PWD=", "_=", "OLDPWD=", "SHLVL="))
    ]
    assert env == ["LC_ALL=C", f"PATH={':'.join(bin.programs.path)}"]
    assert "/dev/null" in lines
    # The shell itself holds 10 (its script) or 255; nothing else of ours is open.
    assert set(lines[-1].split(", ")) <= {"0", "1", "2", "10", "255"}


def test_one_variable_can_be_added(bin: Bin) -> None:
    bin.add("look", 'echo "$SYSTEMCTL_SKIP_AUTO_KEXEC"\n')
    assert bin.programs.run(("look",), env={"SYSTEMCTL_SKIP_AUTO_KEXEC": "1"}).stdout == "1\n"


def test_stdin_is_fed_however_large(bin: Bin) -> None:
    bin.add("count", "wc -c\n")
    assert bin.programs.run(("count",), stdin=b"x" * 3_000_000).stdout.strip() == "3000000"
    assert bin.programs.run(("count",), stdin=b"").stdout.strip() == "0"


def test_a_program_may_leave_its_stdin_unread(bin: Bin) -> None:
    bin.add("deaf", "exec 0<&-; echo done\n")
    assert bin.programs.run(("deaf",), stdin=b"x" * 3_000_000).stdout == "done\n"


def test_a_file_descriptor_can_be_handed_over(bin: Bin) -> None:
    bin.add("read-it", 'cat "$1"\n')
    fd = os.memfd_create("initrd")
    try:
        os.write(fd, b"initrd")
        assert (
            bin.programs.run(("read-it", f"/proc/self/fd/{fd}"), pass_fds=(fd,)).stdout == "initrd"
        )
        with pytest.raises(ProcessError):
            bin.programs.run(("read-it", f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def test_only_the_beginning_of_endless_output_is_kept(bin: Bin) -> None:
    bin.add(
        "babble",
        "head -c 5000000 /dev/zero | tr '\\0' x; head -c 5000000 /dev/zero | tr '\\0' y >&2\n",
    )
    result = bin.programs.run(("babble",))
    assert (len(result.stdout), len(result.stderr)) == (KEPT, KEPT)
    assert (set(result.stdout), set(result.stderr)) == ({"x"}, {"y"})


def test_a_failure_is_one_sentence_with_argv_status_and_stderr(bin: Bin) -> None:
    bin.add(
        "kexec",
        "echo 'kexec_load failed: Operation not permitted' >&2; echo 'hint' >&2; exit 255\n",
    )
    with pytest.raises(ProcessError) as caught:
        bin.programs.run(("kexec", "--append=root=UUID=1 quiet", "-l"))
    error = caught.value
    assert error.argv == ("kexec", "--append=root=UUID=1 quiet", "-l")
    assert error.status == 255
    assert error.stderr == "kexec_load failed: Operation not permitted\nhint\n"
    assert str(error) == (
        "`kexec '--append=root=UUID=1 quiet' -l` failed with status 255: "
        "kexec_load failed: Operation not permitted; hint"
    )


def test_a_failure_can_be_asked_for_as_a_result(bin: Bin) -> None:
    bin.add("no", "exit 3\n")
    assert bin.programs.run(("no",), check=False).status == 3


def test_hostile_output_stays_on_one_printable_line(bin: Bin) -> None:
    bin.add("kexec", "printf '\\033[2Jred\\nmore\\r\\n' >&2; exit 1\n")
    with pytest.raises(ProcessError) as caught:
        bin.programs.run(("kexec", "a\nb\x1b"))
    assert str(caught.value) == "`kexec 'a\\nb\\x1b'` failed with status 1: \\x1b[2Jred; more"


def test_a_signal_is_named(bin: Bin) -> None:
    bin.add("die", "kill -9 $$\n")
    with pytest.raises(ProcessError) as caught:
        bin.programs.run(("die",))
    assert (caught.value.status, str(caught.value)) == (-9, "`die` was killed by signal 9")


def test_a_program_that_is_not_there(bin: Bin) -> None:
    with pytest.raises(ProgramNotFound) as caught:
        Programs((str(bin.directory),)).run(("kexec", "-u"))
    assert str(caught.value) == f"`kexec -u` cannot be run: no program kexec in {bin.directory}"


def test_a_program_that_is_not_a_program(bin: Bin) -> None:
    bin.add("kexec", "echo no shell reads this\n", shebang="")
    with pytest.raises(ProcessError) as caught:
        bin.programs.run(("kexec",))
    assert str(caught.value) == "`kexec` could not be started: Exec format error"


def test_a_nul_byte_in_a_word_is_refused(bin: Bin) -> None:
    bin.add("kexec", "exit 0\n")
    with pytest.raises(ProcessError) as caught:
        bin.programs.run(("kexec", "a\0b"))
    assert str(caught.value).startswith("`kexec 'a\\x00b'` could not be started:")


def test_the_first_directory_wins_and_only_executable_files_count(bin: Bin, tmp_path: Path) -> None:
    bin.add("true", "exit 0\n")
    (bin.directory / "kexec").mkdir()
    (bin.directory / "cat").write_text("not executable")
    assert bin.programs.find("true") == str(bin.directory / "true")
    assert bin.programs.find("kexec") in {None, "/usr/sbin/kexec", "/sbin/kexec"}
    assert bin.programs.find("cat") in {"/usr/bin/cat", "/bin/cat"}
    assert bin.programs.find(str(bin.directory / "true")) == str(bin.directory / "true")
    assert [bin.programs.find(name) for name in ("", "bin/true", "../true", "no-such", "a\0b")] == [
        None
    ] * 5


def test_a_hanging_program_is_killed_with_its_children(bin: Bin, tmp_path: Path) -> None:
    bin.add("hang", f"sleep 60 & echo $! > {tmp_path}/pid; echo stuck >&2; wait\n")
    started = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        bin.programs.run(("hang",), timeout=0.5)
    assert time.monotonic() - started < 5
    assert str(caught.value) == "`hang` did not end within 0.5 s and was killed: stuck"
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_a_program_leaves_in_the_background_is_not_waited_for(
    bin: Bin, tmp_path: Path
) -> None:
    bin.add("fork", f"sleep 60 & echo $! > {tmp_path}/pid; echo done\n")
    started = time.monotonic()
    assert bin.programs.run(("fork",)).stdout == "done\n"
    assert time.monotonic() - started < 5
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_an_interrupt_leaves_nothing_running(bin: Bin, tmp_path: Path) -> None:
    bin.add("hang", f"echo $$ > {tmp_path}/pid; exec sleep 60\n")
    code = f"from kexec_hook.system.process import Programs; Programs({bin.programs.path!r}).run(('hang',))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.DEVNULL,
    ) as ours:
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
            time.sleep(0.02)
        ours.send_signal(2)
    assert gone(int((tmp_path / "pid").read_text()))


def test_an_interrupt_while_a_program_is_started_leaves_nothing_running(
    bin: Bin, tmp_path: Path
) -> None:
    """The program is at work before subprocess.Popen has told its number: seen in 29 of 40 interrupts."""
    bin.add("hang", f"echo $$ >> {tmp_path}/pids; kill -INT $PPID; exec sleep 60\n")
    code = f"""
from kexec_hook.system.process import Programs
for _ in range(8):
    try:
        Programs({bin.programs.path!r}).run(("hang",))
    except KeyboardInterrupt:
        print("interrupted")
"""
    here = Path(__file__).resolve().parents[2]
    told = subprocess.run([sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, text=True)
    assert told.stdout == "interrupted\n" * 8
    assert [pid for pid in (tmp_path / "pids").read_text().split() if not gone(int(pid))] == []


def test_what_is_held_back_from_us_reaches_every_program_but_those_that_must_not_be_torn(
    bin: Bin,
) -> None:
    """kexec and grub-editenv are to end their work; anything else may be ended by Ctrl-C and systemd."""
    bin.add(
        "blocked",
        "while read -r name mask; do [ $name != SigBlk: ] || echo $mask; done < /proc/$$/status\n",
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with uninterrupted():
        blocked = int(bin.programs.run(("blocked",), undisturbed=True).stdout, 16)
        free = int(bin.programs.run(("blocked",)).stdout, 16)
    assert blocked == sum(1 << number - 1 for number in (1, 2, 15))
    assert free == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_signal_that_was_held_back_arrives_afterwards() -> None:
    done = False

    def interrupted() -> None:
        nonlocal done
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done = True

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done


def test_no_program_outlives_the_common_deadline(bin: Bin) -> None:
    bin.add("hang", "exec sleep 60\n")
    programs = bin.programs._replace(deadline=time.monotonic() + 0.3)
    with pytest.raises(TimedOut):
        programs.run(("hang",))
    with pytest.raises(TimedOut) as caught:
        programs.run(("hang",))
    assert str(caught.value) == "`hang` was not started, since no time is left"


def test_importing_it_does_not_import_subprocess() -> None:
    code = "import sys, kexec_hook.system.process; print('subprocess' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, '.'); " + code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_worker_answers_from_a_process_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> bytes:
        os.write(1, b"nobody sees this")
        os.write(2, b"nor this")
        return b"%d " % os.getpid() + b"x" * 200_000

    answer = in_worker(work, 30)
    assert int(answer.split()[0]) != os.getpid()
    assert len(answer) > 200_000
    assert capfd.readouterr() == ("", "")


def test_worker_that_hangs_is_left_behind(tmp_path: Path) -> None:
    """What it holds open, nobody waits for; what it would have done, it does not do."""

    def work() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(2)
        (tmp_path / "done").touch()
        return b""

    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"`kexec-hook` did not end within 0.5 s"):
        in_worker(work, 0.5)
    assert time.monotonic() - started < 2
    time.sleep(2)
    assert gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_worker_ends_with_its_caller_but_what_is_uninterrupted(tmp_path: Path, how: int) -> None:
    def work() -> bytes:
        with uninterrupted():
            (tmp_path / "pid").write_text(str(os.getpid()))
            (tmp_path / "begun").touch()
            time.sleep(0.5)
            (tmp_path / "whole").touch()
        time.sleep(60)
        (tmp_path / "done").touch()
        return b""

    caller = os.fork()
    if not caller:
        try:
            in_worker(work, 30)
        finally:
            os._exit(0)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    os.kill(caller, how)
    os.waitpid(caller, 0)
    pid = int((tmp_path / "pid").read_text())
    assert gone(pid)
    assert ((tmp_path / "whole").exists(), (tmp_path / "done").exists()) == (True, False)


def test_worker_whose_caller_reads_slowly_is_not_ended() -> None:
    assert len(in_worker(lambda: b"x" * 5_000_000, 30)) == 5_000_000


def test_worker_that_is_killed_is_an_error() -> None:
    def work() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(ProcessError, match="ended without an answer"):
        in_worker(work, 30)
