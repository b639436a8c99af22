"""A Debian that takes itself for an Arch: pacman and libalpm are real, mkinitcpio's hook and kernels stand for theirs.

kexec-hook is there as Arch's users have it, by pip, with its files from `hooks install`.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.packages import chroot as chroots
from tests.packages.all import lab
from tests.packages.chroot import ROOT, Chroot, Done, Recipe
from tests.packages.rpm_lab import BUILDER, initrd, renamed

RECIPE = Recipe(
    "trixie",
    (
        *("pacman-package-manager", "grub-common", "python3-venv", "python3-setuptools"),
        *("python3-wheel", "python3-pip", "python3-pluggy", "python3-packaging"),
    ),
    name="pacman",
)
VENV = "/opt/kexec-hook"
HOOKS = "/usr/share/libalpm/hooks"
HOOK = f"{HOOKS}/zzz-kexec-hook.hook"

OS_RELEASE = """\
NAME="Arch Linux"
ID=arch
PRETTY_NAME="Arch Linux"
BUILD_ID=rolling
"""
PACMAN_CONF = f"""\
[options]
Architecture = x86_64
SigLevel = Never
HookDir = {HOOKS}
HookDir = /etc/pacman.d/hooks
DisableSandbox

[here]
Server = file:///srv/packages
"""
# As Arch's 90-mkinitcpio-install.hook, and one that users have for grub-mkconfig.
MKINITCPIO_HOOK = """\
[Trigger]
Type = Path
Operation = Install
Operation = Upgrade
Operation = Remove
Target = usr/lib/modules/*/vmlinuz

[Action]
Description = Updating linux initcpios...
When = PostTransaction
Exec = /usr/sbin/mkinitcpio
"""
MKINITCPIO = """\
#!/bin/sh
rm -f /boot/vmlinuz-* /boot/initrd-*
for base in /usr/lib/modules/*/pkgbase; do
    [ -e "$base" ] || continue
    name=$(cat "$base")
    cp "${base%/*}/vmlinuz" "/boot/vmlinuz-$name"
    cp "${base%/*}/initrd" "/boot/initrd-$name"
done
make-config
"""


def package(
    path: Path, name: str, version: str, files: Mapping[str, bytes], install: str = ""
) -> Path:
    """A package as makepkg would make it, less what pacman does not ask for."""
    size = sum(map(len, files.values()))
    about = {"pkgname": name, "pkgver": version, "pkgdesc": name, "arch": "x86_64", "size": size}
    info = "".join(f"{key} = {value}\n" for key, value in about.items())
    first = {".PKGINFO": info.encode(), **({".INSTALL": install.encode()} if install else {})}
    target = path / f"{name}-{version}-x86_64.pkg.tar"
    with tarfile.open(target, "w") as tar:
        for member, content in {**first, **files}.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return target


def database(path: Path, name: str, version: str) -> None:
    """What repo-add makes of a package: a repository of that one."""
    file = f"{name}-{version}-x86_64.pkg.tar"
    fields = {"FILENAME": file, "NAME": name, "VERSION": version, "ARCH": "x86_64"}
    fields["CSIZE"] = str((path / file).stat().st_size)
    fields["SHA256SUM"] = hashlib.sha256((path / file).read_bytes()).hexdigest()
    desc = "".join(f"%{field}%\n{value}\n\n" for field, value in fields.items()).encode()
    with tarfile.open(path / "here.db", "w") as tar:
        entry = tarfile.TarInfo(f"{name}-{version}/desc")
        entry.size = len(desc)
        tar.addfile(entry, io.BytesIO(desc))


def kernel(path: Path, image: bytes, name: str, release: str) -> Path:
    """A kernel of Arch's: `linux` or `linux-lts`, of which there is one version at a time."""
    directory = f"usr/lib/modules/{release}"
    files = {
        f"{directory}/vmlinuz": renamed(image, release),
        f"{directory}/initrd": initrd(release),
        f"{directory}/pkgbase": f"{name}\n".encode(),
    }
    return package(path, name, release.replace("-arch", ".arch"), files)


@dataclass(frozen=True)
class Lab:
    chroot: Chroot

    def pacman(self, *words: str) -> Done:
        return self.chroot.run("pacman", "--noconfirm", *words)

    def install(self, name: str) -> Done:
        """A file of /srv/packages."""
        return self.pacman("-U", f"/srv/packages/{name}-x86_64.pkg.tar").check()

    def calls(self) -> list[lab.Call]:
        return lab.calls(self.chroot)

    def asked(self) -> list[str]:
        return [call.words for call in self.calls()]

    def program(self, *words: str) -> Done:
        """kexec-hook itself, where `record` has not replaced it."""
        return self.chroot.run(f"{VENV}/bin/kexec-hook", *words)


def image() -> bytes:
    """Of Debian's cloud kernel."""
    with tarfile.open(chroots.tarball(BUILDER)) as tar:
        member = tar.extractfile("./var/tmp/vmlinuz")
        assert member
        return member.read()


def furnish(chroot: Chroot) -> Lab:
    lab.furnish(chroot, OS_RELEASE, "grub")
    made = Lab(chroot)
    chroot.write("etc/pacman.conf", PACMAN_CONF)
    chroot.write(f"{HOOKS}/90-mkinitcpio-install.hook", MKINITCPIO_HOOK)
    chroot.write("usr/sbin/mkinitcpio", MKINITCPIO, 0o755)
    packages = chroot / "srv/packages"
    packages.mkdir(parents=True)
    bzimage = image()
    for name, release in (
        *(("linux", "6.9.1-arch1-1"), ("linux", "6.9.3-arch1-1")),
        ("linux-lts", "6.6.32-1"),
    ):
        kernel(packages, bzimage, name, release)
    package(packages, "no-kernel", "1-1", {"usr/share/no-kernel": b""})
    package(packages, "no-kernel", "2-1", {"usr/share/no-kernel": b"2"})
    fails = "pre_install() {\n false\n}\npost_install() {\n false\n}\n"
    package(packages, "fails", "1-1", {"usr/share/fails": b""}, fails)
    package(packages, "in-the-way", "1-1", {"usr/share/no-kernel": b""})
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith(("tests/", "docs/examples/")):
            chroot.write(f"srv/source/{name}", (ROOT / name).read_bytes())
    pip = f"{VENV}/bin/pip install --quiet --no-index --no-deps --no-build-isolation /srv/source"
    chroot.sh(f"python3 -m venv --system-site-packages {VENV} && {pip}").check()
    made.program("hooks", "install", "pacman").check()
    return made
