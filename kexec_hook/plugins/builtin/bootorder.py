"""Which boot entry will UEFI firmware start next, and is it the one whose GRUB is evaluated?

UEFI 2.10, 3.1.1: BootNext once, else the active entries of BootOrder, the first that can be loaded.
What started the running system (BootCurrent) is the evidence for what the firmware passes over.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Literal

from kexec_hook.disks.mounts import links_by
from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.plugins.api import Note, Objection
from kexec_hook.system import efi
from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.disks import Device
    from kexec_hook.system.efi import BootOption
    from kexec_hook.system.sysroot import Sysroot

Seen = Literal["there", "missing", "unseen", "gone"]
Kind = Literal["grub", "shim", "another", ""]

# What GRUB's loaders, and those that start them (shim, its fallback, the removable path), are called.
_GRUBS = r"grub|gcd|shim|(fb|boot)(x64|ia32|aa64|riscv64|loongarch64)\.efi$"
_HEAD = 4096  # bytes: the table of a program's sections ends before
_MODS = b"mods\0\0\0\0"  # grub-mkimage's section (util/mkimage.c), which no other program has
_SHIM = b"UEFI SHIM\n"  # shim_version in shim's version.c
_LARGEST_SHIM = 8 << 20  # bytes
_SHOWN = {
    "network": "a network boot",
    "removable": "a removable disk",
    "firmware": "a program of the firmware",
    "disk": "whatever its disk holds",
}


def findings(sysroot: Sysroot, disks: RootDisks) -> Iterator[Objection | Note]:
    """Everything that makes the next boot by UEFI firmware another one than that of this GRUB, or may."""
    yield from _mok(sysroot)
    started = efi.started_by(sysroot)
    promised = efi.promised(sysroot)
    if started:
        yield from _not_grub(expected(sysroot, disks) or started, disks)
        yield from _gone(started, disks)
    if promised and not (started and same_grub(promised, started)):
        yield Objection(
            f"the firmware was asked to start {promised} at the next boot (BootNext)",
            code="boot-next",
            fix="efibootmgr -N",
        )
    elif promised:
        yield Note(
            f"the firmware was asked to start {promised} at the next boot (BootNext), which stays set after a kexec",
            code="boot-next",
            fix="efibootmgr -N",
        )
    if promised is None:
        yield from _in_order(sysroot, disks, started)


def expected(sysroot: Sysroot, disks: RootDisks) -> BootOption | None:
    """The boot entry whose GRUB is evaluated: what started this system, else the first that will start."""
    started = efi.started_by(sysroot)
    if started and not started.path and started.media in ("disk", "removable"):
        return _with_file(started, disks)
    if started or efi.number(sysroot, "BootCurrent") is not None:
        return started
    first = next(iter(_candidates(sysroot)), None)
    return first if first and first.media == "file" and look(disks, first) == "there" else None


def _with_file(option: BootOption, disks: RootDisks) -> BootOption:
    """The file that the firmware takes where an entry names a disk alone (UEFI 2.10, 3.5.1.1), if it is there."""
    files = (
        f"/EFI/BOOT/BOOT{cpu}.EFI" for cpu in ("X64", "AA64", "IA32", "RISCV64", "LOONGARCH64")
    )
    found = next((file for file in files if look(disks, option, file) == "there"), "")
    return option._replace(path=found)


def same_grub(one: BootOption, other: BootOption) -> bool:
    """Do two entries start the same GRUB?  shim and GRUB in one directory do: shim starts its neighbour."""
    if one.number == other.number:
        return True
    if not one.path or (one.partuuid, one.second) != (other.partuuid, other.second):
        return False
    if one.path.lower() == other.path.lower():
        return True
    return one.directory.lower() == other.directory.lower() and all(
        re.match("grub|shim", option.name) for option in (one, other)
    )


def look(disks: RootDisks, option: BootOption, path: str = "") -> Seen:
    """Is the file of a boot entry, or another one on its partition, there?  `gone`: its partition is not."""
    found: set[Seen] = {
        _look_at(disks, device, path or option.path) for device in partitions(disks, option)
    }
    order: tuple[Seen, ...] = ("there", "unseen", "missing")
    return next((seen for seen in order if seen in found), "gone")


def partitions(disks: RootDisks, option: BootOption) -> list[Device]:
    """The partition that an entry names; where partitions have no ids here, every mounted FAT."""
    devices = disks.devices()
    if option.partuuid and any(device.partuuid for device in devices):
        found = [d for d in devices if d.partuuid.lower() == option.partuuid.lower()]
        found = _mirrored(disks, option.partuuid) or found
    else:
        found = [device for device in devices if device.fs == "fat"]
    return [disks.keep(device) for device in found]


def _mirrored(disks: RootDisks, partuuid: str) -> list[Device]:
    """The mounted FAT on an array that a partition is a half of, its superblock at the end: both hold the same."""
    node = node_of(disks, partuuid)[len("/dev/") :]
    holders = disks.sysroot.listdir(f"/sys/class/block/{node}/holders") if node else []
    names = [disks.called(holder) for holder in holders if holder.startswith("md")]
    found = [device for name in names if name and (device := disks.device(name))]
    return [device for device in found if device.seen and device.fs == "fat"]


def _look_at(disks: RootDisks, device: Device, path: str) -> Seen:
    try:
        return "there" if disks.stat(GrubPath(device.name, path)) else "missing"
    except Unseen:
        return "unseen"


# What started this system


def _mok(sysroot: Sysroot) -> Iterator[Objection]:
    requests = efi.mok_requests(sysroot)
    if requests:
        yield Objection(
            f"a request to MokManager is waiting ({', '.join(requests)}), so shim starts that next, not GRUB",
            code="mok-request",
            fix="reboot and answer MokManager, or take the request back with mokutil",
        )


def _not_grub(started: BootOption, disks: RootDisks) -> Iterator[Objection]:
    if started.media == "network":
        yield Objection(
            f"this system was started over the network ({started}), so GRUB's configuration is on a server",
            code="network-boot",
        )
    elif started.media == "firmware":
        yield Objection(
            f"the firmware started a program of its own ({started}), which is not known to be GRUB",
            code="not-grub",
        )
    elif started.second and not re.match("grub", re.split(r"[\\/]", started.second)[-1].lower()):
        yield Objection(
            f"the firmware started {started.path}, and that starts {started.second}, not GRUB",
            code="not-grub",
        )
    elif started.path and not is_grub(started, disks):
        yield Objection(
            f"the firmware started {started.path}, which is not known to be GRUB",
            code="not-grub",
        )
    elif started.path and (program := another_program(started, disks)):
        yield Objection(
            f"the firmware starts {program}, which is a program other than GRUB",
            code="not-grub",
        )


def _gone(started: BootOption, disks: RootDisks) -> Iterator[Objection]:
    """Its file is not there any more, and no loader of anybody's on its partition."""
    if not started.path or look(disks, started) != "missing":
        return
    for device in partitions(disks, started):
        try:
            if disks.list(GrubPath(device.name, "/EFI")):
                return
        except Unseen:
            return
        except DiskError:
            continue
    yield Objection(
        f"{started} starts {started.path}, and its partition holds no boot loader any more",
        code="boot-entry-missing",
    )


def is_grub(option: BootOption, disks: RootDisks) -> bool:
    """Is the loader of an entry GRUB, or does it start GRUB, by its name, what it holds, or the grub.cfg beside it?"""
    return (
        bool(re.match(_GRUBS, option.name))
        or look(disks, option, f"{option.directory}/grub.cfg") == "there"
        or _kind(disks, option, option.path) == "grub"
    )


def another_program(option: BootOption, disks: RootDisks) -> str:
    """What is called as GRUB and shim are, and is a program that holds neither; empty where that is not certain.

    The removable path, and shim, take what is there: rEFInd, systemd-boot, a kernel may be called grubx64.efi.
    """
    cpu = re.search(r"(x64|ia32|aa64|riscv64|loongarch64)?\.efi$", option.name)
    if cpu is None or option.name.startswith("fb"):  # shim's fallback goes on to another entry
        return ""
    is_shim = option.name.startswith("shim")
    kind = "shim" if is_shim else _kind(disks, option, option.path)
    if kind != "shim":
        return option.path if kind == "another" else ""
    beside = f"{option.directory}/grub{cpu[1] or ''}.efi"
    return beside if not option.second and _kind(disks, option, beside) == "another" else ""


def _kind(disks: RootDisks, option: BootOption, path: str) -> Kind:
    """What a program is by its image; empty where it cannot be read, or is no program for UEFI."""
    for device in partitions(disks, option):
        head = _beginning(disks, GrubPath(device.name, path), _HEAD)
        if not _is_program(head):
            continue
        if _MODS in head:
            return "grub"
        return "shim" if _SHIM in _beginning(disks, GrubPath(device.name, path)) else "another"
    return ""


@functools.lru_cache(maxsize=1)
def is_locked(disks: RootDisks) -> bool:
    """Does GRUB refuse what it cannot verify: is Secure Boot on, and not switched off in shim (kern/efi/sb.c)?"""
    sysroot = disks.sysroot.unnoted
    insecure = efi.variable(sysroot, f"MokSBStateRT-{efi.SHIM}") == b"\1"
    secure = efi.variable(sysroot, f"SecureBoot-{efi.GLOBAL}") == b"\1"
    return secure and not insecure and not _is_unlocked(disks)


def _is_unlocked(disks: RootDisks) -> bool:
    """Does the firmware start, without shim, a GRUB that Secure Boot means nothing to?"""
    from kexec_hook.grub import image  # under Secure Boot, and where a module is missing

    loader = expected(disks.sysroot, disks)
    if not loader or not loader.path:
        return False
    for device in partitions(disks, loader):
        try:
            return image.of_efi(_beginning(disks, GrubPath(device.name, loader.path))).unlocked
        except image.Damaged:
            continue
    return False


def _is_program(head: bytes) -> bool:
    start = int.from_bytes(head[0x3C:0x40], "little")
    return head[:2] == b"MZ" and head[start : start + 4] == b"PE\0\0"


def _beginning(disks: RootDisks, path: GrubPath, size: int = _LARGEST_SHIM) -> bytes:
    found = disks.locate(path)
    try:
        return disks.sysroot.head(found.host, size) if found else disks.read(path)
    except (DiskError, SysrootError, Unseen):
        return b""


# The order


def _in_order(
    sysroot: Sysroot, disks: RootDisks, started: BootOption | None
) -> Iterator[Objection | Note]:
    current = efi.number(sysroot, "BootCurrent")
    order = efi.boot_order(sysroot)
    if started is None and current is not None:
        yield Objection(
            f"the boot entry that started this system (Boot{current:04X}) no longer exists, "
            "so the firmware starts another one",
            code="boot-entry-missing",
        )
        return
    candidates = list(_candidates(sysroot))
    if started is None:
        first = expected(sysroot, disks)
        if order and (not first or not is_grub(first, disks) or another_program(first, disks)):
            yield Objection(
                "the firmware does not tell which boot entry started this system (BootCurrent), "
                "and it is not certain which one it starts next",
                code="boot-entry-missing",
            )
        return
    if not started.active and not any(same_grub(option, started) for option in candidates):
        yield Objection(
            f"{started}, which started this system, is not active, so the firmware does not start it again",
            code="boot-entry-inactive",
            fix=f"efibootmgr -a -b {started.number:04X}",
        )
        return
    if order:
        # efibootmgr takes no other.
        known = [number for number in order if efi.option(sysroot, number)]
        yield from _ahead(candidates, started, known, disks)


def _ahead(
    candidates: Sequence[BootOption], started: BootOption, order: Sequence[int], disks: RootDisks
) -> Iterator[Objection | Note]:
    """The entries that the firmware tries before the one that started this system."""
    numbers = [started.number, *(number for number in order if number != started.number)]
    fix = "efibootmgr -o " + ",".join(f"{number:04X}" for number in numbers)
    at = next((at for at, option in enumerate(candidates) if same_grub(option, started)), None)
    if at is None:
        yield Objection(
            f"{started}, which started this system, is not in the firmware's BootOrder",
            code="boot-entry-not-in-order",
            fix=fix,
        )
        return
    if started.path and look(disks, started) == "missing":
        yield from _behind(candidates[at + 1 :], started, disks)
    passed = []
    for option in candidates[:at]:
        why = _starts(option, disks)
        if why:
            yield Objection(
                f"the firmware tries {option} before {started}, which started this system: {why}",
                code="boot-order",
                fix=fix,
            )
        elif option.media != "file" or look(disks, option) == "gone":
            passed.append(f"{option} ({_SHOWN.get(option.media, 'its partition is not there')})")
    if passed:
        yield Note(
            f"the firmware tries {', '.join(passed)} first, and went past them at the last boot",
            code="boot-order",
        )


def _behind(
    candidates: Sequence[BootOption], started: BootOption, disks: RootDisks
) -> Iterator[Objection]:
    """Where the file of an entry is gone, the firmware goes on to the next whose file is there."""
    for option in candidates:
        if option.media == "file" and look(disks, option) == "there":
            if not same_grub(option, started):
                yield Objection(
                    f"{started.path}, which started this system, is not there any more, "
                    f"so the firmware starts {option}",
                    code="boot-entry-missing",
                )
            return


def _starts(option: BootOption, disks: RootDisks) -> str:
    """Why an entry is, or may be, what the firmware starts; empty where it is passed over."""
    if option.media != "file":
        return ""
    seen = look(disks, option)
    if seen == "there":
        return f"{option.path} is there"
    if _is_windows(option):
        return "it is Windows"
    if seen == "unseen":
        names = ", ".join(_shown(disks, device) for device in partitions(disks, option))
        return f"whether {option.path} is there cannot be known, as {names} is not mounted"
    return ""


def _is_windows(option: BootOption) -> bool:
    return "windows boot manager" in option.title.lower() or option.name == "bootmgfw.efi"


def _candidates(sysroot: Sysroot) -> Iterator[BootOption]:
    """The entries that the firmware tries, in its order."""
    for number in dict.fromkeys(efi.boot_order(sysroot)):
        option = efi.option(sysroot, number)
        if option and option.active and not option.app:
            yield option


def _shown(disks: RootDisks, device: Device) -> str:
    return node_of(disks, device.partuuid) or f"({device.name})"


def node_of(disks: RootDisks, partuuid: str) -> str:
    """/dev/sda1; empty where nothing tells."""
    nodes = links_by(disks.sysroot, "partuuid")
    return next((f"/dev/{node}" for node, name in nodes.items() if name.lower() == partuuid), "")
