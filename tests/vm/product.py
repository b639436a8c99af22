"""kexec-hook as it comes into a machine without network: a wheel, the settings and the systemd units, on a second disk.

KEXEC_HOOK_WHEEL names a finished wheel to be installed in place of one built from this checkout.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.vm.image import do
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


def make_payload(disk: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="kexec-hook-payload.") as name:
        content = Path(name, "content")
        shutil.copytree(ROOT / "systemd", content / "systemd")
        shutil.copy(ROOT / "kexec_hook/data/kexec-hook.conf", content)
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
        do("mkfs.ext4", "-q", "-F", "-L", "payload", "-d", str(content), str(disk), "64M")


def install(machine: Machine) -> None:
    machine.ok(INSTALL, 300)
