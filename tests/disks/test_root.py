"""The disks of a root: what GRUB calls them, and which file below the root a GRUB path means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kexec_hook.disks.drives import part_of, split, split_node
from kexec_hook.disks.mounts import Mounts, parse_mountinfo
from kexec_hook.disks.root import RootDisks
from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.system.sysroot import Sysroot
from tests.tree import Tree

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-8888-7777-6666-555555555555"
GPT = "0fc63daf-8483-4772-8e79-3d69d8477de4"


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def where(disks: RootDisks, device: str, path: str) -> str | None:
    location = disks.locate(GrubPath(device, path))
    return location.host if location else None


# --- mountinfo ---


def test_odd_characters_in_mountinfo() -> None:
    (mount,) = parse_mountinfo(
        "36 35 98:0 /with\\040blank\\134 /mnt\\011tab\\012nl rw,noatime master:1 - ext\\0404 /dev/a\\040b rw,x=\\054\n"
    )
    assert mount.root == ("with blank\\",)
    assert mount.point == "/mnt\ttab\nnl"
    assert mount.source == "/dev/a b"
    assert mount.type == "ext 4"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        "36 35 98:0 / /mnt rw",
        "36 35 98:0 / - ext4 /dev/sda1 rw",
        "x 35 98:0 / /mnt rw - ext4 /dev/sda1 rw",
        "36 35 98:0 / /mnt rw - ext4",
        "36 35 98:0 /gone//deleted /mnt rw - ext4 /dev/sda1 rw",
        "36 35 0:4 net:[4026531833] /run/netns/x rw - nsfs nsfs rw",
    ],
)
def test_lines_that_show_no_directory_are_left_out(line: str) -> None:
    assert parse_mountinfo(line + "\n1 0 8:2 / / rw - ext4 /dev/sda2") == parse_mountinfo(
        "1 0 8:2 / / rw - ext4 /dev/sda2"
    )


def at(lines: list[str], path: str) -> str | None:
    mount = Mounts(parse_mountinfo("\n".join(lines))).at(path)
    return mount.source if mount else None


def test_the_root_may_come_after_what_is_mounted_in_it() -> None:
    lines = ["24 31 0:22 / /sys rw - sysfs sysfs rw", "31 1 8:2 / / rw - ext4 /dev/sda2 rw"]
    assert at(lines, "/sys/class") == "sysfs"
    assert at(lines, "/etc") == "/dev/sda2"


def test_a_later_mount_hides_an_earlier_one_and_what_is_below_it() -> None:
    lines = [
        "1 0 8:2 / / rw - ext4 /dev/sda2 rw",
        "2 1 8:3 / /boot rw - ext4 /dev/sda3 rw",
        "3 2 8:1 / /boot/efi rw - vfat /dev/sda1 rw",
    ]
    assert at(lines, "/boot/efi/EFI") == "/dev/sda1"
    assert at(lines, "/bootx") == "/dev/sda2"
    lines.append("4 2 8:4 / /boot rw - ext4 /dev/sda4 rw")
    assert at(lines, "/boot/efi/EFI") == "/dev/sda4"
    assert at(lines, "/boot") == "/dev/sda4"
    lines.append("5 1 8:5 / / rw - ext4 /dev/sda5 rw")
    assert at(lines, "/boot") == "/dev/sda5"


def test_a_mount_below_a_hidden_one_is_hidden_too() -> None:
    lines = [
        "1 0 8:2 / / rw - ext4 /dev/sda2 rw",
        "2 1 8:1 / /boot/efi rw - vfat /dev/sda1 rw",
        "3 1 8:3 / /boot rw - ext4 /dev/sda3 rw",
    ]
    assert at(lines, "/boot/efi/EFI") == "/dev/sda3"


def test_parents_out_of_sight_hang_on_the_top() -> None:
    lines = ["31 777 8:2 / / rw - ext4 /dev/sda2 rw", "32 888 8:3 / /boot rw - ext4 /dev/sda3 rw"]
    assert at(lines, "/boot/x") == "/dev/sda3"


# --- /boot on the root file system ---


@pytest.fixture
def plain(machine: Tree) -> Tree:
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by(
        "label", r"my\x20root\x2f\xc3\xa4", "sda2"
    )
    machine.by("partuuid", GPT, "sda2").by("uuid", OTHER, "sda3")
    return machine.touch("boot/vmlinuz-6.1", "boot/grub/grub.cfg")


def test_boot_on_the_root_file_system(plain: Tree) -> None:
    disks = plain.disks()
    assert disks.find("fs_uuid", UUID.upper()) == ["hd0,gpt2"]
    assert where(disks, "hd0,gpt2", "/boot/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert where(disks, "hd0,2", "//boot/./vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert disks.read(GrubPath("hd0,gpt2", "/boot/vmlinuz-6.1")) == b"boot/vmlinuz-6.1"
    assert where(disks, "hd0,gpt2", "/vmlinuz-6.1") is None
    assert (
        disks.why_missing(GrubPath("hd0,gpt2", "/vmlinuz-6.1"))
        == "(hd0,gpt2)/vmlinuz-6.1 does not exist"
    )
    assert disks.why_missing(GrubPath("hd0,gpt2", "/boot/vmlinuz-6.1")) == ""
    assert disks.grub_path("/boot/grub") == GrubPath("hd0,gpt2", "/boot/grub")
    assert disks.assumed == ()


def test_a_location_says_which_mount_made_it_reachable(plain: Tree) -> None:
    location = plain.disks().locate(GrubPath("hd0,gpt2", "/boot/vmlinuz-6.1"))
    assert location is not None
    assert (location.mount.source, location.mount.point) == ("/dev/sda2", "/")
    assert location.host == "/boot/vmlinuz-6.1"


def test_a_device_tells_what_udev_told(plain: Tree) -> None:
    disks = plain.disks()
    device = disks.device("hd0,gpt2")
    assert device is not None
    assert (device.fs, device.uuid, device.label) == ("ext2", UUID, "my root/\u00e4")
    assert (device.partmap, device.partuuid) == ("gpt", GPT)
    assert disks.find("label", "my root/\u00e4") == ["hd0,gpt2"]
    assert disks.find("label", "MY ROOT/\u00e4") == []
    assert disks.find("fs_uuid", "") == []
    assert disks.find("label", "") == []


def test_a_partition_that_is_not_mounted_is_found_but_not_its_files(plain: Tree) -> None:
    disks = plain.disks()
    (name,) = disks.find("fs_uuid", OTHER)
    assert name == "hd0,msdos3" or name == "hd0,gpt3"
    path = GrubPath(name, "/boot/vmlinuz")
    assert disks.why_missing(path) == f"{path}: it is not mounted"
    for ask in (disks.stat, disks.entry, disks.mtime, disks.read, disks.list):
        with pytest.raises(Unseen) as caught:
            ask(path)
        assert caught.value.reason == (
            f"/dev/sda3 (UUID {OTHER}) is not mounted, and it cannot be read: its device node is missing"
        )
        assert (caught.value.fix, caught.value.path) == ("mount /dev/sda3", path)


def test_a_link_to_a_kernel_is_located_where_it_leads(plain: Tree) -> None:
    plain.link("vmlinuz", "boot/vmlinuz-6.1")
    assert where(plain.disks(), "hd0,gpt2", "/vmlinuz") == "/boot/vmlinuz-6.1"


@pytest.mark.parametrize(
    ("name", "errno", "message"),
    [
        ("hd0", 8, "unknown filesystem"),
        ("hd0,gpt9", 12, "no such partition"),
        ("hd0,msdos2", 12, "no such partition"),
        ("hd7,gpt1", 12, "disk `hd7,gpt1' not found"),
    ],
)
def test_errors_of_devices_are_worded_as_grub_words_them(
    plain: Tree, name: str, errno: int, message: str
) -> None:
    with pytest.raises(DiskError) as caught:
        plain.disks().read(GrubPath(name, "/x"))
    assert (caught.value.errno, caught.value.message) == (errno, message)


def test_devices_come_in_grubs_order(plain: Tree) -> None:
    plain.by("partuuid", GPT.replace("0", "1"), "sda1").by("uuid", "AAAA-BBBB", "nvme0n1p1")
    plain.by("partuuid", GPT.replace("0", "2"), "nvme0n1p1")
    names = [device.name for device in plain.disks().devices()]
    assert names[:3] == ["hd0", "hd0,msdos3", "hd0,gpt2"] or names[:3] == [
        "hd0",
        "hd0,gpt3",
        "hd0,gpt2",
    ]
    assert names[3:] == ["hd0,gpt1", "hd1", "hd1,gpt1"]


# --- other layouts ---


@pytest.fixture
def separate(machine: Tree) -> Tree:
    machine.mount("/", "/dev/mapper/vg-root", device="254:0").mount("/boot", "/dev/sda2")
    machine.link("dev/mapper/vg-root", "../dm-0").by("uuid", OTHER, "dm-0").by("uuid", UUID, "sda2")
    machine.by("partuuid", GPT, "sda2")
    return machine.touch("boot/vmlinuz-6.1", "boot/grub/grub.cfg", "etc/fstab")


def test_boot_on_its_own_partition(separate: Tree) -> None:
    disks = separate.disks()
    assert disks.find("fs_uuid", UUID) == ["hd0,gpt2"]
    assert where(disks, "hd0,gpt2", "/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert where(disks, "hd0,gpt2", "/boot/vmlinuz-6.1") is None
    assert disks.grub_path("/boot/grub") == GrubPath("hd0,gpt2", "/grub")
    assert disks.list(GrubPath("hd0,gpt2", "/")) == ["grub/", "vmlinuz-6.1"]


def test_a_link_named_boot_on_the_boot_partition(separate: Tree) -> None:
    separate.link("boot/boot", ".")
    assert where(separate.disks(), "hd0,gpt2", "/boot/vmlinuz-6.1") == "/boot/vmlinuz-6.1"


def test_a_logical_volume_has_its_names(separate: Tree) -> None:
    disks = separate.disks()
    hint = "lvmid/Vb3mHr-0jQm-0sZW-x2Yd-3Lhc-Wb5t-UoT3bK/qk8uZ1-Gm4B-2vXe-nC9r-1oJd-Ls6y-EwP0aF"
    assert disks.device("lvm/vg-root") is not None
    with pytest.raises(Unseen):  # until a search says that it is the one that is mounted
        disks.device(hint)
    assert disks.find("fs_uuid", OTHER, [hint]) == [hint, "lvm/vg-root"]
    device = disks.device(hint)
    assert device is not None
    assert (device.name, device.uuid) == ("lvm/vg-root", OTHER)
    assert where(disks, hint, "/etc/fstab") == "/etc/fstab"


def test_the_host_files_under_a_mount_are_not_those_of_the_file_system_below(
    separate: Tree,
) -> None:
    disks = separate.disks()
    assert where(disks, "lvm/vg-root", "/boot/vmlinuz-6.1") is None
    assert (
        disks.why_missing(GrubPath("lvm/vg-root", "/boot/vmlinuz-6.1"))
        == "(lvm/vg-root)/boot/vmlinuz-6.1: what is mounted on /boot hides it"
    )
    stat = disks.stat(GrubPath("lvm/vg-root", "/boot"))
    assert stat is not None
    assert stat.kind == "dir"
    with pytest.raises(Unseen, match="what is mounted on /boot hides it"):
        disks.list(GrubPath("lvm/vg-root", "/boot"))


def test_a_host_link_into_another_file_system_is_broken_for_grub(separate: Tree) -> None:
    separate.link("boot/outside", "/etc/fstab").link("boot/up", "../etc/fstab").touch(
        "boot/etc/fstab"
    )
    disks = separate.disks()
    assert where(disks, "hd0,gpt2", "/outside") == "/boot/etc/fstab"
    assert where(disks, "hd0,gpt2", "/up") == "/boot/etc/fstab"
    (separate.root / "boot/etc/fstab").unlink()
    assert where(separate.disks(), "hd0,gpt2", "/outside") is None


@pytest.mark.parametrize("point", ["/boot/efi", "/efi"])
def test_the_esp(machine: Tree, point: str) -> None:
    machine.mount("/", "/dev/sda2").mount(point, "/dev/sda1", "vfat", device="8:1").by(
        "uuid", "5C1F-A3B2", "sda1"
    )
    machine.by("uuid", UUID, "sda2").by("partuuid", GPT, "sda1").touch(
        f"{point}/EFI/debian/grub.cfg"
    )
    disks = machine.disks()
    assert disks.find("fs_uuid", "5c1f-a3b2") == ["hd0,gpt1"]
    assert where(disks, "hd0,gpt1", "/efi/DEBIAN/grub.cfg") == f"{point}/EFI/debian/grub.cfg"
    device = disks.device("hd0,gpt1")
    assert device is not None
    assert (device.fs, device.uuid) == ("fat", "5C1F-A3B2")


def test_a_bind_mount_of_a_directory_shows_only_that(machine: Tree) -> None:
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by("uuid", OTHER, "sda3")
    machine.mount("/boot", "/dev/sda3", root="/host/boot", device="8:3").by("partuuid", GPT, "sda3")
    machine.touch("boot/vmlinuz")
    disks = machine.disks()
    assert where(disks, "hd0,gpt3", "/host/boot/vmlinuz") == "/boot/vmlinuz"
    assert where(disks, "hd0,gpt3", "/host/../host/./boot/vmlinuz") == "/boot/vmlinuz"
    assert where(disks, "hd0,gpt3", "/vmlinuz") is None
    missing = GrubPath("hd0,gpt3", "/other/vmlinuz")
    assert (
        disks.why_missing(missing)
        == "(hd0,gpt3)/other/vmlinuz: no mount below the root reaches /other"
    )
    with pytest.raises(Unseen, match="only directories below / are mounted"):
        disks.list(GrubPath("hd0,gpt3", "/"))
    assert disks.grub_path("/boot/vmlinuz") == GrubPath("hd0,gpt3", "/host/boot/vmlinuz")


def test_the_same_file_system_mounted_twice_is_seen_where_nothing_hides_it(machine: Tree) -> None:
    machine.mount("/", "/dev/sda2", id=90).mount(
        "/boot", "/dev/sda3", id=91, parent=90, device="8:3"
    )
    machine.mount("/mnt/top", "/dev/sda2", id=92, parent=90).by("uuid", UUID, "sda2").by(
        "partuuid", GPT, "sda2"
    )
    machine.touch("mnt/top/boot/vmlinuz", "boot/vmlinuz")
    disks = machine.disks()
    assert where(disks, "hd0,gpt2", "/boot/vmlinuz") == "/mnt/top/boot/vmlinuz"


@pytest.fixture
def btrfs(machine: Tree) -> Tree:
    machine.mount("/", "/dev/sda2", "btrfs", "/@", "0:25", "rw,subvolid=256,subvol=/@")
    machine.mount("/home", "/dev/sda2", "btrfs", "/@home", "0:25", "rw,subvolid=257,subvol=/@home")
    machine.by("uuid", UUID, "sda2").by("partuuid", GPT, "sda2")
    return machine.touch("boot/vmlinuz-6.1", "boot/grub/grub.cfg", "home/x")


def test_btrfs_starts_at_the_top_of_the_file_system(btrfs: Tree) -> None:
    disks = btrfs.disks()
    assert where(disks, "hd0,gpt2", "/@/boot/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert where(disks, "hd0,gpt2", "/@home/x") == "/home/x"
    assert where(disks, "hd0,gpt2", "/boot/vmlinuz-6.1") is None
    assert disks.grub_path("/boot/grub") == GrubPath("hd0,gpt2", "/@/boot/grub")
    old = GrubPath("hd0,gpt2", "/@old/boot/vmlinuz")
    assert (
        disks.why_missing(old)
        == "(hd0,gpt2)/@old/boot/vmlinuz: no mount below the root reaches /@old"
    )
    with pytest.raises(Unseen, match="only directories below / are mounted"):
        disks.list(GrubPath("hd0,gpt2", "/"))


def test_a_nested_subvolume_is_a_directory_until_it_is_mounted_elsewhere(btrfs: Tree) -> None:
    btrfs.touch("var/lib/x")
    assert where(btrfs.disks(), "hd0,gpt2", "/@/var/lib/x") == "/var/lib/x"
    btrfs.mount(
        "/boot",
        "/dev/sda2",
        "btrfs",
        "/@/nested/boot",
        "0:25",
        "rw,subvolid=300,subvol=/@/nested/boot",
    )
    disks = btrfs.disks()
    assert where(disks, "hd0,gpt2", "/@/nested/boot/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    hidden = GrubPath("hd0,gpt2", "/@/boot/vmlinuz-6.1")
    assert (
        disks.why_missing(hidden)
        == "(hd0,gpt2)/@/boot/vmlinuz-6.1: what is mounted on /boot hides it"
    )


def test_an_absolute_link_on_btrfs_starts_at_the_top(btrfs: Tree) -> None:
    btrfs.link("boot/abs", "/boot/vmlinuz-6.1").link("boot/top", "/@/boot/vmlinuz-6.1")
    disks = btrfs.disks()
    assert where(disks, "hd0,gpt2", "/@/boot/abs") is None
    assert where(disks, "hd0,gpt2", "/@/boot/top") == "/boot/vmlinuz-6.1"


def test_dot_dot_does_not_leave_a_subvolume(btrfs: Tree) -> None:
    disks = btrfs.disks()
    assert where(disks, "hd0,gpt2", "/@/../@home/x") is None
    assert where(disks, "hd0,gpt2", "/@/../boot/vmlinuz-6.1") == "/boot/vmlinuz-6.1"


def test_a_copy_does_not_tell_which_directories_below_the_top_of_btrfs_are_subvolumes(
    btrfs: Tree,
) -> None:
    """`..` leads up from a directory, and nowhere from a subvolume."""
    btrfs.mount("/top", "/dev/sda2", "btrfs", "/", "0:25", "rw,subvolid=5,subvol=/")
    btrfs.touch("top/@snap/x", "top/x", "top/@snap/dir/y")
    disks = btrfs.disks()
    assert where(disks, "hd0,gpt2", "/@snap/./x") == "/top/@snap/x"
    with pytest.raises(Unseen):
        disks.stat(GrubPath("hd0,gpt2", "/@snap/../x"))
    assert "whether /@snap is a subvolume" in disks.why_missing(GrubPath("hd0,gpt2", "/@snap/../x"))


def test_btrfs_on_two_devices_answers_on_both(machine: Tree) -> None:
    machine.mount("/", "/dev/sdb2", "btrfs", "/@", "0:25", "rw,subvol=/@").by("uuid", UUID, "sda2")
    machine.mkdir(f"sys/fs/btrfs/{UUID}/devices", "sys/fs/btrfs/features").touch(
        f"sys/fs/btrfs/{UUID}/devices/sda2", f"sys/fs/btrfs/{UUID}/devices/sdb2", "boot/vmlinuz"
    )
    machine.by("partuuid", GPT, "sda2").by("partuuid", GPT.replace("0", "1"), "sdb2")
    disks = machine.disks()
    found = disks.find("fs_uuid", UUID, ["hd0,gpt2", "hd1,gpt2"])
    assert found[:2] == ["hd0,gpt2", "hd1,gpt2"]
    assert {where(disks, name, "/@/boot/vmlinuz") for name in found} == {"/boot/vmlinuz"}


@pytest.fixture
def zfs(machine: Tree) -> Tree:
    machine.mount("/", "rpool/ROOT/debian", "zfs", device="0:30").by("uuid", "4660", "sda3").by(
        "label", "rpool", "sda3"
    )
    machine.mount("/boot", "bpool/BOOT/debian", "zfs", device="0:31").by("uuid", "22136", "sda2")
    machine.by("label", "bpool", "sda2").by("partuuid", GPT, "sda2").by(
        "partuuid", GPT.replace("0", "1"), "sda3"
    )
    return machine.touch("boot/vmlinuz-6.1", "etc/fstab")


def test_zfs_names_data_sets(zfs: Tree) -> None:
    disks = zfs.disks()
    assert disks.find("label", "bpool") == ["hd0,gpt2"]
    assert disks.find("fs_uuid", "0000000000005678") == ["hd0,gpt2"]
    assert where(disks, "hd0,gpt2", "/BOOT/debian@/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert where(disks, "hd0,gpt2", "/BOOT/debian/@/vmlinuz-6.1") == "/boot/vmlinuz-6.1"
    assert where(disks, "hd0,gpt3", "/ROOT/debian@/etc/fstab") == "/etc/fstab"
    assert disks.grub_path("/boot/vmlinuz-6.1") == GrubPath("hd0,gpt2", "/BOOT/debian@/vmlinuz-6.1")
    assert disks.list(GrubPath("hd0,gpt2", "/BOOT/debian@/")) == ["vmlinuz-6.1"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/ROOT/other@/etc/fstab", "no mount below the root reaches /ROOT/other@"),
        ("/ROOT/debian@snap/etc/fstab", "no mount below the root reaches /ROOT/debian@snap"),
        ("/ROOT/debian@/boot/vmlinuz-6.1", "what is mounted on /boot hides it"),
        ("/etc/fstab", "missing `@' symbol"),
        ("/ROOT/debian@/../x", "can't resolve .."),
    ],
)
def test_what_zfs_does_not_show(zfs: Tree, path: str, why: str) -> None:
    assert zfs.disks().why_missing(GrubPath("hd0,gpt3", path)) == f"(hd0,gpt3){path}: {why}"


def test_an_unlocked_container_is_called_by_its_uuid(machine: Tree) -> None:
    name = "luks-07f3d2c9-8c64-4e0f-9a3e-1d5b6a7f8e33"
    machine.mount("/", f"/dev/mapper/{name}").link(f"dev/mapper/{name}", "../dm-0").by(
        "uuid", UUID, "dm-0"
    )
    machine.touch("boot/vmlinuz")
    disks = machine.disks()
    hint = "cryptouuid/07f3d2c98c644e0f9a3e1d5b6a7f8e33"
    assert disks.find("fs_uuid", UUID, [hint]) == [hint, "crypto0"]
    assert where(disks, hint, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.find("fs_uuid", UUID, ["cryptouuid/" + "0" * 32]) == ["crypto0"]
    # disk/cryptodisk.c compares with grub_strcasecmp, from 2.12 on with grub_uuidcasecmp
    assert (
        where(disks, hint.upper().replace("CRYPTOUUID", "cryptouuid"), "/boot/vmlinuz")
        == "/boot/vmlinuz"
    )
    assert where(disks, f"cryptouuid/{name[5:]}", "/boot/vmlinuz") == "/boot/vmlinuz"


def test_device_mapper_tells_what_a_name_is(machine: Tree) -> None:
    machine.mount("/", "/dev/mapper/a-b").link("dev/mapper/a-b", "../dm-0").by("uuid", UUID, "dm-0")
    machine.mkdir("sys/class/block/dm-0/dm").touch("boot/vmlinuz")
    (machine.root / "sys/class/block/dm-0/dm/uuid").write_text(f"CRYPT-LUKS2-{'ab' * 16}-a-b\n")
    assert machine.disks().find("fs_uuid", UUID) == ["crypto0"]
    (machine.root / "sys/class/block/dm-0/dm/uuid").write_text(
        "LVM-Vb3mHr0jQm0sZWx2Yd3LhcWb5tUoT3bKqk8uZ1Gm4B2vXenC9r1oJdLs6yEwP0aF\n"
    )
    disks = machine.disks()
    hint = "lvmid/Vb3mHr-0jQm-0sZW-x2Yd-3Lhc-Wb5t-UoT3bK/qk8uZ1-Gm4B-2vXe-nC9r-1oJd-Ls6y-EwP0aF"
    assert where(disks, hint, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.find("fs_uuid", UUID, ["lvmid/other/one"]) == ["lvm/a-b"]


@pytest.mark.parametrize(
    ("node", "extra", "name"), [("md0", "", "md/0"), ("md127", "boot", "md/boot")]
)
def test_an_array_has_its_names(machine: Tree, node: str, extra: str, name: str) -> None:
    machine.mount("/", f"/dev/{node}").by("uuid", UUID, node).touch("boot/vmlinuz")
    if extra:
        machine.link(f"dev/md/{extra}", f"../{node}")
    disks = machine.disks()
    assert disks.find("fs_uuid", UUID, ["mduuid/0123456789abcdef"]) == [
        "mduuid/0123456789abcdef",
        name,
    ]
    assert where(disks, "mduuid/0123456789abcdef", "/boot/vmlinuz") == "/boot/vmlinuz"


def test_dev_root_is_found_by_its_number(machine: Tree) -> None:
    machine.mount("/", "/dev/root", device="8:2").by("uuid", UUID, "sda2").link(
        "dev/block/8:2", "../sda2"
    )
    assert machine.touch("boot/vmlinuz").disks().find("fs_uuid", UUID) != []


def test_a_file_system_that_grub_cannot_read(machine: Tree) -> None:
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by("uuid", OTHER, "sda3").by(
        "partuuid", GPT, "sda3"
    )
    machine.mount("/srv", "/dev/sda3", "bcachefs", device="8:3").touch("srv/x")
    disks = machine.disks()
    assert disks.find("fs_uuid", OTHER) == []
    with pytest.raises(DiskError) as caught:
        disks.read(GrubPath("hd0,gpt3", "/x"))
    assert (caught.value.errno, caught.value.message) == (8, "unknown filesystem")


# --- roots that tell little ---


def test_a_root_without_mountinfo_is_one_file_system_that_answers_to_everything(
    machine: Tree,
) -> None:
    disks = RootDisks(Sysroot(machine.touch("boot/vmlinuz").root))
    assert list(disks.assumed) == []
    assert disks.find("fs_uuid", UUID, ["hd0,gpt2"]) == ["hd0,gpt2", "hd0,gpt2"]
    assert disks.find("label", "anything") == ["hd0,gpt2"]
    assert where(disks, "hd0,gpt2", "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.assumed == (
        "there is no proc/self/mountinfo below the root, so it is taken to be one file system",
    )
    device = disks.device("hd0,2")
    assert device is not None
    assert device.assumed == "from the hint of a search"


def test_without_a_hint_it_is_hd0_and_any_partition_of_it(machine: Tree) -> None:
    disks = RootDisks(Sysroot(machine.touch("boot/vmlinuz").root))
    assert disks.find("fs_uuid", UUID) == ["hd0"]
    assert where(disks, "hd0,msdos5", "/boot/vmlinuz") == "/boot/vmlinuz"
    assert where(disks, "hd1,msdos1", "/boot/vmlinuz") is None
    assert disks.grub_path("/boot") == GrubPath("hd0", "/boot")
    device = disks.device("hd0")
    assert device is not None
    assert device.assumed == "nothing tells its device"


@pytest.mark.parametrize("text", ["", "garbage\n", "\0\0\0"])
def test_a_mountinfo_without_a_mount_is_none(machine: Tree, text: str) -> None:
    machine.mkdir("proc/self").touch("boot/vmlinuz")
    (machine.root / "proc/self/mountinfo").write_text(text)
    assert RootDisks(Sysroot(machine.root)).find("fs_uuid", UUID) == ["hd0"]


def test_a_container_whose_root_is_no_disk_still_answers(machine: Tree) -> None:
    machine.mount("/", "overlay", "overlay", device="0:50").mount(
        "/etc/hosts", "/dev/vda1", root="/docker/hosts"
    )
    machine.by("uuid", OTHER, "vda1").touch("boot/vmlinuz")
    disks = machine.disks()
    (name,) = disks.find("fs_uuid", UUID)
    assert where(disks, name, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.assumed == ("/boot is on overlay, which is not a disk that GRUB could see",)
    assert disks.find("fs_uuid", OTHER) != [name]


def test_without_links_of_udev_boot_is_what_is_searched_for(machine: Tree) -> None:
    machine.mount("/", "/dev/sda3", device="8:3").mount("/boot", "/dev/sda2").touch("boot/vmlinuz")
    disks = machine.disks()
    (name,) = disks.find("fs_uuid", UUID)
    assert where(disks, name, "/vmlinuz") == "/boot/vmlinuz"
    assert disks.assumed == (
        "there is no dev/disk/by-uuid below the root, so /boot is taken to be what is searched for",
    )


def test_a_chroot_whose_mount_is_out_of_sight(machine: Tree) -> None:
    machine.touch("boot/vmlinuz")
    disks = machine.disks()
    (name,) = disks.find("fs_uuid", UUID)
    assert where(disks, name, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.assumed == (
        "/boot is on a mount outside the root, which is not a disk that GRUB could see",
    )


def test_a_live_proc_inside_the_root_is_seen_from_inside(machine: Tree) -> None:
    at = machine.root
    machine.mounts = [
        "1 0 8:9 / / rw - ext4 /dev/sdz9 rw",
        f"2 1 8:2 / {at} rw - ext4 /dev/sda2 rw",
        f"3 2 8:3 / {at}/boot rw - ext4 /dev/sda3 rw",
    ]
    machine.by("uuid", UUID, "sda3").touch("boot/vmlinuz")
    disks = machine.disks()
    (name,) = disks.find("fs_uuid", UUID)
    assert where(disks, name, "/vmlinuz") == "/boot/vmlinuz"


def test_a_live_proc_that_tells_of_other_places_is_not_believed(machine: Tree) -> None:
    machine.mounts = ["1 0 8:9 / / rw - ext4 /dev/sdz9 rw"]
    machine.mkdir("proc/77").link("proc/self", "77").touch("boot/vmlinuz")
    disks = machine.disks()
    disks.find("fs_uuid", UUID)
    assert disks.assumed == (
        "there is no proc/self/mountinfo below the root, so it is taken to be one file system",
    )


# --- names ---


def test_the_hint_of_a_search_gives_the_name(plain: Tree) -> None:
    disks = plain.disks()
    assert disks.find("fs_uuid", UUID, ["hd1,gpt2", "hd0,gpt2"])[0] == "hd1,gpt2"
    device = disks.device("hd1,gpt2")
    assert device is not None
    assert (device.uuid, device.assumed) == (UUID, "from the hint of a search")
    with pytest.raises(Unseen):  # GRUB that has an hd1 has an hd0
        disks.device("hd0,gpt2")
    assert disks.device("hd2,gpt2") is None


@pytest.mark.parametrize("hint", ["hd1,gpt2", "hd0,gpt2", "hd0,msdos2", "hd0,2"])
def test_a_name_that_was_given_out_stays_true_when_a_hint_tells_a_better_one(
    machine: Tree, hint: str
) -> None:
    """$prefix is made before the configuration runs its first search."""
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by("uuid", OTHER, "sdb2").touch(
        "boot/vmlinuz"
    )
    disks = machine.disks()
    prefix = disks.grub_path("/boot")
    assert prefix is not None
    assert disks.find("fs_uuid", UUID, [hint])[0] == hint
    (other,) = disks.find("fs_uuid", OTHER)
    for name in (prefix.device, hint):
        assert where(disks, name, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert where(disks, other, "/boot/vmlinuz") is None


def test_a_hint_that_names_another_partition_is_not_believed(plain: Tree) -> None:
    disks = plain.disks()
    assert disks.find("fs_uuid", UUID, ["hd0,gpt3", "hd0,msdos2", "hd0", "", "fd0"]) == ["hd0,gpt2"]


def test_a_hint_is_answered_as_it_was_written(plain: Tree) -> None:
    assert plain.disks().find("fs_uuid", UUID, ["hd0,2"]) == ["hd0,2", "hd0,gpt2"]
    assert plain.disks().find("fs_uuid", UUID, ["hd2,"]) == ["hd2,gpt2", "hd2,gpt2"]


def test_a_name_that_a_search_gave_out_stays_true_when_a_hint_tells_a_better_one(
    plain: Tree,
) -> None:
    disks = plain.touch("boot/vmlinuz").disks()
    assert disks.find("fs_uuid", UUID) == ["hd0,gpt2"]
    assert disks.find("fs_uuid", UUID, ["hd1,gpt2"])[0] == "hd1,gpt2"
    for name in ("hd0,gpt2", "hd1,gpt2"):
        assert where(disks, name, "/boot/vmlinuz") == "/boot/vmlinuz"
    assert disks.contradiction  # to be read once more, with the better name


def test_two_disks_change_places_when_a_hint_says_so(machine: Tree) -> None:
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by("partuuid", GPT, "sda2")
    machine.by("uuid", OTHER, "sdb1").by("partuuid", GPT.replace("0", "1"), "sdb1").touch(
        "boot/vmlinuz"
    )
    disks = machine.disks()
    assert disks.find("fs_uuid", OTHER, ["hd0,gpt1"])[0] == "hd0,gpt1"
    assert disks.find("fs_uuid", UUID) == ["hd1,gpt2"]
    assert where(disks, "hd1,gpt2", "/boot/vmlinuz") == "/boot/vmlinuz"


def test_a_name_of_nativedisk_is_known_once_a_search_told_it(plain: Tree) -> None:
    disks = plain.disks()
    with pytest.raises(Unseen):
        disks.device("ahci0,gpt2")
    assert disks.find("fs_uuid", UUID, ["hd0,gpt2", "ahci0,gpt2"])[0] == "hd0,gpt2"
    device = disks.device("ahci0,gpt2")
    assert device is not None
    assert device.name == "hd0,gpt2"


def test_boot_image_goes_before_hints(plain: Tree) -> None:
    plain.cmdline("BOOT_IMAGE=(hd3,gpt2)/boot/vmlinuz-6.1 root=/dev/sda2 quiet")
    disks = plain.disks()
    assert disks.find("fs_uuid", UUID, ["hd0,gpt2"]) == ["hd3,gpt2"]
    device = disks.device("hd3,gpt2")
    assert device is not None
    assert device.assumed == ""


def test_boot_image_counts_also_when_its_kernel_was_removed(plain: Tree) -> None:
    plain.cmdline("quiet BOOT_IMAGE=(hd3,gpt2)/boot/vmlinuz-5.10")
    assert plain.disks().grub_path("/boot") == GrubPath("hd3,gpt2", "/boot")


@pytest.mark.parametrize(
    "line",
    [
        "BOOT_IMAGE=/boot/vmlinuz-6.1",
        "BOOT_IMAGE=(hd3,gpt7)/boot/vmlinuz-6.1",
        "BOOT_IMAGE=(hd3,msdos2)/boot/vmlinuz-6.1",
        "xBOOT_IMAGE=(hd3,gpt2)/boot/vmlinuz-6.1",
        "BOOT_IMAGE=(",
        "BOOT_IMAGE=()/x",
        "",
    ],
)
def test_a_boot_image_that_does_not_fit_is_not_believed(plain: Tree, line: str) -> None:
    plain.cmdline(line)
    assert plain.disks().find("fs_uuid", UUID) == ["hd0,gpt2"]


def test_boot_image_names_the_disk_that_holds_its_kernel(separate: Tree) -> None:
    separate.cmdline("BOOT_IMAGE=(hd1,gpt2)/vmlinuz-6.1 root=/dev/mapper/vg-root")
    assert separate.disks().grub_path("/boot") == GrubPath("hd1,gpt2", "/")


@pytest.mark.parametrize(("partuuid", "name"), [(GPT, "hd0,gpt2"), ("0a1b2c3d-02", "hd0,msdos2")])
def test_the_form_of_a_partuuid_tells_the_partition_map(
    machine: Tree, partuuid: str, name: str
) -> None:
    machine.mount("/", "/dev/nvme0n1p2").by("uuid", UUID, "nvme0n1p2").by(
        "partuuid", partuuid, "nvme0n1p2"
    )
    assert machine.touch("boot/x").disks().find("fs_uuid", UUID) == [name]


@pytest.mark.parametrize(("efi", "name"), [(False, "hd0,msdos2"), (True, "hd0,gpt2")])
def test_an_unknown_partition_map_is_assumed_from_the_firmware_until_a_hint_tells(
    machine: Tree, efi: bool, name: str
) -> None:
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").touch("boot/x")
    if efi:
        machine.mkdir("sys/firmware/efi")
    disks = machine.disks()
    device = disks.device(name)
    assert device is not None
    assert device.assumed == "nothing tells its number"
    for told in ("hd0,gpt2", "hd0,msdos2"):
        assert machine.disks().find("fs_uuid", UUID, [told]) == [told, told]


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        ("sda2", ("sda", 2)),
        ("sda", ("sda", 0)),
        ("xvda15", ("xvda", 15)),
        ("nvme0n1p3", ("nvme0n1", 3)),
        ("nvme0n1", ("nvme0n1", 0)),
        ("mmcblk0p1", ("mmcblk0", 1)),
        ("mmcblk0", ("mmcblk0", 0)),
        ("md0", ("md0", 0)),
        ("md127p2", ("md127", 2)),
        ("dm-3", ("dm-3", 0)),
        ("sr0", ("sr0", 0)),
        ("mapper/vg-root1", ("mapper/vg-root1", 0)),
    ],
)
def test_nodes_are_split_into_disk_and_partition(node: str, parts: tuple[str, int]) -> None:
    assert split_node(node) == parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hd0,gpt2", ("hd0", "gpt2")),
        ("hd0", ("hd0", "")),
        ("hd0,", ("hd0", "")),
        (r"ieee1275//disk\,1,gpt2", (r"ieee1275//disk\,1", "gpt2")),
        ("a,b,c", ("a", "b,c")),
        ("", ("", "")),
        ("a\\", ("a\\", "")),
    ],
)
def test_names_are_split_at_the_first_bare_comma(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("gpt2", ("gpt", 2)),
        ("2", ("", 2)),
        ("0x10", ("", 16)),
        ("010", ("", 8)),
        ("08", ("", 0)),
        ("gpt2x", ("", 0)),
    ],
)
def test_partitions_are_numbered_as_strtoul_reads_them(part: str, number: tuple[str, int]) -> None:
    assert part_of(part) == number


# --- hostile and odd ---


def test_mount_points_with_blanks_and_links_out_of_the_root(machine: Tree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    machine.mount("/", "/dev/sda2").by("uuid", UUID, "sda2").by("partuuid", GPT, "sda2")
    machine.mkdir("my mnt").link("my mnt/out", str(tmp_path / "secret")).link("boot", str(tmp_path))
    machine.mounts.append(f"99 {machine.root_id()} 8:3 / /my\\040mnt rw - ext4 /dev/sda3 rw")
    machine.by("uuid", OTHER, "sda3").by("partuuid", GPT.replace("0", "1"), "sda3")
    disks = machine.disks()
    assert where(disks, "hd0,gpt3", "/out") is None
    assert where(disks, "hd0,gpt2", "/boot/secret") is None


def test_links_of_udev_that_lead_astray_are_ignored(plain: Tree) -> None:
    plain.link(f"dev/disk/by-uuid/{'a' * 8}", "/etc/passwd").link("dev/disk/by-uuid/loop", "loop")
    plain.link("dev/disk/by-uuid/up", "../../../../../../etc")
    disks = plain.disks()
    assert disks.find("fs_uuid", "a" * 8) == []
    assert disks.find("fs_uuid", "up") == []


def test_loop_devices_of_snaps_are_no_disks_of_grub(plain: Tree) -> None:
    plain.mount("/snap/core", "/dev/loop0", "squashfs", device="7:0")
    assert not any("loop" in device.name for device in plain.disks().devices())
    assert [d.name for d in plain.disks().devices() if "," not in d.name] == ["hd0"]


def test_what_was_read_is_remembered(plain: Tree) -> None:
    disks = plain.disks()
    disks.find("fs_uuid", UUID)
    disks.read(GrubPath("hd0,gpt2", "/boot/grub/grub.cfg"))
    disks.stat(GrubPath("hd0,gpt2", "/boot/none"))
    reads = disks.sysroot.reads
    assert reads["/boot/grub/grub.cfg"] is not None
    assert reads["/boot/none"] is None
    assert "/dev/disk/by-uuid" in reads
    assert not any(path.startswith("/proc/") for path in reads)


def test_a_file_that_vanishes_after_it_was_seen_is_not_found(plain: Tree) -> None:
    disks = plain.disks()
    path = GrubPath("hd0,gpt2", "/boot/vmlinuz-6.1")
    assert disks.stat(path) is not None
    os.unlink(plain.root / "boot/vmlinuz-6.1")
    with pytest.raises(DiskError) as caught:
        disks.read(path)
    assert (caught.value.errno, caught.value.message) == (5, "file `/boot/vmlinuz-6.1' not found")


def test_what_a_directory_of_the_running_machine_is_called_leads_back_to_it() -> None:
    disks = RootDisks(Sysroot("/"))
    path = disks.grub_path("/etc")
    if path is None:
        pytest.skip("/ is on no file system that GRUB reads")
    location = disks.locate(path)
    assert location is not None
    assert os.path.samefile(location.host, "/etc")
    assert path.device in {device.name for device in disks.devices()}
