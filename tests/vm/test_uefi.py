"""Debian 13 with UEFI: firmware, shim, GRUB's stub on the EFI system partition, /boot; and the jump in their place."""

from __future__ import annotations

import struct

import pytest

from kexec_hook.system.efi import GLOBAL
from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, grub_reboot_is_followed_once, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13_UEFI

STUB = "/boot/efi/EFI/debian/grub.cfg"
# What the stub starts is a context of its own: it sees what was exported.
IN_STUB = r"set e2e_stub=seen\nset e2e_hidden=seen\nexport e2e_stub"
# What only GRUB knows, and words that it has to quote.
ADDED = r"""
GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX e2e.platform=\${grub_platform}-\${grub_cpu}"
GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX e2e.stub=\${e2e_stub}\${e2e_hidden} e2e.a=\"two  words\" e2e.b='\$x\\y'"
"""


def _edited(lab: Lab, machine: VirtualMachine) -> None:
    assert stage(machine)["release"] == lab.image.newer
    machine.ok(
        f"sed -i '1i {IN_STUB}' {STUB} && cat >> /etc/default/grub <<'END'{ADDED}END\nupdate-grub",
        300,
    )


EDITED = State("uefi-edited", _edited, UPGRADED)


@pytest.mark.parametrize("command", ["reboot", "systemctl reboot"])
def test_every_caller_jumps_into_what_grub_boots(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(EDITED)
    assert by_grub.release == lab.image.newer
    assert b" e2e.platform=efi-x86_64 e2e.stub=seen " in by_grub.cmdline
    machine = lab.at(EDITED)
    assert jump(machine, command) == by_grub.same_as_grub
    assert machine.ok("ls -d /sys/firmware/efi/efivars/BootCurrent-*")


test_grub_reboot_is_followed_once = grub_reboot_is_followed_once


@pytest.mark.parametrize("command", ["coldreboot", "kexec-hook coldreboot"])
def test_cold_reboot_is_cold(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    booted = machine.reboot(command)
    assert (booted.kind, booted.same_as_grub) == ("firmware", by_grub.same_as_grub)


def test_what_is_said_names_the_stub(lab: Lab) -> None:
    machine = lab.at(EDITED)
    explained = machine.ok("kexec-hook explain")
    assert f"{STUB}, which GRUB calls (hd0,gpt1)/EFI/debian/grub.cfg\n" in explained
    assert "upstream flavour on efi (x86_64)\n" in explained
    assert stage(machine)["entry"]["source"].startswith("/boot/grub/grub.cfg:")
    # Also where it is the stub that is wrong.
    machine.ok(f"echo multiboot /x > {STUB}")
    declined = machine.shell("kexec-hook status; kexec-hook stage")
    assert (declined.code, f"{STUB}" in declined.output) == (3, True), declined.output


# Another loader that the firmware was told to start: the EFI shell, which every OVMF has.
TELL = "number=$(efibootmgr | sed -n 's/^Boot\\(....\\)\\*\\? %s.*/\\1/p') && efibootmgr --quiet --bootnext $number"


def test_with_another_loader_promised_nothing_is_staged(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    machine.ok(TELL % "EFI Internal Shell")
    declined = machine.shell("kexec-hook stage")
    expected = "«EFI Internal Shell» at the next boot (BootNext)"
    assert (declined.code, expected in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"


def test_loader_promised_after_staging_is_started(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    machine.ok(TELL % "EFI Internal Shell")
    before = machine.mark()
    machine.say("reboot")
    machine.wait_for_console("Interactive Shell", before)
    assert machine.resets > before.resets
    assert machine.reset().same_as_grub == by_grub.same_as_grub


def test_the_same_loader_promised_once_more_is_no_reason_against_a_jump(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    machine.ok(TELL % "debian")
    stage(machine)
    assert jump(machine) == by_grub.same_as_grub
    assert "BootNext" in machine.ok("efibootmgr")


# Another distribution's GRUB, with a configuration of its own, ahead of the one that has started this system.
AHEAD = r"""
set -e
grub-install --no-nvram --no-uefi-secure-boot --efi-directory=/boot/efi --boot-directory=/other --bootloader-id=other
cat > /other/grub/grub.cfg
efibootmgr --quiet --create --disk /dev/vda --part 1 --label Other --loader '\EFI\other\grubx64.efi'
"""
OTHER = """\
set timeout=0
menuentry "Of the other one" --id other {{
    search --no-floppy --fs-uuid --set=root {uuid}
    linux /boot/vmlinuz-{release} root=UUID={uuid} ro quiet console=ttyS0,115200 no_timer_check e2e.from=other
    initrd /boot/initrd.img-{release}
}}
"""
CURRENT = "efibootmgr | grep Boot$(efibootmgr | sed -n 's/^BootCurrent: //p')"


def test_another_grub_that_comes_to_stand_ahead_is_started_and_then_followed(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    stage(machine)
    config = OTHER.format(uuid=image.UUID, release=lab.image.older)
    machine.ok(f"({AHEAD}) << 'END'\n{config}END", 300)
    declined = machine.shell("kexec-hook stage --dry-run")
    assert (declined.code, "/EFI/other/grubx64.efi is there" in declined.output) == (3, True), (
        declined.output
    )
    booted = machine.reboot("reboot")
    assert (booted.kind, b" e2e.from=other" in booted.cmdline) == ("firmware", True)
    assert "Other" in machine.ok(CURRENT)
    assert stage(machine)["entry"]["source"].startswith("/other/grub/grub.cfg:")
    assert jump(machine) == booted.same_as_grub


# As OVMF writes it for a network card: a load option with the card's address and IPv4 for its path.  No card has this one.
PATH = b"".join(
    [
        b"\3\x0b\x25\0" + bytes.fromhex("525400123456") + bytes(26) + b"\1",
        b"\3\x0c\x1b\0" + bytes(23),
        b"\x7f\xff\4\0",
    ]
)
PXE = struct.pack("<IIH", 7, 1, len(PATH)) + "PXE\0".encode("utf-16-le") + PATH


def _pxe_ahead(lab: Lab, machine: VirtualMachine) -> None:
    machine.write(f"/sys/firmware/efi/efivars/Boot00E2-{GLOBAL}", PXE)
    machine.ok("efibootmgr --quiet --bootorder 00E2,$(efibootmgr | sed -n 's/^BootOrder: //p')")


PXE_AHEAD = State("pxe-ahead", _pxe_ahead, UPGRADED)


def test_network_entry_ahead_is_passed_over_by_the_firmware_and_a_note(lab: Lab) -> None:
    by_grub = lab.by_grub(PXE_AHEAD)
    machine = lab.at(PXE_AHEAD)
    assert "BootOrder: 00E2" in machine.ok("efibootmgr")
    assert any("Boot00E2 «PXE» (a network boot)" in note for note in stage(machine)["notes"])
    assert jump(machine) == by_grub.same_as_grub


def test_request_to_mokmanager_is_an_objection(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    name = "/sys/firmware/efi/efivars/MokNew-605dab50-e046-4300-abb6-3dd810dd8b23"
    machine.ok(f"printf '\\7\\0\\0\\0\\1' > {name}")
    declined = machine.shell("kexec-hook stage")
    expected = "a request to MokManager is waiting (MokNew)"
    assert (declined.code, expected in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
