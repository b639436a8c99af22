"""What speaks against the files of a choice: kernel and initrds, the root file system, and where GRUB's files are."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from kexec_hook.disks.mounts import links_by
from kexec_hook.kernel import images
from kexec_hook.kernel.cmdline import words
from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.checks import Checks, ask
from kexec_hook.system.sysroot import MissingError, NotPermittedError, Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from kexec_hook.system.sysroot import Window

# $grub_cpu -> the kernels that such a GRUB can start
_STARTS = {
    "i386": ("x86_64", "i686"),
    "x86_64": ("x86_64",),
    "arm64": ("aarch64",),
    "riscv64": ("riscv64",),
}
_BY = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}


def objections(decision: Decision) -> Iterator[str | Objection]:
    yield from ask(CHECKS, decision)


def _switched_off(decision: Decision) -> Iterator[str]:
    load = decision.settings.load
    if not load.value:
        yield f"staging is switched off in {load.origin}; `load = yes` in /etc/kexec-hook.conf switches it on"


def _kernel(decision: Decision) -> Iterator[str]:
    if decision.plan is None:
        return
    path = decision.plan.kernel
    try:
        with decision.sysroot.window(path) as file:
            kernel = images.inspect_kernel(file)
            changed = file.changed
    except images.NotLinux as wrong:
        yield f"{path} {wrong}; choose another entry with grub-set-default"
        return
    except images.Damaged as wrong:
        yield f"{path} {wrong}; install the package that it comes from once more"
        return
    except NotPermittedError:
        return  # `denied` tells
    except SysrootError as error:
        yield f"{error}; without its kernel an entry cannot be booted"
        return
    if changed:
        yield f"{path} is being written just now; try again when that has ended"
    fitting = _architectures(decision)
    if fitting and not _fits(kernel.arch, fitting):
        yield f"{path} is a kernel for {kernel.arch}, not for {' or '.join(fitting)}; choose another entry"
    # The kernel counts the zero at the end, arch/x86/kernel/kexec-bzimage64.c
    length = len(decision.plan.cmdline.encode("utf-8", "surrogateescape")) + 1
    if kernel.longest and length > kernel.longest:
        yield f"the command line has {length - 1} bytes, and {path} takes {kernel.longest - 1}; shorten it"


def _fits(arch: str, fitting: tuple[str, ...]) -> bool:
    if arch == "x86":
        return bool({"x86_64", "i686"} & set(fitting))
    return not arch or arch in fitting


def _architectures(decision: Decision) -> tuple[str, ...]:
    """What a kernel may be made for, as `uname -m` has it; empty where nothing tells."""
    running = _running(decision.sysroot)
    if running:
        return (running,)
    return _STARTS.get(decision.evaluation.config.cpu, ()) if decision.evaluation else ()


def _running(sysroot: Sysroot) -> str:
    if not sysroot.is_host:
        return ""
    try:
        found = sysroot.text("/proc/sys/kernel/arch", 1 << 12).strip()  # since Linux 6.1
    except SysrootError:
        import os

        found = os.uname().machine if str(sysroot.root) == "/" else ""
    return re.sub("^i[3-6]86$", "i686", found)


def _initrds(decision: Decision) -> Iterator[str]:
    for initrd in decision.plan.initrds if decision.plan else ():
        try:
            with decision.sysroot.window(initrd.path) as file:
                wrong = _damage(file) if not initrd.newc else ""
                changed = file.changed
        except NotPermittedError:
            continue
        except SysrootError as error:
            yield f"{error}; without its initrd a kernel does not find its root file system"
            continue
        if changed:
            yield f"{initrd.path} is being written just now; try again when that has ended"
        elif wrong:
            yield f"{initrd.path} {wrong}; make it anew with update-initramfs or dracut"


def _damage(file: Window) -> str:
    try:
        images.read_initrd(file)
    except images.Damaged as damaged:
        return str(damaged)
    return ""


def _on_the_way(decision: Decision) -> Iterator[str]:
    plan = decision.plan
    for path in (plan.kernel, *(initrd.path for initrd in plan.initrds)) if plan else ():
        for suffix in images.UNFINISHED_SUFFIXES:
            if decision.sysroot.exists(path + suffix):
                yield f"{path}{suffix} is there, so {path} is being replaced; let that end, or remove what it left"


def _not_permitted(decision: Decision) -> Iterator[Objection]:
    if not decision.trigger.dry:
        for path in decision.sysroot.denied:
            yield Objection(
                f"{path} cannot be read with the rights of this user; run kexec-hook as root",
                rights=True,
            )


# The root file system


def _root(decision: Decision) -> Iterator[str]:
    value = _parameter(decision, "root")
    if decision.plan is None or value is None:
        return
    kind, equals, name = value.partition("=")
    by = _BY.get(kind) if equals else None
    if by:
        yield from _linked(decision.sysroot, value, by, name.partition("/PARTNROFF=")[0])
    elif decision.sysroot.is_host and _is_node(value) and decision.sysroot.stat(value) is None:
        yield f"root={value} names a device that is not there; correct it in /etc/default/grub and run update-grub"
    if not decision.plan.initrds and (
        kind in ("UUID", "LABEL") or value.startswith(("/dev/mapper/", "/dev/disk/"))
    ):
        yield f"there is no initrd, and without one Linux does not find root={value}; make one, then run update-grub"


def _is_node(value: str) -> bool:
    """Is this a device that must be there now?  The initrd sets up /dev/mapper, and makes sense of the others."""
    return re.fullmatch("/dev/(?!mapper/|nfs$|zfs$|ram)[^ ]+", value) is not None


def _linked(sysroot: Sysroot, value: str, by: str, name: str) -> Iterator[str]:
    directory = f"/dev/disk/by-{by}"
    # A root without udev's links knows no file systems; the machine has them, but no by-label where none has a label.
    if not sysroot.is_dir("/dev/disk" if sysroot.is_host else directory):
        return
    if sysroot.stat(f"{directory}/{name}", follow=False) if name and "/" not in name else None:
        return
    known = links_by(sysroot, by).values()
    if name not in known and (
        by not in ("uuid", "partuuid") or name.lower() not in map(str.lower, known)
    ):
        yield f"root={value} names nothing in {directory}; correct it in /etc/default/grub and run update-grub"


def _parameter(decision: Decision, name: str) -> str | None:
    """The last value that a parameter of the kernel has."""
    found = None
    for word in words(decision.plan.cmdline) if decision.plan else ():
        if word == "--":
            break
        word = word.replace('"', "")
        if word.startswith(f"{name}="):
            found = word[len(name) + 1 :]
    return found


def _tpm(decision: Decision) -> Iterator[str]:
    """A jump leaves the TPM's registers as they are, and systemd extends some of them once more."""
    if decision.settings.allow_tpm.value:
        return
    mount = decision.disks.mounts.at("/")
    if mount is None or not mount.source.startswith(("/dev/mapper/", "/dev/dm-")):
        return
    for device, registers in _tpm_bound(decision, mount.source):
        if set(registers) - {"7"}:
            yield (
                f"{device} is unlocked by a TPM bound to its registers {'+'.join(registers)}, not to 7 alone: a jump "
                "ends at the prompt for a passphrase; `allow_tpm = yes` in /etc/kexec-hook.conf accepts that"
            )


def _tpm_bound(decision: Decision, root: str) -> Iterator[tuple[str, list[str]]]:
    """What the TPM unlocks below the root file system, and the registers it is bound to; ? where they are not known."""
    sysroot = decision.sysroot.unnoted  # the times of device nodes say nothing
    below = {f"/dev/{node}" for node in _below(sysroot, sysroot.resolve(root).rpartition("/")[2])}
    table = list(_crypttab(decision))
    mine = [
        line
        for line in table
        if f"/dev/mapper/{line[0]}" == root or sysroot.resolve(line[1]) in below
    ]
    for _, device, options in mine or (
        [] if below else table
    ):  # a logical volume in a root without /sys: any of them
        device = sysroot.resolve(device)
        below.discard(device)
        bound = [*_options(options), *_options(_parameter(decision, "rd.luks.options") or "")]
        if any(key == "tpm2-device" for key, _ in bound):
            given = next((value for key, value in bound if key == "tpm2-pcrs"), None)
            found = _tokens(sysroot, device) if given is None else _registers(given)
            yield device, ["?"] if found is None else found
    for device in sorted(below):
        yield device, _tokens(sysroot, device) or []


def _below(sysroot: Sysroot, node: str) -> set[str]:
    """The devices that a device is made of, down to the disks."""
    found = set()
    for slave in sysroot.listdir(f"/sys/class/block/{node}/slaves"):
        found |= {slave} | _below(sysroot, slave)
    return found


def _crypttab(decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Name, device and options: crypttab(5)."""
    for fields in _table(decision.sysroot, "/etc/crypttab"):
        if len(fields) >= 4:
            kind, equals, value = fields[1].partition("=")
            device = f"/dev/disk/by-{_BY[kind]}/{value}" if equals and kind in _BY else fields[1]
            yield fields[0], device, fields[3]


def _options(text: str) -> Iterator[tuple[str, str]]:
    for option in (
        text.partition("=")[2].split(",") if re.match("[0-9a-f-]{36}=", text) else text.split(",")
    ):
        key, _, value = option.partition("=")
        yield key, value


def _tokens(sysroot: Sysroot, device: str) -> list[str] | None:
    """The TPM's registers in the header of a LUKS 2 container, systemd's and clevis'; None where it tells of no TPM.

    LUKS2 On-Disk Format Specification 1.1.2, chapters 2 and 3.4; systemd-cryptenroll(1), clevis-encrypt-tpm2(1).
    """
    try:
        with sysroot.window(device, block=True) as file:
            head = file.at(0, 4096)
            if head[:8] != b"LUKS\xba\xbe\0\2":
                return None
            text = file.at(4096, min(int.from_bytes(head[8:16], "big"), 4 << 20) - 4096).split(
                b"\0"
            )[0]
        found = [_token(token) for token in json.loads(text)["tokens"].values()]
    except SysrootError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["?"]
    # one token that a jump leaves alone is enough to unlock it
    bound = [registers for registers in found if registers is not None]
    return min(bound, key=lambda registers: len(set(registers) - {"7"}), default=None)


def _token(token: dict[str, Any]) -> list[str] | None:
    """The registers of one token; None where it is not about a TPM."""
    if token.get("type") == "systemd-tpm2":
        if token.get("tpm2_pcrlock"):
            return ["pcrlock"]
        return [*map(str, token.get("tpm2-pcrs", [])), *map(str, token.get("tpm2_pubkey_pcrs", []))]
    if token.get("type") == "clevis":
        import base64

        protected = token["jwe"]["protected"]
        clevis = json.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))[
            "clevis"
        ]
        if clevis["pin"] == "tpm2":
            return _registers(str(clevis["tpm2"].get("pcr_ids", "")).replace(",", "+"))
    return None


def _registers(text: str) -> list[str]:
    """0+7:sha256 -> 0, 7"""
    names = (word.partition(":")[0].strip() for word in text.split("+"))
    return ["7" if name == "secure-boot-policy" else name for name in names if name]


# Where GRUB's files are


def _two_configurations(decision: Decision) -> Iterator[str]:
    both = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
    if (
        decision.evaluation is None
        or decision.evaluation.config.path not in both
        or not all(decision.sysroot.is_file(path) for path in both)
    ):
        return
    first, second = (decision.sysroot.read(path) for path in both)
    if first != second:
        yield f"{both[0]} and {both[1]} differ, and nothing tells which one GRUB reads; remove the other"


def _unreadable(decision: Decision) -> Iterator[str]:
    """Files that the decision hangs on, and that are there and cannot be read."""
    for path in ("/etc/fstab", "/etc/crypttab", "/etc/os-release", "/usr/lib/os-release"):
        try:
            decision.sysroot.text(path, 1 << 20)
        except (MissingError, NotPermittedError):
            continue
        except SysrootError as error:
            yield f"{error}, so what it says is not known; correct it"


def _not_mounted(decision: Decision) -> Iterator[str]:
    if not any(mount.device for mount in decision.disks.mounts.all):
        return  # nothing tells what is mounted
    efi = decision.evaluation is not None and decision.evaluation.config.platform == "efi"
    points = ("/boot", "/boot/efi", "/efi") if efi else ("/boot",)
    wanted = {fields[1] for fields in _table(decision.sysroot, "/etc/fstab") if len(fields) > 1}
    for point in points:
        if point in wanted and not any(mount.point == point for mount in decision.disks.mounts.all):
            yield f"{point} is in /etc/fstab but not mounted, so what GRUB reads is out of sight; `mount {point}`"


def _table(sysroot: Sysroot, path: str) -> list[list[str]]:
    """The fields of a file such as /etc/fstab; none where it cannot be read."""
    try:
        lines = sysroot.text(path, 1 << 20).splitlines()
    except SysrootError:
        return []
    return [fields for line in lines if (fields := line.split()) and not fields[0].startswith("#")]


def _one_time_entry(decision: Decision) -> Iterator[str]:
    """Where save_env fails, next_entry stays, and is booted again and again."""
    for problem in decision.problems:
        if problem.span and problem.message in (
            "diskfilter writes are not supported",
            "sparse file not allowed",
        ):
            source = problem.span.source.text[problem.span.start : problem.span.end]
            if "next_entry" in source:
                yield (
                    f"next_entry is set where GRUB cannot clear it ({problem.message}, {problem.span}), so GRUB would "
                    "boot that entry at every boot; `grub-editenv - unset next_entry` ends that"
                )


CHECKS: Checks = (
    _switched_off,
    _kernel,
    _initrds,
    _on_the_way,
    _not_permitted,
    _root,
    _tpm,
    _two_configurations,
    _unreadable,
    _not_mounted,
    _one_time_entry,
)
