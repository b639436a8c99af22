"""Which menu entry does a GRUB `default` name, and what happens when an entry runs (grub-core/normal/menu.c)."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexec_hook.grub.disks import Unseen
from kexec_hook.grub.errors import BAD_NUMBER, OK, CommandError
from kexec_hook.grub.flavours import Flavour
from kexec_hook.grub.fuel import Limit
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.numbers import as_int, strtoul
from kexec_hook.grub.values import Entry, Halted
from kexec_hook.tuples import NamedTuple

_DEEPEST_MENU = 8
ENDLESS = "endless"  # it took more than an evaluation may spend


class Choice:
    """Which entry of one menu a value of `default` stands for, and why."""

    def __init__(self, index: int, why: str) -> None:
        self.index = index
        self.why = why  # number | id | title | fallback | unset | not found

    @property
    def matched(self) -> bool:
        return self.why not in ("unset", "not found")


def choose(menu: Sequence[Entry], value: str | None, flavour: Flavour) -> Choice:
    """The entry GRUB would preselect: the first one when the value names none."""
    index, why = -1, "unset"
    if value is not None:
        find = _by_names_first if flavour.names_first else _by_number_first
        index, why = find(menu, value)
    if flavour.snapshot_ahead and menu:
        index = _behind_snapshot(menu, index, why)
    if value is None:
        return Choice(max(index, 0), why)
    if not 0 <= index < len(menu):
        return Choice(0, "not found")
    return Choice(index, why)


def _behind_snapshot(menu: Sequence[Entry], index: int, why: str) -> int:
    """SUSE's workaround_snapshot_menu_default_entry()"""
    first = menu[0]
    if not first.submenu or not first.title.startswith("Bootable snapshot"):
        return index
    if index == -1:
        return 1 if len(menu) > 1 else index
    return index + 1 if why == "number" and index < len(menu) - 1 else index


def _by_number_first(menu: Sequence[Entry], value: str) -> tuple[int, str]:
    """upstream: a number at the start of the value, whatever follows; only without one an id or title."""
    try:
        return as_int(strtoul(value)[0]), "number"
    except CommandError as error:
        if error.errno != BAD_NUMBER:
            return -1, "number"
    first = first_component(value)
    for index, entry in enumerate(menu):
        if first in (entry.title, entry.id):
            return index, "id" if first == entry.id else "title"
    return -1, ""


def _by_names_first(menu: Sequence[Entry], value: str) -> tuple[int, str]:
    """rhboot: every id, then every title, then a number that is the whole value."""
    index, why, tail = _rhboot_entry(menu, value)
    return (-1, why) if tail else (index, why)


def _rhboot_entry(menu: Sequence[Entry], value: str) -> tuple[int, str, str | None]:
    """rhboot's get_entry_number_helper: index or -1, why, and the rest of the value (None: a null pointer)."""
    word = len(value)
    for at, letter in enumerate(value):
        if letter in "\n\r \t":
            word = at
            break
    for index, entry in enumerate(menu):
        if _rhboot_equal(entry.id, value, word):
            return index, "id", value[word:]
    for index, entry in enumerate(menu):
        if _rhboot_equal(entry.title, value, -1):
            return index, "title", None
    try:
        number, tail = strtoul(value)
    except CommandError as error:
        return -1, "" if error.errno == BAD_NUMBER else "number", None
    if tail and tail[0] not in "\n\r \t":
        return -1, "", None
    return as_int(number), "number", tail


def _rhboot_equal(name: str, spec: str, limit: int) -> int:
    """rhboot's menuentry_eq: how much of the spec is this name; `>>` stands for `>`, a single `>` ends it."""
    at = position = 0
    while limit == -1 or at <= limit:
        mine = name[at : at + 1]
        theirs = spec[position : position + 1]
        if theirs == ">" and spec[position + 1 : position + 2] != ">":
            return position if not mine else 0
        if theirs == ">":
            position += 1
            theirs = ">"
        if mine != theirs:
            if limit > -1 and at == limit and not mine and theirs and theirs in "\n\r \t":
                return at - 1
            return 0
        if not mine:
            return at
        at += 1
        position += 1
    return 0


def first_component(value: str) -> str:
    """What a path such as `sub>entry` names in this menu; `>>` is a literal `>`."""
    head, _ = split_path(value)
    return head.replace(">>", ">")


def split_path(value: str) -> tuple[str, str | None]:
    """A value at its first single `>`: this menu's part, and what is left for the submenu (None: no `>`)."""
    at = 0
    while at < len(value):
        if value[at] == ">":
            if value[at + 1 : at + 2] != ">":
                return value[:at], value[at + 1 :]
            at += 1
        at += 1
    return value, None


class Outcome(NamedTuple):
    """What came of running one entry's body."""

    how: str  # boot | menu (another menu is to be shown) | password | nothing | the command that left GRUB
    status: int = OK


class Tried(NamedTuple):
    """One entry that ran: its path from the top, the entries on that path, and how it ended."""

    path: tuple[int, ...]
    entries: tuple[Entry, ...]
    choice: Choice
    outcome: Outcome

    @property
    def spec(self) -> str:
        """As GRUB's `default` would name it by numbers: 1>2."""
        return spec(self.path)

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(entry.title for entry in self.entries)


def spec(path: Sequence[int]) -> str:
    """Numbers from the top menu down, as GRUB's `default` takes them: 1>2."""
    return ">".join(map(str, path))


class BootResult:
    """What GRUB would do, left alone with a menu: the entries it tries in turn, the last one being what boots.

    `ended` is boot, menu (GRUB waits for somebody), password, crash, or the command that left GRUB; and, where
    GRUB did not get that far: no menu, missing (the configuration), no such entry, endless.
    """

    def __init__(self, ended: str = "menu") -> None:
        self.tried: list[Tried] = []
        self.choices: list[tuple[Choice, Sequence[Entry]]] = []  # one a menu, down to the default
        self.ended = ended
        self.chosen = ""
        self.root: str | None = None

    @property
    def booted(self) -> bool:
        return self.ended == "boot"

    @property
    def default(self) -> Tried | None:
        """The entry that `default` names, which fallbacks may have followed."""
        return self.tried[0] if self.tried else None


def evaluate(machine: Machine, config: str) -> str:
    """Read a configuration up to its menu; how that ended: menu, or what stopped GRUB before one."""
    try:
        if machine.run_file(config):
            return "menu"
    except Halted as halted:
        return halted.how
    except Unseen as unseen:
        machine.unseen(unseen, None)
        return "unseen"
    machine.print_error()
    return "missing"


def boot_default(machine: Machine, indices: Sequence[int] = ()) -> BootResult:
    """Let the machine boot its menu's default, with fallbacks, as GRUB does when nobody touches a key.

    With `indices`, somebody picks these positions, one a menu, instead of the default.
    """
    result = BootResult()
    if indices:
        machine.set("default", spec(indices))
    try:
        _show(machine, (), (), result, indices)
    except Halted as halted:
        result.ended = halted.how
    result.chosen = machine.get("chosen") or ""
    result.root = machine.get("root")
    return result


def run_entry(machine: Machine, entry: Entry) -> Outcome:
    """Run one entry's body where its menu is shown (grub_menu_execute_entry), up to boot or to a nested menu."""
    if needs_password(machine, entry):
        return Outcome("password")
    chosen, default = machine.get("chosen"), machine.get("default")
    if entry.submenu:
        machine.open_context()
        machine.menu = []
        machine.set("timeout", "0")
    name = entry.id.replace(">", ">>")
    machine.set("chosen", name if chosen is None else f"{chosen}>{name}")
    machine.export("chosen")
    tail = split_path(default or "")[1]
    if tail:
        machine.set("default", tail)
    elif not machine.flavour.keep_default:
        machine.unset("default")
    try:
        status = machine.run_scoped(entry.code.whole(), entry.args)
    except Halted as halted:
        return Outcome(halted.how)
    if (
        machine.errno == OK
        and machine.loaded
        and (status == OK or not machine.flavour.status_decides)
    ):
        return Outcome("boot", status)
    return Outcome("menu" if entry.submenu and machine.menu else "nothing", status)


def needs_password(machine: Machine, entry: Entry) -> bool:
    """$superusers is set, be it to nothing, and the entry is not for anyone (normal/auth.c:is_authenticated)."""
    if entry.users is None or machine.get("superusers") is None:
        return False
    # SUSE's grub_menu_execute_entry()
    may_all = machine.flavour.unrestricted_menu and machine.get("unrestricted_menu")
    return bool(entry.users) or not (may_all and may_all[0] in "1y")


def _show(
    machine: Machine,
    path: tuple[int, ...],
    above: tuple[Entry, ...],
    result: BootResult,
    indices: Sequence[int] = (),
) -> None:
    """Show the machine's menu: its default runs, then the fallbacks.

    Raises Halted; returns where nothing boots and the menu is a submenu, which GRUB then leaves (menu.c:show_menu).
    """
    menu = machine.menu
    if not menu or len(path) >= _DEEPEST_MENU:
        raise Halted("menu")
    choice: Choice | None = choose(menu, machine.get("default"), machine.flavour)
    if len(path) < len(indices):
        choice = Choice(indices[len(path)], "number")
    if choice is not None and not result.tried:
        result.choices.append((choice, menu))
    while choice is not None:
        entry = menu[choice.index]
        here = (*path, choice.index), (*above, entry)
        before = machine.get("chosen"), machine.get("default")
        outcome = run_entry(machine, entry)
        if outcome.how == "menu":
            _show(machine, *here, result, indices)
        else:
            result.tried.append(Tried(*here, choice, outcome))
            if outcome.how != "nothing":
                raise Halted(outcome.how)
        _leave(machine, entry, *before)
        if machine.flavour.status_decides and outcome.status == OK:
            break
        choice = _fallback(machine, menu)
    if not above or not above[-1].submenu:
        raise Halted("menu")


def _leave(machine: Machine, entry: Entry, chosen: str | None, default: str | None) -> None:
    """Back in the menu that an entry was started from, with the variables as they were there."""
    if entry.submenu:
        machine.close_context()
    for name, value in (("chosen", chosen), ("default", default)):
        if value is None:
            machine.unset(name)
        else:
            machine.set(name, value)
    machine.unset("timeout")


def _fallback(machine: Machine, menu: Sequence[Entry]) -> Choice | None:
    """The entry that is tried next; None where there is none."""
    number = _take_fallback(machine, menu)
    if number is None:
        return None
    if number >= len(menu):
        machine.report(
            f"GRUB crashes here: `fallback` is {number}, and no such entry is in the menu",
            None,
            OK,
        )
        raise Halted("crash")
    return Choice(number, "fallback")


def _take_fallback(machine: Machine, menu: Sequence[Entry]) -> int | None:
    """The first number of `fallback`, which is removed from it; rhboot also takes ids."""
    value = machine.get("fallback")
    if value is None:
        return None
    if machine.flavour.names_first:
        index, _, tail = _rhboot_entry(menu, value)
        if tail is None:
            binding = machine.env["fallback"]
            machine.report(
                "GRUB crashes here: `fallback` is neither a number nor an id", binding.origin, OK
            )
            raise Halted("crash")
        rest = tail.lstrip("\n\r \t")
        if index < 0 or not rest:
            machine.unset("fallback")
        else:
            machine.set("fallback", rest)
        return index if index >= 0 else None
    try:
        number, tail = strtoul(value)
    except CommandError:
        machine.unset("fallback")
        return None
    machine.set("fallback", tail.lstrip("\n\r \t"))
    return as_int(number) if as_int(number) >= 0 else None


class Trial(NamedTuple):
    """One entry run for itself, on a copy of the state its menu was shown in."""

    path: tuple[int, ...]
    entry: Entry
    machine: Machine  # as the entry left it
    outcome: Outcome


def try_all(machine: Machine, path: tuple[int, ...] = ()) -> Iterator[Trial]:
    """Every entry of the menu, and below each submenu its own, in the order of the menu."""
    for index, entry in enumerate(machine.menu or []):
        trial = machine.fork()
        trial.executed = []
        trial.kcmdline = None
        trial.unset("default")
        trial.fuel = machine.fuel.part()
        try:
            outcome = run_entry(trial, entry)
        except Limit as limit:
            # GRUB would come to this entry only if somebody chose it.
            machine.report(limit.message, limit.span, OK)
            outcome = Outcome(ENDLESS)
        yield Trial((*path, index), entry, trial, outcome)
        if outcome.how == "menu" and trial.menu is not machine.menu:
            if len(path) + 1 < _DEEPEST_MENU:
                yield from try_all(trial, (*path, index))
            else:
                machine.report("menus nested deeper than 8 levels are not followed", entry.span, OK)
