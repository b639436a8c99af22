"""Scripts that nobody wrote: soups of tokens, and statements with the text that means them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "_x1", "root", "default", "menuentry_id_option"])
# Without a newline; NUL ends a line, which is what read_source says, not the parser.
LETTERS = st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"])
TEXT = st.text(LETTERS, max_size=12)

_TOKENS = re.findall(
    r"\S+",
    """
    a if then else elif fi for in while until do done function menuentry submenu { } [ ] [[ ]] ! ; ;; & | && || < > # x#
    $v ${v} $1 $* $@ $# $? $$ $- ${ ' " \\ 'q' "q" "$v" "5$" $"m" =x a=b \\$ \\" set echo test true false eval source
    return break continue shift setparams export unset load_env save_env search regexp menuentry linux initrd boot
    blscfg configfile -n --set --id=x --class --unrestricted (hd0,gpt1)/a * ? /*
    """,
)
SEPARATORS = ["", " ", "\t", "\n", "; ", "\\\n"]
SOUP = st.lists(st.tuples(st.sampled_from(_TOKENS), st.sampled_from(SEPARATORS)), max_size=25).map(
    lambda pairs: "".join(token + blank for token, blank in pairs)
)
ANYTHING = st.one_of(
    SOUP, st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape"))
)


def single(text: str) -> str:
    """The text in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def double(text: str) -> str:
    r"""The text in double quotes: $ \ " are escaped."""
    return '"' + "".join("\\" + c if c in '$\\"' else c for c in text) + '"'


def bare(text: str) -> str:
    r"""The text with a backslash before each character; a newline so written would vanish."""
    return "".join("\\" + c for c in text)


# One word, and what it stands for when no variable is set; wildcards have nothing to match.
WORDS = st.lists(
    st.one_of(
        st.text("abzZ09._/=+:,@%-", min_size=1, max_size=8).map(lambda text: (text, text)),
        TEXT.map(lambda text: (single(text), text)),
        TEXT.map(lambda text: (double(text), text)),
        st.text(LETTERS, min_size=1, max_size=4).map(lambda text: (bare(text), text)),
    ),
    min_size=1,
    max_size=3,
).map(lambda pieces: ("".join(p[0] for p in pieces), "".join(p[1] for p in pieces)))


_ARGUMENTS = st.one_of(
    WORDS.map(lambda word: word[0]),
    NAMES.map(lambda name: f"${name}"),
    NAMES.map(lambda name: f'"${{{name}}} x"'),
    st.sampled_from(["if", "done", "in", '""', "''", "$1", '"$@"']),
)
_SIMPLE = st.tuples(
    st.sampled_from(["echo", "set", "true", "[", "linux"]), st.lists(_ARGUMENTS, max_size=4)
).map(lambda parts: " ".join([parts[0], *parts[1]]))
_BLANK = st.sampled_from(["; ", "\n", " ;\n\n", "\n# text\n\t"])


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(st.tuples(inner, _BLANK), min_size=1, max_size=3).map(
        lambda pairs: "".join(a + b for a, b in pairs)
    )
    return st.one_of(
        st.tuples(body, body).map(lambda b: f"if {b[0]}then {b[1]}fi"),
        st.tuples(body, body, body).map(lambda b: f"if {b[0]}then {b[1]}else\n{b[2]}fi"),
        st.tuples(body, body, body, body).map(
            lambda b: f"if {b[0]}then {b[1]}elif {b[2]}then {b[3]}fi"
        ),
        st.tuples(st.sampled_from(["while", "until"]), body, body).map(
            lambda b: f"{b[0]} {b[1]}do {b[2]}done"
        ),
        st.tuples(NAMES, st.lists(_ARGUMENTS, max_size=3), body).map(
            lambda b: f"for {b[0]} in {' '.join(b[1])}; do {b[2]}done"
        ),
        st.tuples(st.lists(_ARGUMENTS, max_size=2), body).map(
            lambda b: f"menuentry {' '.join(b[0])} {{ {b[1]}}}"
        ),
    )


STATEMENTS = st.recursive(_SIMPLE, _compound, max_leaves=5)
_FUNCTIONS = st.tuples(NAMES, STATEMENTS).map(lambda b: f"function {b[0]} {{ {b[1]}\n}}")
# All of it is right: the parser must find nothing wrong.
SCRIPTS = st.lists(
    st.one_of(STATEMENTS, STATEMENTS, _FUNCTIONS).map(lambda line: line + "\n"), max_size=4
).map("".join)
