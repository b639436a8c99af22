"""What GRUB remembers between reset and boot: variables, menus, messages; the one object that changes."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

from kexec_hook.grub.disks import Disks, GrubPath
from kexec_hook.grub.errors import OK, CommandError
from kexec_hook.grub.flavours import Flavour
from kexec_hook.grub.fuel import Fuel
from kexec_hook.grub.script.source import Span
from kexec_hook.grub.script.syntax import Statement
from kexec_hook.grub.values import Binding, Call, Entry, EnvWrite, Loaded, Problem, Refusal

ORDERS = range(3)  # in which files may be found: sorted, turned by one, and backwards
_DEEPEST_EVIDENCE = 12  # how far back a value's reads are kept

if TYPE_CHECKING:
    Forked = TypeVar("Forked", bound="Environment")


class Environment:
    """The state of one GRUB; `fork` gives an independent copy, so that every entry can be tried on the menu's state."""

    def __init__(self, disks: Disks, flavour: Flavour, fuel: Fuel | None = None) -> None:
        self.disks = disks
        self.flavour = flavour
        self.fuel = fuel or Fuel()
        self.env: dict[str, Binding] = {}
        self.menu: list[Entry] | None = None
        self.params: list[str] | None = None  # $1...; None outside functions and entries
        self.functions: dict[str, tuple[Statement, ...]] = {}
        self.modules: set[str] = set()
        self.unsure_modules: frozenset[str] = frozenset()  # they may be built in
        # The machine's PCI devices as hwmatch spells them, for when it asks; None: not known.
        self.pci: Callable[[], Sequence[str] | None] = lambda: None
        # What the processor can do, as /proc/cpuinfo has it; nothing: not known.
        self.cpu_flags: Callable[[], Collection[str]] = lambda: ()
        # The structures in which the firmware describes the machine; empty: not known.
        self.smbios: Callable[[], bytes] = lambda: b""
        # Does the firmware say that it can be asked to open its setup?
        self.has_setup: Callable[[], bool] = lambda: True
        self.bls: dict[
            GrubPath, bool
        ] = {}  # what rhboot's blscfg has read, and whether it is in the menu
        self.found: dict[tuple[str, str], str] = {}  # what `search` has found
        self.subvolumes: dict[str, str] = {}  # btrfs-mount-subvol: directory -> subvolume
        self.loopbacks: dict[str, GrubPath] = {}  # the disks that `loopback` made, and their images
        self.unlocked: set[str] = set()  # ids of containers that cryptomount has opened; "": all
        self.bls_nowhere: list[Refusal] = []  # where blscfg found no entry
        self.globbing = True  # the regexp module expands * and ? once it is loaded
        self.extracting = 0  # inside extract_entries_*: few commands run
        self.loaded: Loaded | None = None
        self.devicetree: GrubPath | None = None  # None: the firmware's
        self.overlay: dict[GrubPath, bytes] = {}  # files as the script's save_env left them
        self.pending: list[EnvWrite] = []
        self.kcmdline: str | None = None  # of the last linux command, also where that failed
        self.executed: list[list[str]] = []  # loader commands with the words they got
        self.output: list[str] = []
        self.problems: list[Problem] = []
        self.refusals: list[Refusal] = []
        self.guesses: list[Refusal] = []  # where the outcome hangs on the clock, keys or hardware
        # The modules that are built into its image; None: not known.  Are others refused, by Secure Boot?
        self.built_in: Callable[[], Collection[str] | None] = lambda: None
        self.refuses_modules: Callable[[], bool] = lambda: False
        self.unordered: list[Refusal] = []  # where a pattern found files whose order is not known
        self.order = 0  # which of ORDERS they are taken in
        self.absent: frozenset[str] = frozenset()  # commands that this platform's GRUB lacks
        self.unsure_commands: frozenset[str] = frozenset()  # commands that it may lack
        self.unsure: frozenset[str] = frozenset()  # variables that builds of GRUB differ in
        self.errno = OK
        self._message = ""
        self._contexts: list[tuple[dict[str, Binding], list[Entry] | None]] = []

    def fork(self: Forked) -> Forked:
        """An independent copy; disks, table and fuel are shared."""
        copy = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if isinstance(value, (dict, list, set)):
                value = value.copy()
            setattr(copy, name, value)
        return copy

    # Variables

    def get(self, name: str) -> str | None:
        """The variable's value, None when it is not set.  $WEEKDAY and its like are guesses, not evidence."""
        binding = self.env.get(name)
        return None if binding is None else binding.value

    def set(self, name: str, value: str, call: Call | None = None) -> None:
        """Set a variable; `call` is kept as the evidence for its value."""
        old = self.env.get(name)
        exported = old is not None and old.exported
        hook = _HOOKS.get(name)
        if hook is not None:
            value = hook(value)
        if call is None:
            self.env[name] = Binding(value, exported=exported)
            return
        self.fuel.take(len(value), call.span)
        depth = 1 + max((read.binding.evidence for read in call.reads if read.binding), default=0)
        via = call.reads if depth <= _DEEPEST_EVIDENCE else ()
        self.env[name] = Binding(value, call.span, via, exported, depth if via else 0)

    def unset(self, name: str) -> None:
        if name in _HOOKED:
            self.set(name, "")
        else:
            self.env.pop(name, None)

    def export(self, name: str) -> None:
        self.env[name] = (self.env.get(name) or Binding(""))._replace(exported=True)

    def open_context(self, *, everything: bool = False) -> None:
        """A new set of variables, as for a submenu or configfile; what is copied in counts as exported."""
        self._contexts.append((self.env, self.menu))
        keep = everything or self.flavour.inherit_all
        self.env = {
            name: binding._replace(exported=True)
            for name, binding in self.env.items()
            if keep or binding.exported
        }
        self.menu = None

    def close_context(self) -> None:
        self.env, self.menu = self._contexts.pop()

    # Messages

    def say(self, text: str) -> None:
        """Write to the console, which shows what is no UTF-8 as `?` (normal/charset.c:grub_utf8_to_ucs4)."""
        self.fuel.take(len(text), None)
        if not text.isascii():
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "grub-console")
        self.output.append(text)

    def report(self, message: str, span: Span | None, errno: int) -> None:
        if len(self.problems) < 1000:
            self.problems.append(Problem(message, span, errno))

    def fail(self, error: CommandError) -> int:
        """grub_error: remember number and message until they are printed."""
        self.errno, self._message, self._error_span = error.errno, error.message, error.span
        return error.errno

    _error_span: Span | None = None

    def print_error(self) -> None:
        if self.errno:
            self.report(self._message, self._error_span, self.errno)
            self.errno = OK


def _show_broken(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?", error.end


codecs.register_error("grub-console", _show_broken)


def _without_parentheses(value: str) -> str:
    """kern/main.c:grub_env_write_root"""
    return value[1:-1] if value.startswith("(") and value.endswith(")") else value


# Variables with a hook: setting them changes what is stored, unsetting leaves them empty.
_HOOKS: dict[str, Callable[[str], str]] = {"root": _without_parentheses}
_HOOKED = frozenset([
    "root", "prefix", "color_normal", "color_highlight", "pager", "net_default_server", "net_default_interface",
    "pxe_default_server", "lang", "locale_dir", "secondary_locale_dir", "check_signatures",
    "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "WEEKDAY",
])  # fmt: skip
