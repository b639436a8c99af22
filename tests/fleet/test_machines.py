"""The rolling reboot on two virtual machines with Debian 12: it stops at the one whose kernel hangs after the kexec.

They have no network: `ssh` is a program of ours that hands what Ansible sends to this process, which says it in the
machine's shell.  What reboots is Ansible's own command.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.machine import PROJECT
from tests.vm import image
from tests.vm.image import ImageError
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, early_cpio

ANSIBLE = PROJECT / ".venv/ansible/bin"
PLAYBOOK = PROJECT / "contrib/ansible/playbooks/rolling_reboot.yml"

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not ANSIBLE.exists(), reason="no .venv/ansible (make fleet)"),
]

FAULT = """\
if [ "$(cat /proc/sys/kernel/bootloader_type)" = 208 ]; then
    echo @@FAULT > /dev/console
    while :; do sleep 1; done
fi
"""
LINE = 2000  # characters that a terminal surely takes

# ssh [OPTION...] MACHINE COMMAND: the answer's status, standard output and standard error.
SSH = """#!{python}
import base64, json, socket, sys
given = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
host, command = ([""] + sys.argv)[-2:]
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({path!r})
    asked = {{"host": host, "command": command, "given": base64.b64encode(given).decode()}}
    connection.sendall(json.dumps(asked).encode() + b"\\n")
    answer = json.loads(connection.makefile().readline())
sys.stdout.buffer.write(base64.b64decode(answer["out"]))
sys.stderr.buffer.write(base64.b64decode(answer["err"]))
sys.exit(answer["code"])
"""


class Answer(NamedTuple):
    code: int
    out: bytes = b""
    err: bytes = b""


def _faulty(lab: Lab, machine: VirtualMachine) -> None:
    machine.write("/boot/fault.cpio", early_cpio("e2e-fault", FAULT.encode()))
    machine.ok(
        "echo GRUB_EARLY_INITRD_LINUX_CUSTOM=fault.cpio >> /etc/default/grub && update-grub", 300
    )


HANGS = State("fleet-hangs", _faulty, UPGRADED)


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, VirtualMachine]]:
    labs: list[Lab] = []
    found: dict[str, VirtualMachine] = {}
    try:
        for name, state in (("good", UPGRADED), ("hangs", HANGS)):
            labs.append(Lab(image.DEBIAN_12))
            found[name] = labs[-1].at(state)
            # Until somebody asks it: a machine takes a processor.
            found[name].qmp("stop")
        yield found
    except ImageError as error:
        pytest.skip(str(error))
    finally:
        for lab in labs:
            lab.close()


def says(machine: VirtualMachine, command: str, given: bytes) -> Answer:
    """A command with its standard input, in pieces that the terminal takes."""
    for name, content in (("command", command.encode()), ("given", given)):
        text = base64.b64encode(content).decode()
        machine.ok(f": > /run/fleet.{name}.64")
        for at in range(0, len(text), LINE):
            machine.ok(f"printf %s '{text[at : at + LINE]}' >> /run/fleet.{name}.64")
        machine.ok(f"base64 -d /run/fleet.{name}.64 > /run/fleet.{name}")
    here = "/run/fleet"
    done = machine.shell(
        f"sh {here}.command < {here}.given > {here}.out 2> {here}.err", timeout=600
    )
    return Answer(done.code, machine.read(f"{here}.out"), machine.read(f"{here}.err"))


def reboots(machine: VirtualMachine, command: str, *, hangs: bool) -> Answer:
    """Answered when the machine is up again; somebody presses the button where it hangs."""
    if not hangs:
        machine.reboot(command)
        return Answer(0)
    before = machine.mark()
    machine.say(command)
    machine.wait_for_console("@@FAULT", before)
    assert machine.reset().kind == "firmware"
    return Answer(0)


def shutdown_of(machine: VirtualMachine) -> str:
    """What kexec-hook and systemd said of it at the last reboot: on a busy host, finalize may have run out of time."""
    return machine.ok("journalctl --no-pager -o short-monotonic -b -1 | grep -i kexec")


class Bridge(socketserver.UnixStreamServer):
    """What `ssh` asks, one after the other."""

    def __init__(self, path: Path, machines: dict[str, VirtualMachine]) -> None:
        super().__init__(str(path), Handler)
        self.machines = machines
        self.asked: list[str] = []

    def answer(self, host: str, command: str, given: bytes) -> Answer:
        if host not in self.machines:
            return Answer(255)
        machine = self.machines[host]
        if host not in self.asked:
            self.asked.append(host)
            machine.qmp("cont")
        if re.search(r"/shutdown -r\b", command):
            return reboots(machine, command, hangs=host == "hangs")
        return says(machine, command, given)


class Handler(socketserver.StreamRequestHandler):
    server: Bridge

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        found = self.server.answer(
            asked["host"], asked["command"], base64.b64decode(asked["given"])
        )
        out, err = (base64.b64encode(text).decode() for text in (found.out, found.err))
        self.wfile.write(json.dumps({"code": found.code, "out": out, "err": err}).encode() + b"\n")


def test_it_stops_at_the_machine_whose_kernel_hangs_after_the_kexec(
    machines: dict[str, VirtualMachine], tmp_path: Path
) -> None:
    ssh = tmp_path / "ssh"
    path = tmp_path / "socket"
    ssh.write_text(SSH.format(python=sys.executable, path=str(path)))
    ssh.chmod(0o755)
    options = f"ansible_ssh_executable={ssh} ansible_ssh_pipelining=true ansible_become=false"
    more = "ansible_ssh_args='' ansible_python_interpreter=/usr/bin/python3"
    # Nobody is to ask the third.
    (tmp_path / "inventory").write_text(
        "".join(f"{name} {options} {more}\n" for name in ("good", "hangs", "untouched"))
    )
    (tmp_path / "ansible.cfg").write_text("[defaults]\ntimeout = 1200\n")
    with Bridge(path, machines) as bridge:
        thread = threading.Thread(target=bridge.serve_forever, daemon=True)
        thread.start()
        done = subprocess.run(
            [ANSIBLE / "ansible-playbook", "-i", tmp_path / "inventory", PLAYBOOK],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
                "ANSIBLE_HOME": str(tmp_path / "home"),
                "ANSIBLE_NOCOLOR": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        bridge.shutdown()
    output = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "booted by kexec" in output, f"{done.stdout}\n{shutdown_of(machines['good'])}"
    assert "booted by GRUB" in output, f"{done.stdout}\n{shutdown_of(machines['hangs'])}"
    assert bridge.asked == ["good", "hangs"]
