"""Numbers as GRUB reads them from text (kern/misc.c:grub_strtoul), with their tails and failures."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.grub.errors import BAD_NUMBER, OUT_OF_RANGE, CommandError

_LARGEST = (1 << 64) - 1  # unsigned long of a 64-bit GRUB; i386-pc has 32 bits
_BASES = {
    0: r"(?i)[ \n\r\t]*(?:0x(?P<hex>[0-9a-f]*)|0(?=[0-7])(?P<octal>[0-7]*)|(?P<decimal>[0-9]*))",
    10: r"[ \n\r\t]*(?P<decimal>[0-9]*)",
}
_RADIX = {"hex": 16, "octal": 8, "decimal": 10}


def strtoul(text: str, base: int = 0) -> tuple[int, str]:
    """The number at the start of the text, and what follows it.

    Base 0: 0x is hexadecimal (a small x), 0 octal.  Raises CommandError for text
    that does not begin with a digit, and for a number above 64 bits.
    """
    match = re.match(_BASES[base], text)
    assert match is not None
    kind = match.lastgroup or "decimal"
    digits = match[kind]
    if kind == "hex" and text[match.start("hex") - 1] == "X":
        kind, digits = "decimal", "0"
        tail = text[match.start("hex") - 1 :]
    else:
        tail = text[match.end() :]
    if not digits:
        raise CommandError(BAD_NUMBER, "unrecognized number")
    number = int(digits, _RADIX[kind])
    if number > _LARGEST:
        raise CommandError(OUT_OF_RANGE, "overflow is detected")
    return number, tail


def as_int(number: int) -> int:
    """The C cast to a signed 32-bit int, which the menu applies to `default` and `timeout`."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)
