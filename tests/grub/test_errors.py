"""What goes wrong in a configuration is told with file and line, whole, and nothing runs for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracle import ours

MENU = "menuentry a { linux /k }\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "boot/grub").mkdir(parents=True)
    (tmp_path / "k").write_text("x")
    return tmp_path


def told(files: Path, config: bytes, *options: str) -> list[str]:
    """What `grub-eval` says below the menu and the default; paths from the directory."""
    (files / "boot/grub/grub.cfg").write_bytes(config)
    answer = ours.call(["grub-eval", str(files), *options], seconds=60)
    lines = (answer.out + answer.err).replace(f"{files}/", "").rstrip("\n").split("\n")
    start = next(
        (number for number, line in enumerate(lines) if line.startswith("GRUB boots ")), -1
    )
    return lines[start + 1 :]


def run(files: Path, script: bytes) -> str:
    """What `grub-eval --script` reports; the script is called `s`."""
    file = files / "s"
    file.write_bytes(script)
    answer = ours.call(["grub-eval", str(files), "--script", str(file)])
    return answer.err.replace(f"{files}/", "")


def test_an_if_that_is_never_closed_is_named(files: Path) -> None:
    assert (
        run(files, b"true\nif true; then\n  echo a\n")
        == "s:2: `if' is never closed\n    if true; then\n    ^^\n"
    )


def test_a_brace_that_is_never_closed_is_named(files: Path) -> None:
    expected = "s:1: `{' is never closed\n    menuentry a {\n                ^\n"
    assert run(files, b"menuentry a {\n  true\n") == expected


def test_the_innermost_of_what_is_never_closed_is_named(files: Path) -> None:
    expected = "s:2: `for' is never closed\n    for x in a; do true; fi\n    ^^^\n"
    assert (
        run(files, b"if true; then\nfor x in a; do true\n").replace("true\n", "true; fi\n")
        == expected
    )


def test_a_quote_that_is_never_closed_is_named(files: Path) -> None:
    expected = 's:1: a quote or a backslash at the end of a line is never closed\n    echo "a\n         ^^\n'
    assert run(files, b'echo "a\nb\n') == expected


def test_the_word_that_cannot_stand_there_is_underlined(files: Path) -> None:
    assert (
        run(files, b"true\ntrue && false\n")
        == "s:2: syntax error\n    true && false\n         ^^\n"
    )


def test_the_menu_behind_an_error_is_still_there(files: Path) -> None:
    assert told(files, MENU.encode() + b"if true; then\n") == [
        "boot/grub/grub.cfg:2: `if' is never closed"
    ]


def test_an_endless_loop_ends(files: Path) -> None:
    first, *_ = told(files, b"while true; do true; done")
    forever = "kexec-hook: boot/grub/grub.cfg:1: this runs for ever (1,000,000 statements)"
    busy = "kexec-hook: boot/grub/grub.cfg:1: evaluating takes too long"  # 30 seconds on a machine that does much else
    assert first in (forever, busy)


def test_an_entry_without_an_end_leaves_the_others_alone(files: Path) -> None:
    config = MENU.encode() + b"menuentry b { while true; do true; done; }\n"
    (files / "boot/grub/grub.cfg").write_bytes(config)
    answer = ours.call(["grub-eval", str(files)], seconds=60)
    assert answer.out.replace(f"{files}/", "").endswith(
        "GRUB boots this\nboot/grub/grub.cfg:2: this runs for ever (100,000 statements)\n"
    )


def test_a_value_that_doubles_ends(files: Path) -> None:
    assert told(files, b"a=xx\nwhile true; do a=$a$a; done\n") == [
        "kexec-hook: boot/grub/grub.cfg:2: the values of variables grow without end (64 MiB)",
        "    while true; do a=$a$a; done",
        "                   ^^^^^^",
    ]


def test_a_configuration_that_sources_itself_ends_as_in_grub(files: Path) -> None:
    messages = set(told(files, b"source $prefix/grub.cfg\n" + MENU.encode()))
    assert messages == {
        "boot/grub/grub.cfg:1: maximum recursion depth exceeded",
        "boot/grub/grub.cfg:2: maximum recursion depth exceeded",
    }


def test_a_function_that_calls_itself_ends_as_in_grub(files: Path) -> None:
    assert told(files, b"function f { f; }\nf\n" + MENU.encode()) == [
        "boot/grub/grub.cfg:1: maximum recursion depth exceeded"
    ]


def test_carriage_returns_are_not_there(files: Path) -> None:
    assert told(files, MENU.encode().replace(b"\n", b"\r\n") + b"nosuch\r\n") == [
        "boot/grub/grub.cfg:2: can't find command `nosuch'"
    ]


def test_bytes_that_are_no_utf_8_stay_what_they_are(files: Path) -> None:
    config = b'menuentry "\xff" --id i { linux /k \xfe }\n'
    (files / "boot/grub/grub.cfg").write_bytes(config)
    found = ours.call(["grub-eval", str(files), "--json"])
    assert '"title": "\\udcff"' in found.out
    assert '"/k \\udcfe"' in found.out


def test_a_file_without_an_end_is_not_read(files: Path) -> None:
    with open(files / "boot/grub/grub.cfg", "wb") as stream:
        stream.truncate(100 << 20)
    answer = ours.call(["grub-eval", str(files)])
    assert answer.out.endswith(
        "GRUB boots nothing by itself\n/boot/grub/grub.cfg: larger than 64 MiB\n"
    )


def test_a_sourced_file_that_is_too_large_is_told(files: Path) -> None:
    with open(files / "big", "wb") as stream:
        stream.truncate(100 << 20)
    assert told(files, MENU.encode() + b"source /big\n") == [
        "boot/grub/grub.cfg:2: /big: larger than 64 MiB"
    ]


def test_a_missing_configuration_is_told(files: Path) -> None:
    answer = ours.call(["grub-eval", str(files)])
    assert answer.out == "GRUB boots nothing by itself\nfile `/boot/grub/grub.cfg' not found\n"


def test_a_word_that_stops_grub_s_lexer_stops_here(files: Path) -> None:
    first, *_ = told(files, b"echo " + b"x" * 9000 + b"\n" + MENU.encode())
    assert (
        first
        == "kexec-hook: boot/grub/grub.cfg:1: GRUB stops here: an argument is longer than 8191 bytes"
    )


def test_thousands_of_compounds_in_one_another_are_dropped(files: Path) -> None:
    config = b"if true; then " * 5000 + b"true" + b"; fi" * 5000 + b"\n" + MENU.encode()
    (message,) = told(files, config)
    assert message == "boot/grub/grub.cfg:1: more than 150 compounds in one another"


def test_a_pattern_that_takes_exponential_time_elsewhere_is_answered(files: Path) -> None:
    assert run(files, b"regexp '^(a|a)*(a|a)*(a*)*b$' " + b"a" * 200 + b"\n") == ""


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_noise_ends_with_messages_and_no_traceback(files: Path, size: int) -> None:
    noise = bytes((number * number * 7 + number // 3) % 256 for number in range(size))
    (files / "boot/grub/grub.cfg").write_bytes(noise)
    assert "GRUB boots nothing by itself" in ours.call(["grub-eval", str(files)]).out


@pytest.mark.parametrize(
    "script",
    [
        b"password root correct-horse & x\n",
        b"password root \\\ncorrect-horse & x\n",
        b"true; password_pbkdf2 root correct-horse &\n",
        b"if true; then password root correct-horse & fi\n",
        b"legacy_password correct-horse & x\n",
        b"set x=1; password root correct-horse; set y=&\n",
        b"'password' root correct-horse & x\n",
        b"pass'word' root correct-horse & x\n",
        b"pass\\\nword root correct-horse & x\n",
        b"set p=password; $p root correct-horse & x\n",
        b"$p root correct-horse & x\n",
        b"cryptomount -p correct-horse -u abc & x\n",
    ],
)
def test_no_error_shows_a_password(files: Path, script: bytes) -> None:
    told = run(files, script)
    assert "s:1: syntax error" in told or "s:2: syntax error" in told
    assert "correct-horse" not in told
    assert "..." in told


def test_word_that_only_looks_like_a_password_is_shown(files: Path) -> None:
    assert "passwords=1 &" in run(files, b"set passwords=1 & x\n")
