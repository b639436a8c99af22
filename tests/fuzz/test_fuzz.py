"""What the fuzzer reached is run again; `make fuzz` looks for more."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus import kept
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_raised_but_our_own_errors(target: str) -> None:
    inputs = kept(target)
    assert inputs
    for data in inputs:
        TARGETS[target](data)
