"""Boot Loader Specification snippets and the entries blscfg makes of them.

Two programs share the command's name: rhboot's commands/blscfg.c (Fedora, RHEL) and upstream's
commands/blsuki.c (since 2.14).  They differ in where they look, what they read and what they write.

snippet = { "#" text NL | key blank { blank } value NL }: a blank line or a bare key ends it, whatever follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kexec_hook.grub.commands.registry import Option, parse_options
from kexec_hook.grub.disks import DiskError, GrubPath
from kexec_hook.grub.errors import BAD_ARGUMENT, BAD_DEVICE, BAD_FILENAME, MENU, OK, UNKNOWN_FS, CommandError
from kexec_hook.grub.machine import Call, Code, Entry, Machine, Read, Refusal
from kexec_hook.grub.numbers import as_int, strtoul
from kexec_hook.grub.source import ScriptError, Source, Span, read_source
from kexec_hook.grub.vercmp import filevercmp_key, rhboot_key

_DIRECTORY = "/loader/entries/"
_FALLBACK = "/boot/loader/entries/"  # rhboot's alone
_SUFFIX = ".conf"
_GRUBS_OWN = (4, 5, 7, 25)  # errors that GRUB meets as we do: no directory, not found, a bad name, a loop of links
_KEY = re.compile(r"[ \t]*([^ \t]+)[ \t]*")


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


class _Crash(ScriptError):
    """GRUB itself dies here."""


def rhboot(m: Machine, call: Call) -> int:
    """blscfg [default | non-default | "(" device ")" directory | "(" device ")" path ".conf" | id].

    What it has read stays for the next call, and each entry gets into the menu once.
    """
    args = parse_options(call.args, ()).args
    word = args[0] if len(args) == 1 else None
    files = {rhboot_key(_name(path)): path for path in m.bls}
    for path in _rhboot_files(m, call, word):
        files.setdefault(rhboot_key(_name(path)), path)
    for index, (_, path) in enumerate(sorted(files.items(), reverse=True)):
        try:
            snippet = None if m.bls.setdefault(path, False) else _read(m, call, path, _rhboot_lines)
            if snippet is not None and _rhboot_wants(m, snippet, index, word):
                m.bls[path] = True
                _add(m, call, snippet, _rhboot_entry)
        except _Crash as crash:
            m.report(crash.message, crash.span, OK)
            m.refusals.append(Refusal(crash.message, crash.span or call.span))
    return OK


def _rhboot_files(m: Machine, call: Call, word: str | None) -> list[GrubPath]:
    """Where blscfg.c:bls_load_entries and find_entry look.  CommandError."""
    if word is not None and word.startswith("("):
        if word.endswith(_SUFFIX):
            return [m.open(word)]
        device, closed, directory = word[1:].partition(")")
        if not closed:
            raise call.error(BAD_ARGUMENT, "Filepath isn't correct", 0)
        return _list(m, call, device, directory, hidden=False) or []
    blsdir = m.get("blsdir")
    found = _list(m, call, m.get("root"), _DIRECTORY if blsdir is None else blsdir, hidden=False)
    if found is None:
        found = _list(m, call, m.get("root"), _FALLBACK, hidden=False)
    return found or []


def _rhboot_wants(m: Machine, snippet: Snippet, index: int, word: str | None) -> bool:
    """index counts all snippets, newest first (blscfg.c:bls_create_entries)."""
    if word is None or word.startswith("("):
        return True
    if word not in ("default", "non-default"):
        return word == snippet.id
    return (word == "default") == _is_default(m, snippet, snippet.id, index, whole=False)


def _rhboot_lines(source: Source) -> Iterator[Line]:
    for text, span in _texts(source):
        bare = text.lstrip(" \t")
        if bare.startswith("#"):
            continue
        if bare != text:  # read_entry moves the pointer over the blanks, and frees that
            raise _Crash("rhboot's GRUB crashes at a line that begins with a blank", span)
        # A TAB separates only where the line has no blank at all.
        at = text.find(" ") if " " in text else text.find("\t")
        if at < 0 or at + 1 == len(text):
            return
        value = text[at:].lstrip(" \t")
        yield Line(text[:at], value, span._replace(start=span.end - len(value)))


def _rhboot_entry(m: Machine, snippet: Snippet, linux: Line) -> Entry:
    """blscfg.c:create_entry, as in Fedora 44."""
    name, _, rest = snippet.id.partition(_SUFFIX)
    if rest:
        raise _Crash("rhboot's GRUB hangs at a file name with .conf in its middle", linux.span)
    body = _Body(m, keep_escaped=True)
    if m.get("save_default") == "true":
        body.add("savedefault")
    body.add("load_video\nset gfxpayload=keep\ninsmod gzio")
    options = body.expand_line(snippet.first("options"))
    if options is None:
        options = body.expand_variable("default_kernelopts", linux.span)
    body.add(f"linux ($root){linux.value}" + ("" if options is None else f" {options}"), linux)

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


_OPTIONS = (
    Option("path", "p", value=True),
    Option("enable-fallback", "f"),
    Option("show-default", "d"),
    Option("show-non-default", "n"),
    Option("entry", "e", value=True),
)


def upstream(m: Machine, call: Call) -> int:
    """blscfg [--path DIR] [--enable-fallback] [--show-default] [--show-non-default] [--entry FILE]."""
    parsed = parse_options(call.args, _OPTIONS)
    if parsed.args:
        raise call.error(BAD_ARGUMENT, "unexpected argument(s) found, see --help")
    files: dict[tuple[object, ...], GrubPath] = {}
    for path in _upstream_files(m, call, parsed.value("path"), "enable-fallback" in parsed.options):
        if files.setdefault(filevercmp_key(_name(path)), path) != path:
            _doubt(m, f"GRUB takes {path} for a file it has already read, and may read none after it", call.span)
    filters = {"entry", "show-default", "show-non-default"} & set(parsed.options)
    for index, (_, path) in enumerate(sorted(files.items(), reverse=True)):
        snippet = _read(m, call, path, _upstream_lines)
        if snippet is None:
            continue
        name = snippet.id + _SUFFIX
        show = "show-default" if _is_default(m, snippet, name, index, whole=True) else "show-non-default"
        if not filters or show in filters or name == parsed.value("entry"):
            _add(m, call, snippet, _upstream_entry)
    return OK


def _upstream_files(m: Machine, call: Call, path: str | None, fallback: bool) -> list[GrubPath]:
    """Where blsuki.c:blsuki_load_entries and blsuki_find_entry look.  CommandError."""
    device, directory, path = m.get("root"), _DIRECTORY, path or ""
    if path.endswith(_SUFFIX):
        if not path.startswith(("/", "(")):
            raise call.error(BAD_FILENAME, f"invalid file name `{path}'")
        if m.get("grub_platform") != "pc":
            _doubt(m, "GRUB 2.14 reads address 0 at `blscfg --path FILE.conf`, which may crash it", call.span)
        return [m.open(path)]
    if path.startswith("("):
        device, closed, directory = path[1:].partition(")")
        if not closed:
            raise call.error(BAD_ARGUMENT, f"invalid file name `{path}'")
    elif path.startswith("/"):
        directory = path
    found = _list(m, call, device, directory, hidden=True)
    if not found and fallback:
        found = _list(m, call, device, _DIRECTORY, hidden=True)
    return found or []


def _upstream_lines(source: Source) -> Iterator[Line]:
    for text, span in _texts(source):
        match = _KEY.match(text)
        if match is not None and match[1].startswith("#"):
            continue
        if match is None or match.end() == len(text):
            return
        yield Line(match[1], text[match.end() :], span._replace(start=span.start + match.end()))


def _upstream_entry(m: Machine, snippet: Snippet, linux: Line) -> Entry:
    """blsuki.c:bls_create_entry"""
    body = _Body(m)
    if m.get("blsuki_save_default") not in (None, "", "0", "false", "no", "disable"):  # kern/env.c:grub_env_get_bool
        body.add("savedefault")
    options = body.expand_line(snippet.first("options"))
    body.add(f"linux {linux.value}" + ("" if options is None else f" {options}"), linux)
    initrds = snippet.all("initrd")
    if initrds:
        body.add("initrd" + "".join(f" {line.value}" for line in initrds), initrds[0])
        # bls_get_linux allocates one byte too few, and memory comes in units of 16 bytes on i386-pc: what follows
        # may overwrite the newline (2.14: "can't find command `p?initrd'").
        size = len((linux.value if options is None else f"{linux.value} {options}").encode("utf-8", "surrogateescape"))
        if m.get("grub_platform") == "pc" and (size + len("linux \0")) % 16 == 0:
            m.report("GRUB 2.14 may lose the initrd here: the linux line has an unlucky length", linux.span, OK)
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

        def append() -> None:
            field = text[start : end + 1]
            if variable:
                binding = self.m.env.get(field)
                if field:
                    self.reads.append(Read(field, binding, span(start - 1, end + 1)))
                if binding is None:
                    return
                field = binding.value + " "
            self.m.fuel.take(len(field), span(start, end + 1))
            fields.append(field)

        for at, letter in enumerate(text):
            if letter == "$" and not (self.keep_escaped and text[end] == "\\"):
                if long():
                    append()
                    if not fields:
                        return None  # `$undefined$x ...`: all of it is lost
                variable, start = True, at + 1
            elif variable and not (letter.isascii() and (letter.isalnum() or letter == "_")):
                append()
                variable, start = False, at + (letter == " ")
            end = at
        if text and long():
            append()
        return "".join(fields) if fields else None


def _entry(snippet: Snippet, linux: Line, name: str, body: _Body) -> Entry:
    title = snippet.first("title") or linux
    hotkey = snippet.first("grub_hotkey")
    reads = tuple(body.reads)
    users = body.expand_line(snippet.first("grub_users"))  # None, also from an unset variable: anybody may boot it
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


def _add(m: Machine, call: Call, snippet: Snippet, make: Callable[[Machine, Snippet, Line], Entry]) -> None:
    """Put a snippet's entry into the menu, if it makes one."""
    linux = snippet.first("linux")
    if linux is None:
        message = "GRUB makes no entry of this file: no linux line, or one after a blank line or a key without a value"
        m.report(message, Span(snippet.source, 0, 0), OK)
    elif m.menu is None:
        m.fail(call.error(MENU, "no menu context"))
    else:
        m.menu.append(make(m, snippet, linux))


def _list(m: Machine, call: Call, device: str | None, directory: str, *, hidden: bool) -> list[GrubPath] | None:
    """The snippets in a directory, None where GRUB cannot list it.  CommandError where it cannot use the device."""
    if not device or m.disks.device(device) is None:
        raise call.error(BAD_DEVICE, f"disk `{device or ''}' not found")
    try:
        names = m.disks.list(GrubPath(device, directory))
    except DiskError as error:
        if error.errno == UNKNOWN_FS:
            raise call.error(error.errno, error.message) from None
        why = getattr(error, "why", "")  # the directory may be there, and we cannot see it
        if why or error.errno not in _GRUBS_OWN:
            _doubt(m, f"the entries in ({device}){directory} are not known: {why or error.message}", call.span)
        return None
    found = []
    for name in (name.rstrip("/") for name in names):
        if not name.endswith(_SUFFIX) or (name.startswith(".") and not hidden):
            continue
        path = GrubPath(device, f"{directory.rstrip('/')}/{name}")
        try:
            found.append(m.open(str(path)))
        except CommandError:
            # The error stays set while the directory is read on, which ends that on ext2.
            _doubt(m, f"GRUB cannot open {path}, and may read none of the entries after it", call.span)
    return found


def _read(m: Machine, call: Call, path: GrubPath, lines: Callable[[Source], Iterable[Line]]) -> Snippet | None:
    """A snippet, None where GRUB or we cannot read it."""
    m.fuel.burn(call.span)
    try:
        source = read_source(m.display(path) if m.display else str(path), m.read(str(path)))
    except CommandError as error:
        _doubt(m, f"the entry in {path} is not known: {error.message}", call.span)
        return None
    return Snippet(_name(path)[: -len(_SUFFIX)], source, tuple(lines(source)))


def _is_default(m: Machine, snippet: Snippet, name: str, index: int, *, whole: bool) -> bool:
    """Is this what $default means among the snippets?  `whole`: a number must be all there is."""
    default = m.get("default") or ""
    title = snippet.first("title")
    if default and default in (name, title.value if title else name):
        return True
    try:
        number, tail = strtoul(default)
    except CommandError:
        return False
    return number == index and not tail if whole else as_int(number) == index


def _doubt(m: Machine, reason: str, span: Span) -> None:
    m.report(reason, span, OK)
    m.guesses.append(Refusal(reason, span))


def _texts(source: Source) -> Iterator[tuple[str, Span]]:
    start = 0
    for text in source.text.split("\n")[:-1]:
        yield text, Span(source, start, start + len(text))
        start += len(text) + 1


def _name(path: GrubPath) -> str:
    return path.path.rpartition("/")[2]


def _beside(path: str) -> str:
    """What strrchr and strndup make of a path's directory: all of it where there is no slash."""
    return path[: path.rindex("/") + 1] if "/" in path else path
