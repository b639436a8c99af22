"""The last steps before a jump, and what the next boot makes of them, on a directory that stands for the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PROJECT, Box

needs_editenv = pytest.mark.skipif(
    not shutil.which("grub-editenv", path="/usr/bin:/usr/sbin"),
    reason="needs grub-editenv (grub-common)",
)
pytestmark = needs_editenv
ENV = "boot/grub/grubenv"
LOADER = Path("/proc/sys/kernel/bootloader_type")
ATTEMPT = "var/lib/kexec-hook/attempt.json"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """With a one-time entry, about to reboot."""
    box = Box(tmp_path, "debian-12-next")
    assert box.run("stage") == 0
    box.rebooting()
    return box


def attempt(box: Box) -> dict[str, Any] | None:
    path = box / ATTEMPT
    return json.loads(path.read_text()) if path.exists() else None


def unwritten(box: Box) -> bytes:
    """As if finalize had been killed between its approval and its writes; GRUB's block as it is then."""
    before = (box / ENV).read_bytes()
    assert box.run("finalize") == 0
    noted = attempt(box)
    assert noted
    (box / ATTEMPT).write_text(json.dumps({**noted, "written": False}))
    (box / ENV).write_bytes(before)
    return before


def boots(box: Box, by: str) -> None:
    """The next boot: 208 is a kexec, 114 GRUB."""
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
    box.write("proc/sys/kernel/bootloader_type", f"{by}\n")
    box.write("sys/kernel/kexec_loaded", "0\n")
    shutil.rmtree(box / "run/kexec-hook")
    (box / "run/kexec-hook.loaded").unlink()


def shell(
    box: Box, word: str, text: str = "", *, notes: str = 'echo "$*"'
) -> subprocess.CompletedProcess[str]:
    """hooks/boot as the units call it; Python is started by a program that notes it."""
    text = text or (PROJECT / "hooks/boot").read_text()
    for above in ("/run/", "/var/lib/", "/proc/sys/"):
        text = text.replace(f"={above}", f"={box.root}{above}")
    for name in ("gap", "watchdog"):  # what else a boot does has tests of its own
        text = text.replace(f"/usr/lib/kexec-hook/{name}", "/dev/null")
    text = text.replace("/usr/bin/kexec-hook", f"{box.bin}/kexec-hook")
    box.programs("kexec-hook", f"#!/bin/sh\n{notes} >> {box.lib}/python\nexit 7\n")
    return subprocess.run(["sh", "-c", text, "boot", word], capture_output=True, text=True)


def python(box: Box) -> str:
    log = box.lib / "python"
    return log.read_text().strip() if log.exists() else ""


def test_block_is_written_in_place_with_link_mode_and_owner(box: Box) -> None:
    real = box.write("boot/grub/env/real", (box / ENV).read_bytes()) / "boot/grub/env/real"
    real.chmod(0o640)
    (box / ENV).unlink()
    (box / ENV).symlink_to("env/real")
    before = real.stat()
    assert box.run("finalize") == 0
    assert os.readlink(box / ENV) == "env/real"
    now = real.stat()
    assert (now.st_ino, now.st_mode, now.st_uid, now.st_size) == (
        before.st_ino,
        before.st_mode,
        before.st_uid,
        1024,
    )
    assert b"next_entry=\n" in real.read_bytes()
    assert [path.name for path in (box / "boot/grub/env").iterdir()] == ["real"]
    noted = attempt(box)
    assert noted
    assert (noted["written"], noted["here"]) == (True, True)


def test_next_boot_completes_what_the_jump_came_before(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    unwritten(box)
    boots(box, "208")
    assert shell(box, "complete").stderr == ""
    assert python(box) == "complete"
    capsys.readouterr()
    assert box.run("complete") == 0
    assert capsys.readouterr().out == "what GRUB would have written was completed\n"
    assert b"next_entry=\n" in (box / ENV).read_bytes()
    assert shell(box, "complete").stderr == ""
    assert shell(box, "judge").stdout == "the jump came up\n"
    assert (python(box), attempt(box)) == ("complete", None)


@pytest.mark.skipif(not LOADER.exists(), reason="Linux has it on x86 alone")
def test_good_jump_starts_no_python_with_the_loader_as_the_kernel_gives_it(box: Box) -> None:
    """At the first read, and no more at the next: dash reads a byte at a time."""
    assert box.run("finalize") == 0
    boots(box, "208")
    text = (PROJECT / "hooks/boot").read_text()
    # What started this system takes the place of a kexec.
    text = text.replace(f"={LOADER}", f"=/{LOADER}").replace("208", LOADER.read_text().strip())
    assert shell(box, "judge", text).stdout == "the jump came up\n"
    assert python(box) == ""


def test_after_a_firmware_boot_nothing_is_completed_and_nobody_blamed(box: Box) -> None:
    before = unwritten(box)
    boots(box, "114")
    assert box.run("complete") == 0
    assert ((box / ENV).read_bytes(), attempt(box)) == (before, None)
    assert box.run("judge-boot") == 0
    assert not (box / "var/lib/kexec-hook/failed.json").exists()


def test_kexec_of_a_later_boot_completes_nothing(box: Box) -> None:
    before = unwritten(box)
    boots(box, "114")
    box.run("complete")
    box.write("proc/sys/kernel/bootloader_type", "208\n")
    assert box.run("complete") == 0
    assert (box / ENV).read_bytes() == before


def test_block_that_was_changed_meanwhile_is_left_alone(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    unwritten(box)
    subprocess.run(["grub-editenv", str(box / ENV), "set", "other=1"], check=True)
    changed = (box / ENV).read_bytes()
    boots(box, "208")
    assert box.run("complete") == 1
    assert "/boot/grub/grubenv was changed before what GRUB would have written" in (
        capsys.readouterr().err
    )
    assert (box / ENV).read_bytes() == changed


@pytest.mark.parametrize("words", [("complete",), ("run", "--source=apt"), ("unstage",)])
def test_cancelled_shutdown_puts_the_block_back(box: Box, words: tuple[str, ...]) -> None:
    before = (box / ENV).read_bytes()
    assert box.run("finalize") == 0
    assert (box / ENV).read_bytes() != before
    assert box.run(*words) == 0
    assert ((box / ENV).read_bytes(), box.approved, attempt(box)) == (before, False, None)


def test_block_that_somebody_has_removed_ends_nothing(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a shutdown that was cancelled, and after a jump that was to be completed."""
    assert box.run("finalize") == 0
    (box / ENV).unlink()
    assert box.run("stage") == 0
    assert (box.approved, attempt(box)) == (False, None)
    box.grubenv("next_entry=1>2")
    unwritten(box)
    (box / ENV).unlink()
    boots(box, "208")
    assert box.run("complete") == 1
    assert "/boot/grub/grubenv was changed before" in capsys.readouterr().err
    assert box.run("judge-boot") == 0


@pytest.mark.parametrize("words", [("complete",), ("unstage",)])
def test_cancelled_shutdown_puts_the_block_back_where_var_is_full(
    box: Box, words: tuple[str, ...]
) -> None:
    before = (box / ENV).read_bytes()
    assert box.run("finalize") == 0
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))"
    done = box.start(*words, limits=full)
    done.communicate()
    assert done.returncode == 0
    assert ((box / ENV).read_bytes(), box.approved, attempt(box)) == (before, False, None)


@pytest.mark.parametrize("word", ["complete", "cancelled"])
def test_boot_takes_a_cancelled_shutdown_back_before_its_approval(box: Box, word: str) -> None:
    assert box.run("finalize") == 0
    box.write("run/kexec-hook/asked", "")
    notes = f"ls {box.root}/run/kexec-hook/approved"
    assert shell(box, word, notes=notes).stderr == ""
    assert python(box).endswith("approved")
    assert not box.approved
    assert not (box / "run/kexec-hook/asked").exists()


def test_second_shutdown_after_a_cancelled_one_jumps_into_the_same(box: Box) -> None:
    assert box.run("finalize") == 0
    written = (box / ENV).read_bytes()
    assert box.run("finalize") == 0
    assert ((box / ENV).read_bytes(), box.approved) == (written, True)
    assert box.record
    assert box.record["kernel"] == "/boot/vmlinuz-6.1.0-9-amd64"


def test_jump_that_failed_makes_the_unit_fail(box: Box) -> None:
    assert box.run("finalize") == 0
    boots(box, "114")
    assert shell(box, "complete").returncode == 0
    assert shell(box, "judge").returncode == 7
    assert python(box) == "judge-boot"
    assert box.run("judge-boot") == 1
    assert "6.1.0-9-amd64" in (box / "var/lib/kexec-hook/failed.json").read_text()
    assert shell(box, "judge").returncode == 0


def test_nothing_is_judged_before_the_boot_that_follows(box: Box) -> None:
    assert box.run("finalize") == 0
    assert (shell(box, "judge").returncode, python(box)) == (0, "")


def test_attempt_of_an_older_version_is_judged(box: Box) -> None:
    old = {"release": "6.1", "kernel": "/boot/vmlinuz-6.1", "boot_id": "0", "time": 1.5}
    (box / "var/lib/kexec-hook").mkdir(mode=0o700)
    (box / ATTEMPT).write_text(json.dumps(old))
    assert box.run("complete") == 0
    assert box.run("judge-boot") == 1
    assert "6.1" in (box / "var/lib/kexec-hook/failed.json").read_text()


def test_jump_into_another_root_is_written_here_and_blamed_on_nobody(box: Box) -> None:
    config = box / "boot/grub/grub.cfg"
    text = config.read_text()
    uuid = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
    assert f"root=UUID={uuid}" in text
    config.write_text(
        text.replace(f"root=UUID={uuid}", "root=UUID=07f3d2c9-8c64-4e0f-9a3e-1d5b6a7f8e33")
    )
    assert box.run("finalize") == 0
    noted = attempt(box)
    assert noted
    assert noted["here"] is False
    assert b"next_entry=\n" in (box / ENV).read_bytes()
    boots(box, "114")
    assert box.run("judge-boot") == 0
    assert not (box / "var/lib/kexec-hook/failed.json").exists()


def test_two_blocks_are_written_in_grubs_order(tmp_path: Path) -> None:
    box = Box(tmp_path, "debian-12-next")
    other = box / "boot/grub/second"
    other.write_bytes((box / ENV).read_bytes())
    config = box / "boot/grub/grub.cfg"
    config.write_text(
        config.read_text().replace(
            "save_env next_entry",
            "save_env next_entry\n   save_env -f $prefix/second next_entry",
            1,
        )
    )
    assert box.run("stage") == 0
    assert box.record
    assert [block["file"] for block in box.record["env_blocks"]] == [
        "/boot/grub/grubenv",
        "/boot/grub/second",
    ]
    box.rebooting()
    assert box.run("finalize") == 0
    assert all(b"next_entry=\n" in path.read_bytes() for path in (box / ENV, other))
