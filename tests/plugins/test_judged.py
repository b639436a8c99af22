"""Plugins hear what came of a kexec, once, and whatever they do changes nothing of what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.machine import Box
from tests.plugins.test_asking import install
from tests.staging.test_jump import attempt, boots, needs_editenv, python, shell

pytestmark = needs_editenv
HEARS = """
import pluggy
kexec_hook_api = ">=1.0,<2"
@pluggy.HookimplMarker("kexec_hook")
def kexec_hook_judged(attempt, came_up):
    with open({log!r}, "a") as log:
        log.write(f"{{attempt.release}} {{came_up}}\\n")
    {then}
"""


class Heard(Box):
    """A machine with a plugin that hears, on its way down."""

    def __init__(self, directory: Path, site: Path, then: str = "pass") -> None:
        super().__init__(directory, "debian-12-next")
        self.log = directory / "heard"
        install(site, "hears", HEARS.format(log=str(self.log), then=then))
        assert self.run("stage") == 0
        self.rebooting()
        assert self.run("finalize") == 0

    @property
    def heard(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.mark.parametrize(("by", "came_up"), [("208", True), ("114", False)])
def test_plugin_hears_once_what_came_of_a_kexec(
    tmp_path: Path, site: Path, by: str, came_up: bool
) -> None:
    box = Heard(tmp_path, site)
    release = (attempt(box) or {})["release"]
    boots(box, by)
    assert shell(box, "judge").returncode == 7  # this one is for Python
    assert python(box) == "judge-boot"
    assert box.run("judge-boot") == (0 if came_up else 1)
    assert box.heard == [f"{release} {came_up}"]
    assert shell(box, "judge").returncode == 0
    box.run("judge-boot")
    assert box.heard == [f"{release} {came_up}"]


def test_where_no_plugin_waits_the_shell_judges_alone(tmp_path: Path) -> None:
    box = Box(tmp_path, "debian-12-next")
    box.run("stage")
    box.rebooting()
    assert box.run("finalize") == 0
    assert (attempt(box) or {})["awaited"] is False
    boots(box, "208")
    assert shell(box, "judge").stdout == "the jump came up\n"
    assert python(box) == ""


def test_plugin_that_came_after_the_jump_hears_of_one_that_failed(
    tmp_path: Path, site: Path
) -> None:
    box = Heard(tmp_path, site)
    noted = {**(attempt(box) or {}), "awaited": False}
    box.write("var/lib/kexec-hook/attempt.json", json.dumps(noted))
    boots(box, "114")
    assert shell(box, "judge").returncode == 7
    assert box.run("judge-boot") == 1
    assert box.heard == [f"{noted['release']} False"]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("raise KeyError('x')", "plugin hears failed and is ignored: KeyError: 'x' ("),
        ("__import__('os')._exit(3)", "the plugins did not hear whether the kexec came up: "),
        ("raise SystemExit", "the plugins did not hear whether the kexec came up: "),
    ],
    ids=["raises", "ends", "exits"],
)
def test_plugin_that_fails_is_named_and_the_judgement_stands(
    tmp_path: Path, site: Path, capfd: pytest.CaptureFixture[str], then: str, said: str
) -> None:
    box = Heard(tmp_path, site, then)
    boots(box, "114")
    capfd.readouterr()
    assert box.run("judge-boot") == 1
    lines = capfd.readouterr().out.splitlines()
    assert "did not come up" in lines[0]
    assert lines[1].startswith(said)
    assert (box / "var/lib/kexec-hook/failed.json").exists()
    assert attempt(box) is None


def test_nobody_hears_of_a_boot_that_decides_nothing(tmp_path: Path, site: Path) -> None:
    box = Heard(tmp_path, site)
    assert box.run("judge-boot") == 0  # the same boot: the shutdown is still going on
    noted = {**(attempt(box) or {}), "written": False}
    box.write("var/lib/kexec-hook/attempt.json", json.dumps(noted))
    boots(box, "114")
    assert box.run("judge-boot") == 0  # perhaps it was never approved
    assert box.heard == []
