"""contrib/prometheus/kexec_hook.py: each answer of `status --json` becomes metrics that Prometheus can read."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PROJECT, Box

CONTRIB = PROJECT / "contrib/prometheus"
# https://prometheus.io/docs/instrumenting/exposition_formats/
NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = rf"({NAME})(?:\{{{LABEL}(?:,{LABEL})*\}})? (-?[0-9.]+(?:e[+-][0-9]+)?)"


def collector() -> Any:
    spec = importlib.util.spec_from_file_location("kexec_hook_metrics", CONTRIB / "kexec_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exposed(answer: dict[str, Any]) -> dict[str, float]:
    """The samples, by name and labels; each line is one that Prometheus reads."""
    metrics = collector()
    samples: dict[str, float] = {}
    announced = set()
    for line in metrics.exposition(metrics.metrics(answer)).splitlines():
        if comment := re.fullmatch(
            rf"# (?:HELP ({NAME}) .+|TYPE ({NAME}) (?:gauge|counter))", line
        ):
            announced.add(comment[1] or comment[2])
            continue
        found = re.fullmatch(SAMPLE, line)
        assert found, line
        assert found[1] in announced
        samples[line.rpartition(" ")[0].removeprefix("kexec_hook_")] = float(found[2])
    return samples


def status(box: Box, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert box.run("status", "--json") == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_machine_that_will_jump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = Box(tmp_path)
    assert box.run("stage") == 0
    answer = status(box, capsys)
    answer["reboot"]["reboot"] = "kexec"  # a directory is not the running system
    samples = exposed(answer)
    release = "6.1.0-39-amd64"
    assert (
        samples.pop(f'info{{running="{box.host.running}",grub="{release}",staged="{release}"}}')
        == 1
    )
    assert samples == {
        "staged": 1,
        "staged_right": 1,
        "next_reboot_is_kexec": 1,
        **{f'objections{{code="{one["code"]}"}}': 1 for one in answer["objections"]},
        "failed_jumps": 0,
        **{
            f'last_boot{{how="{how}"}}': how == "firmware"
            for how in ("kexec", "firmware", "unknown")
        },
        "saved_seconds_total": 0,
        "unit_active": float(answer["units"]["active"]),
    }


def test_machine_with_nothing_staged_and_much_to_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = status(Box(tmp_path), capsys)
    reason = {"reason": "x", "by": "checks", "fix": ""}
    answer["objections"] = [{**reason, "code": code} for code in ("tpm", "not-grub", "tpm")]
    answer["failed_jumps"] = [{"release": "6.1", "time": 1.0}]
    answer["running"] = {"release": 'a"b\\c\nd\udce9', "booted_by": "kexec"}
    answer["gain"] = {"firmware": {"seconds": 134.25, "boots": 3}, "saved": 12345678.5}
    answer["reboot"]["reboot"] = "unknown"
    samples = exposed(answer)
    assert samples['objections{code="tpm"}'] == 2
    assert samples['objections{code="not-grub"}'] == 1
    assert samples["failed_jumps"] == 1
    assert samples['last_boot{how="kexec"}'] == 1
    assert (samples["firmware_seconds"], samples["saved_seconds_total"]) == (134.25, 12345678.5)
    assert not {"staged_right", "next_reboot_is_kexec"} & samples.keys()
    assert any('running="a\\"b\\\\c\\nd?"' in name for name in samples)


def test_booted_by_anything_else_is_not_known() -> None:
    how = collector()._how
    assert [how(by) for by in ("GRUB", "EFI stub", "kexec", "unknown", "LILO")] == [
        *("firmware", "firmware", "kexec", "unknown", "unknown")
    ]


def test_without_an_answer_nothing_is_printed(tmp_path: Path) -> None:
    program = tmp_path / "kexec-hook"
    program.write_text("#!/bin/sh\necho '{'\nexit 1\n")
    program.chmod(0o755)
    script = str(CONTRIB / "kexec_hook.py")
    done = subprocess.run(
        [sys.executable, script], env={"PATH": f"{tmp_path}:/bin"}, stdout=subprocess.PIPE
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_each_metric_is_documented_and_each_alert_asks_for_one_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {
        f"kexec_hook_{metric.name}" for metric in collector().metrics(status(Box(tmp_path), capsys))
    }
    document = (PROJECT / "docs/fleets.md").read_text()
    assert set(re.findall(r"^\| `(kexec_hook_\w+)", document, re.MULTILINE)) == made
    rules = (CONTRIB / "kexec-hook.rules.yml").read_text()
    assert set(re.findall(r"\bkexec_hook_\w+", rules)) <= made
    alerts = set(re.findall(r"alert: (\w+)", rules))
    assert set(re.findall(r"`(KexecHook\w+)`", document)) == alerts


@pytest.mark.fleet
def test_promtool_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool (apt-get install prometheus)")
    metrics = collector()
    text = metrics.exposition(metrics.metrics(status(Box(tmp_path), capsys)))
    for words, given in (
        (("check", "metrics"), text),
        (("check", "rules", str(CONTRIB / "kexec-hook.rules.yml")), ""),
        (("test", "rules", str(PROJECT / "tests/fleet/kexec-hook.test.yml")), ""),
    ):
        done = subprocess.run(
            [promtool, *words],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
