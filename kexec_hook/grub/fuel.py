"""How much an evaluation may spend: statements, characters, time."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

from kexec_hook.grub.script.source import ScriptError, Span


class Limit(ScriptError):
    """The script asked for more steps, memory, depth or time than any configuration needs."""


class Fuel:
    """What an evaluation may still spend; one budget for everything that is run for one answer."""

    def __init__(self, statements: int = 1_000_000, mib: int = 64, seconds: float = 30.0) -> None:
        self.statements, self.mib = statements, mib
        self.steps = statements
        self.text = mib << 20  # characters made by expansion
        self.deadline = time.monotonic() + seconds

    def part(self) -> Fuel:
        """For one of many things to try, which would be reached one by one; the time is that of all."""
        part = Fuel(100_000, 8)
        part.deadline = self.deadline
        return part

    def burn(self, span: Span | None, steps: int = 1) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise Limit(f"this runs for ever ({self.statements:,} statements)", span)
        if (steps > 1 or not self.steps & 0x3FF) and time.monotonic() > self.deadline:
            raise Limit("evaluating takes too long", span)

    def take(self, characters: int, span: Span | None) -> None:
        self.text -= characters
        if self.text < 0:
            raise Limit(f"the values of variables grow without end ({self.mib} MiB)", span)
