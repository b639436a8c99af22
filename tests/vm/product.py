"""kexec-hook as it comes into a machine without network: its Debian package, on a second disk, for dpkg to install.

KEXEC_HOOK_DEB names a finished package to be installed in place of one built from this checkout.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.packages import deb_lab
from tests.vm.image import Image, do
from tests.vm.machine import VirtualMachine

ROOT = Path(__file__).resolve().parents[2]
# On a busy host a device may come late: without the ESP a boot would end in emergency mode.
# The units are enabled and started by the package.
INSTALL = """
set -e
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\\nDefaultDeviceTimeoutSec=15min\\n' > /etc/systemd/system.conf.d/e2e.conf
mount -o ro LABEL=payload /mnt
dpkg -i /mnt/kexec-hook_*.deb
umount /mnt
/usr/bin/kexec-hook --version
systemctl is-active kexec-hook.service kexec-hook-always.service
systemctl is-enabled kexec-hook.service kexec-hook-judge.service kexec-hook-cancelled.service
"""
# What apt makes of its configuration.  And an apt comes by that has it, as on any machine before the next kernel does:
# until then the package's own trigger decides.
APT_GLUE = """
set -e
apt-config dump DPkg::Post-Invoke | grep -F '/usr/lib/kexec-hook/run apt'
/usr/lib/kexec-hook/run apt
"""


def make_payload(image: Image, disk: Path) -> None:
    """The newer kernel's packages as well, for a machine that is to install it."""
    with tempfile.TemporaryDirectory(prefix="kexec-hook-payload.") as name:
        content = Path(name, "content")
        shutil.copytree(ROOT / "hooks", content / "hooks")
        (content / "newer").mkdir()
        for package in image.newer_packages:
            shutil.copy(package, content / "newer")
        finished = os.environ.get("KEXEC_HOOK_DEB")
        if finished:
            shutil.copy(finished, content / "kexec-hook_finished.deb")
        else:
            deb_lab.package(content)
        do("mkfs.ext4", "-q", "-F", "-L", "payload", "-d", str(content), str(disk), "256M")


def install(machine: VirtualMachine) -> None:
    machine.ok(INSTALL, 300)


def install_apt_glue(machine: VirtualMachine) -> None:
    """The package has brought it."""
    machine.ok(APT_GLUE)
