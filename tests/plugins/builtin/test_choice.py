"""Every objection to a choice and every note about it, each on a root that has nothing else wrong with it."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.plugins.builtin import files
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
from tests.bootfiles import bzimage, cpio, elf, image
from tests.ordinary import OrdinaryUser, close
from tests.tree import Tree

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
KERNEL, INITRD = "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"
MENUENTRY = "menuentry 'Linux' {\n  linux /boot/vmlinuz-6.1 root=UUID=@UUID@ ro quiet\n  initrd /boot/initrd.img-6.1\n}\n"
ROOT_MOUNT = "28 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n"


class Disk(Tree):
    """A root with one entry in its menu, which nothing speaks against."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.write("boot/vmlinuz-6.1", bzimage("6.1.0-39-amd64 (debian) #1 SMP"))
        self.write("boot/initrd.img-6.1", cpio())
        self.write("proc/self/mountinfo", ROOT_MOUNT)
        self.write("dev/sda2").by("uuid", UUID, "sda2")
        self.config(MENUENTRY)

    def config(self, text: str, *, timeout: str = "set timeout=5\n") -> None:
        self.write("boot/grub/grub.cfg", timeout + text.replace("@UUID@", UUID))

    def parameters(self, words: str) -> None:
        self.config(MENUENTRY.replace("root=UUID=@UUID@ ro quiet", words))

    def run(self, *, is_host: bool = False, **trigger: Any) -> Decision:
        host = Host(str(self.root), Programs(()), os.geteuid(), is_host)
        sysroot = host.sysroot()
        plugins = Plugins(installed=False)
        return decide(host, sysroot, load_settings(sysroot), plugins, Trigger(**trigger))

    def reasons(self, **trigger: Any) -> list[str]:
        return [objection.reason for objection in self.run(**trigger).objections]

    def notes(self) -> list[str]:
        run = self.run()
        assert run.objections == ()
        return [note.text for note in run.notes]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "root")


def test_nothing_speaks_against_a_plain_root(disk: Disk) -> None:
    assert disk.reasons() == []
    assert disk.notes() == []


# --- the entry ---


def test_no_entry_at_all(disk: Disk) -> None:
    disk.config("set a=b\n")
    why = (
        "/boot/grub/grub.cfg makes no menu entry, so GRUB would wait at its prompt; run update-grub"
    )
    assert disk.reasons() == [why]


def test_a_configuration_that_is_no_file(disk: Disk) -> None:
    (disk.root / "boot/grub/grub.cfg").unlink()
    (disk.root / "boot/grub/grub.cfg").mkdir()
    why = "/boot/grub/grub.cfg cannot be read; run kexec-hook as root, or make it with update-grub"
    assert disk.reasons() == [why]


def test_a_configuration_that_boots_without_a_menu(disk: Disk) -> None:
    disk.config("linux /boot/vmlinuz-6.1 root=/dev/sda2\ninitrd /boot/initrd.img-6.1\nboot\n")
    why = (
        "/boot/grub/grub.cfg boots without a menu, which is not followed; put that into a menuentry"
    )
    assert disk.reasons() == [why]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("halt", "switches the machine off"),
        ("reboot", "restarts the machine"),
        ("exit", "leaves GRUB for the firmware"),
    ],
)
def test_a_configuration_that_leaves_grub(disk: Disk, command: str, what: str) -> None:
    disk.config(f"{command}\n")
    why = (
        f"/boot/grub/grub.cfg ends before a menu, as `{command}` {what}; put that into a menuentry"
    )
    assert disk.reasons() == [why]


def test_an_entry_that_boots_no_linux(disk: Disk) -> None:
    disk.config("menuentry 'Off' {\n halt\n}\n")
    why = "«Off» switches the machine off (halt) and boots no Linux; choose another entry with grub-set-default"
    assert disk.reasons() == [why]


def test_an_entry_for_another_system(disk: Disk) -> None:
    disk.write("boot/xen.gz")
    disk.config("menuentry 'Xen' {\n multiboot2 /boot/xen.gz\n}\n")
    (why,) = disk.reasons()
    assert why.startswith("«Xen» starts ")
    assert why.endswith("(multiboot2), not Linux; choose another entry with grub-set-default")


def test_an_entry_with_a_password(disk: Disk) -> None:
    disk.config("set superusers=root\npassword root secret\n" + MENUENTRY)
    why = (
        "«Linux» needs a password in GRUB, so it does not boot unattended; "
        "give it --unrestricted, or choose another entry with grub-set-default"
    )
    assert disk.reasons() == [why]


def test_an_entry_whose_kernel_is_gone(disk: Disk) -> None:
    (disk.root / "boot/vmlinuz-6.1").unlink()
    why = (
        "«Linux» does not boot in GRUB: file `/boot/vmlinuz-6.1' not found (/boot/grub/grub.cfg:3); "
        "choose another entry, or run update-grub"
    )
    assert disk.reasons() == [why]


def test_an_entry_on_a_disk_that_is_not_mounted(disk: Disk) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    disk.write("dev/sdb1")
    disk.link(f"dev/disk/by-uuid/{other}", "../../sdb1")
    disk.config(
        f"menuentry 'Linux' {{\n search --fs-uuid --set=root {other}\n linux /vmlinuz root=/dev/sdb2\n}}\n"
    )
    (why,) = disk.reasons()
    assert why == (
        f"what GRUB boots cannot be known: /dev/sdb1 (UUID {other}) is not mounted, and it cannot be read without "
        "grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL), and GRUB looks for /vmlinuz on it (/boot/grub/grub.cfg:4)"
    )


def test_an_entry_whose_kernel_is_no_file_but_blocks_of_a_disk(disk: Disk) -> None:
    disk.config("menuentry 'Linux' {\n linux (hd0)+100 root=/dev/sda2\n}\n")
    why = "«Linux» is out of reach: (hd0)+100: unknown filesystem; mount what it is on, or run update-grub"
    assert disk.reasons() == [why]


def test_an_initrd_that_is_gone(disk: Disk) -> None:
    (disk.root / "boot/initrd.img-6.1").unlink()
    why = (
        "«Linux» would lack its initrd: file `/boot/initrd.img-6.1' not found (/boot/grub/grub.cfg:4); "
        "make it with update-initramfs or dracut"
    )
    assert why in disk.reasons()


def test_the_last_initrd_is_gone(disk: Disk) -> None:
    entry = MENUENTRY.replace("\n}", "\n  initrd /boot/more.img\n}")
    disk.config(entry)
    why = (
        "«Linux» would lack its last initrd: file `/boot/more.img' not found (/boot/grub/grub.cfg:5); "
        "make it with update-initramfs or dracut"
    )
    assert disk.reasons() == [why]


def test_a_command_that_changes_the_hardware(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("\n}", "\n  badram 0x1000,0xfff\n}"))
    (why,) = disk.reasons()
    assert why.endswith(
        "(/boot/grub/grub.cfg:5), which a kexec cannot bring about; choose another entry"
    )


def test_a_choice_that_depends_on_the_clock(disk: Disk) -> None:
    disk.config('if [ "$HOUR" = 3 ]; then set default=1; fi\n' + MENUENTRY)
    (why,) = disk.reasons()
    assert why.startswith("what GRUB boots cannot be known: ")
    assert why.endswith("(/boot/grub/grub.cfg:2)")


def test_a_root_built_from_an_unset_variable(disk: Disk) -> None:
    disk.parameters("root=$rootdev")
    why = "root=$rootdev was built from $rootdev, which is not set (/boot/grub/grub.cfg:3)"
    assert [f"{why}; set it, or correct the entry"] == disk.reasons()


@pytest.mark.parametrize(
    ("before", "initrd"),
    [
        ("", "/boot/initrd.img-6.1 $more"),
        ("", "$more /boot/initrd.img-6.1"),
        ("", "/boot/initrd.img-6.1 ${more}"),
        ("", "$more$more /boot/initrd.img-6.1 ${more}$more"),
        ("set second=$more", "/boot/initrd.img-6.1 $second"),
        ('set empty="$more$more"', "/boot/initrd.img-6.1 $empty$empty"),
        ('set all="/boot/initrd.img-6.1 $more"', "$all"),
        ('all=$more\nset list="$all /boot/initrd.img-6.1"', "$list"),
    ],
)
def test_a_word_of_which_nothing_is_left_is_no_initrd(disk: Disk, before: str, initrd: str) -> None:
    """As in GRUB: `$tuned_initrd` in the entries of Fedora 41."""
    disk.config(f"{before}\n" + MENUENTRY.replace("/boot/initrd.img-6.1", initrd))
    decision = disk.run()
    assert decision.objections == ()
    assert decision.plan is not None
    assert [found.path for found in decision.plan.initrds] == [INITRD]
    line = 5 + before.count("\n")
    note = f"$more is not set and adds no initrd (/boot/grub/grub.cfg:{line})"
    assert [found.text for found in decision.notes] == [note]


@pytest.mark.parametrize(
    ("before", "command", "what"),
    [
        ("", "initrd /boot/initrd$x.img-6.1", "the path /boot/initrd$x.img-6.1"),
        (
            "",
            "initrd /boot/initrd.img-6.1 /boot/${x}initrd.img-6.1",
            "the path /boot/${x}initrd.img-6.1",
        ),
        ("set whole=/boot/initrd$x.img-6.1", "initrd $whole", "the path $whole"),
        ('set all="/boot/initrd.img-6.1 /boot/initrd$x.img-6.1"', "initrd $all", "the path $all"),
        ('set all="$x /boot/initrd$x.img-6.1"', "initrd $all", "the path $all"),
        ("set name=initrd.img-6.1", "initrd /boot/$x$name", "the path /boot/$x$name"),
        ("", f"linux $x{KERNEL}", f"the path $x{KERNEL}"),
        ("", f"linux $x {KERNEL}", "the path $x"),
        ("set kernel=$x", f"linux $kernel {KERNEL}", "the path $kernel"),
        ("", f"linux {KERNEL} ro root=UUID=$x", "root=UUID=$x"),
        ('set args="ro root=$x"', f"linux {KERNEL} $args", "$args"),
    ],
)
def test_a_path_or_root_with_an_unset_variable_in_it(
    disk: Disk, before: str, command: str, what: str
) -> None:
    name = command.split()[0]
    lines = [command if line.split()[:1] == [name] else line for line in MENUENTRY.splitlines()]
    disk.config(f"{before}\n" + "\n".join(lines) + "\n")
    line = 4 if name == "linux" else 5
    why = f"{what} was built from $x, which is not set (/boot/grub/grub.cfg:{line})"
    assert f"{why}; set it, or correct the entry" in disk.reasons()


@pytest.mark.parametrize("words", ['"$x"', '/boot/initrd.img-6.1 "$x"', '"$x$x"'])
def test_an_initrd_in_quotes_is_opened_by_the_name_that_is_left(disk: Disk, words: str) -> None:
    disk.config(MENUENTRY.replace("/boot/initrd.img-6.1", words))
    why = disk.reasons()[0]
    assert why.startswith("«Linux» would lack its initrd: invalid file name `' ")


@pytest.mark.parametrize("command", ["initrd $x", "initrd"])
def test_an_entry_whose_initrd_is_gone_altogether(disk: Disk, command: str) -> None:
    disk.config(MENUENTRY.replace("initrd /boot/initrd.img-6.1", command))
    why = disk.reasons()[0]
    assert why.startswith("«Linux» would lack its initrd: filename expected ")


def test_what_a_word_was_built_from_is_looked_at_once(disk: Disk) -> None:
    """Twelve values, each of forty earlier ones."""
    again = "$a$b$c$d" * 10
    lines = [f'set {name}="{again}"' for _ in range(3) for name in "abcd"]
    disk.config("\n".join(lines) + "\n" + MENUENTRY.replace("initrd ", "initrd $d "))
    started = time.monotonic()
    assert disk.reasons() == []
    assert time.monotonic() - started < 5


def test_words_that_are_no_path_may_be_empty(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} $x a=$x ro")
    assert disk.reasons() == []


@pytest.mark.parametrize(
    ("options", "reason", "note"),
    [
        (
            f"root=UUID={UUID} $tuned_params",
            "",
            "$tuned_params is not set and adds nothing to the command line",
        ),
        (
            "ro root=$disk quiet",
            "root=$disk was built from $disk, which is not set",
            "$disk is not set and adds",
        ),
        ("root=$through", "root=$through was built from $nothing, which is not set", ""),
        ("root=$known", "", ""),
    ],
)
def test_an_unset_variable_in_a_snippet(disk: Disk, options: str, reason: str, note: str) -> None:
    disk.write("etc/kexec-hook.conf", "flavour = rhboot\n")
    disk.config("set known=UUID=@UUID@\nset through=$nothing\nblscfg\n")
    snippet = f"title a\nlinux /boot/vmlinuz-6.1\ninitrd /boot/initrd.img-6.1\noptions {options}\n"
    disk.write("boot/loader/entries/a.conf", snippet)
    run = disk.run()
    notes = [found.text for found in run.notes if "is a guess" not in found.text]
    for found, wanted in (
        ([objection.reason for objection in run.objections], reason),
        (notes, note),
    ):
        assert len(found) == bool(wanted), found
        assert all(
            one.startswith(wanted) and "(/boot/loader/entries/a.conf:4)" in one for one in found
        )


@pytest.mark.parametrize("name", ["cmdpath", "fw_path"])
def test_a_variable_that_not_every_grub_sets(disk: Disk, name: str) -> None:
    disk.parameters(f"root=UUID={UUID} from=${name}")
    why = (
        f"what GRUB boots cannot be known: ${name} is set by some builds of GRUB and not by others"
    )
    assert disk.reasons() == [f"{why} (/boot/grub/grub.cfg:3)"]


# --- kernel and initrds ---


def test_a_kernel_that_is_none(disk: Disk) -> None:
    disk.write(KERNEL, "no kernel")
    assert disk.reasons() == [
        f"{KERNEL} is no Linux kernel; choose another entry with grub-set-default"
    ]


def test_memtest_is_no_linux(disk: Disk) -> None:
    disk.write(KERNEL, bzimage("Memtest86+ v6.10", protocol=0x020C))
    assert disk.reasons() == [
        f"{KERNEL} is «Memtest86+ v6.10», not Linux; choose another entry with grub-set-default"
    ]


@pytest.mark.parametrize(
    ("size", "why"), [(0, "is empty"), (4000, "is cut off: it has 4000 of 4608 bytes")]
)
def test_a_kernel_without_its_end(disk: Disk, size: int, why: str) -> None:
    disk.write(KERNEL, bzimage()[:size])
    assert disk.reasons() == [f"{KERNEL} {why}; install the package that it comes from once more"]


def test_a_kernel_for_another_architecture(disk: Disk) -> None:
    disk.write(KERNEL, image())
    assert disk.reasons() == [
        f"{KERNEL} is a kernel for aarch64, not for x86_64 or i686; choose another entry"
    ]


def test_a_narrow_kernel_on_a_machine_that_starts_none(disk: Disk) -> None:
    disk.write(KERNEL, bzimage(wide=False))
    assert disk.reasons() == []
    disk.write("sys/firmware/efi/fw_platform_size", "64\n")
    assert disk.reasons() == [
        f"{KERNEL} is a kernel for i686, not for x86_64; choose another entry"
    ]


@pytest.mark.parametrize(
    ("running", "kernel", "other"),
    [
        ("x86_64", bzimage(wide=False), "i686, not for x86_64"),
        ("i386", bzimage(), "x86_64, not for i686"),
        ("x86_64", image(), "aarch64, not for x86_64"),
        ("x86_64", bzimage(), ""),
        ("i386", bzimage(wide=False), ""),
        ("i386", bzimage(protocol=0x208), ""),
        ("x86_64", bzimage(protocol=0x208), ""),
        ("aarch64", bzimage(protocol=0x208), "x86, not for aarch64"),
        ("x86_64", elf(4711), ""),  # it does not say
    ],
)
def test_a_kernel_for_another_machine_than_the_running_one(
    disk: Disk, running: str, kernel: bytes, other: str
) -> None:
    disk.write(KERNEL, kernel)
    disk.write("proc/sys/kernel/arch", running + "\n")
    found = [reason for reason in disk.reasons(is_host=True) if reason.startswith(KERNEL)]
    assert found == ([f"{KERNEL} is a kernel for {other}; choose another entry"] if other else [])


def test_a_command_line_that_the_kernel_does_not_take(disk: Disk) -> None:
    beginning = len(f"BOOT_IMAGE=/boot/vmlinuz-6.1 root=UUID={UUID} ")
    disk.parameters(f"root=UUID={UUID} " + "x" * (2046 - beginning))
    assert disk.reasons() == []
    disk.parameters(f"root=UUID={UUID} " + "x" * (2047 - beginning))
    assert disk.reasons() == [
        f"the command line has 2047 bytes, and {KERNEL} takes 2046; shorten it"
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
    assert disk.reasons() == [f"{INITRD} {why}; make it anew with update-initramfs or dracut"]


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
        f"/boot/{name} is there, so {path} is being replaced; let that end, or remove what it left"
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
    found: list[object] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        found = list(files.objections(run))
    stop.set()
    writer.join()
    assert found == [f"{path} is being written just now; try again when that has ended"]


def test_files_that_vanish_after_grub_has_found_them(disk: Disk) -> None:
    run = disk.run()
    for path in (KERNEL, INITRD):
        (disk.root / path.lstrip("/")).unlink()
    assert list(files.objections(run)) == [
        f"{KERNEL}: no such file or directory; without its kernel an entry cannot be booted",
        f"{INITRD}: no such file or directory; without its initrd a kernel does not find its root file system",
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
    print([(found.reason, found.rights) for found in decision.objections])
    print([note.text for note in decision.notes])
"""


def test_what_may_not_be_read_is_a_note_in_a_dry_run_and_a_failure_in_a_real_one(
    user: OrdinaryUser,
) -> None:
    other = Disk(user.directory())
    for path in (KERNEL, INITRD):
        close(other.root / path.lstrip("/"))
    done = user.python(DECIDE, str(other.root))
    note = str(
        [f"{path} could not be read with the rights of this user" for path in (KERNEL, INITRD)]
    )
    why = "cannot be read with the rights of this user; run kexec-hook as root"
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[]",
        note,
        f"[('{KERNEL} {why}', True), ('{INITRD} {why}', True)]",
        note,
    ]


# --- the root file system ---

CORRECT = "correct it in /etc/default/grub and run update-grub"


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
    assert found == [f"root={root} names nothing in /dev/disk/by-{where}; {CORRECT}"]


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
    assert found == [f"root=LABEL=other names nothing in /dev/disk/by-label; {CORRECT}"]


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
    assert found == ([] if there else [f"root={root} names a device that is not there; {CORRECT}"])


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
    why = f"there is no initrd, and without one Linux does not find root={root}; make one, then run update-grub"
    assert disk.reasons() == ([] if alone else [why])


# --- a root that a TPM unlocks ---

LUKS = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def sealed(disk: Disk) -> Disk:
    """Root is the container /dev/sda3, which systemd's token in its header binds to register 7."""
    mount = "29 1 253:0 / / rw - ext4 /dev/mapper/cryptroot rw\n30 29 8:2 / /boot rw - ext4 /dev/sda2 rw\n"
    disk.write("proc/self/mountinfo", mount)
    disk.write("dev/dm-0")
    disk.link("dev/mapper/cryptroot", "../dm-0")
    disk.link(f"dev/disk/by-uuid/{LUKS}", "../../sda3")
    disk.write("sys/class/block/dm-0/slaves/sda3")
    disk.parameters("root=/dev/mapper/cryptroot")
    disk.config(
        MENUENTRY.replace("/boot/", "/").replace("root=UUID=@UUID@", "root=/dev/mapper/cryptroot")
    )
    luks(disk, {"type": "systemd-tpm2", "tpm2-pcrs": [7]})
    return disk


def luks(disk: Disk, *tokens: object, text: str | None = None) -> None:
    area = (
        text or json.dumps({"tokens": {str(n): token for n, token in enumerate(tokens)}})
    ).encode()
    head = b"LUKS\xba\xbe" + struct.pack(">HQ", 2, 16384)
    disk.write("dev/sda3", head.ljust(4096, b"\0") + area.ljust(12288, b"\0") + b"\xff" * 4096)


def clevis(config: object) -> dict[str, object]:
    protected = (
        base64.urlsafe_b64encode(json.dumps({"clevis": config}).encode()).decode().rstrip("=")
    )
    return {"type": "clevis", "jwe": {"protected": protected}}


def bound(registers: str) -> str:
    return (
        f"/dev/sda3 is unlocked by a TPM bound to its registers {registers}, not to 7 alone: a jump "
        "ends at the prompt for a passphrase; `allow_tpm = yes` in /etc/kexec-hook.conf accepts that"
    )


def test_a_root_bound_to_register_7_alone(sealed: Disk) -> None:
    assert sealed.reasons() == []


@pytest.mark.parametrize(
    ("tokens", "registers"),
    [
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [0, 7]}], "0+7"),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [], "tpm2_pubkey_pcrs": [11]}], "11"),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [7], "tpm2_pcrlock": True}], "pcrlock"),
        (
            [
                {"type": "systemd-tpm2", "tpm2-pcrs": [4]},
                {"type": "systemd-tpm2", "tpm2-pcrs": [7]},
            ],
            "",
        ),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": []}], ""),
        ([{"type": "systemd-recovery"}], ""),
        ([clevis({"pin": "tpm2", "tpm2": {"pcr_bank": "sha256", "pcr_ids": "1,7"}})], "1+7"),
        ([clevis({"pin": "tpm2", "tpm2": {"pcr_ids": "7"}})], ""),
        ([clevis({"pin": "tpm2", "tpm2": {}})], ""),
        ([clevis({"pin": "tang", "tang": {}})], ""),
        ([{"type": "clevis"}], "?"),
    ],
)
def test_the_tokens_of_a_container_tell(sealed: Disk, tokens: list[object], registers: str) -> None:
    luks(sealed, *tokens)
    assert sealed.reasons() == ([bound(registers)] if registers else [])


def test_a_header_that_is_not_understood(sealed: Disk) -> None:
    luks(sealed, text="{")
    assert sealed.reasons() == [bound("?")]
    sealed.write("dev/sda3", b"LUKS\xba\xbe\0\1".ljust(4096, b"\0"))
    assert sealed.reasons() == []


@pytest.mark.parametrize(
    ("options", "registers"),
    [
        ("luks,discard", ""),
        ("tpm2-device=auto", ""),
        ("tpm2-device=auto,tpm2-pcrs=0+7:sha256", "0+7"),
        ("tpm2-device=auto,tpm2-pcrs=7:sha256", ""),
        ("tpm2-device=auto,tpm2-pcrs=secure-boot-policy", ""),
        ("tpm2-device=auto,tpm2-pcrs=", ""),
    ],
)
def test_crypttab_tells(sealed: Disk, options: str, registers: str) -> None:
    sealed.write(
        "etc/crypttab", f"# name device key options\ncryptroot UUID={LUKS} none {options}\n"
    )
    sealed.write(
        "etc/crypttab",
        (sealed.root / "etc/crypttab").read_text() + "home /dev/sda9 none tpm2-device=auto\n",
    )
    assert sealed.reasons() == ([bound(registers)] if registers else [])


def test_crypttab_of_a_root_without_its_devices(sealed: Disk) -> None:
    """A logical volume in a tree without /sys: any container may be below it; one without a header says nothing."""
    (sealed.root / "sys/class/block/dm-0/slaves/sda3").unlink()
    (sealed.root / "dev/sda3").unlink()
    sealed.write("etc/crypttab", f"pv UUID={LUKS} none tpm2-device=auto\n")
    assert sealed.reasons() == [bound("?")]


def test_the_command_line_tells(sealed: Disk) -> None:
    sealed.write("etc/crypttab", f"cryptroot UUID={LUKS} none luks\n")
    words = "root=/dev/mapper/cryptroot rd.luks.options=tpm2-device=auto,tpm2-pcrs=9"
    sealed.config(MENUENTRY.replace("/boot/", "/").replace("root=UUID=@UUID@", words))
    assert sealed.reasons() == [bound("9")]
    sealed.config(
        MENUENTRY.replace("/boot/", "/").replace(
            "root=UUID=@UUID@", words.replace("=tpm2", f"={LUKS}=tpm2", 1)
        )
    )
    assert sealed.reasons() == [bound("9")]


def test_allow_tpm_allows_it(sealed: Disk) -> None:
    luks(sealed, {"type": "systemd-tpm2", "tpm2-pcrs": [0]})
    assert sealed.reasons() == [bound("0")]
    sealed.write("etc/kexec-hook.conf", "allow_tpm = yes\n")
    assert sealed.reasons() == []


# --- where GRUB's files are ---


def test_two_configurations_that_differ(disk: Disk) -> None:
    config = (disk.root / "boot/grub/grub.cfg").read_bytes()
    disk.write("boot/grub2/grub.cfg", config)
    assert disk.reasons() == []
    disk.write("boot/grub2/grub.cfg", config + b"\n")
    both = "/boot/grub/grub.cfg and /boot/grub2/grub.cfg"
    assert disk.reasons() == [
        f"{both} differ, and nothing tells which one GRUB reads; remove the other"
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
    why = f"{point} is in /etc/fstab but not mounted, so what GRUB reads is out of sight; `mount {point}`"
    assert disk.reasons() == ([why] if point else [])


def test_what_is_mounted_is_in_sight(disk: Disk) -> None:
    disk.write("etc/fstab", "UUID=1 /boot ext4 defaults 0 2\n")
    disk.write("proc/self/mountinfo", ROOT_MOUNT + "29 28 8:3 / /boot rw - ext4 /dev/sda3 rw\n")
    disk.config(MENUENTRY.replace("/boot/", "/"))
    assert disk.reasons() == []
    (disk.root / "proc/self/mountinfo").unlink()  # nothing tells what is mounted
    assert not any("fstab" in reason for reason in disk.reasons())


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
        (ROOT_MOUNT, ""),
    ],
)
def test_a_one_time_entry_that_grub_cannot_clear(disk: Disk, mount: str, why: str) -> None:
    disk.write("proc/self/mountinfo", mount)
    for node in ("dev/mapper/vg-root", "dev/md0"):
        disk.write(node)
    disk.config(CLEARS + MENUENTRY)
    disk.grubenv("saved_entry=0")
    assert disk.reasons() == []
    disk.grubenv("next_entry=0")
    where = "/boot/grub/grub.cfg:6"
    full = (
        f"next_entry is set where GRUB cannot clear it ({why}, {where}), so GRUB would "
        "boot that entry at every boot; `grub-editenv - unset next_entry` ends that"
    )
    assert disk.reasons() == ([full] if why else [])


# --- settings ---


@pytest.mark.parametrize(
    ("path", "text", "origin"),
    [
        ("etc/default/kexec", "# x\nLOAD_KEXEC=false\n", "/etc/default/kexec:2 (LOAD_KEXEC)"),
        ("etc/kexec-hook.conf", "load = no\n", "/etc/kexec-hook.conf:1"),
    ],
)
def test_staging_is_switched_off(disk: Disk, path: str, text: str, origin: str) -> None:
    disk.write(path, text)
    why = (
        f"staging is switched off in {origin}; `load = yes` in /etc/kexec-hook.conf switches it on"
    )
    assert disk.reasons() == [why]
    disk.write("etc/kexec-hook.conf.d/on.conf", "load = yes\n")
    assert disk.reasons() == []


def test_files_are_judged_also_where_grub_is_not_asked(disk: Disk) -> None:
    disk.write("etc/kexec-hook.conf", "select = kexec-default\n")
    disk.write(
        "etc/default/kexec",
        f'KERNEL_IMAGE="{KERNEL}"\nINITRD="{INITRD}"\nAPPEND="root=UUID=1 ro"\n',
    )
    disk.write(INITRD, b"")
    assert disk.reasons() == [
        f"{INITRD} is empty; make it anew with update-initramfs or dracut",
        f"root=UUID=1 names nothing in /dev/disk/by-uuid; {CORRECT}",
    ]


# --- notes ---


def test_grub_would_wait(disk: Disk) -> None:
    note = "GRUB would wait at its menu for ever (no timeout is set); a kexec does not"
    for timeout in ("", "set timeout=-1\n", "set timeout=x\n"):
        disk.config(MENUENTRY, timeout=timeout)
        assert disk.notes() == [note]
    disk.config(MENUENTRY, timeout="set timeout=0\n")
    assert disk.notes() == []


def test_unset_variables_are_noted(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} $tuned_params")
    note = "$tuned_params is not set and adds nothing to the command line (/boot/grub/grub.cfg:3)"
    assert disk.notes() == [note]


def test_an_assumed_disk_is_noted(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("/boot/vmlinuz", "($root)/boot/vmlinuz"))
    (note,) = disk.notes()
    assert note.startswith("GRUB's name for the disk is a guess: (hd0,")


def test_assumptions_about_disks_are_noted(disk: Disk) -> None:
    (disk.root / "proc/self/mountinfo").unlink()
    disk.config(f"search --fs-uuid --set=root {UUID[:-1]}2\n" + MENUENTRY)
    (note,) = disk.notes()
    assert (
        note
        == "there is no proc/self/mountinfo below the root, so it is taken to be one file system"
    )


def test_a_fallback_is_noted(disk: Disk) -> None:
    disk.config("set fallback=1\nmenuentry 'Broken' {\n linux /gone\n}\n" + MENUENTRY)
    run = disk.run()
    assert "GRUB's fallback would then try «Linux»" in [note.text for note in run.notes]
    assert run.declined


# --- the documentation ---

DOCS = Path(__file__).resolve().parents[3] / "docs/how-it-decides.md"
BUILTIN = Path(files.__file__).parent


def sentences() -> set[str]:
    """What the built-in plugins can say, with … for what is different each time."""
    found = set()
    for path in BUILTIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            said: ast.AST | None = None
            if isinstance(node, ast.Yield):
                said = node.value
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Objection"
            ):
                said = node.args[0]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason":
                said = node.value
            if isinstance(said, ast.Call) and said.args:  # yield Objection(...)
                said = said.args[0]
            text = ""
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                text = said.value
            elif isinstance(said, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in said.values
                )
            if " " in text:
                found.add(text.replace("……", "…"))
    return found


def test_every_sentence_is_in_the_documentation_and_no_other() -> None:
    rows = [
        line[2:].partition(" | ")[0]
        for line in DOCS.read_text().splitlines()
        if line.startswith("| ")
    ]
    told = {
        re.sub(r"\*[^*]+\*", "…", row.replace("\\`", "`")) for row in rows if row != "what it says"
    }
    assert sentences() - told == set()
    assert told - sentences() == set()
