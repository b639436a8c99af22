"""A disk that was copied has the UUIDs of the first, and udev links to one of the two."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.grub.disks import FindBy, Unseen
from tests.tree import Tree

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"


@pytest.fixture
def copied(tmp_path: Path) -> Tree:
    """/ is sda2; sdb2 is its copy, and has the link."""
    made = Tree(tmp_path).mount("/", "/dev/sda2").touch("dev/sda2", "dev/sdb2", "boot/vmlinuz")
    made.by("partuuid", "11111111-aaaa-4bbb-8ccc-000000000001", "sda2")
    made.by("partuuid", "22222222-aaaa-4bbb-8ccc-000000000001", "sdb2")
    return made.by("uuid", UUID, "sdb2")


def by_udev(
    tree: Tree,
    node: str,
    number: str,
    known: str = f"S:disk/by-uuid/{UUID}\nE:ID_FS_UUID={UUID}",
    usage: str = "filesystem",
) -> Tree:
    tree.write(f"sys/class/block/{node}/dev", f"{number}\n")
    text = f"I:1\n{known}\nE:ID_FS_USAGE={usage}\nG:systemd\n"
    return tree.write(f"run/udev/data/b{number}", text)


def refuse(tree: Tree, by: FindBy = "fs_uuid", value: str = UUID) -> None:
    with pytest.raises(Unseen) as caught:
        tree.disks().find(by, value)
    assert caught.value.reason == (
        f"which disk GRUB finds first when it looks for {value} is not known, as there are several"
    )
    assert caught.value.code == "cannot-be-known"


def test_udev_knows_what_is_mounted_without_a_link(copied: Tree) -> None:
    by_udev(copied, "sda2", "8:2")
    refuse(copied)


def test_the_kernel_was_told_what_is_mounted(copied: Tree) -> None:
    refuse(copied.cmdline(f"BOOT_IMAGE=/boot/vmlinuz root=UUID={UUID} ro quiet"))


def test_fstab_says_what_is_mounted(copied: Tree) -> None:
    refuse(copied.write("etc/fstab", f"# /\nUUID={UUID} / ext4 defaults 0 1\n"))


def test_where_grub_has_told_its_number_its_own_disk_comes_first(copied: Tree) -> None:
    copied.cmdline(f"BOOT_IMAGE=(hd0,gpt2)/boot/vmlinuz root=UUID={UUID} ro quiet")
    assert copied.disks().find("fs_uuid", UUID) == ["hd0,gpt2", "hd1,gpt2"]


def test_udev_knows_a_copy_that_has_no_link(copied: Tree) -> None:
    (copied / f"dev/disk/by-uuid/{UUID}").unlink()
    copied.by("uuid", UUID, "sda2")
    assert copied.disks().find("fs_uuid", UUID) == ["hd0,gpt2"]
    by_udev(copied, "sdb2", "8:18")
    refuse(copied)


def test_a_container_of_that_id_is_no_file_system(copied: Tree) -> None:
    by_udev(copied, "sda2", "8:2")
    text = (copied / "run/udev/data/b8:2").read_text().replace("=filesystem", "=crypto")
    copied.write("run/udev/data/b8:2", text)
    assert copied.disks().find("fs_uuid", UUID) == ["hd1,gpt2"]


def test_two_copies_that_are_mounted_are_two_file_systems(copied: Tree) -> None:
    copied.mount("/mnt", "/dev/sdb2", device="8:18").touch("mnt/boot/vmlinuz")
    by_udev(copied, "sda2", "8:2")
    refuse(copied)


def test_a_btrfs_of_two_devices_is_one_file_system(tmp_path: Path) -> None:
    made = Tree(tmp_path).mount("/", "/dev/sda2", "btrfs", "/@", "0:30", "rw,subvol=/@")
    made.touch("dev/sda2", "dev/sdb2").by("uuid", UUID, "sdb2")
    made.cmdline(f"BOOT_IMAGE=/@/boot/vmlinuz root=UUID={UUID} ro rootflags=subvol=@")
    disks = made.disks()
    names = disks.find("fs_uuid", UUID)
    devices = [disks.device(name) for name in names]
    assert len(names) == 2
    assert all(device and device.seen for device in devices)


LABEL = "My disk"


@pytest.fixture
def alike(tmp_path: Path) -> Tree:
    """/ is sda2; sdb2 is another file system of the same label, and has the link."""
    made = Tree(tmp_path).mount("/", "/dev/sda2").touch("dev/sda2", "dev/sdb2", "boot/vmlinuz")
    made.by("uuid", UUID, "sda2").by("uuid", UUID.replace("3", "4"), "sdb2")
    made.by("partuuid", "11111111-aaaa-4bbb-8ccc-000000000001", "sda2")
    made.by("partuuid", "22222222-aaaa-4bbb-8ccc-000000000001", "sdb2")
    return made.by("label", r"My\x20disk", "sdb2")


def labelled_by_udev(tree: Tree, usage: str = "filesystem") -> Tree:
    known = "E:ID_FS_LABEL=My_disk\nE:ID_FS_LABEL_ENC=My\\x20disk"
    return by_udev(tree, "sda2", "8:2", known, usage)


def test_udev_knows_a_label_that_has_no_link(alike: Tree) -> None:
    assert alike.disks().find("label", LABEL) == ["hd1,gpt2"]
    refuse(labelled_by_udev(alike), "label", LABEL)


def test_a_container_of_that_label_is_no_file_system(alike: Tree) -> None:
    assert labelled_by_udev(alike, "crypto").disks().find("label", LABEL) == ["hd1,gpt2"]


def test_of_two_with_one_label_on_one_disk_the_last_partition_comes_first(alike: Tree) -> None:
    (alike / r"dev/disk/by-label/My\x20disk").unlink()
    alike.by("label", r"My\x20disk", "sda3").by("uuid", UUID.replace("3", "5"), "sda3")
    alike.by("partuuid", "11111111-aaaa-4bbb-8ccc-000000000002", "sda3").touch("dev/sda3")
    assert labelled_by_udev(alike).disks().find("label", LABEL) == ["hd0,gpt3", "hd0,gpt2"]


@pytest.mark.parametrize("place", ["proc/cmdline", "etc/fstab"])
def test_the_label_by_which_a_disk_was_mounted_is_its_own(alike: Tree, place: str) -> None:
    for path in (alike / "dev/disk/by-label").iterdir():
        path.unlink()
    alike.by("label", "ROOT", "sdb2")
    told = {"proc/cmdline": "ro root=LABEL=ROOT\n", "etc/fstab": "LABEL=ROOT / ext4 defaults 0 1\n"}
    refuse(alike.write(place, told[place]), "label", "ROOT")
