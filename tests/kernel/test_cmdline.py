"""cmdline.py: expected lines follow the kernel's next_arg."""

from __future__ import annotations

import pytest

from kexec_hook.kernel.cmdline import CmdlineError, edit_cmdline, name_of, words

# (command line, remove, append, expected)
EDITS = [
    ("ro quiet", [], [], "ro quiet"),
    ("  ro\t quiet  ", [], [], "  ro\t quiet  "),
    ("ro quiet splash", ["quiet"], [], "ro splash"),
    ("ro rhgb quiet", ["rhgb", "quiet"], [], "ro"),
    ("quiet ro", ["quiet"], [], "ro"),
    ("quiet", ["quiet"], [], ""),
    ("quiet quiet  quiet", ["quiet"], [], ""),
    ("a  quiet   b", ["quiet"], [], "a   b"),
    ("  quiet ro", ["quiet"], [], "ro"),
    ("ro quiet\n", ["quiet"], [], "ro\n"),
    ("noquiet quietly quiet.x=1 quiet", ["quiet"], [], "noquiet quietly quiet.x=1"),
    ("console=tty0 console=ttyS0,115200 ro", ["console"], [], "ro"),
    ("console=tty0 console=ttyS0,115200 ro", ["console=tty0"], [], "console=ttyS0,115200 ro"),
    ("console=tty0 ro", ["console=tty"], [], "console=tty0 ro"),
    ("log-buf-len=1M log_buf_len=2M ro", ["log_buf_len"], [], "ro"),
    ("log-buf-len=1M ro", ["log-buf-len"], [], "ro"),
    (
        'ro dyndbg="file drivers/usb/core/hub.c +p" quiet',
        ["quiet"],
        [],
        'ro dyndbg="file drivers/usb/core/hub.c +p"',
    ),
    ('ro dyndbg="file quiet +p" x', ["quiet"], [], 'ro dyndbg="file quiet +p" x'),
    ('ro "dyndbg=file quiet +p" x', ["dyndbg"], [], "ro x"),
    ('ro dyndbg="file x +p" x', ["dyndbg"], [], "ro x"),
    ('a="b c" d', ['a="b c"'], [], "d"),
    ('"a=b c" d', ['a="b c"'], [], "d"),
    ('ro a="never closed quiet', ["quiet"], [], 'ro a="never closed quiet'),
    ("foo=a\\x20b \\quiet quiet", ["quiet"], [], "foo=a\\x20b \\quiet"),
    ("ro", [], ["panic=10"], "ro panic=10"),
    ("ro ", [], ["panic=10", 'x="a b"'], 'ro panic=10 x="a b"'),
    ("", [], ["ro"], "ro"),
    ("quiet", ["quiet"], ["ro"], "ro"),
    ("ro quiet -- single quiet", ["quiet", "single"], ["splash"], "ro splash -- single quiet"),
    ("ro -- x", [], [], "ro -- x"),
    ("-- x", [], ["ro"], "ro -- x"),
    ("BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.1 root=UUID=1 ro", ["BOOT_IMAGE"], [], "root=UUID=1 ro"),
    ("caf\udce9=1 quiet \u00a0x", ["quiet"], [], "caf\udce9=1 \u00a0x"),
]


@pytest.mark.parametrize(("cmdline", "remove", "append", "expected"), EDITS)
def test_edit(cmdline: str, remove: list[str], append: list[str], expected: str) -> None:
    assert edit_cmdline(cmdline, remove, append) == expected


@pytest.mark.parametrize(
    ("cmdline", "append"), [('ro a="x', ["b"]), ("ro", ['b="x']), ('ro a="x', ['b="'])]
)
def test_nothing_is_appended_to_an_open_quote(cmdline: str, append: list[str]) -> None:
    with pytest.raises(CmdlineError, match="a quote is never closed"):
        edit_cmdline(cmdline, [], append)


def test_words_and_names() -> None:
    assert words('a  "b c"=d e"f g"h\ti "j') == ["a", '"b c"=d', 'e"f g"h', "i", '"j']
    assert [name_of(word) for word in ("a", "a=b=c", '"a=b c"', "a-b.c-d=e-f", "=x")] == [
        "a",
        "a",
        "a",
        "a_b.c_d",
        "",
    ]
