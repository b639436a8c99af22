"""Plugins: what they are asked, how a broken one is blamed, and that doubt means no."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Objection, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host

ROOT = Path(__file__).resolve().parents[1] / "roots/debian-12/tree"
hookimpl = pluggy.HookimplMarker("kexec_hook")


def plugin(api: Any = ">=1.0,<2", **answers: Any) -> types.ModuleType:
    found = types.ModuleType("plugin")
    vars(found).update(
        kexec_hook_api=api, **{name: hookimpl(answer) for name, answer in answers.items()}
    )
    return found


def run(*plugins: object, entry: str | None = None) -> Decision:
    host = Host(str(ROOT))
    sysroot = host.sysroot()
    found = Plugins(
        installed=False, extra=[(f"mine{number}", item) for number, item in enumerate(plugins)]
    )
    return decide(host, sysroot, load_settings(sysroot), found, Trigger(entry=entry))


def reasons(found: Decision) -> list[tuple[str, str]]:
    return [(objection.by, objection.reason) for objection in found.objections]


def test_built_in_plugins_stage_the_default() -> None:
    found = run()
    assert not found.declined
    assert found.plan
    assert found.plan.kernel == "/boot/vmlinuz-6.1.0-39-amd64"


def test_objection_of_a_plugin_is_named() -> None:
    found = run(
        plugin(
            kexec_hook_objections=lambda decision, sysroot: [
                Objection("not on a Friday", "calendar"),
                "no",
            ]
        )
    )
    assert reasons(found) == [("calendar", "not on a Friday"), ("mine0", "no")]


def test_raising_plugin_is_an_objection() -> None:
    def objections(decision: Decision) -> list[str]:
        raise RuntimeError("out of coffee")

    ((by, reason),) = reasons(run(plugin(kexec_hook_objections=objections)))
    assert by == "mine0"
    assert reason.startswith("plugin mine0 failed: RuntimeError: out of coffee (")
    assert "test_asking.py:" in reason


def test_plugin_that_raises_elsewhere_is_named_and_passed_over() -> None:
    def choose(menu: object) -> str:
        raise KeyError("x")

    found = run(plugin(kexec_hook_choose_entry=choose))
    assert not found.declined
    assert any(
        note.text.startswith("plugin mine0 failed and is ignored: KeyError: 'x'")
        for note in found.notes
    )


def test_plugin_chooses_another_entry() -> None:
    found = run(plugin(kexec_hook_choose_entry=lambda menu, default, trigger: "1>4"))
    assert found.plan
    assert found.plan.kernel == "/boot/vmlinuz-6.1.0-9-amd64"
    assert found.evaluation is not None
    assert found.evaluation.chosen_by == "plugin mine0"


def test_entry_of_the_command_line_goes_before_a_plugins() -> None:
    found = run(plugin(kexec_hook_choose_entry=lambda menu: "1>4"), entry="1>2")
    assert found.plan
    assert found.plan.kernel == "/boot/vmlinuz-6.1.0-37-amd64"


def test_entry_that_is_not_there_is_declined() -> None:
    ((_, reason),) = reasons(run(entry="nothing like it"))
    assert reason == "--entry: GRUB's menu has no entry 'nothing like it'"


@pytest.mark.parametrize(
    ("api", "words"),
    [
        (">=2", "plugin mine0 was written for API >=2, this is 1.0"),
        (
            None,
            'plugin mine0 does not state the API it was written for (kexec_hook_api = ">=1.0,<2")',
        ),
        ("one", "plugin mine0 states its API as 'one', which is not a version specifier"),
    ],
)
def test_plugin_for_another_api_is_refused_by_name(api: str | None, words: str) -> None:
    assert reasons(run(plugin(api))) == [("mine0", words)]


def test_misspelled_hook_is_named() -> None:
    found = run(plugin(kexec_hook_objection=lambda decision: []))
    assert reasons(found) == [
        ("mine0", "plugin mine0 implements `kexec_hook_objection`, which kexec-hook does not have")
    ]


def test_hook_with_a_wrong_argument_is_named() -> None:
    ((by, reason),) = reasons(run(plugin(kexec_hook_objections=lambda runn: [])))
    assert by == "mine0"
    assert "does not load" in reason
    assert "runn" in reason


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that packages are installed in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(directory: Path, name: str, code: str) -> None:
    (directory / f"{name}.py").write_text(code)
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kexec_hook]\n{name} = {name}\n")


def test_installed_package_brings_a_plugin(installed: Path) -> None:
    code = "import pluggy\nkexec_hook_api = '>=1.0,<2'\n"
    code += "@pluggy.HookimplMarker('kexec_hook')\ndef kexec_hook_objections(decision):\n    return ['no']\n"
    install(installed, "kh_example", code)
    plugins = Plugins()
    assert "kh_example" in plugins.names
    assert plugins.files == [str(installed / "kh_example.py")]


def test_plugin_that_others_may_write_is_not_even_run(installed: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    install(installed, "kh_open", f"open({str(ran)!r}, 'w').close()\nkexec_hook_api = '>=1.0,<2'\n")
    (installed / "kh_open.py").chmod(0o666)
    (objection,) = Plugins().broken
    assert objection.reason == (
        f"plugin kh_open is not loaded: {installed}/kh_open.py can be written by others than root"
    )
    assert not ran.exists()
    (installed / "kh_open.py").chmod(0o644)
    assert "kh_open" in Plugins().names
    assert ran.exists()


def test_archive_brings_a_plugin(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("zipped")
    install(directory, "kh_zipped", "kexec_hook_api = '>=1.0,<2'\n")
    archive = shutil.make_archive(str(installed / "archive"), "zip", directory)
    sys.path.insert(0, archive)
    try:
        assert "kh_zipped" in Plugins().names
    finally:
        sys.path.remove(archive)


def test_without_plugins_nobody_is_asked_for_them() -> None:
    code = "import sys, pluggy; before = set(sys.modules); from kexec_hook.plugins.asking import Plugins; Plugins();"
    code += "print(*set(sys.modules) - before)"
    said = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert "kexec_hook.plugins.asking" in said.split()
    assert "importlib.metadata" not in said.split()


def test_installed_plugin_that_does_not_load_is_an_objection(installed: Path) -> None:
    install(installed, "kh_broken", "import no_such_module\n")
    (objection,) = [found for found in Plugins().broken if found.by == "kh_broken"]
    assert objection.reason.startswith(
        "plugin kh_broken does not load: ModuleNotFoundError: No module named"
    )
