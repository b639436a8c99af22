"""How long a reboot takes through firmware and GRUB, and as a jump: measured in a virtual machine, and drawn.

    python3 -m tests.vm.timeline DIRECTORY          measures; writes timeline.json and timeline.svg there
    python3 -m tests.vm.timeline --draw DIRECTORY   draws timeline.svg anew from timeline.json

What is seen from outside: the command is said, the machine is reset (QMP) or the old kernel says that it starts the new
one, the firmware says that it starts GRUB, the kernel says its version, the machine says that multi-user.target is
reached.  From inside comes one number: when the kernel had come to start systemd.

Counted is the processor time of QEMU, which other work on this system does not lengthen; the clock's seconds stand
beside it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.kills.units import SYSTEMD
from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import RESET, Moment, VirtualMachine
from tests.vm.picture import Way, svg
from tests.vm.scenarios import UPGRADED, stage

RECIPE = image.DEBIAN_13_UEFI
RUNS = 5
QUIET = 2.5  # of the load; the machine itself is 1

# Each part, and what ends it; the first begins with the command.
ORDINARY = {"shutdown": RESET, "firmware": "BdsDxe: starting Boot", "GRUB": "Linux version"}
JUMP = {"shutdown": "Starting new kernel", "kexec": "Linux version"}
READY = "@@READY"

# The kernel's first line is on the console when it is said, and not when there is a driver for the port.
LOUD = "quiet loglevel=6 earlycon=uart8250,io,0x3f8,115200"
STARTED = "systemctl show --value -p UserspaceTimestampMonotonic"
SETTLE = 5  # seconds after a state has been loaded
WAITS = 5  # Debian's stock GRUB_TIMEOUT
UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))


class Run(NamedTuple):
    cpu: tuple[float, ...]  # seconds of each part
    wall: float  # seconds in all


def _staged(lab: Lab, machine: VirtualMachine) -> None:
    """The older kernel runs; the newer one is GRUB's default, and staged."""
    machine.ok(
        f"""sed -i 's/"quiet"/"{LOUD}"/; s/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT={WAITS}/' /etc/default/grub"""
        " && grep TIMEOUT /etc/default/grub && update-grub && dmesg -n 6",
        300,
    )
    assert stage(machine)["release"] == lab.image.newer


def _without(lab: Lab, machine: VirtualMachine) -> None:
    """The same, as if there were no kexec-hook."""
    machine.ok(f"kexec-hook unstage && systemctl disable --now {' '.join(UNITS)}")


STAGED = State("timeline-staged", _staged, UPGRADED)
WITHOUT = State("timeline-without", _without, STAGED)


def measure(lab: Lab) -> dict[str, Any]:
    load = _load()
    ordinary: list[Run] = []
    jump: list[Run] = []
    for _ in range(RUNS):
        # In turns, so that both have of whatever else this system does.
        ordinary.append(_reboot(lab, WITHOUT, "firmware", ORDINARY))
        jump.append(_reboot(lab, STAGED, "kexec", JUMP))
    return {
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": [load, _load()],
        "processor": _processor(),
        "firmware": f"OVMF {_version_of('ovmf')}",
        "kernel": lab.image.newer,
        "grub_timeout": WAITS,
        "versions": lab.versions,
        "ratio": round(_median(jump) / _median(ordinary), 2),
        "ordinary": _described(ORDINARY, ordinary),
        "jump": _described(JUMP, jump),
    }


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(sum(run.cpu) for run in runs)


def _reboot(lab: Lab, state: State, kind: str, signs: Mapping[str, str]) -> Run:
    lab.at(state)
    # Loaded also when it has just been made: QEMU then forgets what it has translated.  Where it has not, the firmware
    # writes over that for minutes.
    machine = lab.at(state)
    time.sleep(SETTLE)
    booted, moments, looks = machine.watch("reboot", [*signs.values(), READY])
    assert (booted.kind, booted.release) == (kind, lab.image.newer)
    # The kernel's clock begins with its first line.
    systemd = moments[-2].wall + int(machine.ok(STARTED)) / 1e6
    moments.insert(-1, next(look for look in looks if look.wall >= systemd))
    parts = [round(end.cpu - begin.cpu, 3) for begin, end in zip([Moment(0, 0), *moments], moments)]
    run = Run(tuple(parts), round(moments[-1].wall, 3))
    print(kind, *parts, "clock", run.wall, "load", _load(), file=sys.stderr, flush=True)
    return run


def _described(signs: Mapping[str, str], runs: Sequence[Run]) -> dict[str, Any]:
    way = Way("", (*signs, "kernel", "userspace"), tuple(run.cpu for run in runs))
    return {
        "parts": way.parts,
        "medians": [round(median, 3) for median in way.medians],
        "runs": way.runs,
        "clock": [run.wall for run in runs],
    }


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor()


def _version_of(package: str) -> str:
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE, text=True
    )
    return said.stdout or "of unknown version"


# The picture.


def draw(measured: Mapping[str, Any]) -> str:
    versions = measured["versions"]
    count = len(measured["jump"]["runs"])
    system = versions["system"].replace("GNU/Linux ", "")
    return svg(
        f"From the command reboot to multi-user.target: processor time, medians of {count} runs",
        (
            _way("through firmware and GRUB", measured["ordinary"]),
            _way("jump by kexec-hook", measured["jump"]),
        ),
        (
            f"Seen in a virtual machine ({measured['firmware']}, one processor, emulated without KVM by"
            f" QEMU {versions['QEMU'].partition(' ')[0]} on {measured['processor']})",
            f"with {system}, Linux {measured['kernel']}, and a GRUB that shows its menu for"
            f" {measured['grub_timeout']} seconds. Seconds of QEMU's processor time; by the",
            f"clock, medians of {_clock(measured, 'ordinary')} s and {_clock(measured, 'jump')} s."
            f" Measured on {measured['measured']}{_busy(measured['load'])}.",
            "On real hardware the firmware is the part that grows, and all others are faster than emulated ones:"
            " not measured here.",
        ),
    )


def _clock(measured: Mapping[str, Any], way: str) -> str:
    return f"{statistics.median(measured[way]['clock']):.1f}"


def _busy(load: Sequence[float]) -> str:
    return f", beside other work (load {min(load)} to {max(load)})" if max(load) > QUIET else ""


def _way(name: str, described: Mapping[str, Any]) -> Way:
    return Way(name, tuple(described["parts"]), tuple(map(tuple, described["runs"])))


def main(words: Sequence[str]) -> None:
    directory = Path(words[-1])
    data = directory / "timeline.json"
    if "--draw" not in words:
        lab = Lab(RECIPE)
        try:
            data.write_text(json.dumps(measure(lab), indent=1) + "\n")
        finally:
            lab.close()
    (directory / "timeline.svg").write_text(draw(json.loads(data.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
