"""hooks list, install, remove: what is written where, whose it is, and that removal undoes exactly that."""

from __future__ import annotations

import os
import py_compile
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kexec_hook import install as glue
from kexec_hook.cli import main
from kexec_hook.install import PACKAGED, Glue, InstallError, Program
from kexec_hook.plugins.api import PackageManager
from kexec_hook.plugins.asking import Plugins
from kexec_hook.system.sysroot import Sysroot
from tests.machine import Box
from tests.tree import Tree

PROJECT = Path(__file__).resolve().parents[1]
RUN = "/usr/lib/kexec-hook/run"
APT = "/etc/apt/apt.conf.d/80kexec-hook"
UNIT = "/etc/systemd/system/kexec-hook.service"
DEBIAN = (
    "/etc/kexec-hook.conf",
    RUN,
    "/usr/lib/kexec-hook/boot",
    "/usr/lib/kexec-hook/gap",
    "/usr/lib/kexec-hook/watchdog",
    APT,
    "/etc/kernel/postinst.d/zzz-kexec-hook",
    "/etc/kernel/postrm.d/zzz-kexec-hook",
    "/etc/initramfs/post-update.d/zzz-kexec-hook",
    "/etc/systemd/system/kexec-hook-always.service",
    "/etc/systemd/system/kexec-hook-cancelled.service",
    "/etc/systemd/system/kexec-hook-judge.service",
    UNIT,
    "/etc/systemd/system/kexec.target.d/50-kexec-hook.conf",
    "/etc/systemd/system/systemd-kexec.service.d/50-kexec-hook.conf",
    "/etc/systemd/system/systemd-reboot.service.d/50-kexec-hook.conf",
)
PROGRAM = Program("/opt/kexec-hook/bin/python3", "/opt/kexec-hook/bin/kexec-hook")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Debian 12 without /etc/initramfs, and with systemd."""
    box = Box(tmp_path)
    for path in (
        "var/lib/dpkg/status",
        "etc/apt/apt.conf.d/01autoremove",
        "etc/kernel/postinst.d/initramfs-tools",
    ):
        box.write(path, "")
    (box / "etc/kernel/postrm.d").mkdir()
    (box / "etc/systemd/system").mkdir(parents=True)
    box.write("run/systemd/system/.keep", "")
    return box


def picture(box: Box) -> dict[str, tuple[int, bytes]]:
    """Everything below the root, with modes and contents; without our own state."""
    found = {}
    for path in sorted(box.root.rglob("*")):
        name = str(path.relative_to(box.root))
        if not name.startswith("run/kexec-hook"):
            info = path.lstat()
            found[name] = (info.st_mode, path.read_bytes() if stat.S_ISREG(info.st_mode) else b"")
    return found


def listed(box: Box, capsys: pytest.CaptureFixture[str], *names: str) -> dict[str, str]:
    capsys.readouterr()
    assert box.run("hooks", "list", *names) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {path: state for state, _, path in rows}


def test_install_puts_everything_in_place(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    before = listed(box, capsys)
    assert {path: before[path] for path in DEBIAN} == dict.fromkeys(DEBIAN, "missing")
    assert box.run("hooks", "install") == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"installed {path}" for path in DEBIAN),
        "From the next upgrade on, kernels are staged; `kexec-hook stage` does it now.",
    ]
    after = listed(box, capsys)
    assert {path: after[path] for path in DEBIAN} == dict.fromkeys(DEBIAN, "installed")
    executable = {path for path in DEBIAN if (box / path).stat().st_mode & 0o7777 == 0o755}
    assert executable == {
        RUN,
        "/usr/lib/kexec-hook/boot",
        "/usr/lib/kexec-hook/gap",
        "/usr/lib/kexec-hook/watchdog",
        *(path for path in DEBIAN if "zzz" in path),
    }
    assert all((box / path).stat().st_mode & 0o7777 == 0o644 for path in set(DEBIAN) - executable)


def test_units_are_enabled_and_the_one_for_shutdown_started(box: Box) -> None:
    box.run("hooks", "install")
    assert [line.strip() for line in box.asked] == [
        "daemon-reload",
        "enable --now kexec-hook.service kexec-hook-always.service",
        "enable kexec-hook-judge.service kexec-hook-cancelled.service",
    ]


def test_files_call_the_program_that_installed_them(box: Box) -> None:
    box.run("hooks", "install")
    for path in (RUN, UNIT, "/usr/lib/kexec-hook/boot"):
        text = (box / path).read_text()
        assert PACKAGED not in text
        assert f"{sys.executable} -IXutf8 {Path(sys.executable).parent}/kexec-hook" in text


def test_install_again_changes_nothing(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.run("hooks", "install")
    before = {path: (box / path).stat().st_ino for path in DEBIAN}
    capsys.readouterr()
    assert box.run("hooks", "install") == 0
    assert capsys.readouterr().out == "Everything is there already.\n"
    assert {path: (box / path).stat().st_ino for path in DEBIAN} == before


def test_remove_undoes_exactly_what_install_did(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    before = picture(box)
    box.run("hooks", "install")
    assert picture(box) != before
    (box / "etc/initramfs").stat()
    capsys.readouterr()
    assert box.run("hooks", "remove") == 0
    assert picture(box) == before
    assert [line.strip() for line in box.asked[-2:]] == [
        "disable --now kexec-hook.service kexec-hook-always.service "
        "kexec-hook-judge.service kexec-hook-cancelled.service",
        "daemon-reload",
    ]
    assert box.run("hooks", "remove") == 0
    assert capsys.readouterr().out.endswith(
        "There is nothing that `kexec-hook hooks install` has put here.\n"
    )


def test_directory_that_others_use_by_now_is_left(box: Box) -> None:
    box.run("hooks", "install")
    box.write("etc/initramfs/post-update.d/other", "")
    assert box.run("hooks", "remove") == 0
    assert os.listdir(box / "etc/initramfs/post-update.d") == ["other"]


def test_remove_unloads_what_is_staged(box: Box) -> None:
    box.run("hooks", "install")
    box.run("stage")
    assert box.loaded
    assert box.run("hooks", "remove") == 0
    assert not box.loaded
    assert box.record is None


def test_what_cannot_be_unloaded_keeps_its_hooks(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.run("hooks", "install")
    box.run("stage")
    (box.lib / "stays").touch()
    capsys.readouterr()
    assert box.run("hooks", "remove") == 1
    assert "what is staged cannot be unloaded" in capsys.readouterr().err
    assert all((box / path).exists() for path in DEBIAN)


def test_image_of_the_administrator_stays_loaded(box: Box) -> None:
    box.run("hooks", "install")
    box.write("sys/kernel/kexec_loaded", "1\n")
    assert box.run("hooks", "remove") == 0
    assert box.loaded


def test_foreign_file_is_not_overwritten_and_nothing_else_is_installed(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write(RUN, "#!/bin/sh\nexit 0\n")
    (box / UNIT).symlink_to("/dev/null")
    before = picture(box)
    assert listed(box, capsys)[RUN] == "foreign"
    assert box.run("hooks", "install") == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"kexec-hook: {RUN} exists, and `kexec-hook hooks install` did not write it",
        f"kexec-hook: {UNIT} exists, and `kexec-hook hooks install` did not write it",
        "kexec-hook: nothing was installed; remove the package or the file that is in the way first",
    ]
    assert box.run("hooks", "remove") == 0
    assert picture(box) == before


def test_file_of_another_version_is_replaced(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.run("hooks", "install")
    path = box / "etc/initramfs/post-update.d/zzz-kexec-hook"
    now = path.read_text()
    path.write_text(now.replace("exit 0\n#", "true\n#"))
    assert listed(box, capsys)["/etc/initramfs/post-update.d/zzz-kexec-hook"] == "outdated"
    assert box.run("hooks", "install") == 0
    assert path.read_text() == now
    box.run("hooks", "remove")
    assert not (box / "etc/initramfs").exists()  # it has not forgotten that it was made


def test_settings_that_were_changed_are_kept(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("etc/kexec-hook.conf", "[kexec-hook]\nload = no\n")
    assert box.run("hooks", "install") == 0
    capsys.readouterr()
    assert box.run("hooks", "remove") == 0
    assert "left /etc/kexec-hook.conf, which was changed\n" in capsys.readouterr().out
    assert (box / "etc/kexec-hook.conf").read_text() == "[kexec-hook]\nload = no\n"


def test_one_name_is_one_package_manager(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    before = picture(box)
    assert box.run("hooks", "install", "apt") == 0
    assert set(listed(box, capsys, "systemd").values()) == {"missing"}
    assert set(listed(box, capsys, "apt").values()) == {"installed"}
    assert (box / RUN).exists()
    assert box.asked == []
    assert box.run("hooks", "install") == 0
    assert box.run("hooks", "remove", "apt") == 0
    assert (box / RUN).exists()
    assert not (box / APT).exists()
    assert box.run("hooks", "remove", "systemd") == 0
    assert picture(box) == before  # nobody was left who would have called /usr/lib/kexec-hook/run


def test_unknown_name_is_wrong_usage(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.run("hooks", "install", "portage") == 2
    assert (
        "there are no hooks for portage, only for systemd, apt, dnf, pacman, zypper"
        in capsys.readouterr().err
    )


def test_glue_of_dnf_goes_beside_each_dnf(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "var/lib/dpkg/status").unlink()
    box.write("var/lib/rpm/rpmdb.sqlite", "")
    box.write("usr/bin/dnf", "")
    box.write("usr/lib/python3.9/site-packages/dnf/__init__.py", "")
    box.write("usr/lib/python3.12/site-packages/pip/__init__.py", "")
    box.write("usr/lib/python2.7/site-packages/dnf/__init__.py", "")
    before = picture(box)
    plugin = "/usr/lib/python3.9/site-packages/dnf-plugins/kexec_hook.py"
    assert listed(box, capsys)[APT] == "unused"
    assert box.run("hooks", "install") == 0
    assert listed(box, capsys, "dnf") == {
        plugin: "installed",
        "/etc/dnf/plugins/kexec-hook.conf": "installed",
        "/etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions": "installed",
        "/etc/kernel/install.d/99-kexec-hook.install": "installed",
    }
    assert not (box / APT).exists()
    py_compile.compile(str(box / plugin), doraise=True)  # as dnf does, when it loads it
    assert box.run("hooks", "remove") == 0
    assert picture(box) == before


@pytest.mark.parametrize(
    ("name", "root", "path", "mode"),
    [
        (
            "zypper",
            ("usr/lib/sysimage/rpm/Packages.db", "usr/bin/zypper"),
            "/usr/lib/zypp/plugins/commit/kexec-hook",
            0o755,
        ),
        (
            "pacman",
            ("var/lib/pacman/local/ALPM_DB_VERSION", "usr/bin/pacman"),
            "/usr/share/libalpm/hooks/zzz-kexec-hook.hook",
            0o644,
        ),
    ],
)
def test_zypper_and_pacman_are_served_like_apt_and_dnf(
    box: Box,
    capsys: pytest.CaptureFixture[str],
    name: str,
    root: tuple[str, str],
    path: str,
    mode: int,
) -> None:
    (box / "var/lib/dpkg/status").unlink()
    assert listed(box, capsys, name) == {path: "unused"}
    for file in root:
        box.write(file, "")
    before = picture(box)
    assert listed(box, capsys, name) == {path: "missing"}
    assert box.run("hooks", "install") == 0
    assert listed(box, capsys, name) == {path: "installed"}
    assert (box / path).stat().st_mode & 0o7777 == mode
    assert not (box / APT).exists()
    assert not (box / "etc/dnf").exists()
    assert box.run("hooks", "remove") == 0
    assert picture(box) == before
    assert box.run("hooks", "install", name) == 0
    assert f"removed {path}\n" in left_behind(box, "sh", "--remove-hooks")
    assert not (box / path).exists()


def test_rpm_without_dnf_has_no_use_for_the_files_of_dnf(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    (box / "var/lib/dpkg/status").unlink()
    box.write("usr/lib/sysimage/rpm/rpmdb.sqlite", "")
    assert set(listed(box, capsys, "dnf").values()) == {"unused"}
    assert box.run("hooks", "install") == 0
    assert not (box / "etc/dnf").exists()
    assert (
        "kexec-hook: there is no package manager here that calls kexec-hook after an upgrade\n"
        in capsys.readouterr().err
    )


def test_no_systemd_is_told_where_none_runs(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(box / "run/systemd")
    assert box.run("hooks", "install") == 0
    assert box.asked == []
    printed = capsys.readouterr()
    assert printed.err == (
        "kexec-hook: systemd does not run here, and only its units can approve a kexec\n"
    )
    assert printed.out.endswith(
        "The hooks are installed, but no kernel is staged until that is mended.\n"
    )


def test_programs_that_are_missing_are_named(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box.bin / "kexec").unlink()
    (box.bin / "grub-editenv").unlink(missing_ok=True)
    assert box.run("hooks", "install") == 0
    assert capsys.readouterr().err == (
        "kexec-hook: the program kexec is not installed\n"
        "  fix: apt-get install kexec-tools\n"
        "kexec-hook: the program grub-editenv is not installed\n"
        "  fix: apt-get install grub-common\n"
    )


def left_behind(box: Box, shell: str, *words: str) -> str:
    """What hooks/run says once its program is gone, in a directory that stands for the machine."""
    text = (box / RUN).read_text()
    for path in {sys.executable, f"{Path(sys.executable).parent}/kexec-hook"}:
        text = text.replace(path, f"{box.root}/gone{path}")
    text = text.replace('"/etc/apt', f'"{box.root}/etc/apt').replace(" /", f" {box.root}/")
    text = text.replace(f"{box.root}/dev/null", "/dev/null")
    for path in (
        "/etc/kexec-hook.conf",
        "/run/kexec-hook",
        "/proc/cmdline",
        "/proc/1",
        "/sys/kernel/kexec_loaded",
    ):
        text = text.replace(f"={path}", f"={box.root}{path}")
    text = text.replace("\nPATH=", f"\nPATH={box.bin}:")
    script = box / "run-by-us"
    script.write_text(text)
    done = subprocess.run(
        [shell, str(script), *words], capture_output=True, text=True, env={}, check=True
    )
    assert done.stderr == ""
    return done.stdout.replace(str(box.root), "")


@pytest.mark.parametrize("shell", [name for name in ("dash", "bash") if shutil.which(name)])
def test_hooks_whose_program_is_gone_say_how_to_remove_them(box: Box, shell: str) -> None:
    before = picture(box)
    box.run("hooks", "install")
    assert left_behind(box, shell, "apt") == (
        "kexec-hook: it was uninstalled, but its hooks remain; "
        "remove them: sh /usr/lib/kexec-hook/run --remove-hooks\n"
    )
    said = left_behind(box, shell, "--remove-hooks")
    assert set(said.splitlines()) == {f"removed {path}" for path in DEBIAN[1:]}
    (box / "run-by-us").unlink()
    # settings stay, as with `apt remove`; so does a directory above another that was empty
    left = {path for path in picture(box) if path not in before}
    assert left <= {"etc/kexec-hook.conf", "etc/initramfs"}
    assert any("disable --now kexec-hook.service" in line for line in box.asked)


@pytest.mark.parametrize("settings", ["", "load = no\n"])
def test_package_takes_over_without_a_question(box: Box, settings: str) -> None:
    before = picture(box)
    box.run("hooks", "install")
    conf = box / "etc/kexec-hook.conf"
    conf.write_text(settings + conf.read_text())
    left_behind(box, "sh", "--hand-over")
    (box / "run-by-us").unlink()
    left = {path for path in picture(box) if path not in before} - {"etc/initramfs"}
    local = {"etc/kexec-hook.conf.d", "etc/kexec-hook.conf.d/local.conf"}
    assert left == (local if settings else set())


@pytest.mark.parametrize("word", ["--remove-hooks", "--hand-over"])
def test_hooks_that_are_taken_away_decide_nothing_where_systemd_refuses(
    box: Box, word: str
) -> None:
    box.run("hooks", "install")
    box.programs("systemctl", "#!/bin/sh\nexit 1\n")
    said = left_behind(box, "sh", word)
    assert [line for line in said.splitlines() if not line.startswith("removed ")] == []


def test_systemd_that_refuses_is_a_failure(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.programs("systemctl", "#!/bin/sh\necho no such bus >&2\nexit 4\n")
    assert box.run("hooks", "install") == 1
    assert "`systemctl daemon-reload` failed with status 4: no such bus" in capsys.readouterr().err


def test_another_root_can_only_be_looked_at(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tree), "hooks", "list"]) == 0
    for action in ("install", "remove"):
        assert main(["--root", str(tree), "hooks", action]) == 2
        assert capsys.readouterr().err == "kexec-hook: with --root, hooks can only be listed\n"
    assert os.listdir(tree) == []


def everything(tree: Tree, program: Program = PROGRAM) -> list[Glue]:
    return glue.files(Sysroot(tree), program, Plugins(installed=False).package_managers())


def test_what_a_package_has_put_there_is_not_ours(tree: Tree) -> None:
    packaged = Program("/usr/bin/python3", PACKAGED)
    theirs = {item.text for item in everything(tree, packaged)}
    for item in everything(tree, packaged):
        vendor = item.path.replace("/etc/systemd/", "/usr/lib/systemd/")
        tree.write(vendor, item.text)
        assert glue.look(Sysroot(tree), item) == ("installed", vendor, False, "")
    for item in everything(tree):
        expected = "installed" if item.text in theirs else "foreign"
        assert glue.look(Sysroot(tree), item).state == expected, item.path


@pytest.mark.parametrize("item", everything(Tree(PROJECT)), ids=lambda item: item.path)
def test_each_file_says_whose_it_is_in_its_own_comments(item: Glue, tmp_path: Path) -> None:
    assert PACKAGED not in item.marked().replace(f"[ -x {PACKAGED} ]", "")
    path = tmp_path / Path(item.path).name
    path.write_text(item.marked("/etc/made"))
    assert glue.MARK in item.marked()
    if item.text.startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n", str(path)], check=True)
    elif path.suffix == ".py":
        py_compile.compile(str(path), doraise=True)
    elif item.text.startswith("#!/bin/bash") and shutil.which("bash"):
        subprocess.run(["bash", "-n", str(path)], check=True)
    elif "apt.conf.d" in item.path and shutil.which("apt-config"):
        dump = subprocess.run(
            ["apt-config", "-c", str(path), "dump"], capture_output=True, text=True, check=True
        )
        assert RUN in dump.stdout


def test_shutdown_unit_stops_before_the_file_system_of_its_program(tree: Tree) -> None:
    (unit,) = [item for item in everything(tree) if item.path == UNIT]
    (line,) = [line for line in unit.text.splitlines() if line.startswith("RequiresMountsFor=")]
    assert line.split("=")[1].split() == [
        "/opt/kexec-hook/bin",
        "/boot",
        "/var/lib/kexec-hook",
        "/usr",
    ]


def test_file_that_a_plugin_does_not_have_is_named(tree: Tree) -> None:
    manager = PackageManager("brew", ("brew",), (("/no/such/file", "/etc/brew"),))
    with pytest.raises(InstallError, match=r"^/no/such/file cannot be read: "):
        glue.files(Sysroot(tree), PROGRAM, [manager])


def test_program_is_found_by_its_name_or_beside_its_python(tmp_path: Path) -> None:
    for name in ("python3", "kexec-hook"):
        (tmp_path / name).touch()
    found = Program(f"{tmp_path}/python3", f"{tmp_path}/kexec-hook")
    assert glue.this_program(f"{tmp_path}/kexec-hook", found.python) == found
    assert glue.this_program(f"{tmp_path}/kexec_hook/__main__.py", found.python) == found


def test_path_that_would_need_quotes_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "my programs"
    directory.mkdir()
    for name in ("python3", "kexec-hook"):
        (directory / name).touch()
    with pytest.raises(InstallError, match="would have to be quoted in scripts and units"):
        glue.this_program(f"{directory}/kexec-hook", f"{directory}/python3")


def test_program_that_others_could_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = Program(f"{tmp_path}/bin/python3", f"{tmp_path}/bin/kexec-hook")
    for path in program:
        Path(path).touch(0o755)
    if glue.strangers(Program("/", "/"), os.geteuid()):
        pytest.skip("the checkout itself can be written by others")
    assert glue.strangers(program, os.geteuid()) == ""
    (tmp_path / "bin").chmod(0o777)
    assert (
        glue.strangers(program, os.geteuid())
        == f"{tmp_path}/bin can be written by others than root"
    )
    if os.geteuid() == 0:
        (tmp_path / "bin").chmod(0o755)
        os.chown(program.script, 1, 1)
        assert glue.strangers(program) == f"{program.script} does not belong to root"
