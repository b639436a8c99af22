"""What is recommended is a command of the distribution that the root holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.system.distribution import Distribution, os_release
from kexec_hook.system.sysroot import Sysroot
from tests.tree import Tree

DEBIAN = "ID=debian\n"
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
FEDORA = "ID=fedora\n"
ALMA = 'ID="almalinux"\nID_LIKE="rhel centos fedora"\n'
LEAP = 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'
ARCH = "ID=arch\n"
OTHER = "ID=gentoo\n"


class Root(Tree):
    def distribution(self, release: str = "") -> Distribution:
        if release:
            self.write("etc/os-release", release)
        return Distribution(Sysroot(self.root))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


@pytest.mark.parametrize(
    ("release", "config", "set_default", "install", "editenv"),
    [
        (DEBIAN, "update-grub", "grub", "apt-get install kexec-tools", "grub-common"),
        (UBUNTU, "update-grub", "grub", "apt-get install kexec-tools", "grub-common"),
        (
            FEDORA,
            "grub2-mkconfig -o /boot/grub2/grub.cfg",
            "grub2",
            "dnf install kexec-tools",
            "grub2-tools-minimal",
        ),
        (
            ALMA,
            "grub2-mkconfig -o /boot/grub2/grub.cfg",
            "grub2",
            "dnf install kexec-tools",
            "grub2-tools-minimal",
        ),
        (
            LEAP,
            "grub2-mkconfig -o /boot/grub2/grub.cfg",
            "grub2",
            "zypper install kexec-tools",
            "grub2",
        ),
        (ARCH, "grub-mkconfig -o /boot/grub/grub.cfg", "grub", "pacman -S kexec-tools", "grub"),
        (
            OTHER,
            "grub-mkconfig -o /boot/grub/grub.cfg",
            "grub",
            "install the package kexec-tools",
            "grub-common",
        ),
    ],
)
def test_each_distribution_has_commands_of_its_own(
    root: Root, release: str, config: str, set_default: str, install: str, editenv: str
) -> None:
    commands = root.distribution(release)
    assert commands.make_config == config
    assert commands.set_default == f"{set_default}-set-default"
    assert commands.editenv == f"{set_default}-editenv"
    assert commands.install("kexec-tools") == install
    assert commands.install("grub-editenv").endswith(f" {editenv}")


def test_an_unknown_distribution_is_known_by_its_grub_directory(root: Root) -> None:
    root.write("boot/grub2/grub.cfg")
    assert root.distribution(OTHER).make_config == "grub2-mkconfig -o /boot/grub2/grub.cfg"
    assert root.distribution().set_default == "grub2-set-default"


def test_grub_of_enterprise_linux_8_reads_its_configuration_on_the_esp(root: Root) -> None:
    root.write("sys/firmware/efi/fw_platform_size", "64\n")
    root.write("boot/efi/EFI/redhat/grub.cfg")
    (root.root / "etc").mkdir()
    (root.root / "etc/grub2-efi.cfg").symlink_to("../boot/efi/EFI/redhat/grub.cfg")
    assert root.distribution(ALMA).make_config == "grub2-mkconfig -o /etc/grub2-efi.cfg"
    root.write("boot/grub2/grub.cfg")
    assert root.distribution(ALMA).make_config == "grub2-mkconfig -o /boot/grub2/grub.cfg"


@pytest.mark.parametrize(
    ("release", "path", "new", "wanted"),
    [
        (DEBIAN, "/boot/initrd.img-6.1-amd64", True, "update-initramfs -c -k 6.1-amd64"),
        (DEBIAN, "/boot/initrd.img-6.1-amd64", False, "update-initramfs -u -k 6.1-amd64"),
        (DEBIAN, "/initrd.img", False, "update-initramfs -u -k 6.9"),
        (FEDORA, "/boot/initramfs-6.1-1.fc44.img", True, "dracut --force --kver 6.1-1.fc44"),
        (LEAP, "/boot/initrd-6.4-default", False, "dracut --force --kver 6.4-default"),
        (ARCH, "/boot/initramfs-linux.img", False, "mkinitcpio -P"),
        (ARCH, "/boot/intel-ucode.img", False, "pacman -S intel-ucode"),
        (
            DEBIAN,
            "/boot/microcode.cpio",
            False,
            "restore /boot/microcode.cpio, or take it out of the boot entry",
        ),
        (
            OTHER,
            "/boot/initrd-6.1",
            False,
            "make /boot/initrd-6.1 again (update-initramfs, dracut or mkinitcpio)",
        ),
    ],
)
def test_an_initrd_is_made_by_the_program_of_the_distribution(
    root: Root, release: str, path: str, new: bool, wanted: str
) -> None:
    assert root.distribution(release).make_initrd(path, "6.9", new=new) == wanted


def test_a_debian_without_initramfs_tools_has_dracut(root: Root) -> None:
    root.write("usr/bin/dracut")
    commands = root.distribution(DEBIAN)
    assert commands.make_initrd("/boot/initrd.img-6.1", "") == "dracut --force --kver 6.1"
    root.write("usr/sbin/update-initramfs")
    assert commands.make_initrd("/boot/initrd.img-6.1", "") == "update-initramfs -u -k 6.1"


@pytest.mark.parametrize(
    ("release", "path", "wanted"),
    [
        (
            DEBIAN,
            "/boot/vmlinuz-6.1-amd64",
            "apt-get install --reinstall linux-image-6.1-amd64",
        ),
        (FEDORA, "/boot/vmlinuz-6.1-1.fc44.x86_64", "dnf reinstall kernel-core-6.1-1.fc44.x86_64"),
        (
            ALMA,
            "/boot/vmlinuz-5.15-1.el9uek.x86_64",
            "dnf reinstall kernel-uek-core-5.15-1.el9uek.x86_64",
        ),
        (LEAP, "/boot/vmlinuz-6.4-150600.21-default", "zypper install --force kernel-default"),
        (ARCH, "/boot/vmlinuz-linux-lts", "pacman -S linux-lts"),
        (OTHER, "/boot/vmlinuz-6.1", "reinstall the package that /boot/vmlinuz-6.1 comes from"),
    ],
)
def test_a_kernel_comes_from_the_package_manager(
    root: Root, release: str, path: str, wanted: str
) -> None:
    assert root.distribution(release).reinstall_kernel(path, "") == wanted


def test_the_package_of_a_kernel_is_one_that_dpkg_knows(root: Root) -> None:
    root.write("var/lib/dpkg/info/proxmox-kernel-6.8.12-4-pve-signed.list")
    commands = root.distribution(DEBIAN)
    path = "/boot/vmlinuz-6.8.12-4-pve"
    wanted = "apt-get install --reinstall proxmox-kernel-6.8.12-4-pve-signed"
    assert commands.reinstall_kernel(path, "") == wanted
    own = "/boot/vmlinuz-6.12-mine"
    assert commands.reinstall_kernel(own, "") == f"reinstall the package that {own} comes from"


def test_a_kernel_in_two_packages_is_put_back_by_both(root: Root) -> None:
    for name in ("binary", "image"):
        root.write(f"var/lib/dpkg/info/linux-{name}-7.2.12+deb14-amd64.list")
    commands = root.distribution(DEBIAN)
    both = "linux-binary-7.2.12+deb14-amd64 linux-image-7.2.12+deb14-amd64"
    wanted = f"apt-get install --reinstall {both}"
    assert commands.reinstall_kernel("/boot/vmlinuz-7.2.12+deb14-amd64", "") == wanted


def test_os_release_of_usr_counts_where_etc_has_none(root: Root) -> None:
    root.write("usr/lib/os-release", FEDORA)
    assert os_release(Sysroot(root.root))["ID"] == "fedora"
    (root.root / "etc/os-release").mkdir(parents=True)
    assert os_release(Sysroot(root.root))["ID"] == "fedora"
    assert os_release(Sysroot(root.root / "usr")) == {}
