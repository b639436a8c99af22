"""The command line: help with examples, exit codes, harmless output, colour where it is wanted."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kexec_hook import __version__
from kexec_hook.cli import main
from kexec_hook.commands.options import COMMANDS, PLUMBING, VALUED, make_parser
from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.report.byhand import shell_line
from kexec_hook.report.terminal import width
from tests.bootfiles import cpio
from tests.machine import Box
from tests.tree import Tree

ROOTS = Path(__file__).parent / "roots"
DEBIAN = str(ROOTS / "debian-12/tree")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_each_command_has_an_example(name: str) -> None:
    text = make_parser(name).format_help()
    assert "example:\n  kexec-hook " in text


def test_commands_are_those_of_the_stable_command_line() -> None:
    stable = "stage unstage reboot coldreboot list status explain ack run finalize hooks grub-eval"
    assert set(stable.split()) <= set(COMMANDS)


def test_without_a_command_it_is_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", DEBIAN]) == main(["--root", DEBIAN, "status"])
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]


def test_options_stand_before_or_behind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    before = ["--json", "--entry", "1>2", "-v", "--root", DEBIAN, "-n", "stage"]
    behind = ["stage", "--dry-run", f"--root={DEBIAN}", "--json", "--entry=1>2", "--verbose"]
    answers = []
    for words in (before, behind):
        assert main(words) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["entry"]["path"] == "1>2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sttus"], "there is no command `sttus`\n  fix: did you mean `status`?"),
        (["qqq"], "there is no command `qqq`\n  fix: `kexec-hook help` lists the commands"),
        (
            ["\x1b[2J\udcff"],
            "there is no command `\\x1b[2J\\xff`\n  fix: `kexec-hook help` lists the commands",
        ),
        (["help", "stge"], "there is no command `stge`\n  fix: did you mean `stage`?"),
        (
            ["help", "not-munted"],
            "there is no command `not-munted`\n  fix: did you mean `not-mounted`?",
        ),
        (
            ["stage", "--dryrun"],
            "stage: there is no option `--dryrun`\n  fix: did you mean `--dry-run`?",
        ),
        (
            ["--qqq=x", "list"],
            "list: there is no option `--qqq`\n  fix: see `kexec-hook help list`",
        ),
        (
            ["stage", "1>2"],
            "stage: unexpected argument `1>2`\n  fix: see `kexec-hook help stage`",
        ),
        (["unstage", "--json"], "`unstage` has nothing to print as JSON; leave out --json"),
    ],
)
def test_wrong_usage_is_answered_by_what_was_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main(words))
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"kexec-hook: {said}\n"


def test_help_of_a_code_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "kexec-missing"]) == 0
    assert capsys.readouterr().out == (
        "kexec-missing: The program kexec is not installed.\n  fix: Install kexec-tools.\n"
    )


def test_help_names_every_command_and_plumbing_only_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def listed(*words: str) -> list[str]:
        assert main(words) == 0
        return re.findall(r"^  ([a-z][a-z-]*) ", capsys.readouterr().out, re.M)

    people = [name for name, command in COMMANDS.items() if command.group != PLUMBING]
    assert listed("--help") == listed("help") == people
    assert listed("help", "--all") == list(COMMANDS)
    assert main(["help", "stage"]) == 0
    assert "--dry-run" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["-V"], ["status", "--version"]])
def test_version_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"kexec-hook {__version__}\n"


def test_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "--root", DEBIAN, "list"]) == 0
    assert main(["stage", "-n", "--quiet", "--root", "/no/such/root"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "/no/such/root" in printed.err


def test_status_check_is_one_line_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    assert box.run("status", "--check") == 3
    assert box.run("stage", "-q") == 0
    assert box.run("--check") == 0
    assert capsys.readouterr().out.splitlines() == [
        "the next reboot goes through the firmware: nothing is staged",
        "the next reboot is a kexec into 6.1.0-39-amd64",
    ]
    assert main(["--root", DEBIAN, "status", "--check"]) == 1
    assert capsys.readouterr().out == (
        f"the next reboot: unknown, {DEBIAN} is not the running system\n"
    )


@pytest.mark.parametrize("title", ["a" * 200, "日本語のタイトルはとても長い" * 9, "z"], ids=len)
@pytest.mark.parametrize("columns", [40, 80, 132, 0])
def test_list_is_as_wide_as_the_terminal(columns: int, title: str, tree: Tree) -> None:
    tree.write("boot/vmlinuz-6.1.0-39-amd64", b"x")
    tree.grubcfg(f"menuentry '{title}' {{\n linux /boot/vmlinuz-6.1.0-39-amd64 a\n}}\n")
    given = {"COLUMNS": str(columns)} if columns else {}  # a pipe takes all of it
    done = subprocess.run(
        [sys.executable, "-Xutf8", "-m", "kexec_hook", "list", "--root", str(tree), "--no-legend"],
        capture_output=True,
        env={"PATH": os.environ["PATH"], **given},
        cwd=ROOTS.parents[1],
        check=True,
    )
    (line,) = done.stdout.decode().splitlines()
    assert line.startswith("*  0  ")
    assert line.endswith("6.1.0-39-amd64")
    assert width(line) <= columns if columns else title in line


def test_kexec_line_can_be_pasted(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (("k", bytes(64)), ("a b", b"first"), ("c", b"second")):
        tree.write(f"boot/{name}", data)
    tree.grubcfg(
        "menuentry x {\n linux /boot/k 'a=$(date)' b=\\é\\'\n initrd '/boot/a b' /boot/c\n}\n"
    )
    main(["--root", str(tree), "stage", "-n", "--json"])
    plan = json.loads(capsys.readouterr().out)
    line = shell_line(
        Plan(plan["kernel"], tuple(map(InitrdFile, plan["initrds"])), plan["cmdline"], None, None)
    )
    assert line.isascii()
    (tree / "run").mkdir(exist_ok=True)
    script = line.replace("/run/", f"{tree}/run/").replace("cat '/", f"cat '{tree}/")
    script = script.replace("cat /", f"cat {tree}/")
    program = "kexec() { printf '%s\\0' \"$@\"; }; "
    done = subprocess.run(["bash", "-c", program + script], capture_output=True, check=True)
    *words, _ = done.stdout.decode().split("\0")
    assert words == [
        "--load",
        "/boot/k",
        f"--initrd={tree}/run/kexec-initrd.img",
        f"--command-line={plan['cmdline']}",
    ]
    assert (tree / "run/kexec-initrd.img").read_bytes() == b"first\0\0\0second"


def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["stage", "--no-such-option"])
    assert stop.value.code == 2
    assert main(["--root", DEBIAN, "unstage"]) == 2


def test_root_that_is_no_directory_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", "/no/such/root", "stage", "--dry-run"]) == 1
    assert capsys.readouterr().err == (
        "kexec-hook: /no/such/root: not a directory; the root must be an existing directory\n"
    )


def test_explain_has_file_and_line_of_what_decided(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(ROOTS / "debian-12-next/tree"), "explain"]) == 0
    text = capsys.readouterr().out
    assert 'next_entry="Advanced options for Debian GNU/Linux>' in text
    assert "/boot/grub/grub.cfg:14: set default=" in text
    assert 'next_entry="" is written' in text
    assert "load = yes (built in)" in text
    data = main(["--root", str(ROOTS / "debian-12-next/tree"), "explain", "--json"])
    assert data == 0
    about = [chapter["about"] for chapter in json.loads(capsys.readouterr().out)["evidence"]]
    assert about[:4] == ["configuration", "default", "root", "loaded"]


def test_sorted_list_has_the_newest_kernel_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", DEBIAN, "list", "--sort", "--json"]) == 0
    releases = [
        entry["release"]
        for entry in json.loads(capsys.readouterr().out)["entries"]
        if entry["release"]
    ]
    assert releases[0] == "6.1.0-39-amd64"
    assert releases[-1] == "6.1.0-9-amd64"


def test_hostile_title_is_harmless_on_a_terminal(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.grubcfg("menuentry 'evil \x1b]0;owned\x07 \u202e title' {\n linux /boot/k a\n}\n")
    tree.write("boot/k", b"x")
    for command in (["stage", "--dry-run"], ["list"], ["explain"], ["status"]):
        main(["--root", str(tree), *command])
        printed = capsys.readouterr()
        text = printed.out + printed.err
        assert "evil" in text
        assert not set(text) & set("\x1b\x07\u202e")


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_without_no_color(variable: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    env = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "NO_COLOR": variable,
        "PYTHONPATH": str(ROOTS.parents[1]),
    }
    argv = [sys.executable, "-m", "kexec_hook", "--root", DEBIAN, "list"]
    with subprocess.Popen(argv, stdout=theirs, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            text += data
    os.close(ours)
    assert process.returncode == 0
    assert (b"\x1b[" in text) is coloured


def test_reader_that_goes_away_is_no_error() -> None:
    argv = f"{sys.executable} -m kexec_hook --root {DEBIAN} explain | head -n 1"
    done = subprocess.run(
        ["sh", "-c", argv], capture_output=True, text=True, cwd=ROOTS.parents[1], check=True
    )
    assert done.stdout == "configuration\n"
    assert done.stderr == ""


# status


def test_status_tells_what_each_way_to_reboot_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.run("status", "--json")
    before = json.loads(capsys.readouterr().out)
    assert before["staged"] is None
    assert set(before["reboot"].values()) == {"firmware"}
    assert before["running"]["booted_by"] == "GRUB"
    box.run("stage")
    capsys.readouterr()
    box.run("status", "--json")
    staged = json.loads(capsys.readouterr().out)
    assert staged["staged"]["right"] is True
    assert staged["reboot"] == {
        "reboot": "kexec",
        "systemctl reboot": "kexec",
        "shutdown -r now": "kexec",
        "coldreboot": "firmware",
    }


def test_status_knows_where_kernels_are_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.write("boot/vmlinuz-9.9.9-1-amd64.dpkg-new", "")
    for release, installed in (("6.2.0-1.fc43", True), ("7.0.0-1.fc43", False)):
        (box / f"boot/{'0123456789abcdef' * 2}/{release}").mkdir(parents=True)
        if installed:
            box.write(f"boot/{'0123456789abcdef' * 2}/{release}/linux", "")
    box.run("status", "--json")
    assert json.loads(capsys.readouterr().out)["newest_installed"] == "6.2.0-1.fc43"


def test_status_sees_that_what_is_staged_is_not_right_any_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.run("stage")
    config = box / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace('set default="0"', 'set default="1>4"'))
    capsys.readouterr()
    box.run("status", "--json")
    staged = json.loads(capsys.readouterr().out)["staged"]
    assert staged["right"] is False
    assert "something else" in staged["why"]
    assert box.run("status") == 0
    assert "something else" in capsys.readouterr().out


def test_status_without_rights_does_not_say_whose_an_image_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.run("stage")
    (box / "run/kexec-hook").chmod(
        0o755
    )  # a directory that is not as ours stands for one that is closed to us
    capsys.readouterr()
    box.run("status")
    text = capsys.readouterr().out
    assert "staged        not known: " in text
    assert "is not kexec-hook's" not in text
    box.run("status", "--json")
    assert json.loads(capsys.readouterr().out)["reboot"]["reboot"] == "unknown"


def test_status_tells_that_a_reboot_is_due_in_the_words_of_who_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.write("run/reboot-required", "*** System restart required ***\n")
    box.write("run/reboot-required.pkgs", "linux-image-6.1.0-39-amd64\nlibc6\nlibc6\n")
    box.run()
    assert (
        "reboot due    *** System restart required *** (libc6, linux-image-6.1.0-39-amd64)\n"
        in capsys.readouterr().out
    )


NEEDRESTART = """\
#!/bin/sh
[ "$*" = "-b -k -r l" ] || exit 1
echo NEEDRESTART-VER: 3.6
echo NEEDRESTART-KCUR: 6.1.0-37-amd64
echo NEEDRESTART-KEXP: 6.1.0-39-amd64
echo NEEDRESTART-KSTA: @STATE@
"""


@pytest.mark.parametrize(("state", "is_due"), [(0, False), (1, False), (2, True), (3, True)])
def test_needrestart_is_asked_whether_a_reboot_is_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: int, is_due: bool
) -> None:
    box = Box(tmp_path)
    box.programs("needrestart", NEEDRESTART.replace("@STATE@", str(state)))
    box.run()
    line = "reboot due    needrestart: pending kernel upgrade to 6.1.0-39-amd64\n"
    assert (line in capsys.readouterr().out) is is_due
    box.run("run", "--source=apt")
    first = "reboot due" if is_due else "next reboot"
    line = f"kexec-hook: {first}: kexec into Debian GNU/Linux, 6.1.0-39-amd64 (staged in "
    assert capsys.readouterr().out.startswith(line)


def test_apt_is_told_that_a_reboot_is_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    box.write("run/reboot-required", "")
    box.run("run", "--source=apt")
    line = "kexec-hook: reboot due: kexec into Debian GNU/Linux, 6.1.0-39-amd64 (staged in "
    assert capsys.readouterr().out.startswith(line)


def test_molly_guard_is_asked(tmp_path: Path) -> None:
    """Its program stands where `reboot` was; what it wraps is called by it alone."""
    box = Box(tmp_path)
    for name in ("molly-guard", "reboot"):
        box.write(f"lib/molly-guard/{name}", "")
    box.programs(
        "reboot",
        '#!/bin/sh\necho "$SYSTEMCTL_SKIP_AUTO_KEXEC asked" >> @LIB@/guard; exit $(cat @LIB@/answer)\n',
    )
    (box.lib / "answer").write_text("0")
    assert box.run("reboot", "--yes", "-q") == 0
    assert box.loaded
    assert box.run("coldreboot") == 0
    (box.lib / "answer").write_text("9")
    assert box.run("reboot", "-y") == 3
    assert (box.lib / "guard").read_text().splitlines() == [" asked", "1 asked", " asked"]
    log = box.lib / "systemctl.log"
    assert not log.exists() or "reboot" not in log.read_text().split()


def test_nothing_is_loaded_where_nobody_would_approve_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    (box.lib / "active").write_text("inactive\n")
    assert box.run("run", "--source=apt") == 0
    line = capsys.readouterr().out
    assert line.startswith("kexec-hook: not staged: kexec-hook.service is not active")
    assert not box.loaded
    box.run("status", "--json")
    assert set(json.loads(capsys.readouterr().out)["reboot"].values()) == {"firmware"}
    assert box.run("stage", "--json") == 3
    (objection,) = json.loads(capsys.readouterr().out)["objections"]
    assert (objection["code"], objection["fix"]) == (
        "unit-inactive",
        "systemctl enable --now kexec-hook.service",
    )


def test_status_verifies_an_initrd_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    initrd = box / "boot/initrd.img-6.1.0-39-amd64"
    packed = gzip.compress(cpio())
    initrd.write_bytes(packed)
    assert box.run("status", "--verify", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["verified"]
    assert found == {
        "initrd": "/boot/initrd.img-6.1.0-39-amd64",
        "sound": True,
        "why": "",
        "unchecked": [],
    }
    initrd.write_bytes(packed[: len(packed) // 2])
    box.run("status", "--verify", "--json")
    (found,) = json.loads(capsys.readouterr().out)["verified"]
    assert found["sound"] is False
    assert box.run("status", "--verify") == 0
    assert "verified      /boot/initrd.img-6.1.0-39-amd64: " in capsys.readouterr().out


def test_status_advises_to_install_the_hooks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    shutil.rmtree(box / "lib/systemd")
    box.run("status")
    assert "kexec-hook hooks install" in capsys.readouterr().out


def test_stage_json_is_what_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOTS.parents[1] / "docs/json.md").read_text()
    chapters = {part.partition("\n")[0].split("`")[1]: part for part in text.split("\n## ")[1:]}
    for command, chapter in (
        ("stage --dry-run --json", "stage --json"),
        ("status --json", "status --json"),
        ("grub-eval --json", "grub-eval --json"),
    ):
        argv = command.split()
        argv = (
            ["grub-eval", DEBIAN, "--json"] if argv[0] == "grub-eval" else ["--root", DEBIAN, *argv]
        )
        main(argv)
        fields = set(json.loads(capsys.readouterr().out)) - {"schema"}
        assert {field for field in fields if f"`{field}`" not in chapters[chapter]} == set()


def started(box: Box, words: list[str]) -> list[str]:
    """The words that start it in a process of its own."""
    code = (
        "import sys\nfrom kexec_hook.__main__ import run\n"
        "from kexec_hook.system.host import Host\nfrom kexec_hook.system.process import Programs\n"
        f"sys.argv[1:] = {words!r}\n"
        f"run(Host({str(box.root)!r}, Programs(({str(box.bin)!r},)), {os.geteuid()}, True))"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(("words", "status"), [(["run", "--source=apt"], 0), (["list"], 1)])
def test_full_disk_behind_standard_output_fails_no_package_manager(
    tmp_path: Path, words: list[str], status: int
) -> None:
    box = Box(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            started(box, words),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOTS.parents[1],
        )
    said = "kexec-hook: standard output cannot be written: no space left on device\n"
    assert (done.stderr, done.returncode) == (said, status)
    assert box.loaded == (words[0] == "run")


def test_interrupt_is_one_line_and_ends_it_as_other_programs(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.programs("systemctl", "#!/bin/sh\nkill -INT $PPID\nsleep 9\n")
    # Where the tests run in the background of a script, they begin with SIGINT ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = box.start("status", limits=heard)
    assert process.communicate(timeout=60) == ("", "kexec-hook: interrupted\n")
    assert process.returncode == -signal.SIGINT


FAILURES = {
    "settings": ("etc/kexec-hook.conf", "lod = no\n", ["status", "list", "explain", "stage"]),
    "no rights": ("", "", ["stage"]),
}


@pytest.mark.parametrize(
    ("path", "text", "command"),
    [(path, text, one) for path, text, commands in FAILURES.values() for one in commands],
)
def test_failure_is_a_document_where_one_is_asked_for(
    tmp_path: Path, path: str, text: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path)
    host = box.host if path else box.host._replace(owner=os.geteuid() + 1)
    if path:
        box.write(path, text)
    assert main([command, "--json"], host) == 1
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert set(answer) == {"schema", "error"}
    assert printed.err == f"kexec-hook: {answer['error']}\n"
    assert main([command, "--json", "-q"], host) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [["stage", "--json"], ["grub-eval", "/no/such", "--json"]])
def test_wrong_use_of_a_root_is_a_document_too(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", DEBIAN, *words]) == 2
    assert json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("words", [["run", "--source=apt"], ["list", "--json"], ["finalize"]])
def test_closed_standard_file_is_as_one_that_nobody_reads(
    tmp_path: Path, closed: str, words: list[str]
) -> None:
    """Else a lock or the worker's answer gets its number."""
    box = Box(tmp_path)
    box.run("stage")
    box.rebooting()
    box.write("sys/kernel/kexec_loaded", "0\n" if words[0] == "run" else "1\n")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *started(box, words)],
        capture_output=True,
        cwd=ROOTS.parents[1],
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert box.loaded
    assert box.approved == (words[0] == "finalize")
    if words[0] == "list" and "1>" not in closed:
        assert json.loads(done.stdout)["entries"]


def test_every_option_that_takes_a_word_is_known_before_its_command_is() -> None:
    actions = [action for name in COMMANDS for action in make_parser(name)._actions]
    taking = {name for action in actions if action.nargs != 0 for name in action.option_strings}
    assert taking == set(VALUED)
