"""The plugins of docs/examples, which docs/plugins.md shows, as somebody would type them off it and install them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, PackageManager, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.state.attempts import Attempt
from kexec_hook.system.host import Host
from tests.machine import Box
from tests.tree import Tree

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = DOCS / "examples"
PORTAGE = EXAMPLES / "kexec-hook-portage"
TREE = Path(__file__).resolve().parent / "roots/debian-12/tree"
HOOK = "/etc/kernel/install.d/99-kexec-hook-portage.install"


def test_document_shows_each_file_of_the_examples_and_no_other() -> None:
    text = (DOCS / "plugins.md").read_text()
    shown = re.findall(r"`([\w./-]+\.\w+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    files = {
        str(path.relative_to(PORTAGE if PORTAGE in path.parents else EXAMPLES)): path.read_text()
        for path in EXAMPLES.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert dict(shown) == files
    assert text.count("```") == 2 * len(files)


def install(site: Path, name: str, module: str) -> None:
    """What pip makes of an entry point."""
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kexec_hook]\n{name} = {module}\n")


def install_module(site: Path, module: str) -> None:
    shutil.copy(EXAMPLES / f"{module}.py", site)
    install(site, module.replace("_", "-"), module)


def install_portage(site: Path, **replaced: str) -> None:
    """As its pyproject.toml says."""
    project = (PORTAGE / "pyproject.toml").read_text()
    (point,) = re.findall(
        r"^\[project\.entry-points\.kexec_hook\]\n(\w+) = \"(\w+)\"$", project, re.MULTILINE
    )
    shutil.copytree(PORTAGE / point[1], site / point[1])
    module = site / point[1] / "__init__.py"
    for old, new in replaced.items():
        module.write_text(module.read_text().replace(old, new))
    install(site, *point)


def portage(plugins: Plugins) -> PackageManager:
    (found,) = [manager for manager in plugins.package_managers() if manager.name == "portage"]
    return found


def decided(plugins: Plugins, root: Path) -> Decision:
    host = Host(str(root))
    sysroot = host.sysroot()
    return decide(host, sysroot, load_settings(sysroot), plugins, Trigger())


def test_portage_is_one_of_the_package_managers(site: Path) -> None:
    install_portage(site)
    plugins = Plugins()
    assert plugins.broken == []
    ((source, target),) = portage(plugins).glue
    assert target == HOOK
    assert Path(source).read_text() == (PORTAGE / "kexec_hook_portage/portage.install").read_text()
    assert not decided(plugins, TREE).declined


def test_its_file_calls_run_with_a_name_of_its_own_and_never_fails(
    site: Path, tmp_path: Path
) -> None:
    install_portage(site)
    manager = portage(Plugins())
    run = tmp_path / "run"
    script = Path(manager.glue[0][0]).read_text().replace("/usr/lib/kexec-hook/run", str(run))
    for text in (None, "#!/bin/sh\necho $*\nexit 3\n"):
        if text:
            run.write_text(text)
            run.chmod(0o755)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        said = f"{manager.sources[0]}\n" if text else ""
        assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


def test_hooks_install_puts_its_file_in_place(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_portage(site)
    box = Box(tmp_path)
    box.write("var/db/pkg/sys-kernel/.keep", "")
    box.write("etc/kernel/install.d/.keep", "")
    assert box.run("hooks", "install") == 0
    assert f"installed {HOOK}\n" in capsys.readouterr().out
    text = (box / HOOK).read_text()
    assert text.startswith((PORTAGE / "kexec_hook_portage/portage.install").read_text())
    assert text.splitlines()[-1].startswith("# Put here by `kexec-hook hooks install`")
    assert os.access(box / HOOK, os.X_OK)
    assert not (box / "etc/apt").exists()  # it has no dpkg
    assert box.run("hooks", "list", "portage") == 0
    assert capsys.readouterr().out.split() == ["installed", "portage", HOOK]
    assert box.run("hooks", "remove") == 0
    assert not (box / HOOK).exists()


def test_without_its_database_portage_is_not_used_here(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_portage(site)
    box = Box(tmp_path)
    assert box.run("hooks", "install") == 0
    assert not (box / HOOK).exists()
    capsys.readouterr()
    assert box.run("hooks", "list", "portage") == 0
    assert capsys.readouterr().out.split() == ["unused", "portage", HOOK]


def test_plugin_of_the_same_name_takes_the_place_of_one_that_comes_along(site: Path) -> None:
    install_portage(site, **{'name="portage"': 'name="zypper"'})
    managers = Plugins().package_managers()
    assert sorted(manager.name for manager in managers) == ["apt", "dnf", "pacman", "zypper"]
    assert [m.sources for m in managers if m.name == "zypper"] == [("portage",)]


def test_example_for_another_api_is_refused_by_name(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_portage(site, **{">=1.0,<2": ">=2"})
    (reason,) = [objection.reason for objection in decided(Plugins(), TREE).objections]
    assert reason == "plugin portage was written for API >=2, this is 1.0"


def test_small_plugin_objects_while_its_file_is_there(site: Path, tree: Tree) -> None:
    install_module(site, "no_kexec")
    tree.grubcfg("menuentry 'a' {\n linux /boot/k\n}\n")
    found = decided(Plugins(), tree.root)
    assert "no-kexec" not in [objection.by for objection in found.objections]
    assert found.sysroot.reads["/etc/no-kexec"] is None  # that it comes is noticed
    tree.write("etc/no-kexec")
    found = decided(Plugins(), tree.root)
    assert ("no-kexec", "/etc/no-kexec is there", "no-kexec", "rm /etc/no-kexec") in [
        (item.by, item.reason, item.code, item.fix) for item in found.objections
    ]


def test_small_plugin_mails_what_did_not_come_up(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_module(site, "mail_failures")
    mail = tmp_path / "bin/mail"
    mail.parent.mkdir()
    mail.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} >> {tmp_path}/mailed\n')
    mail.chmod(0o755)
    monkeypatch.setenv("PATH", f"{mail.parent}:{os.environ['PATH']}")
    plugins = Plugins()
    attempt = Attempt("6.1.0-39-amd64", "/boot/vmlinuz", "a boot", 1.0)
    plugins.judged(attempt, came_up=True)
    assert not (tmp_path / "mailed").exists()
    plugins.judged(attempt, came_up=False)
    assert plugins.complaints == []
    assert (tmp_path / "mailed").read_text() == (
        "-s kexec failed root\n"
        "The kexec into 6.1.0-39-amd64 did not come up; the firmware booted instead.\n"
    )
