"""Which variables does a file of shell assignments set?  Pure: nothing in it is ever run.

    file       = { line }
    line       = [ "export" ] { assignment | name-after-export } ( newline | ";" | "#" comment newline )
    assignment = NAME "=" { plain | "\\" any | "'" any "'" | '"' text '"' | reference }
    reference  = "$" NAME | "${" NAME "}"

A backslash at the end of a line continues it, but for single quotes.  In double quotes a backslash
escapes $ ` " and itself only.  A reference is to an assignment further up, or in a file read before;
nothing else is known here, so any other reference is an error, as is whatever a shell would run or
expand: $(...), `...`, ${x:-y}, $((...)), ~, and commands.  That is what dash, bash and POSIX agree on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Mapping

from kexec_hook.errors import KexecHookError
from kexec_hook.tuples import NamedTuple

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[^\s;&|<>()]+")
_BLANKS = " \t"
_ENDS = " \t\n;"
_OPERATORS = "&|<>()"
_NO_TEXT = (
    ("\ufeff", "a byte order mark"),
    ("\r", "a carriage return"),
    ("\0", "a NUL byte"),
)


class Assigned(NamedTuple):
    value: str
    origin: str  # file:line of the name


class SettingsError(KexecHookError):
    """A settings file says something that cannot be understood; prints with file, line and a caret."""

    def __init__(self, message: str, text: str = "", column: int = 0, width: int = 1) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]}...{message[-_LONGEST // 2 :]}"
        start = max(0, min(column - _BEFORE, len(text) - _SHOWN_TEXT))
        text = text[start : start + _SHOWN_TEXT]
        self.message = _printable(message)  # with file:line; one sentence
        self.text = _printable(text)
        self.column = column - start
        self.width = max(1, min(width, len(text) - self.column))
        super().__init__(self.message)

    def __str__(self) -> str:
        if not self.text.strip():
            return self.message
        underline = " " * self.column + "^" * self.width
        return "\n".join((self.message, "    " + self.text, "    " + underline))


_SHOWN = {"\t": " "}
_LONGEST, _SHOWN_TEXT, _BEFORE = (
    500,
    160,
    40,
)  # characters of a sentence, of a line, before the wrong word


def _printable(text: str) -> str:
    """One column for each character, and nothing that moves the cursor."""
    return "".join(c if c.isprintable() else _SHOWN.get(c, "?") for c in text)


def assignments(
    text: str, name: str, before: Mapping[str, Assigned] | None = None
) -> dict[str, Assigned]:
    """What the file sets, on top of what the files `before` it have set."""
    return _Reader(text, name, dict(before or {})).read()


class _Reader:
    def __init__(self, text: str, name: str, variables: dict[str, Assigned]) -> None:
        self.text = text
        self.name = name
        self.variables = variables
        self.at = 0

    def read(self) -> dict[str, Assigned]:
        for bad, called in _NO_TEXT:
            if bad in self.text:
                raise self.error(
                    f"{called}; save the file with Unix line ends, as text", self.text.index(bad)
                )
        exporting = False
        while self.at < len(self.text):
            if self.peek() in "\n;":
                exporting = False
                self.at += 1
            elif self.peek() in _BLANKS:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.peek() == "#":
                self.at = self.end_of_line()
            else:
                exporting = self.statement(exporting)
        return self.variables

    def statement(self, exporting: bool) -> bool:
        """One assignment, or the word export, whose effect lasts to the end of the command."""
        start = self.at
        name = _NAME.match(self.text, start)
        if name is None:
            raise self.command(start)
        end = name.end()
        if self.text.startswith("+=", end):
            raise self.error(
                f'not every shell knows +=; write {name[0]}="${name[0]} ..."',
                start,
                end + 2 - start,
            )
        if self.text.startswith("=", end):
            self.at = end + 1
            origin = f"{self.name}:{self.text.count(chr(10), 0, start) + 1}"
            self.variables[name[0]] = Assigned(self.value(), origin)
            return exporting
        if exporting and self.peek(end) in _ENDS:
            self.at = end
            return True
        if name[0] == "export" and self.peek(end) in _BLANKS and not exporting:
            self.at = end
            return True
        raise self.command(start)

    def value(self) -> str:
        parts: list[str] = []
        start = self.at
        while self.peek() not in _ENDS:
            c = self.peek()
            if c == "~" and (self.at == start or self.text[self.at - 1] == ":"):
                raise self.error(
                    "a shell would expand ~ here; write the path in full, or quote it", self.at
                )
            if c == "'":
                parts.append(self.single())
            elif c == '"':
                parts.append(self.double())
            elif c == "\\":
                parts.append(
                    "" if self.peek(self.at + 1) == "\n" else self.text[self.at + 1 : self.at + 2]
                )
                self.at += 2
            elif c in "$`":
                parts.append(self.reference())
            elif c in _OPERATORS:
                raise self.error(
                    f"{c} means something to a shell; put the value in quotes", self.at
                )
            else:
                parts.append(c)
                self.at += 1
        return "".join(parts)

    def single(self) -> str:
        start = self.at
        end = self.text.find("'", start + 1)
        if end < 0:
            raise self.error("this quote is never closed", start)
        self.at = end + 1
        return self.text[start + 1 : end]

    def double(self) -> str:
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            if self.at >= len(self.text):
                raise self.error("this quote is never closed", start)
            c = self.peek()
            following = self.text[self.at + 1 : self.at + 2]
            if c == '"':
                self.at += 1
                return "".join(parts)
            if c == "\\" and following and following in '$`"\\\n':
                parts.append(following.strip("\n"))
                self.at += 2
            elif c in "$`":
                parts.append(self.reference(quoted=True))
            else:
                parts.append(c)
                self.at += 1

    def reference(self, quoted: bool = False) -> str:
        start = self.at
        rest = self.text[start + 1 : start + 2]
        if self.text[start] == "`" or rest == "(":
            raise self.error(
                "a shell would run a command here; this file is only read, never run", start, 2
            )
        name = _NAME.match(self.text, start + 1 + (rest == "{"))
        if name is None:
            # A dollar before anything but a name, a digit or a special parameter is a dollar.
            if rest and (rest in "{@*#?-$!0123456789" or (rest in "'\"" and not quoted)):
                raise self.error(
                    f"${rest} means something to a shell; put a backslash before the dollar",
                    start,
                    2,
                )
            self.at += 1
            return "$"
        end = name.end()
        if rest == "{":
            if self.peek(end) != "}":
                raise self.error("only ${NAME} is understood here", start, end + 1 - start)
            end += 1
        if name[0] not in self.variables:
            raise self.error(f"{name[0]} has not been set further up", start, end - start)
        self.at = end
        return self.variables[name[0]].value

    def peek(self, at: int | None = None) -> str:
        at = self.at if at is None else at
        return self.text[at] if at < len(self.text) else "\n"

    def end_of_line(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def command(self, at: int) -> SettingsError:
        found = _WORD.match(self.text, at)
        word = found[0] if found else self.text[at]
        return self.error(
            f"`{word}` is not an assignment; this file is only read, never run", at, len(word)
        )

    def error(self, message: str, at: int, width: int = 1) -> SettingsError:
        start = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        line = self.text[start : len(self.text) if end < 0 else end].rstrip("\r")
        number = self.text.count("\n", 0, at) + 1
        return SettingsError(f"{self.name}:{number}: {message}", line, at - start, width)
