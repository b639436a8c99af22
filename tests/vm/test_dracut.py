"""A shutdown that ends in an initramfs, as dracut's does, on Debian 12: it is told `kexec`, and runs `kexec -e` by itself.

dracut-shutdown.service unpacks dracut's initramfs to /run/initramfs, and systemd-shutdown goes there if it finds
`shutdown` in it.  Here a tree of a few programs stands for it: what matters is who decides, and what is said to it.
"""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

SHUTDOWN = b"""\
#!/bin/sh
echo "@@INITRAMFS $1" > /dev/console
[ "$1" != kexec ] || kexec -e
echo b > /proc/sysrq-trigger
"""
# Programs may run in dracut's /run, in that of initramfs-tools they may not.
UNPACKED = """
set -e
mount -o remount,exec /run
for program in /bin/sh /sbin/kexec; do
    for file in $program $(ldd $program | grep -o '/[^ ]*'); do
        mkdir -p /run/initramfs${file%/*}
        cp -L $file /run/initramfs$file
    done
done
mkdir -p /run/initramfs/proc /run/initramfs/sys /run/initramfs/dev /run/initramfs/run /run/initramfs/oldroot
chmod 755 /run/initramfs/shutdown
"""


def _unpacked(lab: Lab, machine: VirtualMachine) -> None:
    stage(machine)
    machine.ok("mkdir -p /run/initramfs")
    machine.write("/run/initramfs/shutdown", SHUTDOWN)
    machine.ok(UNPACKED)


UNPACKED_STAGED = State("initramfs-staged", _unpacked, UPGRADED)


def told(machine: VirtualMachine, start: int) -> list[str]:
    said = machine.console(start).splitlines()
    return [line.split()[-1] for line in said if line.startswith("@@INITRAMFS ")]


def test_what_is_approved_jumps(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UNPACKED_STAGED)
    before = machine.mark()
    assert jump(machine) == by_grub.same_as_grub
    assert told(machine, before.console) == ["kexec"]


def test_cold_reboot_is_cold(lab: Lab) -> None:
    machine = lab.at(UNPACKED_STAGED)
    before = machine.mark()
    assert machine.reboot("kexec-hook coldreboot").kind == "firmware"
    assert told(machine, before.console) == ["reboot"]


def test_what_is_not_approved_is_an_ordinary_reboot(lab: Lab) -> None:
    """The image stays loaded, and the unit that would approve it is killed."""
    machine = lab.at(UNPACKED_STAGED)
    machine.ok(
        "mkdir -p /etc/systemd/system/kexec-hook.service.d && printf '[Service]\\nExecStop=\\n' "
        "> /etc/systemd/system/kexec-hook.service.d/e2e.conf && systemctl daemon-reload"
    )
    assert loaded(machine) == "1"
    before = machine.mark()
    assert machine.reboot("reboot").kind == "firmware"
    assert told(machine, before.console) == ["reboot"]
