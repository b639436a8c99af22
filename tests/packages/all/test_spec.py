"""The spec as EL 9 and SUSE read it: no such system is here, only rpm and what their macros say they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packages import rpm_lab
from tests.packages.all.roots import root
from tests.packages.chroot import ROOT, Chroot

pytestmark = pytest.mark.packages


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    chroot = root(rpm_lab.BUILDER, tmp_path_factory.mktemp("rpm") / "maker")
    yield chroot
    chroot.remove()


def test_suse_gets_the_same_files_and_its_own_name_of_grub(maker: Chroot) -> None:
    fedoras = files(maker)
    suses = files(maker, "--define", "suse_version 1600")
    assert suses == fedoras
    query = "rpm -qp --requires --recommends /build/RPMS/noarch/kexec-hook-[0-9]*.rpm"
    required = maker.sh(query).check().output.splitlines()
    assert "grub2" in required
    assert not [name for name in required if name.startswith("grub2-tools")]


def files(maker: Chroot, *options: str) -> dict[str, list[str]]:
    """What is in each package."""
    made = rpm_lab.build_kexec_hook(maker, "--without", "tests", *options)
    names = [f"/{path.relative_to(maker.root)}" for path in made]
    return {name: maker.run("rpm", "-qpl", name).check().output.split() for name in names}


def test_el_9_checks_all_that_needs_no_hypothesis(maker: Chroot) -> None:
    maker.write("srv/spec", (ROOT / "packaging/rpm/kexec-hook.spec").read_text())
    maker.write("srv/macros", rpm_lab.MACROS.read_text())
    argv = ("rpmspec", "-P", "--load", "/srv/macros", "--define", "rhel 9", "/srv/spec")
    read = maker.run(*argv).check().output
    assert "hypothesis" not in read.replace("needs hypothesis", "")
    assert "BuildRequires:  python3.11-pytest\n" in read
    assert "-m pytest" in read
    assert "--ignore=tests/property" in read
