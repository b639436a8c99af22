"""A program that is shut in: it reads the files and devices it is given and the system's libraries, and nothing else.

Seen from inside there is a root of its own with /usr, the program and `/0`, `/1`, ...: the devices.
As root the child gets a mount, a network and an IPC namespace, and a uid that no process and
no file of this machine has; an ordinary user's child keeps its rights as far as Landlock lets it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct
from collections.abc import Callable, Sequence

from kexec_hook.tuples import NamedTuple

_MEMORY = 512 << 20  # bytes of address space
_SECONDS = 20  # of processor time
_FILES = 64  # open at a time
_SYSTEM = ("usr", "bin", "lib", "lib32", "lib64", "libx32")
_HERE = "/run"  # the new root is mounted over it, in the child's own namespace

# linux/sched.h, linux/mount.h, linux/prctl.h
_NEW_MOUNTS, _NEW_NET, _NEW_IPC = 0x20000, 0x40000000, 0x8000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_PR_SET_NO_NEW_PRIVS = 38

# linux/landlock.h; one number on all machines but alpha
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1, 4, 8
_ALL_OF_FIRST, _REFER, _TRUNCATE = (1 << 13) - 1, 1 << 13, 1 << 14


class Confinement(NamedTuple):
    """What a child may read; `enter` is called in it, before the program is started."""

    original: str  # the program's path
    devices: tuple[str, ...]  # paths of block devices or regular files
    output: int  # bytes that it may write to the files it was given
    root: bool  # is this root's child?

    @property
    def program(self) -> str:
        """The program's path inside."""
        return "/program" if self.root else self.original

    @property
    def inside(self) -> list[str]:
        """The devices' paths inside."""
        return [f"/{n}" for n in range(len(self.devices))] if self.root else list(self.devices)

    def enter(self) -> None:
        """Shut the calling process in; where that fails it ends with status 125 and the reason on stderr."""
        try:
            self._enter()
        except BaseException as error:
            os.write(2, f"cannot be shut in: {error}\n".encode("utf-8", "replace"))
            os._exit(125)

    def _enter(self) -> None:
        if self.root:
            _call(_LIBC.unshare, _NEW_MOUNTS | _NEW_NET | _NEW_IPC)
            self._new_root()
            _drop_rights()
            _call(_LIBC.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            _landlock([("/", _EXECUTE | _READ_FILE | _READ_DIR)])
        else:
            _call(_LIBC.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            system = [(f"/{name}", _EXECUTE | _READ_FILE | _READ_DIR) for name in _SYSTEM]
            given = [(device, _READ_FILE) for device in self.devices]
            listed = [
                ("/", _READ_DIR),
                ("/etc/ld.so.cache", _READ_FILE),
            ]  # GRUB lists each directory on its way
            _landlock([*system, *given, *listed, (self.original, _EXECUTE | _READ_FILE)])
        for what, most in (
            (resource.RLIMIT_AS, _MEMORY),
            (resource.RLIMIT_CPU, _SECONDS),
            (resource.RLIMIT_FSIZE, self.output),
            (resource.RLIMIT_NOFILE, _FILES),
            (resource.RLIMIT_NPROC, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (most, most))

    def _new_root(self) -> None:
        _mount("none", "/", "", _REC | _PRIVATE)
        _mount("tmpfs", _HERE, "tmpfs", _NOSUID | _NOEXEC, "size=64k,nr_inodes=64,mode=755")
        os.umask(0o022)
        for name in _SYSTEM:
            if os.path.islink(f"/{name}"):
                os.symlink(os.readlink(f"/{name}"), f"{_HERE}/{name}")
            elif os.path.isdir(f"/{name}"):
                os.mkdir(f"{_HERE}/{name}")
                _bind(f"/{name}", f"{_HERE}/{name}")
        _bind_file(self.original, _HERE + self.program)
        for device, inside in zip(self.devices, self.inside):
            info = os.stat(device)
            if stat.S_ISBLK(info.st_mode):
                os.mknod(_HERE + inside, stat.S_IFBLK | 0o400, info.st_rdev)
                os.chown(_HERE + inside, _UID, _UID)
            else:
                _bind_file(device, _HERE + inside)
        _mount("", _HERE, "", _REMOUNT | _RDONLY | _NOSUID | _NOEXEC)
        os.chroot(_HERE)
        os.chdir("/")


def confined(program: str, devices: Sequence[str], output: int) -> Confinement:
    """What lets `program` read these devices or files, and write at most `output` bytes."""
    return Confinement(
        program, tuple(os.path.realpath(path) for path in devices), output, os.geteuid() == 0
    )


def flush(devices: Sequence[str], mounts: Sequence[str]) -> None:
    """Make the devices say what the file system mounted on `mounts` says.  OSError

    The kernel keeps what was read from a device apart from what was written to files, so
    it is dropped after the file system was written out (seen on ext4 and btrfs).
    """
    import fcntl

    for point in mounts:
        fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _call(_LIBC.syncfs, fd)
        finally:
            os.close(fd)
    for device in devices:
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISBLK(os.fstat(fd).st_mode):
                fcntl.ioctl(fd, _BLKFLSBUF)
        finally:
            os.close(fd)


def _drop_rights() -> None:
    os.setgroups([])
    os.setresgid(_UID, _UID, _UID)
    os.setresuid(_UID, _UID, _UID)  # and with the last uid 0 go all capabilities


def _landlock(allowed: Sequence[tuple[str, int]]) -> None:
    """Only these rights below these paths from here on, no TCP, no signals; nothing without Landlock in the kernel."""
    version = _LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    handled = _ALL_OF_FIRST | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", handled)
    attributes += struct.pack("=Q", 3) if version >= 4 else b""  # bind and connect
    attributes += struct.pack("=Q", 3) if version >= 6 else b""  # abstract sockets, signals
    ruleset = _call(_LIBC.syscall, _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    for path, access in allowed:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        access &= ~_READ_DIR if not stat.S_ISDIR(os.fstat(fd).st_mode) else access
        _call(_LIBC.syscall, _ADD_RULE, ruleset, 1, struct.pack("=Qi", access, fd), 0)
        os.close(fd)
    _call(_LIBC.syscall, _RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _bind_file(source: str, target: str) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    _bind(source, target)


def _bind(source: str, target: str) -> None:
    _mount(source, target, "", _BIND)
    _mount("", target, "", _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [
        word.encode("utf-8", "surrogateescape") or None for word in (source, target, kind, data)
    ]
    _call(_LIBC.mount, words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])


def _call(function: Callable[..., int], *arguments: object) -> int:
    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


_LIBC = ctypes.CDLL(None, use_errno=True)
_UID = (1 << 31) + int.from_bytes(
    os.urandom(3), "little"
)  # above all that systemd and useradd hand out
_BLKFLSBUF = (
    0x20001261 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 0x1261
)
