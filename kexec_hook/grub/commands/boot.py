"""GRUB's Linux loaders: linux, initrd, devicetree and boot (grub-core/loader/i386/linux.c, loader/linux.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import ACCESS_DENIED, BAD_ARGUMENT, NO_KERNEL, OK, CommandError
from kexec_hook.grub.flavours import Flavour
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import strtoul
from kexec_hook.grub.values import Call, Halted, Initrd, Loaded, Refusal

LINUX = ("linux", "linux16", "linuxefi")


@command(*LINUX)
def linux(m: Machine, call: Call) -> int:
    """Load a kernel; what was loaded before is dropped, its initrds with it."""
    m.executed.append([call.name, *call.args])
    if not call.args:
        raise call.error(BAD_ARGUMENT, "filename expected")
    for name in ("check_signatures", "check_appended_signatures"):
        if m.get(name) in ("enforce", "forced"):
            m.guesses.append(
                Refusal(f"GRUB checks signatures (${name}), which is not done here", call.span)
            )
    if call.name in m.unsure_commands:
        reason = f"GRUB has no `{call.name}` since 2.12, and the version of this one is not known"
        m.guesses.append(Refusal(reason, call.span))
    m.kcmdline = command_line(call.args, m.flavour)
    path = m.open_kernel(call.args[0], call)
    platform = m.get("grub_platform")
    if platform == "efi" and call.name == "linux16":
        m.refusals.append(
            Refusal("`linux16` starts Linux in real mode, which UEFI lacks", call.span)
        )
    if platform == "pc" and "vga=" in m.kcmdline and not _knows_modes(m, call):
        m.report("GRUB does not know vga=ask any more, and loads nothing", call.span, OK)
        return OK
    m.loaded = Loaded("linux", path, tuple(call.args), m.kcmdline, (), m.devicetree, call)
    return OK


@command("initrd", "initrd16", "initrdefi")
def initrd(m: Machine, call: Call) -> int:
    """Load initial RAM disks; they replace those of an earlier initrd command."""
    m.executed.append([call.name, *call.args])
    if not call.args:
        raise call.error(BAD_ARGUMENT, "filename expected")
    kernel = m.loaded.call.name if m.loaded and m.loaded.kind == "linux" else ""
    if m.loaded is None or not _takes(m, kernel, call.name):
        raise call.error(BAD_ARGUMENT, "you need to load the kernel first")
    initrds = []
    for number, word in enumerate(call.args):
        name, newc = word, ""
        if word.startswith("newc:") and _knows_newc(m, call.name):
            member, colon, rest = word[5:].lstrip("/").partition(":")
            if colon:
                name, newc = rest, member
        try:
            initrds.append(Initrd(m.open(name), newc))
        except CommandError as error:
            if error.span is None:
                error.span = call.arg_span(number)
            raise
    m.loaded = m.loaded._replace(initrds=tuple(initrds), initrd_call=call)
    return OK


def _knows_modes(m: Machine, call: Call) -> bool:
    """vga=ask is nothing that i386/linux.c knows; linux16, i386/pc/linux.c, fails without a number.  CommandError"""
    by_number = m.flavour.one_linux or call.name == "linux16"
    for mode in (word[4:] for word in call.args[1:] if word.startswith("vga=")):
        if by_number and mode not in ("normal", "ext", "ask"):
            strtoul(mode)
        elif not by_number and mode == "ask":
            return False
    return True


def _takes(m: Machine, kernel: str, initrd: str) -> bool:
    """Is an initrd command of the module that has loaded the kernel?"""
    if not kernel or m.flavour.one_linux or kernel[len("linux") :] == initrd[len("initrd") :]:
        return bool(kernel)
    # Debian's 2.06 hands `linux` on to linuxefi under Secure Boot.
    return kernel == "linux" and initrd == "initrdefi" and m.refuses_modules()


def _knows_newc(m: Machine, name: str) -> bool:
    """rhboot's loader/i386/efi/linux.c takes each word for a file's name."""
    by_handover = m.flavour.one_linux and m.command("linuxefi") is not None
    return not (by_handover or (name == "initrdefi" and m.flavour.name == "rhboot-7"))


@command("devicetree")
def devicetree(m: Machine, call: Call) -> int:
    """Load a device tree for whatever Linux boots then (loader/efi/fdt.c); without one it is the firmware's."""
    m.executed.append([call.name, *call.args])
    m.devicetree = None
    try:
        if m.refuses_modules():
            raise call.error(ACCESS_DENIED, "Secure Boot does not allow it")
        m.devicetree = m.open(call.args[0]) if call.args else None
    except CommandError as error:
        why = (
            f"GRUB loads no device tree: {error.message}, and it leaves the firmware's in its place"
        )
        m.refusals.append(Refusal(why, call.span))
        raise
    finally:
        if m.loaded:
            m.loaded = m.loaded._replace(devicetree=m.devicetree)
    return OK


@command("boot")
def boot(m: Machine, call: Call) -> int:
    if m.loaded is None:
        raise call.error(NO_KERNEL, "you need to load the kernel first")
    raise Halted("boot", call.span)


def command_line(words: Sequence[str], flavour: Flavour) -> str:
    r"""The kernel's command line as GRUB joins it (lib/cmdline.c:grub_create_loader_cmdline), without BOOT_IMAGE=.

    Words are joined by one blank; one that holds a blank gets quotes around the
    whole; `\ ' "` get a backslash.
    """
    return " ".join(_quoted(word, flavour) for word in words)


def _quoted(word: str, flavour: Flavour) -> str:
    text = ""
    for at, letter in enumerate(word):
        if letter in "\\'\"" and not (flavour.keep_hex_escapes and _is_hex_escape(word, at)):
            text += "\\"
        text += letter
    return f'"{text}"' if " " in word else text


def _is_hex_escape(word: str, at: int) -> bool:
    r"""rhboot leaves `\xHH` alone, so that systemd's escaped names survive."""
    digits = word[at + 2 : at + 4]
    return (
        word[at : at + 2] == "\\x"
        and len(digits) == 2
        and all(c in "0123456789abcdefABCDEF" for c in digits)
    )
