"""Every objection to a choice and every note about it, each on a root that has nothing else wrong with it."""

from __future__ import annotations

import base64
import json
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Objection, Trigger
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
        return [with_fix(objection) for objection in self.run(**trigger).objections]

    def notes(self) -> list[str]:
        run = self.run()
        assert run.objections == ()
        return [note.text for note in run.notes]


def with_fix(found: Objection) -> str:
    """The sentence, and what to do about it."""
    return f"{found.reason}; {found.fix}" if found.fix else found.reason


# What is recommended where the distribution is not known, and GRUB's default entry is the first.
MAKE_CONFIG = "grub-mkconfig -o /boot/grub/grub.cfg"
ANOTHER = "set `default` in /boot/grub/grub.cfg"
REMAKE = "make /boot/initrd.img-6.1 again (update-initramfs, dracut or mkinitcpio)"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "root")


def test_nothing_speaks_against_a_plain_root(disk: Disk) -> None:
    assert disk.reasons() == []
    assert disk.notes() == []


# --- the entry ---


def test_no_entry_at_all(disk: Disk) -> None:
    disk.config("set a=b\n")
    why = f"/boot/grub/grub.cfg has no menu entry, so GRUB would stop at its prompt; {MAKE_CONFIG}"
    assert disk.reasons() == [why]


def test_a_configuration_that_is_no_file(disk: Disk) -> None:
    (disk.root / "boot/grub/grub.cfg").unlink()
    (disk.root / "boot/grub/grub.cfg").mkdir()
    why = f"/boot/grub/grub.cfg cannot be read; {MAKE_CONFIG}"
    assert disk.reasons() == [why]


def test_a_configuration_that_boots_without_a_menu(disk: Disk) -> None:
    disk.config("linux /boot/vmlinuz-6.1 root=/dev/sda2\ninitrd /boot/initrd.img-6.1\nboot\n")
    why = (
        "/boot/grub/grub.cfg boots without showing a menu, which kexec-hook does not follow; "
        "put its commands into a menuentry"
    )
    assert disk.reasons() == [why]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("halt", "switches the machine off"),
        ("reboot", "restarts the machine"),
        ("exit", "returns to the firmware"),
    ],
)
def test_a_configuration_that_leaves_grub(disk: Disk, command: str, what: str) -> None:
    disk.config(f"{command}\n")
    why = (
        f"/boot/grub/grub.cfg shows no menu: its command `{command}` {what}; "
        "put its commands into a menuentry"
    )
    assert disk.reasons() == [why]


def test_an_entry_that_boots_no_linux(disk: Disk) -> None:
    disk.config("menuentry 'Off' {\n halt\n}\n")
    why = f"«Off» does not boot Linux: its command `halt` switches the machine off; {ANOTHER}"
    assert disk.reasons() == [why]


def test_an_entry_for_another_system(disk: Disk) -> None:
    disk.write("boot/xen.gz")
    disk.config("menuentry 'Xen' {\n multiboot2 /boot/xen.gz\n}\n")
    (why,) = disk.reasons()
    assert why.startswith("«Xen» starts ")
    assert why.endswith(f"(multiboot2), not Linux; {ANOTHER}")


def test_an_entry_with_a_password(disk: Disk) -> None:
    disk.config("set superusers=root\npassword root secret\n" + MENUENTRY)
    why = (
        "«Linux» needs a GRUB password, so it does not boot unattended; "
        "add --unrestricted to the menuentry at /boot/grub/grub.cfg:4"
    )
    assert disk.reasons() == [why]


def test_an_entry_whose_kernel_is_gone(disk: Disk) -> None:
    (disk.root / "boot/vmlinuz-6.1").unlink()
    why = (
        "GRUB cannot load the kernel of «Linux»: file `/boot/vmlinuz-6.1' not found "
        f"(/boot/grub/grub.cfg:3); {MAKE_CONFIG}"
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
        "grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL), and GRUB looks for /vmlinuz on it (/boot/grub/grub.cfg:4); "
        "install grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL), or mount /dev/sdb1"
    )


def test_an_entry_whose_kernel_is_no_file_but_blocks_of_a_disk(disk: Disk) -> None:
    disk.config("menuentry 'Linux' {\n linux (hd0)+100 root=/dev/sda2\n}\n")
    why = "the files of «Linux» cannot be reached: (hd0)+100: unknown filesystem; mount the file system that holds them"
    assert disk.reasons() == [why]


def test_an_initrd_that_is_gone(disk: Disk) -> None:
    (disk.root / "boot/initrd.img-6.1").unlink()
    why = (
        "GRUB cannot load the initrd of «Linux»: file `/boot/initrd.img-6.1' not found "
        f"(/boot/grub/grub.cfg:4); {REMAKE}"
    )
    assert disk.reasons() == [why]


def test_the_last_initrd_is_gone(disk: Disk) -> None:
    entry = MENUENTRY.replace("\n}", "\n  initrd /boot/more.img\n}")
    disk.config(entry)
    why = (
        "GRUB cannot load the last initrd of «Linux»: file `/boot/more.img' not found "
        "(/boot/grub/grub.cfg:5); restore /boot/more.img, or take it out of the boot entry"
    )
    assert disk.reasons() == [why]


def test_a_command_that_changes_the_hardware(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("\n}", "\n  badram 0x1000,0xfff\n}"))
    (why,) = disk.reasons()
    assert why.endswith(f"(/boot/grub/grub.cfg:5), and a kexec cannot do the same; {ANOTHER}")


def test_a_choice_that_depends_on_the_clock(disk: Disk) -> None:
    disk.config('if [ "$HOUR" = 3 ]; then set default=1; fi\n' + MENUENTRY)
    (why,) = disk.reasons()
    assert why.startswith("what GRUB boots cannot be known: ")
    assert why.endswith("(/boot/grub/grub.cfg:2); take that out of the configuration")


def test_a_root_built_from_an_unset_variable(disk: Disk) -> None:
    disk.parameters("root=$rootdev")
    why = "root=$rootdev uses $rootdev, which is not set (/boot/grub/grub.cfg:3)"
    assert [f"{why}; set rootdev, or correct /boot/grub/grub.cfg:3"] == disk.reasons()


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
    note = f"$more is not set, so it adds no initrd (/boot/grub/grub.cfg:{line})"
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
    why = f"{what} uses $x, which is not set (/boot/grub/grub.cfg:{line})"
    assert f"{why}; set x, or correct /boot/grub/grub.cfg:{line}" in disk.reasons()


@pytest.mark.parametrize("words", ['"$x"', '/boot/initrd.img-6.1 "$x"', '"$x$x"'])
def test_an_initrd_in_quotes_is_opened_by_the_name_that_is_left(disk: Disk, words: str) -> None:
    disk.config(MENUENTRY.replace("/boot/initrd.img-6.1", words))
    why = disk.reasons()[0]
    assert why.startswith("GRUB cannot load the initrd of «Linux»: invalid file name `' ")


@pytest.mark.parametrize("command", ["initrd $x", "initrd"])
def test_an_entry_whose_initrd_is_gone_altogether(disk: Disk, command: str) -> None:
    disk.config(MENUENTRY.replace("initrd /boot/initrd.img-6.1", command))
    why = disk.reasons()[0]
    assert why.startswith("GRUB cannot load the initrd of «Linux»: filename expected ")


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
            "$tuned_params is not set, so it adds nothing to the command line",
        ),
        (
            "ro root=$disk quiet",
            "root=$disk uses $disk, which is not set",
            "$disk is not set, so it adds",
        ),
        ("root=$through", "root=$through uses $nothing, which is not set", ""),
        ("root=$known", "", ""),
    ],
)
def test_an_unset_variable_in_a_snippet(disk: Disk, options: str, reason: str, note: str) -> None:
    disk.write("etc/kexec-hook.conf", "flavour = rhboot\n")
    disk.config("set known=UUID=@UUID@\nset through=$nothing\nblscfg\n")
    snippet = f"title a\nlinux /boot/vmlinuz-6.1\ninitrd /boot/initrd.img-6.1\noptions {options}\n"
    disk.write("boot/loader/entries/a.conf", snippet)
    run = disk.run()
    notes = [found.text for found in run.notes if "is assumed to be" not in found.text]
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
    assert disk.reasons() == [f"{why} (/boot/grub/grub.cfg:3); take that out of the configuration"]


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

CORRECT = MAKE_CONFIG


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
        f"/dev/sda3 is unlocked by a TPM that checks PCRs {registers}: after a kexec they differ, "
        "and the boot would stop at the prompt for a passphrase; "
        "bind it to PCR 7 alone, or set `allow_tpm = yes` in /etc/kexec-hook.conf"
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
        f"next_entry is set, and GRUB cannot clear it ({why}, {where}), so GRUB would "
        "boot that entry every time; grub-editenv - unset next_entry"
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
    why = f"kexec-hook is switched off in {origin}; set `load = yes` in /etc/kexec-hook.conf"
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
        f"{INITRD} is empty; {REMAKE}",
        "root=UUID=1: there is no such name in /dev/disk/by-uuid",
    ]


# --- notes ---


def test_grub_would_wait(disk: Disk) -> None:
    note = "GRUB's menu has no timeout, so GRUB would wait there; a kexec does not wait"
    for timeout in ("", "set timeout=-1\n", "set timeout=x\n"):
        disk.config(MENUENTRY, timeout=timeout)
        assert disk.notes() == [note]
    disk.config(MENUENTRY, timeout="set timeout=0\n")
    assert disk.notes() == []


def test_unset_variables_are_noted(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} $tuned_params")
    note = (
        "$tuned_params is not set, so it adds nothing to the command line (/boot/grub/grub.cfg:3)"
    )
    assert disk.notes() == [note]


def test_an_assumed_disk_is_noted(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("/boot/vmlinuz", "($root)/boot/vmlinuz"))
    (note,) = disk.notes()
    assert note.startswith("GRUB's name for the disk is assumed to be (hd0,")


def test_assumptions_about_disks_are_noted(disk: Disk) -> None:
    (disk.root / "proc/self/mountinfo").unlink()
    for unnamed in (disk.root / "dev").glob("sd?[0-9]"):
        unnamed.unlink()
    disk.config(f"search --fs-uuid --set=root {UUID[:-1]}2\n" + MENUENTRY)
    (note,) = disk.notes()
    assert (
        note
        == "there is no proc/self/mountinfo below the root, so it is taken to be one file system"
    )


def test_a_fallback_is_noted(disk: Disk) -> None:
    disk.config("set fallback=1\nmenuentry 'Broken' {\n linux /gone\n}\n" + MENUENTRY)
    run = disk.run()
    assert "GRUB would then try its fallback, «Linux»" in [note.text for note in run.notes]
    assert run.declined
