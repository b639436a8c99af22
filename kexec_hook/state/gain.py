"""How long no kernel runs when this machine reboots, through the firmware and by a jump: what a jump saves here.

hooks/gap notes what the clocks said, a line a boot:

    line   = kind before rtc wall boot loader rtc uptime btime
    kind   = "firmware" | "jump"        what finalize had decided
    before, boot                        boot_id of the kernel that ended, and of the one that began
    loader                              bootloader_type of the latter (208 where a device tree tells of a kexec), or
                                        "unknown"

The hardware's clock runs on in between and is read on both sides, before anything sets it.  The kernel's own clock was
set from it at the start, so both must show the same gap: they do not where somebody has set one of them, or where the
zone of the hardware's clock is not what it was.  Then there is no number.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.state.names import GAPS
from kexec_hook.system.directory import Directory
from kexec_hook.system.host import KEXEC, VAR, Host
from kexec_hook.tuples import NamedTuple

_KEPT = 5
_MOST = 3600.0  # seconds; longer than any firmware, and shorter than any zone is apart
_APART = 3.0  # seconds between two clocks, each of which counts whole ones


class Gap(NamedTuple):
    """From the end of one kernel's shutdown to the start of the next."""

    kind: str  # firmware, jump
    seconds: float
    before: str  # boot_id
    boot: str  # boot_id
    at: float  # when it began, by the hardware's clock


class Gain(NamedTuple):
    """The last gaps, oldest first."""

    firmware: tuple[Gap, ...] = ()
    jump: tuple[Gap, ...] = ()

    @property
    def saves(self) -> float | None:
        """Seconds, where both were measured."""
        if not self.firmware or not self.jump:
            return None
        return median(self.firmware) - median(self.jump)

    def saved_by(self, boot_id: str) -> float:
        """Seconds that the jump at the end of this boot has saved; 0 where that was not measured."""
        for jump in self.jump:
            if jump.before == boot_id:
                usual = tuple(gap for gap in self.firmware if gap.at < jump.at)[-_KEPT:]
                return max(0.0, median(usual) - jump.seconds) if usual else 0.0
        return 0.0


def gain(host: Host) -> Gain:
    """What was measured on this machine.  StateError."""
    try:
        with host.state(VAR, create=False) as state:
            known = read_gaps(state)
    except FileNotFoundError:
        return Gain()
    return Gain(known.firmware[-_KEPT:], known.jump[-_KEPT:])


def read_gaps(state: Directory) -> Gain:
    """All of them that are kept, from our directory in /var/lib.  StateError."""
    text = (state.read(GAPS) or b"").decode("ascii", "replace")
    found = [gap for line in text.splitlines() if (gap := parse_gap(line))]
    firmware, jump = ([gap for gap in found if gap.kind == kind] for kind in Gain._fields)
    return Gain(tuple(firmware), tuple(jump))


def follows(state: Directory, before: str, boot: str) -> bool:
    """Is this boot the next one after that, as hooks/gap noted both?  StateError."""
    text = (state.read(GAPS) or b"").decode("ascii", "replace")
    return any(
        (words[1:2], words[4:5]) == ([before], [boot])
        for words in map(str.split, text.splitlines())
    )


def parse_gap(line: str) -> Gap | None:
    """None where that boot gives no number, or is not what was decided."""
    words = line.split(" ")
    if len(words) != 9:
        return None
    kind, before, _, _, boot, loader = words[:6]
    try:
        then, wall, clock, uptime, btime = (float(words[at]) for at in (2, 3, 6, 7, 8))
    except ValueError:
        return None
    seconds = clock - uptime - then
    is_jump = loader == KEXEC
    right = kind in Gain._fields and before != boot and is_jump == (kind == "jump")
    if not right or not 0 <= seconds <= _MOST or abs(btime - wall - seconds) > _APART:
        return None
    return Gap(kind, seconds, before, boot, then)


def median(gaps: tuple[Gap, ...]) -> float:
    lengths = sorted(gap.seconds for gap in gaps)
    return (lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) / 2
