"""Where GRUBs differ in what they boot, and the variables each of them starts with."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping

from kexec_hook.grub.values import Binding
from kexec_hook.tuples import NamedTuple


class Flavour(NamedTuple):
    """Where GRUBs differ in what they boot."""

    name: str
    # rhboot tries every id, then every title, then a number; upstream starts with the number
    # (normal/menu.c:get_entry_number).
    names_first: bool = False
    # rhboot's submenus and configfiles inherit all variables, upstream's the exported ones
    # (normal/context.c:grub_env_context_open).
    inherit_all: bool = False
    # rhboot: `default` stays set in a submenu that was chosen without a tail.
    keep_default: bool = False
    # rhboot (from rhel-9, fedora-43): an entry boots, and ends without fallback, only by the status of its body.
    status_decides: bool = False
    # rhboot: a `\xHH` in a word is left as it is (script/execute.c, lib/cmdline.c).
    keep_hex_escapes: bool = False
    blscfg: str = ""  # whose: rhboot | rhboot-8 | upstream | suse (not known)
    # Before 2.14, not in rhboot: blank lines at the end of `eval`'s text set its status to 0.
    blank_line_is_true: bool = True
    # 2.14 (lib/envblk.c) skips blank lines; before, the variable after one was lost.
    envblk_skips_blank: bool = False
    users_optional: bool = (
        False  # rhboot: `--users` without a value leaves the entry to anyone (menuentry.c)
    )
    cryptodisk_only: bool = False  # 2.14: search --cryptodisk-only
    # rhboot knows search --root-dev-only, which Fedora's EFI stub asks for.  Since May 2024 ("Rework of CVE-2023-4001
    # fix") it looks at all disks, and reboots where a USB disk has the UUID of another one.
    root_dev_only: bool = False
    # rhboot from EL 8 on: `linux`, `linux16` and `linuxefi` are one module, and so are their initrds.
    one_linux: bool = False
    # SUSE's and rhboot's fs/btrfs.c: with btrfs_relative_path paths start at a subvolume.
    btrfs_relative: bool = False
    # SUSE's grub2-btrfs-08: a submenu «Bootable snapshot ...» that comes first is not what a number counts.
    snapshot_ahead: bool = False
    # SUSE's: with unrestricted_menu=y, as YaST sets it, a password is asked for only where an entry names its users.
    unrestricted_menu: bool = False
    lacks: frozenset[str] = frozenset()  # commands of other GRUBs
    title_may_be_empty_source: bool = True  # before 2.14: menuentry '' --source X is an entry
    features: tuple[str, ...] = ()  # feature_* variables beside the common ones
    variables: tuple[tuple[str, str], ...] = ()  # further variables it starts with


_COMMON_FEATURES = (
    "200_final", "all_video_module", "chainloader_bpb", "default_font_path", "menuentry_id", "menuentry_options",
    "nativedisk_cmd", "ntldr", "platform_search_hint", "timeout_style",
)  # fmt: skip

_OF_RHBOOT = frozenset(
    ["bls_import", "decrement", "efi-export-env", "efi-load-env", "getenv", "increment", "version"]
)

_OF_SUSE_ALONE = frozenset(["crypttab_entry", "hiddenentry", "read_file", "tpm_record_pcrs"])
_OF_SUSE = _OF_SUSE_ALONE | {
    "btrfs-get-default-subvol", "btrfs-info", "btrfs-list-subvols", "btrfs-mount-subvol",
}  # fmt: skip
# Debian's and Ubuntu's 2.06 has them on EFI of x86; 2.12 and later take `linux` for them.
_FOR_EFI = frozenset(["initrdefi", "linuxefi"])
_OF_2_14 = frozenset(["cryptocheck", "uki"])
_SINCE_EL_9 = frozenset(
    ["cryptocheck", "efi-export-env", "efi-load-env", "rdmsr", "smbios", "uki", "version", "wrmsr"]
)
_BTRFS_VARIABLES = (("btrfs_relative_path", ""), ("btrfs_subvol", ""), ("btrfs_subvolid", ""))

UPSTREAM = Flavour("upstream", lacks=_OF_RHBOOT | _OF_SUSE | _OF_2_14 | {"blscfg"})
# grub2-btrfs-01 to -10, grub2-Add-hidden-menu-entries and others of openSUSE's package; the rest is upstream's.
SUSE = Flavour(
    "suse",
    btrfs_relative=True,
    snapshot_ahead=True,
    unrestricted_menu=True,
    blscfg="suse",
    lacks=_OF_RHBOOT,
    variables=_BTRFS_VARIABLES,
)
UPSTREAM_2_14 = Flavour(
    "upstream-2.14",
    blscfg="upstream",
    blank_line_is_true=False,
    envblk_skips_blank=True,
    cryptodisk_only=True,
    title_may_be_empty_source=False,
    lacks=_OF_RHBOOT | _OF_SUSE | _FOR_EFI,
    features=("search_cryptodisk_only", "tpm2_cap_pcrs", "gcry_hw_accel"),
)
RHBOOT = Flavour(
    "rhboot",
    names_first=True,
    inherit_all=True,
    keep_default=True,
    status_decides=True,
    keep_hex_escapes=True,
    users_optional=True,
    blscfg="rhboot",
    root_dev_only=True,
    one_linux=True,
    cryptodisk_only=True,
    blank_line_is_true=False,
    features=("search_cryptodisk_only",),
    btrfs_relative=True,
    lacks=_OF_SUSE_ALONE,
    variables=(*_BTRFS_VARIABLES, ("check_appended_signatures", "no")),
)
# EL 8's 2.02 (rhel-8-main of rhboot/grub2): what is rhboot's above came later, but for names_first and its like.
RHBOOT_8 = RHBOOT._replace(
    name="rhboot-8",
    inherit_all=False,
    keep_default=False,
    status_decides=False,
    blscfg="rhboot-8",
    root_dev_only=False,
    cryptodisk_only=False,
    blank_line_is_true=True,
    features=(),
    lacks=RHBOOT.lacks | _SINCE_EL_9,
)
# EL 7's 2.02~beta2 (rhel-7.9): a number before names, as upstream; no btrfs_relative_path.
RHBOOT_7 = RHBOOT_8._replace(
    name="rhboot-7",
    names_first=False,
    users_optional=False,
    one_linux=False,
    btrfs_relative=False,
    lacks=RHBOOT_8.lacks | _OF_RHBOOT | _OF_SUSE,
    variables=(),
)
FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour for flavour in (UPSTREAM, UPSTREAM_2_14, RHBOOT, RHBOOT_8, RHBOOT_7, SUSE)
}


def platform_variables(
    flavour: Flavour, platform: str, cpu: str, prefix: str, root: str
) -> dict[str, Binding]:
    """The variables GRUB sets before grub.cfg is read (normal/main.c, kern/main.c)."""
    values = {f"feature_{name}": "y" for name in (*_COMMON_FEATURES, *flavour.features)}
    values.update(
        grub_platform=platform, grub_cpu=cpu, prefix=prefix, root=root, check_signatures="no",
        color_normal="light-gray/black", color_highlight="black/light-gray", pager="", lang="", locale_dir="",
        secondary_locale_dir="", net_default_server="", pxe_default_server="",
    )  # fmt: skip
    values.update(flavour.variables)
    # kern/main.c:grub_set_prefix_and_root; rhboot renamed the variable.
    values["fw_path" if flavour.name.startswith("rhboot") else "cmdpath"] = prefix
    exported = _COMMON_EXPORTED | {name for name in values if name.startswith("feature_")}
    return {name: Binding(value, exported=name in exported) for name, value in values.items()}


_COMMON_EXPORTED = {
    "root",
    "prefix",
    "grub_cpu",
    "grub_platform",
    "color_normal",
    "color_highlight",
}


# Which commands the GRUB of a platform has: command.lst of Debian's 2.06, 2.12 and 2.14, of Ubuntu's 2.06 and 2.12.
_PC_ALONE = frozenset([
    "915resolution", "drivemap", "efiemu_loadcore", "efiemu_prepare", "efiemu_unload", "freedos", "hwmatch", "lsapm",
    "ntldr", "plan9", "pxechainloader", "sendkey", "truecrypt", "vbeinfo", "vbetest",
])  # fmt: skip
_EFI_ALONE = frozenset([
    "appleloader", "efi-export-env", "efi-load-env", "efitextmode", "fakebios", "fix_video", "fwsetup", "getenv",
    "initrdefi", "linuxefi", "loadbios", "lsefi", "lsefimmap", "lsefisystab", "lssal", "uki",
])  # fmt: skip
_X86_ALONE = frozenset([
    "appleloader", "backtrace", "cbmemc", "cmosclean", "cmosdump", "cmosset", "cmostest", "coreboot_boottime", "cpuid",
    "extract_legacy_entries_configfile", "extract_legacy_entries_source", "fakebios", "fix_video", "gdbstub",
    "gdbstub_break", "gdbstub_stop", "hdparm", "hexdump_random", "inb", "initrd16", "inl", "inw", "keymap", "kfreebsd",
    "kfreebsd_loadenv", "kfreebsd_module", "kfreebsd_module_elf", "knetbsd", "knetbsd_module", "knetbsd_module_elf",
    "kopenbsd", "kopenbsd_ramdisk", "legacy_check_password", "legacy_configfile", "legacy_initrd",
    "legacy_initrd_nounzip", "legacy_kernel", "legacy_password", "legacy_source", "linux16", "loadbios", "lscoreboot",
    "lspci", "module", "module2", "multiboot", "multiboot2", "nativedisk", "outb", "outl", "outw", "pcidump", "play",
    "rdmsr", "setpci", "usb", "wrmsr", "xnu_devprop_load", "xnu_kernel", "xnu_kernel64", "xnu_kext", "xnu_kextdir",
    "xnu_mkext", "xnu_ramdisk", "xnu_resume", "xnu_splash",
])  # fmt: skip
_NOT_X86 = frozenset(["devicetree", "fdtdump"])


def missing_commands(
    flavour: Flavour, platform: str, cpu: str, version: tuple[int, int]
) -> tuple[frozenset[str], frozenset[str]]:
    """What a GRUB does not have besides what its flavour lacks, and what it may not have; a version of 0 is not known.

    `if` takes an unknown command for a true one.
    """
    is_x86 = cpu in ("i386", "x86_64")
    missing = {"pc": _EFI_ALONE, "efi": _PC_ALONE}.get(platform, _PC_ALONE | _EFI_ALONE)
    missing |= _NOT_X86 if is_x86 else _X86_ALONE
    if flavour.one_linux and platform == "efi":
        missing |= {"initrd16", "linux16"}
    if flavour.name != "upstream":
        return missing, frozenset()
    if version >= (2, 12) or not is_x86:
        missing |= _FOR_EFI
    return missing, frozenset() if version[0] else _FOR_EFI
