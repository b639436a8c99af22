"""A directory that stands for the running machine, with its own kexec and systemctl, and real grub-editenv."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
from tests.tree import Tree

ROOTS = Path(__file__).resolve().parent / "roots"
PROJECT = ROOTS.parents[1]

# What it does is written to kexec.log, a line a call, words separated by tabs.  The files beside it make it fail.
_KEXEC = r"""#!/bin/sh
root=@ROOT@
lib=@LIB@
first=$1
case "$*" in *--version*) echo "kexec-tools $(cat $lib/version)"; exit 0 ;; esac
case "$*" in *--kexec-syscall-auto*)
    case $(cat $lib/version) in 2.0.1*) echo "kexec: unrecognized option '--kexec-syscall-auto'" >&2; exit 1 ;; esac ;;
esac
{ printf '%s' "$1"; shift; for word; do printf '\t%s' "$word"; done; echo; } >> $lib/kexec.log
limit=$root/proc/sys/kernel/kexec_load_limit_reboot
if [ -e $limit ] && [ "$(cat $limit)" -gt 0 ]; then echo $(($(cat $limit) - 1)) > $limit; fi
set -- "" "$@"
while [ $# -gt 0 ]; do
    case $1 in
        --initrd=*) cat "${1#--initrd=}" > $lib/initrd || exit 1 ;;
        --dtb=*) cat "${1#--dtb=}" > $lib/devicetree || exit 1 ;;
        --unload) unload=yes ;;
        --load) load=yes ;;
        --load-panic) panic=yes ;;
    esac
    shift
done
[ -z "$load$panic" ] || . $lib/while-loading
if [ -e $lib/fails ] && [ -z "$unload" ]; then echo "kexec_file_load failed: $(cat $lib/fails)" >&2; exit 255; fi
if [ "$unload" ]; then
    [ ! -e $lib/stays ] || exit 1
    echo 0 > $root/sys/kernel/kexec_loaded
elif [ "$panic" ]; then echo 1 > $root/sys/kernel/kexec_crash_loaded
else echo 1 > $root/sys/kernel/kexec_loaded
fi
exit 0
"""
_SYSTEMCTL = r"""#!/bin/sh
lib=@LIB@
echo "$SYSTEMCTL_SKIP_AUTO_KEXEC $*" >> $lib/systemctl.log
[ "$1" != reboot ] || echo "$SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT" > $lib/of-the-kernel
case $1 in
    list-jobs) cat $lib/jobs ;;
    is-active) cat $lib/active; [ "$(cat $lib/active)" = active ] ;;
    is-enabled) echo disabled; exit 1 ;;
    --version) echo "systemd 252 (252.39)" ;;
esac
"""


class Box(Tree):
    """One machine in a directory."""

    def __init__(self, directory: Path, tree: str = "debian-12") -> None:
        shutil.copytree(ROOTS / tree / "tree", directory / "root", symlinks=True)
        super().__init__(directory / "root")
        self.lib = directory / "lib"
        self.bin = directory / "bin"
        for path in (self.root, *self.root.rglob("*")):
            if not path.is_symlink():  # a clone made with umask 002 lets the group write
                path.chmod(path.stat().st_mode & ~0o022)
        self.lib.mkdir()
        self.bin.mkdir()
        facts = {
            "sys/kernel/kexec_loaded": "0",
            "sys/kernel/kexec_crash_loaded": "0",
            "sys/kernel/kexec_crash_size": "268435456",
            "proc/sys/kernel/osrelease": "6.1.0-37-amd64",
            "proc/sys/kernel/bootloader_type": "114",
            "proc/sys/kernel/kexec_load_disabled": "0",
            "proc/sys/kernel/random/boot_id": "11111111-1111-1111-1111-111111111111",
            "proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1.0-37-amd64 root=UUID=x ro quiet",
            "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB",
            "proc/modules": "ext4 1 0 - Live 0x0",
            "proc/1/comm": "systemd",
            "run/systemd/system/.keep": "",
            "var/lib/.keep": "",
        }
        for fact, text in facts.items():
            if not (self / fact).exists():
                self.write(fact, text + "\n")
        for unit in ("systemd-kexec", "systemd-reboot"):
            name = f"{unit}.service.d/50-kexec-hook.conf"
            self.write(f"lib/systemd/system/{name}", (PROJECT / "systemd" / name).read_bytes())
        self.programs("kexec", _KEXEC)
        self.programs("systemctl", _SYSTEMCTL)
        for name, text in {
            "version": "2.0.25",
            "jobs": "",
            "active": "active",
            "while-loading": "",
        }.items():
            (self.lib / name).write_text(text + "\n")
        for name in ("grub-editenv", "rm", "cat", "sh", "sleep"):
            found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
            if found:
                (self.bin / name).symlink_to(found)

    def programs(self, name: str, text: str) -> None:
        program = self.bin / name
        program.write_text(text.replace("@ROOT@", str(self.root)).replace("@LIB@", str(self.lib)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def host(self) -> Host:
        return Host(str(self.root), Programs((str(self.bin),)), os.geteuid(), True)

    def run(self, *argv: str) -> int:
        from kexec_hook.cli import main

        try:
            return main(argv, self.host)
        except SystemExit as stop:
            return int(stop.code or 0)

    def start(self, *argv: str, limits: str = "") -> subprocess.Popen[str]:
        """The same in a process of its own; `limits` is Python that runs first."""
        host = self.host
        code = (
            f"{limits}\nimport sys\nfrom kexec_hook.__main__ import run\n"
            f"from kexec_hook.system.process import Programs\n"
            f"from kexec_hook.system.host import Host\n"
            f"host = Host({host.root!r}, Programs({host.programs.path!r}), {host.owner}, True)\n"
            f"sys.argv[1:] = {argv!r}\nrun(host)"
        )
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, cwd=PROJECT
        )

    @property
    def loaded(self) -> bool:
        return (self.root / "sys/kernel/kexec_loaded").read_text().strip() == "1"

    @property
    def calls(self) -> list[list[str]]:
        """What kexec was told, but for its version."""
        log = self.lib / "kexec.log"
        return [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def asked(self) -> list[str]:
        """What systemctl was told."""
        log = self.lib / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def record(self) -> dict[str, Any] | None:
        path = self.root / "run/kexec-hook/staged.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def approved(self) -> bool:
        return (self.root / "run/kexec-hook/approved").exists()

    @property
    def marked(self) -> bool:
        return (self.root / "run/kexec-hook.loaded").exists()

    def last(self, unit: str) -> str:
        """What our drop-in of systemd-`unit`.service asks of systemd at the end of a shutdown, if anything."""
        text = (PROJECT / f"systemd/systemd-{unit}.service.d/50-kexec-hook.conf").read_text()
        (script,) = re.findall(r"^ExecStart=-?/bin/sh -c '(.*)'$", text, re.MULTILINE)
        script = script.replace("/run/", f"{self.root}/run/").replace("/sys/", f"{self.root}/sys/")
        env = {"PATH": str(self.bin)}
        before = len(self.asked)
        subprocess.run([self.bin / "sh", "-c", script], env=env, check=True)
        asked = self.asked[before:]
        assert [line.strip() for line in asked] in ([], ["--force kexec"], ["--force reboot"])
        return asked[0].split()[-1] if asked else "nothing"

    def counts_calls(self) -> None:
        """As Linux does since 6.3."""
        self.write("proc/sys/kernel/kexec_load_limit_reboot", "-1\n")

    def rebooting(self, target: str = "reboot.target") -> None:
        (self.lib / "jobs").write_text(f"  1 {target}                start waiting\n")
