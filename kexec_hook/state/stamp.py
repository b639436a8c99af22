"""What must stay as it is so that the next call of hooks/run need not start Python.  Pure: reads in, a stamp out.

The stamp is a few words of shell, /run/kexec-hook/stamp, which hooks/run sources: as data it would have to be read
by the shell byte for byte, which takes longer than starting the shell.  Its own time is 2 s before the evaluation
began.  `same` names what must be there and not be newer, `none` what must be missing, and `counted` how many writes
to a disk the kernel had counted before it was read without being mounted.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from kexec_hook.system.sysroot import Identity

# What the kernel makes up, and what each boot and each plugged-in device changes.
_UNSEEN = ("/proc", "/sys", "/dev", "/run")
# Directories in which something is renamed by many upgrades that have nothing to do with booting: ldconfig does it in
# /etc.  A file in them is watched by its own time, so one that dpkg or rpm replaces by an older one is not noticed
# here; it is when the machine goes down, by `kexec-hook finalize`.
_BUSY = {"/", "/bin", "/etc", "/lib", "/lib64", "/root", "/sbin", "/usr", "/var", "/var/lib"}
_BUSY |= {
    f"{top}/{name}" for top in ("/usr", "/usr/local") for name in ("bin", "lib", "lib64", "sbin")
}


def watched(reads: Mapping[str, Identity | None]) -> list[str]:
    """Everything whose being there, or time, tells of a change: what was read, and the directories it is in.

    Files that dpkg and rpm unpack keep the time of their making, and so are older than the stamp; the
    directory they are renamed in is not.
    """
    found = set()
    for path, identity in reads.items():
        if identity is None or _unseen(path):
            continue
        if identity.kind != "dir" or identity.mtime_ns:
            found.add(path)
        above = posixpath.dirname(path)
        if above not in _BUSY:
            found.add(above)
    return sorted(found)


def absent(reads: Mapping[str, Identity | None]) -> list[str]:
    """What was looked for and was missing, but for what would change the time of a directory that is watched."""
    missing = (path for path, identity in reads.items() if identity is None and not _unseen(path))
    seen = set(watched(reads))
    return sorted(path for path in missing if posixpath.dirname(path) not in seen)


def format_stamp(
    reads: Mapping[str, Identity | None], counted: Mapping[str, str] | None = None
) -> bytes:
    """The stamp, one path a line; `counted` as Sight has it."""
    lines = [
        "same",
        *map(_quoted, watched(reads)),
        "&& none",
        *map(_quoted, absent(reads)),
        *(["&& counted"] if counted else []),
        *(f"{_quoted(path)} {_quoted(numbers)}" for path, numbers in (counted or {}).items()),
        "&& whole=yes",
    ]
    return (" \\\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _unseen(path: str) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in _UNSEEN)


def _quoted(path: str) -> str:
    """A word of shell, whatever the path is; shlex.quote would leave some bare, and bytes are not its matter."""
    return "'" + path.replace("'", "'\\''") + "'"
