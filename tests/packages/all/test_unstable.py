"""The Debian package in unstable: built there, and judged by the newest lintian, piuparts and autopkgtest.

Unstable changes by itself, so this is for `make packages-all`; what fails here is to be looked at before a release.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.all.roots import root
from tests.packages.chroot import Chroot, tarball
from tests.packages.deb_lab import base, build, builder

pytestmark = pytest.mark.packages


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chroot, Path]]:
    """The chroot in which the package was built, with the project's tests, and its .changes file."""
    chroot = root(builder("unstable"), tmp_path_factory.mktemp("built") / "unstable")
    # Two of them while Debian changes from one to the next, and then the build has to choose.
    versions = chroot.run("py3versions", "--supported").check().output.split()
    print(f"supported: {' '.join(versions)}")
    yield chroot, build(chroot)
    chroot.remove()


def test_lintian_has_nothing_to_say_not_even_pedantically(built: tuple[Chroot, Path]) -> None:
    chroot, changes = built
    argv = ("lintian", "--display-info", "--pedantic", "--allow-root", f"/build/{changes.name}")
    done = chroot.run(*argv, seconds=900)
    said = [line for line in done.output.splitlines() if not line.startswith("N: ")]
    assert (done.status, said) == (0, [])


def test_piuparts_finds_what_was_there_before_after_installation_and_purge(
    built: tuple[Chroot, Path], tmp_path: Path
) -> None:
    chroot, changes = built
    with open(chroot / "srv/base.tar.gz", "wb") as file:
        archive = str(tarball(base("unstable")))
        subprocess.run(["gzip", "-1", "-c", archive], stdout=file, check=True)
    [package] = changes.parent.glob("*.deb")
    # Links to manual pages lead nowhere: the roots have none.
    options = ("--distribution=unstable", "--keep-sources-list", "--no-eatmydata", "--no-symlinks")
    argv = ("piuparts", "--basetgz=/srv/base.tar.gz", *options, f"/build/{package.name}")
    done = chroot.run(*argv, network=True, seconds=900)
    found = re.findall(r"ERROR: .*(?:\n  .*)*", done.output)
    assert (done.status, found) == (0, []), done.output[-3000:]
    assert "PASS: All tests." in done.output


def test_autopkgtest_runs_all_tests_and_they_pass(built: tuple[Chroot, Path]) -> None:
    """In the chroot itself: it is nobody's machine."""
    chroot, changes = built
    [package] = changes.parent.glob("*.deb")
    [source] = changes.parent.glob("*.dsc")
    # What the package depends on is to be had: its root has no lists of packages.
    chroot.run("apt-get", "-qq", "update", network=True).check()
    done = chroot.run(
        *("autopkgtest", "--summary-file=/srv/summary", f"/build/{package.name}"),
        *(f"/build/{source.name}", "--", "null"),
        network=True,
        seconds=900,
    )
    summary = dict(line.split()[:2] for line in (chroot / "srv/summary").read_text().splitlines())
    assert summary == {"smoke": "PASS", "upgrades": "PASS"}, done.output[-3000:]


def test_two_builds_elsewhere_and_under_another_umask_are_the_same(
    built: tuple[Chroot, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, changes = built
    [first] = changes.parent.glob("*.deb")
    other = root(builder("unstable"), tmp_path_factory.mktemp("other") / "unstable")
    try:
        again = build(other, check=False, directory="srv/elsewhere", umask="0002")
        [second] = again.parent.glob("*.deb")
        assert first.read_bytes() == second.read_bytes()
    finally:
        other.remove()
