"""Real configurations, damaged: lines cut, doubled, moved, joined, characters lost and put in."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from tests.oracle.envblock import SIGNATURE
from tests.oracle.world import BLOCK_FOLLOWS

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
# What only hardware or a person at the keyboard can answer, what waits, and what goes on in another menu.
_COMMANDS = b"sleep|read|hwmatch|cpuid|keystatus|probe|videoinfo|configfile|date|smbios|legacy_\\w+|net_\\w+|while|until"
LEFT_OUT = re.compile(
    rb"(?:^|[;{]|\b(?:if|elif|then|else|do)\b)\s*(?:"
    + _COMMANDS
    + rb")\b|superusers|vt_(?!handoff)",
    re.M,
)
SHIPPED = Path(__file__).parent.parent / "roots"


class Mutants:
    """Configurations of the shipped trees, and of a corpus where there is one."""

    def __init__(self, corpus: Path | None = None) -> None:
        found = sorted(SHIPPED.glob("*/tree/**/grub.cfg"))
        if corpus:
            found += sorted(corpus.glob("wild/*/grub.cfg")) + sorted(
                corpus.glob("tree/*/boot/grub/grub.cfg")
            )
        self.sources: list[tuple[str, list[bytes], bytes]] = []
        for path in found:
            content = path.read_bytes()
            if len(content) < 40_000 and not LEFT_OUT.search(content):
                self.sources.append(
                    (_name(path, corpus), _lines(content), _block(path.with_name("grubenv")))
                )

    def mutant(self, random: Random) -> tuple[str, bytes]:
        """One configuration, changed in one to six places."""
        name, original, block = random.choice(self.sources)
        lines = list(original)
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            self.change(random, lines)
        if random.random() < 0.2:
            block += b"next_entry=%d\n" % random.randint(0, 4)
        return name, b"\n".join(lines) + b"\n" + (BLOCK_FOLLOWS + block if block else b"")

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


def _name(path: Path, corpus: Path | None) -> str:
    parts = path.relative_to(corpus if corpus and corpus in path.parents else SHIPPED).parts
    return parts[1] if parts[0] in ("wild", "tree") else parts[0]


def _block(path: Path) -> bytes:
    """The lines of an environment block."""
    if not path.exists():
        return b""
    return path.read_bytes().replace(SIGNATURE, b"").rstrip(b"#")


def _lines(content: bytes) -> list[bytes]:
    return content.decode("utf-8", "replace").encode().split(b"\n")
