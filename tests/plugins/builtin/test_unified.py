"""Unified kernel images by `chainloader`: a plain one is a plan, and what its stub would add is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.plugins.api import Decision
from tests.bootfiles import bzimage, cpio, uki
from tests.plugins.builtin.disk import UUID, Disk

CHAIN = "menuentry 'UKI' {\n  chainloader /EFI/Linux/x.efi@WORDS@\n}\n"
IMAGE = "EFI/Linux/x.efi"
PLAIN = (
    (".osrel", b"ID=debian\n"),
    (".cmdline", f"root=UUID={UUID} ro quiet\n".encode()),
    (".uname", b"6.12.9-amd64"),
    (".initrd", cpio()),
    (".linux", bzimage()),
)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path / "root")
    disk.write("sys/firmware/efi/fw_platform_size", "64\n")
    disk.write(IMAGE, uki(*PLAIN))
    disk.config(CHAIN.replace("@WORDS@", ""))
    return disk


def codes(decision: Decision) -> list[tuple[str, str]]:
    return [(objection.code, objection.reason) for objection in decision.objections]


def test_the_parts_of_a_plain_image_are_what_is_started(disk: Disk) -> None:
    decision = disk.run()
    plan = decision.accepted
    assert (codes(decision), plan is None) == ([], False)
    assert plan is not None
    assert (plan.kernel, plan.release) == ("/EFI/Linux/x.efi:.linux", "6.12.9-amd64")
    assert plan.cmdline == f"root=UUID={UUID} ro quiet"
    assert [(item.path, item.newc) for item in plan.initrds] == [
        ("/EFI/Linux/x.efi:.initrd", ""),
        ("/EFI/Linux/x.efi:.osrel", ".extra/os-release"),
    ]
    assert decision.sysroot.read(plan.kernel) == bzimage()
    assert decision.sysroot.read(plan.initrds[0].path) == cpio()
    assert "/EFI/Linux/x.efi" in decision.sysroot.reads


def test_an_image_on_a_partition_that_is_not_mounted_and_not_readable_is_not_seen(
    disk: Disk,
) -> None:
    disk.write("dev/sda1").by("uuid", "AAAA-0001", "sda1")
    disk.config("search --fs-uuid --set=root AAAA-0001\n" + CHAIN.replace("@WORDS@", ""))
    (found, *_) = codes(disk.run())
    assert "/dev/sda1" in found[1]


@pytest.mark.parametrize(
    ("section", "named"),
    [(".ucode", "microcode (.ucode)"), (".pcrsig", "signed TPM policies (.pcrsig)")],
)
def test_what_the_stub_would_add_is_named(disk: Disk, section: str, named: str) -> None:
    disk.write(IMAGE, uki(*PLAIN, (section, b"x")))
    ((code, reason),) = codes(disk.run())
    assert code == "uki-adds"
    assert named in reason


@pytest.mark.parametrize(
    "file",
    [
        "EFI/Linux/x.efi.extra.d/debug.addon.efi",
        "EFI/Linux/x.efi.extra.d/key.cred",
        "loader/addons/all.addon.efi",
        "loader/credentials/ssh.cred",
    ],
)
def test_files_that_the_stub_would_pick_up_are_named(disk: Disk, file: str) -> None:
    disk.write(file, b"x").write("EFI/Linux/x.efi.extra.d/README", b"not picked up")
    ((code, reason),) = codes(disk.run())
    assert (code, f"/{file}," in reason) == ("uki-adds", True)


def test_a_command_line_from_grub_is_named(disk: Disk) -> None:
    disk.config(CHAIN.replace("@WORDS@", " single debug"))
    ((code, reason),) = codes(disk.run())
    assert (code, "(single debug)" in reason) == ("uki-adds", True)


@pytest.mark.parametrize("signed", [False, True])
def test_an_unsigned_image_is_nothing_that_secure_boot_would_start(
    disk: Disk, signed: bool
) -> None:
    variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    disk.write(variable, b"\6\0\0\0\1").write(IMAGE, uki(*PLAIN, certificates=signed))
    assert [code for code, _ in codes(disk.run())] == ([] if signed else ["uki-unsigned"])


def test_an_image_that_is_cut_off_is_declined(disk: Disk) -> None:
    disk.write(IMAGE, uki(*PLAIN)[:3000])
    ((_, reason),) = codes(disk.run())
    assert "/EFI/Linux/x.efi" in reason
    assert "not Linux" not in reason


def test_another_program_is_no_image(disk: Disk) -> None:
    disk.write("EFI/other.efi", b"MZ" + b"\0" * 4096)
    disk.config("menuentry 'Other' {\n  chainloader /EFI/other.efi\n}\n")
    ((_, reason),) = codes(disk.run())
    assert "another boot loader (chainloader)" in reason
