"""The command line: arguments in, text or JSON out, exit codes 0 done, 1 failed, 2 usage, 3 declined."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kexec_hook import __version__

OK, FAILED, USAGE, DECLINED = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    args = _parser().parse_args(argv)
    Expected = _expected_errors()
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except Expected as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Nobody reads on: not our failure, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _expected_errors() -> tuple[type[Exception], ...]:
    """What modules raise for what the world does wrong; anything else is a bug and keeps its traceback."""
    from kexec_hook.settings import SettingsError
    from kexec_hook.sysroot import SysrootError

    return SettingsError, SysrootError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kexec-hook", description="Stage what GRUB would boot, so that the next reboot is a kexec into it."
    )
    parser.add_argument("--version", action="version", version=f"kexec-hook {__version__}")
    parser.add_argument("--root", default="/", metavar="DIR", help="the root directory of the machine (default: /)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more about how a decision was made")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_stage(commands)
    _add_list(commands)
    _add_explain(commands)
    _add_grub_eval(commands)
    return parser


def _example(command: str, text: str) -> dict[str, Any]:
    return {"epilog": f"example:\n  {command}\n    {text}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def _add_stage(commands: Any) -> None:
    parser = commands.add_parser(
        "stage",
        help="stage what GRUB would boot",
        **_example("kexec-hook stage --dry-run", "show what would be staged, and why; change nothing"),
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    _add_entry(parser)
    parser.add_argument("--json", action="store_true", help="as data; exit codes stay")
    parser.set_defaults(run=_stage)


def _add_entry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entry", metavar="SPEC", help="this entry instead of the default: 1>2, a title, an id")


def _add_list(commands: Any) -> None:
    parser = commands.add_parser(
        "list",
        help="list GRUB's menu, and what each entry would boot",
        **_example("kexec-hook list", "a table with the default marked by a star"),
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_list)


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="show the chain of evidence behind the choice, with file and line",
        **_example("kexec-hook explain", "which `set default` won, what grubenv said, why this root, what loads what"),
    )
    _add_entry(parser)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_explain)


def _decide(args: argparse.Namespace, *, dry: bool = True) -> Any:
    """A run on the machine below --root.  SettingsError, SysrootError."""
    from kexec_hook.plugins import Plugins
    from kexec_hook.run import Trigger
    from kexec_hook.settings import load_settings
    from kexec_hook.stage import decide
    from kexec_hook.world import World

    world = World(args.root)
    sysroot = world.sysroot()
    settings = load_settings(sysroot)
    return decide(world, sysroot, settings, Plugins(), Trigger("cli", getattr(args, "entry", None), dry))


def _stage(args: argparse.Namespace) -> int:
    from kexec_hook import explain

    if not args.dry_run:
        return _fail("only `stage --dry-run` can be done so far", USAGE)
    run = _decide(args)
    commands = [run.plan.argv()] if run.plan else []
    outcome = "declined" if run.declined else "would-stage"
    if args.json:
        print(json.dumps(explain.stage_json(run, outcome, commands), indent=1))
    else:
        print(explain.stage_text(run, outcome, commands, verbose=args.verbose))
    return DECLINED if run.declined else OK


def _list(args: argparse.Namespace) -> int:
    from kexec_hook import explain

    run = _decide(args)
    answer = explain.entries_json(run)
    if args.json:
        print(json.dumps(answer, indent=1))
    elif answer["entries"]:
        print(explain.list_text(answer))
    if answer["entries"]:
        return OK
    return _fail("; ".join(objection.reason for objection in run.objections) or "the menu is empty")


def _explain(args: argparse.Namespace) -> int:
    from kexec_hook import explain

    run = _decide(args)
    commands = [run.plan.argv()] if run.plan else []
    outcome = "declined" if run.declined else "would-stage"
    if args.json:
        print(json.dumps(explain.explain_json(run, outcome, commands), indent=1))
    else:
        print(explain.explain_text(run))
    return DECLINED if run.declined else OK


def _add_grub_eval(commands: Any) -> None:
    parser = commands.add_parser(
        "grub-eval",
        help="evaluate the GRUB configuration of a directory that stands for a partition",
        **_example("kexec-hook grub-eval /mnt/boot --json --default-only", "what GRUB on that partition would boot"),
    )
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--uuid", default="", help="UUID of DIR's file system (default: it answers to none)")
    parser.add_argument("--label", default="", help="label of DIR's file system")
    parser.add_argument(
        "--extra", action="append", default=[], metavar="DIR[:UUID[:LABEL]]", help="a further partition: hd0,gpt2, ..."
    )
    parser.add_argument("--prefix", help="GRUB's directory in DIR (default: the first with a grub.cfg)")
    parser.add_argument("--flavour", default="upstream", choices=("upstream", "upstream-2.14", "rhboot"))
    parser.add_argument("--platform", default="pc", help="$grub_platform (default: pc)")
    parser.add_argument("--cpu", default="i386", help="$grub_cpu (default: i386)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="variables")
    parser.add_argument("--script", metavar="FILE", help="run this script instead, and print what it prints")
    parser.add_argument("--default-only", action="store_true", help="run the default entry alone")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_grub_eval)


def _grub_eval(args: argparse.Namespace) -> int:
    from kexec_hook import grubeval
    from kexec_hook.grub.machine import Limit
    from kexec_hook.grub.source import ScriptError
    from kexec_hook.partitions import Partition, PartitionDisks

    partitions = [Partition(Path(args.directory), args.uuid, args.label), *map(Partition.parse, args.extra)]
    for partition in partitions:
        if not partition.directory.is_dir():
            return _fail(f"{partition.directory}: not a directory", USAGE)
    variables = {}
    for word in args.variables:
        name, equals, value = word.partition("=")
        if not equals:
            return _fail(f"--set {word}: write NAME=VALUE", USAGE)
        variables[name] = value
    disks = PartitionDisks(partitions)
    prefix = args.prefix or _find_prefix(disks) or "/boot/grub"
    if not prefix.startswith("("):
        prefix = "(hd0,gpt1)" + prefix
    machine = grubeval.make_machine(disks, args.flavour, args.platform, args.cpu, prefix, variables)
    names = {f"hd0,gpt{number}": str(partition.directory) for number, partition in enumerate(partitions, 1)}
    machine.display = grubeval.display(names)
    try:
        if args.script:
            output, problems = grubeval.script(machine, args.script, Path(args.script).read_bytes())
            sys.stdout.write(output)
            for problem in problems:
                print(grubeval.show_problem(problem), file=sys.stderr)
            return OK
        answer = grubeval.configuration(machine, f"{prefix}/grub.cfg", default_only=args.default_only)
    except OSError as error:
        return _fail(f"{args.script}: {error.strerror}")
    except (Limit, ScriptError) as error:
        return _fail(str(error))
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from kexec_hook import explain

        print(explain.grub_eval_text(answer))
    return OK


def _find_prefix(disks: Any) -> str | None:
    from kexec_hook.grub.disks import GrubPath

    for prefix in ("/boot/grub", "/boot/grub2", "/grub", "/grub2"):
        if disks.stat(GrubPath("hd0,gpt1", prefix + "/grub.cfg")):
            return prefix
    return None


def _fail(message: str, code: int = FAILED) -> int:
    print(f"kexec-hook: {message}", file=sys.stderr)
    return code
