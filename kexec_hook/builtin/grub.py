"""Where Debian's and Fedora's families keep GRUB's configuration, and which GRUB reads it."""

from __future__ import annotations

import os
import re

import pluggy

from kexec_hook.rootdisks import RootDisks
from kexec_hook.run import BootConfig
from kexec_hook.sysroot import Sysroot, SysrootError

hookimpl = pluggy.HookimplMarker("kexec_hook")

_DIRECTORIES = ("/boot/grub", "/boot/grub2")
_ESPS = ("/boot/efi", "/efi", "/boot")
# os-release ID -> the directory of its signed GRUB on the EFI system partition, where they differ.
_VENDORS = {"rhel": "redhat", "ol": "redhat", "almalinux": "almalinux", "opensuse-leap": "opensuse"}
_CPUS = {"x86_64": "x86_64", "aarch64": "arm64", "i686": "i386"}


@hookimpl
def kexec_hook_boot_config(sysroot: Sysroot, disks: RootDisks) -> BootConfig | None:
    """An EFI stub on the ESP where it can be read, else /boot/grub/grub.cfg or /boot/grub2/grub.cfg."""
    release = os_release(sysroot)
    efi = sysroot.exists("/sys/firmware/efi")
    main = next((d for d in _DIRECTORIES if sysroot.is_file(f"{d}/grub.cfg")), None)
    notes = []
    stub = _stub(sysroot, release) if efi else None
    directory = stub or main
    if directory is None:
        return None
    path = disks.grub_path(directory)
    if path is None and stub:
        directory, path = main, main and disks.grub_path(main)
        notes.append(f"{stub}/grub.cfg is on nothing that GRUB could read")
    if directory is None or path is None:
        return None
    modules = main or directory
    return BootConfig(
        path=f"{directory}/grub.cfg",
        config=f"{path}/grub.cfg",
        prefix=str(path),
        flavour=flavour_of(sysroot, release, modules),
        platform="efi" if efi else "pc",
        cpu=_cpu(sysroot) if efi else "i386",
        # The signed EFI images of Debian, Ubuntu and Fedora have the regexp module built in.
        globbing=efi,
        notes=tuple(notes),
    )


def os_release(sysroot: Sysroot) -> dict[str, str]:
    """ID, ID_LIKE, VERSION_ID, PRETTY_NAME (os-release(5)); empty where there is no such file."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = sysroot.text(path)
        except SysrootError:
            continue
        found = {}
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name] = value.strip("\"'")
        return found
    return {}


def flavour_of(sysroot: Sysroot, release: dict[str, str], directory: str) -> str:
    """rhboot for the Fedora family; otherwise upstream, by the version of the GRUB that was installed."""
    like = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if like & {"fedora", "rhel"}:
        return "rhboot"
    version = _installed_version(sysroot, directory)
    if version is None:
        debian = release.get("ID") == "debian"
        number = release.get("VERSION_ID", "")
        version = (2, 14) if debian and (not number or int(number.partition(".")[0] or 0) >= 14) else (2, 12)
    return "upstream-2.14" if version >= (2, 14) else "upstream"


def _installed_version(sysroot: Sysroot, directory: str) -> tuple[int, int] | None:
    """grub_version in modinfo.sh, which grub-install copies beside the modules."""
    for platform in ("i386-pc", "x86_64-efi", "arm64-efi", "i386-efi"):
        try:
            text = sysroot.text(f"{directory}/{platform}/modinfo.sh")
        except SysrootError:
            continue
        found = re.search(r'^grub_version="?(\d+)\.(\d+)', text, re.MULTILINE)
        if found:
            return int(found[1]), int(found[2])
    return None


def _stub(sysroot: Sysroot, release: dict[str, str]) -> str | None:
    """The directory on the ESP from which a signed GRUB starts, if its grub.cfg can be seen."""
    name = release.get("ID", "")
    vendor = _VENDORS.get(name, name)
    for esp in _ESPS:
        directory = f"{esp}/EFI/{vendor}"
        if vendor and sysroot.is_file(f"{directory}/grub.cfg"):
            return directory
    return None


def _cpu(sysroot: Sysroot) -> str:
    try:
        if sysroot.text("/sys/firmware/efi/fw_platform_size").strip() == "32":
            return "i386"
    except SysrootError:
        pass
    return _CPUS.get(os.uname().machine, "x86_64") if sysroot.is_host else "x86_64"
