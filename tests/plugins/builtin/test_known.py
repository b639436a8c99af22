"""Machines with public reports: found by what they say of themselves, allowed by a setting, and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.plugins.builtin.known import KNOWN, Known
from kexec_hook.settings.conf import load_settings, names
from tests.machine import PROJECT, Box

DOCS = (PROJECT / "docs/how-it-decides.md").read_text().split("## Machines with public reports")[1]
# A machine that each line is about, as its kernel shows it.
MACHINES: dict[str, dict[str, str]] = {
    "jasper-lake": {"cpu": "Intel(R) Celeron(R) N5105 @ 2.00GHz"},
    "hyper-v": {"vendor": "Microsoft Corporation", "product": "Virtual Machine"},
    "xen": {"vendor": "Xen", "product": "HVM domU"},
    "raspberry-pi": {"model": "Raspberry Pi 4 Model B Rev 1.4\0"},
    "rock-pi": {"model": "Radxa ROCK Pi 4C\0"},
    "hp-e1000e": {"vendor": "HP", "module": "e1000e"},
    "vmware-arm64": {"vendor": "VMware, Inc.", "arch": "aarch64"},
    "quanta": {"vendor": "Quanta Computer Inc"},
    "mlx4": {"module": "mlx4_core"},
    "mlx5": {"module": "mlx5_core"},
    "amdgpu": {"module": "amdgpu"},
    "loongson": {"cpu": "Loongson-3A5000"},
}
OTHERS: list[dict[str, str]] = [
    {"vendor": "Microsoft Corporation", "product": "Surface Laptop"},
    {"vendor": "VMware, Inc.", "arch": "x86_64"},
    {"vendor": "Dell Inc.", "module": "e1000e"},
    {"vendor": "HP", "module": "igb"},
    {"cpu": "Intel(R) Celeron(R) N5095 @ 2.00GHz"},
    {"module": "mlx5_ib"},
    {"vendor": "QEMU"},
]
PLACES = {
    "vendor": "sys/class/dmi/id/sys_vendor",
    "product": "sys/class/dmi/id/product_name",
    "model": "proc/device-tree/model",
    "arch": "proc/sys/kernel/arch",
}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def become(box: Box, machine: dict[str, str]) -> None:
    for name, text in machine.items():
        if name == "module":
            box.write("proc/modules", f"ext4 1 0 - Live 0x0\n{text} 1 0 - Live 0x0\n")
        elif name == "cpu":
            box.write("proc/cpuinfo", f"processor\t: 0\nmodel name\t: {text}\nflags\t\t: fpu\n")
        else:
            box.write(PLACES[name], f"{text}\n")


def found(box: Box) -> tuple[list[str], list[str]]:
    sysroot = box.host.sysroot()
    settings = load_settings(sysroot)
    decision: Decision = decide(
        box.host, sysroot, settings, Plugins(installed=False), Trigger(dry=False)
    )
    objections = [each.reason for each in decision.objections if each.code == "known-bad"]
    return objections, [note.text for note in decision.notes if note.code == "known-bad"]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_each_is_found_and_can_be_allowed(box: Box, known: Known) -> None:
    become(box, MACHINES[known.name])
    found_here = found(box)[1 if known.note else 0]
    assert [(f"({known.name}): {known.happens}" in text) for text in found_here] == [True]
    assert found(box)[0 if known.note else 1] == []
    box.write("etc/kexec-hook.conf", f"allow_known_bad = other {known.name}\n")
    assert found(box) == ([], [])


@pytest.mark.parametrize("machine", OTHERS, ids=str)
def test_other_machines_are_not(box: Box, machine: dict[str, str]) -> None:
    become(box, machine)
    assert found(box) == ([], [])


def test_names_can_be_written_in_the_settings() -> None:
    listed = [known.name for known in KNOWN]
    assert len(set(listed)) == len(listed)
    assert list(names(" ".join(listed))) == listed
    assert set(MACHINES) == set(listed)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_each_has_its_reports_in_the_documentation(known: Known) -> None:
    row = next(line for line in DOCS.splitlines() if line.startswith(f"| {known.name} |"))
    cells = row.strip("| ").split(" | ")
    assert cells[2:4] == ["note" if known.note else "objection", known.happens]
    assert re.findall(r"\(https://github\.com/([^)]+)\)", cells[4]) == list(known.reports)
