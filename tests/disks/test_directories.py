"""The disks of grub-eval: directories as partitions, followed as GRUB's drivers follow a path."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Union

import pytest

from kexec_hook.cli import main
from kexec_hook.disks.directories import Partition, PartitionDisks
from kexec_hook.grub.disks import Device, DiskError, FindBy, GrubPath, Stat
from tests.tree import Tree

Answer = Union[bytes, tuple[int, str]]


def one(root: Tree, path: str, fs: str = "ext2") -> Answer:
    """What the first partition says to reading a path: its bytes, or GRUB's number and words."""
    disks = PartitionDisks([Partition(root.root, fs=fs)])
    try:
        return disks.read(GrubPath("hd0,gpt1", path))
    except DiskError as error:
        return error.errno, error.message


# --- devices ---


def test_the_disk_comes_first_and_then_the_last_partition(tmp_path: Path) -> None:
    disks = PartitionDisks([Partition(tmp_path, "U", "L"), Partition(tmp_path)])
    assert disks.devices() == [
        Device("hd0"),
        Device("hd0,gpt2", "ext2", "", "", "gpt"),
        Device("hd0,gpt1", "ext2", "U", "L", "gpt"),
    ]


@pytest.mark.parametrize("name", ["hd0,gpt2", "hd0,2", "hd0,0x2", "hd0,gpt02", "hd0,gpt 2"])
def test_a_partition_has_several_names(tmp_path: Path, name: str) -> None:
    device = PartitionDisks([Partition(tmp_path), Partition(tmp_path)]).device(name)
    assert device is not None
    assert device.name == "hd0,gpt2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hd1", "disk `hd1' not found"),
        ("hd1,gpt1", "disk `hd1,gpt1' not found"),
        ("", "disk `' not found"),
        ("hd0,msdos1", "no such partition"),
        ("hd0,gpt3", "no such partition"),
        ("hd0,gpt0", "no such partition"),
        ("hd0,gpt", "no such partition"),
        ("hd0,08", "no such partition"),
        ("hd0,gpt1,bsd1", "no such partition"),
        ("hd0,gpt99999999999999999999", "no such partition"),
        ("hd0,", "no such partition"),
    ],
)
def test_other_names_are_not_there(tmp_path: Path, name: str, message: str) -> None:
    disks = PartitionDisks([Partition(tmp_path), Partition(tmp_path)])
    assert disks.device(name) is None
    with pytest.raises(DiskError) as caught:
        disks.read(GrubPath(name, "/x"))
    assert (caught.value.errno, caught.value.message) == (12, message)


def test_the_whole_disk_is_a_device_without_a_file_system(tmp_path: Path) -> None:
    disks = PartitionDisks([Partition(tmp_path)])
    assert disks.device("hd0") == Device("hd0")
    assert disks.stat(GrubPath("hd0", "/")) is None
    with pytest.raises(DiskError) as caught:
        disks.list(GrubPath("hd0", "/"))
    assert (caught.value.errno, caught.value.message) == (8, "unknown filesystem")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d", ("d", "", "")),
        ("d:1234-ABCD", ("d", "1234-ABCD", "")),
        ("d:1234-ABCD:EFI system: x", ("d", "1234-ABCD", "EFI system: x")),
        ("d::only a label", ("d", "", "only a label")),
    ],
)
def test_an_extra_partition_is_a_directory_a_uuid_and_a_label(
    text: str, expected: tuple[str, str, str]
) -> None:
    partition = Partition.parse(text)
    assert (str(partition.directory), partition.uuid, partition.label) == expected


def test_a_directory_with_a_colon_in_its_name_is_one(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    assert Partition.parse(f"{tmp_path}/a:b") == Partition(f"{tmp_path}/a:b")


# --- search ---


@pytest.fixture
def three(tmp_path: Path) -> PartitionDisks:
    for name in "abc":
        Tree(tmp_path / name).touch(f"only-{name}", "all")
    return PartitionDisks(
        [
            Partition(tmp_path / "a", "AbCd-1234", "one"),
            Partition(tmp_path / "b", "u2", "Two"),
            Partition(tmp_path / "c"),
        ]
    )


@pytest.mark.parametrize(
    ("by", "value", "found"),
    [
        ("fs_uuid", "abcd-1234", ["hd0,gpt1"]),
        ("fs_uuid", "ABCD-1234", ["hd0,gpt1"]),
        ("fs_uuid", "U2", ["hd0,gpt2"]),
        ("fs_uuid", "", []),
        ("fs_uuid", "u3", []),
        ("label", "Two", ["hd0,gpt2"]),
        ("label", "two", []),
        ("label", "", ["hd0,gpt3"]),
        ("file", "/only-b", ["hd0,gpt2"]),
        ("file", "/all", ["hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
        ("file", "/none", []),
        ("file", "/", []),
        ("file", "only-b", []),
        ("file", "", []),
    ],
)
def test_search(three: PartitionDisks, by: FindBy, value: str, found: list[str]) -> None:
    assert three.find(by, value) == found


@pytest.mark.parametrize(
    ("hints", "found"),
    [
        (["hd0,gpt1"], ["hd0,gpt1", "hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
        (["hd0,1", "hd1,gpt1"], ["hd0,1", "hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
        (["hd0,gpt2,"], ["hd0,gpt2", "hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
        (["hd0,"], ["hd0,gpt1", "hd0,gpt2", "hd0,gpt3", "hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
        (["hd0", "ahci0,gpt1", ""], ["hd0,gpt3", "hd0,gpt2", "hd0,gpt1"]),
    ],
)
def test_a_hint_that_answers_is_found_first_and_once_more_in_its_place(
    three: PartitionDisks, hints: list[str], found: list[str]
) -> None:
    assert three.find("file", "/all", hints) == found


# --- paths ---


@pytest.fixture
def root(tmp_path: Path) -> Tree:
    Tree(tmp_path, {"vmlinuz": "outside", "outside/x": "outside"})
    return Tree(tmp_path / "root", {"vmlinuz": "kernel", "boot/grub/grub.cfg": "cfg"})


PATHS: list[tuple[str, Answer]] = [
    ("/vmlinuz", b"kernel"),
    ("//vmlinuz", b"kernel"),
    ("/./vmlinuz", b"kernel"),
    ("/../vmlinuz", b"kernel"),
    ("/boot/../vmlinuz", b"kernel"),
    ("/boot/grub/../../../../vmlinuz", b"kernel"),
    ("/vmlinuz/", b"kernel"),
    ("/vmlinuz//", b"kernel"),
    ("/vmlinuz/.", (4, "not a directory")),
    ("/vmlinuz/x", (4, "not a directory")),
    ("/vmlinuz/..", (4, "not a directory")),
    ("/none/../vmlinuz", (5, "file `/none/../vmlinuz' not found")),
    ("/none", (5, "file `/none' not found")),
    ("/boot//none", (5, "file `/boot//none' not found")),
    ("/boot", (4, "not a regular file")),
    ("/", (4, "not a regular file")),
    ("", (7, "invalid file name `'")),
    ("vmlinuz", (7, "invalid file name `vmlinuz'")),
    ("/VMLINUZ", (5, "file `/VMLINUZ' not found")),
    ("/a\0b", (5, "file `/a\0b' not found")),
]


@pytest.mark.parametrize(("path", "answer"), PATHS)
def test_a_path_is_followed_as_fshelp_does(root: Tree, path: str, answer: Answer) -> None:
    assert one(root, path) == answer


LINKS: list[tuple[str, Answer]] = [
    ("vmlinuz", b"kernel"),
    ("/vmlinuz", b"kernel"),
    ("../vmlinuz", b"kernel"),
    ("/../../vmlinuz", b"kernel"),
    ("boot/../vmlinuz", b"kernel"),
    ("../outside/x", (5, "file `/link' not found")),
    ("link", (25, "too deep nesting of symlinks")),
    ("./link", (25, "too deep nesting of symlinks")),
    ("none", (5, "file `/link' not found")),
    ("boot", (4, "not a regular file")),
    ("vmlinuz/x", (4, "not a directory")),
]


@pytest.mark.parametrize(("to", "answer"), LINKS)
def test_a_link_is_followed_within_the_file_system(root: Tree, to: str, answer: Answer) -> None:
    root.link("link", to)
    assert one(root, "/link") == answer


@pytest.mark.skipif(
    not (shutil.which("grub-fstest") and shutil.which("mke2fs")),
    reason="needs grub-fstest and mke2fs",
)
def test_grub_itself_says_the_same_of_these_paths(root: Tree) -> None:
    cases = [case for case in PATHS if case[0].startswith("/") and "\0" not in case[0]]
    for n, (to, answer) in enumerate(LINKS):
        root.link(f"link{n}", f"{to[:-4]}link{n}" if to.endswith("link") else to)
        cases.append(
            (
                f"/link{n}",
                answer
                if isinstance(answer, bytes)
                else (0, answer[1].replace("/link", f"/link{n}")),
            )
        )
    os.mkfifo(root / "fifo")
    cases.append(("/fifo", (5, "file `/fifo' not found")))
    image = root.root.parent / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image)], check=True)

    def fstest(*words: str) -> tuple[str, str]:
        done = subprocess.run(["grub-fstest", str(image), *words], capture_output=True, text=True)
        return done.stdout, done.stderr.strip()

    for path, answer in cases:
        said, complaint = fstest("cat", f"(loop0){path}")
        if isinstance(answer, bytes):
            assert (said, complaint) == (answer.decode(), "")
        else:
            assert complaint == f"grub-fstest: error: cannot open `(loop0){path}': {answer[1]}."
    listed = set(fstest("ls", "(loop0)/")[0].split()) - {"lost+found/"}
    assert listed == set(PartitionDisks([Partition(root.root)]).list(GrubPath("hd0,gpt1", "/")))


def test_an_absolute_link_to_a_host_path_starts_at_the_top_of_the_partition(root: Tree) -> None:
    root.link("link", str(root / "vmlinuz"))
    assert one(root, "/link") == (5, "file `/link' not found")


@pytest.mark.parametrize(("fs", "most"), [("ext2", 7), ("xfs", 7), ("btrfs", 31)])
def test_links_are_counted_as_the_driver_counts_them(root: Tree, fs: str, most: int) -> None:
    root.write("0", "end")
    for n in range(1, most + 2):
        root.link(str(n), str(n - 1))
    assert one(root, f"/{most}", fs=fs) == b"end"
    assert one(root, f"/{most + 1}", fs=fs) == (25, "too deep nesting of symlinks")


def test_btrfs_minds_a_slash_behind_a_file(root: Tree) -> None:
    assert one(root, "/vmlinuz/", fs="btrfs") == (5, "file `/vmlinuz/' not found")
    assert one(root, "/vmlinuz/x", fs="btrfs") == (5, "file `/vmlinuz/x' not found")


@pytest.mark.parametrize("fs", ["fat", "exfat", "ntfs"])
def test_fat_and_its_like_do_not_mind_case(root: Tree, fs: str) -> None:
    root.write("EFI/Debian/Grub.cfg", "esp")
    assert one(root, "/efi/debian/grub.CFG", fs=fs) == b"esp"
    assert one(root, "/EFI/Debian/Grub.cfg", fs=fs) == b"esp"
    assert one(root, "/efi/fedora/grub.cfg", fs=fs) == (5, "file `/efi/fedora/grub.cfg' not found")


def test_only_ascii_is_folded(root: Tree) -> None:
    root.write("\u00c4", "x")
    assert one(root, "/\u00e4", fs="fat") == (5, "file `/\u00e4' not found")


def test_fat_has_no_links(root: Tree) -> None:
    root.link("link", "vmlinuz")
    assert one(root, "/link", fs="fat") == (5, "file `/link' not found")


def test_a_fifo_is_not_there(root: Tree) -> None:
    os.mkfifo(root / "fifo")
    assert one(root, "/fifo") == (5, "file `/fifo' not found")


def test_a_file_above_the_bound_is_refused(root: Tree) -> None:
    root.touch("big")
    os.truncate(root / "big", 65 << 20)
    assert one(root, "/big") == (3, "/big: larger than 64 MiB")


def test_stat_follows_links_and_entry_does_not(root: Tree) -> None:
    root.link("to-file", "vmlinuz")
    root.link("to-dir", "boot")
    root.link("to-nothing", "none")
    os.utime(root / "vmlinuz", (1000, 1000))
    disks = PartitionDisks([Partition(root.root)])

    def kinds(path: str) -> tuple[str | None, str | None]:
        stat, entry = disks.stat(GrubPath("hd0,1", path)), disks.entry(GrubPath("hd0,1", path))
        return stat.kind if stat else None, entry.kind if entry else None

    assert disks.stat(GrubPath("hd0,1", "/to-file")) == Stat("file", 6, 1000)
    assert kinds("/vmlinuz") == ("file", "file")
    assert kinds("/boot") == kinds("/") == kinds("/boot/") == ("dir", "dir")
    assert kinds("/to-file") == ("file", "file")
    assert kinds("/to-dir") == ("dir", "file")
    assert kinds("/to-nothing") == (None, "file")
    assert kinds("/to-dir/grub") == ("dir", "dir")
    os.mkfifo(root / "fifo")
    assert kinds("/fifo") == (None, "file")
    assert kinds("/none") == (None, None)
    assert disks.stat(GrubPath("hd9,1", "/")) is None
    assert disks.entry(GrubPath("hd9,1", "/")) is None


def test_a_directory_is_listed_in_order_of_names(root: Tree) -> None:
    root.touch("boot/b", "boot/B", "boot/.hidden")
    root.link("boot/link", "grub")
    os.mkfifo(root / "boot/fifo")
    disks = PartitionDisks([Partition(root.root)])
    assert disks.list(GrubPath("hd0,gpt1", "/boot")) == [
        ".hidden",
        "B",
        "b",
        "fifo",
        "grub/",
        "link",
    ]
    assert disks.list(GrubPath("hd0,gpt1", "/boot/link/")) == ["grub.cfg"]


@pytest.mark.parametrize(
    ("path", "errno", "message"),
    [
        ("/none", 5, "file `/none' not found"),
        ("/vmlinuz", 4, "not a directory"),
        ("boot", 7, "invalid file name `boot'"),
    ],
)
def test_what_is_no_directory_is_not_listed(
    root: Tree, path: str, errno: int, message: str
) -> None:
    with pytest.raises(DiskError) as caught:
        PartitionDisks([Partition(root.root)]).list(GrubPath("hd0,gpt1", path))
    assert (caught.value.errno, caught.value.message) == (errno, message)


def test_zfs_names_the_data_set_before_the_path(root: Tree) -> None:
    assert one(root, "/boot/grub/grub.cfg", fs="zfs") == (4, "missing `@' symbol")


def test_a_missing_directory_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not a directory; the root must be an existing directory"):
        PartitionDisks([Partition(Path(tmp_path / "none"))])


EXTRA = """search --fs-uuid --set=a 22222222-2222-3333-4444-555555555555
search --label --set=b third
search --file --set=c /only-here
search --file --set=d /on-all
search --file --set=e --hint=hd0,gpt2 /on-a
search --file --set=f --hint=hd0, /on-b
search --file --set=g --hint=hd9 --hint=hd0,2 /on-c
search --fs-uuid --set=h 33333333-0000-3333-4444-555555555555
search.fs_label first i
search --file /on-all
echo
echo $a $b $c $d $e $f $g h=$h $i
for device in hd0 hd0,gpt1 hd0,gpt2 hd0,gpt3 hd0,gpt4 hd0,2 hd0,msdos2 hd9 hd9,gpt1 ($a) $b; do
    if [ -f ($device)/only-here ]; then echo $device only; fi
    if [ -e ($device)/boot ]; then echo $device boot; fi
    probe --set=u --fs-uuid $device
    probe --set=l --label $device
    probe --set=p --partmap $device
    echo $device u=$u l=$l p=$p
    unset u; unset l; unset p
done
set root=$b
if [ -f /only-here ]; then echo root is $root; fi
if [ -f (hd0,gpt2)/up ]; then echo up; fi
for file in (hd0,gpt3)/*; do echo $file; done
echo $prefix $root
"""


@pytest.mark.oracle
def test_extra_partitions_are_to_a_script_what_they_are_to_grub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.oracle import disk, emu

    why = emu.missing()
    if why:
        pytest.skip(why)
    uuids = [f"{digit * 8}-2222-3333-4444-555555555555" for digit in "123"]
    labels = ["first", "second", "third"]
    for name in labels:
        (tmp_path / name / "boot/grub").mkdir(parents=True)
        for file in ("on-all", "on-a", "on-b", "on-c"):  # what was found once is found there again
            (tmp_path / name / file).write_text(name)
    (tmp_path / "third/only-here").write_text("x")
    (tmp_path / "second/up").symlink_to("../../on-all")
    partitions = [disk.Partition(tmp_path / name, uuid, name) for name, uuid in zip(labels, uuids)]
    said = emu.Grub(partitions, tmp_path / "emu").script("insmod regexp\n" + EXTRA)
    script = tmp_path / "script"
    script.write_text("insmod regexp\n" + EXTRA)
    extra = [
        word
        for n in (1, 2)
        for word in ("--extra", f"{tmp_path / labels[n]}:{uuids[n]}:{labels[n]}")
    ]
    argv = ["grub-eval", str(tmp_path / "first"), "--uuid", uuids[0], "--label", "first", *extra]
    assert main([*argv, "--script", str(script)]) == 0
    assert capsys.readouterr().out.splitlines() == said.text.splitlines()
    assert "hd0,gpt2 hd0,gpt3 hd0,gpt3 hd0,gpt3 hd0,gpt2 hd0,gpt1 hd0,2 h= hd0,gpt1" in said.text
