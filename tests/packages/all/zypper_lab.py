"""A Debian that takes itself for a SUSE: zypper, libzypp and rpm are real, kernels come as rpms with SUSE's scriptlets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.packages.all import lab
from tests.packages.chroot import Chroot, Done, Recipe
from tests.packages.rpm_lab import DEBIAN_SPEC, PLAIN_SPEC, build, build_kexec_hook, initrd, renamed

RECIPE = Recipe(
    "trixie",
    (
        *("zypper", "libzypp-bin", "rpm", "python3-rpm", "createrepo-c", "grub-common"),
        *("python3-pluggy", "python3-packaging"),
    ),
    name="zypper",
)
PLUGIN = "usr/lib/zypp/plugins/commit/kexec-hook"
OLDER, NEW, NEWEST = KERNELS = ("6.4.0-150600.21", "6.4.0-150600.23.7", "6.4.0-150600.23.14")

OS_RELEASE = """\
NAME="openSUSE Leap"
VERSION="15.6"
ID="opensuse-leap"
ID_LIKE="suse opensuse"
VERSION_ID="15.6"
PRETTY_NAME="openSUSE Leap 15.6"
"""
REPOSITORY = """\
[local]
name=local
enabled=1
autorefresh=1
baseurl=dir:///srv/rpms
gpgcheck=0
"""
KERNEL_SPEC = """\
Name: kernel-default
Version: {version}
Release: {release}
Summary: A kernel
License: GPL-2.0-only
# zypp.conf has `multiversion = provides:multiversion(kernel)`: kernels are installed side by side.
Provides: multiversion(kernel) kernel = %{{version}}-%{{release}}
%global _binary_payload w.ufdio
%global __os_install_post %{{nil}}
%define debug_package %{{nil}}

%description
{kver}

%install
mkdir -p %{{buildroot}}/boot %{{buildroot}}/usr/lib/modules/{kver}
cp /build/files/vmlinuz %{{buildroot}}/boot/vmlinuz-{kver}
cp /build/files/initrd %{{buildroot}}/usr/lib/modules/{kver}/initrd

%posttrans
cp /usr/lib/modules/{kver}/initrd /boot/initrd-{kver}
make-config

%postun
rm -f /boot/initrd-{kver}
make-config

%files
/boot/vmlinuz-{kver}
/usr/lib/modules/{kver}
"""


# What Debian brings as .deb packages, so that zypper sees it too.
_HERE = "Provides: zypper glibc /bin/bash /usr/bin/bash\nProvides: kexec-tools"


def kver(release: str) -> str:
    """What SUSE's `uname -r` says."""
    return f"{release}-default"


def build_kernel(builder: Chroot, release: str) -> Path:
    image = renamed((builder / "var/tmp/vmlinuz").read_bytes(), kver(release))
    builder.write("build/files/vmlinuz", image)
    builder.write("build/files/initrd", initrd(kver(release)))
    version, _, tail = release.partition("-")
    spec = KERNEL_SPEC.format(version=version, release=tail, kver=kver(release))
    return build(builder, spec, "--target", "x86_64")[0]


def build_all(builder: Chroot) -> list[Path]:
    """kexec-hook, kernels, packages without one, of which some fail, and what stands for Debian's own."""
    fails = {"fails-before": "%pre\nexit 1", "fails-after": "%posttrans\nexit 1"}
    slow = "%post\ntouch /run/slow\nsleep 60"
    plain = {"no-kernel": "", "slow": slow, **fails}
    made = build_kexec_hook(builder)
    made += [build_kernel(builder, release) for release in KERNELS]
    made += build(builder, DEBIAN_SPEC.replace("Provides: kexec-tools", _HERE))
    for name, scriptlets in plain.items():
        made += build(builder, PLAIN_SPEC.format(name=name, scriptlets=scriptlets))
    return made


@dataclass(frozen=True)
class Lab:
    chroot: Chroot
    backend: str = "classic_rpmtrans"  # as zypper names it

    def zypper(self, *words: str) -> Done:
        return self.chroot.run("zypper", "--non-interactive", "--no-gpg-checks", *words)

    def install(self, release: str) -> Done:
        return self.zypper("install", f"kernel-default={release}").check()

    def calls(self) -> list[lab.Call]:
        return lab.calls(self.chroot)

    def asked(self) -> list[str]:
        return [call.words for call in self.calls()]


def furnish(chroot: Chroot, rpms: list[Path]) -> Lab:
    """kexec-hook is installed by zypper, from the packages of its own spec."""
    lab.furnish(chroot, OS_RELEASE, "grub2")
    (chroot / "srv/rpms").mkdir(parents=True)
    for rpm in rpms:
        shutil.copy(rpm, chroot / "srv/rpms")
    chroot.run("createrepo_c", "/srv/rpms").check()
    chroot.write("etc/zypp/repos.d/local.repo", REPOSITORY)
    chroot.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    # Debian's Python does not look where SUSE's packages put their modules.
    chroot.write(
        "usr/lib/python3/dist-packages/rpm-packages.pth", "/usr/lib/python3.11/site-packages\n"
    )
    made = Lab(chroot)
    made.zypper("install", "kexec-hook", "kexec-hook-zypper").check()
    return made
