"""Writes docs/supported.md from the tests: `python3 -m tests.supported`.

A row is a layout of tests/distributions.py, or is written below with the trees and tests that show it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.distributions import LAYOUTS, Layout

PAGE = Path(__file__).resolve().parent.parent / "docs/supported.md"
HEAD = """\
# What is served

Each row names what shows it: a tree below tests/roots, a layout of tests/distributions.py, or a test. This page is
written by `python3 -m tests.supported`, and a test checks that it is what that writes, that everything it names exists,
and that each tree and layout is answered so. "GRUB" marks those that a real `grub-emu` boots alike (`make oracle`).
"on" marks what is shown with Secure Boot on: [secure-boot.md](secure-boot.md). What no row names may work, too;
`kexec-hook stage --dry-run` tells. Codes of what is declined are those of [how-it-decides.md](how-it-decides.md).

| system | processor | firmware | Secure Boot | layout | answer | shown by | judge |
|---|---|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    """One line of the page; `shown` are names of trees and tests."""

    system: str
    firmware: str
    layout: str
    answer: str  # served, or codes
    shown: str
    judge: str = ""
    processor: str = "x86"
    secure: str = ""  # Secure Boot is on


ROWS = [
    Row("Debian 12", "BIOS", "/boot on /", "served", "debian-12 debian-12-saved debian-12-next", "GRUB"),
    Row("Debian 12", "BIOS", "/boot of its own, / on LVM", "served", "debian-12-boot-partition", "GRUB"),
    Row("Debian 12", "BIOS", "/ is the btrfs subvolume @", "served", "debian-12-btrfs", "GRUB"),
    Row("Debian 12", "UEFI", "stub on the EFI system partition", "served", "debian-12-efi", "GRUB"),
    Row("Debian 12", "UEFI", "Secure Boot", "served", "test_a_jump_keeps_all_of_it_on_debian_12", "GRUB, in a virtual machine", secure="on"),
    Row("Debian 13", "BIOS", "/boot on /; btrfs (@rootfs)", "served", "debian-13 debian-13-btrfs", "GRUB"),
    Row("Debian 13", "UEFI", "Secure Boot", "served", "debian-13-efi test_a_jump_keeps_all_of_it", "GRUB, in a virtual machine", secure="on"),
    Row("Debian 13", "UEFI", "a kernel signed by the machine's own key (MOK)", "served", "test_a_kernel_signed_by_the_machines_own_key_is_jumped_into_and_the_tpm_is_not_told", "GRUB, in a virtual machine", secure="on"),
    Row("Debian 13", "UEFI", "a unified kernel image, by chainloader", "served", "test_a_plain_image_is_jumped_into", "GRUB, in a virtual machine"),
    Row("Debian 13", "UEFI", "a unified kernel image to which systemd-stub would add something", "`uki-adds`", "test_what_the_stub_would_add_is_an_objection"),
    Row("Debian 13", "UEFI", "signed shim and GRUB", "served", "test_after_apt_install_a_reboot_is_as_by_grub test_a_jump_that_came_up_is_known", "GRUB, in a virtual machine", processor="arm64"),
    Row("Debian 13", "UEFI", "kernel locked down, without kexec_file_load", "`cannot-verify`", "test_lockdown_wants_a_kernel_that_can_verify", processor="arm64", secure="on"),
    Row("Debian testing", "BIOS, UEFI", "kernel in /usr/lib/modules, put into /boot by a script", "served", "test_between_the_steps_it_is_what_grub_boots_then test_the_last_decision_is_right_in_each_order", processor="any"),
    Row("Debian testing", "BIOS", "GRUB 2.14's blscfg", "served", "bls-2.14", "GRUB 2.14, once"),
    Row("Ubuntu", "BIOS", "recordfail", "served", "ubuntu-like", "GRUB"),
    Row("Fedora Server", "UEFI", "BLS snippets, /boot of its own", "served", "fedora-bls"),
    Row("Fedora, openSUSE", "any", "a btrfs subvolume that is not mounted, readable", "served", "test_subvolume_that_is_not_mounted_is_seen"),
    Row("Proxmox VE", "BIOS", "proxmox-boot-tool, partitions not mounted", "served", "test_grub_and_kernels_are_read_from_the_partitions_of_proxmox_boot_tool"),
    Row("Proxmox VE", "UEFI", "GRUB and shim on partitions of proxmox-boot-tool", "served", "test_under_efi_the_firmware_tells_the_partition"),
    Row("Proxmox VE", "any", "partitions that boot otherwise than each other", "`configurations-differ`", "test_partitions_that_boot_otherwise_are_an_objection"),
    Row("Proxmox VE", "any", "partitions that cannot be read", "`not-mounted`", "test_without_one_that_can_be_read_all_are_named"),
    Row("openSUSE, SLES", "BIOS, UEFI", "btrfs, default subvolume, snapshots of snapper", "served", "test_the_mounted_snapshot_is_the_default_one test_the_stub_on_the_esp_says_so_too"),
    Row("openSUSE, SLES", "BIOS, UEFI", "after `snapper rollback`", "served", "test_after_a_rollback_grub_boots_the_new_default"),
    Row("any", "UEFI", "EFI system partition not mounted, readable by grub-fstest", "served", "test_the_stub_on_an_esp_that_is_not_mounted_is_read", processor="any"),
    Row("any", "UEFI", "`grub-install` without shim, no stub", "served", "test_a_prefix_built_into_the_image_is_followed", processor="any"),
    Row("any", "UEFI, BIOS", "another system's GRUB starts this one", "served", "test_another_distributions_grub_is_followed_to_its_configuration test_boot_code_leads_to_another_systems_configuration"),
    Row("any", "UEFI", "another boot entry, Windows, or MokManager is next", "`boot-order` `boot-next` `mok-request`", "test_a_file_that_is_there_starts_first test_a_promise_for_the_next_boot_is_an_objection test_a_request_to_mokmanager_is_an_objection", processor="any"),
    Row("any", "UEFI", "a kernel that was revoked (dbx, MokListX, SBAT)", "`revoked`", "test_a_revoked_kernel_is_declined_as_grub_declines_it test_a_hash_that_was_revoked test_a_certificate_that_was_revoked test_a_generation_below_the_least", processor="any", secure="on"),
    Row("any", "UEFI", "a kernel without a signature", "`not-signed`", "test_a_kernel_without_signature_is_declined", processor="any", secure="on"),
    Row("any", "BIOS", "two disks whose GRUBs boot differently", "`configurations-differ`", "test_two_disks_whose_configurations_differ_are_an_objection"),
    Row("any", "Open Firmware", "POWER, SPARC", "`unsupported-architecture`", "test_open_firmware_is_one_true_sentence", processor="POWER, SPARC"),
]  # fmt: skip


def rows() -> list[Row]:
    return [*ROWS[:11], *map(_of, LAYOUTS), *ROWS[11:]]


def _of(layout: Layout) -> Row:
    answer = f"`{layout.code}`" if layout.code else "served"
    judge = "GRUB" if layout.judged else ""
    return Row(layout.system, layout.firmware, layout.what, answer, layout.name, judge)


def page() -> str:
    """The whole of docs/supported.md."""
    text = HEAD
    for row in rows():
        shown = " ".join(f"`{name}`" for name in row.shown.split())
        where = (row.system, row.processor, row.firmware, row.secure)
        text += f"| {' | '.join([*where, row.layout, row.answer, shown, row.judge])} |\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
