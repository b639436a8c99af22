"""What GRUB's own file system drivers find on devices: `grub-fstest` and how its answers are read.

Three answers: there, not there (None), and `NoAnswer` for everything else, with the reason.
What the program prints is what GRUB's `ls` and `cat` print (grub-core/commands/ls.c,
grub-core/normal/misc.c, util/grub-fstest.c; seen with 2.06).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Literal

from kexec_hook.errors import KexecHookError
from kexec_hook.system.process import Completed, ProcessError, Programs, TimedOut
from kexec_hook.tuples import NamedTuple

PROGRAMS = ("grub-fstest", "grub2-fstest")
PACKAGES = "grub-common (Debian) or grub2-tools-extra (Fedora, EL)"
BUDGET = 30.0  # seconds for all looks of one run
LOOK = 10.0  # seconds for one of them
LISTING_LIMIT = 4 << 20  # bytes
FILE_LIMIT = 1 << 30  # bytes: the largest file that is copied

_LONG = r"(?P<size>DIR|\d+|\?+) *"
_WIDTH = 12  # of the first column
_TIME = r" (\d{14}) (.*)"
_INFO = (
    r"Filesystem type (?P<kind>\S+)(?: - Label `(?P<label>.*)')?(?: - Last modification time [^,]*)?"
    r"(?:, UUID (?P<uuid>\S+))? - (?:Sector size|Partition start)"
)


Kind = Literal["file", "dir"]
UNKNOWN = "cannot be read: grub-fstest finds no file system on it"


class NoAnswer(KexecHookError):
    """What GRUB would find cannot be known; str() is the reason, a clause without a subject's name at its start."""


class FileSystemInfo(NamedTuple):
    """What GRUB tells of a file system; what it does not tell is empty."""

    kind: str  # ext2, fat, btrfs, xfs, ...: empty where GRUB knows no file system there
    label: str = ""
    uuid: str = ""


class ListedFile(NamedTuple):
    """A name in a directory."""

    name: str
    is_dir: bool = False  # a link is none, wherever it leads
    size: int | None = None  # bytes of what it leads to; None: a directory, or leads to no file
    mtime: int | None = None  # seconds since the epoch


class Drivers:
    """The program that holds the drivers, and the time that it may take in one run."""

    def __init__(self, programs: Programs | None = None, budget: float = BUDGET) -> None:
        self._programs = programs or Programs()
        self._left = budget
        self.looks = 0  # how often the program was run

    def program(self) -> str:
        """Its path.  NoAnswer"""
        found = next((path for name in PROGRAMS if (path := self._programs.find(name))), None)
        if found is None:
            raise NoAnswer(f"cannot be read without grub-fstest, from {PACKAGES}")
        return found

    def run(
        self,
        devices: Sequence[str],
        words: Sequence[str],
        limit: int,
        mounts: Sequence[str],
        fresh: bool,
    ) -> tuple[Completed, int]:
        """Its result and a descriptor of a memory file with what it printed, which the caller closes.  NoAnswer

        `fresh`: the kernel's memory of the devices is dropped first.
        """
        from kexec_hook.system.confine import confined, flush  # few runs need it

        program = self.program()
        if self._left <= 0:
            raise NoAnswer(
                "was not read, as looking at what is not mounted has taken too long already"
            )
        for device in devices:
            _check(device)
        started = time.monotonic()
        output = os.memfd_create("grub-fstest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.looks += 1
        try:
            if fresh:
                flush(devices, mounts)
            shut_in = confined(program, devices, limit)
            argv = [program, "-c", str(len(devices)), *shut_in.inside, *words]
            result = self._programs.run(
                argv, stdout=output, confinement=shut_in, timeout=min(LOOK, self._left), check=False
            )
        except (OSError, ProcessError) as error:
            os.close(output)
            raise NoAnswer(_why(error)) from None
        finally:
            self._left -= time.monotonic() - started
        if result.status == -25:  # SIGXFSZ
            os.close(output)
            raise NoAnswer(f"holds more than the {limit} bytes that are read")
        return result, output


class Image:
    """One file system, on one device or several, as GRUB's drivers see it.

    `mounts` are the directories where it is mounted now: before each look it is written out.
    Every answer is kept.  What is not there is None; `NoAnswer` is raised for what cannot be known.
    """

    def __init__(
        self, drivers: Drivers, devices: Sequence[str], mounts: Sequence[str] = ()
    ) -> None:
        self.devices = tuple(devices)
        self._drivers = drivers
        self._mounts = tuple(mounts)
        self._answers: dict[tuple[str, ...], tuple[Completed, bytes] | NoAnswer] = {}
        self._looked = False

    def info(self) -> FileSystemInfo:
        """Its type, label and UUID."""
        result, output = self._ask("ls", "--", "-l", "(loop0)")
        if result.status != 0:
            raise NoAnswer(f"cannot be read: {_message(result)}")
        found = re.search(_INFO, _text(output), re.DOTALL)
        if found:
            kind = "ext2" if found["kind"] == "ext*" else found["kind"]
            return FileSystemInfo(kind, found["label"] or "", found["uuid"] or "")
        try:
            self.kind("/")  # for `ls` an error of reading is an unknown file system too
        except NoAnswer as unseen:
            if str(unseen) != UNKNOWN:
                raise
        return FileSystemInfo("")

    def kind(self, path: str) -> Kind | None:
        """What a path leads to, links followed."""
        result, _ = self._probe(path)
        if result.status == 0:
            return "file"
        said = _message(result)
        if said == "not a regular file":
            return "dir"
        if said in ("not a directory", "too deep nesting of symlinks"):
            return None
        if re.fullmatch(r"file `.*' not found", said, re.DOTALL):
            return None
        raise NoAnswer(UNKNOWN if said == "unknown filesystem" else f"cannot be read: {said}")

    def is_empty(self, path: str) -> bool:
        """Does the path lead to a file without a byte?"""
        result, output = self._probe(path)
        return result.status == 0 and not output

    def entry_kind(self, path: str) -> Kind | None:
        """What its directory says that it is, as GRUB's `test` asks: a link is a file, wherever it leads."""
        kind = self.kind(path)
        if kind == "file" or not _last(path):
            return kind
        names = self._listing(_above(path), "-a")
        if names is None:
            return None
        plain, directory = (f" {_last(path)}{slash} " in f" {names}" for slash in ("", "/"))
        if not plain and not directory and kind is None:
            return None
        if kind == "dir" and plain != directory:
            return "dir" if directory else "file"
        entry = self.entry(path)
        if entry is None:
            return None
        return "dir" if entry.is_dir else "file"

    def entry(self, path: str) -> ListedFile | None:
        """Its directory's entry, with its size and time."""
        entries = self._entries(_above(path)) or ()
        name = _last(path)
        exact = next((entry for entry in entries if entry.name == name), None)
        if exact or self.kind(path) is None:
            return exact
        return next((entry for entry in entries if entry.name.lower() == name.lower()), None)

    def entries(self, path: str) -> list[ListedFile] | None:
        """A directory in its own order, without `.` and `..`."""
        entries = self._entries(path)
        return (
            None
            if entries is None
            else [entry for entry in entries if entry.name not in (".", "..")]
        )

    def read(self, path: str, limit: int) -> bytes | None:
        """A whole regular file as it lies there, compressed or not; more than `limit` bytes are unseen."""
        fd = self.copy(path, limit)
        if fd is None:
            return None
        with open(fd, "rb") as file:
            return file.read()

    def copy(self, path: str, limit: int = FILE_LIMIT) -> int | None:
        """The same as a sealed memory file, at its start; the caller closes the descriptor."""
        if self.kind(path) != "file":
            return None
        result, output = self._run(["cat", f"(loop0){path}"], limit)
        try:
            if result.status != 0:
                raise NoAnswer(f"cannot be read: {_message(result)}")
            size, named = os.fstat(output).st_size, self._named_size(path)
            if named not in (None, size):
                raise NoAnswer(f"is damaged: GRUB reads {size} of its {named} bytes")
            _seal(output)
        except BaseException:
            os.close(output)
            raise
        return output

    def _named_size(self, path: str) -> int | None:
        try:
            entry = self.entry(path)
        except NoAnswer:  # because of some other name in that directory
            return None
        return entry.size if entry else None

    def _probe(self, path: str) -> tuple[Completed, bytes]:
        return self._ask("-n", "1", "cat", f"(loop0){path}")

    def _entries(self, path: str) -> list[ListedFile] | None:
        long, short = self._listing(path, "-la"), self._listing(path, "-a")
        return None if long is None or short is None else _merge(long, short)

    def _listing(self, path: str, options: str) -> str | None:
        result, output = self._ask("ls", "--", options, f"(loop0){path.rstrip('/')}/")
        if result.status == 0 and output.endswith(b"\n"):
            return _text(output[:-1])
        if self.kind(path) != "dir":  # `ls` is silent where it fails
            return None
        raise NoAnswer(f"cannot be listed: {_message(result) or 'GRUB gives no reason'}")

    def _ask(self, *words: str) -> tuple[Completed, bytes]:
        if words not in self._answers:
            try:
                result, output = self._run(words, LISTING_LIMIT)
                with open(output, "rb") as file:
                    self._answers[words] = result, file.read()
            except NoAnswer as unseen:
                self._answers[words] = unseen
        answer = self._answers[words]
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def _run(self, words: Sequence[str], limit: int) -> tuple[Completed, int]:
        fresh = bool(self._mounts) or not self._looked
        self._looked = True
        result, output = self._drivers.run(self.devices, words, limit, self._mounts, fresh)
        if result.status not in (0, 1):
            os.close(output)
            how = f"status {result.status}" if result.status > 0 else f"signal {-result.status}"
            said = _message(result)
            raise NoAnswer(
                f"cannot be read: grub-fstest ended with {how}" + (f": {said}" if said else "")
            )
        os.lseek(output, 0, os.SEEK_SET)
        return result, output


def _merge(long: str, short: str) -> list[ListedFile]:
    """The entries of a directory from `ls -la`, one in a line, and `ls -a`, which names also what cannot be opened.

    long = { size [ time ] name [ "/" ] newline }    short = { name [ "/" ] " " }
    """
    if "\n" in short or "\r" in short:
        raise NoAnswer("has a name with a line break in it")
    entries = []
    rest = short
    for line in long.splitlines():
        entry = _entry(line)
        word = entry.name + ("/ " if entry.is_dir else " ")
        before, found, rest = _split(rest, word)
        if not found:
            raise NoAnswer("was listed twice, and differently")
        # Left out by `ls -l`: links that lead to no file.  A blank in such a name would make it two.
        entries += [ListedFile(name) for name in before.split(" ") if name]
        entries.append(entry)
    return entries + [ListedFile(name) for name in rest.split(" ") if name]


def _split(text: str, word: str) -> tuple[str, bool, str]:
    """Text before a word, whether it is there, and text after it; words begin after a blank."""
    if text.startswith(word):
        return "", True, text[len(word) :]
    before, found, after = text.partition(" " + word)
    return before, bool(found), after


def _entry(line: str) -> ListedFile:
    import calendar

    found = re.match(_LONG, line)
    if not found:
        raise NoAnswer("was listed in a form that is not known")
    size = found["size"]
    rest = line[max(_WIDTH, len(size)) :]
    timed = re.fullmatch(_TIME, rest, re.DOTALL)
    name = timed[2] if timed else rest
    mtime = calendar.timegm(time.strptime(timed[1], "%Y%m%d%H%M%S")) if timed else None
    if size == "DIR":
        return ListedFile(name[:-1], is_dir=True, mtime=mtime)
    return ListedFile(name, size=int(size) if size.isdigit() else None, mtime=mtime)


def _message(result: Completed) -> str:
    """GRUB's own words: grub-fstest: error: cannot open `(loop0)/x': file `/x' not found."""
    said = result.stderr.strip()
    _, _, said = said.partition("error: ") if "error: " in said else ("", "", said)
    found = re.fullmatch(r"cannot open `.*?': (.*)", said, re.DOTALL) if "': " in said else None
    return (found[1] if found else said).rstrip(".")


def _check(device: str) -> None:
    """Is there anything to read?  NoAnswer"""
    import stat

    try:
        info = os.stat(device)
    except OSError as error:
        why = (
            "its device node is missing" if isinstance(error, FileNotFoundError) else error.strerror
        )
        raise NoAnswer(f"cannot be read: {why}") from None
    if stat.S_ISREG(info.st_mode):
        if info.st_size == 0:
            raise NoAnswer("cannot be read: the file in its place is empty")
        if os.geteuid() == 0 and not info.st_mode & 0o004:
            raise NoAnswer(
                "cannot be read: the file in its place is not readable by all, and is read without rights"
            )
    elif not stat.S_ISBLK(info.st_mode):
        raise NoAnswer("cannot be read: it is not a block device")
    elif os.geteuid() != 0:
        raise NoAnswer("can be read by root alone")


def _why(error: OSError | ProcessError) -> str:
    if isinstance(error, TimedOut):
        return "cannot be read: grub-fstest did not end in time"
    return f"cannot be read: {error}"


def _seal(fd: int) -> None:
    """Its bytes cannot change any more."""
    import fcntl

    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, 1033, 0x1 | 0x2 | 0x4 | 0x8)  # F_ADD_SEALS: seal, shrink, grow, write


def _above(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")
