"""Kernels come, go and come back through real dnf; kexec-hook is asked once it is over, and decides as GRUB does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import chroot as chroots
from tests.packages import dnf_lab, rpm_lab
from tests.packages.chroot import ChrootError, unpack
from tests.packages.dnf_lab import RECIPES, Lab

pytestmark = pytest.mark.packages

# By rpm's order, which is not that of the alphabet, nor of `sort -V`, nor of dpkg.
OLDEST, OLDER, NEW, CANDIDATE, NEWEST = KERNELS = (
    "6.9.12-200.fc40",
    "6.10.3-200.fc40",
    "6.10.11-200.fc40",
    "6.11.0-0.rc7.56.fc42",
    "6.11.0-63.fc42",
)


@pytest.fixture(scope="session")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """kexec-hook, kernels, and what dnf wants to know of Debian."""
    builder = _unpack("bookworm", tmp_path_factory)
    made = rpm_lab.build_kexec_hook(builder)
    made += [rpm_lab.build_kernel(builder, release) for release in KERNELS]
    yield [*made, *rpm_lab.build_rest(builder)]
    builder.remove()


@pytest.fixture(scope="session", params=list(RECIPES))
def furnished(
    request: pytest.FixtureRequest, rpms: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Path]]:
    suite = request.param
    root = _unpack(suite, tmp_path_factory)
    program = "dnf5" if (root / "usr/bin/dnf5").exists() else "dnf4"
    lab = Lab(suite, root, program)
    dnf_lab.furnish(root, rpms)
    glue = "kexec-hook-dnf5" if program == "dnf5" else "python3-dnf-plugin-kexec-hook"
    lab.dnf("install", "kexec-hook", glue).check()
    dnf_lab.record(root)
    saved = tmp_path_factory.mktemp("saved")
    lab.save(saved)
    yield lab, saved
    root.remove()


@pytest.fixture
def lab(furnished: tuple[Lab, Path]) -> Lab:
    lab, saved = furnished
    lab.restore(saved)
    return lab


def _unpack(suite: str, factory: pytest.TempPathFactory) -> chroots.Chroot:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    try:
        return unpack(chroots.tarball(RECIPES[suite]), factory.mktemp("roots") / suite)
    except ChrootError as error:
        if suite != "testing":
            raise
        pytest.skip(f"Debian testing cannot be had, hence no dnf 5: {error}")


def assert_boots(lab: Lab, release: str) -> None:
    """The decision, and what it stands on."""
    answer = lab.chroot.dry_run()
    assert answer["objections"] == []
    directory = f"/boot/{dnf_lab.MACHINE}/{release}.x86_64"
    assert (
        answer["outcome"],
        answer["entry"]["id"],
        answer["release"],
        answer["kernel"],
        answer["initrds"],
    ) == (
        "would-stage",
        f"{dnf_lab.MACHINE}-{release}.x86_64",
        f"{release}.x86_64",
        f"{directory}/linux",
        [f"{directory}/initrd"],
    )
    assert answer["cmdline"].endswith(
        f" root=UUID={dnf_lab.UUID} ro rhgb quiet systemd.machine_id={dnf_lab.MACHINE}"
    )


def assert_asked_in_the_end(lab: Lab) -> None:
    """The one question is dnf's own, not that of rpm's triggers, and whoever answers sees what is there now."""
    [call] = lab.calls()
    assert call.words == f"run --source={lab.source}"
    assert set(call.releases) == lab.entries()


def test_each_installed_kernel_is_the_one_to_boot_where_it_is_the_newest(lab: Lab) -> None:
    for release in (OLDEST, OLDER, NEW):
        lab.install(release)
        assert_asked_in_the_end(lab)
        assert lab.newest() == release
        assert_boots(lab, release)


def test_a_release_is_newer_than_its_candidates(lab: Lab) -> None:
    lab.install(NEWEST)
    lab.install(CANDIDATE)
    assert lab.newest() == NEWEST
    assert_boots(lab, NEWEST)


def test_an_upgrade_drops_the_oldest_kernel_and_boots_the_newest(lab: Lab) -> None:
    for release in (OLDEST, OLDER, NEW):
        lab.install(release)
    lab.calls()
    lab.dnf("upgrade").check()
    assert lab.releases() == lab.entries() == {OLDER, NEW, NEWEST}
    assert_asked_in_the_end(lab)
    assert lab.newest() == NEWEST
    assert_boots(lab, NEWEST)


def test_an_upgrade_that_is_undone_boots_what_was_booted_before(lab: Lab) -> None:
    for release in (OLDEST, OLDER, NEW):
        lab.install(release)
    lab.dnf("upgrade").check()
    lab.calls()
    lab.dnf("history", "undo", "last").check()
    assert lab.releases() == lab.entries() == {OLDEST, OLDER, NEW}
    assert_asked_in_the_end(lab)
    assert lab.newest() == NEW
    assert_boots(lab, NEW)


def test_a_removed_kernel_is_booted_no_more(lab: Lab) -> None:
    lab.install(OLDER)
    lab.install(NEW)
    lab.calls()
    lab.dnf("remove", f"kernel-core-{NEW}").check()
    assert_asked_in_the_end(lab)
    assert_boots(lab, OLDER)


def test_a_saved_entry_wins_over_the_newest_until_its_kernel_goes(lab: Lab) -> None:
    for release in (OLDEST, OLDER):
        lab.install(release)
    lab.saved_entry(OLDEST)
    lab.install(NEW)
    assert_boots(lab, OLDEST)
    lab.dnf("remove", f"kernel-core-{OLDEST}").check()
    # rhboot finds no entry of that name, and takes the first.
    assert_boots(lab, NEW)


def test_a_transaction_without_kernels_asks_as_well(lab: Lab) -> None:
    done = lab.dnf("install", "no-kernel").check()
    assert [call.words for call in lab.calls()] == [f"run --source={lab.source}"]
    assert "kexec-hook: noted run" in done.output


def test_python_starts_once_where_kernels_change_and_never_where_they_do_not(lab: Lab) -> None:
    dnf_lab.record(lab.chroot, real=True)
    # As on a machine: in a chroot nothing is written, not even what spares the next call its Python.
    (lab.chroot / "srv/kexec_loaded").write_text("0\n")
    for words in (
        ("install", f"kernel-core-{OLDER}", f"kernel-core-{NEW}"),
        ("remove", f"kernel-core-{NEW}"),
    ):
        done = lab.dnf(*words).check()
        [call] = lab.calls()
        assert call.words == f"run --source={lab.source}"
        assert set(call.releases) == lab.entries()
        assert done.output.count("kexec-hook: ") <= 1
    time.sleep(2)  # the stamp says less of what was changed just before a decision
    lab.dnf("install", "no-kernel").check()
    lab.calls()
    done = lab.dnf("remove", "no-kernel").check()
    assert lab.calls() == []
    assert "kexec-hook: " not in done.output
    assert list((lab.chroot / "run").glob("kexec-hook.asks*")) == []


def test_what_dnf_only_downloads_asks_nothing(lab: Lab) -> None:
    lab.dnf("install", "--downloadonly", f"kernel-core-{NEW}").check()
    lab.chroot.sh("dnf5 repoquery kernel-core || dnf repoquery kernel-core").check()
    assert lab.calls() == []


def test_an_installroot_is_none_of_the_hosts_business(lab: Lab) -> None:
    lab.install(OLDER)
    lab.calls()
    before = (lab.chroot / "boot/loader/entries").stat().st_mtime_ns
    config = ("--use-host-config",) if lab.program == "dnf5" else ("-c", "/etc/dnf/dnf.conf")
    lab.dnf(*config, "--installroot=/srv/image", "install", "no-kernel").check()
    assert (lab.chroot / "srv/image").is_dir()
    assert lab.calls() == []
    assert (lab.chroot / "boot/loader/entries").stat().st_mtime_ns == before


@pytest.mark.parametrize("package", ["fails-before", "fails-after"])
def test_a_failing_scriptlet_leaves_dnf_its_own_exit_status(lab: Lab, package: str) -> None:
    alone = lab.dnf("install", lab.without_glue(), package)
    assert lab.calls() == []
    lab.dnf("remove", lab.without_glue(), package)
    both = lab.dnf("install", package)
    assert both.status == alone.status
    assert [call.words for call in lab.calls()] == [f"run --source={lab.source}"]


@pytest.mark.parametrize(
    "run",
    ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nkill -9 $$\n", "#!/no/such/interpreter\n", "", None],
    ids=["fails", "is killed", "has no interpreter", "is no program", "is not there"],
)
def test_whatever_becomes_of_run_dnf_completes(lab: Lab, run: str | None) -> None:
    if run is None:
        (lab.chroot / "usr/lib/kexec-hook/run").unlink()
    else:
        lab.chroot.write("usr/lib/kexec-hook/run", run, 0o755 if run else 0o644)
    done = lab.dnf("install", "no-kernel")
    assert done.status == 0
    assert "Complete!" in done.output
    assert "Traceback" not in done.output


def test_the_glue_can_be_switched_off(lab: Lab) -> None:
    if lab.program == "dnf5":
        lab.chroot.write("etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions", "")
    else:
        lab.chroot.write("etc/dnf/plugins/kexec-hook.conf", "[main]\nenabled=0\n")
    lab.dnf("install", "no-kernel").check()
    assert lab.calls() == []


def test_plain_rpm_asks_too(lab: Lab) -> None:
    package = f"/srv/rpms/kernel-core-{NEW}.x86_64.rpm"
    lab.rpm("-i", package)
    calls = lab.calls()
    assert [call.words for call in calls] == ["run --source=rpm"]
    assert calls[0].releases == (NEW,)
    assert_boots(lab, NEW)
    lab.rpm("-e", f"kernel-core-{NEW}")
    calls = lab.calls()
    assert {call.words for call in calls} == {"run --source=rpm"}
    assert calls[-1].releases == ()


def test_kernel_install_marks_that_something_has_changed(lab: Lab) -> None:
    mark = lab.chroot / "run/kexec-hook/changed"
    lab.install(OLDER)
    assert not mark.exists()  # kexec-hook has never run: nothing to mark
    mark.parent.mkdir(exist_ok=True)
    image = f"/usr/lib/modules/{OLDER}.x86_64/vmlinuz"
    lab.chroot.run("kernel-install", "add", f"{OLDER}.x86_64", image).check()
    assert mark.exists()
    mark.unlink()
    mark.parent.rmdir()
    mark.parent.symlink_to("/no/such/place")
    lab.chroot.run("kernel-install", "remove", f"{OLDER}.x86_64").check()
