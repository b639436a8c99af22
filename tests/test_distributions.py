"""What distributions lay out is staged as GRUB boots it, or declined by its code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.distributions import LAYOUTS, Layout, Machine
from tests.test_roots import environment, kexec_hook


def names(row: Layout) -> str:
    return row.name


@pytest.mark.parametrize("row", LAYOUTS, ids=names)
def test_what_distributions_lay_out(
    row: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path)
    wanted = row.make(machine)
    if ":" in wanted.kernel and not shutil.which("grub-fstest"):
        pytest.skip("needs grub-fstest")
    machine.sysroot()
    status = kexec_hook("--root", str(machine), "stage", "--dry-run", "--json")
    said = json.loads(capsys.readouterr().out)
    if row.code:
        assert status == 3
        assert {objection["code"] for objection in said["objections"]} == {row.code}
        return
    assert [objection["reason"] for objection in said["objections"]] == []
    assert (said["kernel"], tuple(said["initrds"])) == (wanted.kernel, wanted.initrds)
    assert said["cmdline"] == wanted.cmdline
    assert said["env_writes"] == wanted.writes
    if wanted.blocks:
        assert tuple(block["file"] for block in said["env_blocks"]) == wanted.blocks


@pytest.mark.oracle
@pytest.mark.parametrize("row", [row for row in LAYOUTS if row.judged], ids=names)
def test_the_answer_is_what_grub_does(row: Layout, tmp_path: Path) -> None:
    from tests.oracle.disk import Partition
    from tests.oracle.emu import Grub, missing

    why = missing()
    if why:
        pytest.skip(why)
    machine = Machine(tmp_path / "machine")
    wanted = row.make(machine)
    config = next((machine / "boot").glob("grub*/grub.cfg")).relative_to(machine)
    text = re.sub(r"gpt\d", "gpt1", (machine / str(config)).read_text())
    (machine / str(config)).write_text(text.replace("set timeout=5", "set timeout=0"))
    uuid = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)[0]
    shutil.rmtree(machine / "dev")
    grub = Grub([Partition(machine.root, uuid)], tmp_path / "disks")
    prefix = f"/{config.parent}"
    block = machine / f"{prefix}/grubenv"
    before = environment(block.read_bytes()) if block.exists() else {}
    settings = {"prefix": f"(hd0,gpt1){prefix}"}
    ran = grub.boot_default(f"(hd0,gpt1){prefix}/grub.cfg", settings, f"{prefix}/grubenv")
    loaded = {loader.words[0]: list(loader.words[1:]) for loader in ran.loaders}
    assert ran.booted
    assert "BOOT_IMAGE=" + " ".join(loaded["linux"]) == wanted.cmdline
    assert tuple(loaded.get("initrd", ())) == wanted.initrds
    after = environment(ran.grubenv) if ran.grubenv else {}
    assert after == {**before, **wanted.writes}
