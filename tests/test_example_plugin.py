"""The plugins that docs/plugins.md shows, as somebody would type them off it: installed with an entry point."""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
from tests.machine import Box
from tests.tree import Tree

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/plugins.md"
TREE = Path(__file__).resolve().parent / "roots/debian-12/tree"
HOOK = "/usr/share/libalpm/hooks/zz-kexec-hook.hook"


def shown_files() -> dict[str, str]:
    """Each file that the document shows, under its name."""
    found = re.findall(
        r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    return dict(found)


def shown_plugin(words: str) -> str:
    """The code block that begins with these words."""
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    (block,) = [block for block in blocks if block.startswith(f'"""{words}')]
    return block


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that packages are installed in."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(site: Path, files: dict[str, str], name: str, module: str) -> None:
    for path, text in files.items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text(text)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kexec_hook]\n{name} = {module}\n")


def install_pacman(site: Path, **replaced: str) -> None:
    """As its pyproject.toml says."""
    files = shown_files()
    project = files.pop("pyproject.toml")
    (point,) = re.findall(
        r"^\[project\.entry-points\.kexec_hook\]\n(\w+) = \"(\w+)\"$", project, re.MULTILINE
    )
    assert set(files) == {"kexec_hook_pacman/__init__.py", "kexec_hook_pacman/zz-kexec-hook.hook"}
    for old, new in replaced.items():
        files = {name: text.replace(old, new) for name, text in files.items()}
    install(site, files, *point)


def decided(plugins: Plugins, root: Path) -> Decision:
    host = Host(str(root))
    sysroot = host.sysroot()
    return decide(host, sysroot, load_settings(sysroot), plugins, Trigger())


def test_pacman_is_one_of_the_package_managers(site: Path) -> None:
    install_pacman(site)
    plugins = Plugins()
    assert plugins.broken == []
    (pacman,) = [manager for manager in plugins.package_managers() if manager.name == "pacman"]
    ((source, target),) = pacman.glue
    assert target == HOOK
    assert Path(source).read_text() == shown_files()["kexec_hook_pacman/zz-kexec-hook.hook"]
    assert not decided(plugins, TREE).declined


def test_hook_calls_run_with_a_name_of_its_own(site: Path) -> None:
    install_pacman(site)
    parser = configparser.ConfigParser(
        strict=False
    )  # pacman's Operation= and Target= may stand more than once
    parser.read_string(shown_files()["kexec_hook_pacman/zz-kexec-hook.hook"])
    (pacman,) = [manager for manager in Plugins().package_managers() if manager.name == "pacman"]
    assert parser["Action"]["Exec"].split() == ["/usr/lib/kexec-hook/run", *pacman.sources]
    assert parser["Action"]["When"] == "PostTransaction"


def test_hooks_install_puts_its_file_in_place(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_pacman(site)
    box = Box(tmp_path)
    box.write("var/lib/pacman/local/ALPM_DB_VERSION", "9\n")
    box.write("usr/share/libalpm/hooks/90-mkinitcpio-install.hook", "")
    assert box.run("hooks", "install") == 0
    assert f"installed {HOOK}\n" in capsys.readouterr().out
    text = (box / HOOK).read_text()
    assert text.startswith(shown_files()["kexec_hook_pacman/zz-kexec-hook.hook"])
    assert text.splitlines()[-1].startswith("# Put here by `kexec-hook hooks install`")
    assert not (box / "etc/apt").exists()  # it has no dpkg
    assert box.run("hooks", "list", "pacman") == 0
    assert capsys.readouterr().out.split() == ["installed", "pacman", HOOK]
    assert box.run("hooks", "remove") == 0
    assert not (box / HOOK).exists()


def test_without_its_database_pacman_is_not_used_here(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_pacman(site)
    box = Box(tmp_path)
    assert box.run("hooks", "install") == 0
    assert not (box / HOOK).exists()
    capsys.readouterr()
    assert box.run("hooks", "list", "pacman") == 0
    assert capsys.readouterr().out.split() == ["unused", "pacman", HOOK]


def test_example_for_another_api_is_refused_by_name(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_pacman(site, **{">=1.0,<2": ">=2"})
    (reason,) = [objection.reason for objection in decided(Plugins(), TREE).objections]
    assert reason == "plugin pacman was written for API >=2, this is 1.0"


def test_small_plugin_objects_while_its_file_is_there(site: Path, tree: Tree) -> None:
    install(site, {"no_kexec.py": shown_plugin("No kexec")}, "no-kexec", "no_kexec")
    tree.grubcfg("menuentry 'a' {\n linux /boot/k\n}\n")
    found = decided(Plugins(), tree.root)
    assert "no-kexec" not in [objection.by for objection in found.objections]
    assert found.sysroot.reads["/etc/no-kexec"] is None  # that it comes is noticed
    tree.write("etc/no-kexec")
    found = decided(Plugins(), tree.root)
    assert ("no-kexec", "/etc/no-kexec is there", "no-kexec", "rm /etc/no-kexec") in [
        (item.by, item.reason, item.code, item.fix) for item in found.objections
    ]
