"""What the machines of all distributions go through: staged, rebooted by anybody who can, and compared with GRUB.

GRUB is the oracle: the machine in the same state is switched off and on, and release, /proc/cmdline and grubenv are
compared byte for byte.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.vm import product
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine

LOGIND = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false"


def stage(machine: VirtualMachine, *words: str) -> dict[str, Any]:
    command = shlex.join(["kexec-hook", "stage", "--json", *words])
    answer: dict[str, Any] = json.loads(
        machine.ok(
            f"{command} 2> /run/stage.stderr || {{ code=$?; cat /run/stage.stderr; exit $code; }}"
        )
    )
    return answer


def jump(machine: VirtualMachine, command: str = "reboot") -> tuple[str, bytes, bytes]:
    """Reboot into what is to be the same as with GRUB; nothing of the decision is left."""
    booted = machine.reboot(command)
    assert booted.kind == "kexec"
    assert loaded(machine) == "0"
    assert machine.shell("test -e /no-kexec-reboot || test -e /run/kexec-hook/approved").code
    return booted.same_as_grub


def loaded(machine: VirtualMachine) -> str:
    return machine.ok("cat /sys/kernel/kexec_loaded")


def one_shot(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok(f"grub-reboot '{lab.entry_of(lab.image.older)}'")


def boot_the_older(lab: Lab, machine: VirtualMachine) -> None:
    one_shot(lab, machine)
    assert machine.power_cycle().release == lab.image.older


def _install(lab: Lab, machine: VirtualMachine) -> None:
    product.install(machine)


INSTALLED = State("installed", _install)
# After a kernel upgrade: the older kernel runs, GRUB's default is the newer one, nothing is staged.
UPGRADED = State("upgraded", boot_the_older, INSTALLED)


def _staged_and_one_shot(lab: Lab, machine: VirtualMachine) -> None:
    assert stage(machine)["release"] == lab.image.newer
    one_shot(lab, machine)


ONE_SHOT = State("one-shot", _staged_and_one_shot, UPGRADED)


def grub_reboot_is_followed_once(lab: Lab) -> None:
    by_grub = lab.by_grub(ONE_SHOT)
    assert (by_grub.release, b"next_entry=\n" in by_grub.grubenv) == (lab.image.older, True)
    machine = lab.at(ONE_SHOT)
    assert jump(machine) == by_grub.same_as_grub
    assert stage(machine)["release"] == lab.image.newer
    assert jump(machine) == lab.by_grub(UPGRADED).same_as_grub


# What `apt install` of a kernel leads to, with apt's glue installed; each module that has these gives them a name.


def _before_the_newer(lab: Lab, machine: VirtualMachine) -> None:
    if lab.recipe.newer_is_installed:
        boot_the_older(lab, machine)
        machine.ok(f"apt-get -y -qq purge linux-image-{lab.image.newer}", 600)
    product.install(machine)
    product.install_apt_glue(machine)


def _apt_install(lab: Lab, machine: VirtualMachine) -> None:
    said = machine.ok(
        "mount -o ro LABEL=payload /mnt && apt-get -y -qq install /mnt/newer/*.deb && umount /mnt",
        900,
    )
    # A line of its own, where apt's own lines end; Debian 14's kernel packages say that a reboot is due.
    line = f": kexec into Debian GNU/Linux, {lab.image.newer} (staged in "
    assert any(f"kexec-hook: {when}{line}" in said for when in ("next reboot", "reboot due")), said
    assert loaded(machine) == "1"


WITH_GLUE = State("with-glue", _before_the_newer)
BY_APT = State("by-apt", _apt_install, WITH_GLUE)
BY_APT_AND_ONE_SHOT = State("by-apt-and-one-shot", one_shot, BY_APT)


@pytest.mark.parametrize(
    "command",
    [
        "reboot",
        "systemctl reboot",
        "shutdown -r now",
        pytest.param(LOGIND, id="logind's D-Bus Reboot"),
    ],
)
def after_apt_install_every_caller_jumps(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(BY_APT)
    assert by_grub.release == lab.image.newer
    assert jump(lab.at(BY_APT), command) == by_grub.same_as_grub


@pytest.mark.parametrize("command", ["coldreboot", "kexec-hook coldreboot"])
def after_apt_install_cold_reboot_is_cold(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(BY_APT)
    machine = lab.at(BY_APT)
    booted = machine.reboot(command)
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub
    assert machine.shell("test -e /no-kexec-reboot").code


def after_apt_install_grub_reboot_is_followed_once(lab: Lab) -> None:
    by_grub = lab.by_grub(BY_APT_AND_ONE_SHOT)
    assert (by_grub.release, b"next_entry=\n" in by_grub.grubenv) == (lab.image.older, True)
    release, cmdline, _ = lab.by_grub(BY_APT).same_as_grub
    machine = lab.at(BY_APT_AND_ONE_SHOT)
    assert jump(machine) == by_grub.same_as_grub
    assert stage(machine)["release"] == lab.image.newer
    # The name without a value stays in grubenv, where there may have been none before.
    assert jump(machine) == (release, cmdline, by_grub.grubenv)


def early_cpio(name: str, content: bytes) -> bytes:
    """A newc archive with one file, its length no multiple of four: what follows it must be aligned."""
    archive = b""
    for number, (member, data, mode) in enumerate(
        [(name, content, 0o100644), ("TRAILER!!!", b"", 0)], start=1
    ):
        archive += b"\0" * (-len(archive) % 4)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(member) + 1, 0)
        archive += (
            b"070701" + b"".join(b"%08X" % value for value in fields) + member.encode() + b"\0"
        )
        archive += b"\0" * (-len(archive) % 4) + data if data else b""
    assert len(archive) % 4
    return archive
