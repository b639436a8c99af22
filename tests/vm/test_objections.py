"""Each objection about the machine that a guest can bring about for real, on Debian 12: no image, and the way out."""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab
from tests.vm.scenarios import UPGRADED, loaded

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

STAGE = "kexec-hook stage"
CHROOT = """
mkdir /chroot && mount -t tmpfs tmpfs /chroot && cd /chroot
for directory in usr etc boot proc sys dev run var; do mkdir $directory && mount --rbind /$directory $directory; done
ln -s usr/bin usr/sbin usr/lib usr/lib64 .
chroot . kexec-hook stage
"""
# 70 MB are left.
FILL = """
mount -o remount,size=100% /dev/shm
available=$(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo)
head -c $(((available - 70000) * 1024)) /dev/zero > /dev/shm/large
"""
# PE's directory of certificates: optional header at 24 bytes after «PE\0\0», 64 bit; its fifth directory.
UNSIGN = """
import sys
path = sys.argv[1]
kernel = bytearray(open(path, "rb").read())
pe = int.from_bytes(kernel[0x3C:0x40], "little")
directory = pe + 24 + 112 + 4 * 8
at, size = (int.from_bytes(kernel[directory + i : directory + i + 4], "little") for i in (0, 4))
assert at + size == len(kernel), "the kernel is signed"
kernel[directory : directory + 8] = bytes(8)
open(path, "wb").write(kernel[:at])
"""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(
            f"KEXEC_HOOK_SUSPEND=1 {STAGE}", "KEXEC_HOOK_SUSPEND=1 is set", id="suspended"
        ),
        pytest.param(
            f"unshare --user --map-root-user {STAGE}",
            "this is a container (a user namespace)",
            id="user ns",
        ),
        pytest.param(
            f"unshare --pid --fork --mount-proc env container=lxc sh -c '{STAGE}; exit $?'",
            "this is a container (lxc), and it runs on its host's kernel",
            id="container",
        ),
        pytest.param(CHROOT, "this is a chroot: its / is not that of PID 1", id="chroot"),
        pytest.param(
            f"unshare --pid --fork --mount-proc sh -c '{STAGE}; exit $?'",
            "PID 1 is sh, not an init",
            id="no init",
        ),
        pytest.param(
            f"touch /run/ostree-booted; {STAGE}", "ostree manages this system", id="ostree"
        ),
        pytest.param(
            f"mv /sbin/kexec /root; {STAGE}",
            "the program kexec is not installed (looked in /usr/sbin:",
            id="no kexec-tools",
        ),
        pytest.param(
            f"echo 1 > /proc/sys/kernel/kexec_load_disabled; {STAGE}",
            "kexec is switched off until the next boot",
            id="kexec_load_disabled",
        ),
        pytest.param(
            f"echo 'decline_if_module = virtio_blk' > /etc/kexec-hook.conf.d/e2e.conf; {STAGE}",
            "the kernel module virtio_blk is loaded",
            id="module",
        ),
        pytest.param(f"{FILL}{STAGE}", "MiB of memory, and ", id="low memory"),
        pytest.param(
            f"echo 'LABEL=none /boot ext4 noauto 0 0' >> /etc/fstab; {STAGE}",
            "/boot is in /etc/fstab but not mounted",
            id="/boot unmounted",
        ),
        pytest.param(
            f"ln -s /var/lib /system-update; {STAGE}",
            "an offline update is waiting for the next boot",
            id="update",
        ),
        pytest.param(
            f"chmod o+w /boot/grub/grub.cfg; {STAGE}",
            "/boot/grub/grub.cfg can be written by users other than root",
            id="mode",
        ),
        pytest.param(
            f"sed -i s/^LOAD_KEXEC=.*/LOAD_KEXEC=false/ /etc/default/kexec; {STAGE}",
            "kexec-hook is switched off in /etc/default/kexec:5",
            id="LOAD_KEXEC",
        ),
    ],
)
def test_machine_that_must_not_jump(lab: Lab, command: str, reason: str) -> None:
    machine = lab.at(UPGRADED)
    machine.ok("mkdir -p /etc/kexec-hook.conf.d")
    declined = machine.shell(command)
    assert (declined.code, reason in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"


def test_without_rights_nothing_is_done(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    failed = machine.shell(f"setpriv --bounding-set -sys_boot {STAGE}")
    assert (failed.code, "needs CAP_SYS_BOOT, which root does not have here" in failed.output) == (
        1,
        True,
    ), failed.output
    assert loaded(machine) == "0"


def test_foreign_image_is_left_alone_unless_forced(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    machine.ok(
        "kexec -s -l /boot/vmlinuz-$(uname -r) --initrd=/boot/initrd.img-$(uname -r) --reuse-cmdline"
    )
    declined = machine.shell(STAGE)
    assert (declined.code, "loaded, but not by kexec-hook" in declined.output) == (3, True), (
        declined.output
    )
    assert loaded(machine) == "1"
    machine.ok(f"{STAGE} --force")
    machine.ok("kexec-hook unstage")
    assert loaded(machine) == "0"


def test_kernel_that_is_locked_down_gets_no_unsigned_one(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    machine.ok("echo integrity > /sys/kernel/security/lockdown")
    kernel = f"/boot/vmlinuz-{lab.image.newer}"
    # Debian's signature is no objection; this machine without UEFI refuses it all the same, in kexec's words.
    failed = machine.shell(STAGE)
    assert (failed.code, "Operation not permitted" in failed.output) == (1, True), failed.output
    assert loaded(machine) == "0"
    machine.write("/root/unsign.py", UNSIGN.encode())
    machine.ok(f"python3 /root/unsign.py {kernel}")
    declined = machine.shell(STAGE)
    expected = f"the running kernel is locked down (integrity), and {kernel} is not signed"
    assert (declined.code, expected in declined.output) == (3, True), declined.output
    assert loaded(machine) == "0"
