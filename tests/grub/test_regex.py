"""Regular expressions match as in GRUB, whose own answers these are; and they end."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from kexec_hook.grub.regex import automaton as ere
from tests.grub.behaviour import grub, ours

# Pattern, text, and what the match and its groups hold; None: no match.  All of this `make oracle` asks GRUB again.
ANSWERS = [
    ("b", "abc", "b"),
    ("x", "abc", None),
    ("", "abc", ""),
    ("a.c", "abc", "abc"),
    ("a|ab", "abc", "ab"),  # the longest, not the first
    ("a|bc", "bca", "bc"),  # but the leftmost
    ("(a|ab)(c|bcd)", "abcd", "abcd a bcd"),
    ("(a*)(ab)*(b*)", "abb", "abb a - bb"),
    ("x*", "aaa", ""),
    ("a{2}", "aaa", "aa"),
    ("a{2,}", "aaaa", "aaaa"),
    ("a{,2}", "aaaa", "aa"),
    ("a{0}b", "ab", "b"),
    ("(ab){1,2}", "ababab", "abab ab"),
    ("(a)|(b)", "b", "b - b"),
    ("(a?)*", "aa", "aa a"),
    ("(a?){2}", "a", "a -"),
    ("(a?){2,}*", "aa", "aa a"),
    ("((a)|b)*", "ab", "ab b a"),
    ("^a", "ba", None),
    ("a$", "ab", None),
    ("(^a)+", "aa", None),  # as gnulib has it
    ("[a-c]+", "xabcd", "abc"),
    ("[^a-c]+", "abxyc", "xy"),
    ("[]a]+", "a]b", "a]"),
    ("[a-]+", "b-a", "-a"),
    ("[\\]+", "a\\\\", "\\\\"),
    ("[[:digit:]]+", "a42", "42"),
    ("[[:space:]x]", "ax", "x"),
    ("[[.a.]-c]+", "abcd", "abc"),
    ("[[=a=]]", "ba", "a"),
    ("\\w+", "-a_1-", "a_1"),
    ("\\W", "a-", "-"),
    ("\\bb", "ab b", "b"),
    ("a\\>", "ab a", "a"),
    ("\\.", "a.b", "."),
    ("a}b)", "a}b)", "a}b)"),
    ("\\((.*)\\)/", "(hd0,gpt2)/boot", "(hd0,gpt2)/ hd0,gpt2"),
    ("^(\\(.*\\))?(/.*)$", "(hd0)/x", "(hd0)/x (hd0) /x"),
    ("/vmlinuz-(.*)-(.*)", "/vmlinuz-6.1-1-x", "/vmlinuz-6.1-1-x 6.1-1 x"),
    ("hd([0-9]+)", "hd10,gpt2", "hd10 10"),
    # Only ASCII has letters, and \v and \f are no spaces: unlike glibc, whose code it is.
    ("[[:alpha:]]+", "éb", "b"),
    ("[[:lower:]]", "éÄ", None),
    ("\\w", "Ä", None),
    ("\\W", "é", "é"),
    ("\\bb", "éb", "b"),
    ("[[:space:]]", "\v\fx", None),
]
WRONG = [
    ("(", "Unmatched ( or \\("),
    ("[a", "Unmatched [, [^, [:, [., or [="),
    ("*a", "Invalid preceding regular expression"),
    ("^*", "Invalid preceding regular expression"),
    ("a{2,1}", "Invalid content of \\{\\}"),
    ("a{x}", "Invalid content of \\{\\}"),
    ("a{1", "Unmatched \\{"),
    ("a{40000}", "Regular expression too big"),
    ("[c-a]", "Invalid range end"),
    ("[[:nope:]]", "Invalid character class name"),
    ("[[.ab.]]", "Invalid collation character"),
    ("a\\", "Trailing backslash"),
    ("\\1", "Invalid back reference"),
]
SLOW = [
    ("(a*)*b", "a" * 3000),
    ("(a|aa)+$", "a" * 3000 + "b"),
    ("((a?){30}){30}", "a" * 100),
    ("(.*)(.*)(.*)(.*)x", "a" * 2000),
    ("(a{1,99}){1,99}", "a"),
    ("(((a{1,9}){1,9}){1,9}){1,9}", "a"),
    ("(\\b|a|\\B)*" * 20, "a" * 200),
    ("[" + "".join(map(chr, range(256, 2000))) + "]*", "a" * 9),
    ("(" * 100 + ")" * 100, "a"),
    ("a" * 5000, "a"),
]


def found(pattern: str, text: str) -> str | None:
    match = ere.compile(pattern).search(text)
    if match is None:
        return None
    words = ["-" if span is None else text[slice(*span)] for span in match]
    return " ".join([words[0], *(word or "-" for word in words[1:])])


@pytest.mark.parametrize(("pattern", "text", "wanted"), ANSWERS)
def test_the_match_and_its_groups(pattern: str, text: str, wanted: str | None) -> None:
    assert found(pattern, text) == wanted


@pytest.mark.parametrize(("pattern", "message"), WRONG)
def test_a_wrong_pattern_has_gnulibs_message(pattern: str, message: str) -> None:
    with pytest.raises(ere.EreError) as said:
        ere.compile(pattern)
    assert str(said.value) == message


@pytest.mark.parametrize(("pattern", "text"), SLOW, ids=lambda word: word[:20])
def test_nothing_runs_away(pattern: str, text: str) -> None:
    start = time.process_time()
    try:
        ere.compile(pattern).search(text)
    except ere.EreLimit:
        pass
    assert time.process_time() - start < 10


def test_back_references_are_given_up() -> None:
    with pytest.raises(ere.EreLimit, match="back-references are not followed"):
        ere.compile("(a)\\1")


def test_bytes_that_are_no_utf_8_match_themselves_only() -> None:
    assert found("\udcff", "a\udcff") == "\udcff"
    assert found("a.b", "a\udcffb") is None
    assert found("[^x]", "\udcff") is None


# GRUB itself, also about patterns that nobody wrote


def _script(cases: list[tuple[str, str]]) -> str:
    groups = [f"-s {n}:g{n}" for n in range(5)]
    lines = []
    for pattern, text in cases:
        lines += [f"unset g{n}" for n in range(5)]
        lines.append(f"regexp {' '.join(groups)} -- {_quoted(pattern)} {_quoted(text)}")
        lines.append('echo "$? [$g0] [$g1] [$g2] [$g3] [$g4]"')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


class Patterns:
    def __init__(self, random: Random) -> None:
        self.random = random

    def alternatives(self, depth: int) -> str:
        return "|".join(self.branch(depth) for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))))

    def branch(self, depth: int) -> str:
        return "".join(self.piece(depth) for _ in range(self.random.choice((0, 1, 1, 2, 2, 3, 4))))

    def piece(self, depth: int) -> str:
        random = self.random
        operators = ("*", "+", "?", "{2}", "{1,2}", "{0,1}", "{2,}", "{,2}", "{0}", "{1", "**")
        return self.atom(depth) + random.choice(("",) * 12 + operators)

    def atom(self, depth: int) -> str:
        random = self.random
        if depth and random.random() < 0.35:
            return f"({self.alternatives(depth - 1)})"
        signs = [
            "^",
            "$",
            ".",
            "\\<",
            "\\>",
            "\\b",
            "\\B",
            "\\w",
            "\\W",
            "\\s",
            "\\S",
            "\\`",
            "\\.",
            "}",
            ")",
        ]
        brackets = ["[ab]", "[^a]", "[a-c]", "[]a]", "[a-]", "[[:alpha:]]", "[[.a.]-c]", "[[=a=]]"]
        return random.choice(list("aaaabbbbcc") + signs + brackets)


@pytest.mark.oracle
def test_grub_gives_these_answers(tmp_path: Path) -> None:
    cases = [(pattern, text) for pattern, text, _ in ANSWERS] + [
        (pattern, "a") for pattern, _ in WRONG
    ]
    random = Random(0)
    made = Patterns(random)
    cases += [
        (made.alternatives(2), "".join(random.choices("aaabbbcc .-1_", k=6))) for _ in range(700)
    ]
    with grub() as running:
        for start in range(0, len(cases), 150):
            script = _script(cases[start : start + 150])
            assert running.script(script).text == ours(tmp_path, script)
