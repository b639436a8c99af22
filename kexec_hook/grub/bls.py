"""What the two blscfg commands read in a snippet of the Boot Loader Specification, and the entry they make of it.

rhboot's is commands/blscfg.c, upstream's commands/blsuki.c (since 2.14).

snippet = { "#" text NL | key blank { blank } value NL }: a blank line or a bare key ends it, whatever follows.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kexec_hook.grub.errors import OK
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import ScriptError, Source, Span
from kexec_hook.grub.values import Code, Entry, Read
from kexec_hook.tuples import NamedTuple

SUFFIX = ".conf"
_KEY = r"[ \t]*([^ \t]+)[ \t]*"


class Line(NamedTuple):
    """One `key value` line."""

    key: str
    value: str
    span: Span  # of the value


class Snippet(NamedTuple):
    """One .conf file, as far as GRUB reads it."""

    id: str  # the file's name without .conf
    source: Source
    lines: tuple[Line, ...]

    def first(self, key: str) -> Line | None:
        return next(iter(self.all(key)), None)

    def all(self, key: str) -> list[Line]:
        return [line for line in self.lines if line.key == key]


class Crash(ScriptError):
    """GRUB itself dies here."""


def rhboot_lines(source: Source) -> Iterator[Line]:
    for text, span in _texts(source):
        bare = text.lstrip(" \t")
        if bare.startswith("#"):
            continue
        if bare != text:  # read_entry moves the pointer over the blanks, and frees that
            raise Crash("rhboot's GRUB crashes at a line that begins with a blank", span)
        # A TAB separates only where the line has no blank at all.
        at = text.find(" ") if " " in text else text.find("\t")
        if at < 0 or at + 1 == len(text):
            return
        value = text[at:].lstrip(" \t")
        yield Line(text[:at], value, span._replace(start=span.end - len(value)))


def rhboot_entry(m: Machine, snippet: Snippet, linux: Line) -> Entry:
    """blscfg.c:create_entry, as in Fedora 44."""
    name = _rhboot_id(snippet, linux)
    body = _Body(m, keep_escaped=True)
    if m.get("save_default") == "true":
        body.add("savedefault")
    _add_linux(body, snippet, linux)

    paths = [line.value for line in snippet.all("initrd")]
    beside = snippet.first("initrd") or linux
    early = m.env.get("early_initrd")
    if early is not None:
        body.reads.append(Read("early_initrd", early, beside.span))
        paths[:0] = [_beside(beside.value) + file for file in early.value.split(" ")]
    if paths:
        body.add("initrd" + "".join(f" ($root){path}" for path in paths), beside)
    line = snippet.first("devicetree")
    tree = body.expand_line(line)
    if tree is None and "devicetree" in m.env:
        tree = body.expand_variable("devicetree", linux.span)
        tree = None if tree is None else _beside(linux.value) + tree
    if tree is not None:
        body.add(f"devicetree ($root){tree}", line)
    return _entry(snippet, linux, name, body)


def el_8_entry(m: Machine, snippet: Snippet, linux: Line) -> Entry:
    r"""The same as in EL 8: no savedefault, early_initrd or devicetree, and `\$name` is a variable."""
    name = _rhboot_id(snippet, linux)
    body = _Body(m)
    _add_linux(body, snippet, linux)
    initrds = snippet.all("initrd")
    if initrds:
        body.add("initrd" + "".join(f" ($root){line.value}" for line in initrds), initrds[0])
    return _entry(snippet, linux, name, body)


def _rhboot_id(snippet: Snippet, linux: Line) -> str:
    name, _, rest = snippet.id.partition(SUFFIX)
    if rest:
        raise Crash("rhboot's GRUB hangs at a file name with .conf in its middle", linux.span)
    return name


def _add_linux(body: _Body, snippet: Snippet, linux: Line) -> None:
    body.add("load_video\nset gfxpayload=keep\ninsmod gzio")
    options = body.expand_line(snippet.first("options"))
    if options is None:
        options = body.expand_variable("default_kernelopts", linux.span)
    body.add(f"linux ($root){linux.value}" + ("" if options is None else f" {options}"), linux)


def upstream_lines(source: Source) -> Iterator[Line]:
    for text, span in _texts(source):
        match = re.match(_KEY, text)
        if match is not None and match[1].startswith("#"):
            continue
        if match is None or match.end() == len(text):
            return
        yield Line(match[1], text[match.end() :], span._replace(start=span.start + match.end()))


def upstream_entry(m: Machine, snippet: Snippet, linux: Line) -> Entry:
    """blsuki.c:bls_create_entry"""
    body = _Body(m)
    if m.get("blsuki_save_default") not in (
        None,
        "",
        "0",
        "false",
        "no",
        "disable",
    ):  # kern/env.c:grub_env_get_bool
        body.add("savedefault")
    options = body.expand_line(snippet.first("options"))
    body.add(f"linux {linux.value}" + ("" if options is None else f" {options}"), linux)
    initrds = snippet.all("initrd")
    if initrds:
        body.add("initrd" + "".join(f" {line.value}" for line in initrds), initrds[0])
        # bls_get_linux allocates one byte too few, and memory comes in units of 16 bytes on i386-pc: what follows
        # may overwrite the newline (2.14: "can't find command `p?initrd'").
        size = len(
            (linux.value if options is None else f"{linux.value} {options}").encode(
                "utf-8", "surrogateescape"
            )
        )
        if m.get("grub_platform") == "pc" and (size + len("linux \0")) % 16 == 0:
            m.report(
                "GRUB 2.14 may lose the initrd here: the linux line has an unlucky length",
                linux.span,
                OK,
            )
    line = snippet.first("devicetree")
    tree = body.expand_line(line)
    if tree is not None:
        body.add(f"devicetree {tree}", line)
    return _entry(snippet, linux, snippet.id, body)


class _Body:
    """The script of an entry while it is put together, and the variables that were read for it."""

    def __init__(self, m: Machine, *, keep_escaped: bool = False) -> None:
        self.m = m
        self.keep_escaped = keep_escaped
        self.text = ""
        self.numbers: list[int] = []
        self.reads: list[Read] = []

    def add(self, text: str, line: Line | None = None) -> None:
        self.m.fuel.take(len(text), line.span if line else None)
        self.text += text + "\n"
        self.numbers += [line.span.line if line else 0] * (text.count("\n") + 1)

    def expand_line(self, line: Line | None) -> str | None:
        if line is None:
            return None
        source, at, _ = line.span
        return self._expand(line.value, lambda start, end: Span(source, at + start, at + end))

    def expand_variable(self, name: str, span: Span) -> str | None:
        """The value of a variable, in which further variables are expanded."""
        binding = self.m.env.get(name)
        self.reads.append(Read(name, binding, span))
        return None if binding is None else self._expand(binding.value, lambda start, end: span)

    def _expand(self, text: str, span: Callable[[int, int], Span]) -> str | None:
        r"""blscfg.c:expand_val with its pointers: `$name` only; None where nothing was put into the result.

        A value gets a blank appended, and the one after the name is skipped.  A field of one byte is lost at the
        end, and so is a name of one byte there and before `$`.  `\$` is no variable to rhboot.
        """
        fields: list[str] = []
        start = end = 0
        variable = False

        def long() -> bool:
            return start != end or not text[start].isascii()

        for at, letter in enumerate(text):
            if letter == "$" and not (self.keep_escaped and text[end] == "\\"):
                if long():
                    fields += self._field(text, start, end, span, variable=variable)
                    if not fields:
                        return None  # `$undefined$x ...`: all of it is lost
                variable, start = True, at + 1
            elif variable and not (letter.isascii() and (letter.isalnum() or letter == "_")):
                fields += self._field(text, start, end, span, variable=True)
                variable, start = False, at + (letter == " ")
            end = at
        if text and long():
            fields += self._field(text, start, end, span, variable=variable)
        return "".join(fields) if fields else None

    def _field(
        self, text: str, start: int, end: int, span: Callable[[int, int], Span], *, variable: bool
    ) -> list[str]:
        """Text, or what stands for the variable of that name; nothing where that is not set."""
        field = text[start : end + 1]
        if variable:
            binding = self.m.env.get(field)
            if field:
                self.reads.append(Read(field, binding, span(start - 1, end + 1)))
            if binding is None:
                return []
            field = binding.value + " "
        self.m.fuel.take(len(field), span(start, end + 1))
        return [field]


def _entry(snippet: Snippet, linux: Line, name: str, body: _Body) -> Entry:
    title = snippet.first("title") or linux
    hotkey = snippet.first("grub_hotkey")
    reads = tuple(body.reads)
    users = body.expand_line(
        snippet.first("grub_users")
    )  # None, also from an unset variable: anybody may boot it
    return Entry(
        title=title.value,
        id=name,
        args=(title.value, *(line.value for line in snippet.all("grub_arg"))),
        classes=tuple(line.value for line in snippet.all("grub_class")),
        users=users,
        hotkey=hotkey.value if hotkey else "",
        submenu=False,
        code=Code(Source(snippet.source.name, body.text, body.numbers), 0, len(body.text)),
        span=Span(snippet.source, 0, len(snippet.source.text)),
        reads=reads,
    )


def _texts(source: Source) -> Iterator[tuple[str, Span]]:
    start = 0
    for text in source.text.split("\n")[:-1]:
        yield text, Span(source, start, start + len(text))
        start += len(text) + 1


def _beside(path: str) -> str:
    """What strrchr and strndup make of a path's directory: all of it where there is no slash."""
    return path[: path.rindex("/") + 1] if "/" in path else path
