"""Jumps that do not come up, on Debian 12: the machine is reset, and that kernel is not jumped into again before `ack`.

The fault is in the initrd, and looks at who has booted it: the same kernel comes up when GRUB boots it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, early_cpio, jump, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

_FAULT = """\
if [ "$(cat /proc/sys/kernel/bootloader_type)" = 208 ]; then
    echo @@FAULT > /dev/console
    %s
fi
"""


def _faulty(lab: Lab, machine: VirtualMachine, fault: str) -> None:
    machine.write("/boot/fault.cpio", early_cpio("e2e-fault", (_FAULT % fault).encode()))
    machine.ok(
        "echo GRUB_EARLY_INITRD_LINUX_CUSTOM=fault.cpio >> /etc/default/grub && update-grub", 300
    )
    stage(machine)


HANGS = State(
    "hangs", lambda lab, machine: _faulty(lab, machine, "while :; do sleep 1; done"), UPGRADED
)
PANICS = State(
    "panics", lambda lab, machine: _faulty(lab, machine, "echo c > /proc/sysrq-trigger"), UPGRADED
)


def status(machine: VirtualMachine) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))
    return answer


def failed_jumps(machine: VirtualMachine) -> list[str]:
    return [jump["release"] for jump in status(machine)["failed_jumps"]]


def jump_into_the_fault(machine: VirtualMachine) -> None:
    before = machine.mark()
    machine.say("reboot")
    machine.wait_for_console("@@FAULT", before)
    assert machine.resets == before.resets


@pytest.mark.parametrize("state", [HANGS, PANICS], ids=lambda state: state.name)
def test_kernel_whose_jump_failed_is_not_jumped_into_again(lab: Lab, state: State) -> None:
    by_grub = lab.by_grub(state)
    machine = lab.at(state)
    jump_into_the_fault(machine)
    # Somebody comes and presses the button.
    assert machine.reset().same_as_grub == by_grub.same_as_grub
    assert failed_jumps(machine) == [lab.image.newer]
    declined = machine.shell("kexec-hook stage")
    assert (declined.code, f"fix: kexec-hook ack {lab.image.newer}" in declined.output) == (
        3,
        True,
    ), declined.output
    assert f"A kexec into {lab.image.newer} did not come up" in machine.ok("kexec-hook status")
    assert machine.reboot("reboot").kind == "firmware"
    assert failed_jumps(machine) == [lab.image.newer]
    machine.ok(
        "kexec-hook ack && rm /boot/fault.cpio && sed -i /EARLY_INITRD/d /etc/default/grub && update-grub",
        300,
    )
    stage(machine)
    assert jump(machine)[0] == lab.image.newer
    assert failed_jumps(machine) == []


def test_panic_timeout_brings_the_machine_back(lab: Lab) -> None:
    by_grub = lab.by_grub(PANICS)
    machine = lab.at(PANICS)
    machine.write("/etc/kexec-hook.conf.d/e2e.conf", b"panic_timeout = 1\n")
    booted = machine.reboot("reboot")
    assert "@@FAULT" in machine.console()
    assert booted.kind == "firmware"
    # panic=1 was for the jump alone.
    assert booted.same_as_grub == by_grub.same_as_grub
    assert failed_jumps(machine) == [lab.image.newer]


def test_crash_after_a_good_jump_is_not_a_failed_jump(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    stage(machine)
    jump(machine)
    machine.reset()
    assert failed_jumps(machine) == []
    stage(machine)
    jump(machine)


def test_cold_reboot_is_not_a_failed_jump(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    stage(machine)
    machine.reboot("kexec-hook coldreboot")
    assert failed_jumps(machine) == []
    stage(machine)
    jump(machine)
