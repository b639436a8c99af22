"""Debian 13 on arm64, with UEFI and ACPI: what a kernel upgrade by apt leads to there, and a jump that does not come up.

Nothing but the device tree tells such a kernel that a kexec has started it; the machine's own count of resets is the
judge of that.  One boot takes a minute of processor time or more: the first test makes image and states, for half an hour.
"""

from __future__ import annotations

import json

import pytest

from tests.vm import arm64, product
from tests.vm.arm64 import RECIPE as RECIPE
from tests.vm.arm64 import ArmLab
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import BY_APT, early_cpio, jump, loaded, one_shot, stage

LAB = ArmLab
pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(bool(arm64.missing()), reason=f"needs {' '.join(arm64.missing())}"),
]

MARK = "kexec-hook,jumped-from"
# What a jump must keep of the firmware, and what must be another at each boot.
KEPT = """
ls /sys/firmware/efi/efivars | wc -l
dmesg | grep -c 'ACPI: RSDP'
dmesg | grep -ic 'kaslr enabled'
"""
_FAULT = f"""\
if grep -q {MARK} /sys/firmware/fdt; then
    echo @@FAULT > /dev/console
    while :; do sleep 1; done
fi
"""


def _booted_by(machine: VirtualMachine) -> str:
    return str(json.loads(machine.ok("kexec-hook status --json"))["running"]["booted_by"])


def test_the_package_is_installed_as_on_any_debian(lab: Lab) -> None:
    machine = lab.at(BY_APT)
    assert "arm64" not in machine.ok("dpkg-query -W -f '${Architecture}' kexec-hook")
    assert machine.ok("uname -m") == "aarch64"
    product.install_apt_glue(machine)


def test_under_lockdown_it_is_one_sentence(lab: Lab) -> None:
    """Debian's kernels for arm64 have no kexec_file_load."""
    machine = lab.at(BY_APT)
    machine.ok("kexec-hook unstage && echo integrity > /sys/kernel/security/lockdown")
    declined = machine.shell("kexec-hook stage")
    assert declined.code == 3
    assert "CONFIG_KEXEC_FILE" in declined.output
    assert "segment" not in declined.output
    assert loaded(machine) == "0"


def test_after_apt_install_a_reboot_is_as_by_grub(lab: Lab) -> None:
    by_grub = lab.by_grub(BY_APT)
    assert by_grub.release == lab.image.newer
    machine = lab.after_grub(BY_APT)
    kept = machine.ok(KEPT)
    assert (_booted_by(machine), machine.shell(f"grep -q {MARK} /sys/firmware/fdt").code) == (
        "unknown",
        1,
    )
    machine = lab.at(BY_APT)
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(KEPT) == kept
    assert _booted_by(machine) == "kexec"
    assert "the jump came up" in machine.ok("journalctl -b -u kexec-hook-judge.service")
    stage(machine)
    assert jump(machine) == by_grub.same_as_grub


def test_a_one_time_entry_is_followed_once(lab: Lab) -> None:
    machine = lab.at(BY_APT)
    one_shot(lab, machine)
    release, _, grubenv = jump(machine)
    assert (release, b"next_entry=\n" in grubenv) == (lab.image.older, True)
    assert stage(machine)["release"] == lab.image.newer


def test_a_cold_reboot_goes_through_the_firmware(lab: Lab) -> None:
    by_grub = lab.by_grub(BY_APT)
    booted = lab.at(BY_APT).reboot("coldreboot")
    assert (booted.kind, booted.same_as_grub) == ("firmware", by_grub.same_as_grub)


def _faulty(lab: Lab, machine: VirtualMachine) -> None:
    machine.write("/boot/fault.cpio", early_cpio("e2e-fault", _FAULT.encode()))
    custom = "echo GRUB_EARLY_INITRD_LINUX_CUSTOM=fault.cpio >> /etc/default/grub && update-grub"
    machine.ok(custom, 600)
    stage(machine)


HANGS = State("hangs", _faulty, BY_APT)


def test_a_kernel_whose_jump_hung_is_held_back(lab: Lab) -> None:
    machine = lab.at(HANGS)
    before = machine.mark()
    machine.say("reboot")
    machine.wait_for_console("@@FAULT", before)
    machine.reset()
    assert _booted_by(machine) == "unknown"
    declined = machine.shell("kexec-hook stage")
    assert (declined.code, "did not come up" in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
    assert machine.reboot("reboot").kind == "firmware"
