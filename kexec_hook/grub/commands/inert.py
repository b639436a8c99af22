"""GRUB commands that cannot change what boots: modules, terminals, pictures, sounds, pauses."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.errors import BAD_ARGUMENT, BAD_DEVICE, BAD_FONT, FILE_NOT_FOUND, OK
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.values import Call


@command(
    "all_functional_test", "backtrace", "blocklist", "boottime", "btrfs-info", "cbmemc", "clear", "cmosdump",
    "coreboot_boottime", "crypttab_entry", "date", "distrust", "dump", "efi-export-env", "efiemu_prepare",
    "efiemu_unload", "efitextmode", "fdtdump", "fix_video", "functional_test", "gdbstub", "gdbstub_break",
    "gdbstub_stop", "help", "hexdump", "hexdump_random", "keymap", "legacy_password",
    "list_trusted", "lsacpi", "lsapm", "lscoreboot", "lsefi", "lsefimmap", "lsefisystab", "lsfonts", "lsmmap", "lsmod",
    "lspci", "lssal", "net_ls_addr", "net_ls_cards", "net_ls_dns", "net_ls_routes", "password", "password_pbkdf2",
    "pcidump", "plainmount", "play", "rmmod", "sendkey", "serial", "sleep", "terminfo", "test_blockarg", "testload",
    "testspeed", "tpm2_dump_pcr", "tpm2_key_protector_clear", "tpm_record_pcrs",
    "trust", "usb", "vbeinfo", "vbetest", "version", "videoinfo", "videotest",
    "xnu_devprop_load", "xnu_splash", "xnu_uuid", "zfsinfo", "zfskey",
)  # fmt: skip
def inert(m: Machine, call: Call) -> int:
    return OK


@command("background_color", "background_image")
def background(m: Machine, call: Call) -> int:
    """Fails where no graphics are on; whether they are can be seen in colours only."""
    return BAD_DEVICE


@command("loopback")
def loopback(m: Machine, call: Call) -> int:
    """loopback [-d] NAME [FILE]: a file becomes a disk, and what is on it is out of our sight."""
    words = [word for word in call.args if word not in ("-d", "-D", "--delete", "--decompress")]
    if not words:
        raise call.error(BAD_ARGUMENT, "device name required")
    if "-d" in call.args or "--delete" in call.args:
        if m.loopbacks.pop(words[0], None) is None:
            raise call.error(BAD_DEVICE, "device not found")
        return OK
    if len(words) < 2:
        raise call.error(BAD_ARGUMENT, "filename expected")
    try:
        m.loopbacks[words[0]] = m.open(words[1])
    except Unseen:
        m.loopbacks[words[0]] = m.path(words[1])
        raise
    return OK


@command("cryptomount")
def cryptomount(m: Machine, call: Call) -> int:
    """Somebody types the passphrase, and the container opens: the one with that id, or whichever it is."""
    named = {word.rpartition("=")[2].replace("-", "").lower() for word in call.args}
    m.unlocked |= {word for word in named if re.fullmatch("[0-9a-f]{32}", word)} or {""}
    return OK


@command("insmod")
def insmod(m: Machine, call: Call) -> int:
    """Always succeeds, whether the module is there or not (kern/corecmd.c:grub_core_cmd_insmod)."""
    if not call.args:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    m.modules.add(call.args[0])
    m.globbing = m.globbing or call.args[0] == "regexp"
    return OK


_FONT = b"FILE\0\0\0\4PFF2"


@command("loadfont")
def loadfont(m: Machine, call: Call) -> int:
    """Fails when a font file is missing or no font; grub-mkconfig's header asks."""
    if not call.args:
        raise call.error(BAD_ARGUMENT, "filename expected")
    for name in call.args:
        path = name if name.startswith(("/", "(", "+")) else f"{m.get('prefix')}/fonts/{name}.pf2"
        try:
            font = m.read(path, call)
        except Unseen as unseen:  # it decides on colours only
            raise call.error(FILE_NOT_FOUND, unseen.reason) from None
        if not font.startswith(_FONT):
            raise call.error(BAD_FONT, "invalid font")
    return OK


_TERMINALS = frozenset([
    "at_keyboard", "audio", "cbmemc", "console", "gfxterm", "mda_text", "morse", "none", "ofconsole", "serial",
    "spkmodem", "usb_keyboard", "vga_text",
])  # fmt: skip


@command("terminal_input", "terminal_output")
def terminal(m: Machine, call: Call) -> int:
    """Fails for a terminal that GRUB does not know (term/terminal.c); which one is in use does not matter."""
    for number, name in enumerate(call.args):
        if (
            name not in ("--append", "--remove")
            and name.partition("_")[0] != "serial"
            and name not in _TERMINALS
        ):
            raise call.error(BAD_ARGUMENT, f"unknown terminal `{name}'", number)
    return OK
