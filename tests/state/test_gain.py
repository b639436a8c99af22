"""What a reboot takes without a kernel: hooks/gap as the unit calls it, on a directory that stands for the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.report.gain import about, gain_json, took
from tests.machine import PROJECT, Box

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
NOON = 1_800_000_000  # seconds since the epoch
GAPS = "var/lib/kexec-hook/gaps"
LOADER = Path("/proc/sys/kernel/bootloader_type")


class Clock:
    """A machine with a hardware clock, and the boots that it goes through."""

    def __init__(self, box: Box, shell: str) -> None:
        self.box = box
        self.shell = [shell, "sh"] if shell == "busybox" else [shell]
        self.boots = 0
        self.now = self.wall = float(NOON)
        box.write("sys/class/rtc/rtc0/since_epoch", f"{NOON}\n")
        box.rebooting()
        for name in ("mv", "date", "grep", "mkdir"):
            (box.bin / name).symlink_to(shutil.which(name) or name)
        (box.bin / "date").unlink()
        box.programs("date", "#!/bin/sh\ncat @LIB@/date\n")
        self.script = (PROJECT / "hooks/gap").read_text()
        for above in ("/run/", "/var/lib/", "/proc/", "/sys/"):
            self.script = self.script.replace(f"={above}", f"={box.root}{above}")
        self.script = self.script.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={box.bin}")

    def gap(self, word: str) -> None:
        self.box.write("sys/class/rtc/rtc0/since_epoch", f"{int(self.now)}\n")
        (self.box.lib / "date").write_text(f"{int(self.wall)}\n")
        done = subprocess.run(
            [*self.shell, "-c", self.script, "gap", word], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def down(self, *, jump: bool = False) -> None:
        shutil.rmtree(self.box / "run/kexec-hook", ignore_errors=True)
        if jump:
            self.box.write("run/kexec-hook/approved", "")
        self.gap("down")

    def up(self, after: float, loader: str = "114", *, set_by: float = 0, warp: float = 0) -> None:
        """The kernel starts `after` seconds; the hardware's clock was set by some, and the kernel's is off by some."""
        self.boots += 1
        box = self.box
        box.write("proc/sys/kernel/random/boot_id", f"{self.boots:032x}\n")
        box.write("proc/sys/kernel/bootloader_type", f"{loader}\n")
        shutil.rmtree(box / "run/kexec-hook", ignore_errors=True)
        start = self.now + after + set_by
        box.write("proc/stat", f"cpu 1 2 3\nintr 5 6\nbtime {int(start + warp)}\nctxt 1\n")
        box.write("proc/uptime", "3.25 2.00\n")
        self.now = self.wall = start + 3.25
        self.gap("up")
        self.now = self.wall = start + 3600

    def boot(self, after: float = 134.0) -> None:
        self.down()
        self.up(after)

    def jump(self, after: float = 9.0) -> None:
        self.down(jump=True)
        self.up(after, "208")


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(Box(tmp_path), SHELLS[0])


def gain(clock: Clock) -> dict[str, Any]:
    return gain_json(clock.box.host)


def says(clock: Clock, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    clock.box.run("status")
    lines = capsys.readouterr().out.splitlines()
    return [line.partition(" ")[2].strip() for line in lines if line.startswith("gain ")]


@pytest.mark.parametrize("shell", SHELLS)
def test_firmware_and_jumps_are_measured_apart(tmp_path: Path, shell: str) -> None:
    clock = Clock(Box(tmp_path), shell)
    for seconds in (134, 130, 151):
        clock.boot(seconds)
    clock.jump(9)
    found = gain(clock)
    assert found["firmware"] == {"seconds": pytest.approx(134, abs=1), "boots": 3}
    assert found["jump"] == {"seconds": pytest.approx(9, abs=1), "boots": 1}
    assert found["saves"] == pytest.approx(125, abs=2)


def test_status_says_what_both_took(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert says(clock, capsys) == []
    clock.jump()
    assert says(clock, capsys) == ["the last kexec took 9 s without firmware and boot loader"]
    for _ in range(3):
        clock.boot()
    assert says(clock, capsys) == [
        "firmware and boot loader took 2 min 14 s at the last 3 boots; the last kexec took 9 s without them"
    ]
    capsys.readouterr()
    clock.box.run("status", "--json")
    assert json.loads(capsys.readouterr().out)["gain"]["saves"] == pytest.approx(125, abs=2)


def test_the_last_five_of_each_count(clock: Clock) -> None:
    for seconds in (700, 700, 700, 100, 101, 102, 103, 104):
        clock.boot(seconds)
    for _ in range(25):
        clock.jump(9)
    found = gain(clock)
    assert (found["firmware"]["boots"], found["jump"]["boots"]) == (5, 5)
    assert found["firmware"]["seconds"] == pytest.approx(102, abs=1)
    assert len((clock.box / GAPS).read_text().splitlines()) == 8 + 20


@pytest.mark.parametrize("jump", ["poweroff", "halt", "soft-reboot", "exit"])
def test_machine_that_is_switched_off_over_night_gives_no_number(clock: Clock, jump: str) -> None:
    clock.box.rebooting(f"{jump}.target")
    clock.boot(40)
    assert gain(clock)["firmware"] is None


def test_power_off_after_a_cancelled_reboot_gives_no_number(clock: Clock) -> None:
    clock.down()
    clock.box.rebooting("poweroff.target")
    clock.boot(40)
    assert gain(clock)["firmware"] is None


def test_cancelled_shutdown_gives_no_number(clock: Clock) -> None:
    clock.down()
    clock.gap("up")
    assert (clock.box / "var/lib/kexec-hook/down").read_text() == ""
    clock.up(50)
    assert gain(clock)["firmware"] is None


@pytest.mark.parametrize("set_by", [-3600, 3600, 86400])
def test_hardware_clock_that_was_set_in_between_gives_no_number(clock: Clock, set_by: int) -> None:
    clock.down()
    clock.up(134, set_by=set_by)
    assert gain(clock)["firmware"] is None


@pytest.mark.parametrize("off", [-7200, -1800, 1800, 3600, 10, -10])
def test_kernel_that_takes_the_hardware_clock_for_another_zones_gives_no_number(
    clock: Clock, off: int
) -> None:
    clock.down()
    clock.up(134, warp=off)
    assert gain(clock)["firmware"] is None


@pytest.mark.parametrize("off", [-86400, -60, 60, 86400])
def test_clock_that_jumps_before_the_reboot_gives_no_number(clock: Clock, off: int) -> None:
    clock.wall += off
    clock.boot()
    assert gain(clock)["firmware"] is None


def test_jump_that_hung_and_was_reset_is_no_boot_of_either_kind(clock: Clock) -> None:
    clock.down(jump=True)
    clock.up(500, "114")
    clock.down()
    clock.up(20, "208")
    assert gain(clock) == {
        "firmware": None,
        "jump": None,
        "saves": None,
        "saved": 0,
        "firmware_reports": None,
    }


def test_image_of_somebody_else_is_not_measured_where_it_jumps(clock: Clock) -> None:
    clock.box.write("sys/kernel/kexec_loaded", "1\n")
    clock.box.rebooting("kexec.target")
    clock.boot()
    assert gain(clock)["firmware"] is None
    clock.box.write("run/kexec-hook.loaded", "")
    clock.boot()
    assert gain(clock)["firmware"]["boots"] == 1


def test_image_that_kexec_tools_loads_at_each_reboot_does_not_jump_and_hides_no_firmware(
    clock: Clock,
) -> None:
    clock.box.write("sys/kernel/kexec_loaded", "1\n")  # LOAD_KEXEC=true
    clock.boot()
    assert gain(clock)["firmware"]["boots"] == 1


@pytest.mark.skipif(not LOADER.exists(), reason="Linux has it on x86 alone")
@pytest.mark.parametrize("shell", SHELLS)
def test_loader_is_read_as_the_kernel_gives_it(tmp_path: Path, shell: str) -> None:
    """At the first read, and no more at the next: dash reads a byte at a time."""
    clock = Clock(Box(tmp_path), shell)
    clock.script = clock.script.replace('"$kernel/bootloader_type"', str(LOADER))
    clock.boot()
    assert (clock.box / GAPS).read_text().split(" ")[5] == LOADER.read_text().strip()


def test_without_a_hardware_clock_nothing_is_measured(clock: Clock) -> None:
    clock.script = clock.script.replace("rtc0", "rtc9")
    clock.boot()
    assert not (clock.box / GAPS).exists()
    assert gain(clock)["firmware"] is None


def test_kernel_that_does_not_tell_its_loader_is_taken_for_what_was_decided_only_by_the_firmware(
    clock: Clock,
) -> None:
    clock.script = clock.script.replace("bootloader_type", "none")
    clock.boot()
    clock.jump()
    found = gain(clock)
    assert (found["firmware"]["boots"], found["jump"]) == (1, None)


@pytest.mark.parametrize(
    "line",
    ["", "firmware", "firmware a 1 1 b 114 nan nan nan", "\0" * 90, "firmware a 1 1 b 114 x y z"],
)
def test_torn_lines_are_passed_over(clock: Clock, line: str) -> None:
    clock.boot()
    with (clock.box / GAPS).open("a") as file:
        file.write(f"{line}\n")
    clock.boot()
    assert gain(clock)["firmware"]["boots"] == 2


def test_apt_hears_what_it_saves_only_where_that_was_measured(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.boot()
    clock.box.write("proc/sys/kernel/osrelease", "6.1.0-37-amd64\n")
    clock.box.run("run", "--source=apt")
    first = capsys.readouterr().out
    assert first.startswith("kexec-hook: next reboot: kexec into ")
    assert "saves" not in first
    clock.box.run("unstage")
    clock.jump()
    capsys.readouterr()
    clock.box.run("run", "--source=apt")
    assert capsys.readouterr().out.endswith(" s), saves about 2 min\n")


@pytest.mark.parametrize(
    ("firmware", "loader", "expected"),
    [
        (140, 20, {"firmware": 120, "loader": 20}),
        (170, 20, None),
        (100, 20, None),
        (0, 0, None),
        (140, 0, None),
    ],
)
def test_firmwares_own_account_is_shown_where_it_agrees(
    clock: Clock,
    firmware: int,
    loader: int,
    expected: dict[str, float] | None,
) -> None:
    script = (clock.box.bin / "systemctl").read_text()
    answer = f"FirmwareTimestampMonotonic={firmware}000000\nLoaderTimestampMonotonic={loader}000000"
    clock.box.programs(
        "systemctl", script.replace("is-enabled)", f"show) echo '{answer}' ;;\n    is-enabled)")
    )
    clock.boot(134)
    assert gain(clock)["firmware_reports"] == expected
    clock.jump()
    assert gain(clock)["firmware_reports"] is None


def test_durations_are_round() -> None:
    assert [took(seconds) for seconds in (8.6, 59.6, 134)] == ["9 s", "1 min 0 s", "2 min 14 s"]
    assert [about(seconds) for seconds in (12, 88, 95, 171)] == ["10 s", "90 s", "2 min", "3 min"]
