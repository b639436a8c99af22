"""Offline updates of dnf 5 and of PackageKit, run for real: what kexec-hook decides when it is called in one.

The decision is that of a directory that stands for a machine, with what they had written at that moment.  What starts
them in a machine, and the reboots before and behind, is systemd's: a chroot has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from tests.machine import PROJECT, Box
from tests.packages import chroot as chroots
from tests.packages import dnf_lab
from tests.packages.all import lab as all_lab
from tests.packages.chroot import Chroot, ChrootError, Recipe

pytestmark = pytest.mark.packages

STATE = "usr/lib/sysimage/libdnf5/offline/offline-transaction-state.toml"
LINK = "system-update"
SEEN = "srv/seen"
# A package, and the one by which dnf knows which release this is.
SPECS = {
    "hello-offline": "mkdir -p %{buildroot}/usr/share/hello-offline",
    "fedora-release": "",
}
SPEC = """\
Name: @NAME@
Version: %{v}
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
@PROVIDES@
%description
A test.
%install
@INSTALL@
%files
@FILES@
"""
# What kexec-hook would find, in place of kexec-hook; dnf 5 reads an action's standard output.
ACTION = f"""\
#!/bin/sh
exec 1>&2
rm -rf /{SEEN}; mkdir -p /{SEEN}
[ ! -L /{LINK} ] || touch /{SEEN}/link
[ ! -e /{STATE} ] || cp /{STATE} /{SEEN}/state
"""

PACKAGEKIT = Recipe("trixie", ("packagekit", "packagekit-tools", "dbus", "iproute2"))
# Two versions of a package, in a directory; PackageKit wants a default route even for that.
OFFER = """\
set -e
mkdir -p /run/dbus /srv/repo /srv/package/DEBIAN && cd /srv/repo
for version in 1 2; do
    printf '%s\\n' 'Package: hello-offline' "Version: $version" 'Architecture: all' 'Description: a test' \\
        'Maintainer: nobody <nobody@localhost>' > /srv/package/DEBIAN/control
    dpkg-deb --build /srv/package hello-offline_$version.deb
done
dpkg -i hello-offline_1.deb
dpkg-deb -f hello-offline_2.deb > Packages
echo "Filename: ./hello-offline_2.deb" >> Packages
echo "Size: $(stat -c %s hello-offline_2.deb)" >> Packages
echo "SHA256: $(sha256sum < hello-offline_2.deb | cut -d ' ' -f 1)" >> Packages
rm -f /etc/apt/sources.list
echo 'deb [trusted=yes] copy:/srv/repo ./' > /etc/apt/sources.list.d/test.list
apt-get -qq update
"""
# Both halves in one chroot, whose daemons end with the command: /system-update says how things stood in between.
UPDATE = f"""\
set -e
ip link set lo up
ip route add default dev lo
dbus-daemon --system --fork
/usr/lib/polkit-1/polkitd --no-debug > /dev/null 2>&1 &
/usr/libexec/packagekitd > /dev/null 2>&1 &
for name in PolicyKit1 PackageKit; do
    until busctl list --acquired | grep -q "^org.freedesktop.$name "; do sleep 0.2; done
done
pkcon --plain --noninteractive --only-download update hello-offline
pkcon --plain offline-trigger
/usr/lib/kexec-hook/run before
mv /{SEEN} /{SEEN}.before
ip route flush all
# Fails at its end, where it asks systemd for a reboot.
/usr/libexec/pk-offline-update || echo failed
dpkg-query -W hello-offline
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    try:
        tar = chroots.tarball(dnf_lab.RECIPES["testing"])
    except ChrootError as error:
        pytest.skip(f"Debian testing cannot be had, hence no dnf 5: {error}")
    root = chroots.unpack(tar, tmp_path_factory.mktemp("offline") / "root")
    for name, install in SPECS.items():
        spec = SPEC.replace("@NAME@", name).replace("@INSTALL@", install)
        spec = spec.replace("@FILES@", "/usr/share/hello-offline" if install else "")
        provides = "" if install else "Provides: system-release = %{v}"
        root.write(f"srv/{name}.spec", spec.replace("@PROVIDES@", provides))
    root.sh(
        """set -e
        for v in 43 44; do for spec in /srv/*.spec; do
            rpmbuild -bb --define "v $v" --define "_topdir /srv/top" --define "_rpmdir /srv/rpms" $spec
        done; done
        # A newer package of the same release.
        rpmbuild -bb --define "v 43.1" --define "_topdir /srv/top" --define "_rpmdir /srv/rpms" /srv/hello-offline.spec
        createrepo_c /srv/rpms
        # Debian's own, which keeps what it has installed in a repository that is gone in the next boot.
        sed -i 's/^enabled.*/enabled = 0/' /etc/dnf/libdnf5-plugins/local.conf"""
    ).check()
    root.write("etc/dnf/dnf.conf", dnf_lab.DNF_CONF.format(plugins=""))
    hook = (PROJECT / "hooks/dnf/kexec-hook.actions").read_text()
    root.write("etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions", hook)
    root.write("usr/lib/kexec-hook/run", ACTION, mode=0o755)
    dnf(root, "install", "fedora-release-43", "hello-offline-43")
    yield root
    root.remove()


def dnf(root: Chroot, *words: str, release: str = "43") -> str:
    env = {"DNF_SYSTEM_UPGRADE_NO_REBOOT": "1"}
    return root.run("dnf5", "-y", f"--releasever={release}", *words, env=env).check().output


def decided(root: Chroot, box: Box, seen: str = SEEN) -> list[str]:
    """The codes of what kexec-hook has against a kexec at that moment."""
    for name, place in (("state", STATE), ("link", LINK)):
        if (root / seen / name).exists():
            box.write(place, (root / seen / name).read_text())
    sysroot = box.host.sysroot()
    trigger = Trigger(source="dnf5")
    decision = decide(box.host, sysroot, load_settings(sysroot), Plugins(installed=False), trigger)
    return [objection.code for objection in decision.objections]


def test_offline_update_is_staged_and_an_offline_release_upgrade_is_not(
    root: Chroot, tmp_path: Path
) -> None:
    codes = {}
    for name, release, words in (
        ("update", "43", ("upgrade", "--offline", "hello-offline-43.1")),
        ("upgrade", "44", ("system-upgrade", "download")),
    ):
        dnf(root, *words, release=release)
        dnf(root, "offline", "reboot", release=release)
        assert (root / LINK).is_symlink(), "the first reboot is an ordinary one"
        dnf(root, "offline", "_execute", release=release)
        assert not (root / STATE).exists()
        (tmp_path / name).mkdir()
        codes[name] = decided(root, Box(tmp_path / name))
    assert codes == {"update": [], "upgrade": ["release-upgrade"]}


def test_reboot_into_packagekits_update_is_an_ordinary_one_and_in_it_a_kernel_is_staged(
    tmp_path: Path,
) -> None:
    root = all_lab.root(PACKAGEKIT, tmp_path / "root")
    try:
        glue = (PROJECT / "hooks/apt/80kexec-hook").read_text()
        root.write("etc/apt/apt.conf.d/80kexec-hook", glue)
        root.sh(OFFER).check()
        root.write("usr/lib/kexec-hook/run", ACTION, mode=0o755)
        said = root.sh(UPDATE, seconds=600).check().output
        assert "hello-offline\t2" in said, said
        assert not (root / LINK).is_symlink()
        codes = {}
        for name, seen in (("before", f"{SEEN}.before"), ("within", SEEN)):
            (tmp_path / name).mkdir()
            codes[name] = decided(root, Box(tmp_path / name), seen)
        assert codes == {"before": ["offline-update"], "within": []}
    finally:
        root.remove()
