"""GRUB commands that look for devices: search and its short forms, probe, ls (commands/search*.c, probe.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools

from kexec_hook.grub.commands.registry import Option, Options, command, parse_options
from kexec_hook.grub.disks import Device, DiskError, FindBy
from kexec_hook.grub.errors import (
    BAD_ARGUMENT,
    FILE_NOT_FOUND,
    INVALID_COMMAND,
    NOT_IMPLEMENTED_YET,
    OK,
    UNKNOWN_FS,
    CommandError,
    unknown_device,
)
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.values import Call

_HINTS = ("hint", "hint-ieee1275", "hint-bios", "hint-baremetal", "hint-efi", "hint-arc")
_SEARCH_OPTIONS = (
    Option("file", "f"),
    Option("label", "l"),
    Option("fs-uuid", "u"),
    Option("set", "s", value=True, optional=True),
    Option("no-floppy", "n"),
    *(Option(name, "h" if name == "hint" else "", value=True, repeatable=True) for name in _HINTS),
)
_KIND: dict[str, FindBy] = {"label": "label", "fs-uuid": "fs_uuid", "file": "file"}
# grub.d writes all hints; only the platform's own and those without a platform are looked at.
_HINTS_OF = {
    "pc": ("hint", "hint-bios"),
    "efi": ("hint", "hint-efi"),
    "ieee1275": ("hint", "hint-ieee1275"),
}


@functools.cache
def _options_of(cryptodisk_only: bool, root_dev_only: bool) -> Options:
    known = _SEARCH_OPTIONS
    if cryptodisk_only:
        known = (*known, Option("cryptodisk-only"), Option("efidisk-only"))
    if root_dev_only:
        known = (*known, Option("root-dev-only", "r"))
    return Options(*known)


@command("search")
def search(m: Machine, call: Call) -> int:
    known = _options_of(m.flavour.cryptodisk_only, m.flavour.root_dev_only)
    parsed = parse_options(m, call.args, known, accept_dash=True)
    names = list(parsed.args)
    while names and names[0].startswith("--hint-"):
        del names[0]  # hints for platforms this GRUB does not know
    variable = None
    if "set" in parsed.options:
        variable = parsed.value("set") or "root"
        if parsed.value("set") == "":
            variable = ""
    if names:
        name = names[0]
    elif parsed.value("set") is not None:
        name, variable = parsed.value("set") or "", "root"
    else:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    by = next((kind for option, kind in _KIND.items() if option in parsed.options), None)
    if by is None:
        raise call.error(INVALID_COMMAND, "unspecified search type")
    if "cryptodisk-only" in parsed.options:
        raise call.error(FILE_NOT_FOUND, f"no such cryptodisk found, device: {name}")
    kinds = (*_HINTS_OF.get(m.get("grub_platform") or "", ("hint",)), "hint-baremetal")
    hints = [hint for kind in kinds for hint in parsed.values(kind)]
    return _find(m, call, by, name, variable, hints)


@command("search.fs_uuid", "search.fs_label", "search.file")
def search_short(m: Machine, call: Call) -> int:
    """NAME [VARIABLE [HINT...]]"""
    if not call.args:
        raise call.error(BAD_ARGUMENT, "one argument expected")
    by: FindBy = {"search.fs_uuid": "fs_uuid", "search.fs_label": "label", "search.file": "file"}[
        call.name
    ]  # type: ignore[assignment]
    variable = call.args[1] if len(call.args) > 1 else None
    return _find(m, call, by, call.args[0], variable, call.args[2:])


def _find(
    m: Machine,
    call: Call,
    by: FindBy,
    name: str,
    variable: str | None,
    hints: list[str],
) -> int:
    # search.c keeps the first answer to each question, and tries that before the hints.
    question = by, name.lower() if by == "fs_uuid" else name
    known = m.found.get(question)
    found = list(m.find(by, name, [hint for hint in hints if hint]))
    if known and m.device(known) in [m.device(device) for device in found]:
        found = [known, *found]
    if not found:
        where = next((i for i, word in enumerate(call.args) if word == name), -1)
        raise call.error(FILE_NOT_FOUND, f"no such device: {name}", where)
    m.found[question] = found[0]
    if variable is None:
        m.say("".join(f" {device}" for device in found))
    else:
        m.set(variable, found[0], call)
    return OK


_PROBE_OPTIONS = Options(
    Option("set", "s", value=True),
    Option("driver", "d"),
    Option("partmap", "p"),
    Option("fs", "f"),
    Option("fs-uuid", "u"),
    Option("label", "l"),
    Option("part-uuid"),
)


@command("probe")
def probe(m: Machine, call: Call) -> int:
    parsed = parse_options(m, call.args, _PROBE_OPTIONS)
    if not parsed.args:
        raise call.error(BAD_ARGUMENT, "device name required")
    name = parsed.args[0]
    if name.startswith("(") and name.endswith(")"):
        name = name[1:-1]
    device = m.device(name)
    if device is None:
        raise unknown_device(name)
    order = ("driver", "partmap", "part-uuid", "fs", "fs-uuid", "label")
    chosen = next((option for option in order if option in parsed.options), None)
    if chosen == "driver":
        value = _driver(device.name, m.get("grub_platform"))
    elif chosen == "partmap":
        value = device.partmap or "none"
    elif chosen == "part-uuid":
        value = device.partuuid or "none"
    else:
        device = m.disks.identify(device)
        value = _file_system(call, device, chosen)
    variable = parsed.value("set")
    if variable is None:
        m.say(value)
    else:
        m.set(variable, value, call)
    return OK


def _file_system(call: Call, device: Device, wanted: str | None) -> str:
    if not device.fs:
        raise call.error(UNKNOWN_FS, "unknown filesystem")
    if wanted == "fs":
        return device.fs
    if wanted == "label":
        return device.label
    if wanted != "fs-uuid":
        raise call.error(BAD_ARGUMENT, "unrecognised target")
    if not device.uuid:
        raise call.error(NOT_IMPLEMENTED_YET, f"{device.fs} does not support UUIDs")
    return device.uuid


def _driver(name: str, platform: str | None) -> str:
    """The disk driver GRUB would name; the machine's own is not known from a running system."""
    for prefix, driver in (
        ("lvm", "diskfilter"),
        ("md", "diskfilter"),
        ("crypto", "cryptodisk"),
        ("ahci", "ahci"),
    ):
        if name.startswith(prefix):
            return driver
    return {"efi": "efidisk", "ieee1275": "ofdisk"}.get(platform or "", "biosdisk")


_LS_OPTIONS = Options(Option("long", "l"), Option("human-readable", "h"), Option("all", "a"))


@command("ls")
def ls(m: Machine, call: Call) -> int:
    """List devices or a directory; only whether it succeeds can matter."""
    parsed = parse_options(m, call.args, _LS_OPTIONS)
    if not parsed.args:
        m.say("".join(f"({device.name}) " for device in m.devices()) + "\n")
    for name in parsed.args:
        try:
            m.say(_listing(m, name))
        except CommandError as error:
            m.fail(error)
    return OK


def _listing(m: Machine, name: str) -> str:
    path = m.path(name)
    if m.device(path.device) is None:
        raise unknown_device(path.device)
    if name == f"({path.device})":
        return f"\tDevice {path.device}\n"
    stat = m.stat(path)
    if stat is None or stat.kind == "file":
        m.open(name)
        return path.path.rpartition("/")[2] + " \n"
    try:
        return "".join(f"{entry} " for entry in m.list(path)) + "\n"
    except DiskError as error:
        raise CommandError(error.errno, error.message) from None
