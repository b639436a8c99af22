"""A machine in named states, each made once from the one before; and what GRUB makes of each of them."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.vm import image, product, proof
from tests.vm.image import CACHE, Image, Recipe
from tests.vm.machine import Booted, MachineError, VirtualMachine

FAILURES = CACHE / "failures"

# Name and version, a line each.
VERSIONS = """
. /etc/os-release; echo "system $PRETTY_NAME $(cat /etc/debian_version)"
dpkg-query -W -f '${Package} ${Version}\\n' systemd grub-pc grub-efi-amd64 grub-efi-arm64 kexec-tools initramfs-tools 2> /dev/null
dpkg-query -W -f '${Package} ${Version}\\n' 'linux-image-[0-9]*'
"""


@dataclass(frozen=True)
class State:
    name: str
    change: Callable[[Lab, VirtualMachine], object]  # what makes it out of the base
    base: State | None = None  # None: switched on for the first time


class Lab:
    """Tests may leave the machine as they like: hung, off, or gone."""

    def __init__(self, recipe: Recipe, devices: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.devices = devices
        self.image: Image = self._make()
        self._machine: VirtualMachine | None = None
        self._by_grub: dict[str, Booted] = {}
        self.versions: dict[str, str] = {"kexec-hook": proof.checkout(), "QEMU": proof.qemu()}
        self._failures = FAILURES / recipe.name
        shutil.rmtree(self._failures, ignore_errors=True)
        self._directory = tempfile.TemporaryDirectory(prefix="kexec-hook-lab.")
        self._payload = Path(self._directory.name, "payload.img")
        product.make_payload(self.image, self._payload)

    def _make(self) -> Image:
        return image.make(self.recipe)

    def _new_machine(self) -> VirtualMachine:
        return VirtualMachine(
            self.image.disk,
            self._payload,
            variables=self.image.variables,
            secure=self.image.secure,
            devices=self.devices,
        )

    def close(self) -> None:
        if self._machine:
            self._machine.close()
        self._directory.cleanup()

    def at(self, state: State) -> VirtualMachine:
        """The machine, in that state."""
        if self._machine and not self._machine.alive():
            self._machine.close()
            self._machine = None
        if self._machine and state.name in self._machine.states:
            self._machine.load(state.name)
            return self._machine
        if state.base:
            machine = self.at(state.base)
        else:
            if self._machine:
                self._machine.close()
            self._machine = machine = self._new_machine().start()
            machine.booted()
            named = (line.partition(" ") for line in machine.ok(VERSIONS).splitlines())
            self.versions.update((name, version) for name, _, version in named if version)
        state.change(self, machine)
        machine.save(state.name)
        return machine

    def by_grub(self, state: State) -> Booted:
        """What firmware and GRUB boot in that state."""
        if state.name not in self._by_grub:
            self._by_grub[state.name] = self.at(state).power_cycle()
            assert self._machine
            self._machine.save(f"{state.name}.grub")
        return self._by_grub[state.name]

    def after_grub(self, state: State) -> VirtualMachine:
        """The machine, after GRUB has booted it in that state."""
        self.by_grub(state)
        return self.at(
            State(f"{state.name}.grub", lambda lab, machine: machine.power_cycle(), state)
        )

    def entry_of(self, release: str) -> str:
        """As grub-reboot and grub-set-default want it: an entry in the submenu, by ids."""
        return f"gnulinux-advanced-{image.UUID}>gnulinux-{release}-advanced-{image.UUID}"

    def keep_evidence(self, name: str) -> str:
        """Console and journal of what has just failed, where CI shows them."""
        if not self._machine:
            return "the machine was never switched on"
        directory = self._failures / re.sub(r"[^\w.-]+", "-", name).strip("-")
        directory.mkdir(parents=True, exist_ok=True)
        console = directory / "console.log"
        console.write_text(self._machine.console())
        said = [f"console: {console}"]
        journal = directory / "journal.log"
        try:
            try:
                self._machine.ok("true", 30)
            except MachineError:
                # It hangs, is off or just going down: its disk remembers.
                self._machine.reset()
            journal.write_text(self._machine.journal())
            said.append(f"journal: {journal}")
        except MachineError as error:
            said.append(f"no journal: {error}")
        return "\n".join(
            [time.strftime("%Y-%m-%d %H:%M:%S"), *said, "", *console.read_text().splitlines()[-25:]]
        )
