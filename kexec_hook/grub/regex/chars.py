"""Which characters a part of a regular expression accepts, in GRUB's ASCII."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.tuples import NamedTuple

# Characters.  GRUB's classes know ASCII only (lib/posix_wrap), and grub_isspace no \v and no \f.

CLASSES = {
    "alnum": "09AZaz", "alpha": "AZaz", "blank": "  \t\t", "cntrl": "\0\x1f\x7f\x7f", "digit": "09", "graph": "!~",
    "lower": "az", "print": " ~", "punct": "!/:@[`{~", "space": "  \t\t\n\n\r\r", "upper": "AZ", "xdigit": "09AFaf",
}  # fmt: skip


class Chars(NamedTuple):
    r"""What one bracket, `.`, `\w` or plain character accepts."""

    ranges: str  # pairs of first and last
    negated: bool = False
    literal: bool = False

    def accept(self, char: str) -> bool:
        if is_stray(char) and not self.literal:
            return False
        ranges = self.ranges
        return (
            any(ranges[i] <= char <= ranges[i + 1] for i in range(0, len(ranges), 2))
            != self.negated
        )


def is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def is_stray(char: str) -> bool:
    """A byte that is no UTF-8: it matches itself in a pattern, never `.` nor a bracket."""
    return "\udc80" <= char <= "\udcff"
