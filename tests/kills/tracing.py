"""A process tree under ptrace: its system calls that change something, one by one, and a blow at one of them.

Each process of the tree has a seccomp filter that stops it at these calls alone, so that the tree runs at nearly full
speed.  Linux on x86-64; signals reach a process before its call is made, an error comes in the call's place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

# Linux' arch/x86/entry/syscalls/syscall_64.tbl
CALLS = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    44: "sendto",
    46: "sendmsg",
    56: "clone",
    57: "fork",
    58: "vfork",
    59: "execve",
    62: "kill",
    73: "flock",
    74: "fsync",
    75: "fdatasync",
    76: "truncate",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    85: "creat",
    86: "link",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    92: "chown",
    93: "fchown",
    94: "lchown",
    112: "setsid",
    133: "mknod",
    162: "sync",
    165: "mount",
    166: "umount2",
    188: "setxattr",
    190: "fsetxattr",
    200: "tkill",
    231: "exit_group",
    234: "tgkill",
    235: "utimes",
    258: "mkdirat",
    259: "mknodat",
    260: "fchownat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    266: "symlinkat",
    268: "fchmodat",
    272: "unshare",
    280: "utimensat",
    285: "fallocate",
    306: "syncfs",
    316: "renameat2",
    319: "memfd_create",
    322: "execveat",
    326: "copy_file_range",
    424: "pidfd_send_signal",
    435: "clone3",
    14: "rt_sigprocmask",  # changes what a signal does
}
_OPEN, _OPENAT = 2, 257  # where they may write
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# These cannot fail, or what they would tell is not a state of the machine.
_NEVER_FAIL = {"exit_group", "rt_sigprocmask", "setsid", "kill", "tkill", "tgkill", "sync"}
# Which argument is a path that says more than the call's name.
_PATHS = {
    "rename": 1,
    "renameat": 3,
    "renameat2": 3,
    "link": 1,
    "linkat": 3,
    "symlink": 1,
    "symlinkat": 2,
}
_PATHS |= dict.fromkeys(
    ("openat", "unlinkat", "mkdirat", "mknodat", "fchmodat", "fchownat", "utimensat"), 1
)
_PATHS |= dict.fromkeys(
    ("open", "unlink", "mkdir", "rmdir", "creat", "chmod", "chown", "truncate", "execve"), 0
)

_DESCRIPTORS = {
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "flock",
    "ftruncate",
    "fchmod",
    "fchown",
    "sendfile",
}
_NAMES = {**CALLS, _OPEN: "open", _OPENAT: "openat"}

_ARCH_X86_64 = 0xC000003E
_RET_ALLOW, _RET_TRACE = 0x7FFF0000, 0x7FF00000
_CONT, _GETREGS, _SETREGS, _SEIZE = 7, 12, 13, 0x4206
_EVENT_SECCOMP = 7
_OPTIONS = 2 | 4 | 8 | 0x10 | 0x80 | 0x100000  # FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
_WALL = 0x40000000
_ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi, rsi, rdx, r10, r8, r9 in struct user_regs_struct
_RAX, _ORIG_RAX = 10, 15

PATIENCE = 90  # seconds for the whole tree
HOLD = 1.5  # seconds for all others to end while one is held

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_Registers = ctypes.c_ulonglong * 27

Whom = Literal["main", "caller", "all"]


class Call(NamedTuple):
    """One system call that changes something."""

    pid: int
    main: bool  # made by the process that was started first
    alone: bool  # no other process of the tree is alive
    name: str
    what: str  # a path, mostly
    program: str

    @property
    def may_fail(self) -> bool:
        return self.name not in _NEVER_FAIL

    def __str__(self) -> str:
        return f"{self.name} {self.what}".rstrip() + f" by {self.program}"


class Blow(NamedTuple):
    """What happens at the call number `at`, the first being 1: a signal, or an error in the call's place."""

    at: int
    signal: int = 0
    errno: int = 0
    whom: Whom = "main"
    hold: bool = (
        False  # the caller, another than the main process, goes on only when the rest has ended
    )


def unsupported() -> str:
    """Why nothing can be traced here; empty where it can."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "system calls are known for Linux on x86-64 only"
    return ""


def start(program: Callable[[], object], output: Path) -> int:
    """Fork `program`, in a session of its own, with what it prints in `output`; its process number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _become(program, output)
    return pid


def _become(program: Callable[[], object], output: Path) -> NoReturn:
    status = 70
    try:
        os.setsid()
        for handled in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(handled, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDONLY)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for fd, number in ((null, 0), (file, 1), (file, 2)):
            os.dup2(fd, number)
        os.closerange(3, 256)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        try:
            program()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """The status of a process started by `start`, as subprocess has it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Tree:
    """A traced process and all its descendants."""

    def __init__(
        self, program: Callable[[], object], output: Path, blow: Blow | None = None
    ) -> None:
        self.calls: list[Call] = []
        self.struck: Call | None = None
        self.status: int | None = None  # of the first process, as subprocess has it
        self._blow = blow
        self._live: set[int] = set()  # threads too
        self._held = 0
        self._until = 0.0
        filters = _filters()

        def stopped() -> None:
            os.kill(os.getpid(), signal.SIGSTOP)
            _install(filters)
            program()

        self.main = start(stopped, output)
        os.waitpid(self.main, os.WUNTRACED)
        self._live.add(self.main)
        _ptrace(_SEIZE, self.main, 0, _OPTIONS)
        os.kill(self.main, signal.SIGCONT)

    def run(self) -> None:
        """Until all have ended, or, where the blow says so, all but the caller that is held.  TimeoutError."""
        previous = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(PATIENCE)
        try:
            while self._live - {self._held}:
                pid, status = os.waitpid(-1, _WALL | (os.WNOHANG if self._held else 0))
                if pid:
                    self._step(pid, status)
                elif time.monotonic() > self._until:  # the rest waits for the one that is held
                    held, self._held = self._held, 0
                    _ptrace(_CONT, held, 0, 0)
                else:
                    time.sleep(0.005)
        except TimeoutError:
            self._end()
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    @property
    def holds(self) -> bool:
        return self._held in self._live

    def release(self) -> None:
        """Let the one that is held go on, and wait until all have ended."""
        if self.holds:
            held, self._held = self._held, 0
            _ptrace(_CONT, held, 0, 0)
            self.run()

    def _end(self) -> None:
        for pid in self._live:
            _send(pid, signal.SIGKILL)
        while self._live:
            pid, status = os.waitpid(-1, _WALL)
            if os.WIFSTOPPED(status):
                _ptrace(_CONT, pid, 0, 0)
            else:
                self._live.discard(pid)

    def _step(self, pid: int, status: int) -> None:
        if not os.WIFSTOPPED(status):
            self._live.discard(pid)
            if pid == self.main:
                self.status = os.waitstatus_to_exitcode(status)
            return
        self._live.add(pid)  # a child may be seen before its parent tells of it
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_SECCOMP:
            self._called(pid)
            if self._held == pid:
                return
        passed_on = 0 if event else number
        _ptrace(_CONT, pid, 0, passed_on)

    def _called(self, pid: int) -> None:
        registers = _Registers()
        if not _ptrace(_GETREGS, pid, 0, ctypes.addressof(registers)):
            return
        leader = _leader(pid)
        call = _describe(pid, leader, registers)._replace(
            main=leader == self.main, alone={_leader(other) for other in self._live} <= {leader}
        )
        if call.name == "rt_sigprocmask" and not (call.main and call.alone):
            return  # what each start of a program brings, and not always in the same order
        self.calls.append(call)
        if self._blow and len(self.calls) == self._blow.at:
            self.struck = call
            self._strike(self._blow, pid, leader, registers)

    def _strike(
        self, blow: Blow, pid: int, leader: int, registers: ctypes.Array[ctypes.c_ulonglong]
    ) -> None:
        if blow.errno:
            registers[_ORIG_RAX] = ctypes.c_ulonglong(-1).value
            registers[_RAX] = ctypes.c_ulonglong(-blow.errno).value
            _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))
            return
        targets = {
            "main": {self.main},
            "caller": {leader},
            "all": {_leader(other) for other in self._live},
        }
        for target in targets[blow.whom]:
            _send(target, blow.signal)
        if blow.hold and leader != self.main:
            self._held = pid
            self._until = time.monotonic() + HOLD


def _too_long(*_: object) -> NoReturn:
    raise TimeoutError(f"it did not end within {PATIENCE} s")


def _ptrace(request: int, pid: int, address: int, data: int) -> bool:
    """Whether it was done: a process that was killed meanwhile is none any more."""
    if _libc.ptrace(request, pid, address, data) != -1:
        return True
    number = ctypes.get_errno()
    if number != errno.ESRCH:
        raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return False


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _leader(pid: int) -> int:
    """The process a thread belongs to."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))
    except (OSError, StopIteration):
        return pid


def _describe(pid: int, leader: int, registers: ctypes.Array[ctypes.c_ulonglong]) -> Call:
    name = _NAMES[registers[_ORIG_RAX]]
    what = ""
    if name in _PATHS:
        what = _text(pid, registers[_ARGUMENTS[_PATHS[name]]])
    elif name in _DESCRIPTORS:
        what = _link(f"/proc/{pid}/fd/{registers[_ARGUMENTS[0]]}")
    elif name == "rt_sigprocmask":
        what = {0: "block", 1: "unblock", 2: "set"}.get(registers[_ARGUMENTS[0]], "")
    return Call(pid, False, False, name, what, _program(leader))


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file, open("/proc/self/cmdline", "rb") as ours:
            line = file.read()
            forked = line == ours.read()
    except OSError:
        return "?"
    words = [os.path.basename(word.decode(errors="replace")) for word in line.split(b"\0")[:2]]
    return "kexec-hook" if forked else " ".join(words)


def _text(pid: int, address: int) -> str:
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            # Not beyond the page, which may be the last.
            return memory.read(4096 - address % 4096).partition(b"\0")[0].decode(errors="replace")
    except (OSError, ValueError, OverflowError):
        return "?"


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return "?"


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter)))


def _filters() -> ctypes.Array[_Filter]:
    """The seccomp filter: stop at the calls of CALLS, and at an open that may write."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    found = [
        (load, 0, 0, 4),
        (equal, 1, 0, _ARCH_X86_64),
        (give, 0, 0, _RET_ALLOW),
        (load, 0, 0, 0),
    ]
    for number in CALLS:
        found += [(equal, 0, 1, number), (give, 0, 0, _RET_TRACE)]
    for number, flags in ((_OPEN, 1), (_OPENAT, 2)):
        found += [(equal, 0, 4, number), (load, 0, 0, 16 + 8 * flags), (any_bit, 0, 1, _WRITING)]
        found += [(give, 0, 0, _RET_TRACE), (give, 0, 0, _RET_ALLOW)]
    found.append((give, 0, 0, _RET_ALLOW))
    return (_Filter * len(found))(*(_Filter(*line) for line in found))


def _install(filters: ctypes.Array[_Filter]) -> None:
    program = _Program(len(filters), ctypes.cast(filters, ctypes.POINTER(_Filter)))
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    for words in (
        (no_new_privileges, 1, 0, 0, 0),
        (set_seccomp, by_filter, ctypes.byref(program), 0, 0),
    ):
        if _libc.prctl(*words):
            raise OSError(ctypes.get_errno(), "no seccomp filter can be set")
