"""GRUB commands that put entries into the menu: menuentry, submenu (grub-core/commands/menuentry.c) and blscfg."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.commands.registry import Option, Options, command, parse_options
from kexec_hook.grub.errors import BAD_ARGUMENT, MENU, OK
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import Source
from kexec_hook.grub.values import Call, Code, Entry

_GIVEN = (
    Option("class", "\x01", value=True, repeatable=True),
    Option("users", "\x02", value=True),
    Option("hotkey", "\x03", value=True),
    Option("source", "\x04", value=True),
    Option("id", value=True),
    Option("unrestricted"),
)
_OPTIONS = Options(*_GIVEN)
_RHBOOT_OPTIONS = Options(*(option._replace(optional=option.long == "users") for option in _GIVEN))


@command("menuentry", "submenu", "hiddenentry")
def menuentry(m: Machine, call: Call) -> int:
    options = _RHBOOT_OPTIONS if m.flavour.users_optional else _OPTIONS
    parsed = parse_options(m, call.args, options, accept_dash=True)
    args = parsed.args
    text = parsed.value("source")
    block = call.command.block
    if not args:
        raise call.error(BAD_ARGUMENT, "missing arguments")
    if text is not None and block:
        raise call.error(BAD_ARGUMENT, "multiple menuentry definitions")
    if text is None and not block:
        raise call.error(BAD_ARGUMENT, "no menuentry definition")
    if block:
        args = args[:-1]
        source = call.command.words.source
        code = Code(source, block.start, block.end, setparams(args))
    else:
        if not args[-1] and not m.flavour.title_may_be_empty_source:
            raise call.error(BAD_ARGUMENT, "menuentry title is missing")
        text = text or ""
        number = call.span.line
        source = Source(call.span.source.name, text + "\n", [number] * (text.count("\n") + 1))
        code = Code(source, 0, len(text))
    if not args:
        raise call.error(MENU, "menuentry is missing title")
    if m.menu is None:
        raise call.error(MENU, "no menu context")
    users = parsed.value("users")
    if "users" not in parsed.options and "unrestricted" not in parsed.options:
        users = ""
    if call.name == "hiddenentry":
        return OK  # for a hotkey alone: it has no number, and `default` does not name it
    given = parsed.value("id")
    m.menu.append(
        Entry(
            title=args[0],
            id=args[0] if given is None else given,
            args=tuple(args),
            classes=tuple(parsed.values("class")),
            users=users,
            hotkey=parsed.value("hotkey") or "",
            submenu=call.name == "submenu",
            code=code,
            span=call.span,
            reads=call.reads,
        )
    )
    return OK


@command("blscfg", "bls_import")
def blscfg(m: Machine, call: Call) -> int:
    from kexec_hook.grub.commands import blscfg  # Debian's configurations have none

    return blscfg.blscfg(m, call)


def setparams(args: list[str]) -> str:
    """The line that gives a body its $1, $2, ...; quotes in the words are closed and reopened."""
    words = ("'" + word.replace("'", "'\\''") + "'" for word in args)
    return "setparams " + " ".join(words) + "\n" if args else "setparams\n"
