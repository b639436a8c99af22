"""Debian testing as Fedora does it: dnf 5 installs a kernel, kernel-install writes a BLS entry, GRUB 2.14 reads it.

dnf 5, rpm, kernel-install and blscfg are the archive's.  The rpm is made in the machine, of the files of Debian's own
packages of the newer kernel; its scriptlets are those of Fedora's kernel-core, and its initrd comes, in the place of
dracut, from mkinitramfs, by a plugin of kernel-install.  The kernel that runs is Debian's older one, with an entry of
update-grub's behind those of blscfg.
"""

from __future__ import annotations

import pytest

from tests.packages.rpm_lab import DEBIAN_SPEC
from tests.vm import image, product
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import LOGIND, jump, loaded, one_shot, stage

pytestmark = pytest.mark.vm
RECIPE = image.TESTING

# Beside Debian's package, which has no use for it.
DNF5_GLUE = """
set -e
mount -o ro LABEL=payload /mnt
install -D -m 644 /mnt/hooks/dnf/kexec-hook.actions /etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions
install -D -m 755 /mnt/hooks/dnf/99-kexec-hook.install /etc/kernel/install.d/99-kexec-hook.install
umount /mnt
"""
# $root is /boot's own file system, from whose top kernel-install gives the paths.
BLSCFG = f"""\
#!/bin/sh
# The entries of kernel-install come first, hence the newest of them is the default.
cat <<'END'
search --no-floppy --fs-uuid --set=root {image.BOOT_UUID}
blscfg
END
"""
# Words that GRUB takes apart and puts together again, and a variable that is set nowhere, as on many a Fedora.
OPTIONS = (
    f"root=UUID={image.UUID} ro quiet console=ttyS0,115200 mitigations=off no_timer_check systemd.show_status=0"
    """ $tuned_params e2e.a="two words;" e2e.b='x\\y'"""
)
INITRD = """\
#!/bin/sh
[ "$1" = add ] || exit 0
exec mkinitramfs -o "$KERNEL_INSTALL_STAGING_AREA/initrd" "$2"
"""
DNF_CONF = """\
[main]
gpgcheck=False
"""
KERNEL_SPEC = """\
Name: kernel-core
Version: {version}
Release: {tail}
Summary: A kernel
License: GPL-2.0-only
Provides: installonlypkg(kernel)
AutoReqProv: no
%global _binary_payload w.ufdio
%global __os_install_post %{{nil}}
%define debug_package %{{nil}}

%description
{release}

%install
for package in /mnt/newer/*.deb; do dpkg-deb -x $package deb; done
mkdir -p %{{buildroot}}/usr/lib
mv deb/usr/lib/modules %{{buildroot}}/usr/lib

%posttrans
kernel-install add {release} /usr/lib/modules/{release}/vmlinuz || exit $?

%preun
kernel-install remove {release} || exit $?

%files
/usr/lib/modules/{release}
"""


def _furnish(lab: Lab, machine: VirtualMachine) -> None:
    product.install(machine)
    machine.ok(DNF5_GLUE)
    machine.write("/etc/kernel/install.conf", b"layout=bls\nBOOT_ROOT=/boot\n")
    machine.write("/etc/kernel/cmdline", options(lab, machine).encode() + b"\n")
    machine.write("/etc/kernel/install.d/50-mkinitramfs.install", INITRD.encode())
    machine.write("/etc/dnf/dnf.conf", DNF_CONF.encode())
    # Keeps a copy of each package, with a program that is not there.
    machine.write("/etc/dnf/libdnf5-plugins/local.conf", b"[main]\nname = local\nenabled = no\n")
    machine.write("/etc/grub.d/08_bls", BLSCFG.encode())
    machine.ok(
        "chmod 755 /etc/kernel/install.d/50-mkinitramfs.install /etc/grub.d/08_bls && update-grub",
        300,
    )
    version, _, tail = lab.image.newer.partition("-")
    kernel = KERNEL_SPEC.format(
        version=version, tail=tail.replace("-", "."), release=lab.image.newer
    )
    for name, spec in (("debian-base", DEBIAN_SPEC), ("kernel-core", kernel)):
        machine.write(f"/root/{name}.spec", spec.encode())
    machine.ok(
        "mount -o ro LABEL=payload /mnt && rpmbuild --target x86_64 -bb /root/kernel-core.spec && umount /mnt"
        " && rpmbuild -bb /root/debian-base.spec && dnf5 -y install /root/rpmbuild/RPMS/noarch/*.rpm",
        600,
    )


def _dnf_install(lab: Lab, machine: VirtualMachine) -> None:
    said = machine.ok("dnf5 -y install /root/rpmbuild/RPMS/x86_64/*.rpm", 900)
    # What BLS entries of Debian are called, and the release beside it.
    assert (
        f"kexec-hook: next reboot: kexec into {title(machine)}, {lab.image.newer} (staged in "
        in said
    ), said
    assert loaded(machine) == "1"


def _dnf_remove(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok("dnf5 -y remove kernel-core", 300)


FURNISHED = State("bls", _furnish)
BY_DNF = State("by-dnf", _dnf_install, FURNISHED)
BY_DNF_AND_ONE_SHOT = State("by-dnf-and-one-shot", one_shot, BY_DNF)
REMOVED = State("removed-by-dnf", _dnf_remove, BY_DNF)


def title(machine: VirtualMachine) -> str:
    return machine.ok(". /etc/os-release; echo $PRETTY_NAME")


def kernel_path(lab: Lab, machine: VirtualMachine) -> str:
    """Where kernel-install puts it, in /boot's file system."""
    return f"/{machine.ok('cat /etc/machine-id')}/{lab.image.newer}/linux"


def options(lab: Lab, machine: VirtualMachine) -> str:
    # GRUB 2.14 (commands/blsuki.c:bls_get_linux) allocates one byte too few, and may lose the initrd at such a length.
    added = f" systemd.machine_id={machine.ok('cat /etc/machine-id')}"
    line = f"linux {kernel_path(lab, machine)} {OPTIONS.replace('$tuned_params ', '')}{added}\0"
    return OPTIONS if len(line) % 16 else f"{OPTIONS} e2e.c=1"


@pytest.mark.parametrize("command", ["reboot", pytest.param(LOGIND, id="logind's D-Bus Reboot")])
def test_after_dnf5_installed_a_kernel_the_reboot_jumps_into_its_bls_entry(
    lab: Lab, command: str
) -> None:
    by_grub = lab.by_grub(BY_DNF)
    machine = lab.at(BY_DNF)
    assert by_grub.release == lab.image.newer
    assert by_grub.cmdline.startswith(f"BOOT_IMAGE={kernel_path(lab, machine)} root=".encode())
    assert jump(machine, command) == by_grub.same_as_grub


def test_grub_reboot_is_followed_once_and_then_the_bls_entry_boots_again(lab: Lab) -> None:
    by_grub = lab.by_grub(BY_DNF_AND_ONE_SHOT)
    assert (by_grub.release, b"next_entry=\n" in by_grub.grubenv) == (lab.image.older, True)
    release, cmdline, _ = lab.by_grub(BY_DNF).same_as_grub
    machine = lab.at(BY_DNF_AND_ONE_SHOT)
    assert jump(machine) == by_grub.same_as_grub
    assert stage(machine)["release"] == lab.image.newer
    assert jump(machine) == (release, cmdline, by_grub.grubenv)


def test_after_dnf5_removed_the_kernel_it_does_not_boot(lab: Lab) -> None:
    by_grub = lab.by_grub(REMOVED)
    assert by_grub.release == lab.image.older
    assert jump(lab.at(REMOVED)) == by_grub.same_as_grub
