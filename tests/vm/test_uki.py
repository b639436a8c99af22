"""Unified kernel images on Debian 13 with UEFI: the parts are jumped into as systemd-stub starts them."""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13_UEFI

UKI = "/boot/efi/EFI/Linux/e2e.efi"
# A command line as ukify leaves it, with words that a shell would take apart.
CMDLINE = r"""root=UUID={uuid} ro quiet console=ttyS0,115200 no_timer_check e2e.uki="two  words" e2e.b='$x\y'"""
BUILD = """
mkdir -p /boot/efi/EFI/Linux
ukify build --linux=/boot/vmlinuz-{release} --initrd=/boot/initrd.img-{release} --cmdline=@/root/cmdline \
    --uname={release} --os-release=@/etc/os-release --output={uki} {more}
"""
MENU = """\
#!/bin/sh
cat << 'END'
menuentry "Unified" --id unified {
    search --no-floppy --set=root --file /EFI/Linux/e2e.efi
    chainloader /EFI/Linux/e2e.efi
}
END
"""


def _build(lab: Lab, machine: VirtualMachine, more: str = "") -> None:
    machine.write("/root/cmdline", CMDLINE.format(uuid=image.UUID).encode())
    machine.ok(BUILD.format(release=lab.image.newer, uki=UKI, more=more), 300)


def _by_default(lab: Lab, machine: VirtualMachine) -> None:
    _build(lab, machine)
    machine.write("/etc/grub.d/42_unified", MENU.encode())
    machine.ok(
        "chmod 755 /etc/grub.d/42_unified && sed -i 's/^GRUB_DEFAULT=.*/GRUB_DEFAULT=unified/' /etc/default/grub"
        " && update-grub",
        300,
    )


UNIFIED = State("unified", _by_default, UPGRADED)
# What of the initrd is left in /run, and of the image's own description in the initrd.
SEEN = "ls /run/initramfs; cat /proc/version"


def test_a_plain_image_is_jumped_into(lab: Lab) -> None:
    by_grub = lab.by_grub(UNIFIED)
    assert by_grub.release == lab.image.newer
    assert b"e2e.uki=" in by_grub.cmdline
    seen = lab.after_grub(UNIFIED).ok(SEEN)
    machine = lab.at(UNIFIED)
    assert stage(machine)["release"] == lab.image.newer
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(SEEN) == seen


def _with_addon(lab: Lab, machine: VirtualMachine) -> str:
    machine.ok(
        f"mkdir {UKI}.extra.d && ukify build --cmdline=e2e.addon --output={UKI}.extra.d/x.addon.efi"
    )
    return "x.addon.efi"


def _with_microcode(lab: Lab, machine: VirtualMachine) -> str:
    _build(lab, machine, f"--microcode=/boot/initrd.img-{lab.image.older}")
    return ".ucode"


@pytest.mark.parametrize("add", [_with_addon, _with_microcode])
def test_what_the_stub_would_add_is_an_objection(lab: Lab, add: object) -> None:
    assert callable(add)
    machine = lab.at(UNIFIED)
    name = add(lab, machine)
    declined = machine.shell("kexec-hook stage")
    assert (declined.code, name in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
