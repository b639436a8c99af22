"""Words as a command gets them: variables, quotes, splitting (execute.c:grub_script_arglist_to_argv)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.errors import CommandError
from kexec_hook.grub.files import Files
from kexec_hook.grub.script.source import Span
from kexec_hook.grub.script.syntax import Lit, Message, Place, Var, Word, Words
from kexec_hook.grub.values import Read, Refusal
from kexec_hook.grub.wildcard import matches, unescape

_SPLIT = re.compile(r"[^\n\r \t]+")
_WILD = re.compile(r"[*?\\]")
# rhboot leaves \xHH alone (execute.c:wildcard_escape, wildcard_unescape), so that systemd's escaped names survive.
_WILD_BUT_HEX = r"\\x[0-9A-Fa-f]{2}|([*?\\])"
_MESSAGE = r"\$\{[^}]*\Z|\$(?:\{([^}]*)\}|([0-9]+|[A-Za-z_][A-Za-z0-9_]*|[?#]))|\\(\\|\$)|[\s\S]"
_CLOCK = frozenset(["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "WEEKDAY"])


class Expander(Files):
    """An environment that can expand words."""

    def expand(self, words: Words) -> tuple[list[str], tuple[Read, ...]]:
        """Words as a command gets them, and the variables read for it (execute.c:grub_script_arglist_to_argv)."""
        result: list[str] = []
        reads: list[Read] = []
        for index, word in enumerate(words.words):
            if word.constant is not None:
                result.append(word.constant)
            else:
                self._expand_word(word, Place(words, index), result, reads)
        return result, tuple(reads)

    def _expand_word(self, word: Word, place: Place, result: list[str], reads: list[Read]) -> None:
        # None is an argument that nothing was put into yet: it vanishes unless something follows.
        slots: list[str | None] = [None]
        for part in word.parts:
            if isinstance(part, Lit):
                _append(slots, self._escape(part.text) if part.quoted else part.text or None)
            elif isinstance(part, Message):
                _append(slots, self._escape(self._translate(part.text, place, reads)))
            else:
                for number, value in enumerate(self._values(part, place, reads)):
                    if number and slots[-1] is not None:
                        slots.append(None)
                    _append(slots, self._escape(value) if part.quoted else _escape_value(value))
        for slot in slots:
            if slot is None:
                continue
            found = (
                self._glob(slot, place.span)
                if self.globbing and slot[:1] in ("/", "(", "*")
                else []
            )
            result.extend(found or [unescape(slot, self.flavour)])

    def _values(self, part: Var, place: Place, reads: list[Read]) -> list[str]:
        """What a variable adds: each element after the first begins a new word (execute.c:grub_script_env_get)."""
        if special(part.name):
            values = self._parameters(part.name)
            if part.name == "*" and part.quoted and values:
                values = [" ".join(values)]
        else:
            values = self._variable(part.name, place, reads)
        if part.quoted:
            return values
        return [piece for value in values for piece in _SPLIT.findall(value)]

    def _variable(self, name: str, place: Place, reads: list[Read]) -> list[str]:
        binding = self.env.get(name)
        if name != "?":
            reads.append(Read(name, binding, place))
        if name in _CLOCK:
            self.guesses.append(Refusal(f"${name} depends on the clock", place.span))
        if name in self.unsure:
            self.guesses.append(
                Refusal(f"${name} is set by some builds of GRUB and not by others", place.span)
            )
        return [binding.value] if binding and binding.value else []

    def _parameters(self, name: str) -> list[str]:
        """What $1, $#, $* and $@ stand for in a function and in an entry; nothing elsewhere."""
        params = self.params
        if params is None:
            return []
        if name == "#":
            return [str(len(params))]
        if name in "*@":
            return list(params)
        number = int(name)
        return [params[number - 1]] if 0 < number <= len(params) else []

    def _translate(self, text: str, place: Place, reads: list[Read]) -> str:
        """`$"..."`: variables are expanded, translations are not looked up (execute.c:gettext_append)."""

        def value(match: re.Match[str]) -> str:
            name = match[1] if match[1] is not None else match[2]
            if name is None:
                return match[3] or ("" if match[0].startswith("${") else match[0])
            if name == "#":
                return "" if self.params is None else str(len(self.params))
            binding = self.env.get(name)
            reads.append(Read(name, binding, place))
            return binding.value if binding else ""

        return re.sub(_MESSAGE, value, text)

    def _escape(self, text: str) -> str:
        """Protect what was quoted from wildcard expansion."""
        if not _WILD.search(text):
            return text
        if self.flavour.keep_hex_escapes:
            return re.sub(_WILD_BUT_HEX, lambda m: "\\" + m[1] if m[1] else m[0], text)
        return _WILD.sub(r"\\\g<0>", text)

    def _glob(self, pattern: str, span: Span) -> list[str]:
        try:
            wild = _WILD.search(pattern) and not self.missing("regexp")
            found = matches(self, pattern) if wild else []
        except Unseen as unseen:
            self.unseen(unseen, span)
            return []
        if len(found) > 1 and not self._is_in_order(found):
            # GRUB goes through the directory as it lies on the disk; from ext4 the kernel tells it in another order.
            self.unordered.append(Refusal(f"the order in which GRUB finds `{pattern}'", span))
            return _in_another_order(found, self.order)
        return found

    def _is_in_order(self, found: list[str]) -> bool:
        """Do the matches of a pattern come from one directory whose order on the disk is known?"""
        directories = {name.rpartition("/")[0] + "/" for name in found}
        if len(directories) != 1:
            return False
        try:
            return self.disks.lists_in_order(self.path(directories.pop()))
        except (CommandError, Unseen):
            return False


def _in_another_order(found: list[str], order: int) -> list[str]:
    """0: as they are; in 1 and 2 each has another place, but for one in the middle: what hangs on the order shows."""
    return [found, [*found[1:], found[0]], found[::-1]][order]


def _append(slots: list[str | None], text: str | None) -> None:
    if text is not None:
        slots[-1] = (slots[-1] or "") + text


def _escape_value(text: str) -> str:
    r"""An unquoted value: `*` and `?` stay wildcards, a backslash stays a backslash."""
    if "\\" not in text:
        return text
    return re.sub(r"\\([*?])?", lambda m: "\\\\\\" + m[1] if m[1] else "\\\\", text)


def special(name: str) -> bool:
    return name[:1].isdigit() or name in ("#", "*", "@")
