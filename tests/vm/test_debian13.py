"""Debian 13 (systemd 257, GRUB 2.12): what `apt install` of a kernel leads to, with apt's glue installed."""

from __future__ import annotations

import pytest

from tests.vm import image, scenarios

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_13

test_after_apt_install_every_caller_jumps = scenarios.after_apt_install_every_caller_jumps
test_cold_reboot_is_cold = scenarios.after_apt_install_cold_reboot_is_cold
test_grub_reboot_is_followed_once = scenarios.after_apt_install_grub_reboot_is_followed_once
