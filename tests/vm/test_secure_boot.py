"""Debian 13 under Secure Boot: what a jump keeps of it, and the kernels that neither GRUB nor kexec would start."""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, grub_reboot_is_followed_once, jump, loaded, stage
from tests.vm.test_objections import UNSIGN

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13

# What of it the system can see; each line is the same after a firmware boot and after a jump.
STATE = """
od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
cat /sys/kernel/security/lockdown
ls /sys/firmware/efi/efivars /sys/firmware/efi/mok-variables
grep -c . /sys/firmware/efi/mok-variables/MokListRT
grep -E ' keyring +\\.(machine|platform|builtin_trusted_keys): ' /proc/keys | sed 's/.* keyring//'
"""
# In the middle of what the signature covers.
FLIP = """
import sys
with open(sys.argv[1], "r+b") as kernel:
    kernel.seek(kernel.seek(0, 2) // 2)
    byte = kernel.read(1)[0]
    kernel.seek(-1, 1)
    kernel.write(bytes([byte ^ 1]))
"""

test_two_jumps_and_a_one_shot_are_as_by_grub = grub_reboot_is_followed_once


def test_a_jump_keeps_all_of_it(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.after_grub(UPGRADED)
    expected = machine.ok(STATE)
    assert "06 00 00 00 01" in expected
    assert "[integrity]" in expected
    machine = lab.at(UPGRADED)
    stage(machine)
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(STATE) == expected


def _changed(lab: Lab, program: str) -> tuple[VirtualMachine, str]:
    machine = lab.at(UPGRADED)
    kernel = f"/boot/vmlinuz-{lab.image.newer}"
    machine.write("/root/change.py", program.encode())
    machine.ok(f"python3 /root/change.py {kernel}")
    return machine, kernel


def test_a_kernel_without_signature_is_declined(lab: Lab) -> None:
    machine, kernel = _changed(lab, UNSIGN)
    declined = machine.shell("kexec-hook stage")
    expected = f"the running kernel is locked down (integrity), and {kernel} is not signed"
    assert (declined.code, expected in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"


def test_a_kernel_whose_signature_does_not_fit_is_not_loaded(lab: Lab) -> None:
    machine, _ = _changed(lab, FLIP)
    failed = machine.shell("kexec-hook stage")
    assert (failed.code, "Key was rejected by service" in failed.output) == (1, True), failed.output
    assert loaded(machine) == "0"
