"""GRUB commands that read, write and print variables: set, export, load_env, save_env, echo, read and their kin."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.grub import grubenv
from kexec_hook.grub.commands.registry import Option, Options, Parsed, command, parse_options
from kexec_hook.grub.errors import (
    BAD_ARGUMENT,
    BAD_FILE_TYPE,
    FILE_NOT_FOUND,
    INVALID_COMMAND,
    OK,
    OUT_OF_RANGE,
    CommandError,
    unknown_device,
)
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.values import Call, Refusal

_ENV_OPTIONS = Options(Option("file", "f", value=True), Option("skip-sig", "s"))
_ECHO_OPTIONS = Options(Option("", "n"), Option("\0", "e"))


@command("set")
def set_variable(m: Machine, call: Call) -> int:
    if not call.args:
        for name in sorted(m.env, key=lambda name: name.encode("utf-8", "surrogateescape")):
            m.say(f"{name}={m.get(name)}\n")
        return OK
    name, equals, value = call.args[0].partition("=")
    if not equals:
        raise call.error(BAD_ARGUMENT, "not an assignment", 0)
    m.set(name, value, call)
    return OK


@command("increment", "decrement")
def count(m: Machine, call: Call) -> int:
    """rhboot's (commands/increment.c), for the counting of boots that fail."""
    if len(call.args) != 1:
        raise call.error(
            BAD_ARGUMENT, "no variable specified" if not call.args else "too many arguments"
        )
    value = m.get(call.args[0])
    if value is None:
        raise call.error(FILE_NOT_FOUND, f'No such variable "{call.args[0]}"', 0)
    value = value.lstrip("\n\r \t")
    number = strtoul(value[value.startswith("-") :])[0] * (-1 if value.startswith("-") else 1)
    m.set(call.args[0], str(number + (1 if call.name == "increment" else -1)), call)
    return OK


@command("unset")
def unset(m: Machine, call: Call) -> int:
    if not call.args:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    m.unset(call.args[0])
    return OK


@command("export")
def export(m: Machine, call: Call) -> int:
    if not call.args:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    for name in call.args:
        m.export(name)
    return OK


@command("setparams")
def setparams(m: Machine, call: Call) -> int:
    if m.params is None:
        return INVALID_COMMAND
    m.params = list(call.args)
    return OK


@command("shift")
def shift(m: Machine, call: Call) -> int:
    if m.params is None:
        return OK
    if len(call.args) > 1:
        return BAD_ARGUMENT
    try:
        count, tail = strtoul(call.args[0], 10) if call.args else (1, "")
    except CommandError as error:  # is printed, and does not decide
        m.fail(error)
        count, tail = 0, call.args[0].lstrip("\n\r \t")
    if tail or count > len(m.params):
        return BAD_ARGUMENT
    m.params = m.params[count:]
    return OK


@command("load_env")
def load_env(m: Machine, call: Call) -> int:
    parsed = parse_options(m, call.args, _ENV_OPTIONS)
    for name, value in _variables(m, call, _block_name(m, call, parsed)):
        if not parsed.args or name in parsed.args:
            m.set(name, value, call)
    return OK


@command("list_env")
def list_env(m: Machine, call: Call) -> int:
    parsed = parse_options(m, call.args, _ENV_OPTIONS)
    for name, value in _variables(m, call, _block_name(m, call, parsed)):
        m.say(f"{name}={value}\n")
    return OK


@command("save_env")
def save_env(m: Machine, call: Call) -> int:
    parsed = parse_options(m, call.args, _ENV_OPTIONS)
    if not parsed.args:
        raise call.error(BAD_ARGUMENT, "no variable is specified")
    name = _block_name(m, call, parsed)
    before = block = m.read(name, call)
    path = m.path(name)
    writes = {}
    for variable in parsed.args:
        value = m.get(variable)
        try:
            block = grubenv.replace(block, variable, value)
        except grubenv.BadBlock as error:
            errno = BAD_FILE_TYPE if isinstance(error, grubenv.NoBlock) else BAD_ARGUMENT
            raise call.error(errno, str(error)) from None
        writes[variable] = value
    m.write_env(path, before, block, writes, call)
    return OK


def _block_name(m: Machine, call: Call, parsed: Parsed) -> str:
    name = parsed.value("file")
    if name is not None:
        return name
    prefix = m.get("prefix")
    if prefix is None:
        raise call.error(FILE_NOT_FOUND, "variable `prefix' isn't set")
    return prefix + "/grubenv"


def _variables(m: Machine, call: Call, name: str) -> list[tuple[str, str]]:
    try:
        return list(grubenv.variables(m.read(name, call), skip_blank=m.flavour.envblk_skips_blank))
    except grubenv.BadBlock as error:
        raise call.error(BAD_FILE_TYPE, str(error)) from None


@command("read")
def read(m: Machine, call: Call) -> int:
    m.guesses.append(Refusal("`read` waits for somebody to type", call.span))
    if call.args:
        m.set(call.args[0], "", call)
    return OK


@command("gettext")
def gettext(m: Machine, call: Call) -> int:
    """Translations are not looked up."""
    if len(call.args) != 1:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    m.say(call.args[0] + "\n")
    return OK


@command("hello")
def hello(m: Machine, call: Call) -> int:
    m.say("Hello World\n")
    return OK


_NOT_SHOWN = "[\x00-\x08\x0b-\x1f\x7f\udc80-\udcff]"


@command("cat")
def cat(m: Machine, call: Call) -> int:
    """Shows a file; what is no character in angle brackets, a carriage return too (commands/cat.c)."""
    parsed = parse_options(m, call.args, Options(Option("dos")))
    if len(parsed.args) != 1:
        raise call.error(BAD_ARGUMENT, "filename expected")
    text = m.read(parsed.args[0], call).decode("utf-8", "surrogateescape")
    if "dos" in parsed.options:
        text = text.replace("\r\n", "\n")
    m.say(re.sub(_NOT_SHOWN, lambda found: f"<{ord(found[0]) & 0xFF:x}>", text) + "\n")
    return OK


_ECHO_ESCAPE = r"\\[\s\S]?"
_ECHO_ESCAPES = {"\\": "\\", "a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescape(word: str) -> str:
    """What `echo -e` makes of a word: a backslash takes one byte with it, and most say nothing."""

    def escape(match: re.Match[str]) -> str:
        rest = match[0][1:].encode("utf-8", "surrogateescape")[1:]
        return _ECHO_ESCAPES.get(match[0][1:], "") + rest.decode("utf-8", "surrogateescape")

    return re.sub(_ECHO_ESCAPE, escape, word)


@command("echo")
def echo(m: Machine, call: Call) -> int:
    parsed = parse_options(m, call.args, _ECHO_OPTIONS, accept_dash=True, at_start=True)
    newline = "" not in parsed.options
    words = parsed.args
    if "\0" in parsed.options:
        newline = newline and not any("\\c" in re.findall(_ECHO_ESCAPE, word) for word in words)
        words = [_unescape(word) for word in words]
    m.say(" ".join(words) + ("\n" if newline else ""))
    return OK


@command("btrfs-mount-subvol")
def btrfs_mount_subvol(m: Machine, call: Call) -> int:
    """btrfs-mount-subvol (DEVICE) DIRECTORY SUBVOLUME: grub2-btrfs-06-subvol-mount, of SUSE and rhboot."""
    if len(call.args) < 3:
        raise call.error(BAD_ARGUMENT, "required <dev> <dir> and <subvol>")
    m.subvolumes["/" + call.args[1].strip("/")] = call.args[2].strip("/")
    return OK


_SUBVOLUME_OPTIONS = Options(
    Option("output", "o", value=True), Option("path-only", "p"), Option("id-only", "n")
)


@command("btrfs-get-default-subvol", "btrfs-list-subvols")
def btrfs_subvolumes(m: Machine, call: Call) -> int:
    """[-p|-n] [-o VARIABLE] (DEVICE): grub2-btrfs-01 and -09, of SUSE and rhboot."""
    parsed = parse_options(m, call.args, _SUBVOLUME_OPTIONS)
    if not parsed.args:
        raise call.error(BAD_ARGUMENT, "device name required")
    variable = parsed.value("output")
    if variable is None:
        return OK
    if call.name == "btrfs-list-subvols" or "id-only" in parsed.options:
        m.guesses.append(Refusal(f"what `{call.name}` answers is not known here", call.span))
        return OK
    device = m.device(m.path(parsed.args[0]).device)
    if device is None:
        raise unknown_device(parsed.args[0])
    if m.disks.identify(device).fs == "btrfs":
        m.set(variable, m.disks.subvolume(device.name, None) or "/", call)
    return OK


@command("read_file")
def read_file(m: Machine, call: Call) -> int:
    """FILE VARIABLE...: a line each (SUSE's grub2-commands-introduce-read_file-subcommand)."""
    if len(call.args) < 2:
        raise call.error(
            BAD_ARGUMENT, "variable name expected" if call.args else "file name expected"
        )
    text = m.read(call.args[0], call).decode("utf-8", "surrogateescape").replace("\r", "")
    lines = text.split("\n")[: None if text[-1:] not in ("\n", "") else -1]
    for name, line in zip(call.args[1:], lines):
        m.set(name, line, call)
    return OK if len(lines) >= len(call.args) - 1 else OUT_OF_RANGE
