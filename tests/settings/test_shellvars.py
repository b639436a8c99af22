"""shellvars.py, with the shells themselves as judges."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kexec_hook.settings.shellvars import SettingsError, assignments


def values(text: str) -> dict[str, str]:
    return {name: assigned.value for name, assigned in assignments(text, "kexec").items()}


# The file that Debian 12's kexec-tools generates, with both questions answered.
DEBIAN_12 = """\
# Defaults for kexec initscript
# sourced by /etc/init.d/kexec and /etc/init.d/kexec-load

# Load a kexec kernel (true/false)
LOAD_KEXEC=true

# Kernel and initrd image
KERNEL_IMAGE="/vmlinuz"
INITRD="/initrd.img"

# If empty, use current /proc/cmdline
APPEND=""

# Load the default kernel from grub config (true/false)
USE_GRUB_CONFIG=false
"""

ACCEPTED = [
    "A=b",
    "A=",
    "A=\nB=c",
    "A=b # comment",
    "A=b#c",
    "# A=b\nB=c",
    "A='b c'\"d  e\"f",
    "A='#x' B=\"#y\"",
    "A=b;B=c",
    "A=b ; B=c;",
    " \tA=b",
    "export A=b B='c d'",
    "A=b\nexport A",
    "A=b C=d; export A C",
    "export A=b;\nB=c",
    "A=\\ \\$\\'\\\"\\\\x",
    "A=a\\\nb",
    "A=a \\\n B=c",
    'A="a\\\nb"',
    "A='a\\\nb'",
    "A='a\nb'\nB=c",
    'A="\\$x \\`y\\` \\"z\\" \\\\ \\n \\x"',
    "A='$(x) `y` $z \\ \"'",
    'A=/boot/vmlinuz\nB="$A-${A}x"\nC=$A/x',
    "A='x y'\nB=$A",
    'A=a$ B="b$" C=$/ D="$\'" E="$%"',
    "A=* B=[a]? C={x,y} D=a=b",
    "A='~'b B=a~b",
    "A='it'\\''s'",
    'export="x"',
    "A=caf\u00e9",
    "\n\n\n",
    "A=b\n#",
    "A=1\nA=2$A",
    'export APPEND="root=UUID=1 dyndbg=\\"file x.c +p\\" quiet"',
    DEBIAN_12,
]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("text", ACCEPTED)
def test_what_is_accepted_means_what_the_shell_takes_it_for(
    text: str, shell: str, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    file = tmp_path / "kexec"
    file.write_text(text)
    ours = values(text)
    show = "".join(f"printf '%s\\0' \"${name}\"\n" for name in ours)
    done = subprocess.run(
        [shell, "-c", f'. "$1"\n{show}', shell, str(file)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.split("\0")[:-1] == list(ours.values())


def test_debians_file() -> None:
    assert values(DEBIAN_12) == {
        "LOAD_KEXEC": "true",
        "KERNEL_IMAGE": "/vmlinuz",
        "INITRD": "/initrd.img",
        "APPEND": "",
        "USE_GRUB_CONFIG": "false",
    }


def test_a_value_knows_its_line() -> None:
    read = assignments("A=1\n\nB='x\ny'\nC=2 D=3\n", "/etc/default/kexec")
    assert [(name, assigned.origin) for name, assigned in read.items()] == [
        ("A", "/etc/default/kexec:1"),
        ("B", "/etc/default/kexec:3"),
        ("C", "/etc/default/kexec:5"),
        ("D", "/etc/default/kexec:5"),
    ]


def test_a_later_file_may_refer_to_an_earlier_one_and_win() -> None:
    first = assignments("A=1\nB=2\n", "one")
    second = assignments("B=$A$B\n", "two", first)
    assert (second["A"].value, second["B"].value) == ("1", "12")
    assert (second["A"].origin, second["B"].origin) == ("one:1", "two:1")
    assert first["B"].value == "2"


REFUSED = {
    "APPEND=$(cat /proc/cmdline)": """\
kexec:1: a shell would run a command here; this file is only read, never run
    APPEND=$(cat /proc/cmdline)
           ^^""",
    '\nAPPEND="x `id`"': """\
kexec:2: a shell would run a command here; this file is only read, never run
    APPEND="x `id`"
              ^^""",
    "A=$((1+1))": """\
kexec:1: a shell would run a command here; this file is only read, never run
    A=$((1+1))
      ^^""",
    "A=b\nif [ -e /x ]; then": """\
kexec:2: `if` is not an assignment; this file is only read, never run
    if [ -e /x ]; then
    ^^""",
    "A=b touch /tmp/x": """\
kexec:1: `touch` is not an assignment; this file is only read, never run
    A=b touch /tmp/x
        ^^^^^""",
    ". /etc/default/other": """\
kexec:1: `.` is not an assignment; this file is only read, never run
    . /etc/default/other
    ^""",
    "LOAD_KEXEC = true": """\
kexec:1: `LOAD_KEXEC` is not an assignment; this file is only read, never run
    LOAD_KEXEC = true
    ^^^^^^^^^^""",
    "A=b|c": """\
kexec:1: | means something to a shell; put the value in quotes
    A=b|c
       ^""",
    "A=(b c)": """\
kexec:1: ( means something to a shell; put the value in quotes
    A=(b c)
      ^""",
    "\tA='b\nc": """\
kexec:1: this quote is never closed
     A='b
       ^""",
    'A="b\nc': """\
kexec:1: this quote is never closed
    A="b
      ^""",
    "A=$HOME/x": """\
kexec:1: HOME has not been set further up
    A=$HOME/x
      ^^^^^""",
    "A=${B:-c}": """\
kexec:1: only ${NAME} is understood here
    A=${B:-c}
      ^^^^""",
    "A=$1": """\
kexec:1: $1 means something to a shell; put a backslash before the dollar
    A=$1
      ^^""",
    "A=$'b'": """\
kexec:1: $' means something to a shell; put a backslash before the dollar
    A=$'b'
      ^^""",
    "A=~/vmlinuz": """\
kexec:1: a shell would expand ~ here; write the path in full, or quote it
    A=~/vmlinuz
      ^""",
    "A=/x:~/y": """\
kexec:1: a shell would expand ~ here; write the path in full, or quote it
    A=/x:~/y
         ^""",
    "A=b\nA+=c": """\
kexec:2: not every shell knows +=; write A="$A ..."
    A+=c
    ^^^""",
    "LOAD_KEXEC=true\r\n": """\
kexec:1: a carriage return; save the file with Unix line ends, as text
    LOAD_KEXEC=true
                   ^""",
    "A=b\n)": """\
kexec:2: `)` is not an assignment; this file is only read, never run
    )
    ^""",
    "export -n A": """\
kexec:1: `-n` is not an assignment; this file is only read, never run
    export -n A
           ^^""",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_what_only_a_shell_could_mean_is_an_error_that_points(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        values(text)
    assert str(caught.value) == message


def test_nothing_is_run(tmp_path: Path) -> None:
    for text in (
        f"A=$(touch {tmp_path}/x)",
        f"A=`touch {tmp_path}/x`",
        f"touch {tmp_path}/x",
        f"A=1;touch {tmp_path}/x",
    ):
        with pytest.raises(SettingsError):
            values(text)
    values(f"A='$(touch {tmp_path}/x)'\nB=\"$A\"\n")
    assert list(tmp_path.iterdir()) == []
