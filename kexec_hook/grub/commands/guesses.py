"""Does a comparison hang on what GRUB calls a disk?  Its number is often a guess, and then so is the answer."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.values import Binding, Call, Refusal

_DISK = r"(?:hd|fd|cd)\d+"
_NAME = rf"{_DISK}(?:,[a-z]*\d+)?"
_OTHER = "hd99"  # a name that no comparison expects
_FINDERS = ("search", "probe")


def note_guess(
    m: Machine, call: Call, texts: list[str], answer: Callable[[list[str]], bool]
) -> None:
    """Make a guess of it if another name for a disk would change the answer to these texts."""
    for name in _guessed(m, call):
        disk = name.partition(",")[0]
        found = {other for text in texts for other in re.findall(_DISK, text)}
        names = {name.replace(disk, other) for other in (*found, _OTHER, disk)}
        names |= {_other_map(other) for other in names if _may_be_other_map(m, name)}
        for other in sorted(names - {name}):
            for at, text in enumerate(texts):
                changed = [*texts[:at], text.replace(name, other), *texts[at + 1 :]]
                if name in text and answer(changed) != answer(texts):
                    reason = f"GRUB's name ({name}) of a disk is a guess, and something hangs on it"
                    m.guesses.append(Refusal(reason, call.span, "guessed-name"))
                    return


def _other_map(name: str) -> str:
    """hd0,gpt2 for hd0,msdos2, and the other way round."""
    return name.replace("msdos", "gpt") if "msdos" in name else name.replace("gpt", "msdos")


def _may_be_other_map(m: Machine, name: str) -> bool:
    """Nothing but a partition's id tells the kind of its map."""
    try:
        device = m.device(name)
    except Unseen:
        return True
    return device is not None and not device.partuuid


def _guessed(m: Machine, call: Call) -> Iterator[str]:
    """Names of disks in the variables that a command read, which nobody wrote down and which may be others."""
    for read in call.reads:
        for name in re.findall(_NAME, read.binding.value if read.binding else ""):
            if not _is_written(read.binding, name) and _is_assumed(m, name):
                yield name


def _is_written(binding: Binding | None, name: str) -> bool:
    """Did the script itself say this name?"""
    if binding is None or binding.origin is None:
        return False
    command = binding.origin.source.text[binding.origin.start : binding.origin.end]
    if command.lstrip().startswith(_FINDERS):
        return False
    inside = [read.binding for read in binding.via if read.binding and name in read.binding.value]
    return all(_is_written(deeper, name) for deeper in inside) if inside else name in command


def _is_assumed(m: Machine, name: str) -> bool:
    try:
        device = m.device(name)
    except Unseen:
        return True
    return device is not None and bool(device.assumed)
