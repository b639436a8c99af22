"""help, and what shells complete: the commands in a few lines, one of them in full, the code of a reason."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from kexec_hook.commands import OK, USAGE, decide_here, fail
from kexec_hook.plugins.api import Trigger

if TYPE_CHECKING:
    from kexec_hook.system.host import Host

_ABOUT = "Stages what GRUB would boot, so that the next reboot is a kexec into it."


def show_help(host: Host, args: Namespace) -> int:
    """Of everything, of a command, or of a code."""
    from kexec_hook.commands import options

    topic = args.topic
    if topic is None:
        print(_overview(all_=args.all))
        return OK
    if topic in options.COMMANDS:
        print(options.make_parser(topic).format_help(), end="")
        return OK
    from kexec_hook.report.troubleshooting import rows

    known = rows()
    if topic in known:
        print(f"{topic}: {known[topic].wrong}\n  fix: {known[topic].todo}")
        return OK
    return fail(options.unknown(topic, (*options.COMMANDS, *known)), USAGE)


def _overview(*, all_: bool) -> str:
    from kexec_hook.commands import options

    groups = (options.LOOK, options.ACT, options.SET_UP, *([options.PLUMBING] if all_ else []))
    lines = ["usage: kexec-hook [OPTION]... [COMMAND] [OPTION]... [ARGUMENT]...", "", _ABOUT]
    for group in groups:
        lines += ["", f"{group}:"]
        for name, command in options.COMMANDS.items():
            if command.group == group:
                lines += _row(name, command.help)
    parser = options.Parser(add_help=False)
    options.add_everywhere(parser)
    lines += ["", "Options of every command, before or after its name:"]
    for action in parser._actions:
        name = ", ".join(action.option_strings) + (f" {action.metavar}" if action.metavar else "")
        lines += _row(name, action.help or "")
    lines += [
        "",
        f"Without a command: {options.DEFAULT}.  `kexec-hook help COMMAND` tells more about one,",
        "`kexec-hook help CODE` about a reason; manual pages: kexec-hook(8), kexec-hook.conf(5).",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(name: str, what: str) -> list[str]:
    import textwrap

    first, *more = textwrap.wrap(what, 62)
    return [f"  {name:<15} {first}", *(" " * 18 + line for line in more)]


def candidates(host: Host, args: Namespace) -> int:
    """One a line, a tab before what it is; what goes wrong is nothing that a shell could say."""
    import contextlib
    import io

    from kexec_hook.errors import KexecHookError
    from kexec_hook.report.terminal import safe

    with contextlib.redirect_stderr(io.StringIO()):
        try:
            found = {"entries": _entries, "releases": _releases, "topics": _topics}[args.kind](host)
        except KexecHookError:
            return OK
    for word, what in found:
        if word.isprintable():
            sys.stdout.write(f"{word}\t{safe(what)}\n")
    return OK


def _entries(host: Host) -> list[tuple[str, str]]:
    from kexec_hook.report.listing import entries_json

    answer = entries_json(decide_here(host, Trigger("cli")))
    return [
        (entry["path"], " > ".join(entry["titles"]))
        for entry in answer["entries"]
        if entry["bootable"]
    ]


def _releases(host: Host) -> list[tuple[str, str]]:
    from kexec_hook.state import attempts

    return [
        (name, f"did not come up on {attempt.when}")
        for name, attempt in sorted(attempts.failed(host).items())
    ]


def _topics(host: Host) -> list[tuple[str, str]]:
    from kexec_hook.commands import options
    from kexec_hook.report.troubleshooting import rows

    known = [(name, command.help) for name, command in options.COMMANDS.items()]
    return known + [(code, row.wrong) for code, row in rows().items()]
