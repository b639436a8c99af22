"""What can be done about a boot entry: choose another one, correct it, write grub.cfg anew."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.system.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.grub.script.source import Span
    from kexec_hook.grub.values import Binding
    from kexec_hook.plugins.api import Decision, Evaluation

AS_ROOT = "sudo kexec-hook stage --dry-run"


def another_entry(decision: Decision) -> str:
    """How to choose another entry, by what has chosen this one."""
    commands = Distribution(decision.sysroot)
    evaluation = decision.evaluation
    if evaluation is None:
        return ""
    if evaluation.chosen_by:
        return f"choose another entry, this one comes from {evaluation.chosen_by}: `kexec-hook list` shows them"
    binding = evaluation.menu.env.get("default")
    chosen_in = binding.origin.source.name if binding and binding.origin else _menu_of(evaluation)
    if ":" in chosen_in:  # /dev/sda3:/boot/grub/grub.cfg, which no command of this system writes
        return f"choose another entry in {chosen_in}"
    behind = set(_behind(binding)) if binding else set()
    if "next_entry" in behind:
        return f"{commands.editenv} - unset next_entry"
    if "saved_entry" in behind:
        return f"{commands.set_default} ENTRY, with an ENTRY from `kexec-hook list`"
    if commands.generates_config and commands.is_own_config(chosen_in):
        return f"set GRUB_DEFAULT in /etc/default/grub, then run `{commands.make_config}`"
    if binding and binding.origin:
        return f"change `default` at {binding.origin}"
    return f"set `default` in {chosen_in}"


def _menu_of(evaluation: Evaluation) -> str:
    """The file whose menu it is: a snippet is none, and what GRUB reads first may only lead to it."""
    default = evaluation.default
    name = default.entries[0].span.source.name if default else ""
    return name if name.endswith("grub.cfg") else evaluation.config.path


def _behind(binding: Binding, depth: int = 0) -> Iterator[str]:
    """The variables, with something in them, that a value was made from."""
    for read in binding.via if depth < 6 else ():
        if read.binding is not None and read.binding.value:
            yield read.name
            yield from _behind(read.binding, depth + 1)


def correct_entry(decision: Decision, span: Span | None) -> str:
    """How to mend a line: this system's grub.cfg where it is made, any other file by hand."""
    commands = Distribution(decision.sysroot)
    return commands.correct_config(span.source.name, span.line) if span else commands.make_config


def remake_initrd(decision: Decision, path: str, *, new: bool = False) -> str:
    release = (decision.plan.release if decision.plan else None) or ""
    return Distribution(decision.sysroot).make_initrd(path, release, new=new)
