"""Does a watchdog run on over a kexec?  Said only where it does; and the setting is handed on to systemd."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine import PROJECT, Box

HANGS = "if the new kernel hangs, no watchdog resets this machine: "
BOTH = "[Manager]\nRuntimeWatchdogSec=180\nKExecWatchdogSec=180\n"
SET = "set watchdog = 180 in /etc/kexec-hook.conf and boot with watchdog.stop_on_reboot=0"
STOPS = "its driver stops it as the kexec begins"
RUN = "/run/systemd/system.conf.d/50-kexec-hook.conf"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """With a watchdog that runs on; systemd is told nothing."""
    box = Box(tmp_path)
    box.write("/sys/module/watchdog/parameters/stop_on_reboot", "0\n")
    box.write("/sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n")
    return box


def why_not(box: Box, capsys: pytest.CaptureFixture[str]) -> tuple[str, str] | None:
    """None: armed.  The note says the same."""
    capsys.readouterr()
    box.run("status", "--json")
    answer = json.loads(capsys.readouterr().out)
    found = answer["watchdog"]
    noted = [note for note in answer["note_details"] if note["code"] == "no-watchdog"]
    if found["armed"]:
        assert noted == []
        return None
    assert [(note["text"], note["fix"]) for note in noted] == [(HANGS + found["why"], found["fix"])]
    return found["why"], found["fix"]


def hand_on(box: Box, shell: str = SHELLS[0]) -> list[str]:
    """hooks/watchdog, as the unit calls it; what systemctl was told."""
    script = (PROJECT / "hooks/watchdog").read_text()
    for above in ("/etc/", "/run/"):
        script = script.replace(f"={above}", f"={box.root}{above}")
    script = script.replace("PATH=/usr/sbin:/usr/bin", f"PATH={box.bin}:/usr/bin")
    before = len(box.asked)
    argv = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*argv, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return [line.strip() for line in box.asked[before:]]


def test_armed_is_said_where_everything_is_there(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write(RUN, BOTH)
    assert why_not(box, capsys) is None
    box.run("status")
    assert "\nwatchdog      armed: it resets this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "none is set"),
        ({"/etc/systemd/system.conf": BOTH.replace("K", "#K")}, "none is set"),
        ({"/etc/systemd/system.conf": BOTH.replace("180", "off")}, "none is set"),
        ({"/etc/systemd/system.conf": BOTH}, None),
        ({"/usr/lib/systemd/system.conf.d/10.conf": BOTH.replace("=", " = ")}, None),
        ({"/etc/systemd/system.conf": BOTH, RUN: "KExecWatchdogSec=0\n"}, "none is set"),
        ({RUN: BOTH.replace("180", "0"), RUN.replace("/run/", "/etc/"): BOTH}, None),
        ({"/etc/systemd/system.conf.d/10.conf.bak": BOTH}, "none is set"),
        (
            {"/etc/systemd/system.conf": "KExecWatchdogSec=10min\n"},
            "KExecWatchdogSec= without RuntimeWatchdogSec= is set",
        ),
    ],
)
def test_systemds_own_settings_count(
    box: Box, capsys: pytest.CaptureFixture[str], files: dict[str, str], why: str | None
) -> None:
    for path, text in files.items():
        box.write(path, text)
    assert why_not(box, capsys) == (why and (why, SET))


@pytest.mark.parametrize("stops", ["-1\n", "1\n", None])
def test_watchdog_that_a_kexec_stops_is_not_armed(
    box: Box, capsys: pytest.CaptureFixture[str], stops: str | None
) -> None:
    box.write(RUN, BOTH)
    (box / "sys/module/watchdog/parameters/stop_on_reboot").unlink()
    if stops:
        box.write("/sys/module/watchdog/parameters/stop_on_reboot", stops)
    assert why_not(box, capsys) == (STOPS, "boot with watchdog.stop_on_reboot=0")


def test_machine_without_a_watchdog_has_none_armed(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write(RUN, BOTH)
    box.write("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n")
    assert why_not(box, capsys) == ("softdog ends with its kernel", "")
    shutil.rmtree(box / "sys/class/watchdog/watchdog0")
    assert why_not(box, capsys) == ("it has none, or its driver is not loaded", "")


def test_setting_that_systemd_has_not_read_yet_is_not_armed(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("etc/kexec-hook.conf", "watchdog = 90\n")
    why = f"{'/etc/kexec-hook.conf'}:1 is for the next boot"
    assert why_not(box, capsys) == (why, "/usr/lib/kexec-hook/watchdog")
    assert hand_on(box) == ["daemon-reload"]
    assert why_not(box, capsys) is None


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("main", "more", "seconds"),
    [
        ("watchdog = 90\n", {}, "90"),
        (" watchdog=90 \nload = no\n", {}, "90"),
        ("load = no\r\nwatchdog = 90\r\n", {}, "90"),
        ("watchdog\t=\t90\n", {"a.conf": "watchdog = 30", "b.conf": "load = yes\n"}, "30"),
        ("watchdog = 90\n", {"z.conf": "watchdog = 0\n"}, ""),
        ("watchdog = 90\n", {".z.conf": "watchdog = 0\n", "z.conf.bak": "watchdog = 1\n"}, "90"),
        ("# watchdog = 90\n#watchdog = 90\nwatchdogs = 3\n", {}, ""),
        ("watchdog = soon\n", {}, ""),
        ("watchdog = $(reboot)\n", {}, ""),
        ("", {"a.conf": "watchdog = 45\n"}, "45"),
        (None, {}, ""),
    ],
)
def test_the_last_file_with_the_setting_counts_as_in_the_settings(
    tmp_path: Path, shell: str, main: str | None, more: dict[str, str], seconds: str
) -> None:
    box = Box(tmp_path)
    if main is not None:
        box.write("etc/kexec-hook.conf", main)
    for name, text in more.items():
        box.write(f"etc/kexec-hook.conf.d/{name}", text)
    asked = hand_on(box, shell)
    expected = BOTH.replace("180", seconds)
    if seconds:
        assert ((box / RUN).read_text(), asked) == (expected, ["daemon-reload"])
    else:
        assert ((box / RUN).exists(), asked) == (False, [])


def test_setting_that_is_gone_is_taken_back(box: Box) -> None:
    box.write(RUN, BOTH)
    assert hand_on(box) == ["daemon-reload"]
    assert not (box / RUN).exists()
