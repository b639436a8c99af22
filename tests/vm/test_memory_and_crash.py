"""Debian 13 with UEFI on little memory, a framebuffer and five levels of page tables; and a crash kernel all along."""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import CPU, VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13_UEFI


class _Lab(Lab):
    """512 MiB of memory."""

    def _new_machine(self) -> VirtualMachine:
        return VirtualMachine(
            self.image.disk,
            self._payload,
            variables=self.image.variables,
            memory=512,
            cpu=f"{CPU},+la57",
            devices=("VGA",),
        )


LAB = _Lab

RESERVED = """
sed -i 's/^GRUB_CMDLINE_LINUX="/&crashkernel=128M /' /etc/default/grub && update-grub
"""
WITH_CRASH_KERNEL = State("crash-kernel", lambda lab, machine: machine.ok(RESERVED, 300), UPGRADED)
# Each is the same after a firmware boot and after a jump.
STATE = """
cat /proc/fb /sys/kernel/kexec_crash_size
grep -ow la57 /proc/cpuinfo
ls /sys/firmware/efi/efivars
"""
LOAD = """
kexec -s -p /boot/vmlinuz-$(uname -r) --initrd=/boot/initrd.img-$(uname -r) --append="$(cat /proc/cmdline) nr_cpus=1"
"""
CRASH_LOADED = "cat /sys/kernel/kexec_crash_loaded"


def test_a_crash_kernel_stays_loaded_until_the_jump_and_its_memory_and_the_framebuffer_behind_it(
    lab: Lab,
) -> None:
    by_grub = lab.by_grub(WITH_CRASH_KERNEL)
    machine = lab.after_grub(WITH_CRASH_KERNEL)
    seen = machine.ok(STATE)
    assert "EFI VGA\n134217728\nla57\n" in seen
    machine.ok(LOAD)
    seen_loaded = []
    for command in ("stage", "unstage", "stage"):
        machine.ok(f"kexec-hook {command}")
        seen_loaded.append((machine.ok(CRASH_LOADED), loaded(machine)))
    assert seen_loaded == [("1", "1"), ("1", "0"), ("1", "1")]
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok(STATE) == seen
    # What was loaded is gone with the kernel that held it; kdump's service loads anew.
    assert machine.ok(CRASH_LOADED) == "0"
    machine.ok(LOAD)
    stage(machine)
    assert (machine.ok(CRASH_LOADED), loaded(machine)) == ("1", "1")


# More than twice of it would not fit beside what runs.
LARGE = """
set -e
mkdir /root/large && cd /root/large && head -c 150M /dev/urandom > e2e-noise
echo e2e-noise | cpio --quiet -o -H newc >> /boot/initrd.img-{release}
rm e2e-noise
"""


def test_an_initrd_that_is_too_large_for_the_memory_is_declined(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    machine.ok(LARGE.format(release=lab.image.newer), 300)
    declined = machine.shell("kexec-hook stage")
    assert (declined.code, "MiB of memory, and " in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
