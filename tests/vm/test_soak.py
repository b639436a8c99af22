"""Twenty upgrades and jumps of one Debian 12, one after the other: each into what was asked for, and nothing adds up.

Two kernels in turn, asked for in three forms: GRUB_DEFAULT by update-grub, grub-set-default, and grub-reboot, which
counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.vm import image, product
from tests.vm.lab import Lab
from tests.vm.machine import Booted, VirtualMachine
from tests.vm.scenarios import INSTALLED, loaded

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

ROUNDS = 20
FORMS = ("GRUB_DEFAULT", "grub-set-default", "grub-reboot")
# In these, apt installs the newer kernel once more, which makes a new initrd.
BY_APT = (6, 13)
REINSTALL = "mount -o ro LABEL=payload /mnt && apt-get -y -qq install --reinstall /mnt/newer/linux-image-*.deb && umount /mnt"
# MemAvailable after a boot, in kB: two boots of one kernel differed by 500, and kernel and initrd take 19 MiB.
MEMORY_MARGIN = 16 << 10
# All that a kexec that came up leaves in /var/lib/kexec-hook.
HISTORY = {"down", "gaps", "jumped.json", "jumps.json", "lock"}
# Bytes in /run/kexec-hook: how many digits times and inodes have.
RUN_MARGIN = 256


@dataclass(frozen=True)
class Wish:
    form: str
    release: str


@dataclass(frozen=True)
class Seen:
    """What could grow."""

    memory: int  # kB
    total: int  # kB
    names: tuple[str, ...]  # in /run/kexec-hook, before the jump
    size: int


def wishes(lab: Lab) -> list[Wish]:
    """Form and kernel by round; a one-shot is always for another kernel than the default."""
    kernels = (lab.image.older, lab.image.newer)
    return [Wish(FORMS[number % 3], kernels[number % 2]) for number in range(ROUNDS)]


def ask(lab: Lab, machine: VirtualMachine, wish: Wish) -> None:
    if wish.form == "GRUB_DEFAULT":
        # By title for one, by number for the other: update-grub lists the newer kernel first, each with its rescue.
        title = f"Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux {wish.release}"
        grub_default(machine, title if wish.release == lab.image.newer else "1>2")
    elif wish.form == "grub-set-default":
        grub_default(machine, "saved")
        machine.ok(f"grub-set-default '{lab.entry_of(wish.release)}'")
    else:
        machine.ok(f"grub-reboot '{lab.entry_of(wish.release)}'")


def grub_default(machine: VirtualMachine, value: str) -> None:
    machine.ok(
        f"sed -i 's|^GRUB_DEFAULT=.*|GRUB_DEFAULT=\"{value}\"|' /etc/default/grub && update-grub",
        300,
    )


def variables(grubenv: bytes) -> list[bytes]:
    return [line for line in grubenv.splitlines() if b"=" in line]


def kilobytes(machine: VirtualMachine, name: str) -> int:
    return int(machine.ok(f"sed -n 's/^{name}: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo"))


def one_round(lab: Lab, machine: VirtualMachine, number: int, wish: Wish, by_grub: Booted) -> Seen:
    ask(lab, machine, wish)
    asked = variables(machine.read("/boot/grub/grubenv"))
    said = machine.ok(REINSTALL if number in BY_APT else "/usr/lib/kexec-hook/run apt", 600)
    assert f"{wish.release} (staged in " in said, said
    names = tuple(machine.ok("ls -A /run/kexec-hook").split())
    size = int(machine.ok("cat /run/kexec-hook/* | wc -c"))
    booted = machine.reboot("reboot")
    assert (booted.kind, booted.release, booted.cmdline) == (
        "kexec",
        by_grub.release,
        by_grub.cmdline,
    )
    assert booted.release == wish.release
    # GRUB takes the one-shot away, and leaves the rest as it was.
    assert variables(booted.grubenv) == [
        b"next_entry=" if line.startswith(b"next_entry=") else line for line in asked
    ]
    assert loaded(machine) == "0"
    assert machine.ok("ls -d /run/kexec-hook /no-kexec-reboot 2> /dev/null || true") == ""
    assert set(machine.ok("ls -A /var/lib/kexec-hook").split()) <= HISTORY
    return Seen(kilobytes(machine, "MemAvailable"), kilobytes(machine, "MemTotal"), names, size)


def test_twenty_jumps_follow_grub_and_leave_nothing(lab: Lab) -> None:
    machine = lab.at(INSTALLED)
    product.install_apt_glue(machine)
    rounds = wishes(lab)
    by_grub: dict[Wish, Booted] = {}
    for wish in rounds[:6]:
        ask(lab, machine, wish)
        by_grub[wish] = machine.power_cycle()
        assert by_grub[wish].release == wish.release
    seen: list[Seen] = []
    for number, wish in enumerate(rounds):
        print(f"round {number}: {wish.release} by {wish.form}", end=", ", flush=True)
        seen.append(one_round(lab, machine, number, wish, by_grub[wish]))
        print(seen[-1], flush=True)
    for number, now in enumerate(seen):
        before = seen[number % 6]  # of the same wish
        assert now.names == before.names
        assert now.size <= before.size + RUN_MARGIN
        assert now.total == before.total
        assert now.memory >= before.memory - MEMORY_MARGIN
