"""Each tree below tests/roots: what we say of it, and what real GRUB does with it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.oracle.disk import Partition

ROOTS = Path(__file__).resolve().parent / "roots"
NAMES = sorted(path.parent.name for path in ROOTS.glob("*/expected.json"))


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOTS / name / "expected.json").read_text())
    return found


def kexec_hook(*argv: str) -> int:
    from kexec_hook.cli import (
        main,
    )  # not before a test asks for it: the other tests here need none of it

    try:
        return int(main(list(argv)) or 0)
    except SystemExit as stop:
        return int(stop.code or 0)


def agrees(said: Any, wanted: Any) -> bool:
    """Objects may say more than is wanted; everything else is equal."""
    if isinstance(said, dict) and isinstance(wanted, dict) and wanted:
        return all(name in said and agrees(said[name], value) for name, value in wanted.items())
    return bool(said == wanted)


@pytest.mark.parametrize("name", NAMES)
def test_stage_says_what_grub_would_boot(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = expected(name)
    reason = wanted.pop("reason", None)
    status = kexec_hook("--root", str(ROOTS / name / "tree"), "stage", "--dry-run", "--json")
    said = json.loads(capsys.readouterr().out)
    assert {key: said.get(key) for key in wanted if not agrees(said.get(key), wanted[key])} == {}
    assert said["schema"] == 1
    if reason is None:
        assert status == 0
        assert said["commands"]
    else:
        assert status == 3
        reasons = [objection["reason"] for objection in said["objections"]]
        assert any(reason.lower() in text.lower() for text in reasons), reasons


@pytest.mark.parametrize("name", NAMES)
def test_people_are_told_the_same(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = expected(name)
    status = kexec_hook("--root", str(ROOTS / name / "tree"), "stage", "--dry-run")
    printed = capsys.readouterr()
    told = printed.out + printed.err
    assert status == (3 if "reason" in wanted else 0)
    assert "Traceback" not in told
    assert wanted["entry"]["titles"][-1] in told
    if "reason" in wanted:
        assert wanted["reason"].lower() in " ".join(told.lower().split())
    else:
        for fact in (wanted["kernel"], *wanted["initrds"], wanted["cmdline"]):
            assert fact in told


@pytest.mark.parametrize("name", NAMES)
def test_list_marks_the_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kexec_hook("--root", str(ROOTS / name / "tree"), "list", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    marked = [entry for entry in said["entries"] if entry["default"] and not entry["submenu"]]
    wanted = expected(name)["entry"]
    assert [(entry["path"], entry["titles"], entry["id"]) for entry in marked] == [
        (wanted["path"], wanted["titles"], wanted["id"])
    ]


def test_nothing_in_a_tree_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOTS / "debian-12-next/tree", tree, symlinks=True)
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert kexec_hook("--root", str(tree), "stage", "--dry-run") == 0
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before
    assert kexec_hook("--root", str(tree), "stage") == 2, (
        "with a root other than / only a dry run is possible"
    )


# What follows asks real GRUB (make oracle), so that expected.json is GRUB's word and not ours.


def environment(block: bytes) -> dict[str, str]:
    lines = block.decode().rstrip("#").split("\n")
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def partition(name: str, scratch: Path) -> tuple[Path, str]:
    """A copy of the partition that holds /boot, and the way from its top to what /boot holds."""
    tree = ROOTS / name / "tree"
    mounts = [line.split() for line in (tree / "proc/self/mountinfo").read_text().splitlines()]
    own = any(mount[4] == "/boot" for mount in mounts)
    top = next(mount[3] for mount in mounts if mount[4] == "/").strip("/")
    shutil.copytree(tree / "boot" if own else tree, scratch / top, symlinks=True)
    boot = "" if own else f"{f'/{top}' if top else ''}/boot"
    # grub-emu paints its graphical terminal in letters; where GRUB writes to does not change what it boots.
    config = scratch / f"{boot}/grub/grub.cfg".lstrip("/")
    config.write_text(
        config.read_text().replace("terminal_output gfxterm", "terminal_output console")
    )
    return scratch, boot


def stub(name: str) -> Path | None:
    """The stub on the EFI system partition of a tree."""
    return next((ROOTS / name / "tree/boot/efi/EFI").glob("*/grub.cfg"), None)


def follow(start: Path, partitions: list[Partition], scratch: Path) -> tuple[str, dict[str, str]]:
    """Where GRUB gets from a stub, which ends in `configfile`, and with which variables.

    The ESP is ext2 here and the second partition, for neither of which a stub asks.
    """
    from tests.oracle.disk import Partition
    from tests.oracle.emu import Grub

    lines = start.read_text().splitlines()
    assert lines.pop() == "configfile $prefix/grub.cfg"
    grub = Grub([*partitions, Partition(start.parents[2])], scratch)
    there = f"(hd0,gpt2)/EFI/{start.parent.name}"
    settings = {"prefix": there, "root": "hd0,gpt2", "grub_platform": "efi", "grub_cpu": "x86_64"}
    said = grub.script("\n".join([*lines, "echo $root", "echo $prefix", ""]), settings)
    root, prefix = said.text.split()
    return f"{prefix}/grub.cfg", {**settings, "root": root, "prefix": prefix}


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_expected_is_what_grub_does(name: str, tmp_path: Path) -> None:
    from tests.oracle.disk import Partition
    from tests.oracle.emu import Grub, missing

    why = missing()
    if why:
        pytest.skip(why)
    if "bls" in name:
        pytest.skip("grub-emu 2.06 has no blscfg; see tests/roots/README.md")
    wanted = expected(name)
    files, boot = partition(name, tmp_path / "files")
    config = f"{boot}/grub/grub.cfg"
    # the last search by UUID before the first linux command is the one for /boot
    text = (files / config.lstrip("/")).read_text()
    search = re.findall(
        r"search .*--set=root .*?([0-9a-f-]{36})$", text.partition("linux\t")[0], re.MULTILINE
    )
    assert search
    partitions = [Partition(files, search[-1])]
    config, settings = f"(hd0,gpt1){config}", {"prefix": f"(hd0,gpt1){boot}/grub"}
    start = stub(name)
    if start:
        config, settings = follow(start, partitions, tmp_path / "stub")
        assert config == f"(hd0,gpt1){boot}/grub/grub.cfg"
    grub = Grub(partitions, tmp_path / "disks")
    before = environment((files / f"{boot}/grub/grubenv".lstrip("/")).read_bytes())

    ran = grub.boot_default(config, settings, f"{boot}/grub/grubenv")
    if "password" in name:  # and the menu offers no keys that could be pressed
        assert ran.end == "auth"
        return
    assert {loader.chosen.split(">")[-1] for loader in ran.loaders if loader.chosen} <= {
        wanted["entry"]["id"]
    }
    assert ran.grubenv is not None
    after = environment(ran.grubenv)
    writes = {key: after.get(key) for key in {*before, *after} if before.get(key) != after.get(key)}
    assert writes == wanted["env_writes"]

    path = [int(part) for part in wanted["entry"]["path"].split(">")]
    seen = grub.walk([-1] * (len(path) - 1), config, settings)
    assert [menu.highlighted for menu in seen.menus] == path
    assert [menu.titles[menu.highlighted] for menu in seen.menus] == wanted["entry"]["titles"]

    said: dict[str, list[list[str]]] = {}
    for loader in ran.loaders:
        said.setdefault(loader.words[0], []).append(list(loader.words[1:]))
    if wanted["outcome"] == "would-stage":
        assert ran.booted
        assert all(loader.opened for loader in ran.loaders)
        assert sorted(said) == ["initrd", "linux"]
        assert "BOOT_IMAGE=" + " ".join(said["linux"][-1]) == wanted["cmdline"]
        assert on_host(said["linux"][-1][0], boot) == wanted["kernel"]
        assert [on_host(word, boot) for word in said["initrd"][-1]] == wanted["initrds"]
    elif wanted.get("kernel"):  # a missing initrd: GRUB 2.06 complains and boots all the same
        assert ran.booted
        assert "BOOT_IMAGE=" + " ".join(said["linux"][-1]) == wanted["cmdline"]
        assert [loader.words[0] for loader in ran.loaders if not loader.opened] == ["initrd"]
    else:
        assert (
            not any(loader.opened and loader.words[0] == "linux" for loader in ran.loaders)
            or "memtest" in name
        )


def on_host(path: str, boot: str) -> str:
    assert path.startswith(f"{boot}/")
    return "/boot" + path[len(boot) :]
