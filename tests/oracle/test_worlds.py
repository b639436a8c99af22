"""Machines of which Linux shows a part: does kexec-hook see what GRUB sees, or say that it cannot?"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.oracle import emu, images, run, worlds_run

# A world costs half a second: disks are made, GRUB is started once and kexec-hook twice.
COUNT = int(os.environ.get("WORLDS") or 2 * int(os.environ.get("N", "60")))
SEED = run.fresh_seed(os.environ.get("SEED"))


@pytest.mark.oracle
def test_worlds_are_decided_as_grub_boots_them(
    record_property: Callable[[str, object], None],
) -> None:
    """Readable: never another choice, and none for want of sight.  Unreadable: the same choice, or unseen."""
    why = emu.missing() or images.missing()
    if why:
        pytest.skip(why)
    with emu.scratch() as directory:
        outcome = worlds_run.run(COUNT, SEED, directory)
    without = f"; without btrfs subvolumes: {outcome.no_kits}" if outcome.no_kits else ""
    for sight, counts in outcome.counts.items():
        record_property("oracle", f"worlds, {sight}, seed {SEED}: {counts}{without}")
    again = f"again with python3 -m tests.oracle.worlds_run SEED={SEED} N={COUNT} SHRINK=1"
    assert not outcome.wrong, "\n".join([again, *outcome.wrong])
