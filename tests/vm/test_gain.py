"""What a jump saves, on Debian 12 with a GRUB that waits: what the machine measures is what is seen from outside."""

from __future__ import annotations

import json
import struct
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
MOST_LOST = 10.0  # seconds that an emulated kernel has not counted
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
    """The gap from outside, and as the machine has it.

    It ends where the next kernel's clock begins.  Until Linux has chosen a clock it counts interrupts, and those that
    come while a busy host lets QEMU wait are lost: in an emulated machine its clock begins seconds after its first line.
    """
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
    began, gap = clock_began(machine), last_gap(machine)
    print(
        f"{kind}: {up - down:.2f} s to its first line, {began - down:.2f} s to its clock, {gap}",
        flush=True,
    )
    assert up - 0.5 <= began <= up + MOST_LOST
    return began - down, gap


def clock_began(machine: VirtualMachine) -> float:
    """When its uptime was 0, on our clock."""
    return min(_asked(machine) for _ in range(3))


def _asked(machine: VirtualMachine) -> float:
    uptime = float(machine.ok("cut -d' ' -f1 /proc/uptime"))
    return time.monotonic() - uptime


def in_step(lab: Lab) -> VirtualMachine:
    """The kernel's clock is that of the hardware again, which has gone on since the state was saved."""
    machine = lab.at(SLOW)
    machine.ok("date -s @$(cat /sys/class/rtc/rtc0/since_epoch)")
    return machine


def last_gap(machine: VirtualMachine) -> Gap | None:
    lines = machine.ok("cat /var/lib/kexec-hook/gaps 2> /dev/null; :").splitlines()
    boot = machine.ok("cat /proc/sys/kernel/random/boot_id")
    gaps = [gap for line in lines if (gap := parse_gap(line)) and gap.boot == boot]
    return gaps[-1] if gaps else None


def gain(machine: VirtualMachine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))["gain"]
    return found


def test_gaps_are_right_within_two_seconds(lab: Lab) -> None:
    machine = in_step(lab)
    outside: dict[str, list[float]] = {"firmware": [], "jump": []}
    wrong = []
    for kind in ("firmware", "jump") * BOOTS:
        seconds, gap = reboot(machine, kind)
        outside[kind].append(seconds)
        if gap is None or gap.kind != kind or abs(gap.seconds - seconds) > WITHIN:
            wrong.append((kind, seconds, gap))
    assert not wrong
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


def zone(seconds: int, name: bytes) -> bytes:
    """A zone without changes, east of Greenwich by so much (RFC 8536): the machine has no tzdata."""
    counts = (0, 0, 0, 0, 1, len(name) + 1)
    return struct.pack(">4s16x6lLBB", b"TZif", *counts, seconds, 0, 0) + name + b"\0"


@pytest.mark.parametrize("kind", ["firmware", "jump"])
def test_clock_that_somebody_sets_gives_no_number(lab: Lab, kind: str) -> None:
    machine = in_step(lab)
    machine.ok("date -s '+1 hour'")
    assert reboot(machine, kind)[1] is None


def test_hardware_clock_in_another_zone_gives_no_number(lab: Lab) -> None:
    machine = in_step(lab)
    machine.ok("rm -f /etc/localtime")
    machine.write("/etc/localtime", zone(330 * 60, b"IST"))
    machine.ok("printf '0.0 0 0.0\\n0\\nLOCAL\\n' > /etc/adjtime")
    assert reboot(machine, "firmware")[1] is None
    said = machine.ok("journalctl -b -o cat | grep 'RTC configured in localtime'")
    assert "applying delta of 330 minutes" in said


def test_machine_that_was_off_gives_no_number(lab: Lab) -> None:
    machine = in_step(lab)
    machine.power_off("systemctl poweroff")
    time.sleep(30)
    machine.reset()
    assert last_gap(machine) is None
    assert not machine.ok("cat /var/lib/kexec-hook/down 2> /dev/null; :")
