"""kdump.py: expected command lines follow kdumpctl's prepare_cmdline, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.settings.conf import Setting, SettingsError
from kexec_hook.settings.kdump import (
    SYSCONFIG,
    kdump_settings,
    load_kdump,
    panic_cmdline,
    panic_files,
)
from kexec_hook.system.sysroot import Sysroot

RUNNING = (
    "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14.0 root=/dev/mapper/rl-root ro crashkernel=1G-4G:192M,4G-64G:256M "
    "rd.lvm.lv=rl/root rd.lvm.lv=rl/swap rd.luks.uuid=luks-1 panic_on_warn quiet hugepages=4 console=ttyS0 "
    'dyndbg="file a.c +p"\n'
)
# Fedora's generated file for x86_64, shortened.
FEDORA = """\
# Kernel Version string for the -kdump kernel, such as 2.6.13-1544.FC5kdump
KDUMP_KERNELVER=""
KDUMP_COMMANDLINE=""
KDUMP_COMMANDLINE_REMOVE="hugepages hugepagesz slub_debug quiet log_buf_len swiotlb"
KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1 reset_devices"
FADUMP_COMMANDLINE_APPEND=""
KEXEC_ARGS="-s"
#KDUMP_BOOTDIR="/boot"
KDUMP_IMG="vmlinuz"
KDUMP_IMG_EXT=""
VMCORE_CREATION_NOTIFICATION="yes"
# KDUMP_STDLOGLVL=3
"""


def test_fedoras_file() -> None:
    kdump = kdump_settings(FEDORA, "/etc/sysconfig/kdump")
    assert kdump.found
    assert kdump.kernelver == Setting("", "/etc/sysconfig/kdump:2")
    assert kdump.kexec_args == Setting(("-s",), "/etc/sysconfig/kdump:7")
    assert kdump.bootdir == Setting("", "built in")
    assert kdump.img.value == "vmlinuz"
    assert kdump.mkdumprd_args.value == ""


def test_it_is_read_below_the_root(tmp_path: Path) -> None:
    assert not load_kdump(Sysroot(tmp_path)).found
    file = tmp_path / SYSCONFIG.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text('MKDUMPRD_ARGS="-v"\n')
    assert load_kdump(Sysroot(tmp_path)).mkdumprd_args == Setting("-v", f"{SYSCONFIG}:1")


def test_the_crash_kernel_gets_what_kdumpctl_would_pass() -> None:
    assert panic_cmdline(kdump_settings(FEDORA, "kdump"), RUNNING) == (
        'ro console=ttyS0 dyndbg="file a.c +p" irqpoll nr_cpus=1 reset_devices rd.systemd.gpt_auto=no'
    )


def test_a_command_line_of_its_own_is_edited_as_well() -> None:
    text = FEDORA.replace(
        'COMMANDLINE=""', 'COMMANDLINE="ro root=LABEL=/ quiet crashkernel=auto a=b"', 1
    )
    assert panic_cmdline(kdump_settings(text, "kdump"), RUNNING) == (
        "ro a=b irqpoll nr_cpus=1 reset_devices rd.systemd.gpt_auto=no"
    )


def test_root_can_be_given_back_by_append() -> None:
    text = 'KDUMP_COMMANDLINE_APPEND="root=/dev/vda1 a=\\"b c\\""\n'
    assert panic_cmdline(kdump_settings(text, "kdump"), "root=/dev/vda2 ro") == (
        'ro root=/dev/vda1 a="b c" rd.systemd.gpt_auto=no'
    )


def test_parameters_are_removed_by_name_also_where_a_value_is_written() -> None:
    kdump = kdump_settings('KDUMP_COMMANDLINE_REMOVE="console=tty9 ro"\n', "kdump")
    assert panic_cmdline(kdump, "console=tty0 ro console=ttyS0 rw") == "rw rd.systemd.gpt_auto=no"


def test_without_the_file_root_stays_and_the_kernels_own_advice_is_added() -> None:
    running = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro crashkernel=256M quiet\n"
    assert panic_cmdline(kdump_settings(None, "kdump"), running) == (
        "root=UUID=1 ro quiet irqpoll nr_cpus=1 reset_devices"
    )


def test_where_kernel_and_initrd_are_looked_for() -> None:
    kernels, initrds = panic_files(kdump_settings(FEDORA, "kdump"), "5.14.0-1.el9.x86_64")
    assert kernels == ("/boot/vmlinuz-5.14.0-1.el9.x86_64",)
    assert initrds[0] == "/boot/initramfs-5.14.0-1.el9.x86_64kdump.img"
    kernels, initrds = panic_files(
        kdump_settings(
            'KDUMP_KERNELVER=6.1\nKDUMP_BOOTDIR="/boot/x/"\nKDUMP_IMG=Image\nKDUMP_IMG_EXT=.gz\n',
            "kdump",
        ),
        "5.14.0",
    )
    assert kernels == ("/boot/x/Image-6.1.gz",)
    assert initrds == (
        "/boot/x/initramfs-6.1kdump.img",
        "/var/lib/kdump/initramfs-6.1kdump.img",
        "/var/lib/kdump/initrd.img-6.1",
    )


def test_kexec_args_cannot_change_what_kexec_does() -> None:
    with pytest.raises(SettingsError) as caught:
        kdump_settings('\nKEXEC_ARGS="-s --exec"\n', "kdump")
    assert str(caught.value) == (
        "kdump:2: KEXEC_ARGS: `--exec` is not for the settings; kexec-hook itself tells kexec what to do"
    )


def test_commands_in_it_are_an_error() -> None:
    with pytest.raises(SettingsError, match="kdump:1: a shell would run a command here"):
        kdump_settings('KDUMP_KERNELVER="$(uname -r)"\n', "kdump")
