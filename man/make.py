#!/usr/bin/env python3
"""Makes man pages and completions: `make.py DIR` writes DIR/share/man, DIR/share/bash-completion and so on.

kexec-hook(8) and the completions come from the command line's own parser, kexec-hook.conf(5) and kexec-hook-plugins(7)
from docs/.  Completions for bash and zsh are made by shtab; where it is not installed, there are none.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kexec_hook import __version__  # noqa: E402
from kexec_hook.cli import make_parser  # noqa: E402

MAN = "share/man/man{section}/{name}.{section}"
BASH = "share/bash-completion/completions/kexec-hook"
ZSH = "share/zsh/site-functions/_kexec-hook"
FISH = "share/fish/vendor_completions.d/kexec-hook.fish"


def made() -> Iterator[tuple[str, str]]:
    """Each file below the prefix, and its text."""
    parser = make_parser()
    body = [*commands(parser), *doc("man/kexec-hook.md")]
    yield page("kexec-hook", 8, "stage what GRUB would boot, for the next reboot", body)
    also = [".SH SEE ALSO", escape("kexec-hook(8)")]
    yield page("kexec-hook.conf", 5, "settings of kexec-hook", [*doc("docs/settings.md"), *also])
    yield page("kexec-hook-plugins", 7, "plugins of kexec-hook", [*doc("docs/plugins.md"), *also])
    yield FISH, fish(parser)
    try:
        import shtab
    except ImportError:
        print("shtab is not installed: no completions for bash and zsh", file=sys.stderr)
        return
    yield BASH, shtab.complete(parser, "bash")
    yield ZSH, shtab.complete(parser, "zsh")


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


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [action] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(action.choices)


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    ignored = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, ignored)]


def value(action: argparse.Action) -> list[str]:
    """How the man page writes the word that follows, if one does."""
    if action.nargs == 0:
        return []
    word = str(action.metavar) if action.metavar else "|".join(map(str, action.choices or ()))
    return [rf"\fI{escape(word)}\fR{'...' if action.nargs in ('*', '+') else ''}"]


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield synopsis(parser, r"\fICOMMAND\fR ...")
    yield ".SH DESCRIPTION"
    yield escape(parser.description or "")
    yield ".SH OPTIONS"
    yield from described(parser)
    yield ".SH COMMANDS"
    for command in subparsers(parser).values():
        yield ".SS"
        yield synopsis(command)
        yield ".PP"
        yield escape((command.description or "").replace("?.", "?"))
        yield from described(command)
        if command.epilog:
            _, example, what = map(str.strip, command.epilog.splitlines())
            yield from (".PP", "For example:", ".TP", bold(example), escape(what))


def synopsis(parser: argparse.ArgumentParser, more: str = "") -> str:
    words = [bold(parser.prog)]
    for action in options(parser):
        names = [bold(action.option_strings[-1])] if action.option_strings else []
        text = " ".join([*names, *value(action)])
        optional = (action.option_strings and not action.required) or action.nargs in ("?", "*")
        words.append(f"[{text}]" if optional else text)
    return " ".join([*words, more]).rstrip()


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in options(parser):
        yield ".TP"
        names = [", ".join(map(bold, action.option_strings))] if action.option_strings else []
        yield " ".join([*names, *value(action)])
        yield escape((action.help or "").replace("%%", "%"))


def bold(text: str) -> str:
    return rf"\fB{escape(text)}\fR"


def fish(parser: argparse.ArgumentParser) -> str:
    """Completions for fish, of which shtab knows nothing before 1.8."""
    known = subparsers(parser)
    lines = ["# Completions of kexec-hook for fish.", "complete -c kexec-hook -f"]

    def add(condition: str, *words: str) -> None:
        lines.append(" ".join(["complete -c kexec-hook", "-n", f"'{condition}'", *words]))

    def flag(action: argparse.Action) -> list[str]:
        words = [
            f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            for name in action.option_strings
        ]
        if action.choices:
            words.append(f"-x -a {quoted(' '.join(map(str, action.choices)))}")
        elif action.nargs != 0:
            words.append("-r")
        return [*words, "-d", quoted(action.help or "")]

    for action in options(parser):
        add("__fish_use_subcommand", *flag(action))
    for name, command in known.items():
        add(
            "__fish_use_subcommand",
            "-a",
            name,
            "-d",
            quoted((command.description or "").rstrip(".")),
        )
        for action in options(command):
            if action.option_strings:
                add(f"__fish_seen_subcommand_from {name}", *flag(action))
            elif action.choices:
                add(
                    f"__fish_seen_subcommand_from {name}",
                    f"-a {quoted(' '.join(map(str, action.choices)))}",
                )
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# Documents.


def markdown(text: str) -> Iterator[str]:
    """The Markdown of docs/ as roff: headings, paragraphs, lists, tables, code between fences."""
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
        elif line.startswith("# "):
            yield ".SH DESCRIPTION"
        elif line.startswith("## "):
            yield f".SH {inline(line[3:].upper())}"
        elif line.startswith("#"):
            yield f".SS {inline(line.lstrip('# '))}"
        elif line.startswith("- "):
            yield r".IP \(bu 2"
            paragraph = [line[2:].strip()]
        elif line.startswith("|"):
            first, *rest = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not set(first) <= {"-", ":"} and any(rest):
                yield from (".TP", inline(first), inline("; ".join(filter(None, rest))))
        elif not line.strip():
            yield ".PP"


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
