"""Real GRUB's answer in the shape of `grub-eval --json`, as far as grub-emu can tell; what it cannot is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.oracle import emu
from tests.oracle.envblock import variables
from tests.oracle.world import Question

Json = dict[str, Any]


def _settings(question: Question) -> Mapping[str, str]:
    return {
        "prefix": "(hd0,gpt1)" + question.directory,
        "grub_platform": question.platform,
        "grub_cpu": question.cpu,
        **question.variables,
    }


def _path(path: tuple[int, ...]) -> str:
    return ">".join(str(index) for index in path)


def script(question: Question, directory: Path, source: bytes) -> emu.ScriptRun:
    """Run a GRUB script."""
    return emu.Grub(question.partitions, directory).script(source, _settings(question))


def evaluate(
    question: Question,
    directory: Path,
    depth: str = "all",
    with_path: bool = True,
    seconds: float = 20.0,
    fresh: bool = False,
) -> Json:
    """Boot the default; find its path through the menus; run `all` entries, list the `top` ones, or `none`."""
    grub = emu.Grub(question.partitions, directory, seconds, fresh)
    settings = _settings(question)
    config = f"(hd0,gpt1){question.directory}/grub.cfg"
    environment = question.directory + "/grubenv"
    text = Path(question.partitions[0].files, question.directory[1:], "grub.cfg").read_bytes()
    rows = 20 + text.count(b"menuentry") + text.count(b"submenu")
    boot = grub.boot_default(config, settings, environment)
    answer: Json = {
        "executed": boot.executed,
        "booted": boot.booted,
        "chosen": boot.chosen,
        "env": dict(boot.env),
        "end": boot.end,
        "errors": list(boot.errors),
        "grubenv_after": None if boot.grubenv is None else variables(boot.grubenv),
    }
    menus: tuple[emu.Menu, ...] = ()
    if boot.before_menu:
        # Whatever is entered boots that, be it a submenu; in grub-emu nothing is loaded, and the submenu is shown.
        raise emu.GrubFailed("a kernel was loaded before the menu")
    if with_path:
        walk = grub.walk([-1] * 8, config, settings, rows)
        path = walk.path
        if boot.booted and boot.chosen is not None and not boot.fell_back:
            # A submenu that loads a kernel itself boots; here, where nothing is loaded, its menu is shown.
            path = path[: emu.depth(boot.chosen)]
        titles = [menu.titles[index] for menu, index in zip(walk.menus, path) if menu.titles]
        if walk.end != "auth":  # with a password, what is behind a submenu is not to be seen
            answer["default"] = {"path": _path(path), "titles": titles} if walk.menus else None
        menus = walk.menus
    if depth == "top":
        answer["entries"] = [
            {"path": str(index), "title": title}
            for index, title in enumerate(menus[0].titles if menus else ())
        ]
    if depth == "all":
        entries = answer["entries"] = []
        for entry in grub.entries(config, settings, rows):
            found: Json = {
                "path": _path(entry.path),
                "title": entry.title,
                "executed": entry.run.executed,
            }
            if entry.submenu:  # an empty submenu is never drawn
                found["submenu"] = True
            if entry.run.env and not entry.submenu:
                found["root"] = entry.run.env.get("root")
            if entry.run.end == "drawn":
                found["booted"] = emu.loaded(entry.run.loaders)
            entries.append(found)
    return answer
