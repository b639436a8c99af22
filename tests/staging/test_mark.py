"""Where the kernel has no bootloader_type: the next one is told by its device tree that a kexec has started it."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kexec_hook.kernel.devicetree import chosen
from tests.bootfiles import image, zboot
from tests.devicetree import STUB, flat
from tests.machine import PROJECT, Box
from tests.state.test_gain import Clock

KERNEL = "boot/vmlinuz-6.1.0-39-amd64"
BOOT_ID = "11111111-1111-1111-1111-111111111111"
FDT = "sys/firmware/fdt"
OURS, LINUX = "kexec-hook,jumped-from", "linux,booted-from-kexec"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A server with arm64: its firmware describes it by ACPI, and no tree is unpacked."""
    box = Box(tmp_path)
    (box / "proc/sys/kernel/bootloader_type").unlink()
    box.write("proc/sys/kernel/arch", "aarch64\n")
    box.write(FDT, flat(STUB)).write("sys/firmware/efi/fw_platform_size", "64\n")
    box.write(KERNEL, image())
    return box


def marked(box: Box) -> dict[str, bytes]:
    tree = box.lib / "devicetree"
    return chosen(tree.read_bytes()) if tree.exists() else {}


def jumps(box: Box) -> None:
    assert box.run("stage") == 0
    box.rebooting()
    assert box.run("finalize") == 0
    box.write("sys/kernel/kexec_loaded", "0\n")
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")


def blamed(box: Box) -> bool:
    return (box / "var/lib/kexec-hook/failed.json").exists()


def by_kexec_load(box: Box) -> None:
    """The next kernel gets the tree that kexec(8) was given."""
    box.write(FDT, (box.lib / "devicetree").read_bytes())


def by_kexec_file_load(box: Box) -> None:
    """The kernel copies the tree that it got, and adds to it."""
    tree = {**STUB, "chosen": {LINUX: b"", **STUB["chosen"]}}  # type: ignore[dict-item]
    box.write(FDT, flat(tree))


def unpacked(box: Box) -> None:
    """A board without ACPI; and who asks is not root."""
    (box / FDT).unlink()
    box.write(f"proc/device-tree/chosen/{LINUX}", "")


def test_the_tree_that_is_loaded_has_the_mark_and_all_else(box: Box) -> None:
    assert box.run("stage") == 0
    assert marked(box) == {**STUB["chosen"], OURS: BOOT_ID.encode() + b"\0"}  # type: ignore[dict-item]
    assert box.record
    assert box.record["marked"] is True


@pytest.mark.parametrize("comes_up", [by_kexec_load, by_kexec_file_load, unpacked])
def test_a_jump_that_came_up_is_known(
    box: Box, comes_up: Callable[[Box], None], capsys: pytest.CaptureFixture[str]
) -> None:
    jumps(box)
    comes_up(box)
    assert box.host.booted_by == "kexec"
    assert box.run("judge-boot") == 0
    assert not blamed(box)
    capsys.readouterr()
    box.run("status")
    assert "booted by kexec" in capsys.readouterr().out


def test_a_jump_that_did_not_come_up_is_blamed(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    jumps(box)
    assert box.run("judge-boot") == 1
    assert blamed(box)
    assert box.run("stage") == 3
    assert "kexec-hook ack" in capsys.readouterr().out


def test_what_the_jump_came_before_is_completed_after_it_alone(box: Box) -> None:
    jumps(box)
    path = box / "var/lib/kexec-hook/attempt.json"
    path.write_text(path.read_text().replace('"written": true', '"written": false'))
    by_kexec_load(box)
    assert box.run("complete") == 0
    assert json.loads(path.read_text())["written"] is True


def test_the_shell_of_the_units_sees_the_same(box: Box) -> None:
    def judge() -> str:
        text = (PROJECT / "hooks/boot").read_text()
        for above in ("/var/lib/", "/proc/sys/", "/sys/"):
            text = text.replace(f"={above}", f"={box.root}{above}")
        text = text.replace("/usr/bin/kexec-hook", "echo")
        return subprocess.run(
            ["sh", "-c", text, "boot", "judge"], capture_output=True, text=True
        ).stdout

    jumps(box)
    assert judge() == "judge-boot\n"
    by_kexec_load(box)
    assert judge() == "the jump came up\n"


def test_the_gap_before_it_is_that_of_a_jump(box: Box, tmp_path: Path) -> None:
    clock = Clock(Box(tmp_path / "clock"), "sh")
    clock.script = clock.script.replace("bootloader_type", "none")
    clock.box.write(FDT, flat(STUB))
    clock.boot()
    clock.box.write(FDT, flat({"chosen": {LINUX: b""}}))
    clock.jump()
    lines = (clock.box / "var/lib/kexec-hook/gaps").read_text().splitlines()
    assert [line.split()[5] for line in lines] == ["unknown", "208"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/sys/kernel/bootloader_type", "114\n"),
        ("proc/sys/kernel/arch", "ppc64le\n"),  # none was tried there
        ("proc/sys/kernel/osrelease", "5.10.0-30-arm64\n"),  # its kexec_file_load leaves nothing
        (FDT, "no tree\n"),
    ],
)
def test_where_no_mark_is_sure_none_is_made_and_nobody_blamed(
    box: Box, path: str, text: str
) -> None:
    if "arch" in path:
        box.write(KERNEL, b"")  # of another architecture than this tree's
    box.write(path, text)
    host = box.host
    box.run("stage")
    assert OURS not in marked(box)
    assert not (box.record and box.record["marked"])
    if path == FDT:
        jumps(box)
        assert box.run("judge-boot") == 0
        assert not blamed(box)
    assert host.running


def test_what_was_loaded_without_the_mark_is_loaded_anew(box: Box) -> None:
    tree = (box / FDT).read_bytes()
    (box / FDT).unlink()
    assert box.run("stage") == 0
    box.write(FDT, tree)
    before = len(box.calls)
    assert box.run("stage") == 0
    assert len(box.calls) > before
    assert OURS in marked(box)
    before = len(box.calls)
    assert box.run("stage") == 0
    assert len(box.calls) == before


def test_the_tree_that_grub_loads_is_marked_and_gets_the_firmwares_tables(box: Box) -> None:
    # A GRUB for x86 has no such command.
    box.write("sys/firmware/efi/fw_platform_size", "64\n").write(
        "boot/grub/arm64-efi/normal.mod", ""
    )
    box.write("boot/own.dtb", flat({"model": b"own\0", "chosen": {"stdout-path": b"x\0"}}))
    path = box / "boot/grub/grub.cfg"
    text = path.read_text()
    path.write_text(text.replace("\tinitrd\t", "\tdevicetree /boot/own.dtb\n\tinitrd\t"))
    assert box.run("stage") == 0
    assert marked(box) == {
        "stdout-path": b"x\0",
        "linux,uefi-system-table": bytes(8),
        OURS: BOOT_ID.encode() + b"\0",
    }
    # kexec(8) passes over --dtb where it loads by the other call.
    assert "--kexec-syscall" in box.calls[-1]


@pytest.mark.parametrize(
    ("kernel", "fits"),
    [
        (image(), True),
        (image(signed=True), True),
        (gzip.compress(image()), True),
        (zboot(), True),
        (image(0x5064, b"RSC\x05"), False),
    ],
)
def test_kernels_of_arm64_are_staged_in_each_form(box: Box, kernel: bytes, fits: bool) -> None:
    box.write(KERNEL, kernel)
    assert box.run("stage") == (0 if fits else 3)
