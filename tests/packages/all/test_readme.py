"""The README alone: in a fresh Debian 13 its commands lead from nothing to a staged kernel, and away again.

What they need comes from Debian's mirrors, and by pip from where this system's pip gets it.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import chroot as chroots
from tests.packages.chroot import ROOT, Chroot, Done, tarball, unpack
from tests.packages.deb_lab import files, machine

pytestmark = pytest.mark.packages

SUITE = "trixie"
CLONE = "root/kexec-hook"
# By which program a block of the README is recognised, for each way to install.
WAYS = {
    "as a package": ("dpkg-buildpackage", "apt-get purge"),
    "with pipx": ("pipx install", "pipx uninstall"),
}
SYSTEMCTL = """\
#!/bin/sh
case $* in
    is-active*) echo active ;;
    --version) echo 'systemd 257 (257)' ;;
esac
"""


# What an installer leaves are kernels, GRUB and systemd; nothing that kexec-hook needs beyond that.  And the root is of
# a kind that is not looked for in a chroot's /dev.
STOCK = """
rm /usr/bin/kexec-hook
dpkg-divert --quiet --local --rename --remove /usr/bin/kexec-hook
apt-get -qq -y purge kexec-tools python3 unattended-upgrades
apt-get -qq -y autoremove --purge
sed -i s,root=/dev/vda1,root=/dev/mapper/debian-root, /boot/grub/grub.cfg
! command -v python3
"""


def blocks(section: str) -> list[str]:
    """The blocks of commands in a section of the README."""
    [text] = re.findall(rf"(?ms)^## {section}\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text())
    return re.findall(r"(?ms)^```sh\n(.*?)^```$", text)


def block(section: str, word: str) -> str:
    [found] = [each for each in blocks(section) if word in each]
    return found


def wheels(directory: Path) -> None:
    """What pip would fetch, from where this system's pip gets it."""
    wanted = ("pip", "setuptools", "wheel", "pluggy", "packaging")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(directory), *wanted]
    subprocess.run(argv, check=True)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Chroot]:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels", "PYTHONDONTWRITEBYTECODE": "1"}
    chroot = dataclasses.replace(unpack(tarball(machine(SUITE)), tmp_path / "root"), env=env)
    chroot.sh(f"set -e{STOCK}").check()
    for name in files(()):
        (chroot / CLONE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, chroot / CLONE / name, follow_symlinks=False)
    wheels(chroot / "srv/wheels")
    chroot.write("etc/apt/sources.list", "".join(f"{line}\n" for line in chroots.sources(SUITE)))
    chroot.write("srv/facts/proc/sys/kernel/bootloader_type", "114\n")
    (chroot / "run/systemd/system").mkdir(parents=True)
    chroot.write("usr/bin/systemctl", SYSTEMCTL, 0o755)
    yield chroot
    chroot.remove()


def ours(chroot: Chroot) -> set[str]:
    """What of kexec-hook is there."""
    found = chroot.sh("find /etc /opt /run /usr /var -name '*kexec[-_]hook*'").check().output
    return set(found.splitlines())


def install(chroot: Chroot, way: str) -> Done:
    script = f"cd /{CLONE}\n{block('Install it', WAYS[way][0])}"
    return chroot.run("sh", "-ex", "-c", script, network=True, seconds=1500).check()


@pytest.mark.parametrize("way", WAYS)
def test_its_commands_lead_from_nothing_to_a_staged_kernel_and_away(
    fresh: Chroot, way: str
) -> None:
    _, removing = WAYS[way]
    before = ours(fresh)
    release = (fresh / "srv/kernels").read_text().split()[0]

    install(fresh, way)
    status = fresh.run("kexec-hook", "status").check().output
    assert re.search(
        rf"^GRUB boots +Debian GNU/Linux  \({re.escape(release)}\)$", status, re.MULTILINE
    )

    [use] = blocks("Use it")
    for line in use.splitlines():
        fresh.run("sh", "-c", line).check()
    assert "--load" in (fresh / "var/log/kexec").read_text()
    check = fresh.run("kexec-hook", "status", "--check").check().output
    assert check == f"the next reboot is a kexec into {release}\n"

    for line in block("Switch it off", "unstage").splitlines():
        fresh.run("sh", "-c", line).check()
    assert (fresh / "srv/kexec_loaded").read_text() == "0\n"
    off = fresh.run("kexec-hook", "status", "--check")
    assert off.status == 3
    assert "kexec-hook is switched off in /etc/kexec-hook.conf:" in off.output

    fresh.run("sh", "-ex", "-c", block("Switch it off", removing)).check()
    # Settings that were changed, and what the next boot forgets.
    assert ours(fresh) - before <= {"/etc/kexec-hook.conf", "/run/kexec-hook"}
    assert fresh.sh("command -v kexec-hook").status != 0


def test_the_package_takes_over_what_pipx_has_installed_and_asks_nothing(fresh: Chroot) -> None:
    install(fresh, "with pipx")
    fresh.sh("echo 'panic_timeout = 30' >> /etc/kexec-hook.conf").check()
    done = install(fresh, "as a package")
    assert "onfiguration file" not in done.output  # dpkg's question
    left = fresh.sh("grep -rlE '^(#|//) Put here by' /etc /usr/lib; true").output.split()
    assert left == ["/etc/kexec-hook.conf.d/local.conf"]
    settings = fresh.run("/usr/bin/kexec-hook", "explain").output
    assert "panic_timeout = 30 (/etc/kexec-hook.conf.d/local.conf:" in settings
