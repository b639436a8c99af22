"""Debian 12 under Secure Boot (kexec-tools 2.0.25, Linux 6.1): two jumps and a one-shot, and what they keep of it."""

from __future__ import annotations

import pytest

from tests.vm import image, test_secure_boot
from tests.vm.lab import Lab
from tests.vm.scenarios import grub_reboot_is_followed_once

pytestmark = pytest.mark.vm
RECIPE = image.Recipe("debian12-secure", "bookworm", uefi=True, secure=True)

test_two_jumps_and_a_one_shot_are_as_by_grub = grub_reboot_is_followed_once


def test_a_jump_keeps_all_of_it_on_debian_12(lab: Lab) -> None:
    test_secure_boot.test_a_jump_keeps_all_of_it(lab)
