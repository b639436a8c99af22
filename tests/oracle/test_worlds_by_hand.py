"""Worlds whose answers can be worked out by hand: does grub-emu, beside whole disks, say what GRUB would?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracle import emu, images
from tests.oracle.images import Content, Kit
from tests.oracle.world import environment_block
from tests.oracle.worlds import SUBVOLUMES, Mount, Part, World, initrd, kernel, make_kits
from tests.oracle.worlds_judge import Built, ask_grub

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        bool(emu.missing() or images.missing()), reason=str(emu.missing() or images.missing())
    ),
]
ROOT = "00000000-2222-4333-8444-555555555555"
OTHER = "00000001-2222-4333-8444-555555555555"
ENTRIES = f"""
menuentry 'Zero' --id e0 {{
 linux ($home)/kern/vmlinuz root=UUID={ROOT} said=$said
 initrd ($home)/kern/initrd
}}
menuentry 'One' --id e1 {{
 linux ($home)/kern/vmlinuz root=UUID={ROOT} said=$said
 initrd ($home)/kern/initrd
}}
menuentry 'Other' --id other {{
 search --set=root --fs-uuid {OTHER}
 linux /kern/vmlinuz root=UUID={OTHER} said=$said
 initrd /kern/initrd
}}
"""
OWN = {"kern/vmlinuz": kernel("own"), "kern/initrd": initrd("own")}
THEIRS = {
    "kern/vmlinuz": kernel("other"),
    "kern/initrd": initrd("other"),
    "maintenance": b"",
    "flags/Long Name.TXT": b"x\n",
    "conf.d/10-a.cfg": b"set said=${said}a\n",
    "conf.d/20-b.cfg": b"set said=${said}b\n",
    "env/block": environment_block(b"pick=picked\n"),
    "menu.cfg": b"set timeout=0\nmenuentry 'Far' --id far {\n linux /kern/vmlinuz far\n initrd /kern/initrd\n}\n",
}
LINKS = {"dangling": "nowhere", "current": "kern/vmlinuz", "abs": "/kern/vmlinuz"}
EXT4 = ["ext4", OTHER]
FAT = ["fat", "AAAA-0001"]
BTRFS = ["btrfs", OTHER]


def world(
    lines: str, kind: str = "ext4", uuid: str = OTHER, partmap: str = "gpt", number: int = 2
) -> World:
    """/ on the first partition of hd0, and another that is not mounted."""
    first = Part("sda1", f"hd0,{partmap}1", "ext4", ROOT, "ROOT", Content(dict(OWN)), [Mount("/")])
    links = {} if kind == "fat" else dict(LINKS)
    other = Part(
        f"sda{number}", f"hd0,{partmap}{number}", kind, uuid, "DATA", Content(dict(THEIRS), links)
    )
    config = "set home=$root\nset timeout=0\nset said=\n" + lines + ENTRIES
    return World(
        [first, other],
        {"hd0": (partmap, "sda")},
        first,
        "/boot/grub",
        config,
        environment_block(b""),
    )


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with emu.scratch() as path:
        yield path


@pytest.fixture(scope="module")
def kit(directory: Path) -> Kit:
    try:
        return make_kits(directory, "by hand", 1)[0]
    except (RuntimeError, FileNotFoundError) as error:
        pytest.skip(f"no btrfs subvolumes: {error}")


def booted(directory: Path, made: World) -> tuple[str, str]:
    """The entry, and what `said` was."""
    run = ask_grub(Built(made, directory / "world"))
    assert run.booted, run
    return str(run.loaders[-1].chosen), run.loaders[0].words[-1].removeprefix("said=")


@pytest.mark.parametrize("variant", range(6))
@pytest.mark.parametrize(("kind", "uuid"), [EXT4, FAT, BTRFS])
def test_a_flag_on_another_partition_chooses(
    directory: Path, kind: str, uuid: str, variant: int
) -> None:
    for flag, entry in (("maintenance", "e1"), ("maintenancf", "e0")):
        made = world(f"if [ -f (hd0,gpt2)/{flag} ]; then set default=e1; fi\n", kind, uuid)
        made.parts[1].variant = variant
        assert booted(directory, made) == (entry, "")


@pytest.mark.parametrize(
    ("find", "found"),
    [
        ("--fs-uuid 00000001-2222-4333-8444-555555555555", "hd0,gpt2"),
        ("--label DATA", "hd0,gpt2"),
        ("--label NONE", "-"),
        ("--file /maintenance", "hd0,gpt2"),
        (
            "--file /kern/vmlinuz",
            "hd0,gpt2",
        ),  # on both, and GRUB's iterator meets the last partition first
        ("--file /kern/vmlinuz --hint=hd0,gpt1", "hd0,gpt1"),
        (
            "--file /kern/vmlinuz --hint=hd0,",
            "hd0,gpt1",
        ),  # the partitions of one disk from the first
        ("--file /boot/grub/grub.cfg", "hd0,gpt1"),
        ("--file /flags", "-"),  # a directory
    ],
)
def test_a_search_finds_it(directory: Path, find: str, found: str) -> None:
    made = world(f"set said=-\nsearch --set=said {find}\n")
    assert booted(directory, made) == ("e0", found)


@pytest.mark.parametrize(
    ("test", "ext4", "fat"),
    [
        ("-f /maintenance", True, True),
        ("-f /MAINTENANCE", False, True),
        ('-f "/flags/long name.txt"', False, True),
        ("-s /maintenance", False, False),
        ("-e /flags", True, True),
        ("-d /flags", True, True),
        ("-d /flags/", True, True),
        ("-f /flags", False, False),
        ("-f /flags/../maintenance", True, True),
        ("-f //maintenance", True, True),
        ("-f /dangling", True, None),  # a directory's entry: a link is a file, wherever it leads
        ("-s /dangling", False, None),  # opened
        ("-s /abs", True, None),
        ("-s /current", True, None),
    ],
)
def test_the_tests_of_a_script(directory: Path, test: str, ext4: bool, fat: bool | None) -> None:
    option, path = test.split(" ", 1)
    word = f'"(hd0,gpt2){path[1:-1]}"' if path.startswith('"') else f"(hd0,gpt2){path}"
    for (kind, uuid), expected in ((EXT4, ext4), (FAT, fat)):
        if expected is not None:
            made = world(f"if [ {option} {word} ]; then set said=yes; fi\n", kind, uuid)
            assert booted(directory, made) == ("e0", "yes" if expected else ""), kind


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("load_env -f (hd0,gpt2)/env/block pick\nset said=$pick\n", "picked"),
        ("source (hd0,gpt2)/conf.d/20-b.cfg\n", "b"),
        ("for f in (hd0,gpt2)/conf.d/*.cfg; do source $f; done\n", "ab"),
        ("if ls (hd0,gpt2)/conf.d/; then set said=listed; fi\n", "listed"),
        ("probe --set=said --fs-uuid (hd0,gpt2)\n", OTHER),
        ("probe --set=said --label (hd0,gpt2)\n", "DATA"),
        ("probe --set=said --fs (hd0,gpt2)\n", "ext2"),
    ],
)
def test_what_is_read_from_there_counts(directory: Path, lines: str, said: str) -> None:
    assert booted(directory, world(lines)) == ("e0", said)


def test_a_kernel_is_loaded_from_there(directory: Path) -> None:
    built = Built(world("set default=other\n"), directory / "world")
    linux, initrd_ = ask_grub(built).loaders
    assert (linux.root, linux.words[1], linux.opened) == ("hd0,gpt2", "/kern/vmlinuz", True)
    assert built.grub_content(linux.words[1], linux.root) == kernel("other")
    assert built.grub_content(initrd_.words[1], initrd_.root) == initrd("other")


def test_a_menu_there_is_entered(directory: Path) -> None:
    made = world("menuentry 'Go' --id go {\n set root=hd0,gpt2\n configfile /menu.cfg\n}\n")
    run = ask_grub(Built(made, directory / "world"))
    assert (run.booted, run.chosen, run.loaders[0].words[-1]) == (True, "go>far", "far")


def test_a_configuration_that_leads_there_is_followed(directory: Path) -> None:
    made = world("")
    made.stub = f"search --fs-uuid --set=root {OTHER}\nset prefix=($root)/chained\nconfigfile $prefix/grub.cfg\n"
    made.chained = (made.parts[1], "/chained")
    run = ask_grub(Built(made, directory / "world"))
    assert (run.booted, run.loaders[0].words[1]) == (True, "(hd0,gpt2)/kern/vmlinuz")


def test_a_block_there_is_written(directory: Path) -> None:
    built = Built(
        world("set pick=now\nsave_env -f (hd0,gpt2)/env/block pick\n"), directory / "world"
    )
    ask_grub(built)
    assert built.written() == {("hd0,gpt2", "/env/block"): {"pick": "now"}}


@pytest.mark.parametrize(("partmap", "number"), [("gpt", 9), ("msdos", 2), ("msdos", 5)])
def test_partitions_have_their_numbers(directory: Path, partmap: str, number: int) -> None:
    made = world(
        f"if [ -f (hd0,{number})/maintenance ]; then set said=yes; fi\n",
        partmap=partmap,
        number=number,
    )
    assert booted(directory, made) == ("e0", "yes")


def test_a_second_disk_is_hd1(directory: Path) -> None:
    made = world(f"search --set=said --fs-uuid {OTHER}\n")
    made.parts[1].node, made.parts[1].grub = "sdb1", "hd1,msdos1"
    made.disks["hd1"] = ("msdos", "sdb")
    assert booted(directory, made) == ("e0", "hd1,msdos1")


def test_subvolumes_are_directories_of_the_top(directory: Path, kit: Kit) -> None:
    """GRUB looks from the top of a btrfs, whatever is mounted."""
    asked = [
        f"{place}/{name}"
        for place in ("", *(f"/{s}" for s in SUBVOLUMES))
        for name in ("vmlinuz", "slot-b")
    ]
    for path in asked:
        made = world(f"if [ -f (hd0,gpt2){path} ]; then set said=yes; fi\n", "btrfs", kit.uuid)
        made.parts[1].kit = kit
        expected = path[1:] in kit.content.files
        assert booted(directory, made) == ("e0", "yes" if expected else ""), path
