"""Debian 13 (systemd 257, GRUB 2.12) under Secure Boot: what `apt install` of a kernel leads to, by apt's glue."""

from __future__ import annotations

import pytest

from tests.vm import image, scenarios
from tests.vm.lab import Lab

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13

test_after_apt_install_every_caller_jumps = scenarios.after_apt_install_every_caller_jumps
test_cold_reboot_is_cold = scenarios.after_apt_install_cold_reboot_is_cold
test_grub_reboot_is_followed_once = scenarios.after_apt_install_grub_reboot_is_followed_once


def test_secure_boot_is_on(lab: Lab) -> None:
    machine = lab.at(scenarios.WITH_GLUE)
    assert "[integrity]" in machine.ok("cat /sys/kernel/security/lockdown")
