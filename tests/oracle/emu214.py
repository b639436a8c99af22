"""What does GRUB 2.14's blscfg make of a directory of snippets?  Debian testing's own grub-emu-lite is asked.

Debian testing is made by mmdebstrap once and kept under .cache, and of it only the binary, its libraries and GRUB's
modules are unpacked; they run with their own ld.so, unpatched, without capabilities and with an empty PATH.

grub-emu-lite loads its modules from a directory of the host.  It gets all of them but linux.mod, so that the functions
`linux` and `initrd` below are called, also from the bodies that blscfg generates; they print their words.  GRUB itself
chooses the entry and runs it, one run for each number in `default`: that shows the order, the ids (in $chosen), the
titles ("Booting `...'") and the words.

Limits.  emu builds look for snippets on the host unless a path is given, and put /boot before paths where /boot is a
mount point.  blsuki's heap overruns (a blank behind a variable's value has no room) may abort: then there is no answer.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path
from typing import NamedTuple

from tests.oracle import disk
from tests.oracle.emu import clean
from tests.packages import chroot

_RECIPE = chroot.Recipe("testing", ("grub-emu",))
_KEEP = (
    "./usr/bin/grub-emu-lite",
    "./usr/lib/grub/x86_64-emu",
    "./usr/lib/x86_64-linux-gnu",
    "./usr/lib64",
)
_LOADERS = ("linux", "initrd", "devicetree", "chainloader")
_END = re.compile(
    r"Press any key to continue|Failed to boot both|grub> |Enter username: |grub rescue> "
)


class NoAnswer(Exception):
    """GRUB died, or hung."""


class Booted(NamedTuple):
    """One entry as GRUB ran it."""

    title: str
    chosen: str
    executed: tuple[tuple[str, ...], ...]


def missing() -> str | None:
    """Why GRUB 2.14 cannot be asked here, or None."""
    if os.path.ismount("/boot"):
        return "/boot is a mount point, which grub-emu 2.14 takes for the device's"
    for name in ("sfdisk", "mke2fs", "debugfs", "setpriv"):
        if disk.find_tool(name) is None:
            return f"{name} is not installed"
    if not (chroot.CACHE / f"{_RECIPE.suite}-{_RECIPE.key}.tar").exists():
        return chroot.missing() or None
    return None


def install() -> Path:
    """The directory of GRUB 2.14.  ChrootError where Debian testing cannot be had."""
    tarball = chroot.tarball(_RECIPE)
    place = tarball.with_name(f"grub-emu-{_RECIPE.key}")
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=tarball.parent) as temporary:
            new = Path(temporary, "new")
            new.mkdir()
            subprocess.run(["tar", "xf", str(tarball), "-C", str(new), *_KEEP], check=True)
            _leave_out_linux(new)
            new.rename(place)
    return place


def _leave_out_linux(place: Path) -> None:
    modules = place / "usr/lib/grub/x86_64-emu"
    (modules / "linux.mod").unlink()
    commands = modules / "command.lst"
    lines = commands.read_text().splitlines(keepends=True)
    commands.write_text("".join(line for line in lines if not line.endswith(": linux\n")))


def version(place: Path) -> str:
    """2.14-4"""
    said = subprocess.run(
        [*_program(place), "--version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return said.split()[-1]


def _program(place: Path) -> list[str]:
    libraries = place / "usr/lib/x86_64-linux-gnu"
    path = f"{libraries}:{libraries / 'pulseaudio'}"  # of a library of SDL, which looks beside itself for it
    return [
        str(place / "usr/lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        path,
        str(place / "usr/bin/grub-emu-lite"),
    ]


class Grub:
    """GRUB 2.14 with a disk made of these files; their configuration is /boot/grub/grub.cfg."""

    def __init__(self, place: Path, files: Path, directory: Path, seconds: float = 60.0) -> None:
        self.place = place
        self.directory = directory
        self.seconds = seconds
        directory.mkdir(exist_ok=True)
        disk.build(directory / "disk", [disk.Partition(files)])
        (directory / "map").write_text(f"(hd0) {directory / 'disk'}\n")
        modules = directory / "x86_64-emu"
        if not modules.exists():
            modules.symlink_to(place / "usr/lib/grub/x86_64-emu")

    def boot(self, default: int) -> Booted:
        """What happens when nobody touches a key, with this number in `default`.  NoAnswer."""
        (self.directory / "grub.cfg").write_text(_prelude(default))
        text = self._console()
        _, _, ran = text.partition("@@begin\n")
        if not ran:
            raise NoAnswer(f"grub-emu never came to the configuration: {text[-300:]}")
        title = re.search(r"Booting `(.*?)'\n", ran, re.DOTALL)
        executed = []
        chosen = ""
        for block in ran.split("@@loader\n")[1:]:
            executed.append(tuple(re.findall(r"@@w\[(.*?)\]w@@\n", block, re.DOTALL)))
            found = re.search(r"@@chosen\[(.*?)\]@@\n", block, re.DOTALL)
            chosen = found[1] if found else ""
        return Booted(title[1] if title else "", chosen, tuple(executed))

    def _console(self) -> str:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30000, 60000, 0, 0))
        argv = [
            *_program(self.place),
            "-m",
            str(self.directory / "map"),
            "-r",
            "host",
            "-d",
            str(self.directory),
        ]
        if os.geteuid() == 0:
            argv = [
                disk.tool("setpriv"),
                "--bounding-set=-all",
                "--no-new-privs",
                "--pdeathsig=KILL",
                *argv,
            ]
        env = {"PATH": "/nonexistent", "TERM": "vt100", "LC_ALL": "C.UTF-8"}
        keyboard = os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY)
        process = subprocess.Popen(
            argv,
            stdin=keyboard,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            cwd="/",
        )
        os.close(slave)
        os.close(keyboard)
        try:
            return _read(master, time.monotonic() + self.seconds)
        finally:
            process.kill()
            if process.wait() not in (-9, 0):
                raise NoAnswer("grub-emu died")
            os.close(master)


def _read(master: int, deadline: float) -> str:
    """The console up to where GRUB waits for somebody.  NoAnswer."""
    raw = b""
    while True:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise NoAnswer(
                "grub-emu took too long; its last words: "
                + clean(raw.decode(errors="replace"))[-300:]
            )
        try:
            chunk = os.read(master, 1 << 16)
        except OSError:  # EIO: the other side has closed the terminal
            chunk = b""
        raw += chunk
        text = clean(raw.decode("utf-8", errors="replace").replace("\r", ""))
        if not chunk or _END.search(text):
            return text


def _prelude(default: int) -> str:
    report = 'function report { echo "@@loader"; for w in "$@"; do echo "@@w[$w]w@@"; done; echo "@@chosen[$chosen]@@"; }'
    loaders = [f'function {name} {{ report {name} "$@"; }}' for name in _LOADERS]
    return "\n".join(
        [
            *(
                f"insmod {module}"
                for module in ("normal", "echo", "part_gpt", "ext2", "blsuki", "test", "regexp")
            ),
            report,
            *loaders,
            "set grub_platform=pc",
            "set root=hd0,gpt1",
            "set prefix=(hd0,gpt1)/boot/grub",
            f"set judge_default={default}",
            "export judge_default",
            "echo @@begin",
            "normal $prefix/grub.cfg",
            "",
        ]
    )


# At the end of a configuration that is asked about.
BOOTS_AT_ONCE = 'set default="$judge_default"\nset timeout=0\nset timeout_style=menu\n'


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
