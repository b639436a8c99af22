"""GRUB's environment block: edited by grub-editenv on a copy, and put where GRUB reads it in one write.

In place, not renamed: GRUB reads a file system without replaying its journal, and after a power cut finds the file
where it was.  Link, mode, owner and labels stay, and a block is never half there, whoever is killed: the kernel
takes its 1024 bytes at once, where grub-editenv itself empties the file first."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from kexec_hook.errors import KexecHookError
from kexec_hook.system.directory import LockedDirectory
from kexec_hook.system.process import ProcessError, Programs
from kexec_hook.tuples import NamedTuple

# Debian and its kin; Fedora, RHEL, SUSE.
NAMES = ("grub-editenv", "grub2-editenv")
TIMEOUT = 30.0  # seconds; it syncs the file to the disk
LIMIT = 1 << 20  # bytes of a block, which has 1024 mostly
SCRATCH = ".grubenv.new"  # goes with the next lock where we are killed


class EditenvError(KexecHookError):
    """The environment block was not read or not written; one sentence.  A failing program is the `__cause__`."""


class Editenv(NamedTuple):
    """grub-editenv or grub2-editenv.  Files are absolute paths of blocks that exist, but for `create`."""

    programs: Programs
    program: str

    @classmethod
    def find(cls, programs: Programs) -> Editenv:
        program = next((path for path in map(programs.find, NAMES) if path), None)
        if program is None:
            raise EditenvError(
                f"neither {' nor '.join(NAMES)} is installed; GRUB's environment cannot be written"
            )
        return cls(programs, program)

    def list(self, file: str) -> dict[str, str]:
        """The variables, in the block's order.

        The listing writes a line feed inside a value as it is: a line without `=` belongs to the
        value before it, and what follows a line feed and has a `=` reads as a variable.
        """
        return _variables(self._listing(file))

    def set(self, file: str, values: Mapping[str, str]) -> None:
        """Set variables in one write: all, or (too small a block) none; "" is set, and empty."""
        if values:
            self._run(
                file,
                "set",
                *(f"{_name(name)}={_value(name, value)}" for name, value in values.items()),
            )

    def unset(self, file: str, names: Iterable[str]) -> None:
        """Delete variables; one that is not set is no error."""
        words = [_name(name) for name in names]
        if words:
            self._run(file, "unset", *words)

    def create(self, file: str) -> None:
        """Write an empty block, over one that may be there."""
        self._call(file, "create")

    def replay(self, writes: Mapping[str, str | None], file: str) -> dict[str, str | None]:
        """Make the writes of GRUB's save_env (None: deleted) and read them back; returns what undoes them.

        Where one fails, what was there before is put back, for the next to read the block is GRUB.
        """
        before = self._listing(file)
        undo = {name: _variables(before).get(name) for name in writes}
        try:
            self._write(file, writes)
            listing = self._listing(file)
            wrong = [name for name, value in writes.items() if not _holds(listing, name, value)]
            if wrong:
                raise EditenvError(
                    f"{file}: {self.program} wrote {', '.join(wrong)}, but it reads back differently"
                )
        except EditenvError as error:
            if self._listing(file) != before:
                try:
                    self._write(file, undo)
                except EditenvError as worse:
                    raise EditenvError(
                        f"{error}; and what was there before could not be put back: {worse}"
                    ) from error
            raise
        return undo

    def _write(self, file: str, writes: Mapping[str, str | None]) -> None:
        deleted = [_name(name) for name, value in writes.items() if value is None]
        # Set first: it is the half that can fail (a full block), and then nothing has been written yet.
        self.set(file, {name: value for name, value in writes.items() if value is not None})
        self.unset(file, deleted)

    def _listing(self, file: str) -> str:
        return self._run(file, "list")

    def _run(self, file: str, *words: str) -> str:
        # Even `list` creates a block that is not there, which GRUB itself could never have written to.
        if not os.path.isfile(file):
            raise EditenvError(f"{file}: there is no environment block")
        return self._call(file, *words)

    def _call(self, file: str, *words: str) -> str:
        if not file.startswith("/"):  # "-" is a file of grub-editenv's own choice
            raise EditenvError(f"{file}: not an absolute path")
        try:
            # `--`, because a variable may be called -x.
            argv = (self.program, "--", file, *words)
            return self.programs.run(argv, timeout=TIMEOUT, undisturbed=True).stdout
        except ProcessError as error:
            raise EditenvError(str(error)) from error


def edited(
    held: LockedDirectory, programs: Programs, block: bytes, writes: Mapping[str, str | None]
) -> bytes:
    """The block as it is after GRUB's writes; a scratch file in our directory is edited.  EditenvError, StateError"""
    held.write(SCRATCH, block)
    try:
        Editenv.find(programs).replay(writes, f"{held.state.path}/{SCRATCH}")
        return held.state.read(SCRATCH) or b""
    finally:
        held.state.remove(SCRATCH)


def read_block(path: str) -> bytes:
    """EditenvError where it cannot be read."""
    try:
        with _open(path, os.O_RDONLY) as fd:
            return _contents(fd)
    except OSError as error:
        raise EditenvError(f"{path} cannot be read: {error.strerror or error}") from error


def block_now(path: str) -> bytes | None:
    """None where somebody has removed it.  EditenvError where it cannot be read."""
    return read_block(path) if os.path.lexists(path) else None


def replace_block(path: str, before: bytes, after: bytes) -> None:
    """Put `after` where `before` is.  EditenvError where something else is there, or it reads back differently."""
    try:
        with _open(path, os.O_RDWR) as fd:
            if _contents(fd) != before:
                raise EditenvError(f"{path} was changed by somebody else")
            if len(before) != len(after):
                raise EditenvError(f"{path} has {len(before)} bytes and would get {len(after)}")
            os.pwrite(fd, after, 0)
            os.fsync(fd)
            if _contents(fd) != after:
                raise EditenvError(f"{path} was written, but it reads back differently")
    except OSError as error:
        raise EditenvError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _open(path: str, mode: int) -> Iterator[int]:
    fd = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        yield fd
    finally:
        os.close(fd)


def _contents(fd: int) -> bytes:
    """As it is on the disk: a system that wakes from hibernation remembers what it held before GRUB wrote."""
    size = os.fstat(fd).st_size
    if size > LIMIT:
        raise OSError(errno.EFBIG, f"larger than {LIMIT} bytes")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, size, 0)


def _name(name: str) -> str:
    """A name that a block can hold: it would read `#x` as padding, and split at `=` and line feeds."""
    if not name or name.startswith("#") or any(c in name for c in "=\n\\\0"):
        raise EditenvError(f"GRUB's environment block cannot hold a variable called {name!r}")
    return name


def _value(name: str, value: str) -> str:
    if "\0" in value:
        raise EditenvError(
            f"GRUB's environment block cannot hold the value of {name}: it has a NUL byte"
        )
    return value


def _variables(listing: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    last = ""
    for line in listing.split("\n")[:-1]:
        name, equals, value = line.partition("=")
        if equals:
            variables[name] = value
            last = name
        elif variables:
            variables[last] += "\n" + line
    return variables


def _holds(listing: str, name: str, value: str | None) -> bool:
    if value is None:
        return f"\n{name}=" not in "\n" + listing
    return f"\n{name}={value}\n" in "\n" + listing
