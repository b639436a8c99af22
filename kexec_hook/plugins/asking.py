"""Asks the plugins, those that come along among them, and says which one failed; holds no answer of its own."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from kexec_hook.plugins.api import (
    BootConfig,
    Decision,
    Note,
    Objection,
    PackageManager,
    Trigger,
)
from kexec_hook.system.sysroot import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.values import Entry
    from kexec_hook.plugins.installed import Installed
    from kexec_hook.state.attempts import Attempt
    from kexec_hook.system.sysroot import Sysroot

Call = tuple[str, Callable[..., Any]]  # the plugin's name, and its answer


class Plugins:
    """The built-in plugins, and those that installed packages bring or `extra` holds.

    One that does not load objects to every run by name; one that raises in another question than the
    objections is named and passed over.
    """

    def __init__(self, *, installed: bool = True, extra: Sequence[tuple[str, object]] = ()) -> None:
        self._installed: Installed | None = None
        self.complaints: list[Note] = []
        if extra or (installed and any(map(_may_have_plugins, sys.path))):
            # With pluggy, which takes a sixth of a run to load: there are hardly ever plugins.
            from kexec_hook.plugins.installed import Installed

            self._installed = Installed()
            for name, plugin in extra:
                self._installed.add(name, partial(_itself, plugin))
            if installed:
                self._installed.load()

    @property
    def broken(self) -> list[Objection]:
        """Those that do not load."""
        return self._installed.broken if self._installed else []

    @property
    def names(self) -> list[str]:
        """Of those that do not come along."""
        return self._installed.names if self._installed else []

    @property
    def files(self) -> list[str]:
        """The files that installed plugins were loaded from."""
        return self._installed.files if self._installed else []

    def boot_config(self, sysroot: Sysroot, disks: RootDisks) -> BootConfig | None:
        found: BootConfig | None = self._first(
            "kexec_hook_boot_config", sysroot=sysroot, disks=disks
        )
        return found

    def choose_entry(
        self, menu: Sequence[Entry], default: str | None, trigger: Trigger
    ) -> tuple[str, str] | None:
        """Another entry, and the plugin that wants it."""
        for name, call in self._calls("kexec_hook_choose_entry"):
            answer = self._ask(name, call, menu=menu, default=default, trigger=trigger)
            if answer is not None:
                return str(answer), name
        return None

    def package_managers(self) -> list[PackageManager]:
        """One of each name; an installed plugin's stands in for a built-in one."""
        found: dict[str, PackageManager] = {}
        hook = "kexec_hook_package_manager"
        for name, call in [*self._calls(hook), *_own(hook, _managers())]:
            answer = self._ask(name, call)
            if answer is not None:
                found.setdefault(answer.name, answer)
        return list(found.values())

    def objections(self, decision: Decision, sysroot: Sysroot) -> list[Objection]:
        """Everything that speaks against a run, in the order of the plugins; fails closed."""
        found = list(self.broken)
        for name, call in self._calls("kexec_hook_objections"):
            try:
                answers = call(decision=decision, sysroot=sysroot) or []
                found += [
                    answer if isinstance(answer, Objection) else Objection(str(answer), name)
                    for answer in answers
                ]
            except NotPermittedError as error:
                if decision.trigger.dry:
                    self.complaints.append(Note(f"plugin {name} needs root: {error}", "needs-root"))
                else:
                    found.append(
                        Objection(
                            f"plugin {name} needs root: {error}",
                            name,
                            rights=True,
                            code="needs-root",
                        )
                    )
            except Exception as error:
                found.append(
                    Objection(f"plugin {name} failed: {_blame(error)}", name, code="plugin-failed")
                )
        return found

    def notes(self, decision: Decision, sysroot: Sysroot) -> list[Note]:
        return [
            note if isinstance(note, Note) else Note(str(note), "plugin")
            for name, call in self._calls("kexec_hook_notes")
            for note in self._ask(name, call, decision=decision, sysroot=sysroot) or []
        ]

    def staged(self, decision: Decision) -> None:
        for name, call in self._calls("kexec_hook_staged"):
            self._ask(name, call, decision=decision)

    @property
    def await_judgement(self) -> bool:
        """Does one want to hear what comes of a jump?"""
        return bool(self._calls("kexec_hook_judged"))

    def judged(self, attempt: Attempt, *, came_up: bool) -> None:
        for name, call in self._calls("kexec_hook_judged"):
            self._ask(name, call, attempt=attempt, came_up=came_up)

    def _first(self, hook: str, **kwargs: Any) -> Any:
        for name, call in self._calls(hook):
            answer = self._ask(name, call, **kwargs)
            if answer is not None:
                return answer
        return None

    def _calls(self, hook: str) -> list[Call]:
        """Each plugin's own answer to a question; installed plugins are asked first."""
        theirs = self._installed.answers(hook) if self._installed else ()
        return [
            *((name, _with_wanted(answer, wanted)) for name, answer, wanted in theirs),
            *_own(hook, _builtin()),
        ]

    def _ask(self, name: str, call: Callable[..., Any], **kwargs: Any) -> Any:
        try:
            return call(**kwargs)
        except Exception as error:
            text = f"plugin {name} failed and is ignored: {_blame(error)}"
            self.complaints.append(Note(text, "plugin-failed"))
            return None


def _own(hook: str, plugins: Iterable[tuple[str, object]]) -> list[Call]:
    """What those that come along answer: the functions of that name."""
    answers = [(name, getattr(plugin, hook, None)) for name, plugin in plugins]
    return [
        (name, _with_wanted(answer, answer.__code__.co_varnames[: answer.__code__.co_argcount]))
        for name, answer in answers
        if answer
    ]


def _blame(error: BaseException) -> str:
    from kexec_hook.plugins.blame import blame

    return blame(error)


def _itself(plugin: object) -> object:
    return plugin


def _with_wanted(answer: Callable[..., Any], wanted: Iterable[str]) -> Callable[..., Any]:
    """A plugin's answer takes only the arguments it names."""

    def call(**kwargs: Any) -> Any:
        return answer(*[kwargs[name] for name in wanted])

    return call


def _may_have_plugins(directory: str) -> bool:
    """Is it worth asking importlib.metadata?  To load it takes a fifth of a run."""
    try:
        names = os.listdir(directory or ".")
    except FileNotFoundError:
        return False
    except OSError:  # packages in an archive, for one
        return True
    for name in names:
        if name.lower().endswith(("dist-info", "egg-info")):
            try:
                with open(os.path.join(directory, name, "entry_points.txt"), "rb") as file:
                    if b"[kexec_hook]" in file.read():
                        return True
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError:
                return True
    return False


def _builtin() -> list[tuple[str, object]]:
    """Reached through their answers only, like any other plugin."""
    from kexec_hook.plugins.builtin import choice as checks
    from kexec_hook.plugins.builtin import grub, jumps

    return [("jumps", jumps), ("checks", checks), ("grub", grub)]


def _managers() -> list[tuple[str, object]]:
    """Loaded where they are asked for, which few runs do."""
    from kexec_hook.plugins.builtin import apt, dnf, pacman, zypper

    return [("apt", apt), ("dnf", dnf), ("pacman", pacman), ("zypper", zypper)]
