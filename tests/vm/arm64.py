"""Debian 13 on arm64: its image, made where no program of arm64 runs, and its machine, with AAVMF for firmware.

A chroot would run everything under qemu-user, twenty minutes of it.  So the packages are unpacked and written into
dpkg's status as installed, an initrd of busybox starts the first boot, and what their maintainer scripts would have
done for a boot (initrd, GRUB, grub.cfg) the machine does itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.vm import image
from tests.vm.image import (
    CACHE,
    ESP_SECTORS,
    ESP_UUID,
    FIRST_SECTOR,
    HERE,
    PACKAGES,
    SECTOR,
    SIZE,
    UUID,
    Apt,
    Image,
    ImageError,
    Recipe,
    do,
)
from tests.vm.lab import Lab
from tests.vm.machine import Booted, Mark, VirtualMachine

AAVMF = Path("/usr/share/AAVMF")
NEEDED = {
    "qemu-system-aarch64": "qemu-system-arm",
    str(AAVMF / "AAVMF_CODE.fd"): "qemu-efi-aarch64",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "cpio": "cpio",
    "depmod": "kmod",
}
RECIPE = Recipe("debian13-arm64", "trixie", uefi=True, newer_is_installed=False)
GRUB = ("grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed", "efibootmgr")
MORE = ("?essential", "apt", "busybox-static", "cpio", "device-tree-compiler", "procps")
LOADED_FIRST = ("virtio_blk",)  # modules for the root file system
_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs d /dev; $b mount -t proc p /proc; $b mount -t sysfs s /sys
for m in /*.ko; do $b insmod $m; done
n=0; while [ ! -e /dev/vda2 ] && [ $n -lt 100 ]; do $b sleep 0.2; n=$((n+1)); done
$b mount -t ext4 /dev/vda2 /root || exec $b sh
$b mount --move /dev /root/dev; $b umount /proc /sys
exec $b switch_root /root /sbin/init
"""
# base-passwd's and sysusers' work.
_USERS = """\
messagebus:x:100:101::/nonexistent:/usr/sbin/nologin
systemd-network:x:998:998::/:/usr/sbin/nologin
"""
_GROUPS = ("messagebus", "systemd-network", "systemd-journal", "kvm", "input", "render", "clock")
_FIRST_GRUB_CFG = """\
linux /boot/vmlinuz-{release} root=UUID={uuid} ro quiet console=ttyAMA0 systemd.show_status=0 kpti=off
initrd /boot/initrd.img-{release}
boot
"""
_STUB = """\
search.fs_uuid {uuid} root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
"""
_PATIENCE = """\
[Manager]
DefaultTimeoutStartSec=900
DefaultTimeoutStopSec=900
DefaultDeviceTimeoutSec=900
"""
_SET_UP = """\
set -e
update-initramfs -c -k {release}
grub-install --no-nvram
update-grub
test -e /boot/grub/grubenv
ls -l /boot /boot/efi/EFI/*
"""


def missing() -> list[str]:
    """Packages that this system lacks."""
    return sorted(
        {
            package
            for needed, package in NEEDED.items()
            if not (Path(needed).exists() if needed.startswith("/") else shutil.which(needed))
        }
    )


class ArmApt(Apt):
    """The same for another architecture than this system's."""

    def __init__(self, directory: Path, suites: Sequence[str]) -> None:
        super().__init__(directory, suites)
        for name in ("APT::Architecture", "APT::Architectures"):
            self._options += ["-o", f"{name}=arm64"]
        self._run("apt-get", "update", "-qq")

    def two_kernels(self) -> tuple[str, str]:
        names = self._run("apt-cache", "pkgnames", "linux-image-").split()
        found = [name for name in names if re.fullmatch(r"linux-image-\d.*-cloud-arm64", name)]
        if len(found) < 2:
            raise ImageError(f"the suite offers {len(found)} kernels")
        releases = sorted((name[len("linux-image-") :] for name in found), key=image._numbers)
        return releases[-2], releases[-1]

    def download_all(self, packages: Sequence[str]) -> list[Path]:
        """The files of all that would be installed with these."""
        # It does not name what is there already: elsewhere is nothing.
        (self._directory / "none/partial").mkdir(parents=True, exist_ok=True)
        elsewhere = f"Dir::Cache::Archives={self._directory}/none"
        said = self._run("apt-get", "-o", elsewhere, "--print-uris", "-y", "install", *packages)
        self._run("apt-get", "--download-only", "-y", "install", *packages)
        lines = [line.split() for line in said.splitlines() if line.startswith("'")]
        return [self._directory / "cache/archives" / line[1] for line in lines]


def make() -> Image:
    """The image, from the cache where nothing has changed since."""
    if missing():
        raise ImageError(f"missing packages: apt-get install {' '.join(missing())}")
    CACHE.mkdir(parents=True, exist_ok=True)
    apt = ArmApt(CACHE / "apt-trixie-arm64", ("trixie",))
    older, newer = apt.two_kernels()
    wanted = (*PACKAGES, *GRUB, *MORE, f"linux-image-{older}")
    versions = apt.versions(wanted)
    newer_packages = apt.download_added(f"linux-image-{newer}", wanted)
    key = image._key(
        versions, image._files("early"), image._files("root"), Path(__file__).read_bytes()
    )
    disk = CACHE / f"{RECIPE.name}-disk-{key}.raw"
    variables = CACHE / f"{RECIPE.name}-variables-{key}.fd"
    if not disk.exists():
        with image._finished(disk) as path, image._finished(variables) as own:
            with image._told(f"{RECIPE.name}: packages, disk"), image._scratch() as scratch:
                _make_root(apt.download_all(wanted), scratch / "root", older)
                _make_disk(scratch / "root", path)
            shutil.copyfile(AAVMF / "AAVMF_VARS.fd", own)
            with image._told(f"{RECIPE.name}: first boot, initrd, grub-install, update-grub"):
                _set_up(path, own, older)
        image._forget_others(f"{RECIPE.name}-disk-*", disk)
        image._forget_others(f"{RECIPE.name}-variables-*", variables)
    return Image(disk, variables, older, newer, newer_packages)


# The root.


def _make_root(packages: list[Path], root: Path, release: str) -> None:
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    # Its links of /bin, /lib and /sbin have to be there before what others put below these.
    status = [_unpack(deb, root) for deb in sorted(packages, key=_base_files_first)]
    (root / "var/lib/dpkg/status").write_text("\n".join(status))
    (root / "var/lib/dpkg/arch").write_text("arm64\n")
    for name in ("updates", "triggers", "alternatives"):
        (root / "var/lib/dpkg" / name).mkdir(exist_ok=True)
    (root / "usr/bin/awk").symlink_to("mawk")
    (root / "usr/bin/which").symlink_to("which.debianutils")
    for name, more in (
        ("passwd", _USERS),
        ("group", "".join(f"{group}:x:{101 + n}:\n" for n, group in enumerate(_GROUPS))),
    ):
        master = (root / f"usr/share/base-passwd/{name}.master").read_text()
        (root / "etc" / name).write_text(master + more)
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    # Directories such as /mnt; it is made for a root that is elsewhere.
    do("env", f"DPKG_ROOT={root}", str(info / "base-files.postinst"), "configure", "")
    do("depmod", "-b", str(root), release)
    _make_first_initrd(root, release)


def _base_files_first(deb: Path) -> tuple[bool, str]:
    return not deb.name.startswith("base-files_"), deb.name


def _unpack(deb: Path, root: Path) -> str:
    """Files and scripts of a package; its paragraph in dpkg's status."""
    with image._scratch() as control:
        do("dpkg-deb", "-e", str(deb), str(control / "c"))
        fields = (control / "c/control").read_text().rstrip("\n")
        named = dict(
            line.split(": ", 1)
            for line in fields.splitlines()
            if line[:1].isalpha() and ": " in line
        )
        name = named["Package"]
        prefix = f"{name}:arm64" if named.get("Multi-Arch") == "same" else name
        info = root / "var/lib/dpkg/info"
        for path in (control / "c").iterdir():
            if path.name not in ("control", "md5sums", "triggers"):
                shutil.copy(path, info / f"{prefix}.{path.name}")
    with subprocess.Popen(("dpkg-deb", "--fsys-tarfile", str(deb)), stdout=subprocess.PIPE) as tar:
        words = ("tar", "-C", str(root), "-xpv", "--keep-directory-symlink", "--numeric-owner")
        listed = subprocess.run(words, stdin=tar.stdout, capture_output=True, text=True, check=True)
    paths = [line.rstrip("/").lstrip(".") or "/." for line in listed.stdout.splitlines()]
    (info / f"{prefix}.list").write_text("".join(f"{path}\n" for path in paths))
    return f"{fields}\nStatus: install ok installed\n"


def _make_first_initrd(root: Path, release: str) -> None:
    with image._scratch() as top:
        for name in ("bin", "proc", "sys", "dev", "root", "run"):
            (top / name).mkdir()
        shutil.copy(root / "usr/bin/busybox", top / "bin/busybox")
        for module in LOADED_FIRST:
            [path] = (root / f"usr/lib/modules/{release}").rglob(f"{module}.ko*")
            unpacked = subprocess.run(("xz", "-dc", str(path)), capture_output=True, check=True)
            (top / f"{module}.ko").write_bytes(unpacked.stdout)
        (top / "init").write_text(_INIT)
        (top / "init").chmod(0o755)
        pack = f"cd {top} && find . | cpio -o -H newc --quiet -R 0:0 | gzip -9 > {root}/boot/initrd.img-{release}"
        do("sh", "-c", pack)


# The disk.


def _make_disk(root: Path, disk: Path) -> None:
    for overlay in (HERE / "guest/early", HERE / "guest/root"):
        shutil.copytree(overlay, root, dirs_exist_ok=True)
        image._as_root(overlay, root)
    image._configure(RECIPE, root)
    for path, pairs in {
        "etc/default/grub": (
            (
                "console=ttyS0,115200 mitigations=off no_timer_check",
                # KASLR alone would make the kernel change its page tables at each call, a third of a boot.
                "console=ttyAMA0 mitigations=off kpti=off",
            ),
            ('GRUB_TERMINAL="console serial"', "GRUB_TERMINAL=console"),
            ("GRUB_SERIAL_COMMAND", "#"),
        ),
        "etc/systemd/system/e2e-shell.service": (("/dev/ttyS1", "/dev/hvc0"),),
        "usr/local/sbin/e2e-ready": (("/dev/ttyS0", "/dev/ttyAMA0"),),
    }.items():
        text = (root / path).read_text()
        for old, new in pairs:
            text = text.replace(old, new)
        (root / path).write_text(text)
    for unit in ("serial-getty@hvc0.service", "serial-getty@ttyAMA0.service"):
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/modules-load.d/e2e.conf").write_text("virtio_console\n")
    # On a busy host a device may take longer than systemd's 90 s.
    (root / "etc/systemd/system.conf.d").mkdir(exist_ok=True)
    (root / "etc/systemd/system.conf.d/e2e.conf").write_text(_PATIENCE)
    (root / "boot/grub").mkdir(exist_ok=True)
    release = next((root / "boot").glob("vmlinuz-*")).name.partition("-")[2]
    (root / "boot/grub/grub.cfg").write_text(_FIRST_GRUB_CFG.format(release=release, uuid=UUID))
    _write_esp(root, disk)
    start, end = FIRST_SECTOR + ESP_SECTORS, SIZE // SECTOR - FIRST_SECTOR
    image._make_file_system(root, UUID, "root", start, end - start, disk)


def _write_esp(root: Path, disk: Path) -> None:
    """Debian's signed shim and GRUB, where a firmware finds them that knows of no boot entry."""
    esp, stub = disk.with_suffix(".esp"), disk.with_suffix(".cfg")
    uuid = ESP_UUID.replace("-", "")
    do("mkfs.vfat", "-C", "-F", "32", "-i", uuid, str(esp), str(ESP_SECTORS // 2))
    stub.write_text(_STUB.format(uuid=UUID))
    do("mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    shim, grub = root / "usr/lib/shim", root / "usr/lib/grub/arm64-efi-signed"
    for source, target in (
        (shim / "shimaa64.efi.signed", "BOOT/BOOTAA64.EFI"),
        (shim / "fbaa64.efi.signed", "BOOT/fbaa64.efi"),
        (shim / "shimaa64.efi.signed", "debian/shimaa64.efi"),
        (shim / "mmaa64.efi.signed", "debian/mmaa64.efi"),
        (shim / "BOOTAA64.CSV", "debian/BOOTAA64.CSV"),
        (grub / "grubaa64.efi.signed", "debian/grubaa64.efi"),
        (stub, "debian/grub.cfg"),
    ):
        do("mcopy", "-o", "-i", str(esp), str(source), f"::/EFI/{target}")
    with disk.open("wb") as file:
        file.truncate(SIZE)
    table = f"label: gpt\nstart={FIRST_SECTOR},size={ESP_SECTORS},type=uefi\ntype=linux\n"
    do("sfdisk", "-q", str(disk), stdin=table)
    with disk.open("r+b") as file:
        file.seek(FIRST_SECTOR * SECTOR)
        file.write(esp.read_bytes())
    esp.unlink()
    stub.unlink()


def _set_up(disk: Path, variables: Path, release: str) -> None:
    with ArmMachine(disk, variables=variables, keep=True) as machine:
        machine.booted()
        machine.ok(_SET_UP.format(release=release), 900)
        machine.power_off("systemctl poweroff")
        machine.quit()


# The machine.


class ArmMachine(VirtualMachine):
    """QEMU's `virt`, whose firmware describes it by ACPI."""

    def __init__(
        self, disk: Path, payload: Path | None = None, *, variables: Path, keep: bool = False
    ) -> None:
        super().__init__(disk, payload, variables=variables, keep=keep)
        apart = "" if keep else ",snapshot=on"
        drives = [
            f"file={disk},format=raw,if=virtio,cache=unsafe{apart}",
            f"file={AAVMF}/AAVMF_CODE.fd,format=raw,if=pflash,unit=0,readonly=on",
            f"file={variables},format=raw,if=pflash,unit=1{apart}",
        ]
        if payload:
            drives.append(f"file={payload},format=raw,if=virtio,readonly=on")
        self._argv = [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-shutdown"),
            *("-machine", "virt,gic-version=3", "-accel", "tcg", "-cpu", "cortex-a57"),
            # With two, each waits for the other: twice the processor time, and Linux speaks of stalls.
            *("-smp", "1", "-m", "1536"),
            *("-chardev", f"file,id=console,path={self.console_log}", "-serial", "chardev:console"),
            *("-device", "virtio-serial-pci", "-device", "virtio-rng-pci"),
            *("-chardev", f"socket,id=shell,path={self.directory}/shell,server=on,wait=off"),
            *("-device", "virtconsole,chardev=shell"),
            *("-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"),
            *(word for drive in drives for word in ("-drive", drive)),
        ]

    def _look(self, before: Mark) -> Booted:
        """Nothing but QEMU's resets tells from outside of kexec-hook how it was booted."""
        kind: Literal["kexec", "firmware"] = "firmware" if self.resets > before.resets else "kexec"
        return Booted(
            kind=kind,
            release=self.ok("uname -r"),
            cmdline=self.read("/proc/cmdline"),
            grubenv=self.read("/boot/grub/grubenv")
            if not self.shell("test -e /boot/grub/grubenv").code
            else b"",
        )

    def _forget_translations(self) -> None:
        """Its firmware does not come up from a state that was saved between a reset and its first steps."""


class ArmLab(Lab):
    """The machine of these tests, in its states."""

    def _make(self) -> Image:
        return make()

    def _new_machine(self) -> VirtualMachine:
        assert self.image.variables
        return ArmMachine(self.image.disk, self._payload, variables=self.image.variables)
