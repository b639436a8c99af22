"""Which commands a GRUB has hangs on its platform and version; the machine's hardware answers where Linux shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
from tests.bootfiles import bzimage, cpio, image
from tests.tree import Tree

ENTRIES = """
menuentry 'Linux' { linux /boot/vmlinuz root=/dev/sda2 }
menuentry 'Rescue' { linux /boot/vmlinuz root=/dev/sda2 rescue }
"""


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path, {"boot/vmlinuz": bzimage("6.1.0 (test) #1"), "boot/initrd": cpio()})
    return tree.mount("/", "/dev/sda2").write("dev/sda2").cmdline("BOOT_IMAGE=(hd0,msdos2)/boot/x")


def made(machine: Tree, config: str) -> Decision:
    host = Host(str(machine.grubcfg(config).root), Programs(), os.geteuid(), False)
    sysroot = host.sysroot()
    return decide(host, sysroot, load_settings(sysroot), Plugins(installed=False), Trigger())


def default(decision: Decision) -> str:
    """The title of what GRUB boots, which nothing speaks against."""
    assert [objection.reason for objection in decision.objections] == []
    assert decision.evaluation is not None
    assert decision.evaluation.default is not None
    return decision.evaluation.default.entries[-1].title


def modules(machine: Tree, platform: str, version: str) -> None:
    machine.write(f"boot/grub/{platform}/modinfo.sh", f'grub_version="{version}"\n')


@pytest.mark.parametrize(
    ("platform", "command"),
    [("i386-pc", "linuxefi"), ("arm64-efi", "linux16"), ("arm64-efi", "linuxefi")],
)
def test_a_loader_of_another_platform_loads_nothing(
    machine: Tree, platform: str, command: str
) -> None:
    modules(machine, platform, "2.06-13")
    if platform == "arm64-efi":
        machine.efi()
    config = f"menuentry 'Linux' {{ {command} /boot/vmlinuz root=/dev/sda2 }}\n"
    assert codes(made(machine, config)) == ["entry-fails"]


@pytest.mark.parametrize(
    ("system", "version", "code"),
    [
        ("debian", "2.06-13+deb12u2", ""),
        ("debian", "2.12-9+deb13u4", "entry-fails"),
        ("debian", "2.14-4", "entry-fails"),
        ("arch", "", "cannot-be-known"),
        ("fedora", "", ""),
        ("opensuse", "", ""),
    ],
)
def test_linuxefi_went_with_2_12(machine: Tree, system: str, version: str, code: str) -> None:
    machine.efi().write("etc/os-release", f"ID={system}\n")
    if version:
        modules(machine, "x86_64-efi", version)
    config = "menuentry 'Linux' { linuxefi /boot/vmlinuz root=/dev/sda2\n initrdefi /boot/initrd\n}"
    assert codes(made(machine, config)) == ([code] if code else [])


@pytest.mark.parametrize(("number", "code"), [("12", ""), ("13", "entry-fails")])
def test_debians_release_tells_the_version(machine: Tree, number: str, code: str) -> None:
    machine.efi().write("etc/os-release", f"ID=debian\nVERSION_ID={number}\n")
    config = "menuentry 'Linux' { linuxefi /boot/vmlinuz root=/dev/sda2\n}"
    assert codes(made(machine, config)) == ([code] if code else [])


def test_x86_has_no_devicetree_so_that_none_is_loaded(machine: Tree) -> None:
    machine.write("boot/board.dtb", b"\xd0\x0d\xfe\xed")
    body = "linux /boot/vmlinuz root=/dev/sda2\n devicetree /boot/board.dtb\n"
    decision = made(machine, f"menuentry 'Linux' {{\n {body}}}\n")
    assert default(decision) == "Linux"
    assert decision.plan is not None
    assert decision.plan.devicetree is None


def codes(decision: Decision) -> list[str]:
    return [objection.code for objection in decision.objections]


def runs(machine: Tree, release: str, *, efi: bool) -> None:
    """This distribution, on UEFI or a BIOS."""
    machine.write("etc/os-release", release)
    if efi:
        machine.efi()


@pytest.mark.parametrize(
    ("kernel", "initrd", "efi", "system", "code"),
    [
        ("linux16", "initrd16", False, "debian", ""),
        ("linux16", "initrd", False, "debian", "initrd-missing"),
        ("linux", "initrd16", False, "debian", "initrd-missing"),
        ("linux", "initrdefi", True, "debian", "initrd-missing"),
        ("linuxefi", "initrd", True, "debian", "initrd-missing"),
        ("linux16", "initrd", False, "fedora", ""),
        ("linuxefi", "initrd", True, "fedora", ""),
        ("linux16", "initrd16", True, "debian", "only-grub-can"),
        ("linux16", "initrd16", True, "fedora", "entry-fails"),  # unknown: no error
    ],
)
def test_an_initrd_is_for_a_kernel_of_its_own_module(
    machine: Tree, kernel: str, initrd: str, efi: bool, system: str, code: str
) -> None:
    runs(machine, f"ID={system}\nVERSION_ID={12 if system == 'debian' else 43}\n", efi=efi)
    entry = f"menuentry 'Linux' {{\n {kernel} /boot/vmlinuz root=/dev/sda2\n {initrd} /boot/initrd\n}}\n"
    assert codes(made(machine, entry)) == ([code] if code else [])


def test_under_secure_boot_debians_linux_is_linuxefi(machine: Tree) -> None:
    machine.efi().write("etc/os-release", "ID=debian\nVERSION_ID=12\n")
    machine.variable("SecureBoot", b"\1")
    entry = "menuentry 'Linux' { linux /boot/vmlinuz root=/dev/sda2\n initrdefi /boot/initrd\n}\n"
    assert codes(made(machine, entry)) == []


@pytest.mark.parametrize(
    ("system", "command", "efi", "code"),
    [
        ("ID=debian\nVERSION_ID=12\n", "linux", True, ""),
        ("ID=debian\nVERSION_ID=12\n", "linuxefi", True, ""),  # as in a machine with 2.06
        ("ID=fedora\nVERSION_ID=43\n", "linux", False, ""),
        ("ID=fedora\nVERSION_ID=43\n", "linux", True, "entry-fails"),
        ("ID=rhel\nVERSION_ID=7.9\n", "linuxefi", True, "initrd-missing"),
    ],
)
def test_newc_is_a_file_like_others_for_rhboots_handover_by_efi(
    machine: Tree, system: str, command: str, efi: bool, code: str
) -> None:
    runs(machine, system, efi=efi)
    initrd = command.replace("linux", "initrd")
    body = f"{command} /boot/vmlinuz root=/dev/sda2\n {initrd} newc:etc/x:/boot/initrd"
    assert codes(made(machine, f"menuentry 'Linux' {{ {body}\n}}\n")) == ([code] if code else [])


@pytest.mark.parametrize(
    ("system", "command", "mode", "efi", "code"),
    [
        ("debian", "linux", "ask", False, "entry-fails"),  # each as in a machine with 2.06
        ("debian", "linux", "ask", True, ""),
        ("debian", "linux", "current", False, ""),
        ("debian", "linux16", "ask", False, ""),
        ("debian", "linux16", "0x317", False, ""),
        ("debian", "linux16", "791,x", False, ""),
        ("debian", "linux16", "current", False, "entry-fails"),
        ("debian", "linux16", "", False, "entry-fails"),
        ("fedora", "linux", "ask", False, ""),
        ("fedora", "linux", "current", False, "entry-fails"),
        ("fedora", "linux", "current", True, ""),
    ],
)
def test_a_mode_that_a_pc_does_not_know(
    machine: Tree, system: str, command: str, mode: str, efi: bool, code: str
) -> None:
    runs(machine, f"ID={system}\nVERSION_ID={12 if system == 'debian' else 43}\n", efi=efi)
    initrd = command.replace("linux", "initrd")
    body = f"{command} /boot/vmlinuz root=/dev/sda2 vga={mode}\n {initrd} /boot/initrd\n"
    assert codes(made(machine, f"menuentry 'Linux' {{\n {body}}}\n")) == ([code] if code else [])


@pytest.mark.parametrize("command", ["linux", "chainloader"])
def test_a_loader_that_fails_behind_a_kernel(machine: Tree, command: str) -> None:
    entry = f"menuentry 'Linux' {{ linux /boot/vmlinuz root=/dev/sda2\n {command} /none\n}}"
    (found,) = made(machine, entry).objections
    assert found.reason == (
        f"what GRUB boots cannot be known: where `{command}` fails, not every GRUB boots what was loaded before "
        "(/boot/grub/grub.cfg:2)"
    )


LINUX = "linux /boot/vmlinuz root=/dev/sda2\n initrd /boot/initrd\n"
TREE = "devicetree /boot/board.dtb\n"


@pytest.fixture
def board(machine: Tree) -> Tree:
    """A machine with arm64, and a device tree for it."""
    modules(machine.efi(), "arm64-efi", "2.06-13")
    return machine.write("boot/vmlinuz", image()).write("boot/board.dtb", b"\xd0\x0d\xfe\xed")


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", LINUX + TREE),
        ("", TREE + LINUX),  # loader/efi/fdt.c needs no kernel
        (TREE, LINUX),
        ("", LINUX + TREE + LINUX),
        ("", f"devicetree\n{TREE}{LINUX}"),
    ],
)
def test_a_device_tree_is_for_whatever_linux_boots(board: Tree, before: str, body: str) -> None:
    decision = made(board, f"{before}menuentry 'Linux' {{\n {body}}}\n")
    assert default(decision) == "Linux"
    assert decision.plan is not None
    assert decision.plan.devicetree == "/boot/board.dtb"


def test_without_a_name_the_firmwares_device_tree_counts(board: Tree) -> None:
    decision = made(board, f"{TREE}menuentry 'Linux' {{\n {LINUX} devicetree\n}}\n")
    assert default(decision) == "Linux"
    assert decision.plan is not None
    assert decision.plan.devicetree is None


@pytest.mark.parametrize(
    "body", [TREE + "devicetree /boot/none\n" + LINUX, LINUX + "devicetree /no\n"]
)
def test_a_device_tree_that_is_missing_leaves_the_firmwares(board: Tree, body: str) -> None:
    (found,) = made(board, f"menuentry 'Linux' {{\n {body}}}\n").objections
    assert found.code == "only-grub-can"
    assert "' not found, and it leaves the firmware's in its place (" in found.reason


def test_secure_boot_allows_no_device_tree(board: Tree) -> None:
    board.variable("SecureBoot", b"\1")
    (found,) = made(board, f"menuentry 'Linux' {{\n {LINUX}{TREE}}}\n").objections
    assert found.reason == (
        "GRUB loads no device tree: Secure Boot does not allow it, and it leaves the firmware's in its place "
        "(/boot/grub/grub.cfg:4), and a kexec cannot do the same"
    )


@pytest.mark.parametrize(
    ("question", "efi", "title"),
    [
        ("if fwsetup --is-supported; then set default=1; fi", False, "Rescue"),  # unknown: no error
        ("if drivemap -s hd0 hd1; then set default=1; fi", True, "Rescue"),
        ("probe -s d -d $root; if [ $d = efidisk ]; then set default=1; fi", True, "Rescue"),
        ("probe -s d -d $root; if [ $d = efidisk ]; then set default=1; fi", False, "Linux"),
    ],
)
def test_the_platform_answers(machine: Tree, question: str, efi: bool, title: str) -> None:
    if efi:
        machine.efi()
    assert default(made(machine, f"{question}\n{ENTRIES}")) == title


@pytest.mark.parametrize(
    ("flags", "question", "title"),
    [
        ("fpu lm pae", "cpuid -l", "Rescue"),
        ("fpu pae", "cpuid -l", "Linux"),
        ("fpu pae", "cpuid --pae", "Rescue"),
    ],
)
def test_the_processor_answers_cpuid(machine: Tree, flags: str, question: str, title: str) -> None:
    machine.write("proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n")
    assert default(made(machine, f"if {question}; then set default=1; fi\n{ENTRIES}")) == title


def dmi() -> bytes:
    """Types 0, 1 and 2 as DSP0134 has them, and the end: the system has no version, and there are two of type 2."""
    identity = bytes(range(16))
    return b"".join((
        b"\0\x06\x00\x00\x01\x02Vendor\x001.0\0\0",
        b"\x01\x18\x01\x00\x01\x02\0\x03" + identity + b"Example: Inc.\0Box 9\0x\0\0",
        b"\x02\x05\x02\x00\0\0\0",
        b"\x02\x06\x03\x00\x01\x07Board\0\0",
        b"\x7f\x04\xff\xfe\0\0",
        b"\x01\x06\x09\x00\x01\x00Behind\0\0",
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--type 1 --get-string 5", "Box 9"),
        ("-t 1 -s 4", "Example: Inc."),
        ("-t 1 -s 4 --linux", "ExampleInc."),
        ("-t 0x1 -s 0x05", "Box 9"),
        ("-h 1 -u 8", "03020100-0504-0706-0809-0a0b0c0d0e0f"),
        ("-t 1 -w 8", "256"),
        ("-t 1 -d 8", "50462976"),
        ("-t 1 -q 8", "506097522914230528"),
        ("-t 2 -m 2 -s 4", "Board"),
        ("-t 2 -m 2 -b 5", "7"),
        ("-t 1 -s 6", "none"),  # of no string
        ("-t 2 -s 5", "none"),  # beyond the structure
        ("-t 2 -m 2 -s 5", "none"),  # the seventh of one string
        ("-t 1 -u 9", "none"),
        ("-t 9 -s 4", "none"),
        ("-t 1 -m 2 -s 4", "none"),  # behind the end
        ("-t 1 -s 4 -b 4", "none"),
        ("-t 1", "none"),
        ("-t one -s 4", "none"),
        ("-t 256 -s 4", "none"),
    ],
)
def test_what_the_firmware_says_of_the_machine_answers_smbios(
    machine: Tree, words: str, value: str
) -> None:
    machine.write("sys/firmware/dmi/tables/DMI", dmi())
    config = f"set found=none\nsmbios {words} --set found\n{ENTRIES}"
    question = f'if [ "$found" = "{value}" ]; then set default=1; fi\n'
    assert default(made(machine, config + question)) == "Rescue"


@pytest.mark.parametrize(
    ("system", "question"),
    [
        ("debian", "smbios -t 1 -s 5 --set x"),
        ("debian", "if cpuid -l; then set default=1; fi"),
        ("debian", "uki"),
        ("debian", "if cryptocheck $root; then set default=1; fi"),
    ],
)
def test_what_nothing_tells_is_not_known(machine: Tree, system: str, question: str) -> None:
    machine.efi().write("etc/os-release", f"ID={system}\nVERSION_ID=14\n")
    codes = [objection.code for objection in made(machine, f"{question}\n{ENTRIES}").objections]
    assert codes == ["cannot-be-known"]


@pytest.mark.parametrize(("said", "title"), [(b"\1", "Rescue"), (b"\0", "Linux"), (b"", "Rescue")])
def test_the_firmware_says_whether_it_has_a_setup(machine: Tree, said: bytes, title: str) -> None:
    machine.efi()
    if said:
        machine.variable("OsIndicationsSupported", said.ljust(8, b"\0"))
    config = f"fwsetup --is-supported\nif [ $? = 0 ]; then set default=1; fi\n{ENTRIES}"
    assert default(made(machine, config)) == title
