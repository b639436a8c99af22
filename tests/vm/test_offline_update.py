"""PackageKit's offline update on Debian 13: the reboot into it goes through the firmware, the one out of it is a kexec.

PackageKit, its apt, systemd's system-update.target and what PackageKit runs there are Debian's.  The update is a package
whose new version depends on the newer kernel, from a repository on the machine's own disk.
"""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import WITH_GLUE, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.Recipe(
    "debian13-offline",
    "trixie",
    packages=("packagekit", "packagekit-tools"),
    newer_is_installed=False,
)

UNITS = "/etc/systemd/system"
UPDATE_SECONDS = 1500

# PackageKit downloads nothing without a default route, not even from a directory; `ip` is not there.
ROUTE = b"""\
import ctypes, fcntl, socket, struct
anywhere, name = struct.pack("H14x", socket.AF_INET), ctypes.create_string_buffer(b"lo")
entry = (0, anywhere, anywhere, anywhere, 1, 0, 0, 0, 0, ctypes.addressof(name), 0, 0, 0)
SIOCADDRT = 0x890B
fcntl.ioctl(socket.socket(), SIOCADDRT, struct.pack("L16s16s16sHhLPhPLLH", *entry))
"""
OFFER = """\
set -e
mkdir -p /srv/repo && cd /srv/repo
mount -o ro LABEL=payload /mnt && cp /mnt/newer/*.deb . && umount /mnt
for each in '1 {older}' '2 {newer}'; do
    set -- $each
    mkdir -p /root/meta/DEBIAN
    printf '%s\\n' 'Package: e2e-kernel' "Version: $1" 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \\
        "Depends: linux-image-$2" 'Description: the newest kernel' > /root/meta/DEBIAN/control
    dpkg-deb --build /root/meta e2e-kernel_$1.deb
done
dpkg -i e2e-kernel_1.deb
for deb in *.deb; do
    dpkg-deb -f $deb
    echo "Filename: ./$deb"
    echo "Size: $(stat -c %s $deb)"
    echo "SHA256: $(sha256sum < $deb | cut -d ' ' -f 1)"
    echo
done > Packages
echo 'deb [trusted=yes] copy:/srv/repo ./' > /etc/apt/sources.list.d/e2e.list
apt-get -qq update
python3 /root/route.py
"""
DOWNLOAD = "pkcon --plain --noninteractive --only-download update e2e-kernel && pkcon --plain offline-get-prepared"
TRIGGER = "pkcon --plain offline-trigger && test -L /system-update"
# The way into the update is told by what started its kernel.
TELLS = b"""\
[Unit]
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target
Before=system-update.target packagekit-offline-update.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo @@UPDATE $(cat /proc/sys/kernel/bootloader_type) > /dev/console'
"""


def _prepared(lab: Lab, machine: VirtualMachine) -> None:
    machine.write(f"{UNITS}/e2e-update.service", TELLS)
    wants = f"{UNITS}/system-update.target.wants"
    machine.ok(f"mkdir {wants} && ln -s ../e2e-update.service {wants}")
    machine.write("/root/route.py", ROUTE)
    machine.ok(OFFER.format(older=lab.image.older, newer=lab.image.newer), 600)
    assert "e2e-kernel" in machine.ok(DOWNLOAD, 600)


PREPARED = State("offline-prepared", _prepared, WITH_GLUE)


def test_reboot_into_the_update_goes_through_the_firmware_and_the_one_out_of_it_is_a_kexec(
    lab: Lab,
) -> None:
    machine = lab.at(PREPARED)
    # Not even what is staged is jumped into.
    stage(machine, "--running")
    assert loaded(machine) == "1"
    machine.ok(TRIGGER)
    before = machine.mark()
    machine.say("systemctl reboot")
    machine.resets_itself(before)
    machine.wait_for_console("@@UPDATE 114", before)
    booted = machine.comes_up(machine.mark(), UPDATE_SECONDS)
    assert (booted.kind, booted.release) == ("kexec", lab.image.newer)
    assert machine.ok("dpkg-query -W -f '${Version}' e2e-kernel") == "2"
    assert "/system-update" in machine.ok("journalctl --no-pager -b -2 | grep kexec-hook")
    assert machine.power_cycle().same_as_grub == booted.same_as_grub
