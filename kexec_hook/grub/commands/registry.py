"""The table of GRUB commands while it is being filled, and how their options are read (lib/arg.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kexec_hook.grub.errors import BAD_ARGUMENT, CommandError
from kexec_hook.grub.machine import Handler, Machine
from kexec_hook.tuples import NamedTuple

TABLE: dict[str, Handler] = {}


def command(*names: str) -> Callable[[Handler], Handler]:
    """Enter a function into the table under these names."""

    def enter(handler: Handler) -> Handler:
        for name in names:
            assert name not in TABLE, name
            TABLE[name] = handler
        return handler

    return enter


class Option(NamedTuple):
    """One entry of a command's `struct grub_arg_option`."""

    long: str
    short: str = ""
    value: bool = False  # takes one
    optional: bool = False  # GRUB_ARG_OPTION_OPTIONAL: the value may be missing
    repeatable: bool = False


class Parsed(NamedTuple):
    """Options by long name (their values; None where none was given), and the other words."""

    options: dict[str, list[str | None]]
    args: list[str]

    def value(self, long: str) -> str | None:
        """The last value given to an option, None without one."""
        values = self.options.get(long)
        return values[-1] if values else None

    def values(self, long: str) -> list[str]:
        return [value for value in self.options.get(long, ()) if value is not None]


class Helped(CommandError):
    """--help or --usage was given: the command prints it and succeeds."""

    def __init__(self) -> None:
        super().__init__(0, "")


_HELP = (Option("help", "h"), Option("usage", "u"))


class Options:
    """What a command knows, by long and by short name; the first of a name counts."""

    def __init__(self, *options: Option) -> None:
        known = (*options, *_HELP)[::-1]
        self.long = {option.long: option for option in known}
        self.short = {option.short: option for option in known if option.short}


def parse_options(
    m: Machine,
    words: Sequence[str],
    options: Options,
    *,
    accept_dash: bool = False,
    at_start: bool = False,
) -> Parsed:
    """Split words into options and arguments as grub_arg_parse does.  Raises CommandError.

    accept_dash (GRUB_COMMAND_ACCEPT_DASH): unknown options are arguments;
    at_start (GRUB_COMMAND_OPTIONS_AT_START): options end at the first argument.
    """
    parsed = _parse(words, options, accept_dash, at_start)
    if parsed.options and m.errno:
        raise CommandError(
            m.errno, ""
        )  # an error that nothing has printed yet stops GRUB at the first option
    return parsed


def _parse(words: Sequence[str], options: Options, accept_dash: bool, at_start: bool) -> Parsed:
    long, short = options.long, options.short
    parsed = Parsed({}, [])
    args = parsed.args
    position, count = 0, len(words)
    while position < count:
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "-" or (args and at_start):
            args.append(word)
            continue
        if word == "--":
            args.extend(words[position:])
            break
        following = words[position] if position < count else None
        if word.startswith("--"):
            option = long.get(word[2:])
            if option and option.repeatable and following and following[0] != "-":
                # What _long makes of it, for the --class words that thousands of entries have.
                parsed.options.setdefault(option.long, []).append(following)
                position += 1
                continue
            position += _long(word, following, long, parsed, accept_dash)
        elif accept_dash and not all(letter in short for letter in word[1:]):
            args.append(word)
        else:
            position += _short(word, following, short, parsed)
    return parsed


def _long(
    word: str, following: str | None, known: Mapping[str, Option], parsed: Parsed, accept_dash: bool
) -> int:
    """One --option; returns how many further words it took."""
    name, equals, text = word[2:].partition("=")
    value: str | None = text if equals else None
    option = known.get(name)
    if option is None:
        if not accept_dash:
            raise CommandError(BAD_ARGUMENT, f"unknown argument `{word}'")
        parsed.args.append(word)
        return 0
    taken = 0
    if value is None and option.value and following is not None and not following.startswith("-"):
        value, taken = following, 1
    _store(option, value, word, parsed)
    return taken


def _short(word: str, following: str | None, known: Mapping[str, Option], parsed: Parsed) -> int:
    taken = 0
    for position, letter in enumerate(word[1:], 1):
        option = known.get(letter)
        if option is None:
            raise CommandError(BAD_ARGUMENT, f"unknown argument `-{letter}'")
        value = None
        if position < len(word) - 1:
            if option.value and not option.optional:
                raise CommandError(BAD_ARGUMENT, f"missing mandatory option for `{option.long}'")
        elif (
            option.value
            and following is not None
            and (not option.optional or len(following) < 2 or following[0] != "-")
        ):
            value, taken = following, 1
        _store(option, value, word, parsed)
    return taken


def _store(option: Option, value: str | None, word: str, parsed: Parsed) -> None:
    if option is _HELP[0] or option is _HELP[1]:
        raise Helped
    if option.value:
        if value is None and not option.optional:
            raise CommandError(BAD_ARGUMENT, f"missing mandatory option for `{option.long}'")
    elif value is not None:
        raise CommandError(
            BAD_ARGUMENT,
            f"a value was assigned to the argument `{word}' while it doesn't require an argument",
        )
    if option.repeatable:
        parsed.options.setdefault(option.long, []).append(value)
    else:
        parsed.options[option.long] = [value]
