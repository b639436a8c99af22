"""`when = always` on Debian 12 with LOAD_KEXEC=true: every reboot is a jump into what GRUB boots, never into /vmlinuz.

kexec-load.service would load that, with the running kernel's command line, where nothing is loaded by then.
"""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import LOGIND, UPGRADED, jump, loaded, one_shot
from tests.vm.test_debian12 import load_kexec

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

CONF = "/etc/kexec-hook.conf.d/e2e.conf"


def _always(lab: Lab, machine: VirtualMachine) -> None:
    """The older kernel runs, /vmlinuz is the newer one."""
    machine.ok("kexec-hook unstage")
    machine.write(CONF, b"when = always\n")
    load_kexec(machine, "true")
    for name in ("vmlinuz", "initrd.img"):
        machine.ok(f"ln -sf boot/{name}-{lab.image.newer} /{name}")


ALWAYS = State("always", _always, UPGRADED)
ALWAYS_THE_OLDER = State("always-the-older", one_shot, ALWAYS)


def test_a_one_time_entry_is_jumped_into_and_then_the_default_twice(lab: Lab) -> None:
    by_grub, afterwards = lab.by_grub(ALWAYS_THE_OLDER), lab.by_grub(ALWAYS)
    assert (by_grub.release, afterwards.release) == (lab.image.older, lab.image.newer)
    machine = lab.at(ALWAYS_THE_OLDER)
    assert jump(machine) == by_grub.same_as_grub
    for command in ("systemctl reboot", LOGIND):
        assert loaded(machine) == "0"
        release, cmdline, _ = jump(machine, command)
        assert (release, cmdline) == (afterwards.release, afterwards.cmdline)


@pytest.mark.parametrize("command", ["coldreboot", "kexec-hook coldreboot"])
def test_cold_reboot_is_cold(lab: Lab, command: str) -> None:
    by_grub = lab.by_grub(ALWAYS)
    booted = lab.at(ALWAYS).reboot(command)
    assert (booted.kind, booted.same_as_grub) == ("firmware", by_grub.same_as_grub)


def test_what_an_administrator_has_loaded_stays(lab: Lab) -> None:
    machine = lab.at(ALWAYS)
    older = lab.image.older
    machine.ok(
        f"kexec -s -l /boot/vmlinuz-{older} --initrd=/boot/initrd.img-{older}"
        ' --append="$(sed "s/BOOT_IMAGE=[^ ]* //" /proc/cmdline) e2e.by=hand"'
    )
    booted = machine.reboot("systemctl kexec")
    assert (booted.kind, booted.release) == ("kexec", older)
    assert booted.cmdline.endswith(b" e2e.by=hand\n")


def test_without_it_the_reboot_is_an_ordinary_one(lab: Lab) -> None:
    by_grub = lab.by_grub(ALWAYS)
    machine = lab.at(ALWAYS)
    machine.write(CONF, b"when = upgrade\n")
    booted = machine.reboot("reboot")
    assert (booted.kind, booted.same_as_grub) == ("firmware", by_grub.same_as_grub)


def test_power_off_powers_off(lab: Lab) -> None:
    machine = lab.at(ALWAYS)
    before = machine.power_off("poweroff")
    assert machine.resets == before.resets
