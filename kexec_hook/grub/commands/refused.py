"""GRUB commands whose effect a kexec cannot reproduce: other loaders, and what changes hardware or memory."""

from __future__ import annotations

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import BAD_ARGUMENT, OK
from kexec_hook.grub.machine import Call, Loaded, Machine, Refusal

_WHAT = {
    "chainloader": "another boot loader",
    "multiboot": "a multiboot kernel such as Xen or memtest",
    "multiboot2": "a multiboot kernel such as Xen",
    "xen_hypervisor": "the Xen hypervisor",
    "ntldr": "the Windows boot loader",
    "linux_uki": "a unified kernel image",
}
_OTHER_LOADERS = (
    "appleloader", "freedos", "kfreebsd", "knetbsd", "kopenbsd", "macbless", "ntldr", "plan9", "pxechainloader",
    "truecrypt", "xnu_kernel", "xnu_kernel64", "xnu_resume", "legacy_kernel", "syslinux_configfile",
    "syslinux_source", "legacy_configfile", "legacy_source", "efi_chainloader",
)  # fmt: skip


@command("chainloader", "multiboot", "multiboot2", "xen_hypervisor", *_OTHER_LOADERS)
def other_loader(m: Machine, call: Call) -> int:
    """Something is loaded and would boot, but not Linux."""
    m.executed.append([call.name, *call.args])
    words = [word for word in call.args if not word.startswith("--")]
    if not words:
        raise call.error(BAD_ARGUMENT, "filename expected")
    m.loaded = None
    path = m.open(words[0])
    m.loaded = Loaded(call.name, path, tuple(call.args), "", (), None, call)
    return OK


@command("module", "module2", "xen_linux", "xen_module", "xen_initrd")
def other_module(m: Machine, call: Call) -> int:
    m.executed.append([call.name, *call.args])
    if m.loaded is None or m.loaded.kind == "linux":
        raise call.error(BAD_ARGUMENT, "you need to load the kernel first")
    words = [word for word in call.args if not word.startswith("--")]
    if not words:
        raise call.error(BAD_ARGUMENT, "filename expected")
    m.open(words[0])
    return OK


@command(
    "acpi", "badram", "cutmem", "drivemap", "hdparm", "inb", "inl", "inw", "outb", "outl", "outw", "parttool",
    "read_byte", "read_dword", "read_word", "setpci", "write_byte", "write_dword", "write_word", "wrmsr",
    "fdt", "lockdown",
)  # fmt: skip
def hardware(m: Machine, call: Call) -> int:
    m.refusals.append(Refusal(f"`{call.name}` changes hardware or memory before Linux starts", call.span))
    return OK


@command("cpuid", "keystatus", "usbtest", "smbios", "getenv", "rtc", "tpm", "tpm2_key_protector_init")
def hardware_probe(m: Machine, call: Call) -> int:
    m.guesses.append(Refusal(f"`{call.name}` asks the hardware or somebody at the keyboard", call.span))
    return OK


def describe(kind: str) -> str:
    """What a loader other than Linux's loads, for the sentence the user reads."""
    return _WHAT.get(kind, f"something that only GRUB's `{kind}` can load")
