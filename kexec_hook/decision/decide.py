"""The story of one run: locate, evaluate, choose, enter, plan, object."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from kexec_hook.decision.planning import Refused, make_plan
from kexec_hook.disks.root import RootDisks
from kexec_hook.grub.commands import TABLE
from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.flavours import FLAVOURS, missing_commands, platform_variables
from kexec_hook.grub.fuel import Fuel, Limit
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.menu import ENDLESS, BootResult, boot_default, choose, evaluate
from kexec_hook.grub.script.source import ScriptError
from kexec_hook.kernel.cmdline import CmdlineError
from kexec_hook.plugins.api import BootConfig, Decision, Evaluation, Objection, Trigger
from kexec_hook.system.sysroot import MADE_UP, SysrootError
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.grub.disks import GrubPath
    from kexec_hook.plugins.asking import Plugins
    from kexec_hook.settings.conf import Settings
    from kexec_hook.state.record import EnvBlock
    from kexec_hook.system.host import Host
    from kexec_hook.system.sysroot import Sysroot


def decide(
    host: Host, sysroot: Sysroot, settings: Settings, plugins: Plugins, trigger: Trigger
) -> Decision:
    """Everything up to the act; nothing is changed."""
    disks = RootDisks(sysroot, host.programs)
    decision = Decision(trigger, sysroot, settings, disks, programs=host.programs, owner=host.owner)
    decision = _answer_or_refuse(decision, host, plugins)
    if disks.contradiction:  # what GRUB calls its disks was learnt after it had been guessed
        disks = RootDisks(sysroot, host.programs, disks.contradiction)
        decision = _answer_or_refuse(decision._replace(disks=disks), host, plugins)
    if disks.contradiction:
        decision = decision._replace(objections=(*decision.objections, _CONTRADICTION))
    if sysroot.is_host:
        for file in plugins.files:
            sysroot.note(file)  # a changed plugin may decide otherwise
    objections = [
        *decision.objections,
        *_unwritable(decision),
        *plugins.objections(decision, sysroot),
    ]
    if decision.plan is None and not objections:
        objections = [Objection("there is nothing that kexec could load", code="nothing-to-load")]
    notes = [*decision.notes, *plugins.notes(decision, sysroot), *plugins.complaints]
    if any(objection.elsewhere for objection in objections):
        notes = []  # they would be about another machine
    return decision._replace(
        objections=tuple(dict.fromkeys(_in_order(objections))), notes=tuple(dict.fromkeys(notes))
    )


# The codes of what has to be settled first, the most fundamental ahead.
_FIRST = (
    "plugin-broken",
    "ostree",
    "suspended",
    "switched-off",
    "needs-root",
    "no-kexec-support",
    "kexec-missing",
    "kexec-disabled",
    "kexec-limit",
    "xen",
    "confidential-vm",
    "not-mounted",
)


def _in_order(objections: list[Objection]) -> list[Objection]:
    """The most fundamental first; in a container or chroot nothing else matters."""
    elsewhere = [objection for objection in objections if objection.elsewhere]
    if elsewhere:
        return elsewhere
    rights = [objection for objection in objections if objection.rights]
    once = [found for found in objections if not found.rights or found is rights[0]]
    rank = {code: number for number, code in enumerate(_FIRST)}
    return sorted(once, key=lambda found: rank.get(found.code, len(rank)))


def _open_quote(error: CmdlineError) -> Objection:
    return Objection(str(error), code="open-quote")


def _answer_or_refuse(decision: Decision, host: Host, plugins: Plugins) -> Decision:
    blank = decision._replace(objections=(), plan=None, evaluation=None, problems=())
    try:
        return _answer(blank, host, plugins)
    except Refused as refused:
        return blank._replace(objections=(refused.objection,))
    except CmdlineError as error:
        return blank._replace(objections=(_open_quote(error),))


_CONTRADICTION = Objection(
    "GRUB's configuration names the disks by numbers that contradict each other, so what it boots cannot be known",
    code="cannot-be-known",
)


def _answer(decision: Decision, host: Host, plugins: Plugins) -> Decision:
    """The plan, from whoever the administrator lets choose: GRUB mostly."""
    sysroot, settings = decision.sysroot, decision.settings
    by_default = decision.trigger.entry is None and settings.select.value.how == "kexec-default"
    if decision.trigger.running or by_default:
        from kexec_hook.decision import given

        plan_of = given.running_plan if decision.trigger.running else given.kexec_default_plan
        return decision._replace(plan=plan_of(host, sysroot, settings))
    config = plugins.boot_config(sysroot, decision.disks)
    if config is None:
        from kexec_hook.decision.nowhere import no_configuration

        raise Refused(no_configuration(sysroot))
    answer = _ask_grub(decision, config, host, plugins)
    if not config.others and not (answer.evaluation and answer.evaluation.machine.unordered):
        return answer
    from kexec_hook.decision.alike import unlike

    def ask(other: BootConfig, order: int) -> Decision:
        return _ask_grub(decision, other, host, plugins, order)

    return answer._replace(objections=(*answer.objections, *unlike(answer, config, ask)))


def _unwritable(decision: Decision) -> Iterator[Objection]:
    """What GRUB would write, and grub-editenv cannot write in its place."""
    blocks = dict.fromkeys(write.path for write in decision.pending) if decision.plan else {}
    for path in blocks:
        if not path.path.startswith("/"):
            yield Objection(
                f"GRUB would write its environment to the disk blocks {path}, which kexec-hook does not do",
                code="environment-not-writable",
            )
            continue
        found = decision.disks.locate(path)
        if found is None:
            yield Objection(
                f"GRUB would write its environment to {path}, which is not mounted",
                code="environment-not-writable",
                fix="mount it",
            )
        elif found.mount.read_only:
            yield Objection(
                f"GRUB would write its environment to {found.host}, and {found.mount.point} is mounted read-only",
                code="environment-not-writable",
                fix=f"mount -o remount,rw {found.mount.point}",
            )


def env_file(decision: Decision, path: GrubPath) -> str | None:
    """Where an environment block is below the root."""
    found = decision.disks.locate(path)
    return found.host if found else None


def env_blocks(decision: Decision) -> tuple[EnvBlock, ...]:
    """What GRUB would write on its way, in its order; a block that is on no mounted file system has GRUB's name."""
    from kexec_hook.state.record import EnvBlock  # what only looks keeps no record

    found: dict[str, dict[str, str | None]] = {}
    for write in decision.pending:
        file = env_file(decision, write.path) or str(write.path)
        found.setdefault(file, {})[write.name] = write.value
    return tuple(EnvBlock(file, writes) for file, writes in found.items())


def _ask_grub(
    decision: Decision, config: BootConfig, host: Host, plugins: Plugins, order: int = 0
) -> Decision:
    """What GRUB would boot, or another entry of its menu."""
    settings = decision.settings
    if settings.flavour.value:
        config = config._replace(flavour=settings.flavour.value)
    machine = make_machine(config, decision.disks)
    machine.order = order
    denied = set(decision.sysroot.denied)
    try:
        evaluation, objections = _evaluate(decision, config, machine, host, plugins)
    except (Limit, ScriptError) as error:
        where = f" ({error.span})" if error.span else ""
        return decision._replace(
            evaluation=Evaluation(config, machine, machine, BootResult(ended=ENDLESS)),
            problems=tuple(machine.problems),
            objections=(
                Objection(
                    f"GRUB's configuration cannot be evaluated: {error.message}{where}",
                    code="endless",
                ),
            ),
        )
    hidden = _hidden(decision.sysroot, config, denied)
    if hidden:
        return decision._replace(objections=(hidden,))
    decision = decision._replace(
        evaluation=evaluation, problems=tuple(machine.problems), objections=objections
    )
    loaded = evaluation.machine.loaded
    if loaded is None or evaluation.result.ended not in ("boot", "password"):
        return decision
    try:
        plan = make_plan(loaded, decision.disks, decision.sysroot, settings)
    except CmdlineError as error:
        return decision._replace(objections=(*objections, _open_quote(error)))
    return decision._replace(plan=plan)


def _hidden(sysroot: Sysroot, config: BootConfig, before: Collection[str]) -> Objection | None:
    """What GRUB would read and we may not: a configuration, grubenv, a snippet, or whether a file is there."""
    own = sysroot.resolve(config.path)
    hidden = [
        path
        for path in sysroot.denied
        if path == own or (path not in before and not path.startswith(MADE_UP))
    ]
    if not hidden:
        return None
    more = f" (and {len(hidden) - 1} more)" if len(hidden) > 1 else ""
    return Objection(
        f"{hidden[0]}{more} cannot be read by this user, so what GRUB boots is not known",
        rights=True,
        code="needs-root",
        fix="run it with sudo",
    )


def make_machine(config: BootConfig, disks: RootDisks) -> Machine:
    """GRUB as it is before it reads its configuration."""
    flavour = FLAVOURS[config.flavour]
    machine = Machine(disks, TABLE, flavour, Fuel())
    root = config.prefix[1:].partition(")")[0]
    machine.env = platform_variables(flavour, config.platform, config.cpu, config.prefix, root)
    machine.unlocked = _opened(disks, root)
    machine.absent, machine.unsure_commands = missing_commands(
        flavour, config.platform, config.cpu, config.version
    )
    machine.set("cmdpath", config.cmdpath or config.prefix)
    machine.export("cmdpath")
    # Debian 13's 2.12 has the second in place of the first, as rhboot's has; upstream's has the first.
    machine.unsure = frozenset(("cmdpath", "fw_path"))
    if config.platform == "efi":  # 2.06 and later set them where Secure Boot is on
        machine.unsure |= {"lockdown", "shim_lock"}
    relative = (("btrfs_relative_path", "y"),) if config.relative else ()
    for name, value in (*relative, *config.variables):
        machine.set(name, value)
        machine.export(name)
    machine.globbing = config.globbing
    machine.modules.add("gzio")  # normal loads it (normal/main.c, GRUB_MOD_INIT)
    if config.globbing:  # a signed image: whether it has the others is not known
        machine.unsure_modules = frozenset(("xzio", "lzopio"))
    machine.display = disks.name
    machine.pci = lambda: _pci_devices(disks.sysroot)
    machine.cpu_flags = lambda: _cpu(disks.sysroot)
    machine.smbios = lambda: _smbios(disks.sysroot.unnoted)
    machine.built_in = lambda: _built_in(config, disks)
    machine.refuses_modules = lambda: config.platform == "efi" and _is_locked(disks)
    machine.has_setup = lambda: _has_setup(disks.sysroot.unnoted)
    return machine


def _opened(disks: RootDisks, root: str) -> set[str]:
    """The container that GRUB's configuration is in."""
    try:
        device = disks.device(root)
    except Unseen:
        return set()
    return {device.locked} if device and device.locked else set()


def _pci_devices(sysroot: Sysroot) -> list[str] | None:
    from kexec_hook.system.pci import pci_devices

    return pci_devices(sysroot)


def _cpu(sysroot: Sysroot) -> list[str]:
    from kexec_hook.system.facts import Facts

    return Facts(sysroot.unnoted).cpu()


def _smbios(sysroot: Sysroot) -> bytes:
    try:
        return sysroot.read("/sys/firmware/dmi/tables/DMI", 1 << 20)
    except SysrootError:
        return b""


def _built_in(config: BootConfig, disks: RootDisks) -> Collection[str] | None:
    from kexec_hook.plugins.builtin.start import built_in_modules

    return built_in_modules(disks, config.platform, config.cpu)


def _is_locked(disks: RootDisks) -> bool:
    from kexec_hook.plugins.builtin.bootorder import is_locked

    return is_locked(disks)


def _has_setup(sysroot: Sysroot) -> bool:
    """UEFI 2.10, 8.5.4; where no variable tells, most machines have one."""
    from kexec_hook.system import efi

    said = efi.variable(sysroot, f"OsIndicationsSupported-{efi.GLOBAL}")
    return bool(said[0] & 1) if said else not (sysroot.is_host and sysroot.listdir(efi.VARIABLES))


def _evaluate(
    decision: Decision, config: BootConfig, machine: Machine, host: Host, plugins: Plugins
) -> tuple[Evaluation, tuple[Objection, ...]]:
    """Read the configuration, pick the entry, and run it.  ScriptError where that has no end."""
    ended = evaluate(machine, config.config)
    menu = machine.fork()
    if ended != "menu" or not machine.menu:
        result = BootResult(ended=ended if ended != "menu" else "no menu")
        return Evaluation(config, menu, machine, result), ()
    picked = _pick(decision, machine, host, plugins)
    if picked.refusal:
        result = BootResult(ended="no such entry")
        return Evaluation(config, menu, machine, result), (picked.refusal,)
    if picked.spec is not None:
        machine.set("default", picked.spec)
    machine.executed = []
    before = machine.fork()
    result = boot_default(machine, picked.indices)
    if result.ended != "password":
        return Evaluation(config, menu, machine, result, picked.by), ()
    # For the eye alone: what the entry would load if somebody typed the password.
    before.unset("superusers")
    boot_default(before, picked.indices)
    return Evaluation(config, menu, before, result, picked.by), ()


class _Picked(NamedTuple):
    """An entry other than GRUB's default, by words or by its place in the menu; or why there is none."""

    by: str = ""  # who wants it
    spec: str | None = None
    indices: Sequence[int] = ()
    refusal: Objection | None = None


def _pick(decision: Decision, machine: Machine, host: Host, plugins: Plugins) -> _Picked:
    wanted, by = _wanted(decision, machine, plugins)
    if wanted is not None:
        if choose(machine.menu or (), wanted, machine.flavour).matched:
            return _Picked(by, wanted)
        refusal = Objection(
            f"{by}: GRUB's menu has no entry {wanted!r}",
            code="no-such-entry",
            fix="kexec-hook list",
        )
        return _Picked(refusal=refusal)
    select = decision.settings.select
    how = select.value.how
    if how not in ("newest", "running"):
        return _Picked()
    by = f"select = {how} ({select.origin})"
    from kexec_hook.decision.newest import entry_of  # few ask for it

    indices = entry_of(how, decision, machine, host, plugins)
    if not indices:
        refusal = Objection(
            f"{by}: no entry of GRUB's menu boots that kernel",
            code="no-such-entry",
            fix="kexec-hook list",
        )
        return _Picked(refusal=refusal)
    return _Picked(by, indices=indices)


def _wanted(decision: Decision, machine: Machine, plugins: Plugins) -> tuple[str | None, str]:
    """The entry that somebody wants instead of GRUB's default, and who."""
    if decision.trigger.entry is not None:
        return decision.trigger.entry, "--entry"
    select = decision.settings.select
    if select.value.how == "entry":
        return select.value.entry, f"select ({select.origin})"
    if select.value.how == "grub":
        other = plugins.choose_entry(machine.menu or [], machine.get("default"), decision.trigger)
        if other is not None:
            return other[0], f"plugin {other[1]}"
    return None, ""
