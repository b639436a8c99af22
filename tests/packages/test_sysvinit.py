"""Debian 12 with sysvinit: whatever is loaded there, /etc/rc6.d starts; so kexec-hook loads nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import chroot as chroots
from tests.packages import deb_lab
from tests.packages.chroot import ROOT, Chroot, Recipe, tarball, unpack

pytestmark = pytest.mark.packages

# kexec notes its words, and in /srv/kexec_loaded whether an image would be loaded now.
_RECORDER = r"""
dpkg-divert --quiet --local --rename --divert /sbin/kexec.real --add /sbin/kexec
cat > /sbin/kexec << 'END'
#!/bin/sh
echo "$*" >> /var/log/kexec
case "$*" in
    *--unload*) echo 0 > /srv/kexec_loaded ;;
    *--load*) echo 1 > /srv/kexec_loaded ;;
esac
END
chmod 755 /sbin/kexec
echo 0 > /srv/kexec_loaded
echo init > /srv/comm
"""
RECIPE = Recipe(
    "bookworm",
    (
        *("sysvinit-core", "sysv-rc", "kexec-tools", "grub-common"),
        *("python3", "python3-packaging", "python3-pluggy"),
    ),
    after=_RECORDER,
    name="sysvinit",
)
TREE = ROOT / "tests/roots/debian-12/tree"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Chroot]:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    chroot = unpack(tarball(RECIPE), tmp_path / "root")
    for name in ("boot", "etc/fstab"):
        shutil.rmtree(chroot / name, ignore_errors=True)
        copy = shutil.copytree if (TREE / name).is_dir() else shutil.copy
        copy(TREE / name, chroot / name)
    shutil.copy(deb_lab.package(tmp_path), chroot / "srv/kexec-hook.deb")
    chroot.run("dpkg", "-i", "/srv/kexec-hook.deb").check()
    yield chroot
    chroot.remove()


def codes(machine: Chroot) -> set[str]:
    """Why nothing is staged."""
    done = machine.sh("kexec-hook stage --json; true")
    return {found["code"] for found in json.loads(done.output)["objections"]}


def kexecs(machine: Chroot) -> list[str]:
    log = machine / "var/log/kexec"
    return log.read_text().splitlines() if log.exists() else []


def test_under_sysvinit_nothing_is_loaded_that_its_scripts_would_start(machine: Chroot) -> None:
    assert machine.dry_run()["outcome"] == "would-stage"  # but for where it runs

    assert machine.run("cat", "/proc/1/comm").check().output == "init\n"
    assert machine.run("/usr/lib/kexec-hook/run", "apt").status == 0
    assert "no-systemd" in codes(machine)
    assert kexecs(machine) == []
    assert machine.sh("/etc/rc6.d/K*kexec stop").status == 0
    assert kexecs(machine) == []

    # What it is about: that script asks nobody whose image it is.
    machine.write("srv/kexec_loaded", "1\n")
    machine.sh("/etc/rc6.d/K*kexec stop")
    assert kexecs(machine) == ["-e"]


def test_with_systemd_that_is_no_reason(machine: Chroot) -> None:
    machine.write("run/systemd/system/.keep")
    assert "no-systemd" not in codes(machine)
