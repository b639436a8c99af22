"""`when = always`: the unit that stages at shutdown, where nothing is staged; its own lines, run by a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kills import units
from tests.kills.computer import Computer

UNIT = units.SYSTEMD / "kexec-hook-always.service"


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path / "machine", "debian-12")


def stop(computer: Computer) -> None:
    for command in units.commands(UNIT, "ExecStop"):
        assert computer.command(command).status == 0


def test_reboot_that_no_upgrade_came_before_is_a_kexec(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    computer.rebooting()
    stop(computer)
    image = computer.image
    assert image
    assert image.startswith(f"{computer.root}/boot/vmlinuz-6.1.0-39-amd64\n")
    assert not computer.approved
    computer.stop()
    assert computer.approved
    assert computer.image == image
    assert computer.last_second(units.REBOOT) == "kexec"


@pytest.mark.parametrize("settings", ["", "when = upgrade\n", "# when = always\n"])
def test_without_always_nothing_is_staged_at_shutdown(computer: Computer, settings: str) -> None:
    computer.write("etc/kexec-hook.conf", settings)
    computer.rebooting()
    stop(computer)
    assert (computer.loaded, computer.record) == (False, None)


def test_last_file_of_settings_counts(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    computer.write("etc/kexec-hook.conf.d/mine.conf", "when = upgrade\n")
    computer.rebooting()
    stop(computer)
    assert (computer.loaded, computer.record) == (False, None)


@pytest.mark.parametrize("target", ["poweroff.target", "soft-reboot.target", "rescue.target"])
def test_what_is_no_reboot_stages_nothing(computer: Computer, target: str) -> None:
    computer.write("etc/kexec-hook.conf.d/mine.conf", "when = always\n")
    computer.rebooting(target)
    stop(computer)
    assert (computer.loaded, computer.record) == (False, None)


def test_image_that_an_administrator_has_loaded_stays(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    kernel = computer / "boot/vmlinuz-6.1.0-37-amd64"
    subprocess.run([computer.bin / "kexec", "--load", kernel, "--command-line=theirs"], check=True)
    theirs = computer.image
    computer.rebooting("kexec.target")
    stop(computer)
    computer.stop()
    assert (computer.image, computer.approved, computer.record) == (theirs, False, None)
    assert computer.last_second(units.KEXEC) == "kexec"


def test_what_is_staged_is_not_loaded_twice(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    computer.call("stage")
    left = (computer / "proc/sys/kernel/kexec_load_limit_reboot").read_text()
    computer.rebooting()
    stop(computer)
    computer.stop()
    assert computer.approved
    assert (computer / "proc/sys/kernel/kexec_load_limit_reboot").read_text() == left


@pytest.mark.parametrize("words", [("--entry", "1>2"), ("--running",)])
def test_what_somebody_asked_for_is_what_the_reboot_starts(
    computer: Computer, words: tuple[str, ...]
) -> None:
    """GRUB's default is another one."""
    computer.write("etc/kexec-hook.conf", "when = always\n")
    assert computer.call("stage", *words).status == 0
    image = computer.image
    assert image
    assert image.startswith(f"{computer.root}/boot/vmlinuz-6.1.0-37-amd64\n")
    computer.rebooting("kexec.target")
    stop(computer)
    computer.stop()
    assert (computer.image, computer.approved) == (image, True)


def test_status_and_unstage_say_that_the_reboot_stages(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    kexec = "the next reboot is a kexec into 6.1.0-39-amd64\n"
    assert computer.call("status", "--check") == (0, kexec)
    assert "nothing yet; with `when = always` a reboot does it\n" in computer.call("status").output
    computer.call("stage")
    assert computer.call("unstage").output == (
        "unstaged; with `when = always` the next reboot stages once more; "
        "`kexec-hook coldreboot` goes through the firmware\n"
    )
    assert computer.call("status", "--check") == (0, kexec)
    (computer / "boot/initrd.img-6.1.0-39-amd64").unlink()
    assert computer.call("status", "--check").status == 3


def test_status_does_not_count_on_a_unit_that_is_not_at_work(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    (computer.lib / "active").write_text("inactive\n")
    assert computer.call("status", "--check").status == 3


def test_status_tells_an_administrators_image_apart(computer: Computer) -> None:
    computer.write("etc/kexec-hook.conf", "when = always\n")
    kernel = computer / "boot/vmlinuz-6.1.0-37-amd64"
    subprocess.run([computer.bin / "kexec", "--load", kernel, "--command-line=theirs"], check=True)
    assert computer.call("status", "--check") == (
        0,
        "the next reboot is a kexec into an image that somebody loaded\n",
    )


def test_it_is_stopped_before_all_that_loads_or_decides() -> None:
    after = [value.split() for _, key, value in units.read(UNIT) if key == "After"]
    assert {"kexec-load.service", "kexec-hook.service"} <= {name for line in after for name in line}
