"""Every command: its options, an example, what it is for; help, man page and completions are made from this."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from kexec_hook import __version__
from kexec_hook.commands import USAGE, fail
from kexec_hook.tuples import NamedTuple

DEFAULT = "status"  # of `kexec-hook` alone
LOOK, ACT, SET_UP = "Look, and change nothing", "Act, as root", "Set up, and learn more"
PLUMBING = "For scripts and units"
# An option of these takes the word behind it, which is then no command.  Written out, since only one parser is made.
VALUED = (
    *("--root", "--entry", "--source"),
    *("--uuid", "--label", "--extra", "--prefix", "--flavour", "--platform", "--cpu", "--set"),
    "--script",
)


class Parser(argparse.ArgumentParser):
    """The options of one command; what is wrong is said in one sentence, and below it what to do."""

    def error(self, message: str) -> NoReturn:
        name = self.prog.partition(" ")[2]
        code = fail(f"{name}: {message}\n  fix: see `kexec-hook help {name}`", USAGE)
        raise SystemExit(code)

    def complete_args(self, words: Sequence[str]) -> argparse.Namespace:
        """Options and arguments, all of them known."""
        args, rest = self.parse_known_args(words)
        if not rest:
            return args
        name = self.prog.partition(" ")[2]
        if not rest[0].startswith("-"):
            self.error(f"unexpected argument `{rest[0]}`")
        what = rest[0].partition("=")[0]
        meant = nearest(what, self._option_string_actions)
        fix = f"did you mean `{meant}`?" if meant else f"see `kexec-hook help {name}`"
        raise SystemExit(fail(f"{name}: there is no option `{what}`\n  fix: {fix}", USAGE))


class Command(NamedTuple):
    """One word behind `kexec-hook`."""

    run: str  # module and function below commands/
    group: str
    help: str
    example: str
    shows: str  # the example
    options: Callable[[Parser], None]
    json: bool = False


class _Help(argparse.RawDescriptionHelpFormatter):
    """Of one width: argparse would ask the terminal for its own, at each option of each start, for 4 ms."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


def parse(words: Iterable[str]) -> argparse.Namespace:
    """The command's name is the first word that is neither an option nor the value of one."""
    words = list(words)
    at = _command_at(words)
    if at is None and not {"-h", "--help"}.isdisjoint(words):
        words, at = ["help"], 0
    name = DEFAULT if at is None else words.pop(at)
    if name not in COMMANDS:
        raise SystemExit(fail(unknown(name, COMMANDS), USAGE))
    args = make_parser(name).complete_args(words)
    if args.json and not COMMANDS[name].json:
        raise SystemExit(fail(f"`{name}` has nothing to print as JSON; leave out --json", USAGE))
    return args


def unknown(name: str, known: Iterable[str]) -> str:
    meant = nearest(name, known)
    fix = f"did you mean `{meant}`?" if meant else "`kexec-hook help` lists the commands"
    return f"there is no command `{name}`\n  fix: {fix}"


def _command_at(words: Sequence[str]) -> int | None:
    value = False
    for number, word in enumerate(words):
        if not value and not word.startswith("-"):
            return number
        # As argparse has it, the beginning of an option's name stands for the option.
        value = not value and len(word) > 2 and any(name.startswith(word) for name in VALUED)
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """The name that was meant; empty where none is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word, known, 1, 0.65)), "")


def make_parser(name: str) -> Parser:
    """The options of this command, those of all commands among them."""
    command = COMMANDS[name]
    parser = Parser(
        prog=f"kexec-hook {name}",
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=f"example:\n  {command.example}\n    {command.shows}",
        formatter_class=_Help,
    )
    parser.set_defaults(run=command.run, command=name)
    command.options(parser)
    everywhere = parser.add_argument_group("options of every command, before or after its name")
    add_everywhere(everywhere)
    return parser


def add_everywhere(group: Any) -> None:
    """The options that every command has."""
    group.add_argument(
        "--root", default="/", metavar="DIR", help="the root directory of the machine (default: /)"
    )
    group.add_argument("--json", action="store_true", help="print data, where a command has any")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="say more about how a decision was made"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    group.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"kexec-hook {__version__}",
        help="print the version",
    )


def _entry(parser: Parser) -> None:
    parser.add_argument(
        "--entry", metavar="SPEC", help="this entry instead of the default: 1>2, a title, an id"
    )


def _stage(parser: Parser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    _entry(parser)
    parser.add_argument(
        "--running", action="store_true", help="the running kernel with its own command line"
    )
    parser.add_argument(
        "--panic", action="store_true", help="the crash kernel, as /etc/sysconfig/kdump asks for it"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an image that somebody else has loaded"
    )


def _list(parser: Parser) -> None:
    parser.add_argument(
        "--sort", action="store_true", help="newest kernel first, instead of the menu's order"
    )
    parser.add_argument("--no-legend", action="store_true", help="leave out the line of headers")


def _status(parser: Parser) -> None:
    parser.add_argument(
        "--check",
        action="store_true",
        help="one line, and the exit code: 0 the next reboot is a kexec, 3 it is not, 1 unknown",
    )
    parser.add_argument(
        "--verify", action="store_true", help="decompress the initrds to their ends as well"
    )


def _reboot(parser: Parser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _ack(parser: Parser) -> None:
    parser.add_argument(
        "release", nargs="?", metavar="RELEASE", help="this one (default: all of them)"
    )


def _hooks(parser: Parser) -> None:
    parser.add_argument(
        "action", choices=("list", "install", "remove"), help="what to do with the files"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only those of apt, dnf, systemd, ... (default: what is used here)",
    )


def _help(parser: Parser) -> None:
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="a command, or the code of a reason"
    )
    parser.add_argument(
        "-a", "--all", action="store_true", help="list the commands for scripts and units as well"
    )


def _run(parser: Parser) -> None:
    parser.add_argument(
        "--source",
        required=True,
        metavar="NAME",
        help="who calls: apt, dpkg, kernel, dnf4, dnf5, rpm, zypper, pacman",
    )


def _candidates(parser: Parser) -> None:
    parser.add_argument("kind", choices=("entries", "releases", "topics"), help="of what")


def _nothing(_: Parser) -> None:
    """No options of its own."""


def _grub_eval(parser: Parser) -> None:
    from kexec_hook.grub.flavours import FLAVOURS

    parser.add_argument("directory", metavar="DIR", help="stands for the partition")
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
        "--flavour",
        default="upstream",
        choices=tuple(FLAVOURS),
        help="whose GRUB (default: upstream)",
    )
    parser.add_argument("--platform", default="pc", help="$grub_platform (default: pc)")
    parser.add_argument("--cpu", default="i386", help="$grub_cpu (default: i386)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="variables",
        help="a variable that is set before the configuration is read",
    )
    parser.add_argument(
        "--script", metavar="FILE", help="run this script instead, and print what it prints"
    )
    parser.add_argument("--default-only", action="store_true", help="run the default entry alone")


COMMANDS = {
    "status": Command(
        "show.status",
        LOOK,
        "show what is staged, and what each way to reboot would do",
        "kexec-hook status --check",
        "will the next reboot be a kexec?  One line, and the exit code",
        _status,
        json=True,
    ),
    "list": Command(
        "show.list_entries",
        LOOK,
        "list GRUB's menu, and what each entry would boot",
        "kexec-hook list",
        "a table with the default marked by a star",
        _list,
        json=True,
    ),
    "explain": Command(
        "show.explain_choice",
        LOOK,
        "show why: which file and line decided what",
        "kexec-hook explain",
        "which `set default` won, what grubenv holds, why this root, what loads what",
        _entry,
        json=True,
    ),
    "stage": Command(
        "stage.stage",
        ACT,
        "stage what GRUB would boot",
        "kexec-hook stage --dry-run",
        "show what would be staged, and why; change nothing",
        _stage,
        json=True,
    ),
    "unstage": Command(
        "stage.unstage",
        ACT,
        "unload what kexec-hook staged",
        "kexec-hook unstage",
        "the next reboot goes through the firmware",
        _nothing,
    ),
    "reboot": Command(
        "reboot.reboot",
        ACT,
        "reboot by kexec, or through the firmware if that is declined",
        "kexec-hook reboot --yes",
        "stage first if needed, do not ask",
        _reboot,
    ),
    "coldreboot": Command(
        "reboot.coldreboot",
        ACT,
        "reboot through the firmware, whatever is staged",
        "kexec-hook coldreboot",
        "a firmware boot, once",
        _nothing,
    ),
    "ack": Command(
        "reboot.ack",
        ACT,
        "allow a kernel again that did not come up after a kexec",
        "kexec-hook ack 6.1.0-39-amd64",
        "`kexec-hook status` lists such kernels",
        _ack,
    ),
    "hooks": Command(
        "hooks.hooks",
        SET_UP,
        "let apt, dnf and systemd call what pip or pipx installed",
        "kexec-hook hooks install",
        "distributions' packages do that by themselves",
        _hooks,
    ),
    "help": Command(
        "help.show_help",
        SET_UP,
        "tell about a command, or about the code of a reason",
        "kexec-hook help not-mounted",
        "what it means, and what to do about it",
        _help,
    ),
    "grub-eval": Command(
        "grubeval.grub_eval",
        PLUMBING,
        "evaluate the GRUB configuration of a directory that stands for a partition",
        "kexec-hook grub-eval /mnt/boot --json --default-only",
        "what GRUB on that partition would boot",
        _grub_eval,
        json=True,
    ),
    "run": Command(
        "stage.run",
        PLUMBING,
        "stage after a package manager's run, which calls this when it is done; exits 0 always",
        "kexec-hook run --source=apt",
        "as apt's hook does",
        _run,
    ),
    "finalize": Command(
        "reboot.finalize",
        PLUMBING,
        "approve the kexec, or not, as the shutdown unit asks for",
        "kexec-hook finalize",
        "declines unless a reboot is coming",
        _nothing,
    ),
    "complete": Command(
        "reboot.complete",
        PLUMBING,
        "make GRUB's writes that a kexec left out, as a unit asks for at boot",
        "kexec-hook complete",
        "or take back what a shutdown that was cancelled left",
        _nothing,
    ),
    "judge-boot": Command(
        "reboot.judge_boot",
        PLUMBING,
        "find out whether the kexec that was tried came up, as a unit asks for at boot",
        "kexec-hook judge-boot",
        "remember a kernel that did not",
        _nothing,
    ),
    "candidates": Command(
        "help.candidates",
        PLUMBING,
        "print what a shell may complete, a tab before what it is",
        "kexec-hook candidates entries",
        "the entries of GRUB's menu",
        _candidates,
    ),
}
CALLED = ("run", "finalize", "complete", "judge-boot")
