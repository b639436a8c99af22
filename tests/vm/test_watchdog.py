"""A kernel that hangs after the jump, on Debian 13 with a watchdog: reset without a hand where `status` said `armed`.

Debian 12's cloud kernel has no i6300esb.  And no Secure Boot, with which QEMU stops where a watchdog resets it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import BOOT_SECONDS, Mark, VirtualMachine
from tests.vm.scenarios import INSTALLED, boot_the_older, early_cpio, jump, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13_UEFI
DEVICES = ("i6300esb",)

SECONDS = 240  # emulated on a busy host, a kernel and its initrd take their time
FAULT = """\
if [ "$(cat /proc/sys/kernel/bootloader_type)" = 208 ]; then
    echo @@FAULT > /dev/console
    while :; do sleep 1; done
fi
"""
KEEP = "watchdog.stop_on_reboot=0"


def _watched(lab: Lab, machine: VirtualMachine) -> None:
    machine.write("/etc/kexec-hook.conf.d/e2e.conf", f"watchdog = {SECONDS}\n".encode())


def _stops(lab: Lab, machine: VirtualMachine) -> None:
    _watched(lab, machine)
    boot_the_older(lab, machine)


def _kept(lab: Lab, machine: VirtualMachine) -> None:
    """From the next boot on; the older kernel runs."""
    _watched(lab, machine)
    machine.ok(
        f"""echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {KEEP}"' >> /etc/default/grub && update-grub""",
        300,
    )
    boot_the_older(lab, machine)


def _faulty(lab: Lab, machine: VirtualMachine) -> None:
    machine.write("/boot/fault.cpio", early_cpio("e2e-fault", FAULT.encode()))
    machine.ok(
        "echo GRUB_EARLY_INITRD_LINUX_CUSTOM=fault.cpio >> /etc/default/grub && update-grub", 300
    )
    stage(machine)


STOPS = State("watchdog-stops", _stops, INSTALLED)
KEPT = State("watchdog-kept", _kept, INSTALLED)
STOPS_AND_HANGS = State("watchdog-stops-hangs", _faulty, STOPS)
KEPT_AND_HANGS = State("watchdog-kept-hangs", _faulty, KEPT)


def status(machine: VirtualMachine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))
    return found


def into_the_fault(machine: VirtualMachine) -> Mark:
    """The moment before."""
    before = machine.mark()
    machine.say("reboot")
    machine.wait_for_console("@@FAULT", before)
    assert machine.resets == before.resets
    return before


def test_kernel_that_hangs_is_reset_and_not_jumped_into_again(lab: Lab) -> None:
    machine = lab.at(KEPT_AND_HANGS)
    assert status(machine)["watchdog"]["armed"], status(machine)["watchdog"]
    assert "armed: it resets this machine" in machine.ok("kexec-hook status")
    booted = machine.comes_up(into_the_fault(machine), SECONDS + BOOT_SECONDS)
    assert (booted.kind, booted.release) == ("firmware", lab.image.newer)
    assert [each["release"] for each in status(machine)["failed_jumps"]] == [lab.image.newer]
    assert machine.shell("kexec-hook stage").code == 3
    assert machine.reboot("reboot").kind == "firmware"


def test_good_kernel_is_not_reset(lab: Lab) -> None:
    machine = lab.at(KEPT)
    stage(machine)
    jump(machine)
    before = machine.mark()
    assert status(machine)["watchdog"]["armed"]
    machine.wait(SECONDS + 30)
    assert machine.resets == before.resets
    assert machine.ok("cat /sys/class/watchdog/watchdog0/state") == "active"


def test_without_the_parameter_nobody_resets_it_and_status_has_told(lab: Lab) -> None:
    machine = lab.at(STOPS_AND_HANGS)
    said = status(machine)["watchdog"]
    assert (said["armed"], said["fix"]) == (False, f"boot with {KEEP}")
    before = into_the_fault(machine)
    machine.wait(SECONDS + 60)
    assert machine.resets == before.resets
