"""dnf 5's offline transactions, run for real: what kexec-hook decides when dnf 5 calls it in the middle of one.

The decision is that of a directory that stands for a machine, with the state that dnf 5 had written at that moment.
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
from tests.packages.chroot import Chroot, ChrootError

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
cp /{STATE} /{SEEN}/state
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


def decided(root: Chroot, box: Box) -> list[str]:
    """The codes of what kexec-hook has against a kexec at that moment."""
    for name, place in (("state", STATE), ("link", LINK)):
        if (root / SEEN / name).exists():
            box.write(place, (root / SEEN / name).read_text())
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
