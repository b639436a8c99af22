"""How programs are run: found on a fixed path, without a shell, without our environment, and never for ever."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from kexec_hook.errors import KexecHookError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    import signal
    import subprocess
    from types import FrameType

    from kexec_hook.system.confine import Confinement

# The order of Debian's and Fedora's root shells; administrators' /usr/local is not trusted with a kernel.
SYSTEM_PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
KEPT = 1 << 20  # bytes of each output stream that are kept; the rest is read and dropped
TIMEOUT = 60.0  # seconds
_CHUNK = 1 << 16
_GRACE = 0.2  # seconds a finished program's own children may keep its output open
_REAP = 5.0  # seconds to wait for a killed program, which may sit in the kernel


class Completed(NamedTuple):
    argv: tuple[str, ...]
    status: int  # as subprocess has it: -9 is "killed by signal 9"
    stdout: str  # bytes that are not UTF-8 survive as surrogates
    stderr: str


class ProcessError(KexecHookError):
    """A program was not there, did not start, did not end, or failed; one sentence, with the argv and what it said."""

    def __init__(
        self, argv: Sequence[str], what: str, status: int | None = None, stderr: str = ""
    ) -> None:
        self.argv = tuple(argv)
        self.what = what
        self.status = status  # None: it never ended by itself
        self.stderr = stderr
        super().__init__(argv, what, status, stderr)

    def __str__(self) -> str:
        said = "; ".join(line.strip() for line in self.stderr.splitlines() if line.strip())
        return f"`{shown(self.argv)}` {self.what}" + (f": {_printable(said, 500)}" if said else "")


class ProgramNotFound(ProcessError):
    """No such program on the path."""


class TimedOut(ProcessError):
    """The program took too long and was killed, with everything it had started."""


class Programs(NamedTuple):
    """The programs below some directories, first one wins; tests put a directory with their own kexec first."""

    path: tuple[str, ...] = SYSTEM_PATH
    deadline: float | None = None  # of time.monotonic(): none runs longer

    def find(self, name: str) -> str | None:
        """The program's absolute path; a name with a slash must be an absolute path itself."""
        if "/" in name:
            return name if name.startswith("/") and _executable(name) else None
        candidates = (os.path.join(directory, name) for directory in self.path)
        return next((path for path in candidates if name and _executable(path)), None)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        stdout: int | None = None,
        confinement: Confinement | None = None,
        timeout: float = TIMEOUT,
        check: bool = True,
        undisturbed: bool = False,
    ) -> Completed:
        """Run a program to its end; `check` makes a status other than 0 a ProcessError.

        It sees /dev/null (or the bytes `stdin`), /, `PATH`, `LC_ALL=C` and what `env` adds,
        and of our files only `pass_fds`; `confinement` takes its rights and most of its files away.
        What it prints goes to the descriptor `stdout` where there is one, unbounded.
        After `timeout` seconds its process group is killed.  `undisturbed`: the signals that
        `uninterrupted` holds back are held back from it, too.
        """
        argv = tuple(argv)
        program = self._program(argv)
        timeout = self._time_for(argv, timeout)

        def start() -> subprocess.Popen[bytes]:
            return _start(
                confinement.program if confinement else program,
                argv,
                stdin is not None,
                self._environment(env or {}),
                tuple(pass_fds),
                stdout,
                _preparation(confinement, undisturbed),
            )

        status, output, stderr = _to_its_end(start, stdin or b"", timeout)
        if status is None:
            raise TimedOut(argv, f"did not end within {timeout:g} s and was killed", stderr=stderr)
        if check and status != 0:
            raise ProcessError(argv, _ending(status), status, stderr)
        return Completed(argv, status, output, stderr)

    def attended(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Run a program on our own terminal, where it may ask; its exit status.  ProcessError."""
        import subprocess

        program = self._program(tuple(argv))
        return subprocess.call(list(argv), executable=program, cwd="/", env=self._environment(env))

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        return {"PATH": ":".join(self.path), "LC_ALL": "C", **env}

    def _program(self, argv: tuple[str, ...]) -> str:
        """ProgramNotFound"""
        found = self.find(argv[0])
        if found is None:
            raise ProgramNotFound(
                argv, f"cannot be run: no program {argv[0]} in {':'.join(self.path)}"
            )
        return found

    def _time_for(self, argv: tuple[str, ...], timeout: float) -> float:
        """The seconds that a program may run.  TimedOut where none are left"""
        if self.deadline is None:
            return timeout
        timeout = min(timeout, self.deadline - time.monotonic())
        if timeout <= 0:
            raise TimedOut(argv, "was not started, since no time is left")
        return timeout


def _to_its_end(
    start: Callable[[], subprocess.Popen[bytes]], stdin: bytes, timeout: float
) -> tuple[int | None, str, str]:
    """A program's status, and what it printed; None where its time was up, and it was killed."""
    process = None
    try:
        with _interrupt_held():
            process = start()
        output, stderr, ended = _talk(process, stdin, time.monotonic() + timeout)
    except BaseException:
        # An interrupt must not leave the program behind: it may be loading a kernel.
        if process is not None:
            _kill(process)
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr) if process is not None else ():
            if pipe is not None:
                pipe.close()
    if not ended:
        _kill(process)
        return None, output, stderr
    return process.returncode, output, stderr


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back what a terminal or systemd sends to end us: it arrives behind the block."""
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, _held_back())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Answer Ctrl-C behind the block: in Popen it would leave a program running whose number nobody knows yet."""
    import signal
    import threading

    answer = signal.getsignal(signal.SIGINT)
    if not callable(answer) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, answer)
        if came:
            answer(*came[0])


def _held_back() -> set[signal.Signals]:
    import signal

    return {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def _preparation(confinement: Confinement | None, undisturbed: bool) -> Callable[[], None] | None:
    """What a new process does before it becomes the program; None where that is nothing."""
    import signal

    held_back = (
        set() if undisturbed else _held_back() & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    )
    if not held_back:
        return confinement.enter if confinement else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
        if confinement:
            confinement.enter()

    return prepare


def shown(argv: Sequence[str]) -> str:
    """The argv as one printable line that a shell would read back as the same words."""
    import shlex

    return _printable(shlex.join(argv), 1000)


def open_standard_files() -> None:
    """Closed ones, on /dev/null: else what is opened next, a lock or the worker's answer, gets the number of one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as we live


def end_as_interrupted() -> NoReturn:
    """As Ctrl-C ends programs, so that a shell's loop ends as well."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)


def begin_anew_in_utf8() -> None:
    """GRUB's paths and words are bytes, UTF-8 to us in any locale; a Python that would change them is replaced.

    Installed programs start with -Xutf8 already.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    isolated = ["-I"] * sys.flags.isolated
    words = getattr(sys, "orig_argv", ["", *isolated, *sys.argv])  # Python 3.9 has none
    os.execv(sys.executable, [sys.executable, "-Xutf8", *words[1:]])  # noqa: S606 - itself


def _start(
    program: str,
    argv: tuple[str, ...],
    talking: bool,
    env: Mapping[str, str],
    fds: tuple[int, ...],
    stdout: int | None,
    prepare: Callable[[], None] | None,
) -> subprocess.Popen[bytes]:
    # Not at the top: half of all runs start no program, and the import takes longer than what they do.
    import subprocess

    try:
        return subprocess.Popen(
            [_encode(word) for word in argv],
            executable=_encode(program),
            stdin=subprocess.PIPE if talking else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env={_encode(name): _encode(value) for name, value in env.items()},
            pass_fds=fds,
            start_new_session=True,
            # Between fork and exec, where threads could be in the way; kexec-hook has none.
            preexec_fn=prepare,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in a word
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ProcessError(argv, f"could not be started: {why}") from None


def _talk(process: subprocess.Popen[bytes], stdin: bytes, deadline: float) -> tuple[str, str, bool]:
    """Feed and drain the program until it has ended or the time is up: (stdout, stderr, whether it ended)."""
    import selectors

    kept = {name: bytearray() for name in ("stdout", "stderr")}
    rest = memoryview(stdin)
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        for name in ("stdin", "stdout", "stderr"):
            pipe = getattr(process, name)
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(
                    pipe, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, name
                )
        while selector.get_map():
            now = time.monotonic()
            if ended_at is None and process.poll() is not None:
                ended_at = now
            # What a finished program leaves running in the background may hold its output open for ever.
            limit = deadline if ended_at is None else min(deadline, ended_at + _GRACE)
            if now >= limit:
                break
            for key, _ in selector.select(min(limit - now, 0.05)):
                if key.data == "stdin":
                    rest = _feed(key.fd, rest)
                    done = not rest
                else:
                    done = not _drain(key.fd, kept[key.data])
                if done:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    text = [bytes(kept[name]).decode("utf-8", "surrogateescape") for name in ("stdout", "stderr")]
    return text[0], text[1], _wait(process, max(0.0, deadline - time.monotonic()))


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[:_CHUNK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:  # it does not want to hear the rest
        return rest[len(rest) :]


def _drain(fd: int, into: bytearray) -> bool:
    """Read once; False at the end."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return True
    into += data[: KEPT - len(into)]
    return bool(data)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    import subprocess

    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    import signal

    if (
        process.poll() is None
    ):  # still ours to kill: its number cannot have been given to another yet
        os.killpg(process.pid, signal.SIGKILL)
        _wait(process, _REAP)


def _ending(status: int) -> str:
    return f"failed with status {status}" if status > 0 else f"was killed by signal {-status}"


def _executable(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False


def _encode(word: str) -> bytes:
    # Not os.fsencode, which follows the caller's locale: a command line must arrive as the bytes it was read as.
    return word.encode("utf-8", "surrogateescape")


def _printable(text: str, longest: int) -> str:
    text = text if len(text) <= longest else text[:longest] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
