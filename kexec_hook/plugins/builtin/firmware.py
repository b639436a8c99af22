"""Objections to passing over the firmware: it was asked for something, or GRUB does not boot this machine."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.checks import Checks, ask
from kexec_hook.plugins.builtin.start import MACHINES
from kexec_hook.system.efi import GLOBAL, VARIABLES, variable
from kexec_hook.system.host import BOOTLOADER_TYPE, CHOSEN, KEXEC, KEXEC_PROPERTIES, machine
from kexec_hook.system.sysroot import Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"  # systemd's BOOT_LOADER_INTERFACE
_FWUPD = "0abba7dc-e516-4167-bbf5-4d9d1c739416"
_ASKS = {
    0: "open its setup",
    2: "install an update",
    5: "start a recovery",
    6: "start a recovery",
}  # UEFI 2.10, 8.5.4
# Linux' Documentation/arch/x86/boot.rst, type_of_loader: 7 is GRUB, and its version 2; D is kexec
_GRUB, _KEXEC = 0x72, int(KEXEC) >> 4
_TYPES = {
    0: "LILO",
    3: "Syslinux",
    4: "iPXE",
    7: "GRUB Legacy",
    9: "Xen",
    0xB: "QEMU itself",
    0x12: "OVMF itself",
}


def objections(decision: Decision) -> Iterator[Objection]:
    yield from ask(CHECKS, decision, decision.sysroot.unnoted)


def _asked(decision: Decision, facts: Sysroot) -> Iterator[Objection]:
    asked = int.from_bytes(variable(facts, f"OsIndications-{GLOBAL}"), "little")
    for bit, what in _ASKS.items():
        if asked >> bit & 1:
            yield Objection(
                f"the firmware was asked to {what} at the next boot (OsIndications)",
                code="firmware-request",
            )
            return


def _update(decision: Decision, facts: Sysroot) -> Iterator[Objection]:
    for name in facts.listdir(VARIABLES):
        # version 4, guid 16, flags 4, hardware 8, time 16, and then what is to be done: 1 is to try
        if (
            name.startswith("fwupd-")
            and name.endswith(_FWUPD)
            and variable(facts, name)[48:52] == b"\1\0\0\0"
        ):
            yield Objection("fwupd has a firmware update for the next boot", code="firmware-update")
            return
    for mount in decision.disks.mounts.all:
        directory = f"{mount.point.rstrip('/')}/EFI/UpdateCapsule"
        if mount.type == "vfat" and facts.listdir(directory):
            yield Objection(
                f"a firmware update is waiting for the next boot in {directory}",
                code="firmware-update",
            )
            return


def _not_by_grub(decision: Decision, facts: Sysroot) -> Iterator[Objection]:
    """The entry that the firmware started is judged in builtin/grub.py."""
    if facts.is_dir("/sys/firmware/efi"):
        loader = (
            variable(facts, f"LoaderInfo-{_LOADER}").decode("utf-16-le", "replace").strip("\0 ")
        )
        if loader and not loader.startswith("GRUB"):
            yield _not_grub(loader)
        return
    running = machine(facts)
    if running in MACHINES and facts.is_dir("/sys/firmware") and not _told_of_kexec(facts):
        yield Objection(
            f"this machine is a {running} whose firmware is not UEFI, and GRUB is started there by UEFI alone, "
            "so GRUB's menu does not decide the next boot",
            code="not-grub",
        )
        return
    try:
        kind = facts.text(BOOTLOADER_TYPE, 1 << 12).strip()
    except SysrootError:
        return
    number = int(kind) if re.fullmatch("[0-9]{1,4}", kind) else _GRUB
    if number != _GRUB and number >> 4 != _KEXEC:
        what = _TYPES.get(number >> 4, "something else")
        yield _not_grub(f"{what} (bootloader_type {number})")


def _told_of_kexec(facts: Sysroot) -> bool:
    """A kexec may leave the next kernel without UEFI's tables."""
    return any(facts.exists(f"{CHOSEN}/{name}") for name in KEXEC_PROPERTIES)


def _not_grub(loader: str) -> Objection:
    return Objection(
        f"this machine was started by {loader}, not by GRUB, so GRUB's menu does not decide the next boot",
        code="not-grub",
    )


CHECKS: Checks = (_asked, _update, _not_by_grub)
