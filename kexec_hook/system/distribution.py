"""What this distribution calls the commands that a message recommends: update-grub or grub2-mkconfig, and so on."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from kexec_hook.system.sysroot import Sysroot, SysrootError

# os-release ID or ID_LIKE -> the family whose commands it has.
_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "fedora",
    "rhel": "fedora",
    "centos": "fedora",
    "suse": "suse",
    "opensuse": "suse",
    "sles": "suse",
    "arch": "arch",
}
_INSTALL = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "suse": "zypper install",
    "arch": "pacman -S",
}
_GRUB_TOOLS = {
    "debian": "grub-common",
    "fedora": "grub2-tools-minimal",
    "suse": "grub2",
    "arch": "grub",
}
SUSE_LOADER = "/etc/sysconfig/bootloader"
_KERNEL_PACKAGES = (
    "linux-image-{}",
    "linux-image-unsigned-{}",
    "proxmox-kernel-{}-signed",
    "proxmox-kernel-{}",
    "pve-kernel-{}",
)


def os_release(sysroot: Sysroot) -> dict[str, str]:
    """os-release(5), the plain assignments that it asks for; empty where there is no such file."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = sysroot.text(path, limit=1 << 16)
        except SysrootError:
            continue
        found = {}
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name] = value.strip().strip("\"'")
        return found
    return {}


def system_ids(release: dict[str, str]) -> list[str]:
    """What the system is, and then what it is like, the closest first."""
    return [release.get("ID", ""), *release.get("ID_LIKE", "").split()]


def other_loader_name(sysroot: Sysroot) -> str:
    """The loader that openSUSE's sdbootutil has installed, which reads no grub.cfg; else empty."""
    if not {"suse", "opensuse"} & set(system_ids(os_release(sysroot))):
        return ""
    try:
        text = sysroot.text(SUSE_LOADER, limit=1 << 16)
    except SysrootError:
        return ""
    found = re.search(r"""^LOADER_TYPE=["']?(grub2-bls|systemd-boot)\b""", text, re.MULTILINE)
    return found[1] if found else ""


class Distribution:
    """The commands of the system below a root; where it is not known, what most systems have."""

    def __init__(self, sysroot: Sysroot) -> None:
        # A root of its own: what is read for advice decides nothing, and need not be watched.
        self._sysroot = Sysroot(sysroot.root, is_host=sysroot.is_host)
        names = system_ids(os_release(self._sysroot))
        self.family = next((_FAMILIES[name] for name in names if name in _FAMILIES), "")

    @property
    def _grub(self) -> str:
        """The beginning of the names of GRUB's programs."""
        if self.family:
            return "grub2" if self.family in ("fedora", "suse") else "grub"
        return "grub2" if self._sysroot.exists("/boot/grub2") else "grub"

    @property
    def editenv(self) -> str:
        return f"{self._grub}-editenv"

    @property
    def set_default(self) -> str:
        return f"{self._grub}-set-default"

    @property
    def generates_config(self) -> bool:
        """Is grub.cfg made by grub-mkconfig, from /etc/default/grub?"""
        return self._sysroot.exists("/etc/default/grub")

    @property
    def make_config(self) -> str:
        """Write grub.cfg anew."""
        if self.family == "debian":
            return "update-grub"
        # Until EL 8, GRUB read its configuration from the EFI system partition; this link led there.
        efi = "/etc/grub2-efi.cfg"
        if (
            self.family == "fedora"
            and self._sysroot.exists("/sys/firmware/efi")
            and not self._sysroot.exists("/boot/grub2/grub.cfg")
            and self._sysroot.readlink(efi) is not None
        ):
            return f"grub2-mkconfig -o {efi}"
        return f"{self._grub}-mkconfig -o /boot/{self._grub}/grub.cfg"

    def is_own_config(self, path: str) -> bool:
        """Is this the file that `make_config` writes?"""
        names = (f"/boot/{self._grub}/grub.cfg", "/etc/grub2-efi.cfg")
        return self._sysroot.resolve(path) in {self._sysroot.resolve(name) for name in names}

    def correct_config(self, path: str, line: int = 0) -> str:
        """Mend a configuration, or a line of it: where it is made, and by hand where nothing makes it."""
        from kexec_hook.system.generated import is_generated, script_of  # advice is rare

        here = f"correct {path}:{line}" if line else f"correct {path}"
        if not self.is_own_config(path):
            return here
        text = self._text(path)
        if text.strip() and not is_generated(text):
            return here
        script = script_of(text, line)
        wrong = text.split("\n")[line - 1 : line] if line else []
        if script and any(part.strip() and part in self._text(script) for part in wrong):
            return f"correct it in {script}, then run `{self.make_config}`"
        return self.make_config

    def _text(self, path: str) -> str:
        try:
            return self._sysroot.text(path)
        except SysrootError:
            return ""

    def make_initrd(self, path: str, release: str, *, new: bool = False) -> str:
        """Make an initrd: of the release in its name, else of this one; `new`: it does not exist."""
        name = path.rpartition("/")[2]
        own = re.fullmatch(
            r"initrd\.img-(.+)|initramfs-(.+)\.img|initrd-(.+?)(?:\.img)?|(?:initrd|initramfs)(?:\.img)?",
            name,
        )
        if own is None or "fallback" in name:
            return self._other_image(path)
        release = next(filter(None, own.groups()), release)
        if self.family == "arch":
            return "mkinitcpio -P"
        if self.family in ("debian", "fedora", "suse"):
            if not release:
                return ""
            if self.family == "debian" and not self._dracut_alone:
                action = "-c" if new else "-u"
                return f"update-initramfs {action} -k {release}"
            return f"dracut --force --kver {release}"
        return f"make {path} again (update-initramfs, dracut or mkinitcpio)"

    @property
    def _dracut_alone(self) -> bool:
        return not self._sysroot.exists("/usr/sbin/update-initramfs") and self._sysroot.exists(
            "/usr/bin/dracut"
        )

    def _other_image(self, path: str) -> str:
        microcode = re.fullmatch(r"((?:intel|amd)-ucode)\.img", path.rpartition("/")[2])
        if microcode and self.family == "arch":
            return f"pacman -S {microcode[1]}"
        if self.family == "arch" and "fallback" in path:
            return "mkinitcpio -P"
        return f"restore {path}, or take it out of the boot entry"

    def reinstall_kernel(self, path: str, release: str) -> str:
        """Put a kernel's file back as its package has it."""
        found = re.fullmatch(r"vmlinu[xz]-(.+)", path.rpartition("/")[2])
        release = found[1] if found else release
        if release and self.family == "debian":
            package = self._debian_kernel(release)
            if package:
                # The kernel itself, where the other package only copies it to /boot: Debian since 2026.
                binary = f"linux-binary-{release}"
                has = self._sysroot.exists(f"/var/lib/dpkg/info/{binary}.list")
                return f"apt-get install --reinstall {f'{binary} ' if has else ''}{package}"
        if release and self.family == "fedora":
            flavour = "uek-" if "uek" in release else ""
            return f"dnf reinstall kernel-{flavour}core-{release}"
        flavour = release.rpartition("-")[2]
        if self.family == "suse" and flavour:
            return f"zypper install --force kernel-{flavour}"
        if self.family == "arch":
            named = re.fullmatch("linux(-lts|-zen|-hardened)?", release)
            return f"pacman -S {named[0] if named else 'linux'}"
        return f"reinstall the package that {path} comes from"

    def _debian_kernel(self, release: str) -> str:
        """The package whose list of files dpkg has; the usual one below a root without dpkg's lists."""
        if not self._sysroot.is_dir("/var/lib/dpkg/info"):
            return _KERNEL_PACKAGES[0].format(release)
        packages = (name.format(release) for name in _KERNEL_PACKAGES)
        return next(
            (name for name in packages if self._sysroot.exists(f"/var/lib/dpkg/info/{name}.list")),
            "",
        )

    def install(self, package: str) -> str:
        """`package` as most distributions call it; `grub-editenv` stands for the package that holds it."""
        if package == "grub-editenv":
            package = _GRUB_TOOLS.get(self.family, "grub-common")
        command = _INSTALL.get(self.family)
        return f"{command} {package}" if command else f"install the package {package}"
