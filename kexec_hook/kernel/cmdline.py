"""How a kernel command line is cut into parameters, and edited without touching its other bytes.

    cmdline   = { blanks | parameter }
    parameter = { any but a blank or '"' | '"' { any but '"' } ( '"' | end ) }
    name      = what stands before the first "=", without quotes

As the kernel has it (lib/cmdline.c, next_arg): a double quote anywhere in a word keeps blanks together,
nothing escapes a quote, `-` and `_` in a name are the same, and what follows the word `--` is for init.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from kexec_hook.errors import KexecHookError

_BLANKS = " \t\n\v\f\r"
_WORD = re.compile(rf'(?:[^{_BLANKS}"]|"[^"]*(?:"|\Z))+')


class CmdlineError(KexecHookError):
    """A command line that cannot be edited; one sentence."""


def words(cmdline: str) -> list[str]:
    """The parameters as they are written, quotes included."""
    return _WORD.findall(cmdline)


def name_of(word: str) -> str:
    """The parameter's name, as the kernel compares it."""
    return _plain(word).partition("=")[0].replace("-", "_")


def edit_cmdline(cmdline: str, remove: Collection[str] = (), append: Iterable[str] = ()) -> str:
    """Remove parameters and append others; every other byte stays.

    `quiet` removes each `quiet` and `quiet=...`, `console=ttyS0` that word alone.  A removed word takes
    the blanks before it along (at the beginning, those after it).  What is appended goes before `--`.
    """
    bare = {name_of(item) for item in remove if "=" not in item}
    whole = {_plain(item) for item in remove if "=" in item}
    kept = []
    at = 0  # where the part that has not been copied yet begins
    end = len(cmdline)  # where the kernel's part ends
    for found in _WORD.finditer(cmdline):
        word = found[0]
        if word == "--":
            end = found.start()
            break
        if name_of(word) in bare or _plain(word) in whole:
            before = cmdline[at : found.start()].rstrip(_BLANKS)
            kept.append(before)
            at = found.end()
            if not any(kept):
                at = len(cmdline) - len(cmdline[at:].lstrip(_BLANKS))
    ours, init = "".join(kept) + cmdline[at:end], cmdline[end:]
    added = " ".join(append)
    if not added:
        return ours + init
    if (ours + added).count('"') % 2 or ours.count('"') % 2:
        raise CmdlineError(
            f"nothing can be appended: a quote is never closed in `{ours}` or in `{added}`"
        )
    joined = f"{ours} {added}" if ours and not ours.endswith(" ") else ours + added
    return f"{joined} {init}" if init else joined


def _plain(word: str) -> str:
    return word.replace('"', "")
