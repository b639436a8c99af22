"""Chroots for tests that may lack them: who has no root, no mmdebstrap or no such mirror is told, and skips."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages.chroot import Chroot, ChrootError, Recipe, tarball, unpack


def root(recipe: Recipe, directory: Path) -> Chroot:
    """A chroot of it; skips where there can be none."""
    try:
        return unpack(tarball(recipe), directory)
    except ChrootError as error:
        pytest.skip(str(error))
