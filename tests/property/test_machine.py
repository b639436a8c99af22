"""What holds for every script that is run: it ends, with the machine's own errors at most, and words expand."""

from __future__ import annotations

import re
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from kexec_hook.grub.flavours import FLAVOURS
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.menu import boot_default, evaluate, try_all
from kexec_hook.grub.script.source import ScriptError, read_source
from kexec_hook.grub.values import Call, Halted
from tests.property.disk import PREFIX, machine
from tests.property.scripts import ANYTHING, NAMES, SCRIPTS, SOUP, WORDS, double, single

FLAVOUR = st.sampled_from(sorted(FLAVOURS))
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)


def run(made: Machine, text: str) -> None:
    made.run(read_source("x.cfg", text.encode("utf-8", "surrogateescape")))


@given(st.one_of(ANYTHING, SCRIPTS), FLAVOUR)
def test_any_script_ends_with_our_own_errors_at_most(text: str, flavour: str) -> None:
    made = machine({"/a": b"", "/b/c": b"x\n"}, flavour)
    with suppress(ScriptError, Halted):
        run(made, text)
    assert made.fuel.steps >= -1


@given(st.lists(st.one_of(SOUP, SCRIPTS), min_size=1, max_size=3), FLAVOUR)
def test_any_menu_is_tried_to_its_end(bodies: list[str], flavour: str) -> None:
    config = "".join(
        f"menuentry e{n} {{\n{body}\n}}\nsubmenu s{n} {{\n{body}\n}}\n"
        for n, body in enumerate(bodies)
    )
    made = machine({"/boot/grub/grub.cfg": config.encode()}, flavour)
    with suppress(ScriptError):
        if evaluate(made, f"{PREFIX}/grub.cfg") == "menu":
            for sample in try_all(made):
                assert sample.outcome.how
            assert boot_default(made).ended


@given(SOUP)
def test_a_copy_of_a_machine_is_independent(text: str) -> None:
    made = machine()
    run(made, "set a=1; function f { true; }; menuentry e { true; }")
    before = dict(made.env), list(made.menu or []), dict(made.functions), list(made.output)
    with suppress(ScriptError, Halted):
        run(
            made.fork(),
            text + "\nset a=2; unset b; menuentry f { true; }; function g { true; }; echo x",
        )
    assert (dict(made.env), made.menu, made.functions, made.output) == before


# What words become: `p` gets them.


def words(text: str, **variables: str) -> list[list[str]]:
    got: list[list[str]] = []

    def p(m: Machine, call: Call) -> int:
        got.append(call.args)
        return 0

    made = machine(table={"p": p})
    for name, value in variables.items():
        made.set(name, value)
    run(made, text)
    assert made.problems == []
    return got


@given(st.lists(WORDS, max_size=4))
def test_quoted_text_stands_for_itself(parts: list[tuple[str, str]]) -> None:
    assert words("p " + " ".join(written for written, _ in parts)) == [
        [meant for _, meant in parts]
    ]


@given(VALUES)
def test_a_quoted_variable_is_one_word(value: str) -> None:
    assert words('p "$v"', v=value) == [[value]]


@given(VALUES.filter(lambda value: not set("*?") & set(value)))  # those it expands
def test_a_bare_variable_is_split_at_blanks(value: str) -> None:
    assert words("p $v", v=value) == [[word for word in re.split(r"[ \t\n\r]+", value) if word]]


@given(VALUES, VALUES)
def test_quoted_neighbours_make_one_word(a: str, b: str) -> None:
    assert words('p x"$a"${nothing}y"${b}"', a=a, b=b) == [[f"x{a}y{b}"]]


@given(VALUES)
def test_text_beside_a_bare_variable_joins_its_first_and_last_word(value: str) -> None:
    assert words("p x${v}y", v=f"a{value}b") == [re.split(r"[ \t\n\r]+", f"xa{value}by")]


@given(st.lists(WORDS, max_size=4))
def test_the_words_of_a_function_are_kept(parts: list[tuple[str, str]]) -> None:
    meant = [meant for _, meant in parts]
    script = 'function f { p "$@"; p "$*" x; p $#; p $1 x; }\nf ' + " ".join(
        written for written, _ in parts
    )
    everything, joined, count, first = words(script)
    assert everything == (meant or [""])  # as GRUB has it
    assert joined == [" ".join(meant), "x"]
    assert count == [str(len(meant))]
    assert first == [*(re.findall(r"[^ \t\n\r]+", meant[0]) if meant else []), "x"]


@given(NAMES, WORDS)
def test_an_assignment_keeps_a_text(name: str, word: tuple[str, str]) -> None:
    made = machine()
    run(made, f"{name}={word[0]}\n")
    # $root alone is written without the parentheses around it
    meant = word[1][1:-1] if name == "root" and re.fullmatch(r"\([\s\S]*\)", word[1]) else word[1]
    assert made.get(name) == meant


@given(WORDS)
def test_eval_reads_a_text_twice(word: tuple[str, str]) -> None:
    made = machine()
    run(made, "eval set v=" + double(single(word[1])))
    assert made.get("v") == word[1]
