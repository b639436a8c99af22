"""What running makes: variables with their evidence, calls, entries, what is loaded, and what went wrong."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.disks import GrubPath
from kexec_hook.grub.errors import CommandError
from kexec_hook.grub.script.source import Source, Span
from kexec_hook.grub.script.syntax import Command, Place
from kexec_hook.tuples import NamedTuple


class Read(NamedTuple):
    """One use of a variable, with what it held at that moment."""

    name: str
    binding: Binding | None  # None: unset, and expanded to nothing
    place: Place | Span

    @property
    def span(self) -> Span:
        return self.place.span if isinstance(self.place, Place) else self.place


class Binding(NamedTuple):
    """A variable's value and where it came from: the command that set it, and what that command read."""

    value: str
    origin: Span | None = None
    via: tuple[Read, ...] = ()
    exported: bool = False
    evidence: int = 0  # how many reads stand behind each other


class Problem(NamedTuple):
    """An error that GRUB would print, or a thing we could not follow; the script went on."""

    message: str
    span: Span | None
    errno: int


class Refusal(NamedTuple):
    """A command whose effect no kexec can bring about, in the words the user reads."""

    reason: str
    span: Span | None
    code: str = ""  # empty: the one of its kind
    fix: str = ""  # what to do about it


class Halted(Exception):
    """GRUB stops running scripts here: it boots, reboots, exits, or waits for somebody."""

    def __init__(self, how: str, span: Span | None = None) -> None:
        super().__init__(how)
        self.how = how  # boot, menu, or the command's name
        self.span = span


class Call(NamedTuple):
    """One command about to run: its name and expanded words, and where they were written."""

    name: str
    args: list[str]
    command: Command
    reads: tuple[Read, ...]
    offset: int = 1  # how many written words stand before args: the name, and `!`

    @property
    def span(self) -> Span:
        return self.command.span

    def arg_span(self, index: int) -> Span:
        """Where the argument was written; the whole command where expansion changed the number of words."""
        written = len(self.command.words.words) + (self.command.block is not None) - self.offset
        if (
            written != len(self.args)
            or not 0 <= index < len(self.command.words.words) - self.offset
        ):
            return self.span
        return self.command.words.span(index + self.offset)

    def error(self, errno: int, message: str, arg: int = -1) -> CommandError:
        return CommandError(errno, message, self.arg_span(arg) if arg >= 0 else self.span)


class Initrd(NamedTuple):
    path: GrubPath
    newc: str = ""  # initrd newc:NAME:PATH: the file becomes this member of a cpio archive


class Loaded(NamedTuple):
    """What a loader command put in place; `kind` is linux, or the name of a loader that kexec cannot stand in for."""

    kind: str
    path: GrubPath | None
    words: tuple[str, ...]  # as the command got them, the path first
    kcmdline: str
    initrds: tuple[Initrd, ...]
    devicetree: GrubPath | None
    call: Call
    initrd_call: Call | None = None


class Code(NamedTuple):
    """A menu entry's body: a part of a text, kept as text and run behind a generated setparams line."""

    source: Source
    start: int
    end: int
    prefix: str = ""

    def whole(self) -> Source:
        return self.source.cut(self.start, self.end, self.prefix)


class Entry(NamedTuple):
    """One item of a menu."""

    title: str
    id: str
    args: tuple[str, ...]
    classes: tuple[str, ...]
    users: str | None  # None: anyone may boot it; otherwise users beside the superusers
    hotkey: str
    submenu: bool
    code: Code
    span: Span
    reads: tuple[Read, ...] = ()


class EnvWrite(NamedTuple):
    """A variable that save_env would write to an environment block; None deletes it."""

    path: GrubPath
    name: str
    value: str | None
    span: Span
