"""GRUB commands that cannot change what boots: modules, terminals, pictures, sounds, pauses."""

from __future__ import annotations

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import BAD_ARGUMENT, OK
from kexec_hook.grub.machine import Call, Machine


@command(
    "all_functional_test", "background_color", "background_image", "boottime", "cat", "clear", "cls", "cryptomount",
    "date", "gptsync", "help", "hexdump", "keymap", "list_trusted", "loopback", "lsacpi", "lsapm", "lsmod",
    "lsmmap", "lspci", "nativedisk", "net_add_addr", "net_add_dns", "net_add_route", "net_bootp", "net_bootp6",
    "net_del_addr", "net_del_dns", "net_del_route", "net_dhcp", "net_get_dhcp_option", "net_ipv6_autoconf",
    "net_ls_addr", "net_ls_cards", "net_ls_dns", "net_ls_routes", "net_nslookup", "password", "password_pbkdf2",
    "play", "rmmod", "serial", "sleep", "terminal", "terminfo", "time",
    "usb", "verify_detached", "videoinfo", "vbeinfo", "videotest", "vbetest", "zfskey", "zfsinfo", "dump",
    "trust", "distrust", "rdmsr", "efi-watchdog", "efitextmode", "gdbinfo", "gettext", "menu_color",
    "tpm_record_pcrs", "uppermem",
)  # fmt: skip
def inert(m: Machine, call: Call) -> int:
    return OK


@command("insmod")
def insmod(m: Machine, call: Call) -> int:
    """Always succeeds, whether the module is there or not (kern/corecmd.c:grub_core_cmd_insmod)."""
    if not call.args:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    m.modules.add(call.args[0])
    m.globbing = m.globbing or call.args[0] == "regexp"
    return OK


@command("loadfont", "load_font")
def loadfont(m: Machine, call: Call) -> int:
    """Fails when a font file is missing; grub-mkconfig's header asks."""
    for name in call.args:
        if name.startswith(("/", "(")):
            m.open(name)
        else:
            m.open(f"{m.get('prefix')}/fonts/{name}.pf2")
    return OK


_TERMINALS = frozenset([
    "at_keyboard", "audio", "cbmemc", "console", "gfxterm", "mda_text", "morse", "none", "ofconsole", "serial",
    "spkmodem", "usb_keyboard", "vga_text",
])  # fmt: skip


@command("terminal_input", "terminal_output")
def terminal(m: Machine, call: Call) -> int:
    """Fails for a terminal that GRUB does not know (term/terminal.c); which one is in use does not matter."""
    for number, name in enumerate(call.args):
        if name not in ("--append", "--remove") and name.partition("_")[0] != "serial" and name not in _TERMINALS:
            raise call.error(BAD_ARGUMENT, f"unknown terminal `{name}'", number)
    return OK
