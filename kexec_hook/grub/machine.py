"""Runs GRUB script: control flow, functions, commands, GRUB's error state.

Follows grub-core/script/execute.c of GRUB 2.06, whose behaviour 2.12 and 2.14 share
but for what Flavour names.  Commands come in as a table; nothing here knows one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from kexec_hook.grub.disks import Disks, Unseen
from kexec_hook.grub.errors import (
    BAD_ARGUMENT,
    EXTRACTOR,
    FILE_NOT_FOUND,
    INVALID_COMMAND,
    OK,
    RECURSION_DEPTH,
    TEST_FAILURE,
    UNKNOWN_COMMAND,
    CommandError,
)
from kexec_hook.grub.flavours import Flavour
from kexec_hook.grub.fuel import Fuel
from kexec_hook.grub.script.parser import parse
from kexec_hook.grub.script.source import Source, Span, read_source
from kexec_hook.grub.script.syntax import Command, For, If, Loop, Script, Statement
from kexec_hook.grub.values import Binding, Call
from kexec_hook.grub.words import Expander, special

_DEEPEST_NODE = 64  # execute.c:MAX_RECURSION_DEPTH
_STATUS = {n: Binding(str(n)) for n in range(64)}
# GRUB_COMMAND_FLAG_EXTRACTOR
_EXTRACTORS = frozenset(("set", "menuentry", "submenu", "search", "test", "["))
_CONFIG = ("config_file", "config_directory")
# Commands whose answer counts, and their modules, which not every image has built in.
_MODULES = {
    "cpuid": "cpuid", "decrement": "increment", "eval": "eval", "false": "true", "hwmatch": "hwmatch",
    "increment": "increment", "keystatus": "keystatus", "probe": "probe", "regexp": "regexp", "sleep": "sleep",
    "smbios": "smbios", "time": "time", "true": "true",
}  # fmt: skip


class Machine(Expander):
    """One GRUB between reset and boot: an environment that can be run.

    `run` executes a configuration; commands change the state through the public attributes.
    """

    def __init__(
        self, disks: Disks, table: Mapping[str, Handler], flavour: Flavour, fuel: Fuel | None = None
    ) -> None:
        super().__init__(disks, flavour, fuel)
        self.table = table
        self._executing: dict[str, int] = {}
        self._depth = 0
        self._loops = 0
        self._breaks = 0
        self._continue = False
        self._returning = False

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

    def _unit(self, unit: Script) -> int:
        for function in unit.functions:
            if self._executing.get(function.name):
                self.fail(
                    CommandError(BAD_ARGUMENT, "attempt to redefine a function being executed")
                )
            else:
                self.functions[function.name] = function.body
        if unit.broken:
            self.print_error()
            self.report(unit.broken.error.message, unit.broken.error.span, INVALID_COMMAND)
            return self.errno
        return self._list(unit.statements) if unit.statements else OK

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

    # Control flow

    def _enter(self, statements: Iterable[Statement]) -> bool:
        """Count one nested node; every overflow leaks one level for good, as in GRUB."""
        self._depth += 1
        if self._depth < _DEEPEST_NODE:
            return True
        self.fail(
            CommandError(RECURSION_DEPTH, "maximum recursion depth exceeded", _place(statements))
        )
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
                self.env[statement.name] = self.env[statement.name]._replace(
                    origin=span, via=reads, evidence=1
                )
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
            words.append(
                "{" + command.words.source.text[command.block.start : command.block.end] + "}"
            )
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
        status = (
            self._call_function(name, body, call.args)
            if body is not None
            else self._call(handler, call)
        )
        if invert:
            status = self._inverted(status)
        if self.errno == TEST_FAILURE:
            self.errno = OK
        self.print_error()
        return status

    def command(self, name: str) -> Handler | None:
        if name in self.flavour.lacks or name in self.absent:
            return None
        handler, module = self.table.get(name), _MODULES.get(name)
        missing = self.missing(module) if handler and module else ""
        if not missing:
            return handler
        return _fail if missing == "failing" else None

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
        except Unseen as unseen:  # goes on as if nothing were there
            self.unseen(unseen, call.span)
            return self.fail(CommandError(FILE_NOT_FOUND, unseen.reason, call.span))

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
        elif special(name):
            self.report(f"invalid variable name `{name}'", call.span, BAD_ARGUMENT)
        else:
            self.set(name, value, call)


Handler = Callable[[Machine, Call], int]


def _fail(machine: Machine, call: Call) -> int:
    raise call.error(
        FILE_NOT_FOUND, f"the module with `{call.name}' is not there, or may not be loaded"
    )


def _place(statements: Iterable[Statement]) -> Span | None:
    """Where the first command of some statements stands."""
    for statement in statements:
        if isinstance(statement, Command):
            return statement.span
        return _place(statement.body if isinstance(statement, For) else statement.condition)
    return None


def _shorten(name: str) -> str:
    """script/function.c:grub_script_function_find names 20 bytes, and no broken character."""
    return name.encode("utf-8", "surrogateescape")[:20].decode("utf-8", "ignore")
