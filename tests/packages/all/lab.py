"""What the chroots of zypper and pacman share: a grub.cfg made of the kernels in /boot, and who called kexec-hook.

kexec-hook's program is one that notes each call and the kernels that GRUB's menu had when it came; what would be decided
is asked from outside, of the checkout, with --root.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import grubcfg
from tests.packages import chroot as chroots
from tests.packages.chroot import ROOT, Chroot, ChrootError, Recipe, unpack

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
CALLS = "var/log/kexec-hook.calls"

# As update-bootloader on SUSE, and a hook of Arch's users: grub.cfg anew, the newest kernel first.
MAKE_CONFIG = f"""\
#!/bin/sh
{{
cat <<'END'
{grubcfg.LOADED}{grubcfg.one_time_entry("0")}search --no-floppy --fs-uuid --set=root {UUID}
END
for kernel in $(ls -1 /boot/vmlinuz-* | sort -V -r); do
    release=${{kernel#/boot/vmlinuz-}}
    echo "menuentry '$release' {{"
    echo "    linux $kernel root=UUID={UUID} ro quiet"
    echo "    initrd /boot/initrd-$release"
    echo "}}"
done
}} > /boot/DIRECTORY/grub.cfg.new
mv /boot/DIRECTORY/grub.cfg.new /boot/DIRECTORY/grub.cfg
"""
RECORDER = f"""\
#!/usr/bin/python3 -I
import glob, os, re, sys
menu = [re.findall("menuentry '(.*)'", open(path).read()) for path in glob.glob("/boot/grub*/grub.cfg")]
with open("/{CALLS}", "a") as log:
    log.write(f"{{' '.join(sys.argv[1:])}}|{{' '.join(sum(menu, []))}}\\n")
if os.path.exists("/srv/real"):
    os.execv("/srv/real", ["/srv/real", *sys.argv[1:]])
print("kexec-hook: noted", *sys.argv[1:])
"""


@dataclass(frozen=True)
class Call:
    """A start of kexec-hook: its words, and the kernels that were in GRUB's menu, the first one booted."""

    words: str
    menu: tuple[str, ...]


def root(recipe: Recipe, directory: Path) -> Chroot:
    """A chroot; the test is skipped where none can be had."""
    why = chroots.missing()
    if why:
        pytest.skip(why)
    try:
        return unpack(chroots.tarball(recipe), directory)
    except ChrootError as error:
        pytest.skip(str(error))


def furnish(chroot: Chroot, os_release: str, directory: str) -> None:
    """A Debian chroot takes itself for another distribution; `directory` of /boot is GRUB's."""
    (chroot / "etc/os-release").unlink()
    chroot.write("etc/os-release", os_release)
    chroot.write(f"dev/disk/by-uuid/{UUID}")
    chroot.write("usr/sbin/make-config", MAKE_CONFIG.replace("DIRECTORY", directory), 0o755)
    (chroot / "boot" / directory).mkdir(parents=True)
    (chroot / "boot/grub").mkdir(exist_ok=True)
    chroot.sh(f"grub-editenv /boot/{directory}/grubenv create; make-config").check()


def record(program: Path) -> None:
    """From now on each start of this program is noted."""
    program.write_text(RECORDER)
    program.chmod(0o755)


def calls(chroot: Chroot) -> list[Call]:
    """Every start of kexec-hook since the last question."""
    path = chroot / CALLS
    if not path.exists():
        return []
    lines = [line.partition("|") for line in path.read_text().splitlines()]
    path.unlink()
    return [Call(words, tuple(menu.split())) for words, _, menu in lines]


def decide(chroot: Chroot) -> Any:
    """What kexec-hook of this checkout makes of the root: stage --dry-run --json."""
    argv = [*(sys.executable, "-m", "kexec_hook", "--root", str(chroot.root))]
    done = subprocess.run(
        [*argv, "stage", "--dry-run", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("{"), done.stderr
    return json.loads(done.stdout)


def assert_boots(chroot: Chroot, release: str) -> None:
    answer = decide(chroot)
    assert answer["objections"] == []
    assert (answer["outcome"], answer["kernel"], answer["initrds"]) == (
        "would-stage",
        f"/boot/vmlinuz-{release}",
        [f"/boot/initrd-{release}"],
    )
    assert answer["cmdline"].endswith(f" root=UUID={UUID} ro quiet")
