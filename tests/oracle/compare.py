"""Where do two answers about one configuration differ?  Only what both have is compared; the result is text lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.oracle.emu import EMU_ONLY

Json = dict[str, Any]
# The loader commands that grub-eval lists; the recorder behind some answers noted more.
LISTED = frozenset(
    [
        *(
            "linux",
            "linux16",
            "linuxefi",
            "initrd",
            "initrd16",
            "initrdefi",
            "chainloader",
            "multiboot",
            "multiboot2",
        ),
        *(
            "module",
            "module2",
            "xen_hypervisor",
            "xen_module",
            "xen_linux",
            "xen_initrd",
            "devicetree",
        ),
        *("fwsetup", "reboot", "halt", "exit"),
    ]
)
# What a function cannot stand in for in grub-emu: the real command ends it, or a stub is silent.
NOT_SEEN_BY_EMU = frozenset(["fwsetup", "reboot", "halt", "exit"])
_OWN = re.compile(
    r"btrfs_\w+|check_appended_signatures|net_\w+|pxe_\w+|feature_\w+|grub_cpu|grub_platform|enable_\w+"
)


def blanks(text: str) -> str:
    """GRUB's console turns a tab into blanks."""
    return re.sub(r"[ \t]+", " ", text).strip()


def words(
    executed: Iterable[Iterable[str]] | None, leave_out: frozenset[str] = frozenset()
) -> list[list[str]]:
    lines = [list(line) for line in executed or ()]
    return [
        [blanks(word) for word in line]
        for line in lines
        if line[0] in LISTED and line[0] not in leave_out
    ]


def environment(env: Mapping[str, str | None]) -> dict[str, str]:
    """Variables that depend neither on the clock nor on the build of GRUB, and that a listing shows as such."""
    return {
        name: value or ""
        for name, value in env.items()
        if re.fullmatch(r"[^\s=]+", name) and name not in EMU_ONLY and not _OWN.fullmatch(name)
    }


def _say(differences: list[str], what: str, expected: object, got: object) -> None:
    if expected != got:
        differences.append(f"{what}: GRUB {expected!r}, kexec-hook {got!r}")


def after_writes(
    before: Mapping[str, str] | None, writes: Mapping[str, str | None] | None
) -> dict[str, str]:
    """The environment block's variables once the writes have been made; None deletes."""
    result = dict(before or {})
    for name, value in (writes or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def default_of(answer: Json) -> Json:
    found = answer.get("default")
    return found if isinstance(found, dict) else {"path": None, "titles": None, "ids": None}


def entries(
    expected: Iterable[Json],
    got: Iterable[Json],
    leave_out: frozenset[str] = frozenset(),
    only_top: bool = False,
) -> list[str]:
    """Compare entry by entry, in order."""
    differences: list[str] = []
    theirs = [entry for entry in expected if not only_top or ">" not in entry["path"]]
    ours = [entry for entry in got if not only_top or ">" not in entry["path"]]
    _say(
        differences, "paths", [entry["path"] for entry in theirs], [entry["path"] for entry in ours]
    )
    by_path = {entry["path"]: entry for entry in ours}
    for entry in theirs:
        other = by_path.get(entry["path"])
        if other is None:
            continue
        where = f"entry {entry['path']}"
        _say(differences, f"{where} title", blanks(entry["title"]), blanks(other["title"]))
        if "submenu" in entry and "submenu" in other:
            _say(differences, f"{where} submenu", bool(entry["submenu"]), bool(other["submenu"]))
        for name in ("id", "users", "classes"):
            if name in entry and name in other:
                _say(differences, f"{where} {name}", entry[name], other[name])
        if "hotkey" in entry and "hotkey" in other:
            _say(differences, f"{where} has a hotkey", bool(entry["hotkey"]), bool(other["hotkey"]))
        if "executed" in entry and "executed" in other:
            run = words(entry["executed"], leave_out)
            _say(differences, f"{where} executed", run, words(other["executed"], leave_out))
            if run and entry.get("root") is not None and "root" in other:
                _say(differences, f"{where} root", entry["root"], other.get("root"))
            if run and entry.get("kcmdline") is not None and "kcmdline" in other:
                _say(differences, f"{where} kcmdline", entry["kcmdline"], other.get("kcmdline"))
        if "booted" in entry and "booted" in other:
            _say(differences, f"{where} booted", bool(entry["booted"]), bool(other["booted"]))
    return differences


def recorded(
    expected: Json,
    got: Json,
    grubenv: Mapping[str, str] | None,
    leave_out: frozenset[str] = frozenset(),
) -> list[str]:
    """Compare with an answer of the recorder (tree/*/expected.*.json)."""
    differences = (
        entries(expected["entries"], got["entries"], leave_out) if "entries" in got else []
    )
    default = default_of(got)
    _say(differences, "default path", expected["default_path"], default["path"])
    _say(differences, "default titles", expected["default_titles"], default["titles"])
    if default.get("ids") is not None:
        _say(differences, "default ids", expected["default_ids"], default["ids"])
    _say(differences, "executed", words(expected["executed"]), words(got["executed"]))
    for name in ("kcmdline", "root", "booted", "chosen"):
        if name in got and expected.get(name) is not None:
            _say(differences, name, expected[name], got[name])
    if "timeout" in got:
        timeout = got["timeout"]
        _say(differences, "timeout", expected["timeout"], None if timeout is None else str(timeout))
    _say(differences, "env", environment(expected["menu_env"]), environment(got["env"]))
    if expected.get("grubenv_after") is not None:
        if "env_writes" in got:
            _say(
                differences,
                "grubenv",
                expected["grubenv_after"],
                after_writes(grubenv, got["env_writes"]),
            )
        else:
            _say(differences, "grubenv", expected["grubenv_after"], got["grubenv_after"])
    return differences


def listed(expected: Json, got: Json) -> list[str]:
    """Compare with what GRUB 2.14 made of Boot Loader Specification files (*2.14*.json)."""
    differences: list[str] = []
    top = [entry for entry in got["entries"] if ">" not in entry["path"]]
    _say(differences, "order", expected["order"], [entry["id"] for entry in top])
    differences += entries(expected["entries"], got["entries"])
    default = default_of(got)
    _say(differences, "default path", expected["default_path"], default["path"])
    _say(
        differences,
        "default id",
        expected["default_id"],
        default["ids"][-1] if default.get("ids") else None,
    )
    _say(differences, "executed", words(expected["executed"]), words(got["executed"]))
    _say(differences, "booted", bool(expected["booted"]), got["booted"])
    if expected["booted"]:
        _say(differences, "kcmdline", expected["kcmdline"], got["kcmdline"])
    return differences


def judged(expected: Json, got: Json, grubenv: Mapping[str, str] | None) -> list[str]:
    """Compare kexec-hook's answer with what grub-emu has just said."""
    got = on_console(got)
    leave_out = NOT_SEEN_BY_EMU
    differences = []
    if "entries" in expected and "entries" in got:
        differences += entries(
            expected["entries"], visible(got["entries"], expected["entries"]), leave_out
        )
    default = default_of(got)
    if "default" in expected:
        _say(differences, "default path", default_of(expected)["path"], default["path"])
    _say(
        differences,
        "executed",
        words(expected["executed"], leave_out),
        words(got["executed"], leave_out),
    )
    _say(differences, "booted", expected["booted"], got["booted"])
    if expected["booted"] and expected["chosen"] is not None:
        _say(differences, "chosen", expected["chosen"], got["chosen"])
    theirs, ours = environment(expected["env"]), environment(got["env"])
    # A name in several lines (`export a {...}`): a listing takes the last for the name.
    ours.update(
        (name, value)
        for name, value in got["env"].items()
        if environment({name.rpartition("\n")[2]: value})
    )
    if listing(theirs) != listing(ours):
        _say(differences, "env", theirs, ours)
    if expected["grubenv_after"] is not None:
        _say(
            differences,
            "grubenv",
            expected["grubenv_after"],
            after_writes(grubenv, got["env_writes"]),
        )
    return differences


def visible(ours: Iterable[Json], theirs: Iterable[Json]) -> list[Json]:
    """Less the entries at a menu's end that have blank titles: nothing of them is drawn."""
    known = {entry["path"] for entry in theirs}
    hidden: list[str] = []
    for entry in ours:
        if entry["path"] not in known and (
            not blanks(entry["title"]) or entry["path"].startswith(tuple(hidden))
        ):
            hidden.append(entry["path"] + ">")
    return [entry for entry in ours if not (entry["path"] + ">").startswith(tuple(hidden))]


def on_console(value: Any) -> Any:
    """What GRUB's console shows of bytes that are no UTF-8."""
    if isinstance(value, str):
        return (
            value.encode("utf-8", "surrogateescape")
            .decode("utf-8", "replace")
            .replace("\ufffd", "?")
        )
    if isinstance(value, list):
        return [on_console(item) for item in value]
    if isinstance(value, dict):
        return {name: on_console(item) for name, item in value.items()}
    return value


def listing(env: Mapping[str, str]) -> list[str]:
    """Lines of `set`, which does not tell a second line of a value from a variable."""
    return sorted(
        map(blanks, "\n".join(f"{name}={value}" for name, value in env.items()).split("\n"))
    )
