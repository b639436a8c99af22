"""What the firmware's variables say, read as efibootdump reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.system import efi
from tests.tree import GLOBAL, Tree, load_option, node

ESP_PART = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
SHIM = "\\EFI\\debian\\shimx64.efi"
PCI = node(1, 1, bytes(2))


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    return Tree(tmp_path).efi()


def entry(machine: Tree) -> efi.BootOption:
    found = efi.option(machine.sysroot(), 1)
    assert found
    return found


def test_a_load_option_names_partition_and_file(machine: Tree) -> None:
    machine.option(1, "debian", ESP_PART, SHIM).boot_order(1, current=1)
    assert efi.started_by(machine.sysroot()) == efi.BootOption(
        1, "debian", ESP_PART, "/EFI/debian/shimx64.efi"
    )
    assert efi.promised(machine.sysroot()) is None
    assert efi.boot_order(machine.sysroot()) == [1]


@pytest.mark.parametrize(
    ("attributes", "active", "app"), [(0, False, False), (1, True, False), (0x109, True, True)]
)
def test_attributes_tell_what_is_tried(
    machine: Tree, attributes: int, active: bool, app: bool
) -> None:
    machine.option(1, "debian", ESP_PART, SHIM, attributes)
    found = entry(machine)
    assert (found.active, found.app) == (active, app)


@pytest.mark.parametrize(
    ("nodes", "media"),
    [
        ((PCI,), "disk"),
        ((PCI, node(3, 11, bytes(33))), "network"),
        ((PCI, node(3, 11, bytes(33)), node(3, 12, bytes(23))), "network"),
        ((PCI, node(3, 13, bytes(56)), node(3, 24, b"http://a/b.efi")), "network"),
        ((PCI, node(3, 5, bytes(2))), "removable"),
        ((PCI, node(4, 2, bytes(20))), "removable"),
        ((node(4, 7, bytes(16)), node(4, 6, bytes(16))), "firmware"),
        ((node(5, 1, b"\x80\0\0\0PXE\0"),), "network"),
        ((node(5, 1, b"\5\0\0\0USB\0"),), "removable"),
        ((node(5, 1, b"\2\0\0\0HD\0"),), "disk"),
        ((PCI, node(3, 23, bytes(12))), "disk"),  # NVMe
        ((), "disk"),
    ],
)
def test_a_device_path_tells_what_kind_of_thing_it_leads_to(
    machine: Tree, nodes: tuple[bytes, ...], media: str
) -> None:
    machine.device_option(1, "x", *nodes)
    assert entry(machine).media == media


@pytest.mark.parametrize(
    ("optional", "second"),
    [
        ("\\fwupdx64.efi", "\\fwupdx64.efi"),
        ("\\EFI\\refind\\refind_x64.efi -v", "\\EFI\\refind\\refind_x64.efi"),
        ("root=/dev/sda2", ""),
        ("", ""),
    ],
)
def test_optional_data_names_what_shim_starts(machine: Tree, optional: str, second: str) -> None:
    machine.option(1, "x", ESP_PART, SHIM, optional=optional)
    assert entry(machine).second == second


def test_optional_data_that_is_no_text_names_nothing(machine: Tree) -> None:
    for data in (b"WINDOWS\0\1\0\0\0", b"\x41", bytes(16)):
        machine.variable("Boot0001", load_option("x", ESP_PART, SHIM) + data)
        assert entry(machine).second == ""


def test_an_msdos_disk_is_named_as_udev_names_it(machine: Tree) -> None:
    drive = (
        bytes((4, 1, 42, 0))
        + bytes((2, 0, 0, 0))
        + bytes(16)
        + bytes((0x78, 0x56, 0x34, 0x12))
        + bytes(12)
    )
    option = b"\1\0\0\0" + bytes((42, 0)) + b"x\0\0\0" + drive + bytes((1, 1))
    machine.variable("Boot0000", option).boot_order(0, current=0)
    assert efi.started_by(machine.sysroot()) == efi.BootOption(0, "x", "12345678-02", "", "disk")


def test_requests_to_mokmanager_are_those_that_shim_looks_for(machine: Tree) -> None:
    for name in ("MokNew", "MokXDel", "MokListRT", "MokIgnoreDB"):
        machine.write(f"sys/firmware/efi/efivars/{name}-{efi.SHIM}", b"\7\0\0\0x")
    machine.variable("MokAuth", b"x")  # of another vendor
    assert efi.mok_requests(machine.sysroot()) == ["MokNew", "MokXDel"]


def test_torn_variables_are_none(machine: Tree) -> None:
    whole = load_option("debian", ESP_PART, SHIM)
    machine.variable("BootCurrent", b"\1\0")
    for length in range(len(whole)):
        found = efi.started_by(machine.variable("Boot0001", whole[:length]).sysroot())
        assert (found is None) == (length < 8)
    for value in (b"", b"\1", b"\1\0\0", b"\xff\xff"):
        assert efi.started_by(machine.variable("BootCurrent", value).sysroot()) is None
    machine.variable("BootCurrent", b"\2\0").mkdir(f"sys/firmware/efi/efivars/Boot0002-{GLOBAL}")
    assert efi.started_by(machine.sysroot()) is None
    assert efi.boot_order(machine.variable("BootOrder", b"\1\0\2").sysroot()) == [1]
