"""GRUB commands whose effect a kexec cannot reproduce: other loaders, and what changes hardware or memory."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import BAD_ARGUMENT, OK
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.values import Call, Loaded, Refusal

_WHAT = {
    "chainloader": "another boot loader",
    "multiboot": "a multiboot kernel such as Xen or memtest",
    "multiboot2": "a multiboot kernel such as Xen",
    "xen_hypervisor": "the Xen hypervisor",
    "ntldr": "the Windows boot loader",
}
_NOTED = ("chainloader", "multiboot", "multiboot2", "xen_hypervisor")


@command(
    *_NOTED, "appleloader", "freedos", "kfreebsd", "knetbsd", "kopenbsd", "legacy_kernel", "ntldr", "plan9",
    "pxechainloader", "truecrypt", "xnu_kernel", "xnu_kernel64", "xnu_resume",
)  # fmt: skip
def other_loader(m: Machine, call: Call) -> int:
    """Something is loaded and would boot, but not Linux."""
    if call.name in _NOTED:
        m.executed.append([call.name, *call.args])
    words = [word for word in call.args if not word.startswith("--")]
    if not words:
        raise call.error(BAD_ARGUMENT, "filename expected")
    path = m.open_kernel(words[0], call)
    m.loaded = Loaded(call.name, path, tuple(call.args), "", (), None, call)
    return OK


_NOTED_MODULES = ("module", "module2", "xen_initrd", "xen_linux", "xen_module")


@command(
    *_NOTED_MODULES, "kfreebsd_loadenv", "kfreebsd_module", "kfreebsd_module_elf", "knetbsd_module",
    "knetbsd_module_elf", "kopenbsd_ramdisk", "legacy_initrd", "legacy_initrd_nounzip", "xnu_kext", "xnu_kextdir",
    "xnu_mkext", "xnu_ramdisk",
)  # fmt: skip
def other_module(m: Machine, call: Call) -> int:
    if call.name in _NOTED_MODULES:
        m.executed.append([call.name, *call.args])
    if m.loaded is None or m.loaded.kind == "linux":
        raise call.error(BAD_ARGUMENT, "you need to load the kernel first")
    words = [word for word in call.args if not word.startswith("--")]
    if not words:
        raise call.error(BAD_ARGUMENT, "filename expected")
    m.open(words[0])
    return OK


@command(
    "915resolution", "acpi", "badram", "cmosclean", "cmosset", "cutmem", "drivemap", "efiemu_loadcore", "fakebios",
    "gptprio.next", "gptsync", "hdparm", "inb", "inl", "inw", "loadbios", "macppcbless", "mactelbless", "nativedisk",
    "outb", "outl", "outw", "parttool", "read_byte", "read_dword", "read_word", "setpci", "write_byte", "write_dword",
    "write_word", "wrmsr",
)  # fmt: skip
def hardware(m: Machine, call: Call) -> int:
    m.refusals.append(
        Refusal(f"`{call.name}` changes hardware, disks or memory before Linux starts", call.span)
    )
    return OK


@command(
    "extract_legacy_entries_configfile", "extract_legacy_entries_source", "extract_syslinux_entries_configfile",
    "extract_syslinux_entries_source", "legacy_configfile", "legacy_source", "syslinux_configfile", "syslinux_source",
)  # fmt: skip
def other_language(m: Machine, call: Call) -> int:
    """A configuration of GRUB Legacy or Syslinux, which GRUB translates."""
    words = [word for word in call.args if not word.startswith("-")]
    if len(words) != 1:
        raise call.error(BAD_ARGUMENT, "filename expected")
    m.open(words[0])
    m.refusals.append(
        Refusal(f"`{call.name}` reads a configuration that is not GRUB's own", call.span)
    )
    return OK


def describe(kind: str) -> str:
    """What a loader other than Linux's loads, for the sentence the user reads."""
    return _WHAT.get(kind, f"something that only GRUB's `{kind}` can load")
