"""What the machines of all distributions go through: staged, rebooted by anybody who can, and compared with GRUB.

GRUB is the oracle: the machine in the same state is switched off and on, and release, /proc/cmdline and grubenv are
compared byte for byte.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from tests.vm import product
from tests.vm.lab import Lab, State
from tests.vm.machine import Machine

LOGIND = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false"


def stage(machine: Machine, *words: str) -> dict[str, Any]:
    command = shlex.join(["kexec-hook", "stage", "--json", *words])
    answer: dict[str, Any] = json.loads(
        machine.ok(f"{command} 2> /run/stage.stderr || {{ code=$?; cat /run/stage.stderr; exit $code; }}")
    )
    return answer


def jump(machine: Machine, command: str = "reboot") -> tuple[str, bytes, bytes]:
    """Reboot into what is to be the same as with GRUB; nothing of the decision is left."""
    booted = machine.reboot(command)
    assert booted.kind == "kexec"
    assert loaded(machine) == "0"
    assert machine.shell("test -e /no-kexec-reboot || test -e /run/kexec-hook/approved").code
    return booted.same_as_grub


def loaded(machine: Machine) -> str:
    return machine.ok("cat /sys/kernel/kexec_loaded")


def boot_the_older(lab: Lab, machine: Machine) -> None:
    machine.ok(f"grub-reboot '{lab.entry_of(lab.image.older)}'")
    assert machine.power_cycle().release == lab.image.older


def _install(lab: Lab, machine: Machine) -> None:
    product.install(machine)


INSTALLED = State("installed", _install)
# After a kernel upgrade: the older kernel runs, GRUB's default is the newer one, nothing is staged.
UPGRADED = State("upgraded", boot_the_older, INSTALLED)


def early_cpio(name: str, content: bytes) -> bytes:
    """A newc archive with one file, its length no multiple of four: what follows it must be aligned."""
    archive = b""
    for number, (member, data, mode) in enumerate([(name, content, 0o100644), ("TRAILER!!!", b"", 0)], start=1):
        archive += b"\0" * (-len(archive) % 4)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(member) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % value for value in fields) + member.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + data if data else b""
    assert len(archive) % 4
    return archive
