"""Debian 12 laid out as Proxmox VE does on a BIOS: grub.cfg, grubenv and the kernels on an ESP that is not mounted.

The ESP is on the second disk, and GRUB's boot code on the first one leads there.  proxmox-boot-tool's hook has a
stand-in of a few lines: it copies the kernels and lets update-grub write there.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest

from tests.vm import image
from tests.vm.image import do
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

ESP, UUID, START = "/dev/vdb2", "ABCD-1234", 2048  # its first sector
SIZE = 256 << 20
REFRESH = """\
#!/bin/sh -e
# What proxmox-boot-tool refresh does, in a mount namespace of its own.
[ "$1" = here ] || exec unshare --mount "$0" here
mount UUID=ABCD-1234 /mnt
cp /boot/vmlinuz-* /boot/initrd.img-* /mnt
mount --bind /mnt /boot
update-grub
"""
LAY_OUT = f"""
set -e
mkdir /root/newer
mount -o ro LABEL=payload /mnt && cp /mnt/newer/*.deb /root/newer && umount /mnt
# Under a lock, since udev looks at what was written, and partitions that are open are not read anew.
flock /dev/vdb sh -e -c '
    dd if=/dev/zero of=/dev/vdb bs=1M count=16 status=none
    gunzip -c /root/esp.gz | gunzip | dd of=/dev/vdb bs=512 conv=notrunc,sparse status=none
    sync
    blockdev --rereadpt /dev/vdb'
udevadm settle
mkdir -p /etc/kernel/postinst.d
chmod 755 /etc/kernel/postinst.d/zz-proxmox-boot
echo {UUID} > /etc/kernel/proxmox-boot-uuids
unshare --mount sh -e -c 'mount {ESP} /mnt; mount --bind /mnt /boot; grub-install /dev/vda; grub-editenv - create'
mv /boot/vmlinuz-$OTHER /root
/etc/kernel/postinst.d/zz-proxmox-boot
mv /root/vmlinuz-$OTHER /boot
"""
ON_ESP = f"mount {ESP} /mnt && %s && umount /mnt"


def empty_disk() -> bytes:
    """As Proxmox's installer makes it: a partition for GRUB's core, the ESP, and no more."""
    with tempfile.TemporaryDirectory(prefix="kexec-hook-esp.") as name:
        disk, esp = Path(name, "disk"), Path(name, "esp")
        with disk.open("wb") as file:
            file.truncate(SIZE)
        bios = "21686148-6449-6E6F-744E-656564454649"
        do(
            *("sfdisk", "-q", str(disk)),
            stdin=f"label: gpt\nfirst-lba: 34\nstart=34,size=2014,type={bios}\nstart={START},type=uefi\n",
        )
        size = SIZE - (START + 34) * image.SECTOR
        do("mkfs.vfat", "-C", "-F", "32", "-i", UUID.replace("-", ""), str(esp), str(size >> 10))
        with disk.open("r+b") as file:
            file.seek(START * image.SECTOR)
            file.write(esp.read_bytes())
        return gzip.compress(gzip.compress(disk.read_bytes()))  # zeros, mostly


def _lay_out(lab: Lab, machine: VirtualMachine) -> None:
    """The older kernel alone is on the ESP."""
    machine.write("/root/esp.gz", empty_disk())
    machine.write("/etc/kernel/postinst.d/zz-proxmox-boot", REFRESH.encode())
    machine.ok(f"OTHER={lab.image.newer}{LAY_OUT}", 600)


def _apt_install(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok(
        f"apt-get -y -qq install --reinstall /root/newer/linux-image-{lab.image.newer}_*.deb", 900
    )


LAID_OUT = State("proxmox", _lay_out, UPGRADED)
BY_APT = State("proxmox-by-apt", _apt_install, LAID_OUT)
BY_APT_AND_ONE_SHOT = State(
    "proxmox-one-shot",
    lambda lab, machine: machine.ok(
        ON_ESP % f"grub-reboot --boot-directory=/mnt '{lab.entry_of(lab.image.older)}'"
    ),
    BY_APT,
)


def test_grub_reads_the_esp_alone(lab: Lab) -> None:
    by_grub = lab.by_grub(LAID_OUT)
    assert by_grub.release == lab.image.older
    assert by_grub.cmdline.startswith(b"BOOT_IMAGE=/vmlinuz-")
    machine = lab.at(LAID_OUT)
    assert stage(machine)["kernel"] == f"{ESP}:/vmlinuz-{lab.image.older}"
    assert jump(machine) == by_grub.same_as_grub


def test_apt_install_of_a_kernel_leads_to_a_jump_into_it(lab: Lab) -> None:
    by_grub = lab.by_grub(BY_APT)
    assert by_grub.release == lab.image.newer
    machine = lab.at(BY_APT)
    assert loaded(machine) == "1"
    assert jump(machine) == by_grub.same_as_grub


def test_one_time_entry_on_the_esp_is_an_ordinary_reboot_into_it(lab: Lab) -> None:
    """GRUB would write to a file system that is not mounted here."""
    by_grub = lab.by_grub(BY_APT_AND_ONE_SHOT)
    assert by_grub.release == lab.image.older
    booted = lab.at(BY_APT_AND_ONE_SHOT).reboot("reboot")
    assert (booted.kind, booted.same_as_grub) == ("firmware", by_grub.same_as_grub)
