"""GRUB's smbios: a field of one of the structures in which the firmware describes the machine (commands/smbios.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kexec_hook.grub.commands.registry import Option, Options, Parsed, parse_options
from kexec_hook.grub.errors import BAD_ARGUMENT, IO, OK, OUT_OF_RANGE, CommandError
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.values import Call
from kexec_hook.tuples import NamedTuple

_SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "string": 1, "uuid": 16}
_OPTIONS = Options(
    *(Option(name, name[0], value=True) for name in ("type", "handle", "match")),
    *(Option(f"get-{name}", name[0], value=True) for name in _SIZES),
    Option("set", value=True),
    Option("linux"),
)
_END_OF_TABLE = 127


class Structure(NamedTuple):
    """Type 1, length 1, handle 2 and what is particular to the type; and its strings, the first being 1."""

    head: bytes
    strings: Sequence[bytes]


def structures(table: bytes) -> list[Structure]:
    """As DSP0134 has them: strings end in a zero, and they all in one more."""
    found: list[Structure] = []
    at = 0
    while at + 4 <= len(table) and table[at + 1] >= 4:
        head = table[at : at + table[at + 1]]
        end = table.find(b"\0\0", at + len(head))
        if end < 0:
            break
        strings = table[at + len(head) : end].split(b"\0")
        found.append(Structure(head, strings if strings[0] else []))
        if head[0] == _END_OF_TABLE:
            break
        at = end + 2
    return found


def smbios(m: Machine, call: Call, table: bytes) -> int:
    """[-t TYPE] [-h HANDLE] [-m MATCH] (-b|-w|-d|-q|-s|-u) OFFSET [--set VARIABLE] [--linux]"""
    parsed = parse_options(m, call.args, _OPTIONS)
    kind, handle = _number(call, parsed, "type", 255), _number(call, parsed, "handle", 65535)
    match = _number(call, parsed, "match", 65535)
    wanted = [name for name in _SIZES if f"get-{name}" in parsed.options]
    if len(wanted) != 1 or match == 0:
        raise call.error(BAD_ARGUMENT, "one of the --get options is required")
    fitting = [
        structure
        for structure in structures(table)
        if kind in (None, structure.head[0])
        and handle in (None, int.from_bytes(structure.head[2:4], "little"))
    ]
    if len(fitting) < (match or 1):
        raise call.error(IO, "no structure matched the given options")
    structure = fitting[(match or 1) - 1]
    at = _number(call, parsed, f"get-{wanted[0]}", len(structure.head) - _SIZES[wanted[0]]) or 0
    value = _value(call, structure, wanted[0], at)
    if "linux" in parsed.options:
        value = "".join(letter for letter in value if " " < letter < "\x7f" and letter != ":")
    variable = parsed.value("set")
    if variable is None:
        m.say(value + "\n")
    else:
        m.set(variable, value, call)
    return OK


def _number(call: Call, parsed: Parsed, option: str, largest: int) -> int | None:
    text = parsed.value(option)
    if text is None:
        return None
    try:
        number, tail = strtoul(text)
    except CommandError:
        number, tail = 0, text
    if tail:
        raise call.error(BAD_ARGUMENT, f"the argument `{text}' requires an integer")
    if number > largest:
        errno = OUT_OF_RANGE if option.startswith("get") else BAD_ARGUMENT
        raise call.error(errno, f"{option} is {text}, which is more than {largest}")
    return number


def _value(call: Call, structure: Structure, kind: str, at: int) -> str:
    data = structure.head[at : at + _SIZES[kind]]
    if kind == "uuid":
        return str(uuid.UUID(bytes_le=data))
    number = int.from_bytes(data, "little")
    if kind != "string":
        return str(number)
    if not 0 < number <= len(structure.strings):
        raise call.error(IO, "failed to retrieve the structure field")
    return structure.strings[number - 1].decode("utf-8", "surrogateescape")
