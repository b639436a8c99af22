"""Which PCI devices does the machine have, in the words of GRUB's `hwmatch`?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.system.sysroot import Sysroot, SysrootError

_DEVICES = "/sys/bus/pci/devices"


def pci_devices(sysroot: Sysroot) -> list[str] | None:
    """v VENDOR d DEVICE sv SUBVENDOR sd SUBDEVICE bc CLASS sc SUBCLASS, in small hexadecimal; None: nothing tells."""
    names = sysroot.listdir(_DEVICES)
    if not names:
        return None
    found = []
    for name in names:
        try:
            vendor, device, subvendor, subdevice, kind = (
                int(sysroot.text(f"{_DEVICES}/{name}/{part}", 64), 16)
                for part in ("vendor", "device", "subsystem_vendor", "subsystem_device", "class")
            )
        except (SysrootError, ValueError):
            return None
        base, sub = kind >> 16, kind >> 8 & 0xFF
        found.append(
            f"v{vendor:04x}d{device:04x}sv{subvendor:04x}sd{subdevice:04x}bc{base:02x}sc{sub:02x}"
        )
    return found
