"""Kernels come and go through real zypper; kexec-hook is asked once, when the commit is over, aborted or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.all import lab as labs
from tests.packages.all import zypper_lab
from tests.packages.all.lab import Call, assert_boots
from tests.packages.all.zypper_lab import NEW, NEWEST, OLDER, PLUGIN, Lab, kver
from tests.packages.chroot import Chroot
from tests.packages.rpm_lab import BUILDER

pytestmark = pytest.mark.packages
ASKED = "run --source=zypper"
CLASSIC, SINGLE = "classic_rpmtrans", "single_rpmtrans"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    builder = labs.root(BUILDER, tmp_path_factory.mktemp("builder"))
    rpms = zypper_lab.build_all(builder)
    chroot = labs.root(zypper_lab.RECIPE, tmp_path_factory.mktemp("furnished"))
    zypper_lab.furnish(chroot, rpms)
    builder.remove()
    labs.record(chroot / "usr/bin/kexec-hook")
    yield chroot
    chroot.remove()


@pytest.fixture(params=[CLASSIC, SINGLE])
def lab(request: pytest.FixtureRequest, furnished: Chroot, tmp_path: Path) -> Iterator[Lab]:
    """One rpm for each package, as on Leap 15, or one transaction for all, as on Tumbleweed."""
    copy = furnished.copy(tmp_path / "chroot")
    env = {"ZYPP_SINGLE_RPMTRANS": "1" if request.param == SINGLE else "0"}
    yield Lab(Chroot(copy.root, env, copy.layers), request.param)
    copy.remove()


@pytest.fixture
def one(furnished: Chroot, tmp_path: Path) -> Iterator[Lab]:
    """Where it makes no difference."""
    copy = furnished.copy(tmp_path / "chroot")
    yield Lab(Chroot(copy.root, {"ZYPP_SINGLE_RPMTRANS": "0"}, copy.layers), CLASSIC)
    copy.remove()


def assert_asked_at_the_end(lab: Lab, *releases: str) -> None:
    """Once, by zypper's plugin and not by rpm's triggers, and when GRUB's menu had these kernels."""
    assert lab.calls() == [Call(ASKED, tuple(map(kver, releases)))]


def test_a_kernel_is_installed_upgraded_and_removed(lab: Lab) -> None:
    done = lab.install(OLDER)
    assert lab.backend in done.output
    assert_asked_at_the_end(lab, OLDER)
    assert_boots(lab.chroot, kver(OLDER))
    lab.install(NEW)
    assert_asked_at_the_end(lab, NEW, OLDER)
    assert_boots(lab.chroot, kver(NEW))
    lab.zypper("update").check()
    assert_asked_at_the_end(lab, NEWEST, NEW, OLDER)
    assert_boots(lab.chroot, kver(NEWEST))
    lab.zypper("remove", f"kernel-default={NEWEST}").check()
    assert_asked_at_the_end(lab, NEW, OLDER)
    assert_boots(lab.chroot, kver(NEW))
    assert list((lab.chroot / "run").glob("kexec-hook.asks*")) == []


def test_a_commit_without_kernels_asks_as_well_and_its_user_is_not_told_of_nothing(
    lab: Lab,
) -> None:
    lab.zypper("install", "no-kernel").check()
    assert lab.asked() == [ASKED]


def test_who_sits_before_zypper_is_told_and_who_reads_its_output_is_not(one: Lab) -> None:
    line = "kexec-hook: noted run --source=zypper"
    done = one.zypper("--xmlout", "install", "no-kernel").check()
    assert line not in done.output
    assert line in (one.chroot / "var/log/zypper.log").read_text()
    command = "zypper --non-interactive remove no-kernel"
    done = one.chroot.run("script", "--quiet", "--return", "--command", command, "/dev/null")
    assert f"{line}\n" in done.check().output


def test_python_starts_once_where_kernels_change_and_never_where_they_do_not(one: Lab) -> None:
    real = "from kexec_hook.__main__ import run; run()"
    one.chroot.write("srv/real", f"#!/usr/bin/python3 -IXutf8\n{real}\n", 0o755)
    # As on a machine: in a chroot nothing is written, not even what spares the next call its Python.
    (one.chroot / "srv/kexec_loaded").write_text("0\n")
    one.install(NEW)
    assert_asked_at_the_end(one, NEW)
    time.sleep(2)  # the stamp says less of what was changed just before a decision
    one.zypper("install", "no-kernel").check()
    one.calls()
    one.zypper("remove", "no-kernel").check()
    assert one.calls() == []


def test_what_installs_nothing_here_asks_nothing(lab: Lab) -> None:
    lab.zypper("install", "--dry-run", "no-kernel").check()
    lab.zypper("install", "--download-only", "no-kernel").check()
    lab.zypper("search", "kernel").check()
    lab.chroot.sh("mkdir -p /srv/image/etc/zypp; cp -r /etc/zypp/repos.d /srv/image/etc/zypp")
    lab.zypper("--root", "/srv/image", "install", "no-kernel")
    assert "no-kernel" in lab.chroot.run("rpm", "--root=/srv/image", "-qa").output
    assert lab.calls() == []


@pytest.mark.parametrize("package", ["fails-before", "fails-after"])
def test_an_aborted_commit_asks_and_zypper_keeps_its_exit_status(lab: Lab, package: str) -> None:
    """A scriptlet that fails, and `abort` for an answer: the kernel before it is there all the same."""
    both = lab.zypper("install", f"kernel-default={OLDER}", package)
    assert lab.asked() == [ASKED]
    lab.zypper("remove", f"kernel-default={OLDER}", package)
    (lab.chroot / PLUGIN).unlink()
    alone = lab.zypper("install", f"kernel-default={OLDER}", package)
    assert both.status == alone.status


def test_a_killed_zypper_is_asked_after(lab: Lab) -> None:
    lab.chroot.sh(_KILLED, seconds=120).check()
    assert lab.asked() == [ASKED]


_KILLED = f"""
zypper --non-interactive install slow &
until [ -e /run/slow ]; do sleep 0.2; done
[ -e /run/kexec-hook.asks-$! ] || exit 9
kill -9 $!
until [ -s /{labs.CALLS} ] && ! [ -e /run/kexec-hook.asks-$! ]; do sleep 0.2; done
"""


@pytest.mark.parametrize(
    "run",
    ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nkill -9 $$\n", "#!/no/such/interpreter\n", "", None],
    ids=["fails", "is killed", "has no interpreter", "is no program", "is not there"],
)
def test_whatever_becomes_of_run_zypper_succeeds(one: Lab, run: str | None) -> None:
    if run is None:
        (one.chroot / "usr/lib/kexec-hook/run").unlink()
    else:
        one.chroot.write("usr/lib/kexec-hook/run", run, 0o755 if run else 0o644)
    assert one.zypper("install", "no-kernel").status == 0


def test_without_python_the_commit_ends_and_what_was_staged_is_unloaded(one: Lab) -> None:
    one.chroot.write("usr/bin/kexec-hook", "#!/no/such/python3\n", 0o755)
    (one.chroot / "usr/bin/python3").rename(one.chroot / "usr/bin/python3.gone")
    assert one.zypper("install", "no-kernel").status == 0
    assert "kexec-hook: cannot run (" in (one.chroot / "var/log/zypper.log").read_text()


def test_kexec_hooks_own_removal_is_asked_nothing_any_more(lab: Lab) -> None:
    done = lab.zypper("remove", "kexec-hook", "kexec-hook-zypper").check()
    assert lab.asked() == ["unstage"]  # of the package's %preun
    assert "fail" not in done.output.lower()
    for path in (PLUGIN, "usr/lib/kexec-hook", "run/kexec-hook"):
        assert not (lab.chroot / path).exists()
    assert list((lab.chroot / "run").glob("kexec-hook*")) == []
    lab.zypper("install", "no-kernel").check()
    assert lab.calls() == []


def test_a_plugin_that_was_left_behind_is_silent(one: Lab) -> None:
    """`hooks install` of a kexec-hook that was deleted by hand."""
    one.chroot.sh("rm -rf /usr/lib/kexec-hook /usr/bin/kexec-hook").check()
    done = one.zypper("install", "no-kernel").check()
    assert "kexec-hook" not in done.output
    assert "Bad plugin response" not in (one.chroot / "var/log/zypper.log").read_text()


def test_rpms_triggers_serve_every_other_caller(one: Lab) -> None:
    """rpm itself, and whoever calls librpm in a process of its own: PackageKit, microdnf."""
    package = f"/srv/rpms/kernel-default-{NEW}.x86_64.rpm"
    one.chroot.run("rpm", "-U", package).check()
    assert one.calls() == [Call("run --source=rpm", (kver(NEW),))]
    one.chroot.run("rpm", "-e", f"kernel-default-{NEW}").check()
    calls = one.calls()
    assert {call.words for call in calls} == {"run --source=rpm"}
    assert calls[-1].menu == ()
    one.chroot.run("python3", "-c", _LIBRPM, package).check()
    assert one.calls() == [Call("run --source=rpm", (kver(NEW),))]
    one.chroot.run("rpm", "-U", "/srv/rpms/no-kernel-1-1.noarch.rpm").check()
    assert one.calls() == []


_LIBRPM = """
import os, rpm, sys
ts = rpm.TransactionSet()
ts.setVSFlags(-1)
fds = []
def callback(what, amount, total, key, data):
    if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
        fds.append(os.open(key, os.O_RDONLY))
        return fds[-1]
with open(sys.argv[1], "rb") as file:
    ts.addInstall(ts.hdrFromFdno(file.fileno()), sys.argv[1], "u")
assert not ts.run(callback, None)
"""


def test_zypper_without_its_plugin_is_served_by_rpms_triggers_in_one_transaction_only(
    lab: Lab,
) -> None:
    """With an rpm for each package, libzypp holds the triggers back; SUSE's own rpm has them run by libzypp."""
    (lab.chroot / PLUGIN).unlink()
    lab.install(NEW)
    expected = [Call("run --source=rpm", (kver(NEW),))] if lab.backend == SINGLE else []
    assert lab.calls() == expected
