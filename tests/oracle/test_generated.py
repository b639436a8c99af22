"""Do kexec-hook and real GRUB agree on scripts, menus and damaged configurations that nobody wrote?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracle import emu, run

COUNT = int(os.environ.get("N", "60"))
SEED = run.fresh_seed(os.environ.get("SEED"))
CORPUS = os.environ.get("KEXEC_HOOK_CORPUS")


@pytest.mark.oracle
@pytest.mark.parametrize("mode", run.MODES)
def test_generated_cases_agree(mode: str, record_property: Callable[[str, object], None]) -> None:
    why = emu.missing()
    if why:
        pytest.skip(why)
    with emu.scratch() as directory:
        counts, found = run.run(
            mode, run.share(mode, COUNT), SEED, directory, Path(CORPUS) if CORPUS else None
        )
    record_property("oracle", f"{mode}, seed {SEED}: {counts}")
    assert not found, "\n".join(
        [f"{len(found)} cases differ; again with SEED={SEED} N={COUNT}", *map(str, found)]
    )
