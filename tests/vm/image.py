"""A Debian on a disk image: its packages, its two kernels, its GRUB.  Made once, then kept under .cache/vm by content.

Needs root (for a chroot and the owners of files), but no loop device and no mount: mmdebstrap makes the root,
`mkfs.ext4 -d` puts it into the image, GRUB's boot.img and a core.img are written in front of it, or a core.efi into
an EFI system partition.  Then the machine is booted once, where the real grub-install and update-grub replace what was
put there by hand.

    python3 -m tests.vm.image --needs       installs what is missing on this system
    python3 -m tests.vm.image [NAME...]     makes images (debian12, ...), and says where they are
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.machine import OVMF_CODE, OVMF_SECURE, VirtualMachine

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "vm"

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Programs or files, and the packages they come in.
NEEDED = {
    "mcopy": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "/usr/share/seabios/bios-256k.bin": "seabios",
    str(OVMF_CODE): "ovmf",
    str(OVMF_SECURE): "ovmf",
    "sfdisk": "fdisk",
    "setpriv": "util-linux",
    KEYRING: "debian-archive-keyring",
}
PACKAGES = (
    *(
        "systemd-sysv",
        "udev",
        "dbus",
        "mount",
        "util-linux",
        "initramfs-tools",
        "zstd",
        "e2fsprogs",
    ),
    *("kexec-tools", "python3", "python3-pluggy", "python3-packaging", "python3-installer"),
)
GRUB_OF_BIOS = ("grub-pc",)
# As Debian's installer leaves a machine: the signed GRUB reads its stub on the ESP, whether Secure Boot is on or off.
GRUB_OF_UEFI = ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "efibootmgr")
OVMF_VARIABLES = OVMF_CODE.with_name("OVMF_VARS_4M.fd")
MICROSOFTS_KEYS = OVMF_CODE.with_name("OVMF_VARS_4M.ms.fd")
UUID = "11111111-2222-3333-4444-555555555555"
BOOT_UUID = "bbbbbbbb-2222-3333-4444-555555555555"
SIZE = 3 << 30
SECTOR = 512
FIRST_SECTOR = 2048  # of the first partition; GRUB's core.img lies before it
BOOT_SECTORS = (512 << 20) // SECTOR  # of a /boot of its own
ESP_SECTORS = (64 << 20) // SECTOR
ESP_UUID = "EEEE-5555"

# Nothing that a test looks at, and each costs time under emulation.
_MASKED = """
getty@tty1.service serial-getty@ttyS0.service serial-getty@ttyS1.service systemd-binfmt.service systemd-pstore.service
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
systemd-tmpfiles-clean.timer systemd-update-utmp.service systemd-update-utmp-runlevel.service
dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
sys-kernel-tracing.mount modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service
modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
"""

# Until update-grub has run in the machine.  no_timer_check: on a busy host the emulated timer may come late, and Linux
# would then do without it.
FIRST_GRUB_CFG = """\
serial --unit=0 --speed=115200
terminal_output serial console
linux {boot}/vmlinuz-{release} root=UUID={uuid} ro quiet console=ttyS0,115200 no_timer_check
initrd {boot}/initrd.img-{release}
boot
"""


class ImageError(Exception):
    """The image cannot be made here; the message says what is missing."""


@dataclass(frozen=True)
class Recipe:
    name: str
    suite: str
    also: tuple[str, ...] = ()  # suites for what this one does not have
    packages: tuple[str, ...] = ()
    newer_is_installed: bool = True
    own_boot: bool = False  # /boot is a file system of its own
    uefi: bool = False
    secure: bool = False  # Secure Boot, with Microsoft's keys


@dataclass(frozen=True)
class Image:
    disk: Path
    variables: Path | None  # the firmware's, of a machine with UEFI
    older: str  # releases of the two kernels
    newer: str
    newer_packages: tuple[Path, ...]  # its image, and what only that needs
    secure: bool = False


DEBIAN_12 = Recipe("debian12", "bookworm")
DEBIAN_13 = Recipe("debian13", "trixie", uefi=True, secure=True)
# GRUB 2.14's blscfg takes the paths in its entries from the top of the file system that holds them.
TESTING = Recipe(
    "testing",
    "testing",
    also=("trixie",),
    packages=("dnf5", "rpm"),
    newer_is_installed=False,
    own_boot=True,
)
DEBIAN_13_UEFI = Recipe(
    "debian13-uefi", "trixie", packages=("systemd-ukify", "systemd-boot-efi"), uefi=True
)
RECIPES = {recipe.name: recipe for recipe in (DEBIAN_12, DEBIAN_13, TESTING, DEBIAN_13_UEFI)}


def missing() -> list[str]:
    """Packages that this system lacks."""
    return sorted(
        package for needed, package in NEEDED.items()
        if not (Path(needed).exists() if needed.startswith("/") else shutil.which(needed, path=_path()))
    )  # fmt: skip


def install_missing() -> None:
    packages = missing()
    if not packages:
        return
    apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
    if os.geteuid() != 0:
        raise ImageError(f"missing packages; as root: apt-get install {' '.join(packages)}")
    with _told(f"installed {' '.join(packages)}"):
        do(*apt, "update")
        do(
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            *apt,
            "install",
            "-y",
            "--no-install-recommends",
            *packages,
        )


def make(recipe: Recipe) -> Image:
    """The image, from the cache where nothing has changed since."""
    if missing():
        raise ImageError(f"missing packages: apt-get install {' '.join(missing())}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _told(f"{recipe.name}: package lists"):
        apt = Apt(CACHE / f"apt-{recipe.suite}", (recipe.suite, *recipe.also))
        older, newer = apt.two_kernels()
        installed = (older, newer) if recipe.newer_is_installed else (older,)
        common = (*PACKAGES, *(GRUB_OF_UEFI if recipe.uefi else GRUB_OF_BIOS), *recipe.packages)
        packages = (*common, *(f"linux-image-{release}" for release in installed))
        versions = apt.versions(packages)
        without_newer = (*common, f"linux-image-{older}")
        newer_packages = apt.download_added(f"linux-image-{newer}", without_newer)
    root_key = _key(recipe, _files("early"), MMDEBSTRAP, packages, versions)
    disk_key = _key(root_key, _files("root"), _files(recipe.name), Path(__file__).read_bytes())
    disk = CACHE / f"{recipe.name}-disk-{disk_key}.raw"
    variables = CACHE / f"{recipe.name}-variables-{disk_key}.fd" if recipe.uefi else None
    if not disk.exists():
        if os.geteuid() != 0:
            raise ImageError("making an image needs root; a finished one in .cache/vm would not")
        root = CACHE / f"{recipe.name}-root-{root_key}.tar"
        if not root.exists():
            with (
                _told(f"{recipe.name}: root with {' and '.join(installed)}"),
                _finished(root) as path,
            ):
                _make_root(recipe, apt, packages, path)
        # Who finds the disk finds the variables as well: they have their name first.
        with (
            _finished(disk) as path,
            _finished(variables) if variables else contextlib.nullcontext() as own_variables,
        ):
            with _told(f"{recipe.name}: disk"):
                _make_disk(recipe, root, installed[-1], path)
            if own_variables:
                shutil.copyfile(OVMF_VARIABLES, own_variables)
            with _told(f"{recipe.name}: first boot, grub-install, update-grub"):
                _set_up(path, own_variables)
            if own_variables and recipe.secure:
                shutil.copyfile(MICROSOFTS_KEYS, own_variables)
        _forget_others(f"{recipe.name}-root-*", root)
        _forget_others(f"{recipe.name}-disk-*", disk)
        _forget_others(f"{recipe.name}-variables-*", variables)
    return Image(disk, variables, older, newer, newer_packages, recipe.secure)


# What the archive has.


class Apt:
    """A package manager of these suites' own, with the mirrors that this system is configured for."""

    def __init__(self, directory: Path, suites: Sequence[str]) -> None:
        self._directory = directory
        self.sources = tuple(line for suite in suites for line in _sources(suite))
        for name in ("etc", "lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        (directory / "etc/sources.list").write_text("".join(f"{line}\n" for line in self.sources))
        settings = {
            "Dir::Etc::SourceList": directory / "etc/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::Status": directory / "status",
            "Dir::Cache": directory / "cache",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            # A mirror that stands still is no reason not to test.
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
        }
        self._options = [
            word for name, value in settings.items() for word in ("-o", f"{name}={value}")
        ]
        if subprocess.run(
            ["apt-get", *self._options, "update", "-qq"], env=_environment()
        ).returncode:
            print(
                "the package lists could not be renewed: going on with those of the last time",
                file=sys.stderr,
            )

    def two_kernels(self) -> tuple[str, str]:
        """Older and newer: the two newest of the series that the suite's metapackage depends on."""
        depends = self._run("apt-cache", "depends", "linux-image-cloud-amd64")
        newest = re.search(r"Depends: linux-image-(\S+-cloud-amd64)$", depends, re.MULTILINE)
        if not newest:
            raise ImageError(f"linux-image-cloud-amd64 depends on no kernel:\n{depends}")
        names = self._run("apt-cache", "pkgnames", "linux-image-").split()
        releases = [name[len("linux-image-") :] for name in names if name.endswith("-cloud-amd64")]
        others = [release for release in releases if release[0].isdigit() and release != newest[1]]
        series = ".".join(newest[1].split(".")[:2]) + "."
        # Another series where the suite has but one of this.
        ranked = sorted(others, key=lambda release: (release.startswith(series), _numbers(release)))
        if not ranked:
            raise ImageError(f"the suite offers one kernel only, {newest[1]}")
        older, newer = sorted((ranked[-1], newest[1]), key=_numbers)
        return older, newer

    def versions(self, packages: Sequence[str]) -> str:
        """All that would be installed with these, a line each."""
        said = self._run("apt-get", "--simulate", "install", "?essential", "apt", *packages)
        return "\n".join(
            sorted(
                line.partition(" [")[0] for line in said.splitlines() if line.startswith("Inst ")
            )
        )

    def download_added(self, package: str, packages: Sequence[str]) -> tuple[Path, ...]:
        """The package's file, and those of all that it brings along where these are installed."""
        before, after = (
            set(self.versions(names).splitlines()) for names in (packages, (*packages, package))
        )
        return tuple(self._download(line.split()[1]) for line in sorted(after - before))

    def _download(self, package: str) -> Path:
        """The package's file, from the cache where it is there."""
        [uri] = self._run("apt-get", "--print-uris", "download", package).splitlines()
        file = self._directory / "cache/archives" / uri.split()[1]
        if not file.exists():
            self._run("apt-get", "download", package, cwd=file.parent)
        _forget_others(f"{file.parent.relative_to(CACHE)}/{package}_*", file)
        return file

    def _run(self, program: str, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [program, *self._options, *words],
            env=_environment(), cwd=cwd, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ImageError(f"{program} {' '.join(words)}:\n{done.stderr}")
        return done.stdout


def _sources(suite: str) -> Iterator[str]:
    """This system's Debian mirrors, asked for another suite of Debian."""
    formatted = "$(ORIGIN)\t$(REPO_URI)\t$(CODENAME)\t$(COMPONENT)"
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", formatted, "Created-By: Packages"],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    targets = {tuple(line.split("\t")) for line in said.splitlines()}
    debian = sorted(target for target in targets if target[0] == "Debian" and target[3] == "main")
    if not debian:
        raise ImageError(
            "apt knows no Debian mirror: has apt-get update run, with Debian's sources?"
        )
    ours = min((codename for _, _, codename, _ in debian), key=len)
    for _, uri, codename, component in debian:
        if codename.startswith(ours):
            yield f"deb [signed-by={KEYRING}] {uri} {suite}{codename[len(ours) :]} {component}"


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


# The image.

MMDEBSTRAP = (
    *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar"),
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Apt::Install-Recommends "false"',
    *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*"),
    *("--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*"),
    # GRUB goes to no disk of this chroot.
    '--essential-hook=echo "grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections',
    '--essential-hook=mkdir -p "$1/etc/initramfs-tools" "$1/usr/share/initramfs-tools"',
    f"--essential-hook=sync-in {HERE}/guest/early /",
)


def _make_root(recipe: Recipe, apt: Apt, packages: Sequence[str], tar: Path) -> None:
    do(*MMDEBSTRAP, f"--include={','.join(packages)}", recipe.suite, str(tar), *apt.sources)


def _make_disk(recipe: Recipe, root_tar: Path, release: str, disk: Path) -> None:
    with _scratch() as scratch:
        root = scratch / "root"
        root.mkdir()
        do(
            "tar",
            "-C",
            str(root),
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-xpf",
            str(root_tar),
        )
        root.chmod(0o755)
        for overlay in (HERE / "guest/early", HERE / "guest/root", HERE / "guest" / recipe.name):
            if overlay.is_dir():
                shutil.copytree(overlay, root, dirs_exist_ok=True)
                _as_root(overlay, root)
        _configure(recipe, root)
        target = "x86_64-efi" if recipe.uefi else "i386-pc"
        shutil.copytree(root / "usr/lib/grub" / target, root / "boot/grub" / target)
        first = FIRST_GRUB_CFG.format(
            release=release, uuid=UUID, boot="" if recipe.own_boot else "/boot"
        )
        (root / "boot/grub/grub.cfg").write_text(first)
        (_write_esp if recipe.uefi else _write_grub)(recipe, root, disk)
        if recipe.own_boot:
            (root / "boot").rename(scratch / "boot")
            (root / "boot").mkdir()
            _make_file_system(scratch / "boot", BOOT_UUID, "boot", FIRST_SECTOR, BOOT_SECTORS, disk)
        start = FIRST_SECTOR + (
            BOOT_SECTORS if recipe.own_boot else ESP_SECTORS if recipe.uefi else 0
        )
        end = SIZE // SECTOR - (FIRST_SECTOR if recipe.uefi else 0)  # where GPT's copy is
        _make_file_system(root, UUID, "root", start, end - start, disk)


def _configure(recipe: Recipe, root: Path) -> None:
    (root / "etc/machine-id").write_text("")
    # No fsck, for which the boot would wait until udev has gone through all devices.
    mounts = [f"UUID={UUID} / ext4 defaults,noatime 0 0"]
    if recipe.own_boot:
        mounts.append(f"UUID={BOOT_UUID} /boot ext4 defaults,noatime 0 0")
    if recipe.uefi:
        (root / "boot/efi").mkdir()
        mounts.append(f"UUID={ESP_UUID} /boot/efi vfat umask=0077 0 0")
    (root / "etc/fstab").write_text("".join(f"{line}\n" for line in mounts))
    (root / "var/log/journal").mkdir(exist_ok=True)
    for path in ("etc/resolv.conf", "etc/apt/sources.list"):
        (root / path).unlink(missing_ok=True)
    units = root / "etc/systemd/system"
    for unit in _MASKED.split():
        (units / unit).symlink_to("/dev/null")
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    for unit in ("e2e-ready.service", "e2e-shell.service"):
        (units / "multi-user.target.wants" / unit).symlink_to(f"../{unit}")


def _make_file_system(
    content: Path, uuid: str, label: str, start: int, sectors: int, disk: Path
) -> None:
    do(
        *(
            "mkfs.ext4",
            "-q",
            "-F",
            "-L",
            label,
            "-U",
            uuid,
            "-b",
            "4096",
            "-m",
            "1",
            "-d",
            str(content),
        ),
        *(
            "-E",
            f"offset={start * SECTOR},lazy_itable_init=1",
            str(disk),
            str(sectors * SECTOR // 4096),
        ),
    )


def _write_grub(recipe: Recipe, root: Path, disk: Path) -> None:
    """What grub-install does on a disk that is a block device."""
    core = root / "core.img"
    prefix = "(,msdos1)/grub" if recipe.own_boot else "(,msdos1)/boot/grub"
    do(
        *("chroot", str(root), "grub-mkimage", "-O", "i386-pc", "-p", prefix, "-o", "/core.img"),
        *("biosdisk", "part_msdos", "ext2"),
    )
    with disk.open("wb") as image:
        image.truncate(SIZE)
    own_boot = f"start={FIRST_SECTOR},size={BOOT_SECTORS},type=83,bootable\ntype=83\n"
    do(
        "sfdisk",
        "-q",
        str(disk),
        stdin=own_boot if recipe.own_boot else f"start={FIRST_SECTOR},type=83,bootable\n",
    )
    boot = bytearray((root / "usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
    boot[0x66:0x68] = (
        b"\x90\x90"  # as grub-bios-setup does: the drive that the BIOS names is believed
    )
    if core.stat().st_size > (FIRST_SECTOR - 1) * SECTOR:
        raise ImageError("GRUB's core.img does not fit before the partition")
    with disk.open("r+b") as image:
        image.write(boot)
        image.seek(SECTOR)
        image.write(core.read_bytes())
    core.unlink()


def _write_esp(recipe: Recipe, root: Path, disk: Path) -> None:
    """An EFI system partition with a GRUB that the firmware starts before it has been told of any."""
    do(
        *(
            "chroot",
            str(root),
            "grub-mkimage",
            "-O",
            "x86_64-efi",
            "-p",
            "(,gpt2)/boot/grub",
            "-o",
            "/core.efi",
        ),
        *("part_gpt", "ext2", "fat"),
    )
    esp = disk.with_suffix(".esp")
    do(
        "mkfs.vfat",
        "-C",
        "-F",
        "32",
        "-i",
        ESP_UUID.replace("-", ""),
        str(esp),
        str(ESP_SECTORS // 2),
    )
    do("mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT")
    do("mcopy", "-i", str(esp), str(root / "core.efi"), "::/EFI/BOOT/BOOTX64.EFI")
    (root / "core.efi").unlink()
    with disk.open("wb") as image:
        image.truncate(SIZE)
    do(
        "sfdisk",
        "-q",
        str(disk),
        stdin=f"label: gpt\nstart={FIRST_SECTOR},size={ESP_SECTORS},type=uefi\ntype=linux\n",
    )
    with disk.open("r+b") as image:
        image.seek(FIRST_SECTOR * SECTOR)
        image.write(esp.read_bytes())
    esp.unlink()


def _set_up(disk: Path, variables: Path | None) -> None:
    with VirtualMachine(disk, variables=variables, keep=True) as machine:
        machine.booted()
        machine.ok(
            f"grub-install {'' if variables else '/dev/vda'} && update-grub && test -e /boot/grub/grubenv",
            300,
        )
        if variables:
            machine.ok(SIGNED_IS_FOUND)
        machine.power_off("systemctl poweroff")
        machine.quit()


# In place of the unsigned GRUB, for a firmware that has no boot entry: shim, which makes the entry for GRUB.
SIGNED_IS_FOUND = """
cd /boot/efi/EFI && cp debian/shimx64.efi BOOT/BOOTX64.EFI && cp debian/fbx64.efi BOOT && ls debian/BOOTX64.CSV
"""


def _as_root(overlay: Path, root: Path) -> None:
    """Owner and mode of what an overlay has put there, whoever checked it out with whatever umask."""
    for path in overlay.rglob("*"):
        target = root / path.relative_to(overlay)
        os.chown(target, 0, 0)
        target.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


# Cache and processes.


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).replace(str(HERE), "").encode()).hexdigest()[:16]


def _files(overlay: str) -> list[tuple[str, bytes, bool]]:
    top = HERE / "guest" / overlay
    paths = sorted(path for path in top.rglob("*") if path.is_file())
    return [
        (str(path.relative_to(top)), path.read_bytes(), os.access(path, os.X_OK)) for path in paths
    ]


@contextlib.contextmanager
def _finished(path: Path) -> Iterator[Path]:
    """A file that has its name only when it is whole."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kexec-hook-image.") as name:
        yield Path(name)


def _forget_others(pattern: str, keep: Path | None) -> None:
    for path in CACHE.glob(pattern):
        if path != keep:
            path.unlink()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8"}


def do(*argv: str, stdin: str = "") -> None:
    """Run a program that has to succeed."""
    done = subprocess.run(
        argv,
        input=stdin,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise ImageError(f"{argv[0]} failed ({done.returncode}):\n{done.stdout[-4000:]}")


def main(words: Sequence[str]) -> str:
    """What to say at the end; empty where all is well."""
    try:
        if list(words) == ["--needs"]:
            install_missing()
            return ""
        for name in words or RECIPES:
            print(make(RECIPES[name]))
    except ImageError as error:
        return str(error)
    except KeyError as name:
        return f"no image is called {name}: {', '.join(RECIPES)}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
