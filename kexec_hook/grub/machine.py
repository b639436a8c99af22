"""Runs GRUB script: variables, expansion, control flow, GRUB's error state; the only object here that changes.

Follows grub-core/script/execute.c of GRUB 2.06, whose behaviour 2.12 and 2.14 share
but for what Flavour names.  Commands come in as a table; nothing here knows one.
"""

from __future__ import annotations

import codecs
import posixpath
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kexec_hook.grub.disks import DiskError, Disks, GrubPath, Stat
from kexec_hook.grub.errors import (
    BAD_ARGUMENT,
    BAD_DEVICE,
    BAD_FILE_TYPE,
    BAD_FILENAME,
    EXTRACTOR,
    FILE_NOT_FOUND,
    GRUBS_OWN,
    INVALID_COMMAND,
    NOT_IMPLEMENTED_YET,
    OK,
    RECURSION_DEPTH,
    TEST_FAILURE,
    UNKNOWN_COMMAND,
    UNKNOWN_FS,
    CommandError,
    unknown_device,
)
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.parser import parse
from kexec_hook.grub.source import ScriptError, Source, Span, read_source
from kexec_hook.grub.syntax import Command, For, If, Lit, Message, Place, Statement, Unit, Var, Word, Words

if TYPE_CHECKING:
    from kexec_hook.grub.syntax import Loop

_DEEPEST_NODE = 64  # execute.c:MAX_RECURSION_DEPTH
_DEEPEST_EVIDENCE = 12  # how far back a value's reads are kept


class Flavour(NamedTuple):
    """Where GRUBs differ in what they boot."""

    name: str
    # rhboot tries every id, then every title, then a number; upstream starts with the number
    # (normal/menu.c:get_entry_number).
    names_first: bool = False
    # rhboot's submenus and configfiles inherit all variables, upstream's the exported ones
    # (normal/context.c:grub_env_context_open).
    inherit_all: bool = False
    # rhboot: `default` stays set in a submenu that was chosen without a tail.
    keep_default: bool = False
    # rhboot (from rhel-9, fedora-43): an entry boots, and ends without fallback, only by the status of its body.
    status_decides: bool = False
    # rhboot: a `\xHH` in a word is left as it is (script/execute.c, lib/cmdline.c).
    keep_hex_escapes: bool = False
    blscfg: str = ""  # whose: rhboot | upstream
    # Before 2.14, not in rhboot: blank lines at the end of `eval`'s text set its status to 0.
    blank_line_is_true: bool = True
    # 2.14 (lib/envblk.c) skips blank lines; before, the variable after one was lost.
    envblk_skips_blank: bool = False
    users_optional: bool = False  # rhboot: `--users` without a value leaves the entry to anyone (menuentry.c)
    cryptodisk_only: bool = False  # 2.14: search --cryptodisk-only
    # rhboot (CVE-2023-4001): search --root-dev-only looks at the disk of $root alone; Fedora's EFI stub asks for it.
    root_dev_only: bool = False
    lacks: frozenset[str] = frozenset()  # commands of other GRUBs
    title_may_be_empty_source: bool = True  # before 2.14: menuentry '' --source X is an entry
    features: tuple[str, ...] = ()  # feature_* variables beside the common ones
    variables: tuple[tuple[str, str], ...] = ()  # further variables it starts with


_COMMON_FEATURES = (
    "200_final", "all_video_module", "chainloader_bpb", "default_font_path", "menuentry_id", "menuentry_options",
    "nativedisk_cmd", "ntldr", "platform_search_hint", "timeout_style",
)  # fmt: skip

_OF_RHBOOT = frozenset(["decrement", "efi-export-env", "efi-load-env", "getenv", "increment", "version"])

UPSTREAM = Flavour("upstream", lacks=_OF_RHBOOT | {"blscfg"})
UPSTREAM_2_14 = Flavour(
    "upstream-2.14",
    blscfg="upstream",
    blank_line_is_true=False,
    envblk_skips_blank=True,
    cryptodisk_only=True,
    title_may_be_empty_source=False,
    lacks=_OF_RHBOOT,
    features=("search_cryptodisk_only", "tpm2_cap_pcrs", "gcry_hw_accel"),
)
RHBOOT = Flavour(
    "rhboot",
    names_first=True,
    inherit_all=True,
    keep_default=True,
    status_decides=True,
    keep_hex_escapes=True,
    users_optional=True,
    blscfg="rhboot",
    root_dev_only=True,
    cryptodisk_only=True,
    blank_line_is_true=False,
    features=("search_cryptodisk_only",),
    variables=(
        ("btrfs_relative_path", ""),
        ("btrfs_subvol", ""),
        ("btrfs_subvolid", ""),
        ("check_appended_signatures", "no"),
    ),
)
FLAVOURS: Mapping[str, Flavour] = {flavour.name: flavour for flavour in (UPSTREAM, UPSTREAM_2_14, RHBOOT)}


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
    span: Span


class Limit(ScriptError):
    """The script asked for more steps, memory, depth or time than any configuration needs."""


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
        if written != len(self.args) or not 0 <= index < len(self.command.words.words) - self.offset:
            return self.span
        return self.command.words.span(index + self.offset)

    def error(self, errno: int, message: str, arg: int = -1) -> CommandError:
        return CommandError(errno, message, self.arg_span(arg) if arg >= 0 else self.span)


Handler = Callable[["Machine", Call], int]


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


class Initrd(NamedTuple):
    path: GrubPath
    newc: str = ""  # initrd newc:NAME:PATH: the file becomes this member of a cpio archive


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


class Code(NamedTuple):
    """A menu entry's body: a part of a text, kept as text and run behind a generated setparams line."""

    source: Source
    start: int
    end: int
    prefix: str = ""

    def whole(self) -> Source:
        return self.source.cut(self.start, self.end, self.prefix)


class EnvWrite(NamedTuple):
    """A variable that save_env would write to an environment block; None deletes it."""

    path: GrubPath
    name: str
    value: str | None
    span: Span


class Fuel:
    """What an evaluation may still spend; one budget for everything that is run for one answer."""

    def __init__(self, statements: int = 1_000_000, mib: int = 64, seconds: float = 30.0) -> None:
        self.statements, self.mib = statements, mib
        self.steps = statements
        self.text = mib << 20  # characters made by expansion
        self.deadline = time.monotonic() + seconds

    def part(self) -> Fuel:
        """For one of many things to try, which would be reached one by one; the time is that of all."""
        part = Fuel(100_000, 8)
        part.deadline = self.deadline
        return part

    def burn(self, span: Span | None, steps: int = 1) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise Limit(f"this runs for ever, as far as can be told ({self.statements:,} statements)", span)
        if (steps > 1 or not self.steps & 0x3FF) and time.monotonic() > self.deadline:
            raise Limit("evaluating takes too long", span)

    def take(self, characters: int, span: Span | None) -> None:
        self.text -= characters
        if self.text < 0:
            raise Limit(f"the values of variables grow without end ({self.mib} MiB)", span)


_STATUS = {n: Binding(str(n)) for n in range(64)}
_SPLIT = r"[^\n\r \t]+"
_WILD = r"[*?\\]"
_ESCAPED = r"\\([\s\S])"
# rhboot leaves \xHH alone (execute.c:wildcard_escape, wildcard_unescape), so that systemd's escaped names survive.
_WILD_BUT_HEX = r"\\x[0-9A-Fa-f]{2}|([*?\\])"
_ESCAPED_BUT_HEX = r"(\\x[0-9A-Fa-f]{2})|\\([\s\S])"
_MESSAGE = r"\$\{[^}]*\Z|\$(?:\{([^}]*)\}|([0-9]+|[A-Za-z_][A-Za-z0-9_]*|[?#]))|\\(\\|\$)|[\s\S]"


class Machine:
    """One GRUB between reset and boot.

    `run` executes a configuration; commands change the state through the public
    attributes.  `fork` gives an independent copy, so that every menu entry can be
    tried on the state the menu was shown in.
    """

    def __init__(self, disks: Disks, table: Mapping[str, Handler], flavour: Flavour, fuel: Fuel | None = None) -> None:
        self.disks = disks
        self.table = table
        self.flavour = flavour
        self.fuel = fuel or Fuel()
        self.env: dict[str, Binding] = {}
        self.menu: list[Entry] | None = None
        self.params: list[str] | None = None  # $1...; None outside functions and entries
        self.functions: dict[str, tuple[Statement, ...]] = {}
        self.modules: set[str] = set()
        # The machine's PCI devices as hwmatch spells them, for when it asks; None: not known.
        self.pci: Callable[[], Sequence[str] | None] = lambda: None
        self.bls: dict[GrubPath, bool] = {}  # what rhboot's blscfg has read, and whether it is in the menu
        self.found: dict[tuple[str, str], str] = {}  # what `search` has found
        self.globbing = True  # the regexp module expands * and ? once it is loaded
        self.extracting = 0  # inside extract_entries_*: few commands run
        self.loaded: Loaded | None = None
        self.overlay: dict[GrubPath, bytes] = {}  # files as the script's save_env left them
        self.pending: list[EnvWrite] = []
        self.kcmdline: str | None = None  # of the last linux command, also where that failed
        self.executed: list[list[str]] = []  # loader commands with the words they got
        self.output: list[str] = []
        self.problems: list[Problem] = []
        self.refusals: list[Refusal] = []
        self.guesses: list[Refusal] = []  # where the outcome hangs on the clock, keys or hardware
        self.unsure: frozenset[str] = frozenset()  # variables that builds of GRUB differ in
        self.errno = OK
        self._message = ""
        self._contexts: list[tuple[dict[str, Binding], list[Entry] | None]] = []
        self._executing: dict[str, int] = {}
        self._depth = 0
        self._loops = 0
        self._breaks = 0
        self._continue = False
        self._returning = False

    def fork(self) -> Machine:
        """An independent copy of the state; disks, table and fuel are shared."""
        copy = Machine(self.disks, self.table, self.flavour, self.fuel)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list, set)):
                value = value.copy()
            setattr(copy, name, value)
        return copy

    # Variables

    def get(self, name: str) -> str | None:
        """The variable's value, None when it is not set.  $WEEKDAY and its like are guesses, not evidence."""
        binding = self.env.get(name)
        return None if binding is None else binding.value

    def set(self, name: str, value: str, call: Call | None = None) -> None:
        """Set a variable; `call` is kept as the evidence for its value."""
        old = self.env.get(name)
        exported = old is not None and old.exported
        hook = _HOOKS.get(name)
        if hook is not None:
            value = hook(value)
        if call is None:
            self.env[name] = Binding(value, exported=exported)
            return
        self.fuel.take(len(value), call.span)
        depth = 1 + max((read.binding.evidence for read in call.reads if read.binding), default=0)
        via = call.reads if depth <= _DEEPEST_EVIDENCE else ()
        self.env[name] = Binding(value, call.span, via, exported, depth if via else 0)

    def unset(self, name: str) -> None:
        if name in _HOOKED:
            self.set(name, "")
        else:
            self.env.pop(name, None)

    def export(self, name: str) -> None:
        self.env[name] = (self.env.get(name) or Binding(""))._replace(exported=True)

    def open_context(self, *, everything: bool = False) -> None:
        """A new set of variables, as for a submenu or configfile; what is copied in counts as exported."""
        self._contexts.append((self.env, self.menu))
        keep = everything or self.flavour.inherit_all
        self.env = {
            name: binding._replace(exported=True) for name, binding in self.env.items() if keep or binding.exported
        }
        self.menu = None

    def close_context(self) -> None:
        self.env, self.menu = self._contexts.pop()

    # Messages

    def say(self, text: str) -> None:
        """Write to the console, which shows what is no UTF-8 as `?` (normal/charset.c:grub_utf8_to_ucs4)."""
        self.fuel.take(len(text), None)
        if not text.isascii():
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "grub-console")
        self.output.append(text)

    def report(self, message: str, span: Span | None, errno: int) -> None:
        if len(self.problems) < 1000:
            self.problems.append(Problem(message, span, errno))

    def fail(self, error: CommandError) -> int:
        """grub_error: remember number and message until they are printed."""
        self.errno, self._message, self._error_span = error.errno, error.message, error.span
        return error.errno

    _error_span: Span | None = None

    def print_error(self) -> None:
        if self.errno:
            self.report(self._message, self._error_span, self.errno)
            self.errno = OK

    # Running text

    def run(self, source: Source, depth: int = 0) -> None:
        """Execute a configuration file (normal/main.c:read_config_file); depth: how many nodes are being executed."""
        if self.menu is None:
            self.menu = []
        self._depth += depth
        for unit in parse(source):
            self.print_error()
            self._unit(unit)
        self.print_error()
        self._depth -= depth

    def run_code(self, source: Source) -> int:
        """Execute generated text: a body, `eval` (execute.c:grub_script_execute_sourcecode), up to a syntax error."""
        status = OK
        for unit in parse(source):
            if unit.broken:
                self._unit(unit)
                return self.errno
            if unit.statements or unit.functions or self.flavour.blank_line_is_true:
                status = self._unit(unit)
        return status

    def run_scoped(self, source: Source, args: Sequence[str]) -> int:
        """run_code with positional parameters of its own."""
        outer, self.params = self.params, list(args)
        try:
            return self.run_code(source)
        finally:
            self.params = outer

    def _unit(self, unit: Unit) -> int:
        for function in unit.functions:
            if self._executing.get(function.name):
                self.fail(CommandError(BAD_ARGUMENT, "attempt to redefine a function being executed"))
            else:
                self.functions[function.name] = function.body
        if unit.broken:
            self.print_error()
            self.report(unit.broken.error.message, unit.broken.error.span, INVALID_COMMAND)
            return self.errno
        return self._list(unit.statements) if unit.statements else OK

    # Files

    def path(self, name: str, call: Call | None = None) -> GrubPath:
        """`(device)/path`, or a path on $root, as grub_file_open takes it.  CommandError."""
        device, path = self.get("root") or "", name
        if name.startswith("("):
            device, closed, path = name[1:].partition(")")
            if not closed:
                raise CommandError(BAD_FILENAME, "missing `)' symbol")
        elif not device:
            raise CommandError(BAD_DEVICE, "variable `root' isn't set")
        return GrubPath(device, path)

    def stat(self, path: GrubPath) -> Stat | None:
        return self.disks.stat(path)

    def open(self, name: str) -> GrubPath:
        """The file of this name, if GRUB could open it; else CommandError with GRUB's words."""
        path = self.path(name)
        device = self.disks.device(path.device)
        if device is None:
            raise unknown_device(path.device)
        if not path.path.startswith("/"):
            _check_block_list(path.path)
            return path
        if not device.fs:
            raise CommandError(UNKNOWN_FS, "unknown filesystem")
        found = self.stat(path)
        if found is None:
            raise self._missing(path)
        if found.kind == "dir":
            raise CommandError(BAD_FILE_TYPE, "not a regular file")
        return path

    def _missing(self, path: GrubPath) -> CommandError:
        above = path.path.rstrip("/")
        while "/" in above:
            above = above.rpartition("/")[0].rstrip("/")
            found = self.stat(GrubPath(path.device, above or "/"))
            if found is not None and found.kind == "file":
                return CommandError(BAD_FILE_TYPE, "not a directory")
            if found is not None:
                break
        return CommandError(FILE_NOT_FOUND, f"file `{path.path}' not found")

    def read(self, name: str, call: Call | None = None) -> bytes:
        """The contents of a file, with what the script itself wrote to it.  CommandError."""
        path = self.open(name)
        if self._same(path) in self.overlay:
            return self.overlay[self._same(path)]
        try:
            return self.disks.read(path)
        except DiskError as error:
            blocks = not path.path.startswith("/")
            if call and (blocks or error.errno not in GRUBS_OWN):
                what = f"what the blocks {path} hold" if blocks else f"what {path} holds"
                self.guesses.append(Refusal(f"{what} is not known: {error.message}", call.span))
                self.report(error.message, call.span, error.errno)
            if blocks:
                return b"\0" * 512
            raise CommandError(error.errno, error.message) from None

    def _same(self, path: GrubPath) -> GrubPath:
        """One spelling for the names of one file: (hd0,1)//grubenv is (hd0,gpt1)/grubenv."""
        device = self.disks.device(path.device)
        name = posixpath.normpath(path.path).replace("//", "/") if path.path.startswith("/") else path.path
        return GrubPath(device.name if device else path.device, name)

    def write_env(self, path: GrubPath, block: bytes, writes: Mapping[str, str | None], call: Call) -> None:
        """save_env: nothing is written here; the script goes on as if.  CommandError where GRUB cannot write."""
        device = self.disks.device(path.device)
        if re.match(_DISKFILTER, path.device):
            raise call.error(NOT_IMPLEMENTED_YET, "diskfilter writes are not supported")
        if device is not None and device.fs in ("btrfs", "zfs") and path.path.startswith("/"):
            raise call.error(BAD_FILE_TYPE, "sparse file not allowed")
        path = self._same(path)
        self.overlay[path] = block
        self.pending += [EnvWrite(path, name, value, call.span) for name, value in writes.items()]

    def run_file(self, name: str, call: Call | None = None) -> bool:
        """Execute a configuration file into the current menu; False, with the error set, where it is missing."""
        if self.menu is None:
            self.menu = []
        try:
            source = read_source(self._display(name), self.read(name, call))
        except CommandError as error:
            self.fail(error)
            return False
        old = self.get("config_file"), self.get("config_directory")
        full = name if name.startswith("(") else f"({self.get('root')}){name}"
        for variable, value in zip(_CONFIG, (full, full.rpartition("/")[0] or full)):
            self.set(variable, value)
            self.export(variable)
        self.run(source)
        for variable, before in zip(_CONFIG, old):
            if before is None:
                self.unset(variable)
            else:
                self.set(variable, before)
        return True

    def _display(self, name: str) -> str:
        """A file's name for messages."""
        return self.display(self.path(name)) if self.display else name

    display: Callable[[GrubPath], str] | None = None

    # Control flow

    def _enter(self, statements: Iterable[Statement]) -> bool:
        """Count one nested node; every overflow leaks one level for good, as in GRUB."""
        self._depth += 1
        if self._depth < _DEEPEST_NODE:
            return True
        self.fail(CommandError(RECURSION_DEPTH, "maximum recursion depth exceeded", _place(statements)))
        return False

    def _leave(self, status: int) -> int:
        self._depth -= 1
        self.env["?"] = _STATUS.get(status) or Binding(str(status))
        return status

    def _list(self, statements: Iterable[Statement]) -> int:
        if not self._enter(statements):
            return RECURSION_DEPTH
        status = OK
        for statement in statements:
            if self._breaks:
                break
            status = self._statement(statement)
            if self._returning:
                break
        return self._leave(status)

    def _statement(self, statement: Statement) -> int:
        if not self._enter((statement,)):
            return RECURSION_DEPTH
        if isinstance(statement, Command):
            status = self._command(statement)
        elif isinstance(statement, If):
            status = self._if(statement)
        elif isinstance(statement, For):
            status = self._for(statement)
        else:
            status = self._loop(statement)
        return self._leave(status)

    def _if(self, statement: If) -> int:
        status = self._list(statement.condition)
        if self._returning:
            return status
        self.errno = OK
        if self.get("?") == "0":
            return self._list(statement.then)
        if isinstance(statement.orelse, If):
            return self._statement(statement.orelse)
        return self._list(statement.orelse) if statement.orelse else OK

    def _for(self, statement: For) -> int:
        if not statement.words.words:
            return self.errno
        words, reads = self.expand(statement.words)
        span = Span(statement.words.source, statement.words.start, statement.words.end)
        self._loops += 1
        status = OK
        for word in words:
            self.fuel.burn(span)
            if self._continue and self._breaks == 1:
                self._breaks = 0
            if not self._breaks:
                self.set(statement.name, word)
                self.env[statement.name] = self.env[statement.name]._replace(origin=span, via=reads, evidence=1)
                status = self._list(statement.body)
                if self._returning:
                    break
        self._end_loop()
        return status

    def _loop(self, statement: Loop) -> int:
        self._loops += 1
        place = _place(statement.condition)
        while True:
            self.fuel.burn(place)
            status = self._list(statement.condition)
            if self._returning or bool(status) != statement.until:
                break
            status = self._list(statement.body)
            if self._left_loop():
                break
        self._end_loop()
        return status

    def _left_loop(self) -> bool:
        """After a loop's body: did `return` or `break` end the loop?"""
        if self._returning:
            return True
        if self._breaks == 1 and self._continue:
            self._breaks = 0
        return self._breaks > 0

    def _end_loop(self) -> None:
        if self._breaks:
            self._breaks -= 1
        self._loops -= 1

    def break_loops(self, count: int, *, resume: bool) -> None:
        """`break N`, and with `resume` `continue N`."""
        self._continue = resume
        self._breaks = min(count, self._loops)

    def return_from_function(self) -> None:
        self._returning = True

    # Commands

    def _command(self, command: Command) -> int:
        span = command.span
        self.fuel.burn(span)
        words, reads = self.expand(command.words)
        if command.block:
            words.append("{" + command.words.source.text[command.block.start : command.block.end] + "}")
        if not words:
            return self.errno
        self.fuel.take(sum(map(len, words)), span)
        invert = words[0] == "!"
        if invert:
            if len(words) < 2:
                return self.fail(CommandError(BAD_ARGUMENT, "no command is specified", span))
            del words[0]
        name = words[0]
        handler = self.command(name)
        body = None
        if handler is None:
            self.errno = OK
            body = self.functions.get(name)
            if body is None:
                self._assign(words[0], Call(name, words[1:], command, reads, 1 + invert))
                return OK
        call = Call(name, words[1:], command, reads, 1 + invert)
        status = self._call_function(name, body, call.args) if body is not None else self._call(handler, call)
        if invert:
            status = self._inverted(status)
        if self.errno == TEST_FAILURE:
            self.errno = OK
        self.print_error()
        return status

    def command(self, name: str) -> Handler | None:
        return None if name in self.flavour.lacks else self.table.get(name)

    def _call(self, handler: Handler | None, call: Call) -> int:
        assert handler is not None
        if self.extracting and call.name not in _EXTRACTORS:
            message = f"{call.name} isn't allowed to execute in an extractor"
            return self.fail(CommandError(EXTRACTOR, message, call.span))
        try:
            return handler(self, call)
        except CommandError as error:
            if error.span is None:
                error.span = call.span
            return self.fail(error)

    def _inverted(self, status: int) -> int:
        if status == TEST_FAILURE:
            self.errno = OK
            return OK
        if status == OK:
            return self.fail(CommandError(TEST_FAILURE, "false"))
        self.print_error()
        return OK

    def _call_function(self, name: str, body: tuple[Statement, ...], args: list[str]) -> int:
        loops, self._loops = self._loops, 0
        outer, self.params = self.params, args
        self._executing[name] = self._executing.get(name, 0) + 1
        try:
            return self._list(body)
        finally:
            self._executing[name] -= 1
            self._returning = False
            self._loops = loops
            self.params = outer

    def _assign(self, word: str, call: Call) -> None:
        """`name=value` is tried last, when neither a command nor a function has that name."""
        name, equals, value = word.partition("=")
        if not equals:
            span = call.command.words.span(call.offset - 1)
            self.report(f"can't find command `{_shorten(word)}'", span, UNKNOWN_COMMAND)
        elif _special(name):
            self.report(f"invalid variable name `{name}'", call.span, BAD_ARGUMENT)
        else:
            self.set(name, value, call)

    # Expansion

    def expand(self, words: Words) -> tuple[list[str], tuple[Read, ...]]:
        """Words as a command gets them, and the variables read for it (execute.c:grub_script_arglist_to_argv)."""
        result: list[str] = []
        reads: list[Read] = []
        for index, word in enumerate(words.words):
            if word.constant is not None:
                result.append(word.constant)
            else:
                self._expand_word(word, Place(words, index), result, reads)
        return result, tuple(reads)

    def _expand_word(self, word: Word, place: Place, result: list[str], reads: list[Read]) -> None:
        # None is an argument that nothing was put into yet: it vanishes unless something follows.
        slots: list[str | None] = [None]
        for part in word.parts:
            if isinstance(part, Lit):
                _append(slots, self._escape(part.text) if part.quoted else part.text or None)
            elif isinstance(part, Message):
                _append(slots, self._escape(self._translate(part.text, place, reads)))
            else:
                for number, value in enumerate(self._values(part, place, reads)):
                    if number and slots[-1] is not None:
                        slots.append(None)
                    _append(slots, self._escape(value) if part.quoted else _escape_value(value))
        for slot in slots:
            if slot is None:
                continue
            found = self._glob(slot, place.span) if self.globbing and slot[:1] in ("/", "(", "*") else []
            result.extend(found or [self.unescape(slot)])

    def _values(self, part: Var, place: Place, reads: list[Read]) -> list[str]:
        """What a variable adds: each element after the first begins a new word (execute.c:grub_script_env_get)."""
        name, params = part.name, self.params
        if not _special(name):
            binding = self.env.get(name)
            if name != "?":
                reads.append(Read(name, binding, place))
            value = binding.value if binding else ""
            if name in _CLOCK:
                self.guesses.append(Refusal(f"${name} depends on the clock", place.span))
            if name in self.unsure:
                self.guesses.append(Refusal(f"${name} is set by some builds of GRUB and not by others", place.span))
            if not value:
                return []
            return [value] if part.quoted else re.findall(_SPLIT, value)
        if params is None:
            return []
        if name == "#":
            return [str(len(params))]
        if name == "*" and part.quoted:
            return [" ".join(params)] if params else []
        if name in "*@":
            if part.quoted:
                return list(params)
            return [piece for value in params for piece in re.findall(_SPLIT, value)]
        number = int(name)
        if not 0 < number <= len(params):
            return []
        value = params[number - 1]
        return [value] if part.quoted else re.findall(_SPLIT, value)

    def _translate(self, text: str, place: Place, reads: list[Read]) -> str:
        """`$"..."`: variables are expanded, translations are not looked up (execute.c:gettext_append)."""

        def value(match: re.Match[str]) -> str:
            name = match[1] if match[1] is not None else match[2]
            if name is None:
                return match[3] or ("" if match[0].startswith("${") else match[0])
            if name == "#":
                return "" if self.params is None else str(len(self.params))
            binding = self.env.get(name)
            reads.append(Read(name, binding, place))
            return binding.value if binding else ""

        return re.sub(_MESSAGE, value, text)

    def _escape(self, text: str) -> str:
        """Protect what was quoted from wildcard expansion."""
        if not re.search(_WILD, text):
            return text
        if self.flavour.keep_hex_escapes:
            return re.sub(_WILD_BUT_HEX, lambda m: "\\" + m[1] if m[1] else m[0], text)
        return re.sub(_WILD, r"\\\g<0>", text)

    def unescape(self, text: str) -> str:
        """Take the protection away again."""
        if "\\" not in text:
            return text
        if self.flavour.keep_hex_escapes:
            return re.sub(_ESCAPED_BUT_HEX, lambda m: m[1] or m[2], text)
        return re.sub(_ESCAPED, r"\1", text)

    def _glob(self, pattern: str, span: Span) -> list[str]:
        from kexec_hook.grub.wildcard import expand

        found = expand(self, pattern) if re.search(_WILD, pattern) else []
        if len(found) > 1:
            # GRUB goes through the directory as it lies on the disk; from ext4 the kernel tells it in another order.
            self.guesses.append(Refusal(f"the order in which GRUB finds `{pattern}'", span))
        return found


def _show_broken(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?", error.end


codecs.register_error("grub-console", _show_broken)


def _place(statements: Iterable[Statement]) -> Span | None:
    """Where the first command of some statements stands."""
    for statement in statements:
        if isinstance(statement, Command):
            return statement.span
        return _place(statement.body if isinstance(statement, For) else statement.condition)
    return None


def _check_block_list(blocks: str) -> None:
    """blocks = [ offset ] "+" length { "," [ offset ] "+" length }   in sectors (kern/fs.c:grub_fs_blocklist_open)"""
    rest = blocks
    for _ in range(blocks.count(",") + 1):
        try:
            if not rest.startswith("+"):
                rest = strtoul(rest)[1]
            if not rest.startswith("+"):
                raise CommandError(BAD_FILENAME, "")
            length, rest = strtoul(rest[1:])
        except CommandError:
            length, rest = 0, ""
        if not length or (rest and rest[0] not in ", \n\r\t"):
            raise CommandError(BAD_FILENAME, f"invalid file name `{blocks}'")
        rest = rest[1:]


def _append(slots: list[str | None], text: str | None) -> None:
    if text is not None:
        slots[-1] = (slots[-1] or "") + text


def _escape_value(text: str) -> str:
    r"""An unquoted value: `*` and `?` stay wildcards, a backslash stays a backslash."""
    return re.sub(r"\\([*?])?", lambda m: "\\\\\\" + m[1] if m[1] else "\\\\", text) if "\\" in text else text


def _special(name: str) -> bool:
    return name[:1].isdigit() or name in ("#", "*", "@")


def _shorten(name: str) -> str:
    """script/function.c:grub_script_function_find names 20 bytes, and no broken character."""
    return name.encode("utf-8", "surrogateescape")[:20].decode("utf-8", "ignore")


def _without_parentheses(value: str) -> str:
    """kern/main.c:grub_env_write_root"""
    return value[1:-1] if value.startswith("(") and value.endswith(")") else value


# Variables with a hook: setting them changes what is stored, unsetting leaves them empty.
_HOOKS: dict[str, Callable[[str], str]] = {"root": _without_parentheses}
_HOOKED = frozenset([
    "root", "prefix", "color_normal", "color_highlight", "pager", "net_default_server", "net_default_interface",
    "pxe_default_server", "lang", "locale_dir", "secondary_locale_dir", "check_signatures",
    "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "WEEKDAY",
])  # fmt: skip
# GRUB_COMMAND_FLAG_EXTRACTOR
_EXTRACTORS = frozenset(("set", "menuentry", "submenu", "search", "test", "["))
_DISKFILTER = r"lvm/|lvmid/|md/|mduuid/|crypto|cryptouuid/|ldm/"
_CONFIG = ("config_file", "config_directory")
_CLOCK = frozenset(["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "WEEKDAY"])


def platform_variables(flavour: Flavour, platform: str, cpu: str, prefix: str, root: str) -> dict[str, Binding]:
    """The variables GRUB sets before grub.cfg is read (normal/main.c, kern/main.c)."""
    values = {f"feature_{name}": "y" for name in (*_COMMON_FEATURES, *flavour.features)}
    values.update(
        grub_platform=platform, grub_cpu=cpu, prefix=prefix, root=root, check_signatures="no",
        color_normal="light-gray/black", color_highlight="black/light-gray", pager="", lang="", locale_dir="",
        secondary_locale_dir="", net_default_server="", pxe_default_server="",
    )  # fmt: skip
    values.update(flavour.variables)
    # kern/main.c:grub_set_prefix_and_root; rhboot renamed the variable.
    values["fw_path" if flavour.name == "rhboot" else "cmdpath"] = prefix
    exported = _COMMON_EXPORTED | {name for name in values if name.startswith("feature_")}
    return {name: Binding(value, exported=name in exported) for name, value in values.items()}


_COMMON_EXPORTED = {"root", "prefix", "grub_cpu", "grub_platform", "color_normal", "color_highlight"}
