"""Work in a process of its own, which may hang, and ends with the one who waits for it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kexec_hook.system.process import ProcessError, TimedOut

_CHUNK = 1 << 16
_REAP = 5.0  # seconds to wait for a killed process, which may sit in the kernel


def in_worker(work: Callable[[], bytes], seconds: float) -> bytes:
    """What `work` gives, in a process of its own: file access may hang there (NFS, automount, a dying disk).

    ProcessError where it cannot be started, or does not end in time: then it is killed, and even where the kernel does
    not let go of it, it never does anything again.  Where we are killed, it ends as well, behind what is
    `uninterrupted`.  It prints nothing, and holds nothing open that a caller waits for.
    """
    try:
        pid, ours = _start(work)
    except OSError as error:
        raise ProcessError(("kexec-hook",), f"could not be started: {error.strerror}") from error
    try:
        data, ended = _receive(ours, time.monotonic() + seconds)
        if not ended:
            os.kill(pid, 9)
        status = _reap(pid, 1.0 if not ended else _REAP)
    finally:
        os.close(ours)
    if not ended:
        raise TimedOut(("kexec-hook",), f"did not end within {seconds:g} s")
    if status != 0:
        raise ProcessError(("kexec-hook",), "ended without an answer", status)
    return data


def _start(work: Callable[[], bytes]) -> tuple[int, int]:
    """Its process, and where its answer comes out."""
    ours, theirs = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        raise
    if pid == 0:
        try:
            _be_a_worker(theirs, work)
        finally:
            os._exit(1)
    os.close(theirs)
    return pid, ours


def _be_a_worker(fd: int, work: Callable[[], bytes]) -> None:
    os.setsid()  # Ctrl-C is for the one who waits
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    keep = os.dup2(fd, 3) if fd != 3 else 3
    os.closerange(4, 4096)
    with _ended_with_the_caller(keep):
        data = memoryview(work())
    while data:
        data = data[os.write(keep, data) :]
    os._exit(0)


@contextmanager
def _ended_with_the_caller(answer: int) -> Iterator[None]:
    """SIGTERM when the one who waits for the answer is gone, killed perhaps; behind what is `uninterrupted`.

    A pipe tells its writer when nobody reads any more, fcntl(2); prctl(2) would, too, but loading ctypes takes longer.
    """
    import fcntl
    import select
    import signal

    fcntl.fcntl(answer, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(answer, fcntl.F_SETSIG, signal.SIGTERM)
    flags = fcntl.fcntl(answer, fcntl.F_GETFL)
    fcntl.fcntl(answer, fcntl.F_SETFL, flags | os.O_ASYNC)
    gone = select.poll()
    gone.register(answer, 0)
    if gone.poll(0):
        os._exit(1)
    yield
    fcntl.fcntl(answer, fcntl.F_SETFL, flags)  # it would also tell that somebody reads


def _receive(fd: int, deadline: float) -> tuple[bytes, bool]:
    """Everything up to the end, and whether that came in time."""
    import select

    found = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([fd], [], [], left)
        if not ready:
            continue
        data = os.read(fd, _CHUNK)
        if not data:
            return bytes(found), True
        found += data
    return bytes(found), False


def _reap(pid: int, seconds: float) -> int | None:
    """Its exit status, negative for a signal; None where the kernel does not let it go."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)
