"""The command line: arguments in, a command's exit code out; 0 done, 1 failed, 2 usage, 3 declined."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module

from kexec_hook import commands
from kexec_hook.commands import OK
from kexec_hook.commands.options import CALLED, parse
from kexec_hook.errors import KexecHookError
from kexec_hook.system.host import Host


def main(argv: Sequence[str] | None = None, host: Host | None = None) -> int:
    """Run one command; its exit code.  A test's `host` stands for the machine."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        with redirect_stdout(io.StringIO()) if args.quiet else nullcontext():
            code = _named(args.run)(host or Host(args.root), args)
        sys.stdout.flush()
    except OutputError as error:
        _silence()
        # What it was called for is done, and a package manager has nothing to do with it.
        failed = commands.fail(str(error))
        return OK if args.command in CALLED else failed
    except KexecHookError as error:
        return _failed(error, args)
    except BrokenPipeError:
        # Nobody reads on: not our failure, and nothing more can be said.
        _silence()
        return OK
    return code


def _failed(error: KexecHookError, args: Namespace) -> int:
    """For people, and as data where data is asked for: a document there is in any case."""
    if args.json and not args.quiet:
        commands.tell(commands.as_json({"schema": 1, "error": str(error)}))
    code = error.code if isinstance(error, commands.Refusal) else commands.FAILED
    return commands.fail(str(error), code)


def _named(command: str) -> Callable[[Host, Namespace], int]:
    """`show.status` -> the function in commands/show.py; no other module of commands/ is loaded."""
    module, _, function = command.partition(".")
    found: Callable[[Host, Namespace], int] = getattr(
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
