"""`require_trial = yes`, on Debian 12: nothing jumps before a jump that somebody asked for has come up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage
from tests.vm.test_safety_net import HANGS

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

UNTRIED = "no kexec by `kexec-hook reboot` has come up on this machine yet"


def _want_trial(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok("kexec-hook unstage")
    machine.write("/etc/kexec-hook.conf.d/e2e.conf", b"require_trial = yes\n")


TRIAL = State("trial", _want_trial, UPGRADED)
TRIAL_HANGS = State("trial-hangs", _want_trial, HANGS)


def jumps(machine: VirtualMachine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(machine.ok("kexec-hook status --json"))["jumps"]
    return found


def assert_untried(machine: VirtualMachine) -> None:
    declined = machine.shell("kexec-hook stage")
    assert (declined.code, UNTRIED in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"


def test_one_trial_by_hand_allows_what_follows(lab: Lab) -> None:
    machine = lab.at(TRIAL)
    assert_untried(machine)
    assert machine.reboot("reboot").kind == "firmware"
    assert_untried(machine)
    jump(machine, "kexec-hook reboot --yes")
    stage(machine)
    jump(machine)
    assert [(each["asked"], each["came_up"]) for each in jumps(machine)] == [
        (True, True),
        (False, True),
    ]
    assert "came up" in machine.ok("kexec-hook status")


def test_what_was_staged_before_is_no_trial(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    stage(machine)
    machine.write("/etc/kexec-hook.conf.d/e2e.conf", b"require_trial = yes\n")
    assert machine.reboot("reboot").kind == "firmware"


def test_trial_that_hangs_allows_nothing(lab: Lab) -> None:
    machine = lab.at(TRIAL_HANGS)
    before = machine.mark()
    machine.say("kexec-hook reboot --yes")
    machine.wait_for_console("@@FAULT", before)
    # Whoever asked for it presses the button.
    machine.reset()
    machine.ok("kexec-hook ack")
    assert [(each["asked"], each["came_up"]) for each in jumps(machine)] == [(True, False)]
    assert_untried(machine)
    assert machine.reboot("reboot").kind == "firmware"
