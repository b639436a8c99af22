"""The command line: arguments in, a command's exit code out; 0 done, 1 failed, 2 usage, 3 declined."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from kexec_hook import __version__, commands
from kexec_hook.commands import OK
from kexec_hook.errors import KexecHookError
from kexec_hook.system.host import Host


def main(argv: Sequence[str] | None = None, host: Host | None = None) -> int:
    """Run one command; its exit code.  A test's `world` stands for the machine."""
    argv = sys.argv[1:] if argv is None else argv
    named = [word for word in argv if word in _COMMANDS]
    # To make the parsers of all commands takes longer than to read a small configuration.
    args = make_parser(named[0] if len(named) == 1 else None).parse_args(argv)
    try:
        code = _named(args.run)(host or Host(args.root), args)
        sys.stdout.flush()
    except OutputError as error:
        _silence()
        # What it was called for is done, and a package manager has nothing to do with it.
        failed = commands.fail(str(error))
        return OK if args.command in _CALLED else failed
    except KexecHookError as error:
        return commands.fail(str(error))
    except BrokenPipeError:
        # Nobody reads on: not our failure, and nothing more can be said.
        _silence()
        return OK
    return code


def _named(command: str) -> Callable[[Host, argparse.Namespace], int]:
    """`show.status` -> the function in commands/show.py; no other module of commands/ is loaded."""
    module, _, function = command.partition(".")
    found: Callable[[Host, argparse.Namespace], int] = getattr(
        import_module(f"kexec_hook.commands.{module}"), function
    )
    return found


class OutputError(KexecHookError):
    """Standard output cannot be written: a full disk, mostly."""


class Output(io.TextIOWrapper):
    """Standard output.  Raises OutputError; BrokenPipeError where nobody reads on."""

    def write(self, text: str) -> int:
        with _told_apart():
            return super().write(text)

    def flush(self) -> None:
        with _told_apart():
            super().flush()


@contextmanager
def _told_apart() -> Iterator[None]:
    """From what a file of the machine may raise."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OutputError(f"standard output cannot be written: {why}") from error


def _silence() -> None:
    """Python would flush once more at its end, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Help(argparse.RawDescriptionHelpFormatter):
    """Of one width: argparse would ask the terminal for its own, at each option of each start, for 4 ms."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Every command and option, or those of this command; man page and completions are made from it."""
    parser = argparse.ArgumentParser(
        prog="kexec-hook",
        description="Stage what GRUB would boot, so that the next reboot is a kexec into it.",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"kexec-hook {__version__}")
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="the root directory of the machine (default: /)"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say more about how a decision was made"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in [_COMMANDS[command]] if command else dict.fromkeys(_COMMANDS.values()):
        add(subparsers)
    return parser


def _command(
    subparsers: Any, name: str, run: str, help_: str, example: str, what: str
) -> argparse.ArgumentParser:
    """A command with an example behind its --help."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example:\n  {example}\n    {what}",
        formatter_class=_Help,
    )
    parser.set_defaults(run=run)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print data; exit codes stay as they are"
    )


def _add_entry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--entry", metavar="SPEC", help="this entry instead of the default: 1>2, a title, an id"
    )


def _add_staging(subparsers: Any) -> None:
    help_ = "stage what GRUB would boot"
    what = "show what would be staged, and why; change nothing"
    parser = _command(subparsers, "stage", "stage.stage", help_, "kexec-hook stage --dry-run", what)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    _add_entry(parser)
    parser.add_argument(
        "--running", action="store_true", help="the running kernel with its own command line"
    )
    parser.add_argument(
        "--panic", action="store_true", help="the crash kernel, as /etc/sysconfig/kdump asks for it"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an image that somebody else has loaded"
    )
    _add_json(parser)
    help_ = "unload what kexec-hook staged"
    _command(
        subparsers,
        "unstage",
        "stage.unstage",
        help_,
        "kexec-hook unstage",
        "the next reboot goes through the firmware",
    )


def _add_looking(subparsers: Any) -> None:
    help_, what = (
        "list GRUB's menu, and what each entry would boot",
        "a table with the default marked by a star",
    )
    parser = _command(subparsers, "list", "show.list_entries", help_, "kexec-hook list", what)
    parser.add_argument(
        "--sort", action="store_true", help="newest kernel first, instead of the menu's order"
    )
    _add_json(parser)
    help_ = "show the chain of evidence behind the choice, with file and line"
    what = "which `set default` won, what grubenv holds, why this root, what loads what"
    parser = _command(
        subparsers, "explain", "show.explain_choice", help_, "kexec-hook explain", what
    )
    _add_entry(parser)
    _add_json(parser)
    help_ = "say what is staged, whether it is still right, and what each way to reboot would do"
    parser = _command(
        subparsers, "status", "show.status", help_, "kexec-hook status", "how things stand"
    )
    parser.add_argument(
        "--verify", action="store_true", help="decompress the initrds to their ends as well"
    )
    _add_json(parser)


def _add_rebooting(subparsers: Any) -> None:
    help_, what = (
        "reboot by kexec, or through the firmware where that is declined",
        "stage first if needed, do not ask",
    )
    parser = _command(subparsers, "reboot", "reboot.reboot", help_, "kexec-hook reboot --yes", what)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    help_, what = "reboot through the firmware, whatever is staged", "the long way, once"
    _command(subparsers, "coldreboot", "reboot.coldreboot", help_, "kexec-hook coldreboot", what)
    help_ = "allow a kexec again into a kernel that did not come up after one"
    what = "`kexec-hook status` lists such kernels"
    parser = _command(subparsers, "ack", "reboot.ack", help_, "kexec-hook ack 6.1.0-39-amd64", what)
    parser.add_argument(
        "release", nargs="?", metavar="RELEASE", help="this one (default: all of them)"
    )


def _add_hooks(subparsers: Any) -> None:
    help_ = "have package managers and systemd call a kexec-hook that pip or pipx installed"
    what = "distributions' packages do that by themselves"
    parser = _command(subparsers, "hooks", "hooks.hooks", help_, "kexec-hook hooks install", what)
    parser.add_argument(
        "action", choices=("list", "install", "remove"), help="what to do with the files"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only those of apt, dnf, systemd, ... (default: what is used here)",
    )


def _add_called(subparsers: Any) -> None:
    help_, what = (
        "what package managers call when they are done; exits 0 always",
        "as apt's hook does",
    )
    parser = _command(subparsers, "run", "stage.run", help_, "kexec-hook run --source=apt", what)
    parser.add_argument(
        "--source",
        required=True,
        metavar="NAME",
        help="who calls: apt, dpkg, kernel, dnf4, dnf5, rpm",
    )
    help_, what = (
        "what the shutdown unit calls: approve the kexec, or not",
        "declines unless a reboot is coming",
    )
    _command(subparsers, "finalize", "reboot.finalize", help_, "kexec-hook finalize", what)
    help_ = "what a unit calls at boot: make GRUB's writes that the kexec left out"
    what = "or take back what a shutdown that was cancelled left"
    _command(subparsers, "complete", "reboot.complete", help_, "kexec-hook complete", what)
    help_ = "what a unit calls at boot: did the kexec that was tried come up?"
    what = "remember a kernel that did not"
    _command(subparsers, "judge-boot", "reboot.judge_boot", help_, "kexec-hook judge-boot", what)


def _add_grub_eval(subparsers: Any) -> None:
    help_ = "evaluate the GRUB configuration of a directory that stands for a partition"
    example, what = (
        "kexec-hook grub-eval /mnt/boot --json --default-only",
        "what GRUB on that partition would boot",
    )
    parser = _command(subparsers, "grub-eval", "show.grub_eval", help_, example, what)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument(
        "--uuid", default="", help="UUID of DIR's file system (default: it answers to none)"
    )
    parser.add_argument("--label", default="", help="label of DIR's file system")
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="DIR[:UUID[:LABEL]]",
        help="a further partition: hd0,gpt2, ...",
    )
    parser.add_argument(
        "--prefix", help="GRUB's directory in DIR (default: the first with a grub.cfg)"
    )
    parser.add_argument(
        "--flavour", default="upstream", choices=("upstream", "upstream-2.14", "rhboot", "suse")
    )
    parser.add_argument("--platform", default="pc", help="$grub_platform (default: pc)")
    parser.add_argument("--cpu", default="i386", help="$grub_cpu (default: i386)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="variables"
    )
    parser.add_argument(
        "--script", metavar="FILE", help="run this script instead, and print what it prints"
    )
    parser.add_argument("--default-only", action="store_true", help="run the default entry alone")
    _add_json(parser)


_CALLED = ("run", "finalize", "complete", "judge-boot")
_COMMANDS = {
    **dict.fromkeys(("stage", "unstage"), _add_staging),
    **dict.fromkeys(("list", "explain", "status"), _add_looking),
    **dict.fromkeys(("reboot", "coldreboot", "ack"), _add_rebooting),
    "hooks": _add_hooks,
    **dict.fromkeys(_CALLED, _add_called),
    "grub-eval": _add_grub_eval,
}
