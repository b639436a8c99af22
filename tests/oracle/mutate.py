"""Real configurations, damaged: lines cut, doubled, moved, joined, characters lost and put in."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

INSERTED = (
    "fi",
    "}",
    "{",
    '"',
    "'",
    "\\",
    "$",
    "; ",
    "#",
    "then",
    "else",
    "done",
    "&&",
    " ",
    "set default=1",
    "true",
    "]",
    "\r",
)
# What only hardware or a person at the keyboard can answer, or what waits.
LEFT_OUT = re.compile(
    rb"\b(sleep|read|hwmatch|cpuid|keystatus|probe|videoinfo|while|until|configfile|play|date|smbios|loopback|password"
    rb"|superusers|legacy_\w+|vt_\w+|net_\w+|normal|rdmsr|inl|outl|test -e \(|regexp|cryptomount|lsefi|serial|pager)\b"
)
SHIPPED = Path(__file__).parent.parent / "roots"


class Mutants:
    """Configurations of the shipped trees, and of a corpus where there is one."""

    def __init__(self, corpus: Path | None = None) -> None:
        found = sorted(SHIPPED.glob("*/tree/**/grub.cfg"))
        if corpus:
            found += sorted(corpus.glob("wild/*/grub.cfg")) + sorted(corpus.glob("tree/*/boot/grub/grub.cfg"))
        self.sources: list[tuple[str, list[bytes]]] = []
        for path in found:
            content = path.read_bytes()
            if len(content) < 40_000 and not LEFT_OUT.search(content):
                parts = path.relative_to(corpus if corpus and corpus in path.parents else SHIPPED).parts
                self.sources.append(
                    (parts[0] if len(parts) < 2 or parts[0] not in ("wild", "tree") else parts[1], _lines(content))
                )

    def mutant(self, random: Random) -> tuple[str, bytes]:
        """One configuration, changed in one to six places."""
        name, lines = random.choice(self.sources)
        lines = list(lines)
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            self.change(random, lines)
        return name, b"\n".join(lines) + b"\n"

    def change(self, random: Random, lines: list[bytes]) -> None:
        at = random.randrange(len(lines))
        kind = random.randrange(8)
        if kind == 0 and len(lines) > 1:
            del lines[at : at + random.choice((1, 1, 2, 5))]
            if not lines:
                lines.append(b"true")
        elif kind == 1:
            lines.insert(at, lines[at])
        elif kind == 2:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3 and at + 1 < len(lines):
            lines[at : at + 2] = [lines[at] + b" " + lines[at + 1]]
        elif kind == 4:
            block = lines[at : at + random.randint(2, 12)]
            other = random.randrange(len(lines))
            lines[other:other] = block
        else:
            # Quotes are ASCII: a character is a byte here, unless it is cut out of the middle of another.
            text = lines[at].decode("utf-8", "replace")
            place = random.randint(0, len(text))
            if kind == 5:
                text = text[:place] + text[place + 1 :]
            elif kind == 6:
                text = text[:place] + random.choice(INSERTED) + text[place:]
            else:
                words = text.split(" ")
                random.shuffle(words)
                text = " ".join(words)
            lines[at] = text.encode()


def _lines(content: bytes) -> list[bytes]:
    return content.decode("utf-8", "replace").encode().split(b"\n")
