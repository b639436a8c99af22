"""The story of one run: locate, evaluate, choose, enter, plan, object."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kexec_hook.grub.commands import TABLE
from kexec_hook.grub.machine import FLAVOURS, Fuel, Limit, Machine, platform_variables
from kexec_hook.grub.menu import Result, boot_default, choose, evaluate, split_path
from kexec_hook.grub.source import ScriptError
from kexec_hook.plan import make_plan
from kexec_hook.rootdisks import RootDisks
from kexec_hook.run import BootConfig, Objection, Run, Trigger

if TYPE_CHECKING:
    from kexec_hook.plugins import Plugins
    from kexec_hook.settings import Settings
    from kexec_hook.sysroot import Sysroot


def decide(sysroot: Sysroot, settings: Settings, plugins: Plugins, trigger: Trigger) -> Run:
    """Everything up to the act; nothing is changed."""
    disks = RootDisks(sysroot)
    run = Run(trigger, sysroot, settings, disks=disks)
    config = plugins.boot_config(sysroot, disks)
    if config is None:
        return _object(run, plugins, "no GRUB configuration was found (looked for grub.cfg in /boot/grub, /boot/grub2)")
    if settings.flavour.value:
        config = replace(config, flavour=settings.flavour.value)
    run = replace(run, config=config)
    machine = make_machine(config, disks)
    try:
        run = choose_and_enter(run, machine, plugins)
    except (Limit, ScriptError) as error:
        problems = tuple(machine.problems)
        return _object(replace(run, machine=machine, problems=problems), plugins, f"GRUB's configuration: {error}")
    run = replace(run, problems=tuple(machine.problems))
    if machine.loaded and run.result and run.result.booted:
        run = replace(run, plan=make_plan(machine.loaded, disks, sysroot, settings))
    return _object(run, plugins)


def make_machine(config: BootConfig, disks: RootDisks) -> Machine:
    """GRUB as it is before it reads its configuration."""
    flavour = FLAVOURS[config.flavour]
    machine = Machine(disks, TABLE, flavour, Fuel())
    root = config.prefix[1:].partition(")")[0]
    machine.env = platform_variables(flavour, config.platform, config.cpu, config.prefix, root)
    machine.globbing = config.globbing

    def display(path: object) -> str:
        location = disks.locate(path)  # type: ignore[arg-type]
        return str(location.host) if location else str(path)

    machine.display = display
    return machine


def choose_and_enter(run: Run, machine: Machine, plugins: Plugins) -> Run:
    """Evaluate the configuration, pick the entry, and run it.  ScriptError where that has no end."""
    assert run.config is not None
    ended = evaluate(machine, run.config.config)
    shown = machine.fork()
    run = replace(run, machine=machine, menu_machine=shown)
    if ended != "menu" or not machine.menu:
        return replace(run, result=Result(ended=ended if ended != "menu" else "no menu"))
    wanted = run.trigger.entry
    by = "--entry"
    if wanted is None:
        other = plugins.choose_entry(machine.menu, machine.get("default"), run.trigger)
        if other is not None:
            wanted, by = other
    if wanted is not None:
        if not choose(machine.menu, wanted, machine.flavour).matched:
            head = split_path(wanted)[0]
            reason = f"{by} names no entry of GRUB's menu: {head!r} (`kexec-hook list` shows them)"
            return replace(run, result=Result(ended="no such entry"), objections=(Objection(reason),))
        machine.set("default", wanted)
    machine.executed = []
    return replace(run, result=boot_default(machine))


def _object(run: Run, plugins: Plugins, reason: str = "") -> Run:
    """The run with everything that speaks against it, and the notes."""
    found = list(run.objections)
    if reason:
        found.append(Objection(reason))
    found += plugins.objections(run, run.sysroot)
    notes = [*run.notes, *plugins.notes(run, run.sysroot), *plugins.complaints]
    return replace(run, objections=tuple(dict.fromkeys(found)), notes=tuple(dict.fromkeys(notes)))
