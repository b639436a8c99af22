"""The fewest inputs that reach all that the fuzzer reached, as bytes literals, one a line: tests/fuzz/TARGET.txt.

Usage: python -m tests.fuzz.corpus unpack|pack TARGET DIR
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.targets import TARGETS

Step = tuple["CodeType", int, int]  # from a line to a line


def file(target: str) -> Path:
    return Path(__file__).with_name(f"{target}.txt")


def kept(target: str) -> list[bytes]:
    return [ast.literal_eval(line) for line in file(target).read_text("ascii").splitlines()]


def unpack(target: str, directory: Path) -> None:
    """As libFuzzer names them."""
    directory.mkdir(parents=True, exist_ok=True)
    for data in kept(target) if file(target).exists() else []:
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(target: str, directory: Path) -> None:
    inputs = sorted(
        (path.read_bytes() for path in directory.iterdir()), key=lambda data: (len(data), data)
    )
    file(target).write_text(
        "".join(f"{data!r}\n" for data in fewest(TARGETS[target], inputs)), "ascii"
    )


def fewest(run: Callable[[bytes], None], inputs: Iterable[bytes]) -> Iterator[bytes]:
    reached: set[Step] = set()
    for data in inputs:
        steps = _steps(lambda data=data: run(data))  # type: ignore[misc]
        if steps - reached:
            reached |= steps
            yield data


def _steps(run: Callable[[], None]) -> set[Step]:
    steps: set[Step] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "call" and "kexec_hook" not in frame.f_code.co_filename:
            return None
        steps.add((frame.f_code, last.get(frame, 0), frame.f_lineno))
        last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return steps


if __name__ == "__main__":
    {"unpack": unpack, "pack": pack}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
