"""What is remembered of jumps: those that came up and those that did not, and whether one was tried by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.report.gain import gain_json, jump_text, jumps_json
from kexec_hook.state.attempts import Attempt, failed, jumps, note, tried
from tests.machine import Box
from tests.staging.test_jump import boots, python, shell

UNTRIED = "no kexec by `kexec-hook reboot` has come up on this machine yet"
JUMPS = "var/lib/kexec-hook/jumps.json"
GAPS = "var/lib/kexec-hook/gaps"
NOON = 1_800_000_000  # seconds since the epoch
UUID = "sys/class/dmi/id/product_uuid"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path)
    box.rebooting()
    box.write(UUID, "0a0a\n")
    return box


def reboots(box: Box, *words: str, by: str = "208") -> None:
    """Down, and up again: by a kexec that comes up, unless `by` says otherwise."""
    assert box.run(*(words or ("stage",))) == 0
    assert box.run("finalize") == 0
    jumped(box, by)


def jumped(box: Box, by: str = "208") -> None:
    boots(box, by)
    box.write("proc/sys/kernel/random/boot_id", f"{len(jumps_json(box.host)):036}\n")
    if shell(box, "judge").returncode == 7:
        assert box.run("judge-boot") == (0 if by == "208" else 1)


def came_up(box: Box) -> list[tuple[bool, bool]]:
    return [(jump["asked"], jump["came_up"]) for jump in jumps_json(box.host)]


def declined(box: Box, capsys: pytest.CaptureFixture[str]) -> bool:
    capsys.readouterr()
    code = box.run("stage")
    said = capsys.readouterr().out
    assert (code == 3) == (UNTRIED in said), said
    return code == 3


def want_trial(box: Box) -> None:
    box.write("etc/kexec-hook.conf.d/trial.conf", "require_trial = yes\n")


def test_jumps_are_remembered_with_what_came_of_them(box: Box) -> None:
    assert jumps_json(box.host) == []
    reboots(box)
    assert python(box) == ""  # the shell has seen that it came up
    reboots(box, "reboot", "--yes")
    reboots(box, by="114")
    assert came_up(box) == [(False, True), (True, True), (False, False)]
    last = jumps_json(box.host)[-1]
    assert (last["release"], last["seconds"]) == ("6.1.0-39-amd64", None)


def took(box: Box, seconds: int, *, before: str = "e" * 32, kind: str = "jump") -> None:
    """As hooks/gap notes it, early in the boot that follows, an hour after the last one."""
    gaps = box / GAPS
    known = gaps.read_text() if gaps.exists() else ""
    then = NOON + 3600 * known.count("\n")
    loader = "208" if kind == "jump" else "114"
    up = f"{then + seconds + 3} 3.0 {then + seconds}"
    gaps.write_text(f"{known}{kind} {before} {then} {then} {'f' * 32} {loader} {up}\n")


def test_what_all_jumps_have_saved_only_grows(box: Box) -> None:
    saved = []

    def reboot(seconds: int) -> None:
        reboots(box)
        took(box, seconds, before=jumps(box.host)[-1].attempt.boot_id)
        saved.append(gain_json(box.host)["saved"])

    reboot(10)  # before any boot by the firmware was measured
    took(box, 100, kind="firmware")
    took(box, 104, kind="firmware")
    reboot(12)
    took(box, 20, kind="firmware")
    saved.append(gain_json(box.host)["saved"])
    reboot(2)
    reboot(500)
    reboots(box, by="114")
    (box / GAPS).unlink()
    saved.append(gain_json(box.host)["saved"])
    assert saved == [0, 90, 90, 188, 188, 188]


def test_a_torn_sum_counts_nothing(box: Box) -> None:
    reboots(box)
    reboots(box)
    for torn in ('"x"', "null", "-3", "NaN", "1e400"):
        text = re.sub('"saved": [^\n]*', f'"saved": {torn}', (box / JUMPS).read_text())
        (box / JUMPS).write_text(text)
        assert gain_json(box.host)["saved"] == 0


def test_jump_is_remembered_once_where_its_judge_was_killed(box: Box) -> None:
    assert box.run("stage") == 0
    assert box.run("finalize") == 0
    noted = (box / "var/lib/kexec-hook/attempt.json").read_bytes()
    boots(box, "114")
    assert box.run("judge-boot") == 1
    box.write("var/lib/kexec-hook/attempt.json", noted)
    assert box.run("judge-boot") == 1
    assert came_up(box) == [(False, False)]


def unjudged(box: Box) -> None:
    """A jump that failed, and a boot by the firmware that does not come to multi-user.target."""
    assert box.run("stage") == 0
    assert box.run("finalize") == 0
    boots(box, "114")
    follows(box)
    assert box.run("complete") == 0


def follows(box: Box) -> None:
    """As hooks/gap notes the boot that follows the one that jumped."""
    before = "11111111-1111-1111-1111-111111111111"
    box.write(GAPS, f"jump {before} {NOON} {NOON} {box.host.boot_id} 114 {NOON + 60} 3.0 {NOON}\n")


def test_boot_after_the_next_blames_nobody_where_no_boot_is_judged(box: Box) -> None:
    """A machine whose default target is one of its own: the kexec came up, and somebody has switched it off since."""
    assert box.run("stage") == 0
    assert box.run("finalize") == 0
    boots(box, "208")
    follows(box)
    box.write("proc/sys/kernel/random/boot_id", f"{3:036}\n")
    box.write("proc/sys/kernel/bootloader_type", "114\n")
    assert failed(box.host) == {}
    assert box.run("stage") == 0


def test_kernel_that_failed_is_not_tried_again_before_a_boot_is_judged(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    unjudged(box)
    capsys.readouterr()
    assert box.run("stage") == 3
    assert "the kexec into 6.1.0-39-amd64 on " in capsys.readouterr().out
    box.rebooting()
    assert box.run("finalize") == 3
    assert box.run("judge-boot") == 1
    assert came_up(box) == [(False, False)]


def test_failed_jump_that_no_boot_has_judged_outlives_the_next_jump(box: Box) -> None:
    unjudged(box)
    assert box.run("stage", "--entry", "1>2") == 0
    assert box.run("finalize") == 0
    box.write("proc/sys/kernel/random/boot_id", f"{3:036}\n")
    box.write("proc/sys/kernel/bootloader_type", "208\n")
    assert box.run("judge-boot") == 0
    assert came_up(box) == [(False, False), (False, True)]
    assert set(failed(box.host)) == {"6.1.0-39-amd64"}


def test_failed_jump_that_no_boot_has_judged_can_be_acknowledged(box: Box) -> None:
    unjudged(box)
    assert box.run("ack", "6.1.0-39-amd64") == 0
    assert box.run("stage") == 0
    assert box.run("judge-boot") == 0
    assert came_up(box) == [(False, False)]


def test_copy_of_a_disk_does_not_blame_a_kernel_for_a_jump_of_another_machine(box: Box) -> None:
    """A snapshot that was made while the machine went down: the copy is booted by its firmware, as it must be."""
    assert box.run("stage") == 0
    assert box.run("finalize") == 0
    boots(box, "114")
    box.write(UUID, "0b0b\n")
    assert box.run("judge-boot") == 0
    assert (failed(box.host), came_up(box)) == ({}, [])


def test_status_shows_the_last_jumps(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    reboots(box)
    capsys.readouterr()
    box.run("status")
    assert " into 6.1.0-39-amd64: came up\n" in capsys.readouterr().out
    jump: dict[str, Any] = jumps_json(box.host)[0]
    assert jump_text({**jump, "seconds": 9.2, "came_up": False}).endswith(
        "into 6.1.0-39-amd64: did not come up, 9 s without a kernel"
    )


def test_without_a_trial_nothing_is_staged(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    want_trial(box)
    assert declined(box, capsys)
    box.run("run", "--source=apt")
    assert f"not staged: {UNTRIED} (require_trial, /etc/" in capsys.readouterr().out
    assert not box.loaded


def test_what_was_staged_before_the_setting_does_not_jump(box: Box) -> None:
    assert box.run("stage") == 0
    want_trial(box)
    assert box.run("finalize") == 3
    assert not box.approved


def test_trial_that_came_up_allows_what_follows(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    want_trial(box)
    reboots(box, "reboot", "--yes")
    assert not declined(box, capsys)


def test_trial_that_did_not_come_up_allows_nothing(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    want_trial(box)
    reboots(box, "reboot", "--yes", by="114")
    box.run("ack")
    assert declined(box, capsys)


def test_jump_that_nobody_asked_for_is_no_trial(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    reboots(box)
    want_trial(box)
    assert declined(box, capsys)


def test_trial_on_other_hardware_is_none(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    want_trial(box)
    reboots(box, "reboot", "--yes")
    box.write(UUID, "0b0b\n")
    assert declined(box, capsys)


def test_reboot_that_was_refused_asks_for_nothing(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    want_trial(box)
    script = (box.bin / "systemctl").read_text()
    box.programs(
        "systemctl", script.replace("case $1 in", "[ $1 != reboot ] || exit 1\ncase $1 in")
    )
    assert box.run("reboot", "--yes") == 1
    box.run("unstage")
    assert declined(box, capsys)


def test_reboot_that_ended_in_an_error_asks_for_nothing(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    want_trial(box)
    box.write("etc/kexec-hook.conf.d/wrong.conf", "load = perhaps\n")
    assert box.run("reboot", "--yes") == 1
    (box / "etc/kexec-hook.conf.d/wrong.conf").unlink()
    assert declined(box, capsys)


def test_trial_is_not_forgotten_for_the_jumps_after_it(box: Box) -> None:
    reboots(box, "reboot", "--yes")
    for number in range(12):
        attempt = Attempt("6.1", "/k", f"boot-{number}", 1.0)
        note(box.host, attempt)
        shutil.move(box / "var/lib/kexec-hook/attempt.json", box / "var/lib/kexec-hook/jumped.json")
    assert len(jumps_json(box.host)) == 12  # ten, the last, and the trial
    assert came_up(box) == [(True, True), *[(False, True)] * 11]
    assert tried(box.host)


@pytest.mark.parametrize("text", ["", "{}", "[1, {}]", "\0" * 60, '[{"came_up": true}]'])
def test_torn_memory_is_none(box: Box, capsys: pytest.CaptureFixture[str], text: str) -> None:
    want_trial(box)
    reboots(box, "reboot", "--yes")
    (box / "var/lib/kexec-hook/jumped.json").unlink()
    box.write(JUMPS, text)
    (box / JUMPS).chmod(0o600)
    assert declined(box, capsys)
