"""What the running system says of itself in /proc, /sys and /run: one line, one number, one name at a time."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple


class Facts(NamedTuple):
    """The facts below a root.  What we may not look at counts as not there, and `sysroot.denied` names it.

    Made of `Sysroot.unnoted`, since facts are asked anew each time and are no part of what a decision read.
    """

    sysroot: Sysroot

    def text(self, path: str, limit: int = 1 << 16) -> str | None:
        """The beginning of a file; None where there is none, or we may not read it."""
        try:
            return self.sysroot.head(path, limit).decode("utf-8", "replace").strip()
        except SysrootError:
            return None

    def number(self, path: str) -> int | None:
        text = self.text(path) or ""
        return int(text) if re.fullmatch("-?[0-9]+", text) else None

    def exists(self, path: str) -> bool:
        return self.sysroot.exists(path)

    def link(self, path: str) -> str | None:
        try:
            return self.sysroot.readlink(path)
        except SysrootError:
            return None

    def is_full(self, path: str, least: int) -> bool:
        return self.sysroot.is_full(path, least)

    def names(self, path: str) -> list[str]:
        return self.sysroot.listdir(path)

    def cpu(self) -> list[str]:
        """What the first processor can do; the file is long where there are many, and takes its time."""
        found = re.search(
            r"^(?:flags|Features)\s*:(.*)$", self.text("/proc/cpuinfo", 1 << 13) or "", re.MULTILINE
        )
        return found[1].split() if found else []
