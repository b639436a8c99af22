"""Whatever lies on the disk: an answer as GRUB would have it or a refusal that points, in time, and plain text."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, Union

import pytest

from kexec_hook.cli import main
from tests.tree import Content, Tree

ROOTS = Path(__file__).resolve().parent / "roots"
STAND_INS = ROOTS / "debian-12/tree/boot"
TWO = """menuentry One --id one {
    linux /boot/vmlinuz root=/dev/sda1 first
    initrd /boot/initrd.img
}
menuentry Two --id two {
    linux /boot/vmlinuz root=/dev/sda1 second
    initrd /boot/initrd.img
}
"""
SAVED = 'load_env\nif [ "$saved_entry" ]; then set default="$saved_entry"; fi\n'
SIGNATURE = "# GRUB Environment Block\n"
COMMANDS = (
    ("stage", "--dry-run"),
    ("list",),
    ("explain",),
    ("stage", "--dry-run", "--json"),
    ("list", "--json"),
)


class Told(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join((self.out + self.err).split())


Root = Union[str, "os.PathLike[str]"]


class Ask(Protocol):
    """Run a command on a root, within a minute; what it prints is plain text."""

    def __call__(self, root: Root, *argv: str) -> Told: ...


@pytest.fixture
def boot(tree: Tree) -> Tree:
    """A root with a kernel and an initrd, and no configuration yet."""
    tree.write("boot/vmlinuz", (STAND_INS / "vmlinuz-6.1.0-39-amd64").read_bytes())
    tree.write("boot/initrd.img", (STAND_INS / "initrd.img-6.1.0-39-amd64").read_bytes())
    return tree


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(root: Root, *argv: str) -> Told:
        with deadline(60):
            status = main(["--root", os.fspath(root), *argv])
        told = Told(status, *capsys.readouterr())
        assert "Traceback" not in told.out + told.err
        assert moves_the_cursor(told.out + told.err) == []
        assert len(told.out + told.err) < 100_000
        return told

    return run


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"it takes more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def moves_the_cursor(text: str) -> list[str]:
    """Control characters, and those that turn the direction of writing."""
    return sorted(
        {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    )


def boots(ask: Ask, root: Root, title: str) -> None:
    """All commands agree that this entry is the default and that it boots."""
    for command in COMMANDS:
        assert ask(root, *command).status == 0
    assert json.loads(ask(root, "stage", "--dry-run", "--json").out)["entry"]["titles"] == [title]
    assert [
        line.split()[2] for line in ask(root, "list").out.splitlines() if line.startswith("*")
    ] == [title]


def declines(ask: Ask, root: Root, *words: str, entries: bool = False) -> None:
    """All commands decline, and say these words."""
    for command in COMMANDS:
        told = ask(root, *command)
        assert told.status == (3 if command[0] != "list" else 0 if entries else 1)
        if command[0] == "stage":
            assert [word for word in words if word not in told.text] == []
    said = json.loads(ask(root, "stage", "--dry-run", "--json").out)
    assert said["outcome"] == "declined"
    assert said["commands"] == []
    assert said["objections"]


# --- grubenv ---


def test_without_grubenv_there_is_no_saved_entry(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(SAVED + TWO)
    boots(ask, boot, "One")
    assert "file `/boot/grub/grubenv' not found" in ask(boot, "-v", "stage", "--dry-run").text


@pytest.mark.parametrize(
    ("block", "title"),
    [
        # lib/envblk.c asks for the signature and takes lines as far as they go, whatever the size
        (SIGNATURE + "saved_entry=two\n" + "#" * 700, "Two"),
        (SIGNATURE + "saved_entry=two\nnext_en", "Two"),
        (SIGNATURE + "saved_entry=tw", "One"),
        (SIGNATURE + "saved_ent", "One"),
        (SIGNATURE[:12], "One"),
        ("", "One"),
        ("saved_entry=two\n", "One"),
        ("\0" * 1024, "One"),
        (SIGNATURE + "saved_entry=two\n" + "\0" * 900, "Two"),
        (SIGNATURE + "saved_entry=\x1b[2Jtwo\n", "One"),
    ],
)
def test_a_torn_grubenv_tells_as_much_as_grub_reads_of_it(
    boot: Tree, ask: Ask, block: Content, title: str
) -> None:
    boot.grubcfg(SAVED + TWO)
    boot.write("boot/grub/grubenv", block)
    boots(ask, boot, title)


def test_a_grubenv_too_large_to_look_at_leaves_the_choice_unknown(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(SAVED + TWO)
    make_odd(boot / "boot/grub/grubenv", "100 MB")
    told = ask(boot, "stage", "--dry-run")
    assert told.status == 3
    assert "what GRUB boots cannot be known" in told.text
    assert "larger than 64 MiB" in told.text


@pytest.mark.parametrize("odd", ["directory", "fifo", "dangling link", "looping link"])
def test_what_is_no_grubenv_says_nothing(boot: Tree, ask: Ask, odd: str) -> None:
    boot.grubcfg(SAVED + TWO)
    make_odd(boot / "boot/grub/grubenv", odd)
    boots(ask, boot, "One")
    assert "/boot/grub/grub.cfg:1" in ask(boot, "-v", "stage", "--dry-run").text


# --- what stands where grub.cfg should ---


def make_odd(path: Path, odd: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if odd == "directory":
        path.mkdir()
    elif odd == "fifo":
        os.mkfifo(path)
    elif odd == "socket":
        os.mknod(path, 0o140644)
    elif odd == "100 MB":
        with open(path, "wb") as stream:
            stream.truncate(100 << 20)
    else:
        path.symlink_to(
            {
                "dangling link": "gone",
                "looping link": path.name,
                "link out": "../../../../../etc/passwd",
            }[odd]
        )


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ("directory", "is a directory"),
        ("fifo", "is not a regular file"),
        ("socket", "is not a regular file"),
        ("dangling link", "is a broken symbolic link"),
        ("looping link", "is a broken symbolic link"),
        ("link out", "is a broken symbolic link"),
        ("100 MB", "is larger than 64 MiB"),
    ],
)
def test_what_is_no_configuration_is_named(boot: Tree, ask: Ask, odd: str, why: str) -> None:
    make_odd(boot / "boot/grub/grub.cfg", odd)
    declines(ask, boot, "/boot/grub/grub.cfg cannot be read", f"/boot/grub/grub.cfg {why}")


def test_no_configuration_at_all(boot: Tree, ask: Ask) -> None:
    declines(ask, boot, "there is no GRUB configuration", "/boot/grub or /boot/grub2")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"# nothing\n",
        b"\0" * 4096,
        bytes(range(256)) * 20,
        b"\xff\xfe" + TWO.encode("utf-16-le"),
        b"}",
    ],
    ids=["empty", "blank", "comment", "zeros", "bytes", "utf-16", "brace"],
)
def test_a_configuration_without_a_menu(boot: Tree, ask: Ask, content: bytes) -> None:
    boot.write("boot/grub/grub.cfg", content)
    declines(ask, boot, "/boot/grub/grub.cfg has no menu entry")


def test_a_configuration_that_was_cut_off_keeps_its_whole_entries(boot: Tree, ask: Ask) -> None:
    """Each cut gives an answer; with both entries whole it is the first one's."""
    for length in range(0, len(TWO), 7):
        boot.grubcfg(TWO[:length])
        told = ask(boot, "stage", "--dry-run", "--json")
        said = json.loads(told.out)
        first = length >= TWO.index("}") + 1
        assert told.status == (0 if first else 3)
        assert (said["entry"] or {}).get("titles") == (["One"] if first else None)


# --- odd bytes ---


def test_carriage_returns_are_not_seen(boot: Tree, ask: Ask) -> None:
    boot.grubcfg((SAVED + TWO).replace("\n", "\r\n"))
    boot.grubenv("saved_entry=two")
    boots(ask, boot, "Two")
    assert json.loads(ask(boot, "stage", "--dry-run", "--json").out)["cmdline"].endswith(" second")


def test_a_grubenv_with_carriage_returns_names_nothing(boot: Tree, ask: Ask) -> None:
    """GRUB reads it as a block: the value is `two` and a carriage return."""
    boot.grubcfg(SAVED + TWO)
    boot.grubenv("saved_entry=two\r")
    boots(ask, boot, "One")


def test_invalid_utf_8_is_kept_to_the_byte_and_shown_harmlessly(boot: Tree, ask: Ask) -> None:
    boot.write(
        "boot/grub/grub.cfg",
        TWO.encode().replace(b"first", b"x=\xff\xc3").replace(b"One", b"On\xe9"),
    )
    told = ask(boot, "stage", "--dry-run", "--json")
    said = json.loads(told.out)
    assert told.status == 0
    assert os.fsencode(said["entry"]["titles"][0]) == b"On\xe9"
    assert os.fsencode(said["cmdline"]).endswith(b" x=\xff\xc3")
    for command in COMMANDS:
        assert ask(boot, *command).status == 0
    ask(boot, "stage", "--dry-run").out.encode()  # no half of a character is left over


HOSTILE = "'\x1b[2J\x1b]0;owned\x07\x1b]52;c;eA==\x07\x08\x9b31m\u202etxt\u2028'"


@pytest.mark.parametrize("where", ["One", "one", "first", "/boot/vmlinuz", "Two"])
def test_titles_ids_and_words_with_escape_codes_are_made_harmless(
    boot: Tree, ask: Ask, where: str
) -> None:
    boot.grubcfg(
        TWO.replace(where, HOSTILE, 1)
        + "echo "
        + HOSTILE
        + "\n"
        + HOSTILE
        + "\nset x=$"
        + HOSTILE
        + "\n"
    )
    for command in (
        *COMMANDS,
        ("stage", "--dry-run", "--entry", HOSTILE.strip("'")),
        ("explain", "--json"),
    ):
        for verbose in ((), ("-v",)):
            assert ask(boot, *verbose, *command).status == (
                0
                if where != "/boot/vmlinuz" and "--entry" not in command
                else ask(boot, *command).status
            )


def test_a_file_name_with_escape_codes_is_made_harmless(boot: Tree, ask: Ask) -> None:
    boot.grubcfg("set default=two\nsource $prefix/" + HOSTILE + "\n" + TWO)
    boot.write("boot/grub/" + HOSTILE.strip("'"), "nonsense (\n")
    assert ask(boot, "-v", "stage", "--dry-run").status == 0
    assert ask(boot, "explain").status == 0


# --- no end ---


def test_a_file_that_sources_itself_ends_where_grub_gives_up(boot: Tree, ask: Ask) -> None:
    """`maximum recursion depth exceeded`, 64 nodes deep; what was defined until then is the menu."""
    boot.grubcfg(TWO + "source $prefix/grub.cfg\n")
    boots(ask, boot, "One")
    assert (
        "maximum recursion depth exceeded (/boot/grub/grub.cfg:"
        in ask(boot, "-v", "stage", "--dry-run").text
    )


def test_two_files_that_source_each_other(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(TWO + "source $prefix/other.cfg\n")
    boot.write("boot/grub/other.cfg", "source $prefix/grub.cfg\n")
    assert ask(boot, "stage", "--dry-run").status == 0


def test_a_file_that_enters_itself(boot: Tree, ask: Ask) -> None:
    """configfile opens a menu of its own each time; GRUB would never show the first."""
    boot.grubcfg(TWO + "configfile $prefix/grub.cfg\n")
    assert ask(boot, "stage", "--dry-run").status in (0, 3)


BUSY = "evaluating takes too long"  # on a machine that does much else; grub/test_fuel.py


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        ("while true; do true; done", "this runs for ever"),
        ("a=xx; while true; do a=$a$a; done", "the values of variables grow without end (64 MiB)"),
    ],
)
def test_what_has_no_end_is_declined_and_points(boot: Tree, ask: Ask, loop: str, why: str) -> None:
    boot.grubcfg(TWO + loop + "\n")
    told = ask(boot, "stage", "--dry-run")
    assert told.status == 3
    reasons = [f"GRUB's configuration cannot be evaluated: {reason}" for reason in (why, BUSY)]
    assert [reason for reason in reasons if reason in told.text]
    assert "(/boot/grub/grub.cfg:9)" in told.text


def test_the_body_of_an_entry_without_end_is_declined_and_points(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(TWO.replace("    linux", "    while true; do true; done\n    linux", 1))
    told = ask(boot, "stage", "--dry-run")
    assert told.status == 3
    assert "this runs for ever" in told.text or BUSY in told.text
    assert "(/boot/grub/grub.cfg:2)" in told.text
    assert (
        json.loads(ask(boot, "stage", "--dry-run", "--entry", "two", "--json").out)["outcome"]
        == "would-stage"
    )


def test_a_line_of_megabytes_is_not_printed(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(TWO + "a=" + "x" * (5 << 20) + "\nb={" + "y" * (5 << 20) + "\n")
    for command in (("stage", "--dry-run"), ("explain",)):
        ask(boot, "-v", *command)


def test_a_title_of_megabytes_is_not_printed(boot: Tree, ask: Ask) -> None:
    """GRUB itself takes words of up to 8191 bytes."""
    boot.grubcfg(TWO.replace("One", "T" * 8000).replace("first", "f" * 8000))
    for command in COMMANDS:
        assert ask(boot, *command).status in (0, 3)


def test_deep_nesting(boot: Tree, ask: Ask) -> None:
    boot.grubcfg(
        TWO + "if true; then\n" * 5000 + "fi\n" * 5000 + "submenu x {\n" * 300 + "}\n" * 300
    )
    assert ask(boot, "stage", "--dry-run").status in (0, 3)
    assert ask(boot, "list").status in (0, 1)


# --- files that an entry names ---


@pytest.mark.parametrize(
    "odd", ["directory", "fifo", "socket", "dangling link", "looping link", "link out"]
)
@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img"])
def test_a_kernel_or_initrd_that_is_no_file(boot: Tree, ask: Ask, odd: str, name: str) -> None:
    boot.grubcfg(TWO)
    (boot / f"boot/{name}").unlink()
    make_odd(boot / f"boot/{name}", odd)
    declines(ask, boot, "/boot/grub/grub.cfg:", entries=True)


@pytest.mark.parametrize("odd", ["directory", "fifo", "dangling link", "looping link", "100 MB"])
@pytest.mark.parametrize(
    "name", ["boot/grub/i386-pc/modinfo.sh", "proc/cmdline", "proc/self/mountinfo"]
)
def test_odd_files_around_do_not_matter(boot: Tree, ask: Ask, name: str, odd: str) -> None:
    boot.grubcfg(TWO)
    make_odd(boot / name, odd)
    assert ask(boot, "stage", "--dry-run").status == 0


@pytest.mark.parametrize("odd", ["directory", "fifo", "dangling link", "looping link", "100 MB"])
@pytest.mark.parametrize("name", ["etc/os-release", "etc/fstab"])
def test_a_file_that_the_decision_hangs_on_may_be_missing_but_not_odd(
    boot: Tree, ask: Ask, name: str, odd: str
) -> None:
    boot.grubcfg(TWO)
    make_odd(boot / name, odd)
    told = ask(boot, "stage", "--dry-run")
    if odd == "dangling link":
        assert told.status == 0
    else:
        assert told.status == 3
        assert f"/{name}: " in told.text


# --- snippets of the Boot Loader Specification ---


Snippets = tuple[Path, Path, Path]  # the root, the snippet of its older kernel, and of its newest


@pytest.fixture(params=["fedora-bls", "bls-2.14"])
def snippets(request: pytest.FixtureRequest, tmp_path: Path) -> Snippets:
    """A tree whose kernels come from snippets."""
    shutil.copytree(ROOTS / request.param / "tree", tmp_path / "tree", symlinks=True)
    older, newest = sorted((tmp_path / "tree/boot/loader/entries").iterdir())
    return tmp_path / "tree", older, newest


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def kernels(ask: Ask, root: Root) -> list[str]:
    said = json.loads(ask(root, "list", "--json").out)
    return [entry["kernel"] for entry in said["entries"] if entry["kernel"]]


def test_a_snippet_without_its_kernel_makes_no_entry(snippets: Snippets, ask: Ask) -> None:
    root, older, newest = snippets
    newest.write_text("".join(line for line in lines_of(newest) if not line.startswith("linux")))
    assert [name.split("/")[3] for name in kernels(ask, root)] == [
        older.name.partition("-")[2][: -len(".conf")]
    ]
    assert ask(root, "stage", "--dry-run").status == 0


def test_a_blank_line_ends_a_snippet(snippets: Snippets, ask: Ask) -> None:
    """commands/blscfg.c and blsuki.c: what follows a blank line, or a key without a value, is not read."""
    root, _, newest = snippets
    lines = lines_of(newest)
    at = next(number for number, line in enumerate(lines) if line.startswith("linux"))
    for torn in ("\n", "options\n"):
        newest.write_text("".join([*lines[:at], torn, *lines[at:]]))
        assert len(kernels(ask, root)) == 1


def test_a_snippet_that_was_cut_off(snippets: Snippets, ask: Ask) -> None:
    """Wherever it ends, all commands answer; without the whole name of its kernel it does not boot."""
    root, older, newest = snippets
    whole = newest.read_bytes()
    older.unlink()
    named = whole.index(b"\n", whole.index(b"\nlinux") + 1)
    for length in [*range(0, len(whole), 23), named - 1, named]:
        newest.write_bytes(whole[:length])
        told = ask(root, "stage", "--dry-run", "--json")
        assert told.status == 3, "its initrd is missing, or it is no entry"
        assert length >= named or json.loads(told.out)["kernel"] is None
    newest.write_bytes(whole)
    assert ask(root, "stage", "--dry-run").status == 0


@pytest.mark.parametrize("odd", ["directory", "fifo", "dangling link", "looping link", "100 MB"])
def test_what_is_no_snippet_makes_no_entry(snippets: Snippets, ask: Ask, odd: str) -> None:
    root, _, newest = snippets
    make_odd(newest.with_name("zzz-9.9.9.conf"), odd)
    told = ask(root, "stage", "--dry-run")
    assert told.status == 0 or (told.status == 3 and "/loader/entries/zzz-9.9.9.conf" in told.text)
    assert len(kernels(ask, root)) <= 2


def test_a_snippet_with_escape_codes_and_torn_characters(snippets: Snippets, ask: Ask) -> None:
    root, _, newest = snippets
    text = newest.read_bytes().replace(b"title      ", b"title      \x1b[2J\xff\x9b\xc3")
    newest.write_bytes(text.replace(b"rhgb", b"\x1b]0;x\x07").replace(b"quiet", b"\xe9\x1b[1m"))
    for command in COMMANDS:
        for verbose in ((), ("-v",)):
            assert ask(root, *verbose, *command).status == 0


# --- without rights ---


@pytest.fixture
def public(boot: Tree) -> Iterator[Path]:
    """A copy of the root where others can get at it: pytest's own directories are root's alone."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        shutil.copytree(boot.root, f"{directory}/root", symlinks=True)
        os.chmod(f"{directory}/root", 0o755)
        yield Path(directory) / "root"


@contextmanager
def nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield  # whoever runs the tests has no rights already
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def as_nobody(ask: Ask, root: Root, *argv: str) -> Told:
    ask(root, *argv)  # so that everything is imported by now
    with nobody():
        return ask(root, *argv)


@pytest.mark.parametrize("forbidden", ["boot/grub/grub.cfg", "boot/grub"])
def test_a_configuration_that_may_not_be_read_is_named(
    public: Path, ask: Ask, forbidden: str
) -> None:
    """Debian's grub.cfg with a password in it, and Fedora's /boot/grub2."""
    (public / "boot/grub").mkdir()
    (public / "boot/grub/grub.cfg").write_text(TWO)
    (public / forbidden).chmod(0)
    for command in COMMANDS:
        told = as_nobody(ask, public, *command)
        assert told.status == 1
        assert "/boot/grub/grub.cfg cannot be read by this user" in told.text
        assert "run it with sudo" in told.text


@pytest.mark.parametrize("forbidden", ["boot/vmlinuz", "etc/os-release", "boot/efi"])
def test_other_files_that_may_not_be_read_are_noted(public: Path, ask: Ask, forbidden: str) -> None:
    """Ubuntu's kernels, the mounted ESP: a dry run says what it could not look at, and what it knows."""
    (public / "boot/grub").mkdir()
    (public / "boot/grub/grub.cfg").write_text(SAVED + TWO)
    for name in (
        "etc/os-release",
        "boot/grub/grubenv",
        *(["boot/efi/EFI/debian/x"] if "efi" in forbidden else []),
    ):
        (public / name).parent.mkdir(parents=True, exist_ok=True)
        (public / name).write_text("ID=debian\n")
    (public / "sys/firmware/efi").mkdir(parents=True)
    (public / forbidden).chmod(0)
    told = as_nobody(ask, public, "stage", "--dry-run")
    assert told.status == 0
    assert f"note: /{forbidden}" in told.text
    assert "is not readable by this user" in told.text


def test_the_running_machine_can_be_asked_by_anybody(ask: Ask) -> None:
    told = as_nobody(ask, "/", "stage", "--dry-run")
    assert told.status in (0, 3)
    told = as_nobody(ask, "/", "stage", "--dry-run", "--json")
    assert json.loads(told.out)["outcome"] in ("would-stage", "unchanged", "declined")
