"""openSUSE and SLES as installed: GRUB's paths start at the default subvolume of btrfs, which snapper changes.

What their GRUB does is read in its patches (grub2-btrfs-01 to -06); nothing here runs it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.cli import main
from kexec_hook.disks import btrfs
from tests import images
from tests.tree import Tree

UUID = "11111111-2222-3333-4444-555555555555"
BOOT = Path(__file__).resolve().parents[2] / "roots/debian-12/tree/boot"
KERNEL = (BOOT / "vmlinuz-6.1.0-39-amd64").read_bytes()
INITRD = (BOOT / "initrd.img-6.1.0-39-amd64").read_bytes()
FIRST, SECOND = "@/.snapshots/1/snapshot", "@/.snapshots/2/snapshot"
CFG = """set btrfs_relative_path="yes"
export btrfs_relative_path
if [ -f ${{config_directory}}/grubenv ]; then load_env -f ${{config_directory}}/grubenv
elif [ -s $prefix/grubenv ]; then load_env; fi
if [ "$grub_platform" = efi ]; then btrfs-mount-subvol ($root) /boot/grub2/x86_64-efi @/boot/grub2/x86_64-efi; fi
menuentry 'openSUSE Leap 15.6' --id opensuse {{
search --no-floppy --fs-uuid --set=root {uuid}
linux /boot/vmlinuz-6.4 root=UUID={uuid} {words}
initrd /boot/initrd-6.4
}}
hiddenentry 'Text mode' --hotkey 't' {{ set textmode=true }}
"""


def fill(tree: Tree, words: str) -> Tree:
    tree.write("boot/vmlinuz-6.4", KERNEL).write("boot/initrd-6.4", INITRD)
    return tree.write("boot/grub2/grub.cfg", CFG.format(uuid=UUID, words=words)).grubenv(
        path="boot/grub2/grubenv"
    )


@pytest.fixture
def suse(tmp_path: Path) -> Tree:
    """/ is the first snapshot; its partition cannot be read."""
    tree = Tree(tmp_path / "root").touch("dev/sda2").by("uuid", UUID, "sda2")
    tree.write("etc/os-release", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n')
    tree.mount("/", "/dev/sda2", "btrfs", f"/{FIRST}", options=f"rw,subvolid=258,subvol=/{FIRST}")
    return fill(tree, "first")


def image(tree: Tree, default: str) -> None:
    above = tree.root.parent
    first, second = fill(Tree(above / "1"), "first"), fill(Tree(above / "2"), "second")
    subvolumes = {"@": None, "@/.snapshots": None, FIRST: first.root, SECOND: second.root}
    number = images.btrfs_subvolumes(
        tree / "dev/sda2", above / "mnt", subvolumes, default, uuid=UUID
    )
    data = (tree / "dev/sda2").read_bytes()
    found = btrfs.open_btrfs(lambda offset, size: data[offset : offset + size])
    assert (found.default(), found.path(number)) == (number, tuple(default.split("/")))


def stage(tree: Tree, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main(["--root", str(tree.root), "stage", "--dry-run", "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_the_mounted_snapshot_is_the_default_one(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    image(suse, FIRST)
    said = stage(suse, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/boot/vmlinuz-6.4")
    assert said["cmdline"] == f"BOOT_IMAGE=/boot/vmlinuz-6.4 root=UUID={UUID} first"


def test_after_a_rollback_grub_boots_the_new_default(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """`snapper rollback`, before the reboot: another configuration, kernel and initrd, on no mount."""
    image(suse, SECOND)
    said = stage(suse, capsys)
    assert (said["outcome"], said["kernel"]) == (
        "would-stage",
        f"/dev/sda2:/{SECOND}/boot/vmlinuz-6.4",
    )
    assert said["cmdline"] == f"BOOT_IMAGE=/boot/vmlinuz-6.4 root=UUID={UUID} second"


def test_the_stub_on_the_esp_says_so_too(suse: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    image(suse, FIRST)
    suse.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1").efi().touch("dev/sda1")
    suse.write(
        "boot/efi/EFI/opensuse/grub.cfg",
        f'set btrfs_relative_path="yes"\nsearch --fs-uuid --set=root {UUID}\n'
        'set prefix=(${root})/boot/grub2\nsource "${prefix}/grub.cfg"\n',
    )
    said = stage(suse, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/boot/vmlinuz-6.4")


def test_a_default_subvolume_that_cannot_be_known_is_an_objection(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    said = stage(suse, capsys)
    assert said["outcome"] == "declined"
    assert [objection["code"] for objection in said["objections"]] == ["not-mounted"]
    assert "the default subvolume of /dev/sda2" in said["objections"][0]["reason"]


def test_what_is_no_btrfs_is_damaged() -> None:
    for data in (b"", bytes(0x20000), bytes(0x10040) + b"_BHRfS_M" + b"\xff" * 0x10000):
        with pytest.raises(btrfs.Damaged):
            btrfs.open_btrfs(lambda offset, size, data=data: data[offset : offset + size])  # type: ignore[misc]


def test_its_own_commands_set_variables(suse: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """grub2-btrfs-09-get-default-subvolume, and grub2-commands-introduce-read_file-subcommand."""
    suse.write("boot/words", "one\r\ntwo\n")
    words = "$subvol $one $two $three $status"
    suse.write("boot/grub2/grub.cfg", CFG.format(uuid=UUID, words=words).replace("menuentry 'o", """
btrfs-get-default-subvol -o subvol ($root)
if read_file /boot/words one two three; then status=whole; else status=short; fi
export subvol one two three status
menuentry 'o"""))  # fmt: skip
    image(suse, FIRST)
    said = stage(suse, capsys)
    assert said["cmdline"].endswith(f"root=UUID={UUID} /{FIRST} one two short")


def test_its_blscfg_is_not_followed(suse: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Tumbleweed's has a history of its own, rhboot's first and then upstream's."""
    config = suse / "boot/grub2/grub.cfg"
    config.write_text(config.read_text().replace("menuentry 'o", "blscfg\nmenuentry 'o"))
    image(suse, FIRST)
    said = stage(suse, capsys)
    assert [(found["code"], found["fix"]) for found in said["objections"]] == [
        (
            "cannot-be-known",
            "set GRUB_ENABLE_BLSCFG=false in /etc/default/grub, then run grub2-mkconfig",
        )
    ]


# --- the environment block in the header of btrfs (grub2's 0001-..-env_block patches of openSUSE) ---

BLOCK = """\
if [ "${env_block}" ] ; then
  set env_block="(${root})${env_block}"
  export env_block
  load_env -f "${env_block}"
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   if [ "${env_block}" ] ; then
     save_env -f "${env_block}" next_entry
   fi
else
   set default="${saved_entry}"
fi
"""
OTHER = f"menuentry Other --id other {{\n linux /boot/vmlinuz-6.4 root=UUID={UUID} other\n initrd /boot/initrd-6.4\n}}\n"


def in_header(suse: Tree, *assignments: str) -> Tree:
    """The block is 512 bytes at 256 KiB, and grubenv says so."""
    config = (suse / "boot/grub2/grub.cfg").read_text()
    config = config.replace("menuentry 'open", BLOCK + "menuentry 'open", 1) + OTHER
    suse.write("boot/grub2/grub.cfg", config)
    suse.grubenv("env_block=512+1", path="boot/grub2/grubenv")
    image(suse, FIRST)
    text = "# GRUB Environment Block\n" + "".join(f"{line}\n" for line in assignments)
    with open(suse / "dev/sda2", "r+b") as file:
        file.seek(512 * 512)
        file.write(text.encode().ljust(512, b"#"))
    return suse


def test_what_is_saved_in_the_header_of_btrfs_is_read(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    said = stage(in_header(suse, "saved_entry=other"), capsys)
    assert said["outcome"] == "would-stage"
    assert (said["entry"]["id"], said["env_writes"]) == ("other", {})


def test_a_write_to_the_header_of_btrfs_is_an_objection(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    (objection,) = stage(in_header(suse, "next_entry=other"), capsys)["objections"]
    assert objection["code"] == "environment-not-writable"
    assert "512+1, which kexec-hook does not do" in objection["reason"]


@pytest.mark.parametrize(("known", "outcome"), [("0", "would-stage"), ("1", "declined")])
def test_a_write_that_changes_nothing_in_the_header_is_none(
    suse: Tree, capsys: pytest.CaptureFixture[str], known: str, outcome: str
) -> None:
    """10_reset_boot_success of Fedora, since it has env_block, writes boot_success=0 at each boot."""
    in_header(suse, f"boot_success={known}")
    config = (suse / "boot/grub2/grub.cfg").read_text()
    config += 'set boot_success=0\nsave_env -f "${env_block}" boot_success boot_indeterminate\n'
    suse.write("boot/grub2/grub.cfg", config)
    assert stage(suse, capsys)["outcome"] == outcome


def test_a_header_that_cannot_be_read_is_not_known(
    suse: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    in_header(suse)
    suse.write("dev/sda2")
    suse.mount("/mnt", "/dev/sda2", "btrfs", "/", options="rw,subvolid=5,subvol=/")
    assert stage(suse, capsys)["outcome"] == "declined"
