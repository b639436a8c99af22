"""The rpm packages of packaging/rpm: what is in them, what their scriptlets do, and what rpmlint says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from kexec_hook import __version__
from tests.packages import chroot as chroots
from tests.packages import rpm_lab
from tests.packages.chroot import ROOT, Chroot, unpack

SPEC = ROOT / "packaging/rpm/kexec-hook.spec"


def test_spec_and_python_package_have_one_version() -> None:
    spec = SPEC.read_text(encoding="utf-8")
    assert re.findall(r"^Version: *(\S+)$", spec, re.MULTILINE) == [__version__]
    newest = re.search(r"%changelog\n\* .* - (\S+)-\d+\n", spec)
    assert newest
    assert newest[1] == __version__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chroot, dict[str, str]]]:
    """A chroot, and where in it each package is."""
    why = chroots.missing()
    if why:
        pytest.skip(why)
    chroot = unpack(chroots.tarball(rpm_lab.BUILDER), tmp_path_factory.mktemp("roots") / "builder")
    paths = [f"/{path.relative_to(chroot.root)}" for path in rpm_lab.build_kexec_hook(chroot)]
    names = chroot.run("rpm", "-qp", "--qf", "%{NAME}\n", *paths).check().output.split()
    chroot.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    yield chroot, dict(zip(names, paths))
    chroot.remove()


def query(built: tuple[Chroot, dict[str, str]], name: str, *words: str) -> list[str]:
    chroot, paths = built
    return chroot.run("rpm", "-qp", *words, paths[name]).check().output.splitlines()


@pytest.mark.packages
def test_zypper_and_each_dnf_have_a_package_with_their_files(
    built: tuple[Chroot, dict[str, str]],
) -> None:
    more = {"kexec-hook-dnf5", "kexec-hook-zypper", "python3-dnf-plugin-kexec-hook"}
    assert set(built[1]) == {"kexec-hook", *more}
    assert "-rwxr-xr-x /usr/lib/zypp/plugins/commit/kexec-hook" in query(
        built, "kexec-hook-zypper", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]"
    )
    assert query(built, "kexec-hook-dnf5", "-l") == [
        "/etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions"
    ]
    assert query(built, "python3-dnf-plugin-kexec-hook", "-l") == [
        "/etc/dnf/plugins/kexec-hook.conf",
        "/usr/lib/python3.11/site-packages/dnf-plugins/__pycache__/kexec_hook.cpython-311.pyc",
        "/usr/lib/python3.11/site-packages/dnf-plugins/kexec_hook.py",
    ]


@pytest.mark.packages
def test_settings_and_glue_that_were_changed_are_kept(built: tuple[Chroot, dict[str, str]]) -> None:
    """%config(noreplace) is written cn; rpm knows nothing of /etc beside these."""
    for name in built[1]:
        for line in query(
            built, name, "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEMODES:perms}\n]"
        ):
            path, flags, mode = line.rsplit(" ", 2) if line.count(" ") > 1 else ("", "", "")
            if path.startswith("/etc/") and not mode.startswith("d"):
                assert (path, flags) == (path, "cn")


@pytest.mark.packages
def test_the_package_needs_what_is_run_and_imported(built: tuple[Chroot, dict[str, str]]) -> None:
    required = set(query(built, "kexec-hook", "--requires"))
    wanted = {"kexec-tools", "grub2-tools-minimal", "python(abi) = 3.11"}
    assert wanted | {"python3.11dist(packaging) >= 21", "python3.11dist(pluggy) >= 1"} <= required
    assert "/bin/bash" not in required
    release = query(built, "kexec-hook", "--qf", "%{VERSION}-%{RELEASE}")[0]
    for name, manager in (
        ("kexec-hook-dnf5", "dnf5"),
        ("kexec-hook-zypper", "zypper"),
        ("python3-dnf-plugin-kexec-hook", "python3-dnf"),
    ):
        assert {f"kexec-hook = {release}", manager} <= set(query(built, name, "--requires"))
        # Who has this dnf gets this glue.
        assert query(built, name, "--supplements") == [f"(kexec-hook and {manager})"]


@pytest.mark.packages
def test_manual_pages_completions_and_units_are_there(built: tuple[Chroot, dict[str, str]]) -> None:
    files = set(query(built, "kexec-hook", "-l"))
    assert {
        "/usr/share/man/man5/kexec-hook.conf.5.gz",
        "/usr/share/man/man7/kexec-hook-plugins.7.gz",
        "/usr/share/man/man8/kexec-hook.8.gz",
        "/usr/share/bash-completion/completions/kexec-hook",
        "/usr/share/zsh/site-functions/_kexec-hook",
        "/usr/share/fish/vendor_completions.d/kexec-hook.fish",
    } <= files
    for path in (ROOT / "systemd").rglob("*"):
        if path.is_file():
            assert f"/usr/lib/systemd/system/{path.relative_to(ROOT / 'systemd')}" in files


@pytest.mark.packages
def test_what_is_enabled_is_the_distributions_to_say(built: tuple[Chroot, dict[str, str]]) -> None:
    """systemd.preset(5): no package brings presets; and no scriptlet starts what nobody has enabled."""
    assert not [path for path in query(built, "kexec-hook", "-l") if "preset" in path]
    scripts = "\n".join(query(built, "kexec-hook", "--scripts"))
    assert not re.search(r"systemctl.* (start|enable)\b", scripts)
    chroot, paths = built
    install(chroot, *paths.values())
    unit = (chroot / "usr/lib/systemd/system/kexec-hook.service").read_text()
    also = next(line for line in unit.splitlines() if line.startswith("Also="))
    others = {path.name for path in (ROOT / "systemd").glob("*.service")} - {"kexec-hook.service"}
    assert set(also.removeprefix("Also=").split()) == others


@pytest.mark.packages
def test_rpmlint_says_nothing_that_is_not_named(built: tuple[Chroot, dict[str, str]]) -> None:
    chroot, paths = built
    chroot.write(
        "build/kexec-hook.rpmlintrc", (ROOT / "packaging/rpm/kexec-hook.rpmlintrc").read_text()
    )
    done = chroot.run(
        "rpmlint", "-r", "/build/kexec-hook.rpmlintrc", "/build/kexec-hook.spec", *paths.values()
    )
    assert re.findall(r"^.*: [EW]: .*$", done.output, re.MULTILINE) == []
    assert "4 packages and 1 specfiles checked; 0 errors, 0 warnings" in done.output


@pytest.mark.packages
def test_its_tests_pass_where_it_is_built(built: tuple[Chroot, dict[str, str]]) -> None:
    """%check, as in Fedora's builders: without network, rights over the kernel, and what is beside the package."""
    remove(built[0])  # %install would find it there
    rpm_lab.build_kexec_hook(
        built[0], "--with", "tests", "--define", "check_only tests/grub tests/settings/test_conf.py"
    )


@pytest.mark.packages
def test_what_was_built_runs_without_the_users_python(built: tuple[Chroot, dict[str, str]]) -> None:
    chroot, paths = built
    install(chroot, *paths.values())
    first = (chroot / "usr/bin/kexec-hook").read_text().partition("\n")[0]
    assert first == "#!/usr/bin/python3 -IXutf8"
    chroot.write(
        "tmp/here/kexec_hook/__init__.py", "raise SystemExit('of the current directory')\n"
    )
    env = {"PYTHONPATH": "/tmp/here", "PYTHONSTARTUP": "/tmp/here/kexec_hook/__init__.py"}
    done = chroot.sh("cd /tmp/here && kexec-hook --version", env=env).check()
    assert done.output == f"kexec-hook {__version__}\n"


@pytest.mark.packages
def test_removal_unloads_and_leaves_nothing_but_what_was_changed(
    built: tuple[Chroot, dict[str, str]],
) -> None:
    chroot, paths = built
    install(chroot, *paths.values())
    owned = chroot.run("rpm", "-ql", *paths).check().output.split()
    conf = chroot / "etc/kexec-hook.conf"
    conf.write_text(conf.read_text() + "load = no\n")
    chroot.write("var/lib/kexec-hook/attempt.json", "{}")
    chroot.write("run/kexec-hook/stamp", "")
    # Stands for the program, which the removal asks to unload what it staged.
    chroot.write("usr/bin/kexec-hook", '#!/bin/sh\necho "$@" >> /var/log/called\n', 0o755)
    done = chroot.run("rpm", "--force-debian", "-e", *paths).check()
    assert (chroot / "var/log/called").read_text() == "unstage\n"
    left = [
        path
        for path in owned
        if (chroot / path).exists() and re.search("kexec.hook|coldreboot", path)
    ]
    assert left == []
    assert not (chroot / "run/kexec-hook").exists()
    assert not (chroot / "var/lib/kexec-hook").exists()
    assert (chroot / "etc/kexec-hook.conf.rpmsave").read_text().endswith("load = no\n")
    assert "warning: /etc/kexec-hook.conf saved as /etc/kexec-hook.conf.rpmsave" in done.output


@pytest.mark.packages
def test_an_upgrade_keeps_the_administrators_settings_and_unloads_nothing(
    built: tuple[Chroot, dict[str, str]],
) -> None:
    chroot, paths = built
    install(chroot, *paths.values())
    conf = chroot / "etc/kexec-hook.conf"
    changed = conf.read_text() + "load = no\n"
    conf.write_text(changed)
    (chroot / "var/log/called").unlink(missing_ok=True)
    chroot.write("usr/bin/kexec-hook", '#!/bin/sh\necho "$@" >> /var/log/called\n', 0o755)
    install(chroot, "--replacepkgs", "-U", *paths.values())
    assert conf.read_text() == changed
    assert (chroot / "var/lib/kexec-hook").is_dir()
    assert not (chroot / "var/log/called").exists()


def remove(chroot: Chroot) -> None:
    if chroot.run("rpm", "-q", "kexec-hook").status == 0:
        chroot.run("rpm", "--force-debian", "-e", "--noscripts", *rpm_names(chroot)).check()


def install(chroot: Chroot, *words: str) -> None:
    mode = [] if "-U" in words else ["-i"]
    if mode:
        remove(chroot)
    (chroot / "etc/kexec-hook.conf.rpmsave").unlink(missing_ok=True)
    chroot.write(
        "usr/lib/python3/dist-packages/rpm-packages.pth", "/usr/lib/python3.11/site-packages\n"
    )
    chroot.run("rpm", "--force-debian", "--nodeps", *mode, *words).check()


def rpm_names(chroot: Chroot) -> list[str]:
    return chroot.run("rpm", "-qa", "*kexec-hook*", "--qf", "%{NAME}\n").check().output.split()
