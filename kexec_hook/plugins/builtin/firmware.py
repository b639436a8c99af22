"""What speaks against a jump over the firmware: it was asked for something, or this machine does not boot by GRUB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.checks import Checks, ask
from kexec_hook.system.sysroot import Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLES = "/sys/firmware/efi/efivars"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"  # systemd's BOOT_LOADER_INTERFACE
_FWUPD = "0abba7dc-e516-4167-bbf5-4d9d1c739416"
_ASKS = {
    0: "its own setup",
    2: "an update from a file",
    5: "a recovery",
    6: "a recovery",
}  # UEFI 2.10, 8.5.4
# Linux' Documentation/arch/x86/boot.rst, type_of_loader: 7 is GRUB, and its version 2; D is kexec
_GRUB, _KEXEC = 0x72, 0xD
_TYPES = {
    0: "LILO",
    3: "Syslinux",
    4: "iPXE",
    7: "GRUB Legacy",
    9: "Xen",
    0xB: "QEMU itself",
    0x12: "OVMF itself",
}


def objections(decision: Decision) -> Iterator[str | Objection]:
    yield from ask(CHECKS, decision, decision.sysroot.unnoted)


def _asked(decision: Decision, facts: Sysroot) -> Iterator[str]:
    asked = int.from_bytes(_variable(facts, f"OsIndications-{_GLOBAL}"), "little")
    for bit, what in _ASKS.items():
        if asked >> bit & 1:
            yield f"the firmware was asked for {what} at the next boot (OsIndications); reboot the ordinary way"
            return


def _update(decision: Decision, facts: Sysroot) -> Iterator[str]:
    for name in facts.listdir(_VARIABLES):
        # version 4, guid 16, flags 4, hardware 8, time 16, and then what is to be done: 1 is to try
        if (
            name.startswith("fwupd-")
            and name.endswith(_FWUPD)
            and _variable(facts, name)[48:52] == b"\1\0\0\0"
        ):
            yield "fwupd has an update of the firmware waiting for the next boot; reboot the ordinary way"
            return
    for mount in decision.disks.mounts.all:
        directory = f"{mount.point.rstrip('/')}/EFI/UpdateCapsule"
        if mount.type == "vfat" and facts.listdir(directory):
            yield f"an update of the firmware waits in {directory}; reboot the ordinary way"
            return


def _not_by_grub(decision: Decision, facts: Sysroot) -> Iterator[str]:
    """The entry that the firmware started is judged in builtin/grub.py."""
    if facts.is_dir("/sys/firmware/efi"):
        loader = (
            _variable(facts, f"LoaderInfo-{_LOADER}").decode("utf-16-le", "replace").strip("\0 ")
        )
        if loader and not loader.startswith("GRUB"):
            yield f"this machine was started by {loader}, not by GRUB, and so will it be again; reboot the ordinary way"
        return
    try:
        kind = facts.text("/proc/sys/kernel/bootloader_type", 1 << 12).strip()
    except SysrootError:
        return
    number = int(kind) if re.fullmatch("[0-9]{1,4}", kind) else _GRUB
    if number != _GRUB and number >> 4 != _KEXEC:
        what = _TYPES.get(number >> 4, "something else")
        yield f"this machine was started by {what} (bootloader_type {number}), not by GRUB; reboot the ordinary way"


CHECKS: Checks = (_asked, _update, _not_by_grub)


def _variable(facts: Sysroot, name: str) -> bytes:
    """Its value, behind four bytes of attributes; empty where there is none."""
    try:
        return facts.read(f"{_VARIABLES}/{name}", 1 << 16)[4:]
    except SysrootError:
        return b""
