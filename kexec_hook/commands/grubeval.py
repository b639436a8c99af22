"""grub-eval: GRUB on directories that stand for partitions; it looks, and changes nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from kexec_hook.commands import OK, USAGE, Refusal, as_json
from kexec_hook.disks.directories import Partition, PartitionDisks
from kexec_hook.grub.disks import Disks, GrubPath
from kexec_hook.grub.fuel import Limit
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import ScriptError
from kexec_hook.report import grubeval
from kexec_hook.system.host import Host
from kexec_hook.system.sysroot import Sysroot, SysrootError


def grub_eval(host: Host, args: Namespace) -> int:
    partitions = [
        Partition(args.directory, args.uuid, args.label),
        *map(Partition.parse, args.extra),
    ]
    for partition in partitions:
        if not os.path.isdir(partition.directory):
            raise Refusal(f"{partition.directory}: not a directory", USAGE)
    for word in args.variables:
        if "=" not in word:
            raise Refusal(f"--set {word}: write NAME=VALUE", USAGE)
    machine, prefix = _grub_of(args, partitions)
    try:
        if args.script:
            return _grub_script(machine, args.script)
        answer = grubeval.configuration(
            machine, f"{prefix}/grub.cfg", default_only=args.default_only
        )
    except SysrootError as error:
        raise Refusal(f"{args.script}: {error.reason}") from error
    except (Limit, ScriptError) as error:
        raise Refusal(str(error)) from error
    if args.json:
        print(as_json(answer))
    else:
        print(grubeval.text(answer))
    return OK


def _grub_of(args: Namespace, partitions: Sequence[Partition]) -> tuple[Machine, str]:
    """GRUB on these partitions, and its prefix."""
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
    directory, name = os.path.split(os.path.abspath(path))
    output, problems = grubeval.script(machine, path, Sysroot(directory).read("/" + name))
    sys.stdout.write(output)
    for problem in problems:
        print(grubeval.show_problem(problem), file=sys.stderr)
    return OK


def _find_prefix(disks: Disks) -> str | None:
    for prefix in ("/boot/grub", "/boot/grub2", "/grub", "/grub2"):
        if disks.stat(GrubPath("hd0,gpt1", prefix + "/grub.cfg")):
            return prefix
    return None
