"""Where the corpus lies, which cases each family has, and how the file system of a case was made."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.disk import Partition

Json = dict[str, Any]
VARIABLE = "KEXEC_HOOK_CORPUS"
_UUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}|[0-9A-Fa-f]{16}"
_SEARCH_UUID = re.compile(
    rf"search\b[^\n;#]*?(?:fs[-_]uuid|-u\b)[^\n;#]*?(?<![-\w])({_UUID})(?![-\w])"
)
_SEARCH_LABEL = re.compile(r"search\b[^\n;#]*?(?:--(?:fs-)?label|\.fs_label|-l\b)([^\n;#]*)")


def root() -> Path | None:
    given = os.environ.get(VARIABLE)
    return Path(given) if given else None


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def cases(family: str, found: Iterable[tuple[str, object]]) -> list[Any]:
    """Parameters of a family's test: its cases, or one that says why there are none."""
    if root() is None:
        return [
            pytest.param(
                None,
                id=family,
                marks=pytest.mark.skip(reason=f"{VARIABLE} is not set: {family} not run"),
            )
        ]
    return [pytest.param(case, id=name) for name, case in found]


def directories(family: str) -> Iterator[Path]:
    base = root()
    if base is not None:
        yield from sorted(path for path in (base / family).iterdir() if path.is_dir())


def copy(source: Path, target: Path, leave_out: Iterable[str] = ()) -> Path:
    """Copy files without their modes and owners; the corpus is read-only."""
    skip = shutil.ignore_patterns(*leave_out) if leave_out else None
    shutil.copytree(
        source,
        target,
        copy_function=shutil.copyfile,
        ignore=skip,
        symlinks=True,
        dirs_exist_ok=True,
    )
    for path, names, _ in os.walk(target):
        os.chmod(path, 0o755)
        del names
    return target


def touch(directory: Path, paths: Iterable[str]) -> None:
    """Make the files that a case assumes: what GRUB would open has to be there."""
    for path in paths:
        name = re.sub(r"^\([^)]*\)", "", path).lstrip("/")
        file = directory / name
        if name and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x\n")


def searched_uuids(config: str) -> list[str]:
    return list(dict.fromkeys(_SEARCH_UUID.findall(config)))


def searched_labels(config: str) -> list[str]:
    found = []
    for rest in _SEARCH_LABEL.findall(config):
        values = [
            word.strip("\"'")
            for word in rest.split()
            if not word.startswith("-") and "$" not in word
        ]
        found += values[:1]
    return list(dict.fromkeys(found))


def partition(files: Path, config: str) -> Partition:
    """The one partition of most cases: it answers to the first UUID that grub.cfg searches for.

    It was ext2, which cannot have the UUID of a FAT or NTFS file system.
    """
    uuids = searched_uuids(config)
    return Partition(files, uuids[0] if uuids and len(uuids[0]) == 36 else None)


def leaves(entries: Iterable[Json]) -> list[Json]:
    """The entries that are no submenus, through all levels."""
    found = list(entries)
    parents = {entry["path"].rpartition(">")[0] for entry in found}
    return [entry for entry in found if entry["path"] not in parents and not entry.get("submenu")]


def kernel_and_initrds(executed: Iterable[Iterable[str]]) -> Json:
    """What the last loader commands amount to, in the words of expected.json."""
    result: Json = {}
    for line in executed:
        name, *args = list(line)
        if name in ("linux", "linux16", "linuxefi"):
            result = {
                "kind": "linux",
                "kernel": args[0] if args else "",
                "cmdline": " ".join(args[1:]),
                "initrd": [],
            }
        elif name in ("multiboot", "multiboot2", "xen_hypervisor"):
            result = {
                "kind": name,
                "kernel": args[0] if args else "",
                "cmdline": " ".join(args[1:]),
                "modules": [],
            }
        elif name in ("module", "module2", "xen_module"):
            rest = [arg for arg in args if arg != "--nounzip"]
            module: Json = {"file": rest[0] if rest else "", "args": " ".join(rest[1:])}
            if rest != args:
                module["nounzip"] = True
            result.setdefault("modules", []).append(module)
        elif name in ("initrd", "initrd16", "initrdefi"):
            result["initrd"] = args
        elif name == "chainloader":
            result = {
                "kind": name,
                "chainloader": args[0] if args else "",
                "args": " ".join(args[1:]),
            }
    return result


def instead(expected: Json, known: Mapping[str, Any]) -> Json:
    """Put GRUB's values in the place of another program's; null takes the expectation away."""
    result: Json = json.loads(json.dumps(expected))
    for change in known.get("changes", ()):
        *way, last = change["at"]
        place: Any = result
        for step in way:
            place = place[step]
        if change["grub"] is None and isinstance(place, dict):
            place.pop(last, None)
        else:
            place[last] = change["grub"]
    return result


def difference(family: str, name: str) -> Json:
    """How the recorded expectation of a case departs from GRUB, and the reason; GRUB counts."""
    known: Json = load(Path(__file__).with_name("differences.json")).get(family, {}).get(name, {})
    return known
