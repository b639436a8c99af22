"""What a jump saves, on Debian 12 with a GRUB that waits: what the machine measures is what is seen from outside."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from kexec_hook.state.gain import Gap, parse_gap
from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import BOOT_SECONDS, VirtualMachine
from tests.vm.scenarios import UPGRADED, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

WAITS = 20  # seconds
BOOTS = 5  # of each kind
WITHIN = 2.0  # seconds
# The end of the unit's stop, by the shell of its last program; and the kernel's first line, on the console when it is said.
LOUD = "quiet loglevel=6 earlycon=uart8250,io,0x3f8,115200"
DOWN = f"""
mkdir -p /etc/systemd/system/kexec-hook.service.d
printf '[Service]\\nExecStopPost=\\nExecStopPost=-/bin/sh -c "/usr/lib/kexec-hook/gap down; echo @@DOWN > /dev/ttyS0"\\n' \\
    > /etc/systemd/system/kexec-hook.service.d/e2e.conf
sed -i 's/"quiet"/"{LOUD}"/; /TIMEOUT/d' /etc/default/grub
printf 'GRUB_TIMEOUT={WAITS}\\nGRUB_TIMEOUT_STYLE=menu\\n' >> /etc/default/grub
update-grub
systemctl daemon-reload
"""


def _slow(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok(DOWN, 300)


SLOW = State("slow-grub", _slow, UPGRADED)


class Watch(threading.Thread):
    """When does the console say each of these, one after the other?"""

    def __init__(self, machine: VirtualMachine, *texts: str) -> None:
        super().__init__(daemon=True)
        self.machine = machine
        self.texts = texts
        self.start_at = len(machine.console_log.read_bytes())
        self.seen: list[float] = []

    def run(self) -> None:
        place = self.start_at
        end = time.monotonic() + 4 * BOOT_SECONDS  # a busy host
        for text in self.texts:
            while time.monotonic() < end:
                at = self.machine.console_log.read_bytes().find(text.encode(), place)
                if at >= 0:
                    self.seen.append(time.monotonic())
                    place = at + len(text)
                    break
                time.sleep(0.02)


def reboot(machine: VirtualMachine, kind: str) -> tuple[float, Gap | None]:
    """The gap from outside, and as the machine has it."""
    if kind == "jump":
        stage(machine)
    else:
        machine.ok("kexec-hook unstage")
    watch = Watch(machine, "@@DOWN", "Linux version")
    watch.start()
    booted = machine.reboot("reboot")
    watch.join()
    assert booted.kind == ("kexec" if kind == "jump" else "firmware")
    down, up = watch.seen
    return up - down, last_gap(machine)


def last_gap(machine: VirtualMachine) -> Gap | None:
    lines = machine.ok("cat /var/lib/kexec-hook/gaps 2> /dev/null; :").splitlines()
    print(*lines[-1:])
    boot = machine.ok("cat /proc/sys/kernel/random/boot_id")
    gaps = [gap for line in lines if (gap := parse_gap(line)) and gap.boot == boot]
    return gaps[-1] if gaps else None


def gain(machine: VirtualMachine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))["gain"]
    return found


def test_gaps_are_right_within_two_seconds(lab: Lab) -> None:
    machine = lab.at(SLOW)
    # Its clock is that of the moment when the state was saved, and the hardware's has gone on: no number.
    assert reboot(machine, "firmware")[1] is None
    outside: dict[str, list[float]] = {"firmware": [], "jump": []}
    for kind in ("firmware", "jump") * BOOTS:
        seconds, gap = reboot(machine, kind)
        print(f"{kind}: {seconds:.2f} s from outside, {gap}")
        assert gap is not None
        assert gap.kind == kind
        assert abs(gap.seconds - seconds) <= WITHIN
        outside[kind].append(seconds)
    found = gain(machine)
    for kind, seen in outside.items():
        assert found[kind]["boots"] == BOOTS
        assert abs(found[kind]["seconds"] - sorted(seen)[BOOTS // 2]) <= WITHIN
    assert found["saves"] >= WAITS - 2 * WITHIN
    assert "the last 5 boots; the last 5 kexecs took " in machine.ok("kexec-hook status")
    machine.write(
        "/etc/kexec-hook.conf.d/e2e.conf", b"when = always\n"
    )  # what runs is what GRUB boots
    machine.ok("kexec-hook unstage")
    assert ", saves about " in machine.ok("kexec-hook run --source=apt")


@pytest.mark.parametrize("kind", ["firmware", "jump"])
def test_clock_that_somebody_sets_gives_no_number(lab: Lab, kind: str) -> None:
    machine = lab.at(SLOW)
    reboot(machine, "firmware")
    machine.ok("date -s '+1 hour'")
    assert reboot(machine, kind)[1] is None


def test_hardware_clock_in_another_zone_gives_no_number(lab: Lab) -> None:
    machine = lab.at(SLOW)
    reboot(machine, "firmware")
    machine.ok("ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime")
    machine.ok("printf '0.0 0 0.0\\n0\\nLOCAL\\n' > /etc/adjtime")
    assert reboot(machine, "firmware")[1] is None


def test_machine_that_was_off_gives_no_number(lab: Lab) -> None:
    machine = lab.at(SLOW)
    reboot(machine, "firmware")
    machine.power_off("systemctl poweroff")
    time.sleep(30)
    machine.reset()
    assert last_gap(machine) is None
    assert not machine.ok("cat /var/lib/kexec-hook/down 2> /dev/null; :")
