"""What Red Hat's /etc/sysconfig/kdump asks for: which crash kernel, with which command line.  Pure but for its file.

The file is a shell file (see shellvars); Fedora, RHEL and their kin ship it, and kdumpctl sources it.
An empty KDUMP_KERNELVER is the running kernel's release, an empty KDUMP_COMMANDLINE its command line.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping

from kexec_hook.kernel.cmdline import edit_cmdline, name_of, words
from kexec_hook.settings.conf import (
    BUILT_IN,
    Files,
    Setting,
    SettingsError,
    WrongValueError,
    kexec_args,
)
from kexec_hook.settings.shellvars import Assigned, assignments
from kexec_hook.tuples import NamedTuple

SYSCONFIG = "/etc/sysconfig/kdump"

# What kdumpctl never passes on, whatever the file says (kdump-utils, kdump-lib.sh, prepare_cmdline):
# the crash kernel reserves no memory for yet another one and must not die of a warning, ...
_NEVER = ("crashkernel", "panic_on_warn")
# ... and its initramfs knows by itself where to dump to, the root file system included.
_DUMP_TARGETS = (
    *("root", "rd.lvm.lv", "rd.luks.uuid", "rd.dm.uuid", "rd.md.uuid"),
    *("fcoe", "netroot", "rd.iscsi.initiator", "iscsi_initiator"),
)
_ALWAYS = ("rd.systemd.gpt_auto=no",)
# Documentation/admin-guide/kdump/kdump.rst; the crash kernel has little memory and devices in any state.
_WITHOUT_FILE = "irqpoll nr_cpus=1 reset_devices"


class KdumpSettings(NamedTuple):
    found: bool  # is there such a file?
    kernelver: Setting[str]
    commandline: Setting[str]
    commandline_remove: Setting[str]
    commandline_append: Setting[str]
    kexec_args: Setting[tuple[str, ...]]
    bootdir: Setting[str]
    img: Setting[str]
    img_ext: Setting[str]
    mkdumprd_args: Setting[str]  # not ours: who sets it means another program


def load_kdump(files: Files) -> KdumpSettings:
    return kdump_settings(
        files.text(SYSCONFIG) if files.exists(SYSCONFIG) or files.is_loop(SYSCONFIG) else None,
        SYSCONFIG,
    )


def kdump_settings(text: str | None, name: str) -> KdumpSettings:
    """The settings in the file's text; None: there is no such file."""
    variables = assignments(text or "", name)

    def variable(key: str, default: str = "") -> Setting[str]:
        found = variables.get(key)
        return Setting(default) if found is None else Setting(found.value, found.origin)

    return KdumpSettings(
        found=text is not None,
        kernelver=variable("KDUMP_KERNELVER"),
        commandline=variable("KDUMP_COMMANDLINE"),
        commandline_remove=variable("KDUMP_COMMANDLINE_REMOVE"),
        commandline_append=variable(
            "KDUMP_COMMANDLINE_APPEND", "" if text is not None else _WITHOUT_FILE
        ),
        kexec_args=_kexec_args(variables),
        bootdir=variable("KDUMP_BOOTDIR"),
        img=variable("KDUMP_IMG", "vmlinuz"),
        img_ext=variable("KDUMP_IMG_EXT"),
        mkdumprd_args=variable("MKDUMPRD_ARGS"),
    )


def panic_cmdline(kdump: KdumpSettings, running_cmdline: str) -> str:
    """The crash kernel's command line, as kdumpctl makes it, but without BOOT_IMAGE.

    Without the file the initrd is an ordinary one, which needs its root=.  What kdumpctl adds from
    looking at the hardware (disable_cpu_apicid=, pretimeout=0 of watchdogs) is not added.
    """
    base = kdump.commandline.value or edit_cmdline(running_cmdline.strip(), ["BOOT_IMAGE"])
    # kdumpctl takes the name alone, also where a value is written.
    remove = [*map(name_of, words(kdump.commandline_remove.value)), *_NEVER]
    append = words(kdump.commandline_append.value)
    if kdump.found:
        return edit_cmdline(base, [*remove, *_DUMP_TARGETS], [*append, *_ALWAYS])
    return edit_cmdline(base, remove, append)


def panic_files(
    kdump: KdumpSettings, running_release: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the crash kernel and its initrd may be, best place first."""
    release = kdump.kernelver.value or running_release
    directory = kdump.bootdir.value.rstrip("/") or "/boot"
    kernels = (f"{directory}/{kdump.img.value}-{release}{kdump.img_ext.value}",)
    # The second for a /boot that cannot be written (ostree), the third is Debian's kdump-tools.
    initrds = [
        f"{directory}/initramfs-{release}kdump.img",
        f"/var/lib/kdump/initramfs-{release}kdump.img",
        f"/var/lib/kdump/initrd.img-{release}",
    ]
    if (
        not kdump.found
    ):  # nobody makes an initrd for crashes there; the ordinary one finds its root=
        initrds += [f"{directory}/initrd.img-{release}", f"{directory}/initramfs-{release}.img"]
    return kernels, tuple(initrds)


def _kexec_args(variables: Mapping[str, Assigned]) -> Setting[tuple[str, ...]]:
    found = variables.get("KEXEC_ARGS")
    if found is None:
        return Setting((), BUILT_IN)
    try:
        return Setting(kexec_args(found.value), found.origin)
    except WrongValueError as wrong:
        raise SettingsError(f"{found.origin}: KEXEC_ARGS: {wrong}") from None
