"""Debian 13 under Secure Boot: what a jump keeps of it, and the kernels that neither GRUB nor kexec would start."""

from __future__ import annotations

import pytest

from tests.vm import image, keys
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import (
    UPGRADED,
    early_cpio,
    grub_reboot_is_followed_once,
    jump,
    loaded,
    stage,
)
from tests.vm.test_objections import UNSIGN

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13
LAB = Lab if keys.missing() else keys.Lab
with_own_keys = pytest.mark.skipif(
    bool(keys.missing()), reason=f"apt-get install {' '.join(keys.missing())}"
)

# What of it the system can see; each line is the same after a firmware boot and after a jump.  The keyrings are in the
# order of their serial numbers, which are random.
STATE = """
od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
cat /sys/kernel/security/lockdown
ls /sys/firmware/efi/efivars /sys/firmware/efi/mok-variables
grep -c . /sys/firmware/efi/mok-variables/MokListRT
grep -E ' keyring +\\.(machine|platform|builtin_trusted_keys): ' /proc/keys | sed 's/.* keyring//' | sort
"""
# An initrd of its own, before the other one.
EARLY = "/boot/microcode.cpio"


def _with_two_initrds(lab: Lab, machine: VirtualMachine) -> None:
    machine.write(EARLY, early_cpio("e2e-early", b"brought along\n"))
    machine.ok("update-grub", 300)


TWO_INITRDS = State("two-initrds", _with_two_initrds, UPGRADED)

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
    by_grub = lab.by_grub(TWO_INITRDS)
    machine = lab.after_grub(TWO_INITRDS)
    expected = machine.ok(STATE).splitlines()
    assert "06 00 00 00 01" in expected[0]
    assert "[integrity]" in expected[1]
    machine = lab.at(TWO_INITRDS)
    assert len(stage(machine)["initrds"]) == 2
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(STATE).splitlines() == expected
    assert machine.ok("cat /run/e2e-early") == "brought along"


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


def _replace(lab: Lab, machine: VirtualMachine, name: str) -> str:
    kernel = f"/boot/vmlinuz-{lab.image.newer}"
    machine.ok(f"mount -o ro LABEL=payload /mnt && cp /mnt/{name} {kernel} && umount /mnt")
    return kernel


SIGNED_BY_OWN = State("mok", lambda lab, machine: _replace(lab, machine, keys.OWN), UPGRADED)


# Registers of firmware, boot loader, its words and files, and shim's keys; 10 is IMA's.
TPM = """
cd /sys/class/tpm/tpm0/pcr-sha256 && grep . 0 1 2 3 4 5 6 7 8 9 14
wc -c < /sys/kernel/security/tpm0/binary_bios_measurements
sha256sum < /sys/kernel/security/tpm0/binary_bios_measurements
"""


@with_own_keys
def test_a_kernel_signed_by_the_machines_own_key_is_jumped_into_and_the_tpm_is_not_told(
    lab: Lab,
) -> None:
    by_grub = lab.by_grub(SIGNED_BY_OWN)
    assert by_grub.release == lab.image.newer
    told = lab.after_grub(SIGNED_BY_OWN).ok(TPM)
    machine = lab.at(SIGNED_BY_OWN)
    assert "Own key" in machine.ok("cat /proc/keys")
    before = machine.ok(TPM)
    assert before != told
    stage(machine)
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(TPM) == before


@with_own_keys
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (keys.BY_HASH, "dbx has its hash"),
        (
            keys.BY_SBAT,
            "its SBAT section has linux 1, and 2 is the least that is allowed (SbatLevel)",
        ),
    ],
)
def test_a_revoked_kernel_is_declined_as_grub_declines_it(lab: Lab, name: str, reason: str) -> None:
    machine = lab.at(UPGRADED)
    kernel = _replace(lab, machine, name)
    declined = machine.shell("kexec-hook stage")
    expected = f"{kernel} was revoked, and GRUB would not be allowed to start it under Secure Boot: {reason}"
    assert (declined.code, expected in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
    before = machine.power_off("systemctl poweroff")
    machine.press_reset()
    machine.wait_for_console("bad shim signature", before)
