"""A Debian that takes itself for a Fedora: dnf, rpm and kernel-install are real, kernels come as rpms, GRUB reads BLS.

kexec-hook is installed there by dnf, from the packages of its own spec.  /usr/bin/kexec-hook is then a program that
notes each call, and which entries were there when it came; what would be decided is asked from outside, of the
checkout, with --root.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import grubcfg
from tests.packages.chroot import Chroot, Done, Recipe
from tests.packages.rpm_lab import BUILDER

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
MACHINE = "5f3c0b1e9d7a4c2f8e6b1a2d3c4e5f60"
CALLS = "var/log/kexec-hook.calls"

_RUNS = ("rpm", "createrepo-c", "systemd", "grub-common", "python3-pluggy", "python3-packaging")
RECIPES = {
    "bookworm": BUILDER,
    "trixie": Recipe("trixie", ("dnf", "python3-dnf", *_RUNS), name="dnf"),
    "testing": Recipe("testing", ("dnf5", "python3", *_RUNS), name="dnf"),
}

# grub.cfg of Fedora 41, as its 00_header, 01_users, 10_linux and 14_menu_show_once make it, less what hides the menu.
GRUB_CFG = f"""\
{grubcfg.FEDORAS}menuentry_id_option="--id"
export menuentry_id_option
set timeout=5
insmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root {UUID}
insmod blscfg
blscfg
"""

OS_RELEASE = """\
NAME="Fedora Linux"
ID=fedora
VERSION_ID=41
PRETTY_NAME="Fedora Linux 41 (Server Edition)"
"""

DNF_CONF = """\
[main]
gpgcheck=False
installonly_limit=3
clean_requirements_on_remove=True
{plugins}
[local]
name=local
baseurl=file:///srv/rpms
metadata_expire=0
"""

RECORDER = f"""\
#!/bin/sh
{{ echo "call $*"; ls -1 /boot/loader/entries; }} >> /{CALLS}
"""

# What a transaction leaves, and what is put back between tests.
_STATE = (
    *(
        "boot",
        "etc",
        "run",
        "usr/lib/modules",
        "usr/lib/sysimage",
        "usr/lib/kexec-hook",
        "usr/bin/kexec-hook",
    ),
    "srv/image",
    *("var/lib/rpm", "var/lib/dnf", "var/log", "var/cache/dnf", "var/cache/libdnf5"),
)


@dataclass(frozen=True)
class Call:
    """A start of kexec-hook: its words, and the releases of the entries that were there."""

    words: str
    releases: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    suite: str
    chroot: Chroot
    program: str  # dnf4 | dnf5

    @property
    def source(self) -> str:
        return self.program

    def dnf(self, *words: str) -> Done:
        return self.chroot.run(
            "dnf5" if self.program == "dnf5" else "dnf", "-y", "--releasever=41", *words
        )

    def rpm(self, *words: str) -> Done:
        # Debian 12's rpm refuses to change a system that is dpkg's.
        force = ["--force-debian"] if self.suite == "bookworm" else []
        return self.chroot.run("rpm", *force, *words).check()

    def without_glue(self) -> str:
        """The option that runs dnf as it would be without kexec-hook."""
        return (
            "--disable-plugin=actions" if self.program == "dnf5" else "--disableplugin=kexec-hook"
        )

    def install(self, *releases: str) -> Done:
        return self.dnf("install", *(f"kernel-core-{release}" for release in releases)).check()

    def releases(self) -> set[str]:
        """The kernels that rpm has installed."""
        done = self.chroot.run("rpm", "-q", "kernel-core", "--qf", "%{VERSION}-%{RELEASE}\n")
        return set(re.findall(r"^\d.*$", done.output, re.MULTILINE))

    def newest(self) -> str:
        """The newest of them in the eyes of rpm, whose order is that of rhboot's blscfg for snippets of one machine."""
        newest = ""
        for release in self.releases():
            compare = f'%{{lua: print(rpm.vercmp("{release}", "{newest}"))}}'
            if (
                not newest
                or self.chroot.run("rpm", "--eval", compare).check().output.strip() == "1"
            ):
                newest = release
        return newest

    def entries(self) -> set[str]:
        return {release_of(path.name) for path in (self.chroot / "boot/loader/entries").iterdir()}

    def saved_entry(self, release: str) -> None:
        """As grub2-set-default writes it on Fedora."""
        value = f"saved_entry={MACHINE}-{release}.x86_64" if release else "saved_entry="
        self.chroot.run("grub-editenv", "/boot/grub2/grubenv", "set", value).check()

    def calls(self) -> list[Call]:
        """Every start of kexec-hook since the last question."""
        path = self.chroot / CALLS
        if not path.exists():
            return []
        found = path.read_text().split("call ")[1:]
        path.unlink()
        return [
            Call(words, tuple(map(release_of, names)))
            for words, *names in map(str.splitlines, found)
        ]

    def save(self, directory: Path) -> None:
        for name in _STATE:
            _copy(self.chroot / name, directory / name)

    def restore(self, directory: Path) -> None:
        """Everything as it was when `save` was called."""
        for name in _STATE:
            _copy(directory / name, self.chroot / name)


def release_of(name: str) -> str:
    """The kernel release, without the architecture, of a snippet that kernel-install wrote."""
    return name.removeprefix(f"{MACHINE}-").removesuffix(".conf").removesuffix(".x86_64")


def _copy(source: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def furnish(chroot: Chroot, rpms: list[Path]) -> None:
    """A Debian chroot becomes the Fedora that GRUB, dnf and kernel-install see."""
    repository = chroot / "srv/rpms"
    repository.mkdir(parents=True)
    for rpm in rpms:
        shutil.copy(rpm, repository)
    chroot.run("createrepo_c", "/srv/rpms").check()
    dnf4 = not (chroot / "usr/bin/dnf5").exists()
    plugins = "pluginpath=/usr/lib/python3.11/site-packages/dnf-plugins\n" if dnf4 else ""
    chroot.write("etc/dnf/dnf.conf", DNF_CONF.format(plugins=plugins))
    # Debian's Python does not look where Fedora's packages put their modules.
    chroot.write(
        "usr/lib/python3/dist-packages/rpm-packages.pth", "/usr/lib/python3.11/site-packages\n"
    )
    # Debian 12's rpm keeps its database in the user's home.
    chroot.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    (chroot / "etc/os-release").unlink()
    chroot.write("etc/os-release", OS_RELEASE)
    chroot.write("etc/machine-id", f"{MACHINE}\n")
    chroot.write("etc/kernel/cmdline", f"root=UUID={UUID} ro rhgb quiet\n")
    chroot.write("etc/kernel/install.conf", "layout=bls\nBOOT_ROOT=/boot\n")
    chroot.write(f"dev/disk/by-uuid/{UUID}")
    chroot.write("boot/grub2/grub.cfg", GRUB_CFG)
    chroot.run("grub-editenv", "/boot/grub2/grubenv", "create").check()
    (chroot / "boot/loader/entries").mkdir(parents=True)


def record(chroot: Chroot, real: bool = False) -> None:
    """From now on each start of kexec-hook is noted; with `real`, it then goes on."""
    program = chroot / "usr/bin/kexec-hook"
    if not program.with_suffix(".real").exists():
        program.rename(program.with_suffix(".real"))
    last = 'exec /usr/bin/kexec-hook.real "$@"' if real else 'echo "kexec-hook: noted $*"'
    chroot.write("usr/bin/kexec-hook", f"{RECORDER}{last}\n", 0o755)
