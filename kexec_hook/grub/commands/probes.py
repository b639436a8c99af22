"""GRUB commands that ask the hardware, the network, a person or a file's contents what only GRUB could know."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.commands.registry import command
from kexec_hook.grub.errors import BAD_ARGUMENT, NET_NO_CARD, OK, TEST_FAILURE
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.values import Call, Refusal


@command(
    "cmostest", "cryptocheck", "efi-load-env", "getenv", "rdmsr", "tpm2_key_protector_init", "zfs-bootfs",
)  # fmt: skip
def hardware(m: Machine, call: Call) -> int:
    m.guesses.append(Refusal(f"`{call.name}` asks the hardware", call.span))
    return OK


@command("cpuid")
def cpuid(m: Machine, call: Call) -> int:
    """-l: has the processor a long mode? -p: PAE?"""
    flag = {"-l": "lm", "--long-mode": "lm", "-p": "pae", "--pae": "pae"}.get(" ".join(call.args))
    known = m.cpu_flags() if flag else ()
    if not known:
        return hardware(m, call)
    return OK if flag in known else TEST_FAILURE


@command("smbios")
def smbios(m: Machine, call: Call) -> int:
    table = m.smbios()
    if not table:
        return hardware(m, call)
    from kexec_hook.grub.commands import smbios  # few configurations use it

    return smbios.smbios(m, call, table)


@command("gptpriority")
def partition_table(m: Machine, call: Call) -> int:
    """DISK PARTITION VARIABLE, of ChromeOS's GRUB and its kin: which of two systems goes first."""
    m.guesses.append(Refusal(f"`{call.name}` asks the partition table", call.span))
    return OK


@command("uki")
def uki(m: Machine, call: Call) -> int:
    """Makes entries of the unified kernel images beside GRUB's image (commands/blsuki.c)."""
    m.guesses.append(Refusal("which entries `uki` makes is not known here", call.span))
    return OK


@command("authenticate", "legacy_check_password")
def person(m: Machine, call: Call) -> int:
    if call.name == "authenticate" and m.get("superusers") is None:
        return OK  # normal/auth.c, is_authenticated(): without superusers everybody is
    m.guesses.append(Refusal(f"`{call.name}` asks for a password", call.span))
    return OK


@command("keystatus")
def keystatus(m: Machine, call: Call) -> int:
    """Nobody holds a key while a machine reboots by itself."""
    return TEST_FAILURE


@command(
    "net_add_addr", "net_add_dns", "net_add_route", "net_bootp", "net_bootp6", "net_del_addr", "net_del_dns",
    "net_del_route", "net_dhcp", "net_dhcp6", "net_get_dhcp_option", "net_ipv6_autoconf", "net_nslookup",
    "net_set_vlan",
)  # fmt: skip
def network(m: Machine, call: Call) -> int:
    m.guesses.append(Refusal(f"`{call.name}` asks the network", call.span))
    return NET_NO_CARD


@command(
    "cmp",
    "crc",
    "file",
    "hashsum",
    "md5sum",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "tr",
    "verify_detached",
)
def contents(m: Machine, call: Call) -> int:
    m.guesses.append(Refusal(f"what `{call.name}` answers is not known here", call.span))
    return OK


@command("hwmatch")
def hwmatch(m: Machine, call: Call) -> int:
    """FILE CLASS: is one of the machine's PCI devices of this class in the file's list?  (Debian's and Ubuntu's.)"""
    from kexec_hook.grub.regex import automaton as ere  # few configurations use it

    if len(call.args) < 2:
        raise call.error(BAD_ARGUMENT, "list file and class required")
    lines = (
        m.read(call.args[0], call).decode("utf-8", "surrogateescape").replace("\r", "").split("\n")
    )
    patterns = [line for line in lines if line and not line.startswith("#")]
    known = m.pci() if patterns else ()
    if known is None:
        m.guesses.append(Refusal("`hwmatch` asks for the machine's PCI devices", call.span))
    wanted = f"bc{int(call.args[1]):02x}sc" if call.args[1].isdecimal() else "?"
    devices = [device for device in known or () if wanted in device]
    found = False
    for pattern in patterns if devices else ():
        try:
            regex = ere.compile(f"^{pattern}$")
            found = found or any(regex.search(device) for device in devices)
        except ere.EreLimit as error:
            m.guesses.append(Refusal(f"`hwmatch`: {error}", call.span))
        except ere.EreError:
            continue  # GRUB skips it as well
    m.set("match", str(int(found)), call)
    return OK
