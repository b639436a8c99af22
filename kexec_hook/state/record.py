"""What we staged, as /run/kexec-hook remembers it until the machine is booted: the record and the approval.

A run takes the lock, writes a record in the state "loading" before it calls kexec and one in the
state "staged" after; it removes the record after unloading.  Wherever a run is killed, the next one
finds either a whole record or none, and "loading" tells it that what is loaded is ours, but unsure.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.state.names import APPROVED, STAGED
from kexec_hook.system.directory import Directory, LockedDirectory
from kexec_hook.system.host import RUN, Host
from kexec_hook.system.sysroot import Identity
from kexec_hook.tuples import NamedTuple

SCHEMA = 2

T = TypeVar("T")


class EnvBlock(NamedTuple):
    """An environment block of GRUB's, and what GRUB would write to it on its way."""

    file: str  # below the root
    writes: Mapping[str, str | None]  # None: deleted


class Staged(NamedTuple):
    """One decision, and everything it was read from.  Paths are below the root."""

    state: Literal["loading", "staged"]
    version: str  # of the kexec-hook that staged it
    time: float  # seconds since the epoch
    wanted: str | None  # what `stage --entry` asked for; None: GRUB's default
    running: bool  # `stage --running`
    entry_path: str  # 1>2; empty: no entry of GRUB's (select = kexec-default)
    entry_titles: tuple[str, ...]
    entry_id: str
    plan: Plan
    env_blocks: tuple[EnvBlock, ...]  # in the order in which GRUB would write them
    reads: Mapping[str, Identity | None]  # None: was missing
    # Kexec.calls_left just behind the call that loaded this image; None: others may have called in between
    calls_left: int | None = None
    # The kernel that was loaded will tell that a kexec has started it: staging/mark.py.
    marked: bool = False

    @property
    def release(self) -> str:
        return self.plan.release or ""

    @property
    def env_writes(self) -> dict[str, str | None]:
        """Those to all blocks, merged."""
        return {name: value for block in self.env_blocks for name, value in block.writes.items()}


class NoRecord(NamedTuple):
    """There is no record that could be believed."""

    reason: str  # one sentence
    found: bool  # something lies there, but it is none


def look(path: str | os.PathLike[str] = RUN, *, owner: int | None = None) -> Staged | NoRecord:
    """The record, without making the directory."""
    try:
        with Directory.open(path, create=False, owner=owner) as state:
            return read_staged(state)
    except FileNotFoundError:
        return NoRecord("nothing has been staged since this system was booted", found=False)


def read_staged(state: Directory) -> Staged | NoRecord:
    data = state.read(STAGED)
    if data is None:
        return NoRecord("nothing is staged", found=False)
    try:
        return parse_staged(data)
    except _TornError as torn:
        return NoRecord(f"{state.path}/{STAGED} is not a valid record: {torn}", found=True)


def is_ours(host: Host, found: Staged | NoRecord) -> bool:
    """Is what the kernel may hold of our loading?  The mark says so, also where the record was lost."""
    return isinstance(found, Staged) or found.found or host.mark.is_there


def write_staged(held: LockedDirectory, staged: Staged) -> None:
    held.write(STAGED, format_staged(staged))


def approve(held: LockedDirectory) -> None:
    """Let the next reboot jump: what the drop-ins of systemd/ look for."""
    held.write(APPROVED, b"")


def withdraw(state: Directory) -> bool:
    """Make the next reboot an ordinary one; whether it was approved.  Needs no lock: no must always get through."""
    return state.remove(APPROVED)


def format_staged(staged: Staged) -> bytes:
    values = staged._asdict()
    plan = values.pop("plan")._asdict()
    plan["initrds"] = [initrd._asdict() for initrd in staged.plan.initrds]
    values["env_blocks"] = [
        {"file": block.file, "writes": dict(block.writes)} for block in staged.env_blocks
    ]
    values["reads"] = dict(staged.reads)
    return json.dumps({"schema": SCHEMA, **values, **plan}, indent=1).encode("ascii") + b"\n"


class _TornError(ValueError):
    pass


def parse_staged(data: bytes) -> Staged:
    try:
        record: object = json.loads(data)
    except (ValueError, RecursionError):
        raise _TornError("it is not JSON, or only the beginning of it") from None
    if not isinstance(record, dict):
        raise _TornError("it is JSON, but not an object")
    if record.get("schema") != SCHEMA:
        raise _TornError(f"its schema is {record.get('schema')!r}, not {SCHEMA}")

    def get(name: str, parse: Callable[[object], T]) -> T:
        try:
            return parse(record[name])
        except (KeyError, TypeError, ValueError):
            raise _TornError(f"its {name} is missing or of the wrong kind") from None

    return Staged(
        state=get("state", _state),
        version=get("version", _text),
        time=get("time", _number),
        wanted=get("wanted", _optional_text),
        running=get("running", _truth),
        entry_path=get("entry_path", _text),
        entry_titles=get("entry_titles", _texts),
        entry_id=get("entry_id", _text),
        plan=Plan(
            kernel=get("kernel", _text),
            initrds=get("initrds", lambda found: tuple(map(_initrd, _list(found)))),
            cmdline=get("cmdline", _text),
            release=get("release", _optional_text),
            devicetree=get("devicetree", _optional_text),
            kexec_args=get("kexec_args", _texts),
        ),
        env_blocks=get("env_blocks", lambda found: tuple(map(_env_block, _list(found)))),
        reads=get("reads", lambda found: _mapping(found, _identity)),
        # An older version's record has none.
        calls_left=get("calls_left", _optional_whole) if "calls_left" in record else None,
        marked=get("marked", _truth) if "marked" in record else False,
    )


def _state(found: object) -> Literal["loading", "staged"]:
    if found not in ("loading", "staged"):
        raise TypeError
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError
    return found


def _optional_text(found: object) -> str | None:
    return None if found is None else _text(found)


def _truth(found: object) -> bool:
    if not isinstance(found, bool):
        raise TypeError
    return found


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise TypeError
    return found


def _whole(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise TypeError
    return found


def _optional_whole(found: object) -> int | None:
    return None if found is None else _whole(found)


def _list(found: object) -> list[object]:
    if not isinstance(found, list):
        raise TypeError
    return found


def _texts(found: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(found))


def _mapping(found: object, parse: Callable[[object], T]) -> dict[str, T]:
    if not isinstance(found, dict):
        raise TypeError
    return {_text(name): parse(value) for name, value in found.items()}


def _initrd(found: object) -> InitrdFile:
    if not isinstance(found, dict):
        raise TypeError
    return InitrdFile(_text(found["path"]), _text(found["newc"]))


def _env_block(found: object) -> EnvBlock:
    if not isinstance(found, dict):
        raise TypeError
    return EnvBlock(_text(found["file"]), _mapping(found["writes"], _optional_text))


def _identity(found: object) -> Identity | None:
    if found is None:
        return None
    kind, *numbers = _list(found)
    if kind not in ("file", "dir", "link", "other"):
        raise TypeError
    return Identity(kind, *(_whole(number) for number in numbers))
