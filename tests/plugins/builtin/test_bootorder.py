"""Which boot entry the firmware starts next: what is an objection, what a note, and what is passed over."""

from __future__ import annotations

import shutil
import struct
import uuid
from pathlib import Path

import pytest

from kexec_hook.disks.root import RootDisks
from kexec_hook.plugins.api import Decision, Note, Objection, Trigger
from kexec_hook.plugins.builtin import bootorder
from kexec_hook.plugins.builtin.grub import kexec_hook_notes, kexec_hook_objections
from kexec_hook.settings.conf import load_settings
from kexec_hook.system import efi
from tests import bootcode
from tests.tree import Tree, node

UUID = "11111111-2222-3333-4444-555555555555"
ESP_PART = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ROOT_PART = "0fc63daf-8483-4772-8e79-3d69d8477de4"
OTHER_PART = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
GONE_PART = "deadbeef-f81f-11d2-ba4b-00a0c93ec93b"
SHIM = "\\EFI\\debian\\shimx64.efi"
WINDOWS = "\\EFI\\Microsoft\\Boot\\bootmgfw.efi"
NETWORK = (node(1, 1, bytes(2)), node(3, 11, bytes(33)), node(3, 12, bytes(23)))
USB = (node(1, 1, bytes(2)), node(3, 5, bytes(2)))
DISK = (node(1, 1, bytes(2)), node(3, 18, bytes(6)))
SHELL = (node(4, 7, bytes(16)), node(4, 6, bytes(16)))


@pytest.fixture
def uefi(tmp_path: Path) -> Tree:
    """Debian, started by Boot0001; sdb1 is an EFI system partition that is not mounted."""
    machine = Tree(tmp_path).mount("/", "/dev/sda2")
    machine.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1").efi()
    machine.touch("dev/sda1", "dev/sda2", "dev/sdb1", "boot/efi/EFI/debian/shimx64.efi")
    machine.write("boot/efi/EFI/debian/grub.cfg", "").write("etc/os-release", "ID=debian\n")
    machine.by("uuid", UUID, "sda2").by("uuid", "0FC6-3DAF", "sda1")
    machine.by("partuuid", ESP_PART, "sda1").by("partuuid", ROOT_PART, "sda2")
    machine.by("partuuid", OTHER_PART, "sdb1").by("uuid", "5555-1111", "sdb1")
    machine.option(1, "debian", ESP_PART, SHIM)
    return machine.boot_order(1, current=1)


def decision(machine: Tree) -> Decision:
    sysroot = machine.sysroot(is_host=False)
    return Decision(Trigger(), sysroot, load_settings(sysroot), RootDisks(sysroot))


def codes(machine: Tree) -> tuple[list[str], list[str]]:
    """The codes of the objections and of the notes."""
    run = decision(machine)
    objections = kexec_hook_objections(decision=run, sysroot=run.sysroot)
    notes = kexec_hook_notes(decision=run, sysroot=run.sysroot)
    return [found.code for found in objections], [found.code for found in notes]


def reasons(machine: Tree) -> list[str]:
    run = decision(machine)
    return [found.reason for found in kexec_hook_objections(decision=run, sysroot=run.sysroot)]


def test_what_started_this_system_and_comes_first_is_no_objection(uefi: Tree) -> None:
    assert codes(uefi) == ([], [])


def test_a_machine_without_efi_has_no_boot_entries(tmp_path: Path) -> None:
    assert codes(Tree(tmp_path).mount("/", "/dev/sda2")) == ([], [])


def test_variables_that_cannot_be_read_say_nothing(uefi: Tree) -> None:
    for path in (uefi.root / "sys/firmware/efi/efivars").iterdir():
        path.unlink()
    assert codes(uefi) == ([], [])


# --- what started this system ---


@pytest.mark.parametrize(
    "path",
    [
        "\\EFI\\debian\\shimx64.efi",
        "\\EFI\\debian\\grubx64.efi",
        "\\EFI\\BOOT\\BOOTX64.EFI",
        "\\EFI\\fedora\\shim.efi",
        "\\EFI\\redhat\\SHIMAA64.EFI",
        "\\EFI\\own\\loader.efi",
    ],
)
def test_grub_and_what_starts_it_is_no_objection(uefi: Tree, path: str) -> None:
    uefi.option(0x1F, "x", ESP_PART, path).boot_order(0x1F, current=0x1F)
    assert codes(uefi.touch("boot/efi/EFI/own/grub.cfg")) == ([], [])


@pytest.mark.parametrize(
    "path",
    [
        "\\EFI\\systemd\\systemd-bootx64.efi",
        "\\EFI\\Linux\\arch.efi",
        "\\EFI\\refind\\refind_x64.efi",
    ],
)
def test_a_machine_that_grub_did_not_start_is_an_objection(uefi: Tree, path: str) -> None:
    uefi.option(0xA, "Other", ESP_PART, path).boot_order(0xA, current=0xA)
    shown = path.replace("\\", "/")
    assert reasons(uefi) == [f"the firmware started {shown}, which is not known to be GRUB"]


GRUB = bootcode.efi("/EFI/debian")
SHIM_ITSELF = bootcode.program(bytes(9000) + b"UEFI SHIM\n$Version: 15.8 $\n")
ANOTHER = bootcode.program(b"rEFInd, systemd-boot, a kernel")


@pytest.mark.parametrize(
    ("started", "files", "wrong"),
    [
        ("EFI/mine/shimx64.efi", {"grubx64.efi": GRUB}, ""),
        ("EFI/mine/shimx64.efi", {"grubx64.efi": ANOTHER}, "grubx64.efi"),
        ("EFI/mine/shim.efi", {"grub.efi": ANOTHER}, "grub.efi"),
        ("EFI/mine/shimaa64.efi", {"grubaa64.efi": ANOTHER, "grubx64.efi": GRUB}, "grubaa64.efi"),
        ("EFI/mine/grubx64.efi", {"grubx64.efi": ANOTHER, "grub.cfg": ""}, "grubx64.efi"),
        ("EFI/BOOT/BOOTX64.EFI", {"BOOTX64.EFI": GRUB}, ""),
        ("EFI/BOOT/BOOTX64.EFI", {"BOOTX64.EFI": ANOTHER, "grubx64.efi": GRUB}, "BOOTX64.EFI"),
        ("EFI/BOOT/BOOTX64.EFI", {"BOOTX64.EFI": SHIM_ITSELF, "grubx64.efi": GRUB}, ""),
        (
            "EFI/BOOT/BOOTX64.EFI",
            {"BOOTX64.EFI": SHIM_ITSELF, "grubx64.efi": ANOTHER},
            "grubx64.efi",
        ),
        ("EFI/BOOT/BOOTX64.EFI", {"BOOTX64.EFI": SHIM_ITSELF, "fbx64.efi": ANOTHER}, ""),
        ("EFI/mine/loader.efi", {"loader.efi": GRUB}, ""),
    ],
)
@pytest.mark.parametrize("current", [1, None])
def test_what_a_program_is_its_image_tells_whatever_its_name_is(
    uefi: Tree, started: str, files: dict[str, bytes], wrong: str, current: int | None
) -> None:
    """rEFInd behind shim is called grubx64.efi, and the removable path takes everything."""
    uefi.option(1, "x", ESP_PART, "\\" + started.replace("/", "\\"))
    directory = started.rpartition("/")[0]
    uefi.touch(f"boot/efi/{started}")
    uefi.fill({f"boot/efi/{directory}/{name}": content for name, content in files.items()})
    if current is None:  # then the first entry counts
        (uefi.root / f"sys/firmware/efi/efivars/BootCurrent-{efi.GLOBAL}").unlink()
        assert codes(uefi)[0] == (["boot-entry-missing"] if wrong else [])
        return
    said = f"the firmware starts /{directory}/{wrong}, which is a program other than GRUB"
    assert [reason for reason in reasons(uefi) if "other than" in reason] == [said] * bool(wrong)


def test_what_the_firmware_takes_from_a_disk_is_looked_at_as_well(uefi: Tree) -> None:
    """An entry that names a disk alone starts the removable path."""
    drive = struct.pack("<IQQ16sBB", 1, 2048, 1048576, uuid.UUID(ESP_PART).bytes_le, 2, 2)
    uefi.device_option(1, "UEFI OS", node(4, 1, drive))
    uefi.write("boot/efi/EFI/BOOT/BOOTX64.EFI", ANOTHER)
    assert codes(uefi)[0] == ["not-grub"]
    assert codes(uefi.write("boot/efi/EFI/BOOT/BOOTX64.EFI", GRUB))[0] == []


def test_shim_that_was_told_to_start_something_else_is_an_objection(uefi: Tree) -> None:
    uefi.option(1, "Linux Firmware Updater", ESP_PART, SHIM, optional="\\fwupdx64.efi")
    assert codes(uefi) == (["not-grub"], [])
    uefi.option(1, "debian", ESP_PART, SHIM, optional="\\EFI\\debian\\grubx64.efi")
    assert codes(uefi) == ([], [])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [(NETWORK, ["network-boot"]), (SHELL, ["not-grub"]), (DISK, []), (USB, [])],
)
def test_a_disk_without_a_file_starts_grub_from_the_removable_path(
    uefi: Tree, nodes: tuple[bytes, ...], expected: list[str]
) -> None:
    assert codes(uefi.device_option(1, "x", *nodes)) == (expected, [])


def test_an_entry_that_is_gone_is_an_objection(uefi: Tree) -> None:
    assert codes(uefi.boot_order(2, current=2)) == (["boot-entry-missing"], [])


def test_an_entry_of_which_nothing_is_left_is_an_objection(uefi: Tree) -> None:
    """As long as there is another loader, the firmware may start that, and it may be GRUB."""
    (uefi / "boot/efi/EFI/debian/shimx64.efi").unlink()
    assert codes(uefi) == ([], [])
    shutil.rmtree(uefi / "boot/efi/EFI")
    why = "starts /EFI/debian/shimx64.efi, and its partition holds no boot loader any more"
    assert reasons(uefi) == [f"Boot0001 «debian» {why}"]
    assert codes(uefi)[0] == ["boot-entry-missing"]


def test_an_entry_whose_file_is_gone_is_passed_over(uefi: Tree) -> None:
    """apt purge shim-signed: the firmware goes on to what is behind it."""
    uefi.option(2, "Windows Boot Manager", ESP_PART, WINDOWS)
    uefi.option(3, "GRUB alone", ESP_PART, "\\EFI\\debian\\grubx64.efi")
    uefi.write("boot/efi/EFI/Microsoft/Boot/bootmgfw.efi").boot_order(1, 2, 3, current=1)
    assert codes(uefi) == ([], [])
    (uefi / "boot/efi/EFI/debian/shimx64.efi").unlink()
    why = "/EFI/debian/shimx64.efi, which started this system, is not there any more, so the firmware starts "
    assert reasons(uefi) == [why + "Boot0002 «Windows Boot Manager»"]
    uefi.boot_order(1, 3, 2, current=1)
    assert codes(uefi)[0] == ["boot-entry-missing"]
    uefi.write("boot/efi/EFI/debian/grubx64.efi")
    assert codes(uefi) == ([], [])


def test_the_advice_for_an_order_names_entries_that_exist(uefi: Tree) -> None:
    """efibootmgr takes no others."""
    uefi.option(2, "Windows Boot Manager", OTHER_PART, WINDOWS).boot_order(9, 2, 1, current=1)
    run = decision(uefi)
    (found,) = kexec_hook_objections(decision=run, sysroot=run.sysroot)
    assert found.fix == "efibootmgr -o 0001,0002"


def test_an_entry_that_is_not_active_is_an_objection(uefi: Tree) -> None:
    uefi.option(1, "debian", ESP_PART, SHIM, attributes=0)
    run = decision(uefi)
    assert kexec_hook_objections(decision=run, sysroot=run.sysroot) == [
        Objection(
            "Boot0001 «debian», which started this system, is not active, "
            "so the firmware does not start it again",
            "grub",
            code="boot-entry-inactive",
            fix="efibootmgr -a -b 0001",
        )
    ]


def test_another_active_entry_of_the_same_grub_is_as_good(uefi: Tree) -> None:
    uefi.option(1, "debian", ESP_PART, SHIM, attributes=0)
    uefi.option(2, "debian", ESP_PART, SHIM.lower()).boot_order(1, 2, current=1)
    assert codes(uefi) == ([], [])


def test_an_entry_that_is_not_in_the_order_is_an_objection(uefi: Tree) -> None:
    uefi.option(2, "other", OTHER_PART, SHIM).boot_order(2)
    run = decision(uefi)
    assert kexec_hook_objections(decision=run, sysroot=run.sysroot) == [
        Objection(
            "Boot0001 «debian», which started this system, is not in the firmware's BootOrder",
            "grub",
            code="boot-entry-not-in-order",
            fix="efibootmgr -o 0001,0002",
        )
    ]


def test_without_bootcurrent_the_first_that_is_there_will_start(uefi: Tree) -> None:
    (uefi.root / f"sys/firmware/efi/efivars/BootCurrent-{efi.GLOBAL}").unlink()
    assert codes(uefi) == ([], [])
    uefi.device_option(2, "PXE", *NETWORK).boot_order(2, 1)
    assert codes(uefi) == (["boot-entry-missing"], [])


# --- BootNext ---


def test_a_promise_for_the_next_boot_is_an_objection(uefi: Tree) -> None:
    uefi.option(3, "Windows Boot Manager", ESP_PART, WINDOWS).boot_order(1, 3)
    assert codes(uefi) == ([], [])
    run = decision(uefi.variable("BootNext", b"\3\0"))
    assert kexec_hook_objections(decision=run, sysroot=run.sysroot) == [
        Objection(
            "the firmware was asked to start Boot0003 «Windows Boot Manager» at the next boot (BootNext)",
            "grub",
            code="boot-next",
            fix="efibootmgr -N",
        )
    ]


def test_a_promise_of_this_very_grub_is_a_note(uefi: Tree) -> None:
    assert codes(uefi.variable("BootNext", b"\1\0")) == ([], ["boot-next"])


def test_the_order_does_not_count_where_the_next_boot_is_promised(uefi: Tree) -> None:
    uefi.option(3, "Windows Boot Manager", ESP_PART, WINDOWS).boot_order(3, 1)
    assert codes(uefi.variable("BootNext", b"\1\0")) == ([], ["boot-next"])


def test_a_promise_that_names_no_entry_is_passed_over(uefi: Tree) -> None:
    assert codes(uefi.variable("BootNext", b"\7\0")) == ([], [])


# --- what the order has before it ---


def test_a_file_that_is_there_starts_first(uefi: Tree) -> None:
    uefi.touch("boot/efi/EFI/ubuntu/shimx64.efi")
    uefi.option(2, "ubuntu", ESP_PART, "\\EFI\\ubuntu\\shimx64.efi").boot_order(2, 1, 5)
    uefi.device_option(5, "a disk", *DISK)
    run = decision(uefi)
    assert kexec_hook_objections(decision=run, sysroot=run.sysroot) == [
        Objection(
            "the firmware tries Boot0002 «ubuntu» before Boot0001 «debian», which started this system: "
            "/EFI/ubuntu/shimx64.efi is there",
            "grub",
            code="boot-order",
            fix="efibootmgr -o 0001,0002,0005",
        )
    ]


def test_fat_does_not_mind_how_the_firmware_spells_a_file(uefi: Tree) -> None:
    uefi.touch("boot/efi/EFI/Ubuntu/ShimX64.efi")
    uefi.option(2, "ubuntu", ESP_PART, "\\EFI\\UBUNTU\\SHIMX64.EFI").boot_order(2, 1)
    assert codes(uefi) == (["boot-order"], [])


def test_a_file_that_is_not_there_is_passed_over(uefi: Tree) -> None:
    uefi.option(2, "ubuntu", ESP_PART, "\\EFI\\ubuntu\\shimx64.efi").boot_order(2, 1)
    assert codes(uefi) == ([], [])


def test_a_file_on_a_partition_that_is_not_mounted_may_start(uefi: Tree) -> None:
    uefi.option(2, "ubuntu", OTHER_PART, "\\EFI\\ubuntu\\shimx64.efi").boot_order(2, 1)
    assert reasons(uefi) == [
        "the firmware tries Boot0002 «ubuntu» before Boot0001 «debian», which started this system: "
        "whether /EFI/ubuntu/shimx64.efi is there cannot be known, as /dev/sdb1 is not mounted"
    ]


def test_a_partition_that_is_not_there_is_a_note(uefi: Tree) -> None:
    uefi.option(2, "ubuntu", GONE_PART, "\\EFI\\ubuntu\\shimx64.efi").boot_order(2, 1)
    run = decision(uefi)
    assert kexec_hook_notes(decision=run, sysroot=run.sysroot) == [
        Note(
            "the firmware tries Boot0002 «ubuntu» (its partition is not there) first, "
            "and went past them at the last boot",
            "boot-order",
        )
    ]
    assert codes(uefi)[0] == []


@pytest.mark.parametrize("part", [ESP_PART, OTHER_PART, GONE_PART])
def test_windows_is_an_objection_wherever_it_is(uefi: Tree, part: str) -> None:
    uefi.option(0, "Windows Boot Manager", part, WINDOWS).boot_order(0, 1)
    assert codes(uefi) == (["boot-order"], [])


@pytest.mark.parametrize("nodes", [NETWORK, USB, DISK, SHELL])
def test_what_names_no_file_was_passed_over(uefi: Tree, nodes: tuple[bytes, ...]) -> None:
    uefi.device_option(2, "x", *nodes).boot_order(2, 1)
    assert codes(uefi) == ([], ["boot-order"])


def test_what_comes_after_does_not_count(uefi: Tree) -> None:
    uefi.option(0, "Windows Boot Manager", ESP_PART, WINDOWS).touch(
        "boot/efi" + WINDOWS.replace("\\", "/")
    )
    assert codes(uefi.boot_order(1, 0)) == ([], [])


@pytest.mark.parametrize("attributes", [0, 0x109])
def test_what_is_not_active_or_an_application_is_not_tried(uefi: Tree, attributes: int) -> None:
    uefi.option(0, "Windows Boot Manager", ESP_PART, WINDOWS, attributes)
    assert codes(uefi.boot_order(0, 1)) == ([], [])


def test_grub_in_the_directory_of_its_shim_is_the_same_grub(uefi: Tree) -> None:
    uefi.touch("boot/efi/EFI/debian/grubx64.efi")
    uefi.option(2, "debian", ESP_PART, "\\EFI\\debian\\grubx64.efi").boot_order(2, 1)
    assert codes(uefi) == ([], [])


def test_the_same_shim_with_another_program_is_another_entry(uefi: Tree) -> None:
    uefi.option(2, "Firmware Updater", ESP_PART, SHIM, optional="\\fwupdx64.efi").boot_order(2, 1)
    assert codes(uefi) == (["boot-order"], [])


# --- shim's requests, and what cannot be seen ---


@pytest.mark.parametrize("name", efi.MOK_REQUESTS)
def test_a_request_to_mokmanager_is_an_objection(uefi: Tree, name: str) -> None:
    uefi.write(f"sys/firmware/efi/efivars/{name}-{efi.SHIM}", b"\7\0\0\0x")
    assert codes(uefi) == (["mok-request"], [])


def test_an_esp_that_is_not_mounted_hides_what_grub_reads(uefi: Tree) -> None:
    uefi.option(1, "debian", OTHER_PART, SHIM)
    run = decision(uefi)
    assert kexec_hook_objections(decision=run, sysroot=run.sysroot) == [
        Objection(
            "the firmware starts /EFI/debian/shimx64.efi, and which configuration that reads cannot be known: "
            "/dev/sdb1 (UUID 5555-1111) is not mounted, and it cannot be read: grub-fstest finds no file system on it",
            "grub",
            code="not-mounted",
            fix="mount /dev/sdb1",
        )
    ]


@pytest.mark.parametrize(("fs", "known"), [("vfat", True), ("ext4", False)])
def test_an_esp_that_is_half_of_a_mirror_is_seen_through_the_mirror(
    tmp_path: Path, fs: str, known: bool
) -> None:
    """mdadm --metadata=1.0: each half looks like the file system to the firmware."""
    machine = Tree(tmp_path).mount("/", "/dev/sda2").by("uuid", UUID, "sda2").efi()
    machine.mount("/boot/efi", "/dev/md0", fs, device="9:0").by("uuid", "0FC6-3DAF", "md0")
    machine.touch("dev/sda1", "dev/sda2", "dev/md0", "sys/class/block/sda1/holders/md0")
    machine.by("partuuid", ESP_PART, "sda1").by("partuuid", ROOT_PART, "sda2")
    machine.write("boot/efi/EFI/debian/grub.cfg").touch("boot/efi/EFI/debian/shimx64.efi")
    machine.option(1, "debian", ESP_PART, SHIM).boot_order(1, current=1)
    assert codes(machine) == ([] if known else ["not-mounted"], [])


def test_findings_are_asked_of_any_root(uefi: Tree) -> None:
    sysroot = uefi.variable("BootNext", b"\1\0").sysroot(is_host=True)
    found = list(bootorder.findings(sysroot, RootDisks(sysroot)))
    assert [type(each) for each in found] == [Note]
