"""A directory that stands for a machine with a kernel that keeps its image, a shutdown and boots."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.kills import tracing, units
from tests.machine import PROJECT, Box

# What the kernel holds is one file, lib/image, where kexec_loaded is 1.  Loading and unloading are one rename each, as
# the real ones are one system call.
# Where lib/stuck is, it is not reached by the signal that kills its process group, like one that sits in the kernel.
_KEXEC = r"""#!/bin/sh
root=@ROOT@
lib=@LIB@
loaded=$root/sys/kernel/kexec_loaded
limit=$root/proc/sys/kernel/kexec_load_limit_reboot
if [ -e $lib/stuck ] && [ ! "$KEXEC_STUCK" ]; then
    KEXEC_STUCK=yes setsid "$0" "$@"
    exit
fi
case "$*" in *--version*) echo "kexec-tools 2.0.25"; exit 0 ;; esac
for word; do
    case $word in
        --unload) unload=yes ;;
        --initrd=*) initrd=${word#--initrd=} ;;
        --load | --kexec-*) ;;
        --*=*) options="$options $word" ;;
        *) kernel=$word ;;
    esac
done
# The kernel counts the call before it does anything.
if [ -e $limit ]; then
    read -r left < $limit
    [ "$left" = -1 ] || { echo $((left - 1)) > $limit.new && mv $limit.new $limit; } || exit 1
fi
if [ "$unload" ]; then
    echo 0 > $loaded.new && mv $loaded.new $loaded
    exit
fi
{ printf '%s\n' "$kernel" "$options" && cat "$kernel" ${initrd:+"$initrd"}; } > $lib/image.new || exit 1
mv $lib/image.new $lib/image || exit 1
read -r already < $loaded
[ "$already" = 1 ] || { echo 1 > $loaded.new && mv $loaded.new $loaded; }
"""
_SHIM = """\
#!/bin/sh
exec {python} -IB -c 'import sys; sys.path.insert(0, "{project}")
from pathlib import Path
from tests.kills.computer import Computer
from tests.kills.units import kexec_hook
kexec_hook(Computer.at(Path("{directory}")), *sys.argv[1:])()' "$@"
"""
_PROGRAMS = (
    "mv",
    "setsid",
    "flock",
    "touch",
    "mkdir",
    "chmod",
    "chown",
    "ln",
    "cp",
    "stat",
    "sync",
    "grep",
    "sed",
    "cmp",
)
_GRUB, _AFTER_KEXEC = "114", "208"  # /proc/sys/kernel/bootloader_type
GRUBENV = "boot/grub/grubenv"

Boot = Literal["kexec", "firmware"]


class Finished(NamedTuple):
    """What came of a process."""

    status: int
    output: str


class Block(NamedTuple):
    """GRUB's environment block, as a file."""

    content: bytes
    mode: int
    owner: tuple[int, int]
    link: str

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(
            line
            for line in self.content.decode(errors="replace").split("\n")[1:]
            if line.strip("#")
        )

    def fault(self, variables: tuple[str, ...], like: Block) -> str:
        """What is wrong with it, if it should hold these variables and be the file that another one is."""
        if len(self.content) != 1024:
            return f"it has {len(self.content)} bytes"
        if self.variables != variables:
            return f"it holds {self.variables}, not {variables}"
        if self[1:] != like[1:]:
            return f"mode, owner or link are {self[1:]}, not {like[1:]}"
        return ""


class Computer(Box):
    """A Box that can be rebooted."""

    systemd = units.SYSTEMD
    untouched: Block | None = None  # grubenv as it was ahead of a shutdown that goes on already

    def __init__(self, directory: Path, tree: str) -> None:
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        super().__init__(directory, tree)
        self.directory = directory
        self.boots = 1
        self.counts_calls()
        self.programs("kexec", _KEXEC)
        shim = _SHIM.format(python=sys.executable, project=PROJECT, directory=directory)
        self.programs("kexec-hook", shim)
        for name in _PROGRAMS:
            program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
            if program:
                (self.bin / name).symlink_to(program)
        for path in (PROJECT / "hooks").iterdir():
            if path.is_file():
                target = self.lib / "shipped" / path.name
                target.parent.mkdir(exist_ok=True)
                target.write_text(units.below(self, path.read_text()))
                target.chmod(0o755)

    @classmethod
    def at(cls, directory: Path) -> Computer:
        """The one that is there already."""
        computer = cls.__new__(cls)
        computer.directory = directory
        computer.root, computer.lib, computer.bin = (
            directory / "root",
            directory / "lib",
            directory / "bin",
        )
        computer.boots = 1
        return computer

    def call(self, *argv: str) -> Finished:
        """Run kexec-hook."""
        return self._finish(units.kexec_hook(self, *argv))

    def command(self, command: units.Command) -> Finished:
        return self._finish(command.program(self))

    def _finish(self, program: Callable[[], object]) -> Finished:
        output = self.lib / "output"
        status = tracing.wait(tracing.start(program, output))
        return Finished(status, output.read_text(errors="replace"))

    @property
    def image(self) -> str | None:
        """What the kernel would jump into: a kernel's path, its options, and the content of the files."""
        return (self.lib / "image").read_bytes().decode("latin-1") if self.loaded else None

    @property
    def block(self) -> Block:
        path = self / GRUBENV
        info = path.stat()
        link = str(path.readlink()) if path.is_symlink() else ""
        return Block(path.read_bytes(), info.st_mode, (info.st_uid, info.st_gid), link)

    @property
    def leftovers(self) -> list[str]:
        """Files that nobody will read again."""
        known = {"grub.cfg", "grubenv", "i386-pc", "custom.cfg"}
        found = [path for path in (self / "boot/grub").iterdir() if path.name not in known]
        for name in ("run/kexec-hook", "var/lib/kexec-hook"):
            found += (self / name).glob(".*")
        return sorted(str(path.relative_to(self.root)) for path in found)

    def state(self, name: str) -> Any:
        """A JSON file of /var/lib/kexec-hook; None where there is none."""
        path = self / "var/lib/kexec-hook" / name
        return json.loads(path.read_text()) if path.exists() else None

    # A shutdown, in the order of systemd's.

    def stop(self) -> list[Finished]:
        """A reboot is asked for, and the shutdown unit stops."""
        self.rebooting("kexec.target" if self.loaded else "reboot.target")
        found = []
        for command in units.stop_commands(self.systemd):
            found.append(self.command(command))
            if found[-1].status and not command.may_fail:
                break
        return found

    def last_second(self, unit: str) -> str:
        """What the last unit of the shutdown asks of systemd: kexec, reboot or nothing."""
        log = self.lib / "systemctl.log"
        log.unlink(missing_ok=True)
        for command in units.last_commands(self.systemd, unit):
            if self.command(command).status and not command.may_fail:
                break
        asked = next((line.split()[-1] for line in self.asked if "--force" in line), "")
        # SuccessAction= of the one, FailureAction= of the other's drop-in.
        return asked or ("reboot" if unit == units.REBOOT else "nothing")

    # A boot.

    def power_on(self, by: Boot) -> None:
        """Come up by the image that is loaded, or through firmware and GRUB, up to the first unit."""
        image = self.image
        self.boots += 1
        for path in (self / "run").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.write("run/systemd/system/.keep", "")
        self.write(
            "proc/sys/kernel/random/boot_id", f"{self.boots:08}-1111-1111-1111-111111111111\n"
        )
        self.write(
            "proc/sys/kernel/bootloader_type", f"{_AFTER_KEXEC if by == 'kexec' else _GRUB}\n"
        )
        self.write("sys/kernel/kexec_loaded", "0\n")
        self.counts_calls()
        (self.lib / "image").unlink(missing_ok=True)
        (self.lib / "jobs").write_text("")
        if by == "kexec":
            assert image
            kernel, options = image.split("\n", 2)[:2]
            self.write("proc/sys/kernel/osrelease", kernel.partition("vmlinuz-")[2] + "\n")
            self.write("proc/cmdline", options.partition("--command-line=")[2] + "\n")
        else:
            self.grub()

    def start_units(self, target: str = "multi-user.target", *, but: str = "") -> list[Finished]:
        """Those of ours that come with the target."""
        found = []
        for unit in units.boot_units(self.systemd, target):
            if unit.name != but and units.starts(self, unit):
                found += [self.command(command) for command in units.commands(unit, "ExecStart")]
        return found

    def grub(self) -> None:
        """What GRUB writes on the way, with the trees used here: the one-time entry is used."""
        if any(
            line.startswith("next_entry=") and line != "next_entry="
            for line in self.block.variables
        ):
            subprocess.run(
                [self.bin / "grub-editenv", self / GRUBENV, "set", "next_entry="], check=True
            )

    # As it is now, and back to that.

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What happens inside is undone; files are other inodes afterwards."""
        aside = self.directory.with_name(self.directory.name + ".kept")
        shutil.copytree(self.directory, aside, symlinks=True)
        boots = self.boots
        try:
            yield
        finally:
            shutil.rmtree(self.directory)
            aside.rename(self.directory)
            self.boots = boots
