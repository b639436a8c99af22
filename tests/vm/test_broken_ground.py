"""What breaks below kexec-hook, on Debian 12: nothing is staged, status says why, and an ordinary reboot comes back."""

from __future__ import annotations

import json

import pytest

from tests.vm import image
from tests.vm.lab import Lab
from tests.vm.machine import Machine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12


def declined(machine: Machine, *words: str) -> str:
    """The reasons why nothing is staged."""
    answer = machine.shell(" ".join(["kexec-hook stage --json", *words, "2> /dev/null"]))
    assert answer.code == 3, answer.output
    assert loaded(machine) == "0"
    return "; ".join(objection["reason"] for objection in json.loads(answer.output)["objections"])


def why(machine: Machine) -> str:
    """What status has to say about it."""
    answer = json.loads(machine.ok("kexec-hook status --json"))
    return "; ".join(objection["reason"] for objection in answer["objections"])


def test_truncated_initrd_is_not_staged_until_it_is_whole(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    initrd = f"/boot/initrd.img-{lab.image.newer}"
    machine.ok(f"cp {initrd} /root/whole && truncate -s -4096 {initrd}")
    assert f"{initrd} is cut off" in declined(machine)
    assert f"{initrd} is cut off" in why(machine)
    machine.ok(f"cp /root/whole {initrd}")
    stage(machine)
    assert jump(machine) == lab.by_grub(UPGRADED).same_as_grub


def test_initrd_that_is_truncated_after_staging_does_not_boot(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    # GRUB would boot it all the same, and Linux panic: hence GRUB gets the whole one back, by a unit that is stopped
    # after kexec-hook's.
    unit = (
        "[Unit]\nDefaultDependencies=no\nBefore=kexec-hook.service shutdown.target\nConflicts=shutdown.target\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStop=/bin/cp /root/whole /boot/initrd.img-{lab.image.newer}\n"
    )
    machine.write("/etc/systemd/system/e2e-repair.service", unit.encode())
    machine.ok(
        f"initrd=/boot/initrd.img-{lab.image.newer}; cp -p $initrd /root/whole && truncate -s -4096 $initrd"
        " && systemctl daemon-reload && systemctl start e2e-repair"
    )
    booted = machine.reboot("reboot")
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub
