"""The command blscfg: which snippets of the Boot Loader Specification become entries, and in which order.

Two programs share the name: rhboot's commands/blscfg.c (Fedora, RHEL) and upstream's commands/blsuki.c (since 2.14).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable

from kexec_hook.grub import bls
from kexec_hook.grub.bls import SUFFIX, Crash, Line, Snippet
from kexec_hook.grub.commands.registry import Option, Options, parse_options
from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.grub.errors import (
    BAD_ARGUMENT,
    BAD_DEVICE,
    BAD_FILENAME,
    GRUBS_OWN,
    MENU,
    OK,
    UNKNOWN_FS,
    CommandError,
)
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import as_int, strtoul
from kexec_hook.grub.script.source import Source, Span, read_source
from kexec_hook.grub.values import Call, Entry, Refusal
from kexec_hook.grub.vercmp import el_8_key, filevercmp_key, rhboot_key

_DIRECTORY = "/loader/entries/"
_FALLBACK = "/boot/loader/entries/"  # rhboot's alone


def blscfg(m: Machine, call: Call) -> int:
    known = {"rhboot": _rhboot, "rhboot-8": _el_8, "suse": _suse}
    return known.get(m.flavour.blscfg, _upstream)(m, call)


def _rhboot(m: Machine, call: Call) -> int:
    """blscfg [default | non-default | "(" device ")" directory | "(" device ")" path ".conf" | id].

    What it has read stays for the next call, and each entry gets into the menu once.
    """
    args = parse_options(m, call.args, Options()).args
    word = args[0] if len(args) == 1 else None
    files = {rhboot_key(_name(path)): path for path in m.bls}
    for path in _rhboot_files(m, call, word):
        files.setdefault(rhboot_key(_name(path)), path)
    if not files:
        _found_none_of_rhboot(m, call)
    for index, (_, path) in enumerate(sorted(files.items(), reverse=True)):
        try:
            snippet = (
                None if m.bls.setdefault(path, False) else _read(m, call, path, bls.rhboot_lines)
            )
            if snippet is not None and _rhboot_wants(m, snippet, index, word):
                m.bls[path] = True
                _add(m, call, snippet, bls.rhboot_entry)
        except Crash as crash:
            m.report(crash.message, crash.span, OK)
            m.refusals.append(Refusal(crash.message, crash.span or call.span))
    return OK


def _el_8(m: Machine, call: Call) -> int:
    """blscfg: whatever is said behind it, all snippets are shown, and at each call."""
    files = _by_blsdir(m, call) or _list(m, call, m.get("root"), _FALLBACK, hidden=False) or []
    if not files:
        _found_none_of_rhboot(m, call)
    snippets = []
    try:
        read = (_read(m, call, path, bls.rhboot_lines) for path in files)
        snippets = [snippet for snippet in read if snippet]
    except Crash as crash:
        m.report(crash.message, crash.span, OK)
        m.refusals.append(Refusal(crash.message, crash.span or call.span))
    by_version = all(snippet.first("version") for snippet in snippets)
    keys = {}
    for snippet in snippets:
        version = snippet.first("version")
        keys[snippet.id] = el_8_key(snippet.id, version.value if version and by_version else None)
    if len(set(keys.values())) < len(keys):
        _doubt(m, "GRUB may put the entries that it takes for one version in any order", call.span)
    for snippet in sorted(snippets, key=lambda snippet: keys[snippet.id], reverse=True):
        _add(m, call, snippet, bls.el_8_entry)
    return OK


def _suse(m: Machine, call: Call) -> int:
    """Once rhboot's, then upstream's, each with patches of SUSE's: its order, its directory and its default differ."""
    reason = "which entries SUSE's `blscfg` makes is not known here"
    fix = "set GRUB_ENABLE_BLSCFG=false in /etc/default/grub, then run grub2-mkconfig"
    m.guesses.append(Refusal(reason, call.span, "cannot-be-known", fix))
    return OK


def _found_none_of_rhboot(m: Machine, call: Call) -> None:
    looked = m.get("blsdir") or _DIRECTORY
    _found_nothing(m, call, f"({m.get('root')}){looked}", "see `blsdir` of GRUB's blscfg")


def _rhboot_files(m: Machine, call: Call, word: str | None) -> list[GrubPath]:
    """Where blscfg.c:bls_load_entries and find_entry look.  CommandError."""
    if word is not None and word.startswith("("):
        if word.endswith(SUFFIX):
            return [m.open(word)]
        device, closed, directory = word[1:].partition(")")
        if not closed:
            raise call.error(BAD_ARGUMENT, "Filepath isn't correct", 0)
        return _list(m, call, device, directory, hidden=False) or []
    found = _by_blsdir(m, call)
    if found is None:
        found = _list(m, call, m.get("root"), _FALLBACK, hidden=False)
    return found or []


def _by_blsdir(m: Machine, call: Call) -> list[GrubPath] | None:
    blsdir = m.get("blsdir")
    return _list(m, call, m.get("root"), _DIRECTORY if blsdir is None else blsdir, hidden=False)


def _rhboot_wants(m: Machine, snippet: Snippet, index: int, word: str | None) -> bool:
    """index counts all snippets, newest first (blscfg.c:bls_create_entries)."""
    if word is None or word.startswith("("):
        return True
    if word not in ("default", "non-default"):
        return word == snippet.id
    return (word == "default") == _is_default(m, snippet, snippet.id, index, whole=False)


_OPTIONS = Options(
    Option("path", "p", value=True),
    Option("enable-fallback", "f"),
    Option("show-default", "d"),
    Option("show-non-default", "n"),
    Option("entry", "e", value=True),
)


def _upstream(m: Machine, call: Call) -> int:
    """blscfg [--path DIR] [--enable-fallback] [--show-default] [--show-non-default] [--entry FILE]."""
    parsed = parse_options(m, call.args, _OPTIONS)
    if parsed.args:
        raise call.error(BAD_ARGUMENT, "unexpected argument(s) found, see --help")
    files: dict[tuple[object, ...], GrubPath] = {}
    for path in _upstream_files(m, call, parsed.value("path"), "enable-fallback" in parsed.options):
        if files.setdefault(filevercmp_key(_name(path)), path) != path:
            _doubt(
                m,
                f"GRUB takes {path} for a file it has already read, and may read none after it",
                call.span,
            )
    filters = {"entry", "show-default", "show-non-default"} & set(parsed.options)
    for index, (_, path) in enumerate(sorted(files.items(), reverse=True)):
        snippet = _read(m, call, path, bls.upstream_lines)
        if snippet is None:
            continue
        name = snippet.id + SUFFIX
        show = (
            "show-default"
            if _is_default(m, snippet, name, index, whole=True)
            else "show-non-default"
        )
        if not filters or show in filters or name == parsed.value("entry"):
            _add(m, call, snippet, bls.upstream_entry)
    return OK


def _upstream_files(m: Machine, call: Call, path: str | None, fallback: bool) -> list[GrubPath]:
    """Where blsuki.c:blsuki_load_entries and blsuki_find_entry look.  CommandError."""
    device, directory, path = m.get("root"), _DIRECTORY, path or ""
    if path.endswith(SUFFIX):
        if not path.startswith(("/", "(")):
            raise call.error(BAD_FILENAME, f"invalid file name `{path}'")
        if m.get("grub_platform") != "pc":
            _doubt(
                m,
                "GRUB 2.14 reads address 0 at `blscfg --path FILE.conf`, which may crash it",
                call.span,
            )
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
    if not found:
        fix = "where they lie elsewhere, as in /boot/loader/entries, `blscfg --path DIRECTORY` says so"
        _found_nothing(m, call, f"({device}){directory}", fix)
    return found or []


def _found_nothing(m: Machine, call: Call, where: str, fix: str) -> None:
    m.bls_nowhere.append(Refusal(f"blscfg finds no entry in {where}", call.span, fix=fix))


def _add(
    m: Machine, call: Call, snippet: Snippet, make: Callable[[Machine, Snippet, Line], Entry]
) -> None:
    """Put a snippet's entry into the menu, if it makes one."""
    linux = snippet.first("linux")
    if linux is None:
        message = "GRUB makes no entry of this file: no linux line, or one after a blank line or a key without a value"
        m.report(message, Span(snippet.source, 0, 0), OK)
        efi = snippet.first("efi")
        if efi and m.flavour.blscfg == "rhboot":
            _doubt(
                m,
                "newer GRUBs of Fedora and RHEL make an entry of `efi`, older ones none",
                efi.span,
            )
    elif m.menu is None:
        m.fail(call.error(MENU, "no menu context"))
    else:
        m.menu.append(make(m, snippet, linux))


def _list(
    m: Machine, call: Call, device: str | None, directory: str, *, hidden: bool
) -> list[GrubPath] | None:
    """The snippets in a directory, None where GRUB cannot list it.  CommandError where it cannot use the device."""
    if not device or m.device(device) is None:
        raise call.error(BAD_DEVICE, f"disk `{device or ''}' not found")
    try:
        top = m.path(f"({device}){directory}")
        names = m.list(top)
    except Unseen as unseen:
        m.unseen(unseen, call.span)
        return None
    except DiskError as error:
        if error.errno == UNKNOWN_FS:
            raise call.error(error.errno, error.message) from None
        if error.errno not in GRUBS_OWN:
            why = f"the entries in ({device}){directory} are not known: {error.message}"
            _doubt(m, why, call.span)
        return None
    found = []
    for name in (name.rstrip("/") for name in names):
        if not name.endswith(SUFFIX) or (name.startswith(".") and not hidden):
            continue
        path = GrubPath(device, f"{top.path.rstrip('/')}/{name}")
        try:
            found.append(m.open_path(path))
        except CommandError:
            # The error stays set while the directory is read on, which ends that on ext2.
            _doubt(
                m, f"GRUB cannot open {path}, and may read none of the entries after it", call.span
            )
    return found


def _read(
    m: Machine, call: Call, path: GrubPath, lines: Callable[[Source], Iterable[Line]]
) -> Snippet | None:
    """A snippet, None where GRUB or we cannot read it."""
    m.fuel.burn(call.span)
    try:
        source = read_source(m.display(path) if m.display else str(path), m.read(str(path)))
    except CommandError as error:
        _doubt(m, f"the entry in {path} is not known: {error.message}", call.span)
        return None
    return Snippet(_name(path)[: -len(SUFFIX)], source, tuple(lines(source)))


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


def _name(path: GrubPath) -> str:
    return path.path.rpartition("/")[2]
