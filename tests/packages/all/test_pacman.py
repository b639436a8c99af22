"""Kernels come and go through real pacman; kexec-hook is asked once, after mkinitcpio's hook and grub.cfg."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.packages.all import lab as labs
from tests.packages.all import pacman_lab
from tests.packages.all.lab import Call, assert_boots
from tests.packages.all.pacman_lab import HOOK, VENV, Lab
from tests.packages.chroot import ROOT, Chroot

pytestmark = pytest.mark.packages
ASKED = "run --source=pacman"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    chroot = labs.root(pacman_lab.RECIPE, tmp_path_factory.mktemp("furnished"))
    pacman_lab.furnish(chroot)
    (chroot / f"{VENV}/bin/kexec-hook").rename(chroot / "srv/program")
    labs.record(chroot / f"{VENV}/bin/kexec-hook")
    yield chroot
    chroot.remove()


@pytest.fixture
def lab(furnished: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    copy = furnished.copy(tmp_path_factory.mktemp("chroot") / "copy")
    yield Lab(copy)
    copy.remove()


def assert_asked_at_the_end(lab: Lab, *kernels: str) -> None:
    """Once, and when GRUB's menu had these kernels."""
    assert lab.calls() == [Call(ASKED, kernels)]


def real(lab: Lab) -> None:
    """From now on the recorder goes on as kexec-hook."""
    (lab.chroot / "srv/program").rename(lab.chroot / "srv/real")


def test_a_kernel_is_installed_upgraded_and_removed(lab: Lab) -> None:
    done = lab.install("linux-lts-6.6.32-1")
    assert_asked_at_the_end(lab, "linux-lts")
    assert "kexec-hook: noted run --source=pacman" in done.output
    assert_boots(lab.chroot, "linux-lts")
    lab.install("linux-6.9.1.arch1-1")
    lab.calls()
    before = labs.decide(lab.chroot)["release"]
    lab.install("linux-6.9.3.arch1-1")
    [call] = lab.calls()
    assert call.words == ASKED
    assert set(call.menu) == {"linux", "linux-lts"}
    after = labs.decide(lab.chroot)["release"]
    assert {before, after} <= {"6.6.32-1", "6.9.1-arch1-1", "6.9.3-arch1-1"}
    lab.pacman("-R", "linux-lts").check()
    assert_asked_at_the_end(lab, "linux")
    assert labs.decide(lab.chroot)["release"] == "6.9.3-arch1-1"
    lab.pacman("-R", "linux").check()
    assert_asked_at_the_end(lab)


def test_the_line_of_the_hook_is_the_last_and_says_what_is_done(lab: Lab) -> None:
    lines = lab.install("linux-6.9.1.arch1-1").output.splitlines()
    assert lines[-2].startswith("(2/2) Comparing what the next reboot starts")
    assert lines[-1] == "kexec-hook: noted run --source=pacman"


def test_a_transaction_without_kernels_asks_as_well(lab: Lab) -> None:
    lab.install("no-kernel-1-1")
    assert lab.asked() == [ASKED]
    lab.install("no-kernel-2-1")
    assert lab.asked() == [ASKED]


def test_python_starts_once_where_kernels_change_and_never_where_they_do_not(lab: Lab) -> None:
    real(lab)
    # As on a machine: in a chroot nothing is written, not even what spares the next call its Python.
    (lab.chroot / "srv/kexec_loaded").write_text("0\n")
    lab.install("linux-6.9.1.arch1-1")
    assert_asked_at_the_end(lab, "linux")
    time.sleep(2)  # the stamp says less of what was changed just before a decision
    lab.install("no-kernel-1-1")
    lab.calls()
    done = lab.pacman("-R", "no-kernel").check()
    assert lab.calls() == []
    assert "kexec-hook:" not in done.output


def test_what_installs_nothing_asks_nothing(lab: Lab) -> None:
    pacman_lab.database(lab.chroot / "srv/packages", "no-kernel", "2-1")
    for words in (["-Sy"], ["-Sw", "no-kernel"], ["-S", "--print", "no-kernel"], ["-Syu"]):
        lab.pacman(*words).check()
    assert lab.pacman("-U", "/no/such/package").status != 0
    assert lab.calls() == []


def test_another_root_is_none_of_the_hosts_business(lab: Lab) -> None:
    """As pacstrap makes one: the hooks of that root count, run in a chroot, and kexec-hook keeps quiet there."""
    copy = "/srv/image"
    lab.chroot.sh(
        f"mkdir -p {copy}/var/lib/pacman {copy}{pacman_lab.HOOKS} {copy}/usr/lib {copy}/opt\n"
        f"cp {HOOK} {copy}{pacman_lab.HOOKS}\ncp -r /usr/lib/kexec-hook {copy}/usr/lib\n"
        f"for name in bin sbin lib lib64; do ln -s usr/$name {copy}/$name; done\n"
        f"cp -a /usr/bin /usr/lib64 {copy}/usr; cp -a /usr/lib/x86_64-linux-gnu {copy}/usr/lib\n"
        f"mkdir {copy}/proc && mount -t proc proc {copy}/proc\n"
        f"pacman --noconfirm --root {copy} -U /srv/packages/no-kernel-1-1-x86_64.pkg.tar"
    ).check()
    assert (lab.chroot / f"{copy}/usr/share/no-kernel").exists()
    assert not (lab.chroot / f"{copy}/{labs.CALLS}").exists()
    assert lab.calls() == []


def test_what_fails_leaves_pacman_its_own_exit_status(lab: Lab) -> None:
    lab.install("fails-1-1")  # pacman goes on behind a scriptlet that fails
    assert lab.asked() == [ASKED]
    lab.install("no-kernel-1-1")
    lab.calls()
    both = lab.pacman("-U", "/srv/packages/in-the-way-1-1-x86_64.pkg.tar")
    assert lab.calls() == []  # no transaction
    (lab.chroot / HOOK).unlink()
    assert lab.pacman("-U", "/srv/packages/in-the-way-1-1-x86_64.pkg.tar").status == both.status


def test_a_transaction_that_another_hook_aborts_asks_nothing(lab: Lab) -> None:
    abort = "[Trigger]\nType = Package\nOperation = Install\nTarget = no-kernel\n\n[Action]\n"
    abort += "When = PreTransaction\nExec = /bin/false\nAbortOnFail\n"
    lab.chroot.write(f"{pacman_lab.HOOKS}/10-abort.hook", abort)
    assert lab.pacman("-U", "/srv/packages/no-kernel-1-1-x86_64.pkg.tar").status != 0
    assert lab.calls() == []


@pytest.mark.parametrize(
    "run",
    ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nkill -9 $$\n", "#!/no/such/interpreter\n", "", None],
    ids=["fails", "is killed", "has no interpreter", "is no program", "is not there"],
)
def test_whatever_becomes_of_run_pacman_succeeds(lab: Lab, run: str | None) -> None:
    if run is None:
        (lab.chroot / "usr/lib/kexec-hook/run").unlink()
    else:
        lab.chroot.write("usr/lib/kexec-hook/run", run, 0o755 if run else 0o644)
    done = lab.install("no-kernel-1-1")
    if not run:
        assert "error" not in done.output


def test_without_python_what_was_staged_is_unloaded_and_pacman_says_so(lab: Lab) -> None:
    (lab.chroot / f"{VENV}/bin/python3").unlink()
    lab.chroot.write(f"{VENV}/bin/python3", "#!/bin/sh\necho no Python >&2\nexit 1\n", 0o755)
    done = lab.install("no-kernel-1-1")
    assert "kexec-hook: cannot run (no Python); nothing is staged" in done.output


def test_hooks_remove_takes_everything_away_and_pip_alone_leaves_a_word(lab: Lab) -> None:
    lab.chroot.sh(f"mv /srv/program {VENV}/bin/kexec-hook").check()
    assert HOOK in lab.program("hooks", "list", "pacman").check().output
    taken = lab.chroot.copy(lab.chroot.root.parent.parent / "taken")
    try:
        Lab(taken).program("hooks", "remove").check()
        assert not (taken / HOOK).exists()
        assert not (taken / "usr/lib/kexec-hook").exists()
        assert "kexec-hook" not in Lab(taken).install("no-kernel-1-1").output
    finally:
        taken.remove()
    lab.chroot.sh(f"rm -r {VENV}").check()
    done = lab.install("no-kernel-1-1")
    assert "sh /usr/lib/kexec-hook/run --remove-hooks" in done.output
    said = lab.chroot.sh("sh /usr/lib/kexec-hook/run --remove-hooks").check().output
    assert f"removed {HOOK}" in said
    assert "kexec-hook" not in lab.pacman("-R", "no-kernel").check().output


def test_a_package_of_pacmans_own_goes_without_a_trace(lab: Lab) -> None:
    """As Arch would package it: the hook is gone when hooks run after the transaction that removes it."""
    lab.chroot.sh(f"rm -r /usr/lib/kexec-hook {HOOK}").check()
    files = {
        "usr/bin/kexec-hook": labs.RECORDER.encode(),
        "usr/lib/kexec-hook/run": (ROOT / "hooks/run").read_bytes(),
        HOOK.lstrip("/"): (ROOT / "hooks/pacman/zzz-kexec-hook.hook").read_bytes(),
    }
    install = "pre_remove() {\n    /usr/lib/kexec-hook/run --removed\n}\n"
    pacman_lab.package(lab.chroot / "srv/packages", "kexec-hook", "1-1", files, install)
    lab.install("kexec-hook-1-1")
    assert lab.asked() == [ASKED]
    done = lab.pacman("-R", "kexec-hook").check()
    assert lab.asked() == ["unstage"]
    assert "error" not in done.output
    for path in files:
        assert not (lab.chroot / path).exists()
    lab.install("no-kernel-1-1")
    assert lab.calls() == []
