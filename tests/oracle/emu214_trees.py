"""Directories of snippets that nobody wrote, and what GRUB 2.14 and kexec-hook make of each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from random import Random
from typing import Any

from tests.oracle import emu214, ours
from tests.oracle.disk import Partition
from tests.oracle.world import LABEL, UUID, Question

FLAVOUR = "upstream-2.14"
VARIABLES = {
    "v1": "x",
    "v2": "one  two",
    "longname": "root=/dev/sda1 ro",
    "empty": "",
    "kernelopts": "a=b $v1",
}
_PARTS = [
    *(
        "a",
        "b",
        "kernel",
        "linux",
        "0123abcd",
        "ffff0000",
        "6.1.0",
        "6.10.0",
        "6.9",
        "1",
        "10",
        "2",
        "01",
        "el9",
        "fc40",
    ),
    *(
        "rc1",
        "git",
        "A",
        "Z",
        "x86_64",
        "300",
        "0-rescue",
        "gc",
        "~rc1",
        "+3-0",
        "+2-1",
        "conf",
        "é",
    ),
]
_SIGNS = ["-", "-", "-", ".", ".", "_", "~", "+", "", "^", ":", ","]
_SUFFIXES = [".conf"] * 12 + [
    ".CONF",
    ".conf.bak",
    ".conf~",
    "",
    ".x86_64.conf",
    ".el9.conf",
    ".conf.conf",
]
_WORDS = [
    *(
        "quiet",
        "root=UUID=1234",
        "a=b",
        "$v1",
        "$v2",
        "$longname",
        "$empty",
        "$kernelopts",
        "$undefined",
        "$v1$v2",
    ),
    *(
        "x$v1",
        "${v1}",
        "\\$v1",
        "\\$x",
        "$",
        "$1",
        "'q u'",
        '"d q"',
        '"$v2"',
        "\\",
        ";",
        "&",
        "#c",
        "a#b",
        "\t",
        "é",
    ),
    *("$v", "$undefined$v1", "a;echo b", "{x}", "=", "$v1.", "$v1/", "\\\\", "a*", "?"),
]
_KEYS = [
    *(
        "title",
        "linux",
        "initrd",
        "options",
        "devicetree",
        "grub_users",
        "grub_hotkey",
        "grub_class",
        "grub_arg",
    ),
    *(
        "version",
        "early_initrd",
        "efi",
        "id",
        "Linux",
        "machine-id",
        "sort-key",
        "architecture",
        "#title",
        "# linux",
    ),
]


class Trees:
    """Makes one tree."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def fill(self, files: Path) -> None:
        """Write a configuration and its snippets."""
        shutil.rmtree(files, ignore_errors=True)
        entries = files / "loader/entries"
        entries.mkdir(parents=True)
        seen = set()
        for _ in range(self.random.choice((1, 2, 3, 3, 4, 5, 6))):
            name = self.name()
            # Of two names that compare equal GRUB drops the later one in the directory, and reads no more.
            like = re.sub(r"0*(\d+)", r"\1", name)
            if like not in seen:
                seen.add(like)
                (entries / name).write_bytes(self.snippet().encode())
        config = files / "boot/grub/grub.cfg"
        config.parent.mkdir(parents=True)
        config.write_text(self.configuration(sorted(path.name for path in entries.iterdir())))
        touch(files)

    def name(self) -> str:
        random = self.random
        text = random.choice(_PARTS)
        for _ in range(random.choice((0, 1, 2, 2, 3, 4))):
            text += random.choice(_SIGNS) + random.choice(_PARTS)
        return random.choice(("", "", "", "", "", ".")) + text + random.choice(_SUFFIXES)

    def snippet(self) -> str:
        random = self.random
        lines = [
            f"title {random.choice(('One', 'Two words', 'with $v1', ' x '))}",
            f"linux {self.path('k')}",
        ]
        lines += [f"options {self.options()}"] * random.choice((0, 1, 1, 1))
        lines += [f"initrd {self.path('i')}" for _ in range(random.choice((0, 1, 1, 2, 3)))]
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            lines.insert(random.randrange(len(lines) + 1), self.line())
        if random.random() < 0.3:
            random.shuffle(lines)
        return "".join(line + random.choice(("\n",) * 12 + ("\r\n", " \n")) for line in lines)

    def line(self) -> str:
        random = self.random
        key = random.choice(_KEYS)
        value = {
            "linux": self.path("k"),
            "initrd": self.path("i"),
            "devicetree": self.path("d"),
        }.get(key, self.options())
        blank = random.choice((" ", " ", " ", "\t", "  ", " \t", ""))
        return random.choice(("", "", "", "", " ", "\t")) + random.choice(
            (key + blank + value,) * 8 + ("", key, " ")
        )

    def path(self, kind: str) -> str:
        random = self.random
        text = f"/{random.choice(('', 'dir/', 'boot/'))}{kind}{random.randrange(3)}"
        return random.choice(
            (text,) * 10
            + (f"{text} {text}2", f"{text}$v1", text[1:], f'"{text}"', f"{text} $undefined")
        )

    def options(self) -> str:
        return " ".join(
            self.random.choice(_WORDS) for _ in range(self.random.choice((1, 2, 3, 4, 6)))
        )

    def configuration(self, names: list[str]) -> str:
        random = self.random
        lines = [
            f"set {name}='{value}'" for name, value in VARIABLES.items() if random.random() < 0.8
        ]
        command = "blscfg --path ($root)/loader/entries"
        extra = random.choice(
            ("",) * 8
            + ("--enable-fallback", "--show-default", "--show-non-default", "--entry", "x")
        )
        if extra == "--entry":
            extra += f" '{random.choice(names)}'"
        if extra.startswith("--show"):
            lines.append(
                f"set default='{random.choice([*names, '0', '1', '1x', 'One', 'Two words'])}'"
            )
        lines += ["set blsuki_save_default=" + random.choice(("true", "1", "no", "", "0", "x"))] * (
            random.random() < 0.2
        )
        lines += ["function savedefault { true; }"]
        static = "menuentry 'static' --id static { linux /static; }"
        lines += [static] * (random.random() < 0.2)
        lines += [f"{command} {extra}"] * random.choice((1, 1, 1, 1, 1, 2))
        lines += [static] * (random.random() < 0.2)
        return "\n".join(lines) + "\n" + emu214.BOOTS_AT_ONCE


def touch(files: Path) -> None:
    """Make the files that snippets and the configuration may load."""
    texts = [path.read_text(errors="replace") for path in files.rglob("*") if path.is_file()]
    for name in {name for text in texts for name in re.findall(r"/?[\w./+~-]+", text)} | {
        "/static"
    }:
        path = files / name.lstrip("/")
        if re.fullmatch(r"/?(?:[\w+~-][\w.+~-]*/)*[\w+~-][\w.+~-]*", name) and not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x\n")
            except OSError:  # below a file
                continue


def differences(place: Path, files: Path, scratch: Path) -> list[str]:
    """Where kexec-hook and GRUB 2.14 see another menu, or other words.  NoAnswer, OursFailed."""
    got = ours.evaluate(
        Question([Partition(files, UUID, LABEL)], flavour=FLAVOUR, variables={"judge_default": "0"})
    )
    entries: list[dict[str, Any]] = [entry for entry in got["entries"] if ">" not in entry["path"]]
    grub = emu214.Grub(place, files, scratch)
    found = []
    for number in range(len(entries) + 1):
        if number < len(entries) and entries[number]["submenu"]:
            continue
        theirs = grub.boot(number)
        mine: dict[str, Any] = (
            entries[number if number < len(entries) else 0]
            if entries
            else {"title": "", "id": "", "executed": []}
        )
        executed = tuple(tuple(words) for words in mine["executed"])
        pairs = [
            ("title", blanks(theirs.title), blanks(mine["title"])),
            ("words", on_console(theirs.executed), on_console(executed)),
        ]
        if theirs.executed and executed:
            pairs.append(("chosen", theirs.chosen, mine["id"].replace(">", ">>")))
        found += [
            f"entry {number}: {what}: GRUB {a!r}, kexec-hook {b!r}"
            for what, a, b in pairs
            if a != b
        ]
    return found


def blanks(text: str) -> str:
    return re.sub(r"[ \t]+", " ", text).strip()


def on_console(executed: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """Tabs become blanks there."""
    return [[blanks(word) for word in words] for words in executed]
