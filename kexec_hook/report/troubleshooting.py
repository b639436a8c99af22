"""What docs/troubleshooting.md has to say about the code of a reason."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.install import troubleshooting
from kexec_hook.tuples import NamedTuple


class Row(NamedTuple):
    """One code."""

    wrong: str
    todo: str


def rows() -> dict[str, Row]:
    """Every code.  InstallError where the file is not there."""
    found = {}
    for line in troubleshooting().splitlines():
        cells = re.fullmatch(r"\| `([a-z]+(?:-[a-z]+)*)` \| (.+) \| (.+) \|", line)
        if cells:
            found[cells[1]] = Row(cells[2], cells[3])
    return found
