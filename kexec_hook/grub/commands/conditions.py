"""GRUB's conditions: test, [ and regexp (grub-core/commands/test.c, regexp.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence

from kexec_hook.grub.commands.guesses import note_guess
from kexec_hook.grub.commands.registry import Option, Options, command, parse_options
from kexec_hook.grub.disks import GrubPath, Stat, Unseen
from kexec_hook.grub.errors import BAD_ARGUMENT, OK, OUT_OF_RANGE, TEST_FAILURE, CommandError
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import as_int, strtoul
from kexec_hook.grub.values import Call, Refusal
from kexec_hook.tuples import NamedTuple

_STRINGS: dict[str, Callable[[bytes, bytes], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq,
    "-ge": operator.ge,
    "-gt": operator.gt,
    "-le": operator.le,
    "-lt": operator.lt,
    "-ne": operator.ne,
}
_DEEPEST = 100  # MAX_TEST_RECURSION_DEPTH
_MOST_UNSEEN = 4  # of more questions, not all answers are tried


@command("test", "[")
def test(m: Machine, call: Call) -> int:
    words = call.args[:-1] if call.args[-1:] == ["]"] else call.args
    asked = _Test(m, words)
    value = asked.evaluate()
    for how, *texts in asked.compared if call.reads else ():
        note_guess(m, call, texts, functools.partial(_compare, how))
    if asked.unseen and _hangs_on(m, words, len(asked.unseen), value):
        for unseen in asked.unseen:
            m.unseen(unseen, call.span)
    if value:
        return OK
    raise CommandError(TEST_FAILURE, "false")


def _hangs_on(m: Machine, words: list[str], unseen: int, value: bool) -> bool:
    """Would other answers to what cannot be seen make the test as a whole come out differently?"""
    if unseen > _MOST_UNSEEN:
        return True
    answers = itertools.product((False, True), repeat=unseen)
    return any(_Test(m, words, answer).evaluate() != value for answer in answers)


class _Test:
    """Left to right; -a does nothing, so that neighbours are ANDed, and an unknown word is a string.

    `answers` are those to questions that cannot be answered, in their order; no where there is none.
    """

    def __init__(self, machine: Machine, words: list[str], answers: Sequence[bool] = ()) -> None:
        self.unseen: list[Unseen] = []
        self.compared: list[tuple[str, str, str]] = []
        self._machine = machine
        self._words = words
        self._answers = answers
        self._at = 0
        self._depth = 0

    def evaluate(self) -> bool:
        done = True  # the terms since the last -o
        either = invert = False
        while self._at < len(self._words):
            word = self._words[self._at]
            value = self._three()
            if value is None:
                value = self._two()
            if value is not None:
                done = done and value != invert
                invert = False
                continue
            self._at += 1
            if word == ")":
                self._depth = max(0, self._depth - 1)
                break
            if word == "(":
                self._depth += 1
                if self._depth > _DEEPEST:
                    self._machine.fail(CommandError(OUT_OF_RANGE, "max recursion depth exceeded"))
                    break
                value = self.evaluate()
                done = done and value != invert
                invert = False
            elif word == "!":
                invert = not invert
            elif word == "-o":
                either, done = either or done, True
            elif word != "-a":
                done = done and bool(word) != invert
                invert = False
        return either or done

    def _three(self) -> bool | None:
        if self._at + 2 >= len(self._words):
            return None
        left, how, right = self._words[self._at : self._at + 3]
        if how in _STRINGS:
            value = _compare(how, [left, right])
            self.compared.append((how, left, right))
        elif how in _NUMBERS:
            value = _NUMBERS[how](self._number(left), self._number(right))
        elif how in ("-pgt", "-plt"):
            value = self._skip_prefix(left, right, how)
        elif how.startswith(("-nt", "-ot")):
            value = self._seen(lambda: self._newer(left, how, right))
        else:
            return None
        self._at += 3
        return value

    def _two(self) -> bool | None:
        if self._at + 1 >= len(self._words):
            return None
        how, word = self._words[self._at : self._at + 2]
        if how == "-d":
            value = self._seen(lambda: self._kind(word) == "dir")
        elif how == "-e":
            value = self._seen(lambda: self._kind(word) is not None)
        elif how == "-f":
            value = self._seen(lambda: self._kind(word) == "file")
        elif how == "-s":
            value = self._seen(lambda: self._nonempty(word))
        elif how == "-n":
            value = bool(word)
        elif how == "-z":
            value = not word
        else:
            return None
        self._at += 2
        return value

    def _seen(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except Unseen as unseen:
            number = len(self.unseen)
            self.unseen.append(unseen)
            return number < len(self._answers) and self._answers[number]

    def _number(self, word: str) -> int:
        negative = word.startswith("-")
        number = as_int(self._unsigned(word[negative:]))
        return as_int(-number) if negative else number

    def _unsigned(self, word: str) -> int:
        try:
            return strtoul(word)[0]
        except CommandError as error:
            # The number counts as 0, and the message is printed when the test as a whole is true.
            self._machine.fail(error)
            return 0 if error.errno != OUT_OF_RANGE else (1 << 64) - 1

    def _skip_prefix(self, left: str, right: str, how: str) -> bool:
        """Compare numbers behind a common prefix: vmlinuz-2 -plt vmlinuz-11."""
        common = 0
        while common < len(left) and left[common : common + 1] == right[common : common + 1]:
            common += 1
        common -= 1
        while common > 0 and left[common : common + 1].isdigit():
            common -= 1
        common += 1
        one, two = self._unsigned(left[common:]), self._unsigned(right[common:])
        return one > two if how == "-pgt" else one < two

    def _newer(self, left: str, how: str, right: str) -> bool:
        bias = self._number(how[3:]) if how[3:] else 0
        one, two = self._info(left), self._info(right)
        exists = one.stat is not None, two.stat is not None
        if exists == ((True, False) if how.startswith("-nt") else (False, True)):
            return True
        then, now = self._mtime(one), self._mtime(two)
        if then is None or now is None:
            return False
        return then + bias > now if how.startswith("-nt") else then + bias < now

    def _mtime(self, info: _Info) -> int | None:
        if info.stat is None or info.path is None or info.stat.mtime is not None:
            return info.stat.mtime if info.stat else None
        return self._machine.disks.mtime(info.path)

    def _info(self, name: str) -> _Info:
        """What get_fileinfo finds; a trailing slash is dropped, a whole device is a directory."""
        machine = self._machine
        try:
            device = machine.path(name).device
        except CommandError as error:
            machine.fail(error)
            return _Info()
        if machine.device(device) is None:
            return _Info()
        # The first `)` counts, with a `(` or without; a name without a slash is looked for at the top.
        path = (name.partition(")")[2] if ")" in name else name).rstrip("/")
        if not path.startswith("/"):
            if "/" in path:
                return _Info()
            path = "/" + path
        asked = machine.path(f"({device}){path}")
        return _Info(machine.entry(asked), asked)

    def _kind(self, name: str) -> str | None:
        stat = self._info(name).stat
        return stat.kind if stat else None

    def _nonempty(self, name: str) -> bool:
        try:
            path = self._machine.open(name)
        except CommandError:
            self._machine.errno = OK
            return False
        stat = self._machine.stat(path)
        return stat is None or stat.size != 0


class _Info(NamedTuple):
    stat: Stat | None = None
    path: GrubPath | None = None


def _compare(how: str, texts: list[str]) -> bool:
    left, right = map(_bytes, texts)
    return _STRINGS[how](left, right)


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


_REGEXP_OPTIONS = Options(Option("set", "s", value=True, repeatable=True))


@command("regexp")
def regexp(m: Machine, call: Call) -> int:
    """Match an extended regular expression; --set [N:]NAME keeps a group."""
    from kexec_hook.grub.regex import automaton as ere

    m.globbing = True  # loading the module registers the expansion of * and ?
    parsed = parse_options(m, call.args, _REGEXP_OPTIONS)
    if len(parsed.args) != 2:
        raise call.error(BAD_ARGUMENT, "two arguments expected")
    pattern, text = parsed.args
    try:
        regex = ere.compile(pattern)
        try:
            found = regex.search(text)
        finally:
            m.fuel.burn(call.span, 1 + regex.steps // 1000)
    except ere.EreError as error:
        if isinstance(error, ere.EreLimit):
            m.guesses.append(
                Refusal(f"whether `{pattern}' matches is not known: {error}", call.span)
            )
        raise call.error(TEST_FAILURE, str(error)) from None
    if call.reads:
        note_guess(m, call, [pattern, text], lambda two: regex.search(two[1]) is not None)
    if found is None:
        raise call.error(TEST_FAILURE, "No match")
    for name in parsed.values("set"):
        number, colon, variable = name.partition(":")
        if colon:
            index, tail = strtoul(number, 10)
            if tail:
                raise call.error(BAD_ARGUMENT, f"invalid variable name format {name}")
        else:
            index, variable = 1, name
        span = found[index] if index < len(found) else None
        if span is None:
            m.unset(variable)
        else:
            m.set(variable, text[span[0] : span[1]], call)
    return OK
