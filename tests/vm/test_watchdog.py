"""A kernel that hangs after the jump, on Debian 13 with a watchdog: reset without a hand where `status` said `armed`.

Debian 12's cloud kernel has no i6300esb.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import BOOT_SECONDS, VirtualMachine
from tests.vm.scenarios import UPGRADED, boot_the_older, early_cpio, jump, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13
DEVICES = ("i6300esb",)

SECONDS = 120  # emulated, a kernel and its initrd take their time
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


STOPS = State("watchdog-stops", _stops, UPGRADED)
KEPT = State("watchdog-kept", _kept, UPGRADED)
STOPS_AND_HANGS = State("watchdog-stops-hangs", _faulty, STOPS)
KEPT_AND_HANGS = State("watchdog-kept-hangs", _faulty, KEPT)


def status(machine: VirtualMachine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))
    return found


def into_the_fault(machine: VirtualMachine) -> int:
    """Resets so far."""
    before = machine.mark()
    machine.say("reboot")
    machine.wait_for_console("@@FAULT", before)
    return machine.resets


def test_kernel_that_hangs_is_reset_and_not_jumped_into_again(lab: Lab) -> None:
    machine = lab.at(KEPT_AND_HANGS)
    assert status(machine)["watchdog"]["armed"], status(machine)["watchdog"]
    assert "armed: it resets this machine" in machine.ok("kexec-hook status")
    before = machine.mark()
    resets = into_the_fault(machine)
    machine.wait_for_console("@@READY", before, SECONDS + BOOT_SECONDS)
    assert machine.resets > resets  # by nobody's hand
    assert machine.ok("uname -r") == lab.image.newer
    assert [each["release"] for each in status(machine)["failed_jumps"]] == [lab.image.newer]
    assert machine.shell("kexec-hook stage").code == 3
    assert machine.reboot("reboot").kind == "firmware"


def test_good_kernel_is_not_reset(lab: Lab) -> None:
    machine = lab.at(KEPT)
    stage(machine)
    jump(machine)
    resets = machine.resets
    assert status(machine)["watchdog"]["armed"]
    end = time.monotonic() + SECONDS + 30
    while time.monotonic() < end:
        machine.ok("sleep 10")
    assert machine.resets == resets
    assert machine.ok("cat /sys/class/watchdog/watchdog0/state") == "active"


def test_without_the_parameter_nobody_resets_it_and_status_has_told(lab: Lab) -> None:
    machine = lab.at(STOPS_AND_HANGS)
    said = status(machine)["watchdog"]
    assert (said["armed"], said["fix"]) == (False, f"boot with {KEEP}")
    resets = into_the_fault(machine)
    time.sleep(SECONDS + 60)
    assert machine.resets == resets
    machine.reset()
