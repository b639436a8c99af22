"""Regular expressions end, and find the leftmost of the longest matches."""

from __future__ import annotations

import re
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from kexec_hook.grub.regex import automaton as ere

_SIGNS = [
    *"ab.*+?|()[]{}^$\\,12-:=",
    "[:alpha:]",
    "\\w",
    "\\b",
    "\\<",
    "(a|ab)",
    "{1,3}",
    "é",
    "\udcff",
]
SOUP = st.lists(st.sampled_from(_SIGNS), max_size=14).map("".join)
TEXT = st.text("abc 1é\n", max_size=10)
# What POSIX and Python's re agree on, but for which of several matches they take.
_ATOMS = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[a-c]"])
SIMPLE = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(SOUP, TEXT)
def test_any_pattern_is_matched_or_refused(pattern: str, text: str) -> None:
    with suppress(ere.EreError):
        found = ere.compile(pattern).search(text)
        if found:
            (start, end), *groups = [span or (0, 0) for span in found]
            assert 0 <= start <= end <= len(text)
            assert all(0 <= a <= b <= len(text) for a, b in groups)


@given(SIMPLE, st.text("abc", max_size=7))
def test_the_leftmost_longest_match_is_found(pattern: str, text: str) -> None:
    spans = [(a, b) for a in range(len(text) + 1) for b in range(len(text), a - 1, -1)]
    wanted = next(((a, b) for a, b in spans if re.fullmatch(pattern, text[a:b])), None)
    found = ere.compile(pattern).search(text)
    assert (found and found[0]) == wanted


@given(st.text("ab.*+?|()[]{}^$\\", min_size=1, max_size=8), TEXT, TEXT)
def test_an_escaped_text_matches_itself(text: str, before: str, behind: str) -> None:
    pattern = "".join(f"[{c}]" if c not in "^\\" else "\\" + c for c in text)
    found = ere.compile(pattern).search(before + text + behind)
    assert found
    assert (before + text + behind)[slice(*found[0] or ())] == text
