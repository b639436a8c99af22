"""Could somebody else than root decide what is booted?  Owner and mode of everything that was read, and of kexec."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import MADE_UP, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_OWNERS = ("vfat", "msdos", "exfat")  # every file there belongs to whom the mount says


def objections(decision: Decision) -> Iterator[Objection]:
    looked_at = list(_looked_at(decision))
    foreign = [path for path, info in looked_at if info.st_uid not in (0, decision.owner)]
    if foreign:
        yield Objection(
            f"{_shown(foreign)} does not belong to root, and it decides what is booted",
            code="not-owned-by-root",
            fix=f"chown root {shlex.join(foreign[:5])}",
        )
    writable = [path for path, info in looked_at if _others_write(info)]
    if writable:
        yield Objection(
            f"{_shown(writable)} can be written by users other than root, and it decides what is booted",
            code="writable-by-others",
            fix=f"chmod go-w {shlex.join(writable[:5])}",
        )


def _shown(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more)"


def _others_write(info: os.stat_result) -> bool:
    if stat.S_ISLNK(info.st_mode) or (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX):
        return False  # what a link leads to is looked at, too; and in /tmp nobody can touch what is another's
    return bool(info.st_mode & 0o022)


def _looked_at(decision: Decision) -> Iterator[tuple[str, os.stat_result]]:
    """What the decision read, the directories above it, and the program that loads."""
    sysroot = decision.sysroot.unnoted
    paths = {
        above
        for path in decision.sysroot.reads
        if not path.startswith(MADE_UP)
        for above in _way_to(path)
    }
    for path in sorted(paths):
        mount = decision.disks.mounts.at(path)
        try:
            info = sysroot.stat(path, follow=False)
        except SysrootError:
            continue
        if info is None:
            continue
        if mount is None or mount.type not in _NO_OWNERS or _others_write(info):
            yield path, info
    program = decision.programs.find("kexec")
    for path in _way_to(os.path.realpath(program)) if program else ():
        try:
            yield path, os.stat(path)
        except OSError:
            continue


def _way_to(path: str) -> Iterator[str]:
    names = parts_of(path)
    for depth in range(len(names) + 1):
        yield join(names[:depth])
