"""Loads plugins, asks them, and says which one failed; holds no answer of its own."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import pluggy

from kexec_hook.plugins import hookspecs
from kexec_hook.plugins.api import (
    API_VERSION,
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
    from kexec_hook.state.attempts import Attempt
    from kexec_hook.system.sysroot import Sysroot

GROUP = "kexec_hook"
_BUILT_IN = "kexec_hook.plugins.builtin."


class Plugins:
    """The built-in plugins and those that installed packages bring (entry-point group `kexec_hook`).

    A plugin states the API it was written for in `kexec_hook_api = ">=1.0,<2"`.  One that
    does not load, or misspells a hook, objects to every run by name; one that raises in
    another question than the objections is named and passed over.
    """

    def __init__(self, *, installed: bool = True, extra: Iterable[tuple[str, object]] = ()) -> None:
        self._manager = _Manager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.broken: list[Objection] = []
        self.complaints: list[Note] = []
        self._installed: list[object] = []
        for name, plugin in _builtin():
            self._manager.register(plugin, name)
        for name, plugin in extra:
            self._add(name, partial(_itself, plugin))
        if installed:
            self._load_installed()

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self._manager.list_name_plugin())

    @property
    def files(self) -> list[str]:
        """The files that installed plugins were loaded from."""
        found = (
            getattr(sys.modules.get(_module(plugin)), "__file__", None)
            for plugin in self._installed
        )
        return [file for file in found if file]

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
        for name, plugin in _managers():
            if not self._manager.has_plugin(name):
                self._manager.register(plugin, name)
        found: dict[str, PackageManager] = {}
        for name, call in self._calls("kexec_hook_package_manager"):
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

    def _calls(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Each plugin's own answer to a question, later registrations first, as pluggy would call them."""
        implementations = reversed(getattr(self._manager.hook, hook).get_hookimpls())
        return [(impl.plugin_name, _with_wanted(impl)) for impl in implementations]

    def _ask(self, name: str, call: Callable[..., Any], **kwargs: Any) -> Any:
        try:
            return call(**kwargs)
        except Exception as error:
            text = f"plugin {name} failed and is ignored: {_blame(error)}"
            self.complaints.append(Note(text, "plugin-failed"))
            return None

    def _load_installed(self) -> None:
        for point in _entry_points():
            stranger = _who_else_may_write(str(point.value).partition(":")[0])
            if stranger:
                reason = f"plugin {point.name} is not loaded: {stranger}"
                self.broken.append(Objection(reason, point.name, code="plugin"))
            else:
                self._add(point.name, point.load)

    def _add(self, name: str, load: Callable[[], Any]) -> None:
        try:
            plugin = load()
            wanted = getattr(plugin, "kexec_hook_api", None)
            refusal = _api_refusal(wanted)
            if refusal:
                self.broken.append(
                    Objection(f"plugin {name} {refusal}", name, code="plugin-broken")
                )
                return
            unknown = [
                attribute
                for attribute in dir(plugin)
                if attribute.startswith("kexec_hook_")
                and attribute != "kexec_hook_api"
                and not hasattr(hookspecs, attribute)
            ]
            if unknown:
                self.broken.append(
                    Objection(
                        f"plugin {name} implements `{unknown[0]}`, which kexec-hook does not have",
                        name,
                        code="plugin-broken",
                    )
                )
                return
            self._manager.register(plugin, name)
            self._installed.append(plugin)
        except Exception as error:
            self.broken.append(
                Objection(
                    f"plugin {name} does not load: {_blame(error)}", name, code="plugin-broken"
                )
            )


class _Manager(pluggy.PluginManager):
    """Of the built-in plugins' modules only the hooks are looked at: pluggy would inspect all that they import."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if _module(plugin).startswith(_BUILT_IN) and not name.startswith(f"{GROUP}_"):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def _module(plugin: object) -> str:
    return str(getattr(plugin, "__module__", None) or getattr(plugin, "__name__", ""))


def _itself(plugin: object) -> object:
    return plugin


def _with_wanted(impl: Any) -> Callable[..., Any]:
    """A hook implementation takes only the arguments it names."""

    def call(**kwargs: Any) -> Any:
        return impl.function(*[kwargs[name] for name in impl.argnames])

    return call


def _api_refusal(wanted: object) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if not isinstance(wanted, str):
        return 'does not state the API it was written for (kexec_hook_api = ">=1.0,<2")'
    try:
        if API_VERSION in SpecifierSet(wanted):
            return ""
    except InvalidSpecifier:
        return f"states its API as {wanted!r}, which is not a version specifier"
    return f"was written for API {wanted}, this is {API_VERSION}"


def _blame(error: BaseException) -> str:
    """What was raised, and the innermost place."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _entry_points() -> Iterable[Any]:
    if not any(map(_may_have_plugins, sys.path)):
        return ()
    from importlib import metadata

    points: Any = metadata.entry_points()
    found: Iterable[Any] = (
        points.select(group=GROUP) if hasattr(points, "select") else points.get(GROUP, ())
    )
    return found  # a dict in Python 3.9


def _who_else_may_write(module: str) -> str:
    """Why its code is not to be run by us; empty where only root and we could have written it.  Runs none of it."""
    from importlib.machinery import PathFinder

    top, *names = module.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None or spec.origin is None:
        return ""  # nothing that is known without running code; the trust check sees it when it is loaded
    paths = {spec.origin}
    for directory in spec.submodule_search_locations or ():
        base = os.path.join(directory, *names)
        paths |= {f"{base}.py", f"{base}/__init__.py"}
    ways = {above for path in paths for above in _way(os.path.realpath(path))}
    for above in sorted(filter(os.path.exists, ways)):
        info = os.stat(above)
        sticky = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
        if info.st_uid not in (0, os.geteuid()):
            return f"{above} belongs to another user than root"
        if info.st_mode & 0o022 and not sticky:
            return f"{above} can be written by others than root"
    return ""


def _way(path: str) -> list[str]:
    above = os.path.dirname(path)
    return [path] if above == path else [path, *_way(above)]


def _may_have_plugins(directory: str) -> bool:
    """Is it worth asking importlib.metadata?  To load it takes a fifth of a run, and there are hardly ever plugins."""
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
                    if b"[%s]" % GROUP.encode() in file.read():
                        return True
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError:
                return True
    return False


def _builtin() -> list[tuple[str, object]]:
    """Reached through hooks only, like any other plugin."""
    from kexec_hook.plugins.builtin import choice as checks
    from kexec_hook.plugins.builtin import grub, jumps

    return [("grub", grub), ("checks", checks), ("jumps", jumps)]


def _managers() -> list[tuple[str, object]]:
    """Loaded where they are asked for, which few runs do; trylast puts them behind installed ones all the same."""
    from kexec_hook.plugins.builtin import apt, dnf, pacman, zypper

    return [("apt", apt), ("dnf", dnf), ("pacman", pacman), ("zypper", zypper)]
