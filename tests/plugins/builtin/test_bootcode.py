"""Which GRUB a BIOS starts, by the boot code of the disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kexec_hook.disks.root import RootDisks
from kexec_hook.plugins.api import BootConfig, Decision, Note, Objection
from kexec_hook.plugins.builtin import bootcode as builtin
from kexec_hook.plugins.builtin.grub import kexec_hook_boot_config
from tests import bootcode
from tests.tree import Tree

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"


@pytest.fixture
def bios(tmp_path: Path) -> Tree:
    """/ is sda2, with GRUB; sda3 and sdb1 are other systems."""
    tree = Tree(tmp_path).mount("/", "/dev/sda2").grubcfg("menuentry Linux { true }\n")
    tree.by("uuid", UUID, "sda2").by("uuid", OTHER, "sda3").by("uuid", "33-44", "sdb1")
    for number, node in enumerate(("sda2", "sda3", "sdb1")):
        tree.by("partuuid", f"1234567{node[2] == 'b':d}-0{number + 1}", node).touch(f"dev/{node}")
    return tree


def decided(tree: Tree) -> Decision:
    from kexec_hook.decision.decide import decide
    from kexec_hook.plugins.api import Trigger
    from kexec_hook.plugins.asking import Plugins
    from kexec_hook.settings.conf import load_settings
    from kexec_hook.system.host import Host

    sysroot = tree.sysroot(is_host=False)
    host = Host(str(tree.root))
    return decide(host, sysroot, load_settings(sysroot), Plugins(), Trigger())


def findings(tree: Tree) -> list[Objection | Note]:
    return list(builtin.findings(decided(tree)))


def config(tree: Tree) -> BootConfig:
    sysroot = tree.sysroot(is_host=False)
    found = kexec_hook_boot_config(sysroot, RootDisks(sysroot))
    assert found
    return found


def codes(tree: Tree) -> list[str]:
    return [finding.code for finding in findings(tree)]


def gpt(tree: Tree, number: int = 2) -> bytes:
    return bootcode.disk(bootcode.core(f"(,msdos{number})/boot/grub"))


def test_the_one_disk_that_leads_here_is_no_objection(bios: Tree) -> None:
    assert codes(bios.write("dev/sda", gpt(bios))) == []


def test_disks_without_grubs_boot_code_do_not_count(bios: Tree) -> None:
    bios.write("dev/sda", gpt(bios)).write("dev/sdb", bytes(4096)).write("dev/sdc", b"")
    assert codes(bios) == []


WINDOWS = b"\x33\xc0 Missing operating system".ljust(510, b"\0") + b"\x55\xaa"


@pytest.mark.parametrize(
    ("sda", "sdb", "expected"),
    [
        (WINDOWS, b"", ["boot-disk-unknown"]),
        (WINDOWS, None, []),  # GRUB's is on the other one
        (bytes(510) + b"\x55\xaa", b"", []),  # a GPT, and a hypervisor that brings GRUB along
        (bytes(4096), b"", []),
    ],
)
def test_boot_code_of_something_else_alone_is_an_objection(
    bios: Tree, sda: bytes, sdb: bytes | None, expected: list[str]
) -> None:
    """Windows' boot manager starts GRUB where somebody chose that, and Windows where nobody does."""
    bios.write("dev/sda", sda.ljust(4096, b"\0"))
    bios.write(
        "dev/sdb", bootcode.disk(bootcode.core("(,msdos1)/boot/grub")) if sdb is None else sdb
    )
    run = decided(bios)
    assert list(builtin.findings(run)) == []  # of another machine's root nobody can tell
    sysroot = bios.sysroot(is_host=True)
    found = builtin.findings(run._replace(sysroot=sysroot, disks=RootDisks(sysroot)))
    assert [finding.code for finding in found] == expected
    bios.write("sys/block/sda/removable", "0\n").write("sys/block/sdc/removable", "1\n")
    bios.write("sys/block/sdb/removable", "0\n").write("dev/sdc", gpt(bios))  # a stick with GRUB
    sysroot = bios.sysroot(is_host=True)
    found = builtin.findings(run._replace(sysroot=sysroot, disks=RootDisks(sysroot)))
    assert [finding.code for finding in found] == []


@pytest.mark.parametrize("number", [2, 3])
def test_grub_at_the_start_of_the_active_partition_is_started_by_any_boot_code(
    bios: Tree, number: int
) -> None:
    """grub-install /dev/sda2, and Windows' boot code before it."""
    table = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (64).to_bytes(4, "little") + bytes(4)
    first = WINDOWS[:446] + table + bytes(48) + b"\x55\xaa"
    inside = bootcode.disk(bootcode.core(f"(,msdos{number})/boot/grub"), start=65)
    bios.write("dev/sda", first.ljust(64 * 512, b"\0") + _at(inside, 64))
    assert config(bios).prefix == f"(hd0,msdos{number})/boot/grub"
    assert codes(bios) == []


def _at(disk: bytes, sector: int) -> bytes:
    """boot.img of a disk at this sector, and what follows it where it is."""
    return disk[:512] + disk[(sector + 1) * 512 :]


def test_a_script_of_grub_install_leads_by_uuid(bios: Tree) -> None:
    script = "search.fs_uuid {} root hint\nset prefix=($root)'/boot/grub'\n"
    bios.write("dev/sdb", bootcode.disk(bootcode.core("/boot/grub", script.format(UUID))))
    assert codes(bios) == []
    bios.write("dev/sdb", bootcode.disk(bootcode.core("/boot/grub", script.format(OTHER))))
    assert config(bios).prefix == "(hd0,msdos3)/boot/grub"


def test_boot_code_of_another_system_leads_to_its_configuration(bios: Tree) -> None:
    bios.write("dev/sda", gpt(bios, 3))
    assert config(bios).config == "(hd0,msdos3)/boot/grub/grub.cfg"
    assert config(bios).path == "/dev/sda3:/boot/grub/grub.cfg"
    assert codes(bios) == []


def test_several_disks_that_lead_here_are_no_objection(bios: Tree) -> None:
    script = f"search.fs_uuid {UUID} root \nset prefix=($root)'/boot/grub'\n"
    bios.write("dev/sda", gpt(bios))
    bios.write("dev/sdb", bootcode.disk(bootcode.core("/boot/grub", script)))
    assert codes(bios) == []


def test_several_disks_that_lead_to_different_configurations_must_boot_the_same(bios: Tree) -> None:
    bios.write("dev/sda", gpt(bios)).write("dev/sdb", gpt(bios, 1))
    found = config(bios)
    assert (found.path, [other.path for other in found.others]) == (
        "/boot/grub/grub.cfg",
        ["/dev/sdb1:/boot/grub/grub.cfg"],
    )


def test_the_bios_may_tell_the_disk_that_it_starts_from(bios: Tree) -> None:
    """CONFIG_EDD, where GRUB did not leave it empty."""
    ours = bootcode.disk(bootcode.core("(,msdos2)/boot/grub"), signature=0x5AC24EAB)
    bios.write("dev/sda", ours).write("dev/sdb", gpt(bios, 1))
    edd = "sys/firmware/edd/int13_dev80/mbr_signature"
    assert config(bios.write(edd, "0x5ac24eab\n")).others == ()
    assert len(config(bios.write(edd, "0x00000001\n")).others) == 1


def test_what_can_be_pulled_out_does_not_count(bios: Tree) -> None:
    bios.write("dev/sda", gpt(bios)).write("dev/sdb", gpt(bios, 1))
    bios.write("sys/block/sda/removable", "0\n").write("sys/block/sdb/removable", "1\n")
    assert codes(bios) == []


def test_boot_code_that_is_left_over_has_not_started_this_system(bios: Tree) -> None:
    """A disk that was another system's once, and holds data now."""
    bios.write("dev/sda", gpt(bios)).mount("/data", "/dev/sdb1", device="8:17")
    now_gpt = gpt(bios)[:512] + b"EFI PART".ljust(512, b"\0") + bytes(1 << 16)
    script = "search.fs_uuid 4b1d root \nset prefix=($root)'/boot/grub'\n"
    searches = bootcode.disk(bootcode.core("/boot/grub", script))
    for disk in (gpt(bios, 1), gpt(bios, 5), now_gpt, searches):
        bios.write("dev/sdb", disk)
        assert config(bios).prefix == "(hd0,msdos2)/boot/grub"
        assert (config(bios).others, codes(bios)) == ((), [])
    bios.write("dev/sdb", gpt(bios, 1)).write("data/boot/grub/grub.cfg", "menuentry Old { true }\n")
    assert len(config(bios).others) == 1
    # where nothing leads to the running system, what leads nowhere may be what started it
    bios.write("dev/sda", now_gpt)
    assert codes(bios) == ["boot-disk-unknown"]
    bios.write("dev/sda", gpt(bios)).write("dev/sdb5").by("uuid", "77", "sdb5").write(
        "dev/sdb", gpt(bios, 5)
    )
    assert len(config(bios).others) == 1  # what it holds cannot be seen


def test_boot_code_that_is_not_understood_is_a_note(bios: Tree) -> None:
    disk = bytearray(gpt(bios))
    disk[3880:3900] = bytes(20)  # in what is packed
    bios.write("dev/sda", bytes(disk))
    assert codes(bios) == ["boot-code"]
    script = "echo hello\nsearch.fs_label boot root\n"
    bios.write("dev/sda", bootcode.disk(bootcode.core("/boot/grub", script)))
    assert codes(bios) == ["boot-code"]
    assert findings(bios.write("dev/sdb", gpt(bios, 1))) == [
        Objection(
            "/dev/sda and /dev/sdb begin with GRUB's boot code and lead to different configurations "
            "(/dev/sda: its script is not one of grub-install, /dev/sdb: (hd1,msdos1)/boot/grub), "
            "and which one the firmware starts cannot be known",
            code="boot-disk-unknown",
            fix="run grub-install on /dev/sda and /dev/sdb",
        )
    ]


def test_a_configuration_inside_of_the_boot_code_is_not_followed(bios: Tree) -> None:
    """grub-mkstandalone's prefix is in its memdisk."""
    bios.write("dev/sda", bootcode.disk(bootcode.core("(memdisk)/boot/grub")))
    (found,) = findings(bios)
    assert isinstance(found, Objection)
    assert (found.code, found.reason) == (
        "cannot-be-known",
        "the boot code of /dev/sda has its configuration inside, and that is not followed",
    )


def test_boot_code_that_is_not_understood_may_be_what_is_installed(bios: Tree) -> None:
    """As a core.img that is packed in another way."""
    core = bytearray(bootcode.core("(,msdos2)/boot/grub"))
    core[3370:3390] = bytes(20)
    disk = bootcode.disk(bytes(core))
    bios.write("dev/sda", disk).write("dev/sdb", disk)
    assert codes(bios) == ["boot-code"]
    assert codes(bios.write("boot/grub/i386-pc/core.img", bytes(core))) == []


def test_what_may_not_be_read_is_a_note(bios: Tree) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    bios.write("dev/sda", gpt(bios))
    (bios / "dev/sda").chmod(0)
    assert codes(bios) == ["boot-code"]


def test_under_efi_boot_code_does_not_count(bios: Tree) -> None:
    tree = bios.write("dev/sda", gpt(bios, 3))
    assert "not-mounted" in [found.code for found in decided(tree).objections]
    codes_of_grub = {"not-mounted", "other-grub", "boot-code", "boot-disk-unknown"}
    assert not codes_of_grub & {found.code for found in decided(tree.efi()).objections}


@pytest.mark.parametrize(
    ("disk", "number", "node"),
    [("sda", 2, "sda2"), ("nvme0n1", 2, "nvme0n1p2"), ("vdb", 11, "vdb11")],
)
def test_partitions_are_called_as_the_kernel_does(disk: str, number: int, node: str) -> None:
    assert builtin.partition(disk, number) == node
