"""Which kind of GRUB it is where the distribution does not tell, or another system's starts: its modules do."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.plugins.builtin.bootcode import place_of
from kexec_hook.plugins.builtin.start import Start, built_in_modules, names_ours

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kexec_hook.disks.root import RootDisks
    from kexec_hook.system.sysroot import Sysroot


def is_ours(place: GrubPath, own: GrubPath | None, disks: RootDisks) -> bool:
    """Is it the directory of this system's grub.cfg, or holds one on an ESP that leads to its file system?"""
    if own is None or place_of(place, disks) == place_of(own, disks):
        return True
    return bool(names_ours(place, own, disks))


def flavours_of(place: GrubPath, start: Start, disks: RootDisks, own: list[str]) -> list[str]:
    """All that it may be, the likeliest first: crypttab is SUSE's, blscfg rhboot's, blsuki upstream's since 2.14."""
    directory = f"{start.cpu}-{start.platform}"
    modules = _modules(place, directory, start, disks)
    on_esp = place.path.upper().startswith("/EFI/")
    if "crypttab" in modules:
        return ["suse"]
    if "blscfg" in modules:
        told = _read(disks, place, f"{directory}/modinfo.sh").decode("utf-8", "replace")
        number = re.search(r"""^grub_version=["']?2\.(\d\d)""", told, re.MULTILINE)
        if number:
            return ["rhboot-8" if int(number[1]) < 4 else "rhboot"]
        return ["rhboot", "rhboot-8"]
    upstream = "upstream-2.14" if "blsuki" in modules else "upstream"
    if not on_esp and not place.path.endswith("/grub2"):
        return [upstream]
    if modules:
        return [upstream, "suse"]
    return list(dict.fromkeys([*(own if on_esp else ()), "rhboot", "suse", upstream]))


def has_blscfg(
    sysroot: Sysroot, disks: RootDisks, directories: Iterable[str], start: Start
) -> bool | None:
    """rhboot's GRUB has a module of that name, upstream's none; None: neither modules nor an image tell."""
    for directory in directories:
        if sysroot.is_file(f"{directory}/normal.mod"):
            return sysroot.is_file(f"{directory}/blscfg.mod")
    built_in = built_in_modules(disks, "efi", start.cpu) if start.platform == "efi" else None
    return "blscfg" in built_in if built_in else None


def _modules(place: GrubPath, directory: str, start: Start, disks: RootDisks) -> Collection[str]:
    """Of those that tell, the ones that are there; `normal` where there are any."""
    found = {
        name
        for name in ("normal", "blscfg", "blsuki", "crypttab")
        if _is_there(disks, place, f"{directory}/{name}.mod")
    }
    return found or (start.platform == "efi" and built_in_modules(disks, "efi", start.cpu)) or ()


def _is_there(disks: RootDisks, place: GrubPath, name: str) -> bool:
    try:
        return disks.stat(_below(place, name)) is not None
    except Unseen:
        return False


def _read(disks: RootDisks, place: GrubPath, name: str) -> bytes:
    try:
        return disks.read(_below(place, name))
    except (DiskError, Unseen):
        return b""


def _below(place: GrubPath, name: str) -> GrubPath:
    return place._replace(path=f"{place.path.rstrip('/')}/{name}")
