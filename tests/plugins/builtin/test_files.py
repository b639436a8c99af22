"""Objections to the files of a choice, each on a root that has nothing else wrong with it."""

from __future__ import annotations

import os
import threading
import time

import pytest

from kexec_hook.plugins.api import Objection
from kexec_hook.plugins.builtin import files
from tests.bootfiles import bzimage, cpio, elf, image
from tests.ordinary import OrdinaryUser, close
from tests.plugins.builtin.disk import (
    ANOTHER,
    INITRD,
    KERNEL,
    MAKE_CONFIG,
    MENUENTRY,
    REMAKE,
    ROOT_MOUNT,
    UUID,
    Disk,
    with_fix,
)

# --- kernel and initrds ---


def test_a_kernel_that_is_none(disk: Disk) -> None:
    disk.write(KERNEL, "no kernel")
    assert disk.reasons() == [f"{KERNEL} is not a Linux kernel; {ANOTHER}"]


def test_memtest_is_no_linux(disk: Disk) -> None:
    disk.write(KERNEL, bzimage("Memtest86+ v6.10", protocol=0x020C))
    assert disk.reasons() == [f"{KERNEL} is «Memtest86+ v6.10», not Linux; {ANOTHER}"]


@pytest.mark.parametrize(
    ("size", "why"), [(0, "is empty"), (4000, "is cut off: it has 4000 of 4608 bytes")]
)
def test_a_kernel_without_its_end(disk: Disk, size: int, why: str) -> None:
    disk.write(KERNEL, bzimage()[:size])
    assert disk.reasons() == [f"{KERNEL} {why}; reinstall the package that {KERNEL} comes from"]


def test_a_kernel_for_another_architecture(disk: Disk) -> None:
    disk.write(KERNEL, image())
    assert disk.reasons() == [
        f"{KERNEL} is built for aarch64, and this machine needs x86_64 or i686; {ANOTHER}"
    ]


def test_a_narrow_kernel_on_a_machine_that_starts_none(disk: Disk) -> None:
    disk.write(KERNEL, bzimage(wide=False))
    assert disk.reasons() == []
    disk.write("sys/firmware/efi/fw_platform_size", "64\n")
    assert disk.reasons() == [
        f"{KERNEL} is built for i686, and this machine needs x86_64; {ANOTHER}"
    ]


def test_the_root_tells_for_which_processor_its_kernels_are(disk: Disk) -> None:
    why = f"{KERNEL} is built for x86_64, and this machine needs aarch64; {ANOTHER}"
    disk.write("proc/sys/kernel/arch", "aarch64\n")
    assert disk.reasons() == [why]
    disk.write("proc/sys/kernel/arch", "x86_64\n")
    assert disk.reasons() == []


@pytest.mark.parametrize(
    ("running", "kernel", "other"),
    [
        ("x86_64", bzimage(wide=False), "i686, and this machine needs x86_64"),
        ("i386", bzimage(), "x86_64, and this machine needs i686"),
        ("x86_64", image(), "aarch64, and this machine needs x86_64"),
        ("x86_64", bzimage(), ""),
        ("i386", bzimage(wide=False), ""),
        ("i386", bzimage(protocol=0x208), ""),
        ("x86_64", bzimage(protocol=0x208), ""),
        ("aarch64", bzimage(protocol=0x208), "x86, and this machine needs aarch64"),
        ("x86_64", elf(4711), ""),  # it does not say
    ],
)
def test_a_kernel_for_another_machine_than_the_running_one(
    disk: Disk, running: str, kernel: bytes, other: str
) -> None:
    disk.write(KERNEL, kernel)
    disk.write("proc/sys/kernel/arch", running + "\n")
    found = [reason for reason in disk.reasons(is_host=True) if reason.startswith(KERNEL)]
    assert found == ([f"{KERNEL} is built for {other}; {ANOTHER}"] if other else [])


def test_a_command_line_that_the_kernel_does_not_take(disk: Disk) -> None:
    beginning = len(f"BOOT_IMAGE=/boot/vmlinuz-6.1 root=UUID={UUID} ")
    disk.parameters(f"root=UUID={UUID} " + "x" * (2046 - beginning))
    assert disk.reasons() == []
    disk.parameters(f"root=UUID={UUID} " + "x" * (2047 - beginning))
    assert disk.reasons() == [
        f"the kernel command line is 2047 bytes long, and {KERNEL} accepts 2046; shorten it"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (
            cpio()[:-30],
            f"is cut off: it ends at byte {len(cpio()) - 30} inside a cpio archive, before its trailer",
        ),
        (b"initrd", "holds nothing that Linux could unpack at byte 0 of 6"),
    ],
)
def test_a_damaged_initrd(disk: Disk, content: bytes, why: str) -> None:
    disk.write(INITRD, content)
    assert disk.reasons() == [f"{INITRD} {why}; {REMAKE}"]


def test_each_of_several_initrds_is_looked_at(disk: Disk) -> None:
    disk.write("boot/ucode.img", cpio()[:200])
    disk.config(MENUENTRY.replace("initrd ", "initrd /boot/ucode.img newc:etc/key:/boot/key "))
    disk.write("boot/key", "what becomes a member of an archive is none itself")
    (why,) = disk.reasons()
    assert why.startswith("/boot/ucode.img is cut off")


@pytest.mark.parametrize(
    "name",
    [
        *("initrd.img-6.1.dpkg-bak", "initrd.img-6.1.new", "initrd.img-6.1.tmp"),
        *("vmlinuz-6.1.dpkg-new", "vmlinuz-6.1.dpkg-tmp"),
    ],
)
def test_a_file_that_is_being_replaced(disk: Disk, name: str) -> None:
    disk.write(f"boot/{name}")
    path = f"/boot/{name}".rpartition(".")[0]
    why = (
        f"/boot/{name} exists, so {path} is being replaced; "
        f"wait until that has finished, or, where it was interrupted: rm /boot/{name}"
    )
    assert disk.reasons() == [why]


def test_what_is_kept_of_other_kernels_says_nothing(disk: Disk) -> None:
    disk.write("boot/initrd.img-6.1.old")
    disk.write("boot/initrd.img-6.1.bak")
    disk.write("boot/initrd.img-5.10.dpkg-bak")
    assert disk.reasons() == []


@pytest.mark.parametrize("path", [KERNEL, INITRD])
def test_a_file_that_is_written_while_it_is_read(disk: Disk, path: str) -> None:
    disk.write(INITRD, cpio({f"f{number}": b"" for number in range(3000)}))
    run = disk.run()
    target, stop = disk.root / path.lstrip("/"), threading.Event()

    def write() -> None:
        for now in range(1, 1 << 60):
            if stop.is_set():
                return
            os.utime(target, ns=(now, now))

    writer = threading.Thread(target=write)
    writer.start()
    found: list[Objection] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        found = list(files.objections(run))
    stop.set()
    writer.join()
    assert [with_fix(objection) for objection in found] == [
        f"{path} is still being written; run `kexec-hook stage` when that has finished"
    ]


def test_files_that_vanish_after_grub_has_found_them(disk: Disk) -> None:
    run = disk.run()
    for path in (KERNEL, INITRD):
        (disk.root / path.lstrip("/")).unlink()
    assert [with_fix(objection) for objection in files.objections(run)] == [
        f"the kernel cannot be read: {KERNEL}: no such file or directory",
        f"the initrd cannot be read: {INITRD}: no such file or directory; {REMAKE}",
    ]


DECIDE = """
import sys
from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
host = Host(sys.argv[1], stands_for_host=False)
for dry in (True, False):
    sysroot = host.sysroot()
    decision = decide(host, sysroot, load_settings(sysroot), Plugins(installed=False), Trigger("test", dry=dry))
    print([(found.reason, found.rights, found.fix) for found in decision.objections])
    print([note.text for note in decision.notes])
"""


def test_what_may_not_be_read_is_a_note_in_a_dry_run_and_a_failure_in_a_real_one(
    user: OrdinaryUser,
) -> None:
    other = Disk(user.directory())
    for path in (KERNEL, INITRD):
        close(other.root / path.lstrip("/"))
    done = user.python(DECIDE, str(other.root))
    note = str([f"{path} is not readable by this user" for path in (KERNEL, INITRD)])
    why = f"{KERNEL}, {INITRD}: not readable by this user"
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[]",
        note,
        str([(why, True, "sudo kexec-hook stage")]),
        note,
    ]


# --- the root file system ---

CORRECT = "correct /boot/grub/grub.cfg:2"


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize(
    ("root", "where"),
    [
        ("UUID=11111111-7d0a-4a57-9e21-5b7d0c9e4a11", "uuid"),
        ("UUID=", "uuid"),
        ("UUID=../by-uuid/" + UUID, "uuid"),
        ("LABEL=other", "label"),
        ("PARTUUID=0d8a-02", "partuuid"),
        ("PARTLABEL=root2", "partlabel"),
    ],
)
def test_a_root_that_is_not_there(disk: Disk, root: str, where: str, host: bool) -> None:
    for by, name in (("label", "my\\x20root"), ("partuuid", "0d8a-01"), ("partlabel", "root")):
        disk.link(f"dev/disk/by-{by}/{name}", "../../sda2")
    disk.parameters(f"root=UUID={UUID} root={root}")
    found = [reason for reason in disk.reasons(is_host=host) if "root=" in reason]
    assert found == [f"root={root}: there is no such name in /dev/disk/by-{where}; {CORRECT}"]


@pytest.mark.parametrize(
    "root",
    [
        f"UUID={UUID.upper()}",
        '"LABEL=my root"',
        "PARTUUID=0D8A-01",
        "PARTUUID=0d8a-01/PARTNROFF=1",
        "PARTLABEL=root",
        "/dev/sda9",  # that of another machine, as far as this root tells
        "/dev/mapper/vg-root",
        "/dev/nfs",
        "zfs=rpool/ROOT/debian",
        "zfs:AUTO",
        "ZFS=rpool/ROOT/debian",
        "nfs:10.0.0.1:/srv/root",
        "dhcp",
        "0802",
        "gpt-auto",
    ],
)
def test_a_root_that_is_there_or_is_not_for_us_to_know(disk: Disk, root: str) -> None:
    for by, name in (("label", "my\\x20root"), ("partuuid", "0d8a-01"), ("partlabel", "root")):
        disk.link(f"dev/disk/by-{by}/{name}", "../../sda2")
    disk.parameters(f'ro "root={root[1:]}' if root.startswith('"') else f"ro root={root}")
    assert disk.reasons() == []


def test_a_root_without_links_of_udev_knows_no_labels(disk: Disk) -> None:
    disk.parameters("root=LABEL=other")
    assert disk.reasons() == []
    found = [reason for reason in disk.reasons(is_host=True) if "root=" in reason]
    assert found == [f"root=LABEL=other: there is no such name in /dev/disk/by-label; {CORRECT}"]


def test_a_root_after_two_dashes_is_for_init(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} -- root=UUID=1")
    assert disk.reasons() == []


@pytest.mark.parametrize(
    ("root", "there"),
    [
        *(
            ("/dev/sda9", False),
            ("/dev/vg/root", False),
            ("/dev/sda2", True),
            ("/dev/mapper/vg-root", True),
        ),
        *(("/dev/nfs", True), ("/dev/ram0", True), (f"/dev/disk/by-uuid/{UUID}", True)),
        *(("/dev/disk/by-uuid/1", False),),
    ],
)
def test_a_device_is_looked_for_on_the_running_machine(disk: Disk, root: str, there: bool) -> None:
    disk.parameters(f"root={root}")
    found = [reason for reason in disk.reasons(is_host=True) if "root=" in reason]
    assert found == ([] if there else [f"root={root}: there is no such device; {CORRECT}"])


@pytest.mark.parametrize(
    ("root", "alone"),
    [
        (f"UUID={UUID}", False),
        ("LABEL=x", False),
        ("/dev/mapper/a", False),
        ("/dev/sda2", True),
        ("PARTUUID=1-2", True),
    ],
)
def test_what_linux_alone_cannot_find(disk: Disk, root: str, alone: bool) -> None:
    disk.config(f"menuentry 'Linux' {{\n linux /boot/vmlinuz-6.1 root={root}\n}}\n")
    why = f"the boot entry has no initrd, and the kernel alone cannot find root={root}; make an initrd, then run `{MAKE_CONFIG}`"
    assert disk.reasons() == ([] if alone else [why])
    disk.write("boot/config-6.1.0-39-amd64", 'CONFIG_INITRAMFS_SOURCE=""\n')
    assert disk.reasons() == ([] if alone else [why])
    disk.write("boot/config-6.1.0-39-amd64", 'CONFIG_INITRAMFS_SOURCE="/usr/src/initramfs"\n')
    assert disk.reasons() == []


# --- where GRUB's files are ---


def test_two_configurations_that_differ(disk: Disk) -> None:
    config = (disk.root / "boot/grub/grub.cfg").read_bytes()
    disk.write("boot/grub2/grub.cfg", config)
    assert disk.reasons() == []
    disk.write("boot/grub2/grub.cfg", config + b"\n")
    both = "/boot/grub/grub.cfg and /boot/grub2/grub.cfg"
    assert disk.reasons() == [
        f"{both} differ, and it is not known which of them GRUB reads; "
        "remove the one that GRUB does not read"
    ]


def test_a_stub_on_the_esp_tells_which_configuration_counts(disk: Disk) -> None:
    disk.write("boot/grub2/grub.cfg", "another\n")
    disk.write("sys/firmware/efi/fw_platform_size", "64\n")
    disk.write("proc/self/mountinfo", ROOT_MOUNT + "29 28 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n")
    disk.write("etc/os-release", "ID=debian\nVERSION_ID=12\n")
    disk.write(
        "boot/efi/EFI/debian/grub.cfg",
        f"search --fs-uuid --set=root {UUID}\nconfigfile /boot/grub/grub.cfg\n",
    )
    assert disk.reasons() == []


@pytest.mark.parametrize(
    ("fstab", "platform", "point"),
    [
        ("UUID=1 /boot ext4 defaults 0 2", "pc", "/boot"),
        ("UUID=1 /boot ext4 noauto 0 2", "pc", "/boot"),
        ("#UUID=1 /boot ext4 defaults 0 2", "pc", ""),
        ("UUID=1 /boot/efi vfat defaults 0 2", "pc", ""),
        ("UUID=1 /boot/efi vfat defaults 0 2", "efi", "/boot/efi"),
        ("UUID=1 /efi vfat defaults 0 2", "efi", "/efi"),
        ("UUID=1 /srv ext4 defaults 0 2", "efi", ""),
    ],
)
def test_what_fstab_wants_mounted(disk: Disk, fstab: str, platform: str, point: str) -> None:
    disk.write("etc/fstab", fstab + "\n")
    if platform == "efi":
        disk.write("sys/firmware/efi/fw_platform_size", "64\n")
    why = f"{point} is in /etc/fstab but not mounted, so the files that GRUB reads cannot be seen; mount {point}"
    assert disk.reasons() == ([why] if point else [])


def test_what_is_mounted_is_in_sight(disk: Disk) -> None:
    disk.write("etc/fstab", "UUID=1 /boot ext4 defaults 0 2\n")
    disk.write("proc/self/mountinfo", ROOT_MOUNT + "29 28 8:3 / /boot rw - ext4 /dev/sda3 rw\n")
    disk.config(MENUENTRY.replace("/boot/", "/"))
    assert disk.reasons() == []
    (disk.root / "proc/self/mountinfo").unlink()  # nothing tells what is mounted
    assert not any("fstab" in reason for reason in disk.reasons())


LOWER = "29 28 8:2 / /media/root-ro ro - ext4 /dev/sda2 ro\n"


@pytest.mark.parametrize(
    ("mounts", "declined"),
    [
        ("28 1 0:30 / / rw - overlay overlayroot rw\n" + LOWER, "overlay"),
        ("28 1 0:30 / / rw - tmpfs none rw\n" + LOWER, "tmpfs"),
        ("28 1 0:30 / / rw - overlay overlay rw\n", ""),  # a container's: there is no disk
        ("28 1 0:30 / / rw - overlay x rw\n29 28 8:3 / /boot rw - ext4 /dev/sda3 rw\n", ""),
    ],
)
def test_grub_reads_what_lies_below_an_overlay(disk: Disk, mounts: str, declined: str) -> None:
    """overlayroot and live systems: what apt installs there is gone at the next boot."""
    disk.write("proc/self/mountinfo", mounts)
    if "/boot" in mounts:
        disk.config(MENUENTRY.replace("/boot/", "/"))
    found = [reason for reason in disk.reasons() if "GRUB does not read" in reason]
    assert [reason.split(",")[0] for reason in found] == (
        [f"/boot/grub/grub.cfg is on {declined}"] if declined else []
    )


CLEARS = 'load_env\nif [ "${next_entry}" ]; then\n set default="${next_entry}"\n set next_entry=\n save_env next_entry\nfi\n'


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        ("28 1 0:25 / / rw - btrfs /dev/sda2 rw,subvol=/\n", "sparse file not allowed"),
        (
            "28 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n",
            "diskfilter writes are not supported",
        ),
        ("28 1 9:0 / / rw - ext4 /dev/md0 rw\n", "diskfilter writes are not supported"),
        (
            "28 1 254:9 / / rw - ext4 /dev/mapper/luks-on-md rw\n",
            "diskfilter writes are not supported",
        ),
        ("28 1 254:8 / / rw - ext4 /dev/mapper/luks rw\n", ""),
        (ROOT_MOUNT, ""),
    ],
)
def test_a_one_time_entry_that_grub_cannot_clear(disk: Disk, mount: str, why: str) -> None:
    disk.write("proc/self/mountinfo", mount)
    for node in ("dev/mapper/vg-root", "dev/md0"):
        disk.write(node)
    for node, name, below in (("dm-8", "luks", "sda2"), ("dm-9", "luks-on-md", "md0")):
        disk.write(f"dev/{node}").link(f"dev/mapper/{name}", f"../{node}")
        disk.write(f"sys/class/block/{node}/dm/uuid", f"CRYPT-LUKS1-{'ab' * 16}-{name}\n")
        disk.mkdir(f"sys/class/block/{node}/slaves/{below}")
    disk.config(CLEARS + MENUENTRY)
    disk.grubenv("saved_entry=0")
    assert disk.reasons() == []
    disk.grubenv("next_entry=0")
    where = "/boot/grub/grub.cfg:6"
    full = (
        f"next_entry is set, and GRUB cannot clear it ({why}, {where}), so GRUB would "
        "boot that entry every time; grub-editenv - unset next_entry"
    )
    assert disk.reasons() == ([full] if why else [])
