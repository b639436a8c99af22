r"""GRUB's environment block: what load_env reads from it and what save_env leaves in it (lib/envblk.c).

    block    = "# GRUB Environment Block" newline { variable } { "#" }
    variable = name "=" value newline           backslash and newline in a value are escaped with a backslash

A block is usually 1024 bytes, filled up with "#".  GRUB checks the signature only,
and stops silently at the first thing that is broken.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator

SIGNATURE = b"# GRUB Environment Block\n"

_VALUE = re.compile(rb"((?:[^\\\n]|\\[\s\S])*)\n")
_ESCAPE = re.compile(rb"\\([\s\S])")


class BadBlock(Exception):
    """An environment block without room for a value, or that is none."""


class NoBlock(BadBlock):
    """It lacks the signature."""

    def __init__(self) -> None:
        super().__init__("invalid environment block")


def variables(block: bytes, *, skip_blank: bool = False) -> Iterator[tuple[str, str]]:
    """Names and values in order.  Before GRUB 2.14 (`skip_blank`), a blank line spoilt the name behind it."""
    _check(block)
    at, end = len(SIGNATURE), len(block)
    while at < end:
        if block[at : at + 1] == b"#" or (skip_blank and block[at : at + 1] in (b"\n", b"\r")):
            at = _next_line(block, at)
            continue
        equals = block.find(b"=", at)
        value = _VALUE.match(block, equals + 1) if equals >= 0 else None
        if value is None:
            return
        yield _text(block[at:equals]), _text(_ESCAPE.sub(rb"\1", value[1]))
        at = value.end()


def replace(block: bytes, name: str, value: str | None) -> bytes:
    """The block with a variable set, or with None deleted; its size stays.  Raises BadBlock."""
    _check(block)
    raw = name.encode("utf-8", "surrogateescape") + b"="
    space = len(block.rstrip(b"#"))
    if value is not None and block[space - 1 : space] != b"\n":
        raise BadBlock("environment block too small")
    new = (
        b""
        if value is None
        else re.sub(rb"[\\\n]", rb"\\\g<0>", value.encode("utf-8", "surrogateescape"))
    )
    at = len(SIGNATURE)
    while at + len(raw) < (len(block) if value is None else space):
        if block.startswith(raw, at):
            found = _VALUE.match(block, at + len(raw))
            if found is None:
                if value is None:
                    return block
                raise BadBlock("environment block too small")
            rest = block[found.end() :]
            if value is None:
                return block[:at] + rest + b"#" * (found.end() - at)
            return _fit(block, block[: at + len(raw)] + new + b"\n" + rest, space)
        at = _next_line(block, at)
    if value is None:
        return block
    return _fit(block, block[:space] + raw + new + b"\n" + block[space:], space)


def _fit(old: bytes, new: bytes, space: int) -> bytes:
    """Give and take filler so that the size stays."""
    grown = len(new) - len(old)
    if grown > len(old) - space:
        raise BadBlock("environment block too small")
    return new[: len(old)] if grown >= 0 else new + b"#" * -grown


def _check(block: bytes) -> None:
    if not block.startswith(SIGNATURE) or len(block) == len(SIGNATURE):
        raise NoBlock


def _next_line(block: bytes, at: int) -> int:
    found = _VALUE.match(block, at)
    return found.end() if found else len(block)


def _text(raw: bytes) -> str:
    # Values become C strings: a NUL ends them.
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")
