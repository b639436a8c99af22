"""Where GRUB's configuration is on a root, which GRUB reads it, and with which variables it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kexec_hook.cli import main
from kexec_hook.disks.root import RootDisks
from kexec_hook.plugins.api import BootConfig
from kexec_hook.plugins.builtin.grub import (
    kexec_hook_boot_config,
)
from tests import bootcode
from tests.tree import Tree

UUID = "11111111-2222-3333-4444-555555555555"
ESP = "0FC6-3DAF"
ESP_PART = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ROOT_PART = "0fc63daf-8483-4772-8e79-3d69d8477de4"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
FEDORA = 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=44\nPLATFORM_ID="platform:f44"\n'
STAND_INS = Path(__file__).resolve().parents[2] / "roots/debian-12/tree/boot"
KERNEL = (STAND_INS / "vmlinuz-6.1.0-39-amd64").read_bytes()
INITRD = (STAND_INS / "initrd.img-6.1.0-39-amd64").read_bytes()
WORDS = "linux {}/vmlinuz root=/dev/sda2 prefix=$prefix root=$root\ninitrd {}/initrd.img"


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    """A PC whose disk has a GPT; its second partition is the root."""
    machine = (
        Tree(tmp_path / "root")
        .mount("/", "/dev/sda2")
        .touch("dev/sda1", "dev/sda2", "dev/sda3", "dev/dm-0")
    )
    return (
        machine.by("uuid", UUID, "sda2")
        .by("partuuid", ROOT_PART, "sda2")
        .write("etc/os-release", DEBIAN)
    )


@pytest.fixture
def uefi(machine: Tree) -> Tree:
    """The same with an EFI system partition, which is the first."""
    machine.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1").efi()
    return machine.by("uuid", ESP, "sda1").by("partuuid", ESP_PART, "sda1")


def look(machine: Tree, *, is_host: bool = False) -> BootConfig | None:
    sysroot = machine.sysroot(is_host=is_host)
    return kexec_hook_boot_config(sysroot, RootDisks(sysroot))


def locate(machine: Tree, *, is_host: bool = False) -> BootConfig:
    found = look(machine, is_host=is_host)
    assert found is not None
    return found


def cfg(machine: Tree, path: str, body: str = WORDS, boot: str = "/boot") -> Tree:
    """A configuration with one entry, and what it loads."""
    text = body.format(boot, boot) if "{}" in body else body
    machine.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    return machine.write(path, f"menuentry Linux {{\n{text}\n}}\n")


def booted(machine: Tree, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The words of the command line by their names, as stage says them."""
    machine.sysroot()
    assert main(["--root", str(machine.root), "stage", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    return dict(word.split("=", 1) for word in said["cmdline"].split() if "=" in word)


# --- the directory ---


def test_boot_on_the_root_file_system(machine: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    cfg(machine, "boot/grub/grub.cfg")
    found = locate(machine)
    assert found.path == "/boot/grub/grub.cfg"
    assert found.config == "(hd0,gpt2)/boot/grub/grub.cfg"
    assert found.prefix == "(hd0,gpt2)/boot/grub"
    assert (found.platform, found.cpu, found.globbing, found.notes) == ("pc", "i386", False, ())
    words = booted(machine, capsys)
    assert (words["prefix"], words["root"]) == ("(hd0,gpt2)/boot/grub", "hd0,gpt2")


def test_boot_on_a_partition_of_its_own(machine: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    machine.mount("/boot", "/dev/sda3", device="8:3").by("partuuid", ESP_PART, "sda3").by(
        "uuid", "x-y", "sda3"
    )
    cfg(machine, "boot/grub/grub.cfg", boot="")
    assert locate(machine).path == "/boot/grub/grub.cfg"
    assert locate(machine).prefix == "(hd0,gpt3)/grub"
    words = booted(machine, capsys)
    assert (words["BOOT_IMAGE"], words["prefix"], words["root"]) == (
        "/vmlinuz",
        "(hd0,gpt3)/grub",
        "hd0,gpt3",
    )


def test_boot_in_a_subvolume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Tree(tmp_path).mount(
        "/", "/dev/sda2", "btrfs", root="/@", options="rw,subvolid=256,subvol=/@"
    )
    machine.by("partuuid", ROOT_PART, "sda2").by("uuid", UUID, "sda2").touch("dev/sda2")
    cfg(machine, "boot/grub/grub.cfg", boot="/@/boot")
    assert locate(machine).prefix == "(hd0,gpt2)/@/boot/grub"
    assert booted(machine, capsys)["BOOT_IMAGE"] == "/@/boot/vmlinuz"


def test_paths_that_start_at_a_subvolume_are_not_for_every_grub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """openSUSE writes `set btrfs_relative_path="yes"`; / at the top may hold another kernel of that name."""
    machine = (
        Tree(tmp_path)
        .mount("/", "/dev/sda2", "btrfs", options="rw,subvolid=5,subvol=/")
        .touch("dev/sda2")
    )
    cfg(machine, "boot/grub2/grub.cfg", boot="/boot")
    config = (tmp_path / "boot/grub2/grub.cfg").read_text()
    assert booted(machine, capsys)["BOOT_IMAGE"] == "/boot/vmlinuz"
    machine.write(
        "boot/grub2/grub.cfg",
        'set btrfs_relative_path="yes"\nexport btrfs_relative_path\n' + config,
    )
    assert main(["--root", str(tmp_path), "stage", "--dry-run"]) == 3
    assert (
        "the configuration sets btrfs_relative_path, which this GRUB is not known to follow"
        in capsys.readouterr().out
    )


def test_boot_on_zfs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Tree(tmp_path).mount("/", "rpool/ROOT/debian", "zfs", device="0:30")
    machine.by("partuuid", ROOT_PART, "sda2").by("label", "rpool", "sda2").touch("dev/sda2")
    cfg(machine, "boot/grub/grub.cfg", boot="/ROOT/debian@/boot")
    assert locate(machine).prefix == "(hd0,gpt2)/ROOT/debian@/boot/grub"
    assert booted(machine, capsys)["BOOT_IMAGE"] == "/ROOT/debian@/boot/vmlinuz"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (DEBIAN, "/boot/grub/grub.cfg"),
        (FEDORA, "/boot/grub2/grub.cfg"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "/boot/grub2/grub.cfg"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "/boot/grub2/grub.cfg"),
        ("", "/boot/grub/grub.cfg"),
    ],
)
def test_of_two_directories_the_distribution_says_which(
    machine: Tree, release: str, expected: str
) -> None:
    cfg(machine, "boot/grub/grub.cfg")
    cfg(machine, "boot/grub2/grub.cfg")
    assert locate(machine.write("etc/os-release", release)).path == expected


@pytest.mark.parametrize("directory", ["grub", "grub2"])
@pytest.mark.parametrize("release", [DEBIAN, FEDORA])
def test_of_one_directory_nobody_needs_to_say(machine: Tree, directory: str, release: str) -> None:
    cfg(machine, f"boot/{directory}/grub.cfg")
    assert locate(machine.write("etc/os-release", release)).path == f"/boot/{directory}/grub.cfg"


def test_no_configuration(machine: Tree) -> None:
    assert look(machine) is None
    assert look(machine.mkdir("boot/grub")) is None


@pytest.mark.parametrize("odd", ["directory", "dangling link", "looping link"])
def test_what_is_no_file_is_still_the_place(machine: Tree, odd: str) -> None:
    if odd == "directory":
        machine.mkdir("boot/grub2/grub.cfg")
    else:
        machine.link("boot/grub2/grub.cfg", "grub.cfg" if odd == "looping link" else "gone")
    assert locate(machine).path == "/boot/grub2/grub.cfg"
    assert locate(cfg(machine, "boot/grub/grub.cfg")).path == "/boot/grub/grub.cfg", (
        "a file is better"
    )


def test_a_root_without_mountinfo_is_taken_as_it_lies(tmp_path: Path) -> None:
    machine = cfg(Tree(tmp_path), "boot/grub/grub.cfg")
    (tmp_path / "proc/self/mountinfo").unlink(missing_ok=True)
    from kexec_hook.system.sysroot import Sysroot

    found = kexec_hook_boot_config(Sysroot(machine.root), RootDisks(Sysroot(machine.root)))
    assert found is not None
    assert (found.path, found.prefix) == ("/boot/grub/grub.cfg", "(hd0)/boot/grub")


# --- names of volumes: grub-install writes (%s) of its drive's own name, lvmid/.., cryptouuid/.. or mduuid/.. ---

LVM = (
    "aaaaaabbbbccccddddeeeeffffgggggg" + "111111222233334444555566667777 77".replace(" ", "7")[:32]
)


@pytest.mark.parametrize(
    ("name", "uuid", "device"),
    [
        (
            "vg-root",
            "LVM-" + LVM,
            "lvmid/aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg/111111-2222-3333-4444-5555-6666-777777",
        ),
        ("vg-root", "", "lvm/vg-root"),
        (
            "luks-0b5e1e3c-6c7e-4d55-9d33-0123456789ab",
            "CRYPT-LUKS2-0b5e1e3c6c7e4d559d330123456789ab-luks-0b5e1e3c",
            "cryptouuid/0b5e1e3c6c7e4d559d330123456789ab",
        ),
    ],
)
def test_a_volume_is_known_by_its_id(tmp_path: Path, name: str, uuid: str, device: str) -> None:
    machine = Tree(tmp_path).mount("/", f"/dev/mapper/{name}", device="254:0").touch("dev/dm-0")
    machine.link(f"dev/mapper/{name}", "../dm-0").by("uuid", UUID, "dm-0")
    if uuid:
        machine.write("sys/class/block/dm-0/dm/uuid", uuid + "\n")
    cfg(machine, "boot/grub/grub.cfg")
    assert locate(machine).prefix == f"({device})/boot/grub"
    assert locate(machine).cmdpath == "(hd0)", "the BIOS starts from a disk"


def test_an_array_is_known_by_its_id(tmp_path: Path) -> None:
    machine = (
        Tree(tmp_path)
        .mount("/", "/dev/md127", device="9:127")
        .touch("dev/md127")
        .by("uuid", UUID, "md127")
    )
    cfg(machine, "boot/grub/grub.cfg")
    assert locate(machine).prefix == "(md/127)/boot/grub"
    machine.link("dev/md/root", "../md127").by("id", "md-name-host:root", "md127")
    assert locate(machine).prefix == "(md/root)/boot/grub"
    machine.by("id", "md-uuid-3aaa0122:29827cfa:5331ad66:ca767371", "md127")
    assert locate(machine).prefix == "(mduuid/3aaa012229827cfa5331ad66ca767371)/boot/grub"


# --- EFI ---

# Debian's grub-install (install-signed.patch) writes these lines, and the last one whatever comes before.
DEBIAN_STUB = f"search.fs_uuid {UUID} root hd0,gpt2 \nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
# Fedora's grub2 package, %posttrans efi; EL 9 and 10 have the same.
FEDORA_STUB = (
    f"search --no-floppy --root-dev-only --fs-uuid --set=dev {UUID}\n"
    "set prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n"
)


def test_debians_stub_leads_to_boot(uefi: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB)
    found = locate(uefi)
    assert found.path == "/boot/efi/EFI/debian/grub.cfg"
    assert found.config == "(hd0,gpt1)/EFI/debian/grub.cfg"
    assert found.prefix == found.cmdpath == "(hd0,gpt1)/EFI/debian"
    assert (found.platform, found.cpu, found.globbing, found.notes) == ("efi", "x86_64", True, ())
    words = booted(uefi, capsys)
    assert words["prefix"] == "(hd0,gpt2)/boot/grub"
    assert words["root"] == "hd0,gpt2"


def test_fedoras_stub_leads_to_boot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Tree(tmp_path).mount("/", "/dev/sda3", "btrfs", root="/root", device="0:35").efi()
    machine.mount("/boot", "/dev/sda2", id=50).mount(
        "/boot/efi", "/dev/sda1", "vfat", device="8:1", parent=50
    )
    for number, uuid, partuuid in (("1", ESP, ESP_PART), ("2", UUID, ROOT_PART)):
        machine.touch(f"dev/sda{number}").by("uuid", uuid, f"sda{number}").by(
            "partuuid", partuuid, f"sda{number}"
        )
    machine.write("etc/os-release", FEDORA).write("boot/efi/EFI/fedora/grub.cfg", FEDORA_STUB)
    cfg(machine, "boot/grub2/grub.cfg", "set root=hd0,gpt2\n" + WORDS.replace("{}", ""))
    assert locate(machine).path == "/boot/efi/EFI/fedora/grub.cfg"
    words = booted(machine, capsys)
    assert words["prefix"] == "(hd0,gpt2)/grub2"


@pytest.mark.parametrize(
    ("boot", "prefix"), [("sdb2", "(hd0,gpt2)/grub2"), ("md127", "(md/127)/grub2")]
)
def test_fedoras_stub_leads_to_boot_on_another_disk_or_an_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], boot: str, prefix: str
) -> None:
    """--root-dev-only looks at all disks: rhboot's "Rework of CVE-2023-4001 fix" of May 2024."""
    machine = Tree(tmp_path).mount("/", "/dev/sda3", "btrfs", root="/root", device="0:35").efi()
    machine.mount("/boot", f"/dev/{boot}", id=50, device="9:127").mount(
        "/boot/efi", "/dev/sda1", "vfat", device="8:1", parent=50
    )
    machine.touch("dev/sda1", f"dev/{boot}").by("uuid", UUID, boot).by("uuid", ESP, "sda1").by(
        "partuuid", ESP_PART, "sda1"
    )
    machine.write("etc/os-release", FEDORA).write("boot/efi/EFI/fedora/grub.cfg", FEDORA_STUB)
    cfg(machine, "boot/grub2/grub.cfg", "set root=$dev\n" + WORDS.replace("{}", ""))
    assert booted(machine, capsys)["prefix"] == prefix


def test_the_whole_configuration_on_the_esp(uefi: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Fedora up to 33 and RHEL 8: EFI/fedora/grub.cfg is grub2-mkconfig's, and grubenv lies beside it."""
    body = f"search --fs-uuid --set=root {UUID}\n" + WORDS
    uefi.write("etc/os-release", FEDORA.replace("44", "33"))
    cfg(uefi, "boot/efi/EFI/fedora/grub.cfg", body)
    assert locate(uefi).path == "/boot/efi/EFI/fedora/grub.cfg"
    words = booted(uefi, capsys)
    assert (words["prefix"], words["root"]) == ("(hd0,gpt1)/EFI/fedora", "hd0,gpt2")


def test_without_a_stub_grub_install_has_written_where_boot_is(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unsigned image: its prefix is (,gpt2)/boot/grub, and it was loaded from the ESP."""
    cfg(uefi, "boot/grub/grub.cfg").mkdir("boot/efi/EFI/debian")
    found = locate(uefi)
    assert (found.path, found.prefix) == ("/boot/grub/grub.cfg", "(hd0,gpt2)/boot/grub")
    assert (found.cmdpath, found.globbing, found.notes) == ("(hd0,gpt1)/EFI/debian", False, ())
    words = booted(uefi, capsys)
    assert words["prefix"] == "(hd0,gpt2)/boot/grub"


def test_a_stub_on_no_fat_was_never_read_by_a_firmware(machine: Tree) -> None:
    """The ESP is not mounted, and below its mount point something was left over."""
    cfg(machine, "boot/grub/grub.cfg").efi().write(
        "boot/efi/EFI/debian/grub.cfg", "set prefix=(hd9)/\n"
    )
    found = locate(machine)
    assert (found.path, found.platform) == ("/boot/grub/grub.cfg", "efi")
    assert found.notes == (
        "no EFI system partition with GRUB is mounted, so GRUB is assumed to start in /boot/grub",
    )


@pytest.mark.parametrize("point", ["/efi", "/boot", "/mnt/my esp"])
def test_the_esp_is_wherever_fat_is_mounted(machine: Tree, point: str) -> None:
    machine.mount(point.replace(" ", "\\040"), "/dev/sda1", "vfat", device="8:1").efi()
    machine.by("partuuid", ESP_PART, "sda1")
    cfg(machine, "boot/grub/grub.cfg").write(f"{point}/EFI/debian/grub.cfg", DEBIAN_STUB)
    assert locate(machine).path == f"{point}/EFI/debian/grub.cfg"


def test_without_mountinfo_the_usual_places_are_looked_at(tmp_path: Path) -> None:
    from kexec_hook.system.sysroot import Sysroot

    machine = Tree(tmp_path).efi().write("etc/os-release", DEBIAN)
    cfg(machine, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB)
    found = kexec_hook_boot_config(Sysroot(machine.root), RootDisks(Sysroot(machine.root)))
    assert found is not None
    assert (found.path, found.prefix) == (
        "/boot/efi/EFI/debian/grub.cfg",
        "(hd0)/boot/efi/EFI/debian",
    )


@pytest.mark.parametrize(
    ("release", "directory"),
    [
        ("ID=rhel\nID_LIKE=fedora\n", "redhat"),
        ("ID=ol\nID_LIKE=fedora\n", "redhat"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "almalinux"),
        ('ID="centos"\nID_LIKE="rhel fedora"\n', "centos"),
        ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu"),
        ("ID=devuan\nID_LIKE=debian\n", "debian"),  # install-efi-adjust-distributor.patch
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "opensuse"),
    ],
)
def test_the_vendor_names_the_directory(uefi: Tree, release: str, directory: str) -> None:
    uefi.write("etc/os-release", release).write(f"boot/efi/EFI/{directory}/grub.cfg", DEBIAN_STUB)
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/fremd/grub.cfg", "")
    assert locate(uefi).path == f"/boot/efi/EFI/{directory}/grub.cfg"


def test_what_the_firmware_has_started_goes_before_the_vendor(uefi: Tree) -> None:
    """Two systems on one disk: GRUB of the other one has this system in its menu."""
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB)
    cfg(uefi, "boot/efi/EFI/ubuntu/grub.cfg")
    uefi.option(1, "debian", ESP_PART, "\\EFI\\debian\\shimx64.efi")
    uefi.option(2, "ubuntu", ESP_PART, "\\EFI\\ubuntu\\shimx64.efi")
    assert locate(uefi.variable("BootCurrent", b"\2\0")).path == "/boot/efi/EFI/ubuntu/grub.cfg"
    assert locate(uefi.variable("BootCurrent", b"\1\0")).path == "/boot/efi/EFI/debian/grub.cfg"


def test_the_removable_path_starts_a_grub_that_knows_its_vendor(uefi: Tree) -> None:
    """grub-install --force-extra-removable: the image is copied to EFI/BOOT, its prefix stays /EFI/debian."""
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB).mkdir(
        "boot/efi/EFI/BOOT"
    )
    uefi.option(5, "UEFI OS", ESP_PART, "\\EFI\\BOOT\\BOOTX64.EFI").variable("BootCurrent", b"\5\0")
    assert locate(uefi).path == "/boot/efi/EFI/debian/grub.cfg"


def test_a_mounted_esp_that_the_firmware_did_not_use_is_not_looked_at(uefi: Tree) -> None:
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB)
    other = "deadbeef-f81f-11d2-ba4b-00a0c93ec93b"
    uefi.option(1, "debian", other, "\\EFI\\debian\\shimx64.efi").variable("BootCurrent", b"\1\0")
    assert locate(uefi).path == "/boot/grub/grub.cfg"


# --- platform and processor ---


@pytest.mark.parametrize(
    ("bits", "file", "cpu"),
    [
        (64, "boot/grub/x86_64-efi/normal.mod", "x86_64"),
        (32, "boot/grub/i386-efi/normal.mod", "i386"),
        (32, "boot/grub/x86_64-efi/normal.mod", "i386"),  # a 32-bit firmware runs no 64-bit GRUB
        (64, "boot/grub/arm64-efi/normal.mod", "arm64"),
        (64, "boot/efi/EFI/debian/grubaa64.efi", "arm64"),
        (64, "boot/efi/EFI/debian/grubx64.efi", "x86_64"),
        (64, "boot/grub/i386-pc/normal.mod", "x86_64"),
    ],
)
def test_the_processor_is_that_of_the_firmware(uefi: Tree, bits: int, file: str, cpu: str) -> None:
    cfg(uefi, "boot/grub/grub.cfg").write("boot/efi/EFI/debian/grub.cfg", DEBIAN_STUB)
    found = locate(uefi.efi(bits).touch(file))
    assert (found.platform, found.cpu) == ("efi", cpu)


def test_without_efi_it_is_a_bios(machine: Tree) -> None:
    cfg(machine, "boot/grub/grub.cfg").touch(
        "boot/grub/x86_64-efi/normal.mod", "boot/efi/EFI/debian/grub.cfg"
    )
    found = locate(machine)
    assert (found.path, found.platform, found.cpu) == ("/boot/grub/grub.cfg", "pc", "i386")


def test_entries_depend_on_platform_and_processor(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "linux {}/vmlinuz root=/dev/sda2 on=$grub_cpu-$grub_platform"
    cfg(uefi.efi(32), "boot/grub/grub.cfg", body.replace("{}", "/boot"))
    assert booted(uefi, capsys)["on"] == "i386-efi"


# --- flavour ---


@pytest.mark.parametrize(
    ("release", "flavour"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "upstream"),
        (DEBIAN, "upstream"),
        ('ID=debian\nVERSION_ID="14"\n', "upstream-2.14"),
        ("ID=debian\nVERSION_CODENAME=forky\n", "upstream-2.14"),  # as testing says it
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n", "upstream"),
        ("ID=arch\n", "upstream"),
        (FEDORA, "rhboot"),
        ("ID='fedora'\n", "rhboot"),
        ('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n', "rhboot"),
        ('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n', "rhboot-7"),
        ('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="7.9"\n', "rhboot-7"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.10"\n', "rhboot-8"),
        ("ID=fedora\nVERSION_ID=7\n", "rhboot"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "rhboot"),
        ("", "upstream"),
        # nothing of this is as os-release(5) wants it
        ("ID=debian\nVERSION_ID=trixie/sid\n", "upstream-2.14"),
        ("ID=debian\nVERSION_ID=\n", "upstream-2.14"),
        (f"ID=debian\nVERSION_ID={'9' * 5000}\n", "upstream-2.14"),
        ("ID=debian\nVERSION_ID=-1\n", "upstream-2.14"),
        ("ID=debian\nVERSION_ID=\u0661\u0663\n", "upstream-2.14"),
        ("ID=debian\nVERSION_ID='12\n", "upstream"),
        ("  ID = fedora\n", "upstream"),
        ("#ID=fedora\nexport ID=fedora\n=fedora\nID\n", "upstream"),
        ("ID=debian\r\nVERSION_ID=12\r\n", "upstream"),
        (b"ID=\xff\xfe\0\nID_LIKE=\xc3 fedora\n", "rhboot"),
        (b"\x7fELF" + bytes(range(256)), "upstream"),
    ],
)
def test_the_distribution_tells_the_flavour(machine: Tree, release: str, flavour: str) -> None:
    cfg(machine, "boot/grub/grub.cfg").write("etc/os-release", release)
    assert locate(machine).flavour == flavour


@pytest.mark.parametrize(
    ("version", "flavour"),
    [
        ('grub_version="2.06"', "upstream"),
        ("grub_version='2.12'", "upstream"),
        ("grub_version=2.14~rc1", "upstream-2.14"),
        ('grub_version="2.14"', "upstream-2.14"),
        ('grub_version="2:2.14-1"', "upstream-2.14"),  # Arch has the package's in there
        ('grub_version="3.0"', "upstream-2.14"),
        ('grub_version="2.2"', "upstream"),
        ('grub_version="new"', "upstream"),  # by VERSION_ID
        ("grub_package_version=2.14", "upstream"),
        ("", "upstream"),
    ],
)
def test_the_installed_grub_tells_its_version(machine: Tree, version: str, flavour: str) -> None:
    cfg(machine, "boot/grub/grub.cfg").write(
        "boot/grub/i386-pc/modinfo.sh", f"#!/bin/bash\n\n# Version\n{version}\n"
    )
    assert locate(machine).flavour == flavour


def test_what_was_installed_goes_before_what_could_be(machine: Tree) -> None:
    """The package was upgraded, and grub-install has not run."""
    cfg(machine, "boot/grub/grub.cfg").write(
        "usr/lib/grub/i386-pc/modinfo.sh", 'grub_version="2.14"\n'
    )
    assert locate(machine).flavour == "upstream-2.14"
    machine.write("boot/grub/i386-pc/modinfo.sh", 'grub_version="2.12"\n')
    assert locate(machine).flavour == "upstream"


def test_the_modules_of_this_platform_go_first(uefi: Tree) -> None:
    cfg(uefi, "boot/grub/grub.cfg").write("boot/grub/i386-pc/modinfo.sh", 'grub_version="2.06"\n')
    uefi.write("boot/grub/x86_64-efi/modinfo.sh", 'grub_version="2.14"\n')
    assert locate(uefi).flavour == "upstream-2.14"


@pytest.mark.parametrize(
    ("release", "version", "flavours"),
    [
        ('ID="openEuler"\nVERSION_ID="24.03"\n', "", ["upstream", "rhboot"]),
        ("ID=mageia\nVERSION_ID=9\nID_LIKE='mandriva fedora'\n", "", ["upstream", "rhboot"]),
        ("ID=azurelinux\nVERSION_ID=3.0\n", "2.14", ["upstream-2.14", "rhboot"]),
        (
            'ID="alinux"\nID_LIKE="rhel fedora centos anolis"\nVERSION_ID="3"\nPLATFORM_ID="platform:al8"\n',
            "",
            ["rhboot-8", "rhboot"],
        ),
        (
            'ID="redos"\nID_LIKE="rhel centos fedora"\nVERSION_ID="7.3"\nPLATFORM_ID="platform:el7"\n',
            "",
            ["rhboot-7", "rhboot"],
        ),
        ("ID=redos\nID_LIKE='rhel centos fedora'\nVERSION_ID=7.3\n", "2.06", ["rhboot"]),
        ("ID=mine\nID_LIKE=rhel\nVERSION_ID=7\n", "2.02~beta2", ["rhboot-7", "rhboot-8"]),
        ("ID=mine\nID_LIKE=rhel\nVERSION_ID=3.1\n", "", ["rhboot", "rhboot-8"]),
        ("ID=nobara\nID_LIKE='rhel centos fedora'\nVERSION_ID=41\n", "", ["rhboot"]),
        ("ID=amzn\nID_LIKE=fedora\nVERSION_ID=2023\n", "", ["rhboot"]),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "", ["upstream"]),
        ("ID=sles\nID_LIKE=suse\n", "", ["suse"]),
    ],
)
def test_where_the_kind_of_grub_is_not_known_all_that_it_may_be_are_asked(
    machine: Tree, release: str, version: str, flavours: list[str]
) -> None:
    """openEuler has Fedora's GRUB and says so nowhere; Mageia says that it is like Fedora, and has another one."""
    cfg(machine, "boot/grub2/grub.cfg").write("etc/os-release", release)
    if version:
        machine.write("boot/grub2/i386-pc/modinfo.sh", f'grub_version="{version}"\n')
    found = locate(machine)
    assert [each.flavour for each in (found, *found.others)] == flavours
    assert {each.config for each in found.others} <= {found.config}


@pytest.mark.parametrize(("name", "flavour"), [("blscfg", "rhboot"), ("blsuki", "upstream")])
def test_a_module_that_rhboots_grub_alone_has_tells_it(uefi: Tree, name: str, flavour: str) -> None:
    """openEuler and Mageia, by the modules of their packages or by those in the image that starts."""
    cfg(uefi, "boot/grub2/grub.cfg").write("etc/os-release", 'ID="openEuler"\n')
    uefi.option(1, "x", ESP_PART, "\\EFI\\openEuler\\grubx64.efi").boot_order(1, current=1)
    image = bootcode.efi("(,gpt2)/boot/grub2", modules=("normal", name))
    uefi.write("boot/efi/EFI/openEuler/grubx64.efi", image)
    found = locate(uefi)
    assert (found.flavour, found.others) == (flavour, ())
    uefi.write("boot/efi/EFI/openEuler/grubx64.efi", "MZ")
    uefi.touch("usr/lib/grub/x86_64-efi/normal.mod", f"usr/lib/grub/x86_64-efi/{name}.mod")
    found = locate(uefi)
    assert (found.flavour, found.others) == (flavour, ())


def test_a_stub_at_the_removable_path_may_be_this_systems_or_not(uefi: Tree) -> None:
    """By its UUID it is; by a label it may be another one's, and its image tells whose."""
    cfg(uefi, "boot/grub/grub.cfg").boot_order(1, current=1)
    uefi.option(1, "x", ESP_PART, "\\EFI\\BOOT\\BOOTX64.EFI")
    stub = "search.{} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    uefi.write("boot/efi/EFI/BOOT/grub.cfg", stub.format(f"fs_uuid {UUID}"))
    kinds = [[each.flavour for each in (found, *found.others)] for found in (locate(uefi),)]
    uefi.write("boot/efi/EFI/BOOT/grub.cfg", stub.format("fs_label rootfs"))
    for image in (b"", bootcode.efi("/EFI/BOOT", modules=("normal", "blscfg"))):
        uefi.write("boot/efi/EFI/BOOT/grubx64.efi", image)
        found = locate(uefi)
        kinds.append([each.flavour for each in (found, *found.others)])
    assert kinds == [["upstream"], ["upstream", "rhboot", "suse"], ["rhboot", "rhboot-8"]]


def test_what_two_kinds_of_grub_boot_must_be_the_same(
    machine: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """upstream takes the 6 of an id for a number, and Fedora's the id."""
    machine.write("etc/os-release", 'ID="openEuler"\nVERSION_ID="24.03"\n').sysroot()
    machine.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    entry = "menuentry {0} --id {0} {{\nlinux /boot/vmlinuz root=/dev/sda2 {0}\ninitrd /boot/initrd.img\n}}\n"
    for default, last, same in (("6a", "6a", False), ("a6", "a6", True), ("1", "a6", True)):
        menu = entry.format("first") + entry.format(last)
        machine.write("boot/grub2/grub.cfg", f"set default={default}\n{menu}")
        main(["--root", str(machine.root), "stage", "--dry-run", "--json"])
        said = json.loads(capsys.readouterr().out)
        assert (said["outcome"] == "would-stage") is same
        if not same:
            (objection,) = said["objections"]
            assert objection["reason"].startswith(
                "which kind of GRUB reads /boot/grub2/grub.cfg is not known, and what upstream and rhboot boot "
                "is not the same: the command line is "
            )
            assert objection["fix"] == "set flavour in /etc/kexec-hook.conf"
            machine.write("etc/kexec-hook.conf", "flavour = rhboot\n")
            main(["--root", str(machine.root), "stage", "--dry-run", "--json"])
            assert json.loads(capsys.readouterr().out)["cmdline"].endswith(last)
            (machine / "etc/kexec-hook.conf").unlink()


def test_a_setting_goes_before_everything(
    machine: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """rhboot takes an id before a number."""
    cfg(machine, "boot/grub/grub.cfg", "linux /boot/vmlinuz root=/dev/sda2 first=yes")
    config = (machine.root / "boot/grub/grub.cfg").read_text()
    second = "menuentry Two --id 0 {\nlinux /boot/vmlinuz root=/dev/sda2 first=no\n}\n"
    machine.write("boot/grub/grub.cfg", "set default=0\n" + config + second)
    assert booted(machine, capsys)["first"] == "yes"
    machine.write("etc/kexec-hook.conf", "flavour = rhboot\n")
    assert booted(machine, capsys)["first"] == "no"


@pytest.mark.parametrize("name", ["ppc64le", "ppc64", "sparc64"])
def test_open_firmware_is_one_true_sentence(
    machine: Tree, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    cfg(machine, "boot/grub/grub.cfg").write("proc/sys/kernel/arch", f"{name}\n")
    assert locate(machine).platform == "ieee1275"
    machine.sysroot()
    assert main(["--root", str(machine.root), "stage", "--dry-run", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert [objection["code"] for objection in said["objections"]] == ["unsupported-architecture"]
    assert name in said["objections"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "cpu"), [("aarch64", "arm64"), ("riscv64", "riscv64"), ("loongarch64", "loongarch64")]
)
def test_a_root_tells_for_which_processor_its_grub_is(machine: Tree, name: str, cpu: str) -> None:
    """GRUB has these under UEFI alone, and what commands it has hangs on it."""
    cfg(machine, "boot/grub/grub.cfg").write("proc/sys/kernel/arch", f"{name}\n")
    assert (locate(machine).platform, locate(machine).cpu) == ("efi", cpu)
    assert (locate(machine.efi()).platform, locate(machine).cpu) == ("efi", cpu)


def test_a_processor_on_which_grub_is_not_known(
    machine: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg(machine, "boot/grub/grub.cfg").write("proc/sys/kernel/arch", "s390x\n")
    machine.sysroot()
    assert main(["--root", str(machine.root), "stage", "--dry-run", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert "this machine is a s390x, and how GRUB boots it is not known here" in [
        objection["reason"] for objection in said["objections"]
    ]
