"""hwmatch finds a device of the machine in a list, as Ubuntu's configuration asks for graphics cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.disks.directories import Partition, PartitionDisks
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.script.source import read_source
from kexec_hook.report.grubeval import make_machine
from kexec_hook.system.pci import pci_devices
from kexec_hook.system.sysroot import Sysroot

CARD = "v10ded0df3sv1043sd1437bc03sc00"
BRIDGE = "v8086d1237sv1af4sd1100bc06sc00"


def device(
    root: Path, name: str, vendor: str, number: str, subvendor: str, subdevice: str, kind: str
) -> None:
    directory = root / "sys/bus/pci/devices" / name
    directory.mkdir(parents=True)
    parts = {
        "vendor": vendor,
        "device": number,
        "subsystem_vendor": subvendor,
        "subsystem_device": subdevice,
    }
    for part, value in {**parts, "class": kind}.items():
        (directory / part).write_text(f"0x{value}\n")


def test_devices_are_spelt_as_grub_does(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:00.0", "8086", "1237", "1af4", "1100", "060000")
    device(tmp_path, "0000:01:00.0", "10de", "0df3", "1043", "1437", "030000")
    assert pci_devices(Sysroot(tmp_path)) == [BRIDGE, CARD]


def test_a_root_without_sys_tells_nothing(tmp_path: Path) -> None:
    assert pci_devices(Sysroot(tmp_path)) is None


def ask(root: Path, patterns: str, devices: list[str] | None) -> Machine:
    (root / "list").write_text(patterns)
    machine = make_machine(
        PartitionDisks([Partition(root)]), "upstream", "pc", "i386", "(hd0,gpt1)/boot/grub"
    )
    machine.pci = lambda: devices
    machine.run(read_source("s", b"hwmatch /list 3; echo $? $match"))
    return machine


@pytest.mark.parametrize(
    ("patterns", "match"),
    [
        ("v10ded0df3.*\n", "1"),
        ("# a comment\n\nv10ded0000.*\nv10ded0[0-9a-f]f3sv.*sd.*bc03sc.*\n", "1"),
        ("v10ded0df3\n", "0"),
        ("v8086d1237.*\n", "0"),  # a bridge is not of class 3
        ("v10de(\nv10ded0df3.*\n", "1"),  # a line that is no expression is skipped
        ("", "0"),
    ],
)
def test_a_line_is_a_whole_expression(tmp_path: Path, patterns: str, match: str) -> None:
    machine = ask(tmp_path, patterns, [BRIDGE, CARD])
    assert ("".join(machine.output), machine.guesses) == (f"0 {match}\n", [])


def test_unknown_hardware_is_a_guess(tmp_path: Path) -> None:
    machine = ask(tmp_path, "v10ded0df3.*\n", None)
    assert "".join(machine.output) == "0 0\n"
    assert [guess.reason for guess in machine.guesses] == [
        "`hwmatch` asks for the machine's PCI devices"
    ]


def test_an_empty_list_asks_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path, "# nothing\n", None).guesses == []


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    machine = make_machine(
        PartitionDisks([Partition(tmp_path)]), "upstream", "pc", "i386", "(hd0,gpt1)/boot/grub"
    )
    machine.run(read_source("s", b"hwmatch /list 3; echo $? $match"))
    assert "".join(machine.output) == "5\n"
