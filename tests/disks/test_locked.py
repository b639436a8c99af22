"""What lies in an encrypted container, and in other partitions, is there for GRUB only once it has opened it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.decision.decide import make_machine
from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import read_source
from kexec_hook.plugins.api import BootConfig
from tests.tree import Tree


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


LOCKED = "01234567-89ab-cdef-0123-456789abcdef"


def _encrypted(machine: Tree, *, boot: bool) -> Tree:
    """/ in a volume inside a LUKS container; /boot on a plain partition, or inside as well."""
    uuid = LOCKED.replace("-", "")
    machine.write("dev/dm-0").write("dev/dm-1")
    machine.write("sys/class/block/dm-0/dm/uuid", f"CRYPT-LUKS2-{uuid}-sda3_crypt\n")
    machine.write("sys/class/block/dm-1/dm/uuid", f"LVM-{'a' * 32}{'b' * 32}\n")
    machine.write("sys/class/block/dm-1/slaves/dm-0").link("dev/mapper/vg-root", "../dm-1")
    machine.by("uuid", "F00D", "dm-1").mount("/", "/dev/mapper/vg-root", device="254:1")
    if not boot:
        machine.write("dev/sda2").by("uuid", "B007", "sda2")
        machine.mount("/boot", "/dev/sda2", device="8:2")
    return machine.touch("etc/flag", "boot/flag")


def _asked(machine: Tree, script: str) -> str:
    """What a script leaves in $said."""
    return _run(machine, script).get("said") or ""


def _run(machine: Tree, script: str) -> Machine:
    """A script, after GRUB has read its configuration from /boot."""
    disks = machine.disks()
    own = disks.grub_path("/boot")
    assert own is not None
    prefix = f"({own.device})/grub"
    config = BootConfig("", "", prefix, "upstream", "pc", "i386")
    grub = make_machine(config, disks)
    grub.run(read_source("test", f"insmod regexp\nset said=no\n{script}".encode()))
    return grub


QUESTIONS = [
    "if search --fs-uuid --set=x F00D; then set said=yes; fi",
    "if search --file --set=x /etc/flag; then set said=yes; fi",
    "if [ -f (lvm/vg-root)/etc/flag ]; then set said=yes; fi",
    "if probe -s x -f (lvm/vg-root); then set said=yes; fi",
    "for x in (lvm*); do if [ $x != '(lvm*)' ]; then set said=yes; fi; done",
    "for x in (lvm/vg-root)/etc/f*; do if [ $x = (lvm/vg-root)/etc/flag ]; then set said=yes; fi; done",
]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("opens", "boot", "said"),
    [
        ("", False, "no"),
        (f"cryptomount -u {LOCKED}", False, "yes"),
        ("cryptomount (hd0,msdos3)", False, "yes"),
        ("cryptomount -u ffffffffffffffffffffffffffffffff", False, "no"),
        ("", True, "yes"),
    ],
)
def test_a_container_is_there_once_grub_has_opened_it(
    machine: Tree, question: str, opens: str, boot: bool, said: str
) -> None:
    assert _asked(_encrypted(machine, boot=boot), f"{opens}\n{question}\n") == said


OTHER = "deadbeef-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize("opens", [f"cryptomount -u {OTHER}", "cryptomount -a"])
@pytest.mark.parametrize(
    "question", ["search --fs-uuid --set=x CAFE", "search --file --set=x /etc/flag"]
)
def test_what_lies_in_a_container_that_linux_has_not_opened_is_not_known(
    machine: Tree, opens: str, question: str
) -> None:
    machine.write("dev/sdb1").by("uuid", OTHER, "sdb1")
    (machine / "dev/sdb1").write_bytes(b"LUKS\xba\xbe".ljust(4096, b"\0"))
    grub = _run(_encrypted(machine, boot=False), f"{opens}\n{question}\n")
    (guess,) = grub.guesses
    assert "/dev/sdb1 is an encrypted container that GRUB opens and Linux has not" in guess.reason


@pytest.mark.parametrize(
    ("opens", "question"),
    [
        (f"cryptomount -u {LOCKED}", "search --fs-uuid --set=x CAFE"),
        (f"cryptomount -u {OTHER}", "search --fs-uuid --set=x B007"),
        (f"cryptomount -u {OTHER}", "search --file --set=x /flag --hint hd0,msdos2"),
        ("", "search --fs-uuid --set=x CAFE"),
    ],
)
def test_one_that_is_open_or_not_looked_into_is_no_question(
    machine: Tree, opens: str, question: str
) -> None:
    machine.write("dev/sdb1").by("uuid", OTHER, "sdb1").by("uuid", LOCKED, "sda3")
    machine.cmdline("BOOT_IMAGE=(hd0,msdos2)/vmlinuz ro")
    assert not _run(_encrypted(machine, boot=False), f"{opens}\n{question}\n").guesses


def test_a_root_without_a_sys_tells_by_its_names_what_is_open(machine: Tree) -> None:
    machine.mount("/", f"/dev/mapper/luks-{OTHER}").write("dev/dm-0").write("dev/sdb1")
    machine.link(f"dev/mapper/luks-{OTHER}", "../dm-0").by("uuid", "F00D", "dm-0")
    machine.by("uuid", OTHER, "sdb1")
    script = f"cryptomount -u {OTHER}\nsearch --fs-uuid --set=x CAFE\n"
    assert not _run(machine.touch("boot/flag"), script).guesses


def test_partitions_inside_of_partitions_are_not_known(machine: Tree) -> None:
    machine.mount("/", "/dev/sda2").write("dev/sda2").by("uuid", "F00D", "sda2")
    with pytest.raises(Unseen, match="a partition inside of one"):
        machine.disks().device("hd0,msdos2,bsd1")
