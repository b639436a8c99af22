"""Power cuts, ten of them (CUTS), at random moments of a shutdown: GRUB's one-time entry is kept or used, and never a third."""

from __future__ import annotations

import os
import random

import pytest

from tests.vm import image
from tests.vm.cuts import power_cut
from tests.vm.lab import Lab

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

CUTS = int(os.environ.get("CUTS", "10"))


@pytest.fixture(scope="module")
def seconds(lab: Lab) -> float:
    """From `reboot` to the approval, here and now."""
    cut = power_cut(lab, 0.0, after_approval=True)
    assert (cut.one_shot, cut.approved) == ("used", True)
    return cut.approval


@pytest.mark.parametrize("number", range(CUTS))
def test_power_cut_at_any_moment_of_the_shutdown(lab: Lab, seconds: float, number: int) -> None:
    """Half of them before the approval, if it takes as long as it took then, and half of them after it."""
    moment = random.SystemRandom().uniform(0, 2 * seconds)
    cut = power_cut(lab, moment)
    print(f"after {moment:.2f} s of {seconds:.2f} s: the one-time entry is {cut.one_shot}")
    assert cut.one_shot == "used" or not cut.approved
