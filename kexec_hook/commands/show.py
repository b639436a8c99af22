"""list, explain, status and grub-eval: they look, and change nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from kexec_hook.commands import (
    DECLINED,
    FAILED,
    OK,
    USAGE,
    as_json,
    decide_here,
    exit_code,
    fail,
    load_plugins,
)
from kexec_hook.commands.stage import planned
from kexec_hook.plugins.api import Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.disks.directories import Partition
    from kexec_hook.grub.machine import Machine
    from kexec_hook.system.host import Host


def list_entries(host: Host, args: Namespace) -> int:
    from kexec_hook.decision.newest import tail_key
    from kexec_hook.report import listing
    from kexec_hook.report.reasons import fix_of, lines_of

    plugins = load_plugins()
    found = decide_here(host, Trigger("cli"), plugins)
    answer = listing.entries_json(found)
    if args.sort:
        answer["entries"] = listing.by_release(answer["entries"], tail_key(plugins, found.sysroot))
    if args.json:
        print(as_json(answer))
    elif answer["entries"]:
        print(listing.list_text(answer, legend=not args.no_legend))
    if answer["entries"]:
        return OK
    about = [one for one in found.objections if one.by in ("kexec-hook", "checks")]
    about = about or list(found.objections if found.evaluation is None else ())
    for objection in about:
        fail("\n".join(lines_of("no menu:", objection.reason, fix_of(objection))))
    return FAILED if about else fail("the menu is empty")


def explain_choice(host: Host, args: Namespace) -> int:
    from kexec_hook.report import explain

    found = decide_here(host, Trigger("cli", args.entry))
    outcome = "declined" if found.declined else "would-stage"
    if args.json:
        print(as_json(explain.explain_json(found, outcome, planned(found))))
    else:
        print(explain.explain_text(found))
    return exit_code(found)


def status(host: Host, args: Namespace) -> int:
    from kexec_hook.decision.newest import tail_key
    from kexec_hook.report.status import check, status_json, status_text, verify

    plugins = load_plugins()
    found = decide_here(host, Trigger("cli"), plugins)
    answer = status_json(
        host,
        found,
        tail_key(plugins, found.sysroot),
        lambda trigger: decide_here(host, trigger, plugins),
    )
    if args.verify:
        answer["verified"] = verify(host, found)
    would, line = check(answer)
    text = line if args.check else status_text(answer)
    print(as_json(answer) if args.json else text)
    if args.check:
        return {"kexec": OK, "firmware": DECLINED}.get(would, FAILED)
    return FAILED if exit_code(found) == FAILED else OK


def grub_eval(host: Host, args: Namespace) -> int:
    from kexec_hook.disks.directories import Partition
    from kexec_hook.grub.fuel import Limit
    from kexec_hook.grub.script.source import ScriptError
    from kexec_hook.report import grubeval
    from kexec_hook.system.sysroot import SysrootError

    partitions = [
        Partition(args.directory, args.uuid, args.label),
        *map(Partition.parse, args.extra),
    ]
    for partition in partitions:
        if not os.path.isdir(partition.directory):
            return fail(f"{partition.directory}: not a directory", USAGE)
    for word in args.variables:
        if "=" not in word:
            return fail(f"--set {word}: write NAME=VALUE", USAGE)
    machine, prefix = _grub_of(args, partitions)
    try:
        if args.script:
            return _grub_script(machine, args.script)
        answer = grubeval.configuration(
            machine, f"{prefix}/grub.cfg", default_only=args.default_only
        )
    except SysrootError as error:
        return fail(f"{args.script}: {error.reason}")
    except (Limit, ScriptError) as error:
        return fail(str(error))
    if args.json:
        print(as_json(answer))
    else:
        from kexec_hook.report import listing

        print(listing.grub_eval_text(answer))
    return OK


def _grub_of(args: Namespace, partitions: Sequence[Partition]) -> tuple[Machine, str]:
    """GRUB on these partitions, and its prefix."""
    from kexec_hook.disks.directories import PartitionDisks
    from kexec_hook.report import grubeval

    disks = PartitionDisks(partitions)
    prefix = args.prefix or _find_prefix(disks) or "/boot/grub"
    if not prefix.startswith("("):
        prefix = "(hd0,gpt1)" + prefix
    variables = dict(word.split("=", 1) for word in args.variables)
    machine = grubeval.make_machine(disks, args.flavour, args.platform, args.cpu, prefix, variables)
    names = {
        f"hd0,gpt{number}": os.fspath(partition.directory)
        for number, partition in enumerate(partitions, 1)
    }
    machine.display = grubeval.display(names)
    return machine, prefix


def _grub_script(machine: Machine, path: str) -> int:
    """Run a script in place of a configuration, and print what it prints.  SysrootError"""
    from kexec_hook.report import grubeval
    from kexec_hook.system.sysroot import Sysroot

    directory, name = os.path.split(os.path.abspath(path))
    output, problems = grubeval.script(machine, path, Sysroot(directory).read("/" + name))
    sys.stdout.write(output)
    for problem in problems:
        print(grubeval.show_problem(problem), file=sys.stderr)
    return OK


def _find_prefix(disks: Any) -> str | None:
    from kexec_hook.grub.disks import GrubPath

    for prefix in ("/boot/grub", "/boot/grub2", "/grub", "/grub2"):
        if disks.stat(GrubPath("hd0,gpt1", prefix + "/grub.cfg")):
            return prefix
    return None
