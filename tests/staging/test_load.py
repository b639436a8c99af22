"""Staging for real, on a directory that stands for the machine and with programs that record or fail."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kexec_hook.decision.planning import version_of
from tests.machine import Box

KERNEL = "/boot/vmlinuz-6.1.0-39-amd64"
INITRD = "/boot/initrd.img-6.1.0-39-amd64"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_stage_loads_what_grub_would_boot(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.run("stage", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["outcome"] == "staged"
    assert box.loaded
    (call,) = box.calls
    assert call == [
        "--kexec-syscall-auto",
        "--load",
        f"{box.root}{KERNEL}",
        f"--initrd={box.root}{INITRD}",
        f"--command-line={answer['cmdline']}",
    ]
    record = box.record
    assert record
    assert record["state"] == "staged"
    assert record["cmdline"] == answer["cmdline"]
    directory = (box / "run/kexec-hook").stat()
    assert directory.st_mode & 0o777 == 0o700
    assert (box / "run/kexec-hook/staged.json").stat().st_mode & 0o777 == 0o600


def test_stage_again_calls_no_kexec(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.run("stage")
    capsys.readouterr()
    assert box.run("stage", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "unchanged"
    assert len(box.calls) == 1


def test_another_default_is_loaded_instead(box: Box) -> None:
    box.run("stage")
    config = box / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace('set default="0"', 'set default="1>2"'))
    assert box.run("stage") == 0
    assert len(box.calls) == 2
    assert box.record
    assert box.record["kernel"] == "/boot/vmlinuz-6.1.0-37-amd64"


def test_a_rewritten_initrd_is_loaded_anew(box: Box) -> None:
    box.run("stage")
    initrd = box / INITRD
    content = initrd.read_bytes()
    initrd.unlink()
    initrd.write_bytes(content)
    assert box.run("stage") == 0
    assert len(box.calls) == 2


def test_image_that_is_gone_is_loaded_anew(box: Box) -> None:
    box.run("stage")
    box.write("sys/kernel/kexec_loaded", "0\n")
    assert box.run("stage") == 0
    assert len(box.calls) == 2


def test_declined_unloads_what_was_staged(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.run("stage")
    (box / INITRD).unlink()
    assert box.run("stage") == 3
    assert not box.loaded
    assert box.record is None
    assert INITRD in said(capsys)


def test_failing_kexec_is_failure_and_nothing_stays(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("stage")
    (box.lib / "fails").write_text("Operation not permitted")
    (box / INITRD).touch()
    dump = (
        "kexec_load failed: Operation not permitted\nentry       = 0x43f2c0790 flags = 0xb70000\n"
        "nr_segments = 1\nsegment[0].buf   = 0x7f1c\nsegment[0].bufsz = 0x2c30000\n"
        "segment[0].mem   = 0x40000000\nsegment[0].memsz = 0x2d40000"
    )
    (box.lib / "fails").write_text(dump)
    assert box.run("stage") == 1
    text = said(capsys)
    assert "kexec_load failed: Operation not permitted" in text
    # What it prints for its developers is no sentence.
    assert "segment" not in text
    assert "0x43f2c0790" not in text
    assert not box.loaded
    assert box.record is None


def test_kexec_that_only_says_so_is_failure(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box.lib / "while-loading").write_text("exit 0\n")
    assert box.run("stage") == 1
    assert "kexec reported success, but no kernel is loaded (/sys/kernel/kexec_loaded)" in said(
        capsys
    )
    assert box.record is None


def test_old_kexec_tries_the_file_syscall_and_then_the_other(box: Box) -> None:
    (box.lib / "version").write_text("2.0.15\n")
    assert box.run("stage") == 0
    assert box.calls[0][0] == "--kexec-file-syscall"
    box.run("unstage")
    (box.lib / "while-loading").write_text("[ $first = --load ] || exit 1\n")
    assert box.run("stage") == 0
    assert [call[0] for call in box.calls[-2:]] == ["--kexec-file-syscall", "--load"]


def test_file_that_vanishes_while_loading_is_failure(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.lib / "while-loading").write_text(f"rm -f {box.root}{INITRD}\n")
    assert box.run("stage") == 3  # decided once more: now the initrd is missing
    assert not box.loaded
    assert box.record is None
    assert INITRD in said(capsys)


def test_file_that_always_changes_is_failure(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box.lib / "while-loading").write_text(
        f"echo x >> {box.root}{INITRD}; echo >> {box.root}{KERNEL}\n"
    )
    assert box.run("stage") in (1, 3)
    assert not box.loaded
    assert box.record is None
    assert "Traceback" not in said(capsys)


def test_several_initrds_arrive_as_grub_joins_them(tmp_path: Path) -> None:
    box = Box(tmp_path, "debian-12-microcode")
    assert box.run("stage") == 0
    first = (box / "boot/intel-ucode.img").read_bytes()
    second = (box / INITRD).read_bytes()
    assert (box.lib / "initrd").read_bytes() == first + bytes(-len(first) % 4) + second
    assert not list((box / "run/kexec-hook").glob("*initrd*"))


def test_torn_record_is_taken_for_ours_and_replaced(box: Box) -> None:
    box.run("stage")
    record = box / "run/kexec-hook/staged.json"
    record.write_bytes(record.read_bytes()[:100])
    assert box.run("stage") == 0
    assert box.record
    assert len(box.calls) == 2


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_directory_that_others_may_enter_is_refused(
    box: Box, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    (box / "run/kexec-hook").mkdir(parents=True)
    (box / "run/kexec-hook").chmod(mode)
    assert box.run("stage") == 1
    assert "others than its owner may enter" in said(capsys)
    assert box.calls == []


def test_unstage_unloads_only_what_is_ours(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.run("stage")
    assert box.run("unstage") == 0
    assert not box.loaded
    assert box.record is None
    box.write("sys/kernel/kexec_loaded", "1\n")
    capsys.readouterr()
    assert box.run("unstage") == 3
    assert "not by kexec-hook" in said(capsys)
    assert box.loaded


def test_image_that_stays_keeps_its_record(box: Box) -> None:
    box.run("stage")
    (box.lib / "stays").touch()
    assert box.run("unstage") == 1
    assert box.record


def test_with_another_root_nothing_is_staged(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    from kexec_hook.cli import main

    assert main(["--root", str(box.root), "stage"]) == 2
    assert "with --root use `stage --dry-run`" in said(capsys)


def test_hostile_contents_never_reach_a_shell(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    config = box / "boot/grub/grub.cfg"
    text = config.read_text().replace(
        " ro  quiet", " ro 'a=$(touch /owned)' \\;b '`id`' \"c=\x1b[31m\" quiet", 1
    )
    config.write_text(text)
    assert box.run("stage") == 0
    assert any(r'"a=$(touch /owned)" ;b `id`' in word for word in box.calls[0])
    assert "\x1b" not in said(capsys)


# The package managers' call.


def test_run_says_one_line_and_then_nothing(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.run("run", "--source=apt") == 0
    line = capsys.readouterr().out
    assert line.startswith(
        "kexec-hook: next reboot: kexec into Debian GNU/Linux, 6.1.0-39-amd64 (staged in "
    )
    assert line.count("\n") == 1
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == ""
    assert len(box.calls) == 1


def test_run_leaves_a_stamp_of_two_seconds_ago(box: Box) -> None:
    before = time.time()
    box.run("run", "--source=apt")
    stamp = box / "run/kexec-hook/stamp"
    assert before - 2.5 < stamp.stat().st_mtime < before - 1.5
    assert "/boot/grub/grub.cfg" in stamp.read_text()


def test_run_never_fails_but_says_why(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box.lib / "fails").write_text("Cannot allocate memory")
    assert box.run("run", "--source=apt") == 0
    line = said(capsys)
    assert "Cannot allocate memory" in line
    assert line.count("\n") == 1
    box.write("etc/kexec-hook.conf", "lod = yes\n")
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == (
        "kexec-hook: /etc/kexec-hook.conf:1: unknown key `lod`; did you mean `load`? "
        "Nothing is staged, the next reboot goes through the firmware\n"
    )


def test_only_what_takes_too_long_is_said_to_hang(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.lib / "while-loading").write_text("kill -9 $PPID\n")  # short of memory, say
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == "kexec-hook: nothing was decided: `kexec-hook` ended without an answer\n"


def test_title_that_the_terminal_cannot_show_is_no_failure(box: Box) -> None:
    config = box / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace("Debian GNU/Linux", "Дебиан €"))
    process = box.start(
        "run", "--source=apt", limits="import sys; sys.stdout.reconfigure(encoding='latin-1')"
    )
    said, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert said.startswith("kexec-hook: next reboot: kexec into \\u0414")
    assert box.loaded


def test_run_declines_the_same_way_only_once(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("etc/kexec-hook.conf", "load = no\n")
    box.run("run", "--source=apt")
    assert "kexec-hook: not staged: " in said(capsys)
    box.run("run", "--source=apt")
    assert said(capsys) == ""
    box.write("etc/kexec-hook.conf", "load = yes\n")
    box.run("run", "--source=apt")
    assert "kexec into" in said(capsys)
    box.write("etc/kexec-hook.conf", "load = no\n")
    box.run("run", "--source=apt")
    assert "kexec-hook: not staged: " in said(capsys)


@pytest.mark.parametrize(
    ("value", "loads"), [("", True), ("0", True), ("1", False), ("yes", False)]
)
def test_suspended_run_stages_nothing(box: Box, value: str, loads: bool) -> None:
    limits = f"import os; os.environ['KEXEC_HOOK_SUSPEND'] = {value!r}"
    process = box.start("run", "--source=apt", limits=limits)
    process.communicate(timeout=60)
    assert (process.returncode, box.loaded) == (0, loads)


def test_wrong_settings_unload_what_was_staged(box: Box) -> None:
    box.run("run", "--source=apt")
    box.write("etc/kexec-hook.conf", "lod = yes\n")
    assert box.run("run", "--source=apt") == 0
    assert not box.loaded


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("run/.containerenv", ""),
        ("proc/1/comm", "sh\n"),
        ("proc/cmdline", "BOOT_IMAGE=/vmlinuz ro kexec_hook=off\n"),
    ],
)
def test_run_is_silent_and_writes_nothing_where_nothing_is_its_business(
    box: Box, capsys: pytest.CaptureFixture[str], path: str, content: str
) -> None:
    box.write(path, content)
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == ""
    assert not (box / "run/kexec-hook").exists()
    assert box.run("stage") == 3


def test_nothing_is_loaded_without_systemd(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """sysvinit with kexec-tools jumps into whatever is loaded."""
    shutil.rmtree(box / "run/systemd")
    assert box.run("run", "--source=apt") == 0
    assert "systemd does not run here" in said(capsys)
    assert box.calls == []


def test_drop_ins_of_an_older_version_are_none(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """They let an image jump whose record was lost."""
    name = "systemd-kexec.service.d/50-kexec-hook.conf"
    text = (box / f"lib/systemd/system/{name}").read_text()
    old = text.replace("/run/kexec-hook.loaded", "/run/kexec-hook/staged.json")
    box.write(f"etc/systemd/system/{name}", old)
    assert box.run("stage") == 3
    assert "missing, or an older version's" in said(capsys)
    assert box.calls == []


def test_what_an_older_version_has_staged_is_unloaded_and_staged_anew(box: Box) -> None:
    assert box.run("stage") == 0
    record = box.record
    assert record
    box.write("run/kexec-hook/staged.json", json.dumps({**record, "schema": 1}))
    (box / "run/kexec-hook.loaded").unlink()
    assert box.run("run", "--source=apt") == 0
    assert box.record
    assert (box.record["schema"], box.marked, len(box.calls)) == (2, True, 2)


def runs_what_grub_boots(box: Box) -> None:
    """As after a firmware boot, the kernel's files older than that."""
    built = version_of(KERNEL, box.host.sysroot()).partition("#")[2]
    build = f"#{built}" if built else "#1 SMP"
    box.write("proc/sys/kernel/osrelease", "6.1.0-39-amd64\n")
    box.write("proc/version", f"Linux version 6.1.0-39-amd64 (d@d) (gcc 12) {build}\n")
    box.write("proc/stat", f"cpu 1 2 3\nbtime {int(time.time()) + 5}\n")
    box.run("stage", "--dry-run", "--json")


def test_nothing_is_staged_or_said_where_what_grub_boots_runs_already(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_what_grub_boots(box)
    cmdline = json.loads(said(capsys))["cmdline"]
    box.write("proc/cmdline", cmdline.replace("BOOT_IMAGE=", "BOOT_IMAGE=(hd1,gpt7)", 1) + "\n")
    assert box.run("run", "--source=apt") == 0
    assert (said(capsys), box.calls, box.record) == ("", [], None)
    # By hand, and by the setting, it is staged all the same.
    assert box.run("stage") == 0
    assert box.loaded
    assert box.run("run", "--source=apt") == 0
    assert (box.loaded, len(box.calls)) == (True, 1)
    box.run("unstage")
    box.write("etc/kexec-hook.conf", "when = always\n")
    assert box.run("run", "--source=apt") == 0
    assert box.loaded


@pytest.mark.parametrize(
    "change",
    ["another release", "another build", "another word", "a rewritten initrd", "no time of boot"],
)
def test_what_differs_from_what_runs_is_staged(
    box: Box, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    runs_what_grub_boots(box)
    cmdline = json.loads(said(capsys))["cmdline"]
    box.write("proc/cmdline", cmdline + (" more" if change == "another word" else "") + "\n")
    if change == "another release":
        box.write("proc/sys/kernel/osrelease", "6.1.0-38-amd64\n")
    if change == "another build":
        box.write("proc/version", "Linux version 6.1.0-39-amd64 (d@d) (gcc) #2 SMP other\n")
    if change == "a rewritten initrd":
        box.write("proc/stat", f"btime {int(time.time()) - 60}\n")
        (box / INITRD).touch()
    if change == "no time of boot":
        box.write("proc/stat", "cpu 1\n")
    assert box.run("run", "--source=apt") == 0
    assert box.loaded


def test_what_was_staged_goes_where_the_upgrade_was_taken_back(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("stage", "--entry", "1>4")
    capsys.readouterr()
    runs_what_grub_boots(box)
    box.write("proc/cmdline", json.loads(said(capsys))["cmdline"] + "\n")
    assert box.run("run", "--source=apt") == 0
    assert (said(capsys), box.loaded, box.record, box.marked) == ("", False, None, False)


def test_run_that_nobody_reads_exits_0(box: Box) -> None:
    """A full disk behind apt's output is no failure of apt's."""
    limits = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    process = box.start("run", "--source=apt", limits=limits)
    _, error = process.communicate(timeout=60)
    why = "kexec-hook: standard output cannot be written: no space left on device\n"
    assert (process.returncode, error, box.loaded) == (0, why, True)


# Two at once, kills, full disks.


def test_two_at_once_leave_one_image_and_a_whole_record(box: Box) -> None:
    (box.lib / "while-loading").write_text("sleep 0.02\n")
    rounds = int(os.environ.get("ROUNDS", "12"))
    for number in range(rounds):
        (box / INITRD).touch()
        both = [box.start("stage", "--json") for _ in range(2)]
        answers = [process.communicate(timeout=60) for process in both]
        assert [process.returncode for process in both] == [0, 0], answers
        outcomes = sorted(json.loads(out)["outcome"] for out, _ in answers)
        assert outcomes == ["staged", "unchanged"], (number, outcomes)
        assert box.record
        assert box.record["state"] == "staged"
    assert len(box.calls) == rounds


def test_second_process_leaves_with_a_word_when_it_takes_too_long(box: Box) -> None:
    (box.lib / "while-loading").write_text("sleep 9\n")
    first = box.start("stage")
    while not box.record:
        time.sleep(0.02)
    second = box.start("stage")
    _, error = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another kexec-hook (process {first.pid}) is at work" in error
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_kill_at_any_moment_is_repaired_by_the_next_run(box: Box) -> None:
    chance = random.Random(int(os.environ.get("SEED", "1")))
    (box.lib / "while-loading").write_text("sleep 0.05\n")
    for _ in range(int(os.environ.get("KILLS", "12"))):
        (box / INITRD).touch()
        process = box.start("stage")
        time.sleep(chance.uniform(0.05, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.1)  # kexec outlives its killer by its own sleep
        record = box.record  # whole, or none: this would not parse it otherwise
        if box.loaded:
            assert record
        assert box.run("stage") == 0
        assert box.loaded
        assert box.record
        assert box.record["state"] == "staged"
        assert not list((box / "run/kexec-hook").glob(".*"))


def test_run_that_finds_another_one_at_work_leaves_word(box: Box) -> None:
    """What has changed since that one began is decided by the next call, whatever the stamp says."""
    go = box.lib / "go"
    (box.lib / "while-loading").write_text(f"while [ ! -e {go} ]; do sleep 0.1; done\n")
    first = box.start("run", "--source=kernel")
    while not box.record:
        time.sleep(0.02)
    second = box.start("run", "--source=apt")
    said, error = second.communicate(timeout=60)
    assert (second.returncode, error) == (0, "")
    assert "is at work; try again when it is done" in said
    go.touch()
    first.communicate(timeout=60)
    assert {"changed", "stamp"} <= set(os.listdir(box / "run/kexec-hook"))


def test_kexec_that_outlives_its_caller_leaves_no_image_without_a_record(box: Box) -> None:
    """Without one it would be taken for the administrator's, and a reboot would jump into it."""
    (box.lib / "while-loading").write_text(f"touch {box.lib}/started; sleep 1\n")
    (box.bin / "touch").symlink_to("/usr/bin/touch")
    process = box.start("stage")
    while not (box.lib / "started").exists():
        time.sleep(0.02)
    process.kill()
    process.communicate()
    (box / INITRD).unlink()
    assert box.run("stage") == 3
    time.sleep(1.2)
    assert (box.loaded, box.record) == (False, None)


def test_image_jumps_by_itself_only_where_nothing_of_ours_was_loaded(box: Box) -> None:
    """The drop-ins, run as they are shipped: whatever becomes of the record, our mark stays with our image."""
    assert (box.last("kexec"), box.last("reboot")) == ("reboot", "nothing")
    box.write("sys/kernel/kexec_loaded", "1\n")  # an administrator's
    assert (box.last("kexec"), box.last("reboot")) == ("kexec", "nothing")
    box.write("sys/kernel/kexec_loaded", "0\n")
    box.run("stage")
    shutil.rmtree(box / "run/kexec-hook")
    assert (box.loaded, box.marked) == (True, True)
    assert (box.last("kexec"), box.last("reboot")) == ("reboot", "nothing")
    assert box.run("stage") == 0
    box.rebooting()
    assert box.run("finalize") == 0
    assert (box.last("kexec"), box.last("reboot")) == ("kexec", "kexec")
    assert box.run("unstage") == 0
    assert (box.loaded, box.marked) == (False, False)


def test_stale_approval_lets_no_image_of_the_administrator_jump(box: Box) -> None:
    box.write("run/kexec-hook/approved", "")
    box.write("sys/kernel/kexec_loaded", "1\n")
    assert box.last("reboot") == "nothing"


def test_nothing_is_loaded_where_the_mark_cannot_be_written(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "run/kexec-hook.loaded").mkdir()
    assert box.run("stage") == 1
    assert "/run/kexec-hook.loaded cannot be written: is a directory" in said(capsys)
    assert (box.calls, box.record["state"] if box.record else None) == ([], None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_kexec_loads_comes_too_late(box: Box, number: signal.Signals) -> None:
    (box.lib / "while-loading").write_text(f"touch {box.lib}/started; sleep 1\n")
    (box.bin / "touch").symlink_to("/usr/bin/touch")
    process = box.start("stage")
    while not (box.lib / "started").exists():
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert box.loaded
    assert box.record
    assert (box.record["state"], box.marked) == ("staged", True)


def test_nobody_forgets_a_record_while_a_kexec_is_alive(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has outlived the one who started it, and may load at any time."""
    box.run("stage")
    (box / INITRD).unlink()
    lock = f"exec 9> {box.root}/run/kexec-hook/loader; flock 9; echo; exec sleep 60"
    with subprocess.Popen(["sh", "-c", lock], stdout=subprocess.PIPE) as loading:
        assert loading.stdout
        loading.stdout.readline()
        assert box.run("run", "--source=apt") == 0
        assert "a kexec that was started before has not ended" in said(capsys)
        assert (box.loaded, box.marked) == (True, True)
        assert box.record
        loading.kill()


def test_failing_kexec_does_not_print_the_command_line(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.lib / "fails").write_text("Operation not permitted")
    config = box / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace(" ro  quiet", " ro rd.luks.key=secret quiet", 1))
    box.run("run", "--source=apt")
    line = said(capsys)
    assert (
        f"`kexec --load {box.root}{KERNEL}` failed with status 255: kexec_file_load failed" in line
    )
    assert "secret" not in line


def test_full_run_is_a_clear_failure(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    # A limit on the size of files stands for a full disk: writing the record fails half way.
    limits = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limits += "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))"
    process = box.start("stage", limits=limits)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "staged.json cannot be written: file too large" in error
    assert box.record is None
    assert not box.loaded


# The shutdown unit.

needs_editenv = pytest.mark.skipif(
    not shutil.which("grub-editenv", path="/usr/bin:/usr/sbin"),
    reason="needs grub-editenv (grub-common)",
)


@needs_editenv
def test_finalize_approves_a_reboot_and_writes_what_grub_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path, "debian-12-next")
    box.run("stage")
    assert box.record
    assert box.record["env_blocks"] == [
        {"file": "/boot/grub/grubenv", "writes": {"next_entry": ""}}
    ]
    block = (box / "boot/grub/grubenv").read_text()
    assert "next_entry=Advanced" in block
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.approved
    assert "next_entry=\n" in (box / "boot/grub/grubenv").read_text()
    attempt = json.loads((box / "var/lib/kexec-hook/attempt.json").read_text())
    assert attempt["release"] == "6.1.0-9-amd64"
    assert "this reboot is a kexec into" in said(capsys)


@pytest.mark.parametrize("target", ["poweroff.target", "halt.target", "soft-reboot.target", ""])
def test_finalize_approves_nothing_but_a_reboot(box: Box, target: str) -> None:
    box.run("stage")
    if target:
        box.rebooting(target)
    assert box.run("finalize") == 3
    assert not box.approved


@pytest.mark.parametrize(
    ("path", "stays"),
    [("etc/os-release", False), ("usr/lib/os-release", False), ("etc/hostname", True)],
)
def test_nothing_stays_loaded_where_another_root_goes_on_with_this_kernel(
    box: Box, path: str, stays: bool
) -> None:
    """A root without kexec-hook has none of its drop-ins, and `systemctl reboot` would jump there."""
    box.run("stage")
    box.write(f"run/nextroot/{path}", "NAME=Next\n")
    box.rebooting("soft-reboot.target")
    assert box.run("finalize") == 3
    assert (box.loaded, box.marked) == (stays, stays)
    assert not box.approved


def test_finalize_follows_what_has_changed_since(box: Box) -> None:
    box.run("stage")
    config = box / "boot/grub/grub.cfg"
    config.write_text(config.read_text().replace('set default="0"', 'set default="1>4"'))
    box.rebooting("kexec.target")
    assert box.run("finalize") == 0
    assert box.calls[-1][2] == f"{box.root}/boot/vmlinuz-6.1.0-9-amd64"
    assert box.record
    assert box.record["kernel"] == "/boot/vmlinuz-6.1.0-9-amd64"


@pytest.mark.parametrize(
    ("words", "release"), [(("--entry", "1>4"), "6.1.0-9"), (("--running",), "6.1.0-37")]
)
def test_finalize_loads_what_was_asked_for(
    box: Box, words: tuple[str, ...], release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert box.run("stage", *words) == 0
    capsys.readouterr()
    box.run("status", "--json")
    staged = json.loads(capsys.readouterr().out)["staged"]
    assert (staged["right"], staged["asked"]) == (True, " ".join(words))
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.calls[-1] == box.calls[0]
    assert (
        f"this reboot is a kexec into Debian GNU/Linux, with Linux {release}" in said(capsys)
        or "--running" in words
    )
    assert box.record
    assert box.record["kernel"] == f"/boot/vmlinuz-{release}-amd64"


def test_finalize_declines_where_what_was_asked_for_is_something_else_by_now(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("stage", "--entry", "1>4")
    config = box / "boot/grub/grub.cfg"
    config.write_text(
        config.read_text().replace("/boot/vmlinuz-6.1.0-9-", "/boot/vmlinuz-6.1.0-39-")
    )
    box.rebooting()
    capsys.readouterr()
    box.run("status", "--json")
    assert json.loads(capsys.readouterr().out)["staged"]["right"] is False
    assert box.run("finalize") == 3
    assert "this reboot is not a kexec: `stage --entry 1>4` would stage something else now" in said(
        capsys
    )
    assert not box.loaded
    assert not box.approved


def test_next_upgrade_stages_grubs_default_again(box: Box) -> None:
    box.run("stage", "--entry", "1>4")
    box.run("run", "--source=apt")
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.record
    assert box.record["kernel"] == KERNEL


def test_finalize_never_approves_an_image_that_it_has_not_loaded(box: Box) -> None:
    box.run("stage")
    box.write("sys/kernel/kexec_loaded", "1\n")  # by now somebody else's: the kernel does not tell
    box.rebooting()
    assert box.run("finalize") == 0
    assert [call[1] for call in box.calls] == ["--load", "--unload", "--load"]


def test_finalize_loads_nothing_twice_where_the_kernel_counts_loads(box: Box) -> None:
    box.counts_calls()
    box.run("stage")
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.approved
    assert len(box.calls) == 1


@pytest.mark.parametrize("words", [("--load", "/theirs"), ("--unload",)])
def test_finalize_loads_anew_where_somebody_has_called_kexec_since(
    box: Box, words: tuple[str, ...]
) -> None:
    box.counts_calls()
    box.run("stage")
    ours = box.calls[0]
    subprocess.run([box.bin / "kexec", *words], check=True, env={"PATH": str(box.bin)})
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.calls[-1] == ours
    assert box.approved


def test_finalize_loads_anew_where_a_call_came_together_with_ours(box: Box) -> None:
    box.counts_calls()
    (box.lib / "while-loading").write_text(f"{box.bin}/kexec --unload\n")
    box.run("stage")
    (box.lib / "while-loading").write_text("\n")
    box.rebooting()
    assert box.run("finalize") == 0
    assert [call[0] for call in box.calls].count("--kexec-syscall-auto") == 2


def test_finalize_loads_anew_where_a_limit_was_set_since(box: Box) -> None:
    box.counts_calls()
    box.run("stage")
    box.write("proc/sys/kernel/kexec_load_limit_reboot", "100\n")
    box.rebooting()
    assert box.run("finalize") == 0
    assert [call[0] for call in box.calls].count("--kexec-syscall-auto") == 2


def test_limit_that_an_administrator_has_set_is_kept_and_counts(box: Box) -> None:
    box.write("proc/sys/kernel/kexec_load_limit_reboot", "7\n")
    box.run("stage")
    box.rebooting()
    assert box.run("finalize") == 0
    assert len(box.calls) == 1
    assert (box / "proc/sys/kernel/kexec_load_limit_reboot").read_text() == "6\n"


@pytest.mark.parametrize("same", [True, False])
def test_last_load_that_is_allowed_is_enough(box: Box, same: bool) -> None:
    box.write("proc/sys/kernel/kexec_load_limit_reboot", "1\n")
    box.run("run", "--source=apt")
    assert box.loaded
    for refused in ("fails", "stays"):  # by the kernel, from now on
        (box.lib / refused).write_text("Operation not permitted")
    box.run("run", "--source=apt")
    if not same:
        config = box / "boot/grub/grub.cfg"
        config.write_text(config.read_text().replace('set default="0"', 'set default="1>4"'))
    box.rebooting()
    assert box.run("finalize") == (0 if same else 1)
    assert (box.approved, box.marked) == (same, True)


def test_image_without_its_mark_is_loaded_anew(box: Box) -> None:
    box.counts_calls()
    box.run("stage")
    (box / "run/kexec-hook.loaded").unlink()
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.marked
    assert [call[0] for call in box.calls].count("--kexec-syscall-auto") == 2


def test_finalize_unloads_a_kernel_that_was_removed(box: Box) -> None:
    box.run("stage")
    (box / KERNEL).unlink()
    box.rebooting()
    assert box.run("finalize") == 3
    assert not box.loaded
    assert not box.approved


def test_nothing_is_said_of_an_image_that_is_not_ours(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """The drop-ins let it jump: the next reboot may be no ordinary one."""
    box.write("sys/kernel/kexec_loaded", "1\n")
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == (
        "kexec-hook: not staged: a kernel image is loaded, but not by kexec-hook\n"
        "  fix: kexec-hook stage --force\n"
    )
    assert box.run("stage") == 3
    assert "ordinary" not in said(capsys)
    box.write("etc/kexec-hook.conf", "lod = yes\n")
    box.run("run", "--source=apt")
    assert "ordinary" not in said(capsys)
    (box / "etc/kexec-hook.conf").unlink()
    box.rebooting("kexec.target")
    assert box.run("finalize") == 3
    assert (
        said(capsys)
        == "there is nothing to decide: the image that is loaded is not of kexec-hook\n"
    )


def test_image_that_stays_is_not_said_to_be_gone(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("run", "--source=apt")
    (box.lib / "stays").touch()
    (box / INITRD).unlink()
    capsys.readouterr()
    box.run("run", "--source=apt")
    words = said(capsys)
    assert "the image could not be unloaded" in words
    assert "; a kernel image stays loaded\n" in words
    assert "ordinary" not in words


def test_what_the_machine_has_staged_is_no_business_of_a_container(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chroot or a container that shares the machine's /run."""
    box.run("stage")
    box.write("run/.containerenv", "")
    capsys.readouterr()
    assert box.run("run", "--source=apt") == 0
    assert said(capsys) == ""
    assert box.run("stage") == 3
    assert "this is a container (podman)" in said(capsys)
    assert box.loaded
    assert box.record
    assert len(box.calls) == 1


def test_record_stays_where_nothing_tells_whether_the_image_is_gone(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, the image would be taken for the administrator's, and a reboot would jump into it."""
    box.run("stage")
    (box / "sys/kernel/kexec_loaded").unlink()
    assert box.run("unstage") == 1
    assert "/sys/kernel/kexec_loaded cannot be read" in said(capsys)
    assert box.record


def test_approval_of_a_shutdown_that_came_to_nothing_is_taken_away(box: Box) -> None:
    box.run("stage")
    box.rebooting()
    box.run("finalize")
    assert box.approved
    box.run("run", "--source=apt")
    assert not box.approved
    assert len(box.calls) == 3  # nothing had changed: it was loaded by stage, and anew by finalize


def test_finalize_takes_an_old_approval_away_first(box: Box) -> None:
    box.run("stage")
    box.write("run/kexec-hook/approved", "")
    assert box.run("finalize") == 3
    assert not box.approved


def test_finalize_leaves_the_administrators_image_alone(box: Box) -> None:
    box.write("sys/kernel/kexec_loaded", "1\n")
    box.rebooting()
    assert box.run("finalize") == 3
    assert box.loaded
    assert not box.approved


def test_coldreboot_of_debian_is_honoured_and_its_file_removed(box: Box) -> None:
    box.run("stage")
    box.write("no-kexec-reboot", "")
    box.rebooting()
    assert box.run("finalize") == 3
    assert not box.loaded
    assert not (box / "no-kexec-reboot").exists()


def test_coldreboot_of_debian_leaves_nothing_where_nothing_was_staged(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write("no-kexec-reboot", "")
    box.write("sys/kernel/kexec_loaded", "1\n")
    box.rebooting()
    assert box.run("finalize") == 3
    assert not (box / "no-kexec-reboot").exists()
    assert box.loaded  # the administrator's
    assert "no kexec" not in said(capsys)


@needs_editenv
def test_grubenv_that_cannot_be_written_means_no_jump(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path, "debian-12-next")
    box.run("stage")
    box.programs(
        "grub-editenv.new",
        '#!/bin/sh\ncase $3 in list) exec /usr/bin/grub-editenv "$@" ;; esac\nexit 1\n',
    )
    (box.bin / "grub-editenv.new").rename(box.bin / "grub-editenv")
    box.rebooting()
    assert box.run("finalize") == 1
    assert not box.approved
    assert not box.loaded
    assert not (box / "var/lib/kexec-hook/attempt.json").exists()
    assert "next_entry=Advanced" in (box / "boot/grub/grubenv").read_text()


@needs_editenv
def test_what_grub_would_write_is_undone_where_the_jump_cannot_be_approved(tmp_path: Path) -> None:
    """Also where the image stays loaded: GRUB boots next, and the one-time entry is still to be booted."""
    box = Box(tmp_path, "debian-12-next")
    box.run("stage")
    grub_editenv = (box.bin / "grub-editenv").resolve()
    # Somebody else writes while the writes are prepared, and kexec does not unload.
    (box.bin / "grub-editenv").unlink()
    real = f"{box.root}/boot/grub/grubenv"
    block = f"{grub_editenv} {real} set other=1; touch {box.lib}/stays"
    box.programs(
        "grub-editenv", f'#!/bin/sh\n[ "$3" != set ] || {{ {block}; }}\nexec {grub_editenv} "$@"\n'
    )
    (box.bin / "touch").symlink_to("/bin/touch")
    box.rebooting()
    assert box.run("finalize") == 1
    assert "next_entry=Advanced" in (box / "boot/grub/grubenv").read_text()
    assert not box.approved
    assert not (box / "var/lib/kexec-hook/attempt.json").exists()
    assert box.loaded
    assert box.record


def test_coldreboot_unloads_everything_and_asks_systemd_for_the_firmware(box: Box) -> None:
    box.write("sys/kernel/kexec_loaded", "1\n")
    assert box.run("coldreboot") == 0
    assert not box.loaded
    assert box.asked == ["1 reboot"]


@pytest.mark.parametrize("words", [("coldreboot",), ("reboot", "--yes")])
def test_reboot_is_one_of_the_kernel_where_another_root_waits(
    box: Box, words: tuple[str, ...]
) -> None:
    """systemctl would go on with /run/nextroot and this kernel, systemd-soft-reboot.service(8)."""
    assert box.run(*words) == 0
    assert (box.lib / "of-the-kernel").read_text() == "1\n"


def test_upgrade_that_ends_after_coldreboot_does_not_make_it_warm(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """unattended-upgrades may install while the machine goes down."""
    assert box.run("coldreboot") == 0
    box.run("run", "--source=apt")
    assert box.loaded
    box.rebooting()
    capsys.readouterr()
    assert box.run("finalize") == 3
    assert (
        said(capsys)
        == "this reboot is not a kexec: `kexec-hook coldreboot` asks for a firmware boot\n"
    )
    assert not box.approved
    assert not box.loaded


def test_reboot_is_no_cold_one_where_that_was_asked_for_before(box: Box) -> None:
    """That shutdown came to nothing, and an upgrade has staged since."""
    assert box.run("coldreboot") == 0
    box.run("run", "--source=apt")
    assert box.run("reboot", "--yes") == 0
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.approved


def test_coldreboot_that_is_held_back_is_no_wish_for_the_next_time(box: Box) -> None:
    box.programs("systemctl", "#!/bin/sh\necho inhibited >&2\nexit 1\n")
    assert box.run("coldreboot") == 1
    assert not (box / "run/kexec-hook/cold").exists()


def test_stage_after_coldreboot_is_the_last_word(box: Box) -> None:
    box.run("coldreboot")
    box.run("stage")
    box.rebooting()
    assert box.run("finalize") == 0


def test_reboot_stages_first_and_reboots_anyway_when_declined(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert box.run("reboot", "--yes") == 0
    assert box.loaded
    assert [line for line in box.asked if "is-active" not in line] == [" reboot"]
    (box / INITRD).unlink()
    box.write("sys/kernel/kexec_loaded", "0\n")
    assert box.run("reboot", "--yes") == 0
    assert "kexec-hook: not staged: " in said(capsys)
    assert box.asked[-1] == " reboot"


@pytest.mark.parametrize(
    ("typed", "reboots"), [(b"y\n", True), (b"n\n", False), (b"\4", False), (b"\3", False)]
)
def test_reboot_asks_first(box: Box, typed: bytes, reboots: bool) -> None:
    terminal, ours = os.openpty()
    stdin = f"import fcntl, os, termios; os.setsid(); os.dup2(os.open({os.ttyname(ours)!r}, os.O_RDWR), 0)\n"
    # Where the tests run in the background of a script, they begin with SIGINT ignored.
    stdin += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = box.start("reboot", limits=f"{stdin}fcntl.ioctl(0, termios.TIOCSCTTY, 0)")
    assert process.stderr
    question = "Reboot this machine now? [y/N] "
    assert process.stderr.read(len(question)) == question
    time.sleep(0.1)  # it reads by now; a signal that comes before is no answer
    os.write(terminal, typed)
    _, error = process.communicate(timeout=60)
    os.close(terminal)
    os.close(ours)
    assert "Traceback" not in error
    assert (process.returncode, " reboot" in box.asked) == ((0, True) if reboots else (3, False))


def test_reboot_asks_only_on_a_terminal(box: Box) -> None:
    process = box.start("reboot")
    _, error = process.communicate("", timeout=30)
    assert process.returncode == 2
    assert "--yes" in error
    assert box.asked == []


# Jumps that did not come up.


def test_jump_that_came_up_is_forgotten(box: Box) -> None:
    box.run("stage")
    box.rebooting()
    box.run("finalize")
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
    box.write("proc/sys/kernel/bootloader_type", "208\n")
    assert box.run("judge-boot") == 0
    assert not (box / "var/lib/kexec-hook/attempt.json").exists()
    assert box.run("stage", "--dry-run") == 0


def test_no_kernel_is_blamed_where_nothing_tells_how_it_was_started(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """bootloader_type is of x86 alone."""
    box.run("stage")
    box.rebooting()
    box.run("finalize")
    (box / "proc/sys/kernel/bootloader_type").unlink()
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
    capsys.readouterr()
    assert box.run("judge-boot") == 0
    assert said(capsys) == ""
    assert not (box / "var/lib/kexec-hook/attempt.json").exists()
    assert box.run("stage") == 0


def test_kernel_that_did_not_come_up_is_held_back_until_ack(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("stage")
    box.rebooting()
    box.run("finalize")
    box.write("sys/kernel/kexec_loaded", "0\n")
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
    assert box.run("judge-boot") == 1
    assert "did not come up" in said(capsys)
    assert box.run("stage") == 3
    assert "kexec-hook ack 6.1.0-39-amd64" in said(capsys)
    box.run("status")
    assert "`kexec-hook ack` allows it again" in said(capsys)
    assert box.run("ack", "6.1.0-40-amd64") == 1
    assert box.run("ack") == 0
    assert box.run("stage") == 0


def test_release_with_escape_codes_is_said_harmlessly(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is whatever a kernel's image says."""
    box.run("stage")
    box.rebooting()
    box.run("finalize")
    attempt = box / "var/lib/kexec-hook/attempt.json"
    attempt.write_text(attempt.read_text().replace('"6.1.0-39-amd64"', r'"6.1\u001b[2J\u202e"'))
    box.write("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
    capsys.readouterr()
    assert box.run("judge-boot") == 1
    assert "the kexec into 6.1\\x1b[2J\\u202e on " in said(capsys)
    assert box.run("candidates", "releases") == 0
    assert said(capsys) == ""
    assert box.run("ack") == 0
    assert said(capsys) == "6.1\\x1b[2J\\u202e may be started by kexec again\n"


# The crash kernel, the running kernel, kexec-default.


def test_panic_loads_the_crash_kernel(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.run("stage", "--panic", "--dry-run") == 0
    assert box.calls == []
    assert box.run("stage", "--panic") == 0
    (call,) = box.calls
    assert call[1] == "--load-panic"
    assert call[-1].endswith("irqpoll nr_cpus=1 reset_devices")
    assert not box.loaded
    assert box.run("stage", "--panic") == 3
    assert "fix: kexec-hook stage --panic --force" in said(capsys)


def test_crash_kernel_is_not_said_to_be_for_the_next_reboot(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("stage", "--panic")
    assert "staged: a panic is a kexec into\n" in said(capsys)
    box.run("stage", "--panic")
    assert "reboot" not in said(capsys)


def test_panic_needs_reserved_memory(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("sys/kernel/kexec_crash_size", "0\n")
    assert box.run("stage", "--panic") == 3
    assert "crashkernel=" in said(capsys)


def test_running_kernel_with_its_own_command_line(box: Box) -> None:
    assert box.run("stage", "--running") == 0
    assert box.calls[0][-1] == "--command-line=" + (box / "proc/cmdline").read_text().strip()


def test_kexec_default_is_staged_as_given(box: Box) -> None:
    box.write("etc/kexec-hook.conf", "select = kexec-default\n")
    box.write("etc/default/kexec", f"KERNEL_IMAGE={KERNEL}\nINITRD={INITRD}\nAPPEND=''\n")
    assert box.run("stage") == 0
    assert (
        box.calls[0][-1]
        == "--command-line=" + (box / "proc/cmdline").read_text().strip().partition(" ")[2]
    )
