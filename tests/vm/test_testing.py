"""Debian testing (systemd 262, GRUB 2.14, /boot on its own): what `apt install` of a kernel leads to, with apt's glue.

Where testing has one cloud kernel only, the older one, which is installed and runs, is the newest of Debian 13.
"""

from __future__ import annotations

import pytest

from tests.vm import image, scenarios

pytestmark = pytest.mark.vm
RECIPE = image.TESTING

test_after_apt_install_every_caller_jumps = scenarios.after_apt_install_every_caller_jumps
test_cold_reboot_is_cold = scenarios.after_apt_install_cold_reboot_is_cold
test_grub_reboot_is_followed_once = scenarios.after_apt_install_grub_reboot_is_followed_once
