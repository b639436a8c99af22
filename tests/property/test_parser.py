"""What holds for every script that is read, right or wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kexec_hook.grub.script.parser import TokenTooLong, parse
from kexec_hook.grub.script.plain import QuickBlocks
from kexec_hook.grub.script.source import Source, read_source
from kexec_hook.grub.script.syntax import (
    Command,
    For,
    If,
    Lit,
    Loop,
    Message,
    Script,
    Statement,
    Var,
    Word,
    Words,
)
from tests.property.scripts import ANYTHING, SCRIPTS, SOUP, STATEMENTS, WORDS, bare, double, single


def source(text: str) -> Source:
    return read_source("x.cfg", text.encode("utf-8", "surrogateescape"))


def units(text: str) -> list[Script]:
    return list(parse(source(text)))


def commands(statement: Statement | tuple[Statement, ...] | None) -> list[Command | For]:
    """Every command and `for` in it."""
    if statement is None:
        return []
    if isinstance(statement, Command):
        return [statement]
    if isinstance(statement, (If, For, Loop)):
        below = [
            part
            for part in statement
            if isinstance(part, (tuple, If)) and not isinstance(part, Words)
        ]
        mine = [statement] if isinstance(statement, For) else []
        return mine + [found for part in below for found in commands(part)]
    return [found for part in statement for found in commands(part)]


@given(ANYTHING)
def test_any_text_is_read_to_its_end(text: str) -> None:
    read = units(text)
    assert all(unit.broken is None or not unit.statements for unit in read)
    assert len(read) <= len(text) + 1


@given(ANYTHING)
def test_an_error_points_into_the_text(text: str) -> None:
    for unit in units(text):
        if unit.broken:
            span = unit.broken.error.span
            assert span is not None
            assert 0 <= span.start < span.end <= len(span.source.text) + 1
            assert str(unit.broken.error).startswith(f"x.cfg:{span.line}: ")


@given(SOUP)
def test_words_stand_where_they_say(text: str) -> None:
    for unit in units(text):
        for command in commands(unit.statements):
            words = command.words
            assert "".join(words.written) == words.source.text[words.start : words.end]
            for index, written in enumerate(words.written):
                span = words.span(index)
                assert span.source.text[span.start : span.end] == written.lstrip(" \t") != ""


@given(SCRIPTS)
def test_what_is_right_has_no_errors(text: str) -> None:
    assert [str(unit.broken.error) for unit in units(text) if unit.broken] == []


@given(SOUP)
def test_a_unit_does_not_depend_on_what_stands_behind(text: str) -> None:
    assume(all(unit.broken is None for unit in units(text)))
    assert shapes(text + "\necho a\n")[:-1] == shapes(text)


@given(SCRIPTS)
def test_a_printed_script_is_read_as_the_same(text: str) -> None:
    printed = "".join(show_unit(unit) + "\n" for unit in units(text))
    assert shapes(printed) == shapes(text)


@given(st.one_of(STATEMENTS, SOUP))
def test_a_plain_block_is_one_that_parses(text: str) -> None:
    block = source("menuentry a {\n" + text + "\n}\n").text
    end = QuickBlocks(block, lambda text: parts(units(text))).end(block.index("{") + 1)
    if end >= 0:
        (unit,) = units(block[: end + 1])
        (command,) = commands(unit.statements)
        assert isinstance(command, Command)
        assert command.block
        assert command.block.end == end


@given(WORDS)
def test_quotes_and_backslashes_keep_a_text(word: tuple[str, str]) -> None:
    written, meant = word
    for text in (written, single(meant), double(meant), bare(meant)):
        if not text:
            continue
        (unit,) = units(f"echo {text}\n")
        ((command,),) = [unit.statements]
        assert isinstance(command, Command)
        (found,) = command.words.words[1:]
        assert "".join(plain(part) for part in found.parts) == meant


def test_a_token_of_more_than_8191_bytes_stops_grub() -> None:
    with pytest.raises(TokenTooLong) as found:
        units("a " + "x" * 8192)
    assert str(found.value).startswith(
        "x.cfg:1: GRUB stops here: an argument is longer than 8191 bytes\n"
    )


def test_words_stand_where_they_were_written() -> None:
    text = "p 'a' b x'c'\np 'dd' b x''\n"
    for unit, line in zip(units(text), text.splitlines()):
        (command,) = unit.statements
        assert isinstance(command, Command)
        spans = [command.words.span(number) for number in range(4)]
        assert [text[span.start : span.end] for span in spans] == line.split()


def test_what_stands_before_such_a_token_is_run_first() -> None:
    read = parse(source("a\nb\nc " + "x" * 8192))
    assert [next(read).broken, next(read).broken] == [None, None]
    with pytest.raises(TokenTooLong):
        next(read)


def parts(read: list[Script]) -> tuple[Statement, ...]:
    return read[0].statements if len(read) == 1 and not read[0].functions else ()


def plain(part: Any) -> str:
    assert isinstance(part, Lit)
    if part.quoted:
        return part.text
    out, escaped = "", False
    for letter in part.text:
        escaped = letter == "\\" and not escaped
        out += "" if escaped else letter
    return out


# A unit without places, and a unit as text again.


def shapes(text: str) -> list[Any]:
    return [shape(unit) for unit in units(text) if any(unit)]


def shape(tree: Any) -> Any:
    if isinstance(tree, Words):
        return [merged(word) for word in tree.words]
    if isinstance(tree, Command) and tree.block:
        text = tree.words.source.text[tree.block.start : tree.block.end]
        return "command", shape(tree.words), [shape(unit) for unit in units(text)]
    if isinstance(tree, tuple):
        return type(tree).__name__, [shape(part) for part in tree]
    return tree


def merged(word: Word) -> list[Any]:
    """Neighbouring quotes are one."""
    out: list[Any] = []
    for part in word.parts:
        if (
            isinstance(part, Lit)
            and out
            and isinstance(out[-1], Lit)
            and out[-1].quoted == part.quoted
        ):
            out[-1] = Lit(out[-1].text + part.text, part.quoted)
        elif part != Lit(""):
            out.append(part)
    return [part for part in out if part != Lit("", quoted=True) or len(out) == 1]


def show_unit(unit: Script) -> str:
    return "\n".join(
        [f"function {function.name} {{\n{show(function.body)}}}" for function in unit.functions]
        + [";".join(map(show, unit.statements))]
    )


def show(tree: Any) -> str:
    if isinstance(tree, Command):
        block = tree.words.source.text[tree.block.start : tree.block.end] if tree.block else ""
        return show(tree.words) + (f" {{{block}}}" if tree.block else "")
    if isinstance(tree, Words):
        return " ".join(map(show_word, tree.words))
    if isinstance(tree, For):
        return f"for {tree.name} in {show(tree.words)}\ndo {show(tree.body)}done"
    if isinstance(tree, Loop):
        return (
            f"{'until' if tree.until else 'while'} {show(tree.condition)}do {show(tree.body)}done"
        )
    if isinstance(tree, If):
        rest = ""
        if isinstance(tree.orelse, If):
            rest = "el" + show(tree.orelse)[: -len("fi")]
        elif tree.orelse:
            rest = f"else {show(tree.orelse)}"
        return f"if {show(tree.condition)}then {show(tree.then)}{rest}fi"
    return "".join(show(statement) + "\n" for statement in tree)


def show_word(word: Word) -> str:
    return "".join(show_part(part) for part in word.parts) or "\\\n"


def show_part(part: Any) -> str:
    if isinstance(part, Var):
        return f'"${{{part.name}}}"' if part.quoted else f"${{{part.name}}}"
    if isinstance(part, Message):
        raise AssertionError("no script here has messages")
    if not part.quoted:
        return str(part.text)
    return double(part.text) if "'" in part.text else single(part.text)
