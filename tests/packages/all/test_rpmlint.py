"""The rpm packages before the newest rpmlint, which also names filters that nothing needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.packages import rpm_lab
from tests.packages.all.roots import root
from tests.packages.chroot import ROOT
from tests.packages.deb_lab import builder

pytestmark = pytest.mark.packages


def test_rpmlint_says_nothing_that_is_not_named_and_needs_each_filter(tmp_path: Path) -> None:
    maker = root(rpm_lab.BUILDER, tmp_path / "maker")
    judge = root(builder("unstable"), tmp_path / "judge")
    try:
        made = rpm_lab.build_kexec_hook(maker)
        for file in (*made, maker / "build/kexec-hook.spec"):
            shutil.copy(file, judge / "srv")
        rc = ROOT / "packaging/rpm/kexec-hook.rpmlintrc"
        judge.write("srv/rpmlintrc", rc.read_text())
        names = [f"/srv/{file.name}" for file in made]
        done = judge.run("rpmlint", "-r", "/srv/rpmlintrc", "/srv/kexec-hook.spec", *names)
    finally:
        maker.remove()
        judge.remove()
    assert re.findall(r"^.*: [EW]: .*$", done.output, re.MULTILINE) == []
    assert re.search("; 0 errors, 0 warnings", done.output), done.output
