"""Below a root directory: links never leave it, everything read is remembered, what is forbidden is not missing."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.system.sysroot import (
    DirEntry,
    LinkLoopError,
    MissingError,
    NotPermittedError,
    Sysroot,
    SysrootError,
    TooLargeError,
)
from tests.ordinary import OrdinaryUser, close
from tests.tree import Tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Tree:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    return Tree(tmp_path / "root")


# --- reading ---


def test_a_path_starts_at_the_root_with_or_without_a_slash(root: Tree) -> None:
    root.write("etc/x", "hello")
    assert Sysroot(root).read("/etc/x") == b"hello"
    assert Sysroot(root).text("etc//./x") == "hello"


def test_bytes_that_are_not_utf8_survive(root: Tree) -> None:
    root.write("x", b"a\xffb\r\n")
    assert Sysroot(root).text("/x").encode("utf-8", "surrogateescape") == b"a\xffb\r\n"


def test_a_name_that_is_not_utf8_is_found(root: Tree) -> None:
    (root / os.fsdecode(b"n\xff")).write_text("y")
    assert Sysroot(root).listdir("/") == ["n\udcff"]
    assert Sysroot(root).text("/n\udcff") == "y"


@pytest.mark.parametrize(
    "path",
    [
        "/gone",
        "/gone/x",
        "/file/x",
        "/file/",
        "/file/..",
        "/file/./",
        "/a\0b",
        "/\ud800",
        "/" + "n" * 300,
    ],
)
def test_what_cannot_be_there_is_missing(root: Tree, path: str) -> None:
    root.touch("file")
    sysroot = Sysroot(root)
    assert sysroot.stat(path) is None
    assert not sysroot.exists(path)
    assert not sysroot.is_file(path)
    assert not sysroot.is_dir(path)
    assert sysroot.readlink(path) is None
    assert sysroot.listdir(path) == []
    with pytest.raises(MissingError):
        sysroot.read(path)


def test_a_missing_file_is_named(root: Tree) -> None:
    with pytest.raises(MissingError) as caught:
        Sysroot(root).read("/boot/grub/grub.cfg")
    assert str(caught.value) == "/boot/grub/grub.cfg: no such file or directory"


def test_a_directory_is_not_read_as_a_file(root: Tree) -> None:
    root.touch("d/x")
    with pytest.raises(SysrootError) as caught:
        Sysroot(root).read("/d")
    assert str(caught.value) == "/d: not a regular file"


def test_a_fifo_is_refused_without_waiting_for_its_writer(root: Tree) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(SysrootError) as caught:
        Sysroot(root).read("/fifo")
    assert str(caught.value) == "/fifo: not a regular file"


def test_a_file_above_the_limit_is_too_large(root: Tree) -> None:
    root.write("x", "12345")
    assert Sysroot(root).read("/x", limit=5) == b"12345"
    with pytest.raises(TooLargeError) as caught:
        Sysroot(root).read("/x", limit=4)
    assert str(caught.value) == "/x: larger than 4 bytes"


def test_the_head_of_a_file_may_be_all_that_is_wanted(root: Tree) -> None:
    root.write("x", "12345")
    assert Sysroot(root).head("/x", 3) == b"123"
    assert Sysroot(root).head("/x", 99) == b"12345"


def test_a_file_that_is_all_holes_is_not_read_to_its_end(root: Tree) -> None:
    root.touch("x")
    os.truncate(root / "x", 1 << 33)
    with pytest.raises(TooLargeError) as caught:
        Sysroot(root).read("/x")
    assert str(caught.value) == "/x: larger than 64 MiB"


def test_listing_is_sorted_and_does_not_follow_links(root: Tree) -> None:
    root.touch("d/b")
    root.touch("d/a/x")
    root.link("d/c", "a")
    os.mkfifo(root / "d/p")
    assert Sysroot(root).entries("/d") == [
        DirEntry("a", "dir"),
        DirEntry("b", "file"),
        DirEntry("c", "link"),
        DirEntry("p", "other"),
    ]


def test_a_root_that_is_no_directory_is_an_error(root: Tree) -> None:
    with pytest.raises(SysrootError) as caught:
        Sysroot(root.touch("x") / "x")
    assert str(caught.value) == f"{root}/x: not a directory; the root must be an existing directory"


def test_only_slash_is_the_host(root: Tree) -> None:
    assert Sysroot("/").is_host
    assert Sysroot("//..").is_host
    assert not Sysroot(root).is_host


# --- links stay inside ---


@pytest.mark.parametrize(
    "to",
    [
        "/secret",
        "../secret",
        "../../../../../../../../secret",
        "/../secret",
        "d/../../../secret",
        "./././../secret",
    ],
)
def test_a_link_never_leaves_the_root(root: Tree, to: str) -> None:
    root.write("secret", "inside")
    root.touch("d/x")
    (root.root.parent / "secret").write_text("outside")
    root.link("link", to)
    assert Sysroot(root).text("/link") == "inside"
    assert Sysroot(root).resolve("/link") == "/secret"
    assert Sysroot(root).host("/link") == str(root / "secret")


def test_a_directory_link_out_of_the_root_leads_nowhere(root: Tree) -> None:
    root.link("boot", str(root.root.parent / "outside"))
    root.link("up", "../outside")
    assert not Sysroot(root).exists("/boot/secret")
    assert not Sysroot(root).exists("/up/secret")
    assert Sysroot(root).listdir("/boot") == []


def test_dot_dot_stops_at_the_root(root: Tree) -> None:
    root.write("x", "inside")
    (root.root.parent / "x").write_text("outside")
    assert Sysroot(root).text("/../../x") == "inside"
    assert not Sysroot(root).exists(f"/../{root.root.name}/x")


def test_dot_dot_after_a_link_is_where_the_link_led(root: Tree) -> None:
    root.touch("a/b/c")
    root.write("a/x", "right")
    root.write("x", "wrong")
    root.link("l", "a/b")
    assert Sysroot(root).text("/l/../x") == "right"


@pytest.mark.parametrize(
    "links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "a/a"}, {"a": "./b/c", "b": "a/d"}]
)
def test_a_loop_of_links_ends_and_is_no_file(root: Tree, links: dict[str, str]) -> None:
    for name, to in links.items():
        root.link(name, to)
    sysroot = Sysroot(root)
    assert not sysroot.exists("/a")
    assert sysroot.is_loop("/a")
    assert not sysroot.is_loop("/")
    assert not sysroot.is_loop("/missing")
    with pytest.raises(LinkLoopError) as caught:
        sysroot.read("/a")
    assert str(caught.value) == "/a: its symbolic links lead in a circle"


def test_forty_links_are_followed_and_not_one_more(root: Tree) -> None:
    root.touch("0")
    for n in range(1, 42):
        root.link(str(n), str(n - 1))
    assert Sysroot(root).exists("/40")
    assert not Sysroot(root).exists("/41")


def chrooted(root: Tree, paths: list[str]) -> list[int]:
    """What the kernel itself says in a chroot: inode or nothing, for each path."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(root)
        os.chdir("/")
        for path in paths:
            try:
                found = os.stat(path).st_ino
            except OSError:
                found = 0
            os.write(write, f"{found}\n".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = [int(line) for line in pipe]
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for chroot(2)")
@pytest.mark.parametrize("seed", range(20))
def test_paths_lead_where_they_lead_in_a_chroot(root: Tree, seed: int) -> None:
    dice = random.Random(seed)

    def some_path() -> str:
        names = ["a", "b", "c", ".", "..", "f", "l0", "l1", "l2", "l3", ""]
        return dice.choice(["/", "", "../", ""]) + "/".join(
            dice.choice(names) for _ in range(dice.randint(1, 4))
        )

    directories = [root.root]
    for _ in range(5):
        directories.append(dice.choice(directories) / dice.choice("abc"))
        directories[-1].mkdir(exist_ok=True)
    for _ in range(4):
        (dice.choice(directories) / "f").write_text("x")
    for _ in range(10):
        name, to = dice.choice(directories) / f"l{dice.randint(0, 3)}", some_path()
        if to and not os.path.lexists(name):
            name.symlink_to(to)
    paths = ["/" + some_path() for _ in range(60)]
    sysroot = Sysroot(root)
    found = [info.st_ino if (info := sysroot.stat(path)) else 0 for path in paths]
    assert dict(zip(paths, found)) == dict(zip(paths, chrooted(root, paths)))


def test_the_last_link_can_be_left_alone(root: Tree) -> None:
    root.touch("b")
    root.link("a", "b")
    assert Sysroot(root).readlink("/a") == "b"
    assert Sysroot(root).readlink("/b") is None
    info = Sysroot(root).stat("/a", follow=False)
    assert info is not None
    assert info.st_ino == (root / "a").lstat().st_ino
    with pytest.raises(SysrootError):
        Sysroot(root).read("/a", follow=False)


def test_what_is_missing_keeps_its_name_when_resolved(root: Tree) -> None:
    root.link("boot", "/b")
    (root / "b").mkdir()
    assert Sysroot(root).resolve("/boot/new/x") == "/b/new/x"
    assert Sysroot(root).host("/boot/new/x") == str(root / "b/new/x")


def test_a_directory_swapped_for_a_link_while_we_walk_leads_nowhere_else(
    root: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk holds the directory it was in: what its name became meanwhile does not matter."""
    root.write("d/secret", "inside")
    real = os.open

    def swap(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "secret" and not (root / "d").is_symlink():
            os.rename(root / "d", root / "old")
            (root / "d").symlink_to(root.root.parent / "outside")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)
    assert Sysroot(root).text("/d/secret") == "inside"


def test_a_file_that_vanishes_before_it_is_opened_is_missing(
    root: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.touch("x")
    real = os.open

    def vanish(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "x" and not flags & os.O_PATH:
            os.unlink(root / "x")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", vanish)
    sysroot = Sysroot(root)
    with pytest.raises(MissingError) as caught:
        sysroot.read("/x")
    assert str(caught.value) == "/x: no such file or directory"
    assert sysroot.reads["/x"] is None


def test_no_descriptor_is_left_open(root: Tree) -> None:
    root.touch("a/b/c")
    root.link("l", "/a/b/../../l")
    root.link("m", "a/./b")
    before = len(os.listdir("/proc/self/fd"))
    sysroot = Sysroot(root)
    for path in ("/a/b/c", "/l", "/m/c", "/none/x", "/a/b/c/d"):
        sysroot.exists(path)
        sysroot.listdir(path)
        sysroot.resolve(path)
    assert len(os.listdir("/proc/self/fd")) == before


# --- what was read ---


def test_everything_that_decided_is_remembered_by_its_path_without_links(root: Tree) -> None:
    root.touch("b/f")
    root.link("a", "b")
    sysroot = Sysroot(root)
    sysroot.read("/a/f")
    sysroot.exists("/a/gone")
    sysroot.listdir("/a")
    kinds = {path: identity and identity.kind for path, identity in sysroot.reads.items()}
    assert kinds == {"/a": "link", "/b/f": "file", "/b/gone": None, "/b": "dir"}


def test_nothing_has_changed_when_nothing_has(root: Tree) -> None:
    root.touch("d/f")
    root.link("l", "d/f")
    sysroot = Sysroot(root)
    sysroot.read("/l")
    sysroot.listdir("/d")
    sysroot.is_dir("/d")
    sysroot.exists("/none/at/all")
    assert sysroot.changed() == []


def change_content(root: Tree) -> None:
    root.write("d/f", "other content")


def replace_file(root: Tree) -> None:
    root.write("d/new", "x")
    os.rename(root / "d/new", root / "d/f")


def move_link(root: Tree) -> None:
    (root / "l").unlink()
    root.link("l", "d/g")


def remove_file(root: Tree) -> None:
    (root / "d/f").unlink()


def add_missing(root: Tree) -> None:
    root.touch("none")


def replace_directory(root: Tree) -> None:
    os.rename(root / "d", root / "e")
    (root / "d").symlink_to("e")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (change_content, ["/d/f"]),
        (replace_file, ["/d/f", "/listed"]),
        (move_link, ["/l"]),
        (remove_file, ["/d/f"]),
        (add_missing, ["/none"]),
        (replace_directory, ["/d"]),
    ],
)
def test_a_change_is_seen(root: Tree, change: Callable[[Tree], None], seen: list[str]) -> None:
    root.touch("d/f")
    root.write("d/g", "other content of g")
    root.link("l", "d/f")
    sysroot = Sysroot(root)
    sysroot.read("/l")
    sysroot.exists("/none")
    sysroot.is_dir("/d")
    then = dict(sysroot.reads)
    change(root)
    assert [path for path in Sysroot(root).changed(then) if path in seen]


def test_a_new_file_changes_a_directory_that_was_listed_but_not_one_that_was_passed(
    root: Tree,
) -> None:
    root.touch("listed/f")
    root.touch("passed/f")
    for name in ("listed", "passed"):
        os.utime(root / name, ns=(1, 1))
    sysroot = Sysroot(root)
    sysroot.listdir("/listed")
    sysroot.is_dir("/listed")  # the fuller memory stays
    sysroot.is_dir("/passed")
    root.touch("listed/new")
    root.touch("passed/new")
    assert sysroot.changed() == ["/listed"]


def test_asking_what_changed_remembers_nothing_new(root: Tree) -> None:
    sysroot = Sysroot(root)
    sysroot.exists("/x")
    sysroot.changed()
    assert list(sysroot.reads) == ["/x"]


def test_what_the_kernel_makes_up_is_not_remembered(root: Tree) -> None:
    root.write("proc/cmdline", "quiet")
    root.write("sys/firmware/efi/fw_platform_size", "64")
    sysroot = Sysroot(root)
    assert sysroot.text("/proc/cmdline") == "quiet"
    sysroot.listdir("/sys/firmware")
    assert sysroot.reads == {}


def test_files_of_size_zero_that_have_content_are_read_whole() -> None:
    sysroot = Sysroot("/")
    assert sysroot.text("/proc/self/mountinfo").count("\n") > 0


# --- rights ---

CLOSED = """
import sys
from kexec_hook.system.sysroot import *
sysroot = Sysroot(sys.argv[1])
for path in ("/open/file", "/closed/file"):
    try:
        sysroot.read(path)
    except NotPermittedError as error:
        print(error)
print(sysroot.exists("/open/file"), sysroot.exists("/closed/file"), sysroot.listdir("/closed"))
try:
    sysroot.stat("/closed/file")
except NotPermittedError as error:
    print("stat", error.path)
print(sysroot.denied)
print(sorted(sysroot.reads))
"""


def test_what_is_forbidden_is_not_missing(user: OrdinaryUser) -> None:
    root = Tree(user.directory())
    root.touch("open/file", "closed/file")
    close(root / "open/file", root / "closed")
    done = user.python(CLOSED, str(root))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "/open/file: not permitted; run it with sudo",
        "/closed/file: not permitted; run it with sudo",
        "True False []",
        "stat /closed/file",
        "('/open/file', '/closed/file', '/closed')",
        "['/open/file']",
    ]


def test_the_errors_are_kin() -> None:
    assert issubclass(MissingError, SysrootError)
    assert issubclass(NotPermittedError, SysrootError)
    assert issubclass(TooLargeError, SysrootError)


def test_descriptor_reads_the_file_and_notes_it(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").write_bytes(b"kernel")
    sysroot = Sysroot(tmp_path)
    with sysroot.descriptor("/boot/vmlinuz") as fd:
        assert os.read(fd, 10) == b"kernel"
    noted = sysroot.reads["/boot/vmlinuz"]
    assert noted
    assert noted.size == 6
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_descriptor_of_what_is_missing_or_a_directory_is_an_error(tmp_path: Path) -> None:
    sysroot = Sysroot(tmp_path)
    with pytest.raises(MissingError), sysroot.descriptor("/vmlinuz"):
        pass
    with pytest.raises(SysrootError, match="not a regular file"), sysroot.descriptor("/"):
        pass


# --- looking at a large file piece by piece ---


def test_a_window_shows_any_piece_of_a_file_and_notes_it(root: Tree) -> None:
    content = bytes(range(256)) * 64  # 16384 bytes
    root.write("boot/initrd.img", content)
    sysroot = Sysroot(root)
    with sysroot.window("/boot/initrd.img") as window:
        assert window.size == 16384
        for offset, size in (
            (0, 16),
            (4090, 12),
            (5, 3),
            (16380, 4),
            (0, 16384),
            (9000, 5000),
            (4, 0),
        ):
            assert window.at(offset, size) == content[offset : offset + size]
        assert window.at(16380, 100) == content[16380:]
        assert window.at(20000, 4) == b""
        assert not window.changed
    noted = sysroot.reads["/boot/initrd.img"]
    assert noted
    assert noted.size == 16384


def test_a_window_reads_only_what_is_asked_for(root: Tree) -> None:
    root.touch("boot/initrd.img")
    os.truncate(root / "boot/initrd.img", 1 << 33)  # a hole; nobody reads that
    with Sysroot(root).window("/boot/initrd.img") as window:
        assert window.at((1 << 33) - 3, 8) == b"\0\0\0"


@pytest.mark.parametrize("how", ["appended", "rewritten", "replaced", "removed"])
def test_a_window_tells_that_the_file_changed(root: Tree, how: str) -> None:
    path = root.write("boot/initrd.img", "old initrd") / "boot/initrd.img"
    os.utime(path, ns=(0, 0))
    with Sysroot(root).window("/boot/initrd.img") as window:
        window.at(0, 4)
        if how == "appended":
            with path.open("a") as file:
                file.write("!")
        elif how == "rewritten":
            path.write_text("new initrd")
        elif how == "replaced":
            root.write("boot/initrd.img.new", "old initrd")
            (root / "boot/initrd.img.new").rename(path)
        else:
            path.unlink()
        assert window.changed


def test_a_window_opens_a_block_device_only_where_that_was_asked_for(root: Tree) -> None:
    disk = root / "sda2"
    try:
        os.mknod(disk, stat.S_IFBLK | 0o600, os.stat(root).st_dev)
        os.close(os.open(disk, os.O_RDONLY))
    except OSError as error:
        pytest.skip(f"no block device to open: {error}")
    with Sysroot(root).window("/sda2", block=True) as window:
        assert window.size > 1 << 20
        assert len(window.at(window.size - 4, 8)) == 4
    with pytest.raises(SysrootError, match="not a regular file"), Sysroot(root).window("/sda2"):
        pass
