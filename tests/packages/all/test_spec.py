"""The spec as EL 9 and SUSE read it: no such system is here, only rpm and what their macros say they are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import PurePath

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


@pytest.fixture(scope="module")
def fedoras(maker: Chroot) -> dict[str, list[str]]:
    return files(maker)


def test_suse_gets_the_same_files_and_its_own_name_of_grub(
    maker: Chroot, fedoras: dict[str, list[str]]
) -> None:
    suses = files(maker, "--define", "suse_version 1600")
    assert suses == fedoras
    query = "rpm -qp --requires --recommends /build/RPMS/noarch/kexec-hook-[0-9]*.rpm"
    required = maker.sh(query).check().output.splitlines()
    assert "grub2" in required
    assert not [name for name in required if name.startswith("grub2-tools")]


# Of filesystem, systemd and Python, which everything has; and of the package managers that a package of ours requires.
ELSEWHERE = """
/etc /usr/bin /usr/sbin /usr/lib /usr/lib/systemd/system /usr/share /usr/share/doc /usr/share/licenses /var/lib
/usr/share/man/man5 /usr/share/man/man7 /usr/share/man/man8 /usr/lib/python3.11/site-packages
/usr/lib/python3.11/site-packages/dnf-plugins /usr/lib/python3.11/site-packages/dnf-plugins/__pycache__
/etc/dnf/plugins /etc/dnf/libdnf5-plugins/actions.d
"""


def test_each_directory_of_a_package_is_somebodys(fedoras: dict[str, list[str]]) -> None:
    for names in fedoras.values():
        directories = {str(PurePath(name).parent) for name in names}
        assert directories - {*names, *ELSEWHERE.split()} == set()


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


def test_commands_of_the_document_make_the_packages(maker: Chroot) -> None:
    """git's run here, rpmbuild's in the chroot, which has no git and no packages of Fedora's to ask for."""
    text = (ROOT / "docs/packaging.md").read_text()
    [block] = re.findall(r"^```sh\n(mkdir.*?)^systemctl enable [^\n]*\n```$", text, re.M | re.S)
    *here, build = block.splitlines()
    home = {**os.environ, "HOME": str(maker / "root")}
    subprocess.run(["sh", "-ec", "\n".join(here)], cwd=ROOT, env=home, check=True)
    spec = "packaging/rpm/kexec-hook.spec"
    maker.write(f"srv/{spec}", (ROOT / spec).read_text())
    maker.write("root/.rpmmacros", rpm_lab.MACROS.read_text() + "%_without_tests 1\n")
    build = build.replace("rpmbuild", "rpmbuild --nodeps")
    done = maker.run("sh", "-ec", f"HOME=/root; cd /srv; {build}", seconds=900).check()
    assert len(re.findall(r"^Wrote: .*\.noarch\.rpm$", done.output, re.M)) == 4
