"""GRUB commands that change what runs next: break, return, eval, source, configfile, exit and their kin."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import BAD_ARGUMENT, OK, TEST_FAILURE, UNKNOWN_COMMAND, CommandError
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.script.source import Source
from kexec_hook.grub.values import Call, Halted


@command("break", "continue")
def break_loops(m: Machine, call: Call) -> int:
    count, tail = 1, ""
    if len(call.args) > 1:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    if call.args:
        count, tail = strtoul(call.args[0], 10)
    if tail:
        raise call.error(BAD_ARGUMENT, "unrecognized number", 0)
    if count == 0:
        raise call.error(BAD_ARGUMENT, "can't break 0 loops", 0)
    m.break_loops(count, resume=call.name != "break")
    return OK


@command("return")
def return_from_function(m: Machine, call: Call) -> int:
    if m.params is None or len(call.args) > 1:
        raise call.error(BAD_ARGUMENT, "not in function body")
    if not call.args:
        m.return_from_function()
        return strtoul(m.get("?") or "0", 10)[0]
    status, tail = strtoul(call.args[0], 10)
    if tail:
        raise call.error(BAD_ARGUMENT, "unrecognized number", 0)
    m.return_from_function()
    if status:
        raise call.error(status, "false")
    return OK


@command("true")
def true(m: Machine, call: Call) -> int:
    return OK


@command("false")
def false(m: Machine, call: Call) -> int:
    raise CommandError(TEST_FAILURE, "false")


@command("eval")
def evaluate(m: Machine, call: Call) -> int:
    if not call.args:
        return OK
    text = " ".join(call.args)
    number = call.span.line
    lines = text.split("\n")
    status = m.run_code(Source(call.span.source.name, text + "\n", [number] * len(lines)))
    return OK if text.endswith("\n") and m.flavour.blank_line_is_true else status


@command("source", ".")
def source(m: Machine, call: Call) -> int:
    m.run_file(_filename(call), call)
    m.errno = OK
    return OK


@command("configfile")
def configfile(m: Machine, call: Call) -> int:
    """A configuration with a menu of its own, which GRUB shows at once and never leaves by itself."""
    name = _filename(call)
    m.open_context()
    m.run_file(name, call)
    m.errno = OK
    if m.menu:
        raise Halted("menu", call.span)
    m.close_context()
    return OK


@command("normal")
def normal(m: Machine, call: Call) -> int:
    """Start again with a configuration: its menu stands in for the one in the making."""
    m.menu = None
    name = call.args[0] if call.args else f"{m.get('prefix')}/grub.cfg"
    m.run_file(name, call)
    m.errno = OK
    raise Halted("menu", call.span)


@command("extract_entries_source", "extract_entries_configfile")
def extract_entries(m: Machine, call: Call) -> int:
    name = _filename(call)
    share_variables = call.name.endswith("source")
    m.extracting += 1
    outer = m.menu
    m.open_context(everything=share_variables)
    try:
        m.run_file(name, call)
        m.errno = OK
        if m.menu and not share_variables:
            raise Halted("menu", call.span)
        entries = m.menu or []
    finally:
        m.extracting -= 1
    m.close_context()
    m.menu = (outer or []) + entries
    return OK


def _filename(call: Call) -> str:
    if len(call.args) != 1:
        raise call.error(BAD_ARGUMENT, "filename expected")
    return call.args[0]


@command("time")
def time(m: Machine, call: Call) -> int:
    """Runs a command, and says how long that took; functions are not looked for."""
    if not call.args:
        raise call.error(BAD_ARGUMENT, "no command is specified")
    handler = m.command(call.args[0])
    if handler is None:
        raise call.error(UNKNOWN_COMMAND, f"can't find command `{call.args[0]}'", 0)
    return handler(m, call._replace(name=call.args[0], args=call.args[1:], offset=call.offset + 1))


@command("exit", "halt", "reboot", "fwsetup", "normal_exit")
def leave(m: Machine, call: Call) -> int:
    """Leave GRUB: for the firmware, its setup, or off."""
    if call.name == "fwsetup" and "--is-supported" in call.args:  # commands/efi/efifwsetup.c
        return OK if m.has_setup() else TEST_FAILURE
    if call.name != "normal_exit":
        m.executed.append([call.name, *call.args])
    raise Halted(call.name, call.span)
