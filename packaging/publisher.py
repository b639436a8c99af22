#!/usr/bin/env python3
"""Who publishes kexec-hook: publisher.ini, and each place of the packagings where that stands.

publisher.py write      puts it there
publisher.py check      names the files that have something else; exit status 1
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
INI = "packaging/publisher.ini"

# File, what stands before the value on its line, and the value.  The first such line counts: of a changelog, that is
# the newest entry.
_PLACES = (
    ("pyproject.toml", "maintainers = ", '[{{ name = "{name}", email = "{email}" }}]'),
    ("pyproject.toml", "Homepage = ", '"{homepage}"'),
    ("pyproject.toml", "Source = ", '"{browse}"'),
    ("pyproject.toml", "Issues = ", '"{issues}"'),
    ("packaging/debian/control", "Maintainer: ", "{name} <{email}>"),
    ("packaging/debian/control", "Homepage: ", "{homepage}"),
    ("packaging/debian/control", "Vcs-Git: ", "{repository}"),
    ("packaging/debian/control", "Vcs-Browser: ", "{browse}"),
    ("packaging/debian/copyright", "Upstream-Contact: ", "{name} <{email}>"),
    ("packaging/debian/copyright", "Source: ", "{homepage}"),
    ("packaging/debian/copyright", "Copyright: 2026 ", "{name}"),
    ("packaging/debian/copyright", "           2026 ", "{name}"),
    ("packaging/debian/watch", "Source: ", "{releases}"),
    ("packaging/debian/upstream/metadata", "Bug-Database: ", "{issues}"),
    ("packaging/debian/upstream/metadata", "Repository: ", "{repository}"),
    ("packaging/debian/upstream/metadata", "Repository-Browse: ", "{browse}"),
    ("packaging/rpm/kexec-hook.spec", "URL:            ", "{homepage}"),
    (
        "packaging/rpm/kexec-hook.spec",
        "Source0:        ",
        "{releases}/%{{name}}-%{{version}}.tar.gz",
    ),
)
# Between words that stay.
_WITHIN = (
    ("packaging/debian/changelog", r"(?m)^( -- ).*(  \S.*)$", "{name} <{email}>"),
    ("packaging/rpm/kexec-hook.spec", r"(?m)^(\* \w{3} \w{3} \d\d \d{4} ).*( - \S+)$", "{name} <{email}>"),
)  # fmt: skip


def publisher(root: Path = ROOT) -> Mapping[str, str]:
    """The section of publisher.ini."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((root / INI).read_text(encoding="utf-8"))
    return parser["publisher"]


def placeholders(root: Path = ROOT) -> list[str]:
    """The keys that nobody has filled in yet."""
    return [key for key, value in publisher(root).items() if _host(value).endswith(".example")]


def _host(value: str) -> str:
    return (urlsplit(value).hostname or value) if "://" in value else value.rpartition("@")[2]


def filled(root: Path = ROOT) -> dict[str, str]:
    """The text of each file with the publisher in it; ValueError where a place has gone."""
    who = publisher(root)
    rules = [
        *((name, f"(?m)^({re.escape(key)}).*()$", value) for name, key, value in _PLACES),
        *_WITHIN,
    ]
    texts: dict[str, str] = {}
    for name, pattern, value in rules:
        text = texts.get(name) or (root / name).read_text(encoding="utf-8")
        new = value.format_map(who)
        texts[name], found = re.subn(pattern, lambda at: at[1] + new + at[2], text, count=1)  # noqa: B023
        if not found:
            raise ValueError(f"{name}: no line for {value}")
    return texts


def differing(root: Path = ROOT) -> list[str]:
    """The files in which something else stands."""
    texts = filled(root).items()
    return [name for name, text in texts if text != (root / name).read_text(encoding="utf-8")]


def warning(root: Path = ROOT) -> str:
    """What a build says while there are placeholders; empty where there are none."""
    keys = placeholders(root)
    return f"{INI}: {', '.join(keys)} are placeholders; not for publication" if keys else ""


def main(argv: list[str]) -> int:
    if argv == ["write"]:
        for name, text in filled().items():
            (ROOT / name).write_text(text, encoding="utf-8")
        return 0
    if argv != ["check"]:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    for name in differing():
        print(f"{name}: another publisher than in {INI}: `packaging/publisher.py write`")
    return 1 if differing() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
