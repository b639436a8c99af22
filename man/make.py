#!/usr/bin/env python3
"""Makes man pages and completions: `make.py DIR` writes DIR/share/man, DIR/share/bash-completion and so on.

kexec-hook(8) and the completions come from the command line's own table, kexec-hook.conf(5) and kexec-hook-plugins(7)
from docs/.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "man")]

import completions  # noqa: E402

from kexec_hook import __version__  # noqa: E402
from kexec_hook.commands import options as known  # noqa: E402

MAN = "share/man/man{section}/{name}.{section}"
BASH = "share/bash-completion/completions/kexec-hook"
ZSH = "share/zsh/site-functions/_kexec-hook"
OTHERS = (
    "kexec-hook-plugins(7)",
    "kexec(8)",
    "grub-reboot(8)",
    "grub-set-default(8)",
    "systemctl(1)",
)
ABOUT = """
After a kernel upgrade kexec-hook evaluates GRUB's configuration as GRUB does, and stages the entry that GRUB would
boot: kexec loads its kernel, its initrds and its command line. The next reboot is then a kexec into it, which does not
go through the firmware. Where anything is in doubt, nothing is staged, the reason is printed, and the next reboot goes
through the firmware and GRUB.

Package managers call it when they are done. `reboot`, `systemctl reboot` and `shutdown -r now` then use what is staged;
`coldreboot` goes through the firmware. Without a command, `kexec-hook` shows the status.
"""
FISH = "share/fish/vendor_completions.d/kexec-hook.fish"


def made() -> Iterator[tuple[str, str]]:
    """Each file below the prefix, and its text."""
    body = [
        *commands(),
        *doc("man/kexec-hook.md"),
        *examples(),
        *also("kexec-hook.conf(5)", *OTHERS),
    ]
    yield page("kexec-hook", 8, "stage what GRUB would boot, for the next reboot", body)
    body = [*doc("docs/settings.md"), *also("kexec-hook(8)")]
    yield page("kexec-hook.conf", 5, "settings of kexec-hook", body)
    body = [*doc("docs/plugins.md"), *also("kexec-hook(8)")]
    yield page("kexec-hook-plugins", 7, "plugins of kexec-hook", body)
    yield BASH, completions.bash()
    yield ZSH, completions.zsh()
    yield FISH, completions.fish()


def also(*pages: str) -> Iterator[str]:
    yield from (".SH SEE ALSO", ", ".join(map(bold, pages)))


def page(name: str, section: int, what: str, body: Iterable[str]) -> tuple[str, str]:
    head = [
        f'.TH {name.upper()} {section} "" "kexec-hook {__version__}" "kexec-hook"',
        ".SH NAME",
        f"{escape(name)} \\- {escape(what)}",
    ]
    return MAN.format(section=section, name=name), "\n".join([*head, *body]) + "\n"


def doc(path: str) -> Iterator[str]:
    return markdown((ROOT / path).read_text(encoding="utf-8"))


# The command line.


def value(action: argparse.Action) -> list[str]:
    """How the man page writes the word that follows, if one does."""
    if action.nargs == 0:
        return []
    word = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    return [rf"\fI{escape(word)}\fR{'...' if action.nargs in ('*', '+') else ''}"]


def commands() -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield rf"{bold('kexec-hook')} [\fIOPTION\fR]... [\fICOMMAND\fR] [\fIOPTION\fR]... [\fIARGUMENT\fR]..."
    yield ".SH DESCRIPTION"
    yield from markdown(ABOUT)
    yield ".SH OPTIONS"
    yield "These may stand before or after the command."
    yield from described(completions.everywhere())
    for group in (known.LOOK, known.ACT, known.SET_UP, known.PLUMBING):
        yield f".SH COMMANDS: {escape(group.upper())}"
        for name, command in known.COMMANDS.items():
            if command.group == group:
                yield from about(name, command)


def about(name: str, command: known.Command) -> Iterator[str]:
    actions = completions.own(name)
    yield ".SS"
    yield synopsis(name, actions)
    yield ".PP"
    yield escape(command.help[0].upper() + command.help[1:] + ".")
    yield from described(actions)
    if command.json:
        yield from (".PP", inline("With `--json` it prints data."))


def synopsis(name: str, actions: list[argparse.Action]) -> str:
    words = [bold(f"kexec-hook {name}")]
    for action in actions:
        names = [bold(action.option_strings[-1])] if action.option_strings else []
        text = " ".join([*names, *value(action)])
        optional = (action.option_strings and not action.required) or action.nargs in ("?", "*")
        words.append(f"[{text}]" if optional else text)
    return " ".join(words)


def described(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        yield ".TP"
        names = [", ".join(map(bold, action.option_strings))] if action.option_strings else []
        yield " ".join([*names, *value(action)])
        yield escape((action.help or "").replace("%%", "%"))


def examples() -> Iterator[str]:
    yield ".SH EXAMPLES"
    for command in known.COMMANDS.values():
        yield from (
            ".TP",
            bold(command.example),
            escape(command.shows[0].upper() + command.shows[1:] + "."),
        )


def bold(text: str) -> str:
    return rf"\fB{escape(text)}\fR"


# Documents.


def markdown(text: str) -> Iterator[str]:
    """The Markdown of docs/ as roff: headings, paragraphs, lists, tables, code between fences."""
    # The line above a table's rule is its head, which is no entry.
    text = re.sub(r"^\|.*\n\|[-:| ]+\n", "", text, flags=re.MULTILINE)
    lines = iter([*text.splitlines(), ""])
    paragraph: list[str] = []
    for line in lines:
        special = re.match(r"#+ |```|- |\|", line) or not line.strip()
        if not special:
            paragraph.append(line.strip())
            continue
        if paragraph:
            yield inline(" ".join(paragraph))
            paragraph = []
        if line.startswith("```"):
            yield from (".PP", ".nf", ".RS")
            yield from (escape(code) for code in iter(lambda: next(lines), "```"))
            yield from (".RE", ".fi")
        elif line.startswith("#"):
            yield heading(line)
        elif line.startswith("- "):
            yield r".IP \(bu 2"
            paragraph = [line[2:].strip()]
        elif line.startswith("|"):
            first, *rest = [cell.strip() for cell in line.strip().strip("|").split("|")]
            yield from (".TP", inline(first), inline("; ".join(filter(None, rest))))
        elif not line.strip():
            yield ".PP"


def heading(line: str) -> str:
    if line.startswith("# "):
        return ".SH DESCRIPTION"
    if line.startswith("## "):
        return f".SH {inline(line[3:].upper())}"
    return f".SS {inline(line.lstrip('# '))}"


def inline(text: str) -> str:
    """Code becomes bold, emphasis italic; a link keeps its words."""
    out = []
    for part in re.split(r"(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^]]+\]\([^)]+\))", text):
        if part.startswith("`"):
            out.append(bold(part[1:-1]))
        elif part.startswith("**"):
            out.append(bold(part[2:-2]))
        elif part.startswith("*") and len(part) > 1:
            out.append(rf"\fI{escape(part[1:-1])}\fR")
        elif part.startswith("[") and "](" in part:
            out.append(escape(part[1 : part.index("](")]))
        else:
            out.append(escape(part))
    joined = "".join(out)
    return rf"\&{joined}" if joined.startswith((".", "'")) else joined


def escape(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("«", r"\(Fo").replace("»", r"\(Fc")
    return rf"\&{text}" if text.startswith((".", "'")) else text


def write(prefix: Path) -> None:
    for name, text in made():
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
