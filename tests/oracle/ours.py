"""How kexec-hook is asked, through its command line only: `grub-eval DIR --json` and `grub-eval DIR --script FILE`."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.oracle.world import Question

Json = dict[str, Any]


class OursFailed(Exception):
    """kexec-hook gave no answer: it raised, hung, or printed something that is not what was asked for."""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def missing() -> str | None:
    """Why kexec-hook cannot be asked, or None."""
    try:
        importlib.import_module("kexec_hook.cli")
    except ImportError as error:
        return f"kexec-hook has no command line yet: {error}"
    return None


@contextlib.contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    def hang(_number: int, _frame: FrameType | None) -> None:
        raise OursFailed(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _text(stream: io.BytesIO) -> str:
    return stream.getvalue().decode("utf-8", "surrogateescape")


def call(argv: Sequence[str], seconds: int = 20) -> Answer:
    """Run the command line in this process, as a process of its own would: nothing shared but the imports."""
    main = importlib.import_module("kexec_hook.cli").main
    out_bytes, err_bytes = io.BytesIO(), io.BytesIO()
    out, err = (
        io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="\n", write_through=True)
        for stream in (out_bytes, err_bytes)
    )
    saved = sys.stdout, sys.stderr
    code: object = 0
    try:
        with _deadline(seconds):
            sys.stdout, sys.stderr = out, err
            code = main(list(argv))
    except SystemExit as leaving:
        code = leaving.code
    except OursFailed:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise OursFailed(
            "".join(traceback.format_exception(type(error), error, error.__traceback__)[-6:])
        ) from error
    finally:
        sys.stdout, sys.stderr = saved
    return Answer(
        code if isinstance(code, int) else int(code is not None), _text(out_bytes), _text(err_bytes)
    )


def _options(question: Question) -> list[str]:
    first, *extra = question.partitions
    argv = ["grub-eval", str(first.files)]
    given = (
        ("--uuid", first.uuid),
        ("--label", first.label),
        ("--prefix", question.prefix),
        ("--flavour", question.flavour),
        ("--platform", question.platform),
        ("--cpu", question.cpu),
    )
    for option, value in given:
        if value:
            argv += [option, value]
    for part in extra:
        argv += [
            "--extra",
            ":".join([str(part.files), part.uuid or "", part.label or ""]).rstrip(":"),
        ]
    for name, value in question.variables.items():
        argv += ["--set", f"{name}={value}"]
    return argv


def script(question: Question, file: Path) -> Answer:
    """Run a GRUB script."""
    return call([*_options(question), "--script", str(file)])


def evaluate(question: Question, default_only: bool = False) -> Json:
    """Evaluate the configuration of the first partition."""
    argv = [*_options(question), "--json"]
    if default_only:
        argv.append("--default-only")
    answer = call(argv)
    try:
        found = json.loads(answer.out)
    except ValueError as error:
        raise OursFailed(
            f"exit {answer.code}, no JSON ({error}): {answer.out[:300]}{answer.err[-1500:]}"
        ) from error
    if not isinstance(found, dict):
        raise OursFailed(f"not a JSON object: {answer.out[:300]}")
    return found
