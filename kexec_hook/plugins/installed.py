"""Plugins that installed packages bring: which there are, whether they may be loaded, and what pluggy says of them."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pluggy

from kexec_hook.plugins import hookspecs
from kexec_hook.plugins.api import API_VERSION, Objection
from kexec_hook.plugins.blame import blame

GROUP = "kexec_hook"


class Installed:
    """The plugins of the entry-point group `kexec_hook`, and those given by hand.

    A plugin states the API it was written for in `kexec_hook_api = ">=1.0,<2"`.  One that
    does not load, or misspells a hook, objects to every run by name: it is `broken`.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.broken: list[Objection] = []

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self._manager.list_name_plugin())

    @property
    def files(self) -> list[str]:
        """The files that they were loaded from."""
        found = (
            getattr(sys.modules.get(_module(plugin)), "__file__", None)
            for _, plugin in self._manager.list_name_plugin()
        )
        return [file for file in found if file]

    def answers(self, hook: str) -> list[tuple[str, Callable[..., Any], Sequence[str]]]:
        """Each one's answer to a question and the arguments that it takes, as pluggy would call them."""
        implementations = reversed(getattr(self._manager.hook, hook).get_hookimpls())
        return [(impl.plugin_name, impl.function, impl.argnames) for impl in implementations]

    def load(self) -> None:
        """All that there are."""
        for point in _entry_points():
            stranger = _who_else_may_write(str(point.value).partition(":")[0])
            if stranger:
                reason = f"plugin {point.name} is not loaded: {stranger}"
                self.broken.append(Objection(reason, point.name, code="plugin"))
            else:
                self.add(point.name, point.load)

    def add(self, name: str, load: Callable[[], Any]) -> None:
        """The plugin that this returns."""
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
        except Exception as error:
            self.broken.append(
                Objection(
                    f"plugin {name} does not load: {blame(error)}", name, code="plugin-broken"
                )
            )


def _module(plugin: object) -> str:
    return str(getattr(plugin, "__module__", None) or getattr(plugin, "__name__", ""))


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


def _entry_points() -> Iterable[Any]:
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
