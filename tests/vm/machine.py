"""One virtual machine: its power, its resets, its console, a root shell in it, and saved states to return to.

Emulated by QEMU's TCG alone: a /dev/kvm that opens may still boot no stock kernel on a nested host.  Nothing here
judges speed; the timeouts only end what has hung, and the time for which a busy host let QEMU wait does not count.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

RESET = "RESET"  # QMP's event

# QEMU 7.2 at times leaves RAX in the flags where an interrupt comes by after cmpxchg16b, and Linux panics: it has other
# ways.
CPU = "qemu64,-svm,-cx16"

BOOT_SECONDS = 400
SHELL_SECONDS = 120

# QEMU's firmware with UEFI, and the one that checks signatures and lets no system write to where it keeps its keys.
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_SECURE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
# It does not come up from a state that was loaded between a reset and its first steps: it stops before each reset.
SECURE_WORDS = (
    *("-action", "reboot=shutdown"),
    *("-global", "driver=cfi.pflash01,property=secure,value=on"),
    *("-global", "ICH9-LPC.disable_s3=1"),
)

# /proc/sys/kernel/bootloader_type: kexec says 0xD0, GRUB 2 on a BIOS 0x72, the kernel's own EFI stub 0x21.
LOADER_TYPES = {"208": "kexec", "114": "firmware", "33": "firmware"}


class MachineError(Exception):
    """The machine did not do what was asked; the message carries the last lines of its console."""


@dataclass(frozen=True)
class Result:
    code: int
    output: str


@dataclass(frozen=True)
class Booted:
    """One boot, as seen from outside (kind) and from inside."""

    kind: Literal["kexec", "firmware"]
    release: str
    cmdline: bytes  # /proc/cmdline, to the byte
    grubenv: bytes

    @property
    def same_as_grub(self) -> tuple[str, bytes, bytes]:
        """What has to be the same whoever booted it."""
        return self.release, self.cmdline, self.grubenv


class Moment(NamedTuple):
    """Seconds since a command was said."""

    wall: float
    cpu: float  # that QEMU has used


@dataclass(frozen=True)
class Mark:
    """A moment, from which on the console, the shell and the resets count."""

    console: int
    shell: int
    resets: int
    shutdowns: int


class VirtualMachine:
    def __init__(
        self, disk: Path, payload: Path | None = None,
        *, variables: Path | None = None, secure: bool = False, memory: int = 1024, keep: bool = False,
        devices: Sequence[str] = (), cpu: str = CPU,
    ) -> None:  # fmt: skip
        """disk, variables and payload stay as they are, the first two unless keep.  With variables, those of the firmware, it has UEFI; secure:
        Secure Boot too, if its keys are among them.
        """
        # A socket's path must be short, which a checkout's need not be.
        self.directory = Path(tempfile.mkdtemp(prefix="kexec-hook-vm."))
        self.console_log = self.directory / "console.log"
        apart = "" if keep else ",snapshot=on"
        drives = [f"file={disk},format=raw,if=virtio,cache=unsafe{apart}"]
        if variables:
            code = OVMF_SECURE if secure else OVMF_CODE
            drives.append(f"file={code},format=raw,if=pflash,unit=0,readonly=on")
            drives.append(f"file={variables},format=raw,if=pflash,unit=1{apart}")
        if payload:
            drives.append(f"file={payload},format=raw,if=virtio,cache=unsafe,snapshot=on")
        self._argv = [
            # The machine goes when the tests go, however they end.
            *("setpriv", "--pdeathsig", "KILL"),
            *(
                "qemu-system-x86_64",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-shutdown",
            ),
            *(
                "-machine",
                "q35,smm=on" if secure else "q35",
                "-accel",
                "tcg",
                "-cpu",
                cpu,
                "-smp",
                "1",
                "-m",
                str(memory),
            ),
            *("-chardev", f"file,id=console,path={self.console_log}", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=shell,path={self.directory}/shell,server=on,wait=off"),
            *("-serial", "chardev:shell"),
            *("-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"),
            *(word for device in ("virtio-rng-pci", *devices) for word in ("-device", device)),
            *(SECURE_WORDS if secure else ()),
            *(word for drive in drives for word in ("-drive", drive)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: list[dict[str, Any]] = []
        self._pending = b""
        self._said = b""  # all that the shell has ever said
        self._secure = secure
        self._stopped = False  # before a reset
        self.resets = 0
        self.shutdowns = 0
        self.states: set[str] = set()

    # Power.

    def start(self) -> VirtualMachine:
        with (self.directory / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._qmp = self._connect("qmp")
            self._shell = self._connect("shell")
            self.qmp("qmp_capabilities")
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> VirtualMachine:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for name in ("_qmp", "_shell"):
            if hasattr(self, name):
                getattr(self, name).close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def quit(self) -> None:
        """All that the disk was told is written when this returns."""
        assert self._process
        self._send(self._qmp, b'{"execute": "quit"}\n')
        self._process.wait(60)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.directory / name))
            except OSError:
                connection.close()
                if not self.alive() or time.monotonic() > end:
                    raise MachineError(
                        f"QEMU did not start:\n{(self.directory / 'qemu.log').read_text()}"
                    ) from None
                time.sleep(0.05)
            else:
                connection.setblocking(False)
                return connection

    # QEMU's own language.

    def qmp(self, command: str, timeout: float = 120, **arguments: object) -> Any:
        self._replies.clear()
        self._send(
            self._qmp, json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        )
        end = self._clock() + timeout
        while not self._replies:
            self._poll(end, f"QMP {command}")
        reply = self._replies.pop(0)
        if "error" in reply:
            raise MachineError(f"QMP {command}: {reply['error']}")
        return reply["return"]

    def _monitor(self, line: str) -> None:
        arguments: dict[str, Any] = {"command-line": line}
        said = self.qmp("human-monitor-command", **arguments)
        if said.strip():
            raise MachineError(f"QEMU, {line}: {said}")

    def _clock(self) -> float:
        """Seconds, but for those in which the thread that is the guest's processor waited for one of the host's."""
        assert self._process
        waited = 0
        for file in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                waited = max(waited, int(file.read_text().split()[1]))
        return time.monotonic() - waited / 1e9

    def _cpu(self) -> float:
        """Seconds of processor time that QEMU has used."""
        assert self._process
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _poll(self, end: float, what: str) -> None:
        """Take in what has been said meanwhile."""
        for data in _received(self._qmp):
            self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("event") == "RESET":
                self.resets += 1
            elif message.get("event") == "SHUTDOWN":
                if message["data"]["reason"] == "guest-reset":
                    self._stopped = True
                else:
                    self.shutdowns += 1
            elif "return" in message or "error" in message:
                self._replies.append(message)
        for data in _received(self._shell):
            self._said += data
        if not self.alive():
            raise MachineError(f"QEMU has ended during {what}:\n{self._last_words()}")
        if time.monotonic() > end and self._clock() > end:
            raise MachineError(f"no end of {what}:\n{self._last_words()}")
        time.sleep(0.02)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.setblocking(True)
        connection.sendall(data)
        connection.setblocking(False)

    def _last_words(self) -> str:
        return (
            self.console()[-3000:]
            + (self.directory / "qemu.log").read_text(errors="replace")[-1000:]
        )

    def console(self, start: int = 0) -> str:
        """What it has said, from this byte on."""
        said = self.console_log.read_bytes() if self.console_log.exists() else b""
        return said[start:].decode(errors="replace").replace("\r", "")

    # States: memory and disk.

    def save(self, name: str) -> None:
        self._monitor(f"savevm {name}")
        self.states.add(name)

    def load(self, name: str) -> None:
        """As it was at save(name), whatever happened since: hung, powered off, disk overwritten."""
        # A machine that is off runs on only when it has been reset.
        if self._status() == "shutdown":
            self._switch_on()
        self._monitor(f"loadvm {name}")
        self._run_on()
        self.ok("true")

    def _status(self) -> str:
        return str(self.qmp("query-status")["status"])

    def _run_on(self) -> None:
        if self._status() != "running":
            self.qmp("cont")

    # The root shell.

    def mark(self) -> Mark:
        size = self.console_log.stat().st_size if self.console_log.exists() else 0
        return Mark(size, len(self._said), self.resets, self.shutdowns)

    def _ask(self, command: str) -> re.Pattern[bytes]:
        """Send a command; what its end looks like."""
        tag = f"@@{time.monotonic_ns()}"
        line = f"printf '%s<\\n' '{tag}'; ( {command}\n) </dev/null 2>&1; printf '\\n%s>%d\\n' '{tag}' $?\n"
        self._send(self._shell, line.encode())
        return re.compile(
            rb"%b<\r?\n(.*)\r?\n%b>(\d+)\r?\n" % (tag.encode(), tag.encode()), re.DOTALL
        )

    def shell(self, command: str, timeout: float = SHELL_SECONDS) -> Result:
        start = len(self._said)
        answer = self._ask(command)
        end = self._clock() + timeout
        while True:
            found = answer.search(self._said, start)
            if found:
                output = found[1].decode(errors="replace").replace("\r", "").strip("\n")
                return Result(int(found[2]), output)
            self._poll(end, f"`{command}`, which has said {self._said[start:][-1000:]!r}")

    def ok(self, command: str, timeout: float = SHELL_SECONDS) -> str:
        """The output of a command that succeeds."""
        result = self.shell(command, timeout)
        if result.code:
            raise MachineError(f"`{command}` failed ({result.code}):\n{result.output}")
        return result.output

    def read(self, path: str) -> bytes:
        return base64.b64decode(self.ok(f"base64 -w 0 {path}"))

    def write(self, path: str, content: bytes) -> None:
        """Small files only."""
        self.ok(
            f'mkdir -p "$(dirname {path})" && base64 -d > {path} <<< {base64.b64encode(content).decode()}'
        )

    # Boots.

    def reboot(self, command: str, timeout: float = BOOT_SECONDS) -> Booted:
        """Say this in the shell, and wait for the boot that it leads to."""
        before = self.mark()
        answer = self._ask(command)
        return self._booted(before, timeout, command, answer)

    def watch(
        self, command: str, signs: Sequence[str]
    ) -> tuple[Booted, list[Moment], list[Moment]]:
        """Reboot; when each of these was there, in their order: RESET, or a text on the console; and all looks.

        At the first one QEMU forgets what it has translated, which no processor has to; that time does not count.
        """
        before = self.mark()
        started, end = Moment(time.monotonic(), self._cpu()), self._clock() + BOOT_SECONDS
        answer = self._ask(command)
        moments: list[Moment] = []
        looks = [Moment(0.0, 0.0)]
        while len(moments) < len(signs):
            looks.append(Moment(time.monotonic() - started.wall, self._cpu() - started.cpu))
            sign = signs[len(moments)]
            if (
                self.resets > before.resets
                if sign == RESET
                else sign in self.console(before.console)
            ):
                moments.append(looks[-1])
                if len(moments) == 1:
                    wall, cpu = time.monotonic(), self._cpu()
                    self._forget_translations()
                    self._run_on()
                    wall, cpu = time.monotonic() - wall, self._cpu() - cpu
                    started = Moment(started.wall + wall, started.cpu + cpu)
            else:
                self._poll(end, f"waiting for {sign} after `{command}`")
        return self._booted(before, BOOT_SECONDS, command, answer), moments, looks

    def booted(self, timeout: float = BOOT_SECONDS) -> Booted:
        """Wait for the end of the first boot."""
        return self._booted(Mark(0, 0, -1, 0), timeout, "power on", None, fresh=True)

    def comes_up(self, since: Mark, timeout: float = BOOT_SECONDS) -> Booted:
        """Wait for the end of a boot that began after this moment, by nobody's hand."""
        return self._booted(since, timeout, "nobody's hand", None)

    def _booted(
        self,
        before: Mark,
        timeout: float,
        command: str,
        answer: re.Pattern[bytes] | None,
        *,
        fresh: bool = False,
    ) -> Booted:
        """Wait for the end of a boot that began after this moment; fresh: QEMU has translated nothing yet."""
        end = self._clock() + timeout
        while not (
            "@@READY" in self.console(before.console)
            and re.search(rb"@@UP\r?\n", self._said[before.shell :])
        ):
            self._poll(end, f"the boot after `{command}`")
            if self._stopped:
                self._stopped = False
                self._forget_translations()
                self._switch_on()
            if self.resets > before.resets and not fresh:
                fresh = True
                if not self._secure:
                    self._forget_translations()
                    self._run_on()
            refused = answer.search(self._said, before.shell) if answer else None
            if refused and refused[2] != b"0":
                raise MachineError(
                    f"`{command}` failed ({int(refused[2])}):\n{refused[1].decode(errors='replace')}"
                )
            if self.shutdowns > before.shutdowns:
                raise MachineError(f"`{command}` powered the machine off")
        return self._look(before)

    def _look(self, before: Mark) -> Booted:
        inside = LOADER_TYPES.get(self.ok("cat /proc/sys/kernel/bootloader_type"), "something else")
        # SeaBIOS resets itself once more.
        outside: Literal["kexec", "firmware"] = (
            "firmware" if self.resets > before.resets else "kexec"
        )
        if inside != outside:
            raise MachineError(
                f"booted by {inside}, as the kernel says, but {self.resets - before.resets} resets"
            )
        return Booted(
            kind=outside,
            release=self.ok("uname -r"),
            cmdline=self.read("/proc/cmdline"),
            grubenv=self.read("/boot/grub/grubenv")
            if not self.shell("test -e /boot/grub/grubenv").code
            else b"",
        )

    def say(self, command: str) -> None:
        """Type this into the shell, and wait for nothing."""
        self._ask(command)

    def wait(self, seconds: float) -> None:
        """Let it go on for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._poll(float("inf"), "waiting")

    def wait_for_console(self, text: str, since: Mark, timeout: float = BOOT_SECONDS) -> None:
        end = self._clock() + timeout
        while text not in self.console(since.console):
            self._poll(end, f"waiting for {text} on the console")

    def resets_itself(self, since: Mark, timeout: float = BOOT_SECONDS) -> None:
        """Wait for a reset that has come since then; the boot behind it need not come to its end."""
        end = self._clock() + timeout
        while self.resets == since.resets:
            self._poll(end, "waiting for a reset")
        self._forget_translations()
        self._run_on()

    def power_off(self, command: str, timeout: float = SHELL_SECONDS) -> Mark:
        """Say this in the shell, and wait until the machine is off; the moment before."""
        before = self.mark()
        self._ask(command)
        end = self._clock() + timeout
        while self.shutdowns == before.shutdowns:
            self._poll(end, f"the machine's power after `{command}`")
        return before

    def reset(self) -> Booted:
        """The button.  Also switches on what is off."""
        before = self.mark()
        self.press_reset()
        return self._booted(before, BOOT_SECONDS, "the reset button", None, fresh=True)

    def press_reset(self) -> None:
        """The same, and what it leads to is not waited for."""
        self._forget_translations()
        self._switch_on()

    def _forget_translations(self) -> None:
        """QEMU keeps what it has translated, and each write of the next kernel over the code of the last one then
        takes its time, minutes in all.  It forgets when it loads a state.
        """
        self.qmp("stop")
        self._monitor("savevm reset")
        self._monitor("loadvm reset")

    def _switch_on(self) -> None:
        if self._secure:
            self.qmp("set-action", reboot="reset")
        self.qmp("system_reset")
        self._run_on()
        if self._secure:
            self.qmp("set-action", reboot="shutdown")

    def power_cycle(self) -> Booted:
        """Shut down in good order, and switch on again: whatever boots now is firmware's and GRUB's choice."""
        self.power_off("systemctl poweroff")
        return self.reset()

    def journal(self) -> str:
        """Of this boot and of the one before, whose end is the interesting one."""
        return self.ok(
            "for boot in -1 0; do journalctl --no-pager -o short-precise -b $boot; done", 300
        )


def _received(connection: socket.socket) -> list[bytes]:
    received = []
    try:
        while data := connection.recv(65536):
            received.append(data)
    except (BlockingIOError, ConnectionError):
        pass
    return received
