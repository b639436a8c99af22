"""kexec-hook as it comes into a machine without network: a wheel, settings, units and glue, on a second disk.

KEXEC_HOOK_WHEEL names a finished wheel to be installed in place of one built from this checkout.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.vm.image import Image, do
from tests.vm.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("kexec_hook", "pyproject.toml", "README.md", "LICENSE")
# The layout of Debian's own packages: /usr/bin/kexec-hook, where the unit looks for it.
INSTALL = """
set -e
mount -o ro LABEL=payload /mnt
DEB_PYTHON_INSTALL_LAYOUT=deb python3 -m installer /mnt/*.whl
cp -r /mnt/systemd/. /usr/lib/systemd/system/
cp /mnt/kexec-hook.conf /etc/
umount /mnt
systemctl daemon-reload
systemctl enable --now kexec-hook.service kexec-hook-judge.service
/usr/bin/kexec-hook --version
"""
APT_GLUE = """
set -e
mount -o ro LABEL=payload /mnt
install -D -m 755 /mnt/hooks/run /usr/lib/kexec-hook/run
install -m 644 /mnt/hooks/apt/80kexec-hook /etc/apt/apt.conf.d/
for directory in kernel/postinst.d kernel/postrm.d initramfs/post-update.d; do
    install -D -m 755 /mnt/hooks/apt/zzz-kexec-hook /etc/$directory/zzz-kexec-hook
done
umount /mnt
"""


def make_payload(image: Image, disk: Path) -> None:
    """The newer kernel's packages as well, for a machine that is to install it."""
    with tempfile.TemporaryDirectory(prefix="kexec-hook-payload.") as name:
        content = Path(name, "content")
        shutil.copytree(ROOT / "systemd", content / "systemd")
        shutil.copytree(ROOT / "hooks", content / "hooks")
        shutil.copy(ROOT / "kexec_hook/data/kexec-hook.conf", content)
        (content / "newer").mkdir()
        for package in image.newer_packages:
            shutil.copy(package, content / "newer")
        wheel = os.environ.get("KEXEC_HOOK_WHEEL")
        if wheel:
            shutil.copy(wheel, content)
        else:
            # Beside the checkout, where a build would leave its own directories.
            source = Path(name, "source")
            source.mkdir()
            for item in SOURCES:
                if (ROOT / item).is_dir():
                    shutil.copytree(ROOT / item, source / item, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / item, source)
            options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(content))
            do(sys.executable, "-m", "pip", "wheel", *options, str(source))
        do("mkfs.ext4", "-q", "-F", "-L", "payload", "-d", str(content), str(disk), "256M")


def install(machine: Machine) -> None:
    machine.ok(INSTALL, 300)


def install_apt_glue(machine: Machine) -> None:
    machine.ok(APT_GLUE)
