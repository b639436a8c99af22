"""Debian 13 (systemd 257, GRUB 2.12): what `apt install` of a kernel leads to, with apt's glue installed."""

from __future__ import annotations

import pytest

from tests.vm import image, product
from tests.vm.lab import Lab, State
from tests.vm.machine import Machine
from tests.vm.scenarios import LOGIND, boot_the_older, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13


def _install(lab: Lab, machine: Machine) -> None:
    boot_the_older(lab, machine)
    machine.ok(f"apt-get -y -qq purge linux-image-{lab.image.newer}", 600)
    product.install(machine)
    product.install_apt_glue(machine)


def _apt_install(lab: Lab, machine: Machine) -> None:
    said = machine.ok("mount -o ro LABEL=payload /mnt && apt-get -y -qq install /mnt/newer.deb && umount /mnt", 900)
    # A line of its own, where apt's own lines end.
    assert f"kexec-hook: next reboot jumps into Debian GNU/Linux, {lab.image.newer} (staged in " in said, said
    assert loaded(machine) == "1"


def _one_shot(lab: Lab, machine: Machine) -> None:
    machine.ok(f"grub-reboot '{lab.entry_of(lab.image.older)}'")


INSTALLED = State("installed", _install)
UPGRADED = State("upgraded", _apt_install, INSTALLED)
ONE_SHOT = State("one-shot", _one_shot, UPGRADED)


@pytest.mark.parametrize(
    "command", ["reboot", "systemctl reboot", "shutdown -r now", pytest.param(LOGIND, id="logind's D-Bus Reboot")]
)
def test_after_apt_install_every_caller_jumps(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(UPGRADED)
    assert by_grub.release == lab.image.newer
    assert jump(lab.at(UPGRADED), command) == by_grub.same_as_grub


@pytest.mark.parametrize("command", ["coldreboot", "kexec-hook coldreboot"])
def test_cold_reboot_is_cold(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    booted = machine.reboot(command)
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub
    assert machine.shell("test -e /no-kexec-reboot").code


def test_grub_reboot_is_followed_once(lab: Lab) -> None:
    by_grub = lab.by_grub(ONE_SHOT)
    assert (by_grub.release, b"next_entry=\n" in by_grub.grubenv) == (lab.image.older, True)
    machine = lab.at(ONE_SHOT)
    assert jump(machine) == by_grub.same_as_grub
    assert stage(machine)["release"] == lab.image.newer
    assert jump(machine) == lab.by_grub(UPGRADED).same_as_grub
