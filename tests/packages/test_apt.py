"""kexec-hook's Debian package on Debian 12, 13 and testing: apt, dpkg and unattended-upgrades with real kernels.

Whatever happens, the package manager's exit status is its own, and what kexec-hook decides, it decides on what is in
/boot when all is done.  Debian testing, which changes by itself, is told (XPASS, XFAIL) and does not decide.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import chroot as chroots
from tests.packages.chroot import ROOT, Chroot, kill, tarball, unpack
from tests.packages.deb_lab import (
    SUITES,
    DebianChroot,
    base,
    build,
    builder,
    kernel_files,
    repacked,
    said,
)
from tests.packages.deb_lab import (
    machine as recipe,
)

pytestmark = pytest.mark.packages


TOLD = pytest.mark.xfail(strict=False, reason="Debian testing is told, and does not decide")


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(suite, id=SUITES[suite], marks=TOLD if suite == "testing" else ())
        for suite in SUITES
    ],
)
def suite(request: pytest.FixtureRequest) -> str:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(scope="session")
def built(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chroot, Path]]:
    """The chroot in which the package was built, with the project's tests where it decides, and its .changes file."""
    chroot = unpack(tarball(builder(suite)), tmp_path_factory.mktemp("built") / suite)
    yield chroot, build(chroot, check=suite != "testing")
    chroot.remove()


@pytest.fixture(scope="session")
def package(built: tuple[Chroot, Path]) -> Path:
    [deb] = built[1].parent.glob("*.deb")
    return deb


@pytest.fixture(scope="session")
def without(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """What a machine without kexec-hook starts from."""
    chroot = unpack(tarball(recipe(suite)), tmp_path_factory.mktemp("machines") / suite)
    chroot.run("apt-get", "-qq", "update").check()
    yield chroot
    chroot.remove()


@pytest.fixture(scope="session")
def furnished(
    without: Chroot, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chroot]:
    """What a machine with kexec-hook starts from."""
    chroot = without.copy(tmp_path_factory.mktemp("furnished"))
    machine = DebianChroot(chroot)
    machine.install(package)
    # The apt that has installed kexec-hook did not know of it; this one does.
    machine.apt("install", "test-nothing").check()
    machine.forget()
    yield chroot
    chroot.remove()


@pytest.fixture
def bare(without: Chroot, tmp_path: Path) -> Iterator[DebianChroot]:
    """A machine without kexec-hook."""
    chroot = without.copy(tmp_path)
    yield DebianChroot(chroot)
    chroot.remove()


@pytest.fixture
def machine(furnished: Chroot, tmp_path: Path) -> Iterator[DebianChroot]:
    """A machine with kexec-hook."""
    chroot = furnished.copy(tmp_path)
    yield DebianChroot(chroot)
    chroot.remove()


# Unstable's lintian judges these (make packages-all); an older one knows neither its tags nor the newest policy.
NEWER = (
    *("alien-tag", "duplicate-override-context", "missing-debian-watch-file-standard"),
    "newer-standards-version",
)


def test_lintian_has_nothing_to_say(built: tuple[Chroot, Path]) -> None:
    chroot, changes = built
    done = chroot.run(
        *("lintian", "--pedantic", "--allow-root", "--fail-on=error,warning"),
        *(f"--suppress-tags={','.join(NEWER)}", f"/build/{changes.name}"),
        seconds=900,
    )
    assert [line for line in done.output.splitlines() if line.startswith(("E:", "W:"))] == []
    assert done.status == 0


def test_units_and_drop_ins_are_where_the_release_has_its_own(suite: str, package: Path) -> None:
    argv = ["dpkg-deb", "-c", str(package)]
    listed = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    units = {
        path.removeprefix(".")
        for path in listed
        if "/systemd/system/" in path and path.endswith((".service", ".conf"))
    }
    top = "/lib/systemd/system" if suite == "bookworm" else "/usr/lib/systemd/system"
    ours = [path for path in (ROOT / "systemd").rglob("*") if path.is_file()]
    assert units == {f"{top}/{path.relative_to(ROOT / 'systemd')}" for path in ours}


def test_piuparts_finds_what_was_there_before_after_installation_and_purge(
    built: tuple[Chroot, Path], suite: str, package: Path
) -> None:
    chroot, _ = built
    with open(chroot / "srv/base.tar.gz", "wb") as file:
        subprocess.run(["gzip", "-1", "-c", str(tarball(base(suite)))], stdout=file, check=True)
    # Links to manual pages lead nowhere: the roots have none.
    options = (f"--distribution={suite}", "--keep-sources-list", "--no-eatmydata", "--no-symlinks")
    argv = ("piuparts", "--basetgz=/srv/base.tar.gz", *options, f"/build/{package.name}")
    done = chroot.run(*argv, network=True, seconds=900)
    found = re.findall(r"ERROR: .*(?:\n  .*)*", done.output)
    assert (done.status, found) == (0, []), done.output[-3000:]
    assert "PASS: All tests." in done.output


def test_installation_decides_though_that_apt_does_not_know_us_yet(
    bare: DebianChroot, package: Path
) -> None:
    done = bare.install(package)
    assert [decision.words for decision in bare.decisions()] == ["run --source=dpkg"]
    assert len(said(done)) == 1


def test_installation_together_with_a_kernel_decides_on_the_final_state(
    bare: DebianChroot, package: Path
) -> None:
    (bare.chroot / "srv/kexec-hook.deb").write_bytes(package.read_bytes())
    bare.apt("install", "/srv/kexec-hook.deb", "test-kernel=2").check()
    assert bare.decisions()[-1].boot == bare.boot()
    assert bare.would_stage() == kernel_files(bare.newer)


def test_kernel_upgrade_is_decided_once_when_all_is_done(machine: DebianChroot) -> None:
    done = machine.apt("dist-upgrade")
    assert done.status == 0
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=apt", machine.boot())
    assert machine.would_stage() == kernel_files(machine.newer)
    assert len(said(done)) == 1


def test_removed_kernel_is_decided_once_when_all_is_done(machine: DebianChroot) -> None:
    machine.apt("dist-upgrade").check()
    machine.forget()
    done = machine.apt("autoremove")
    assert done.status == 0
    assert not (machine.chroot / f"boot/vmlinuz-{machine.older}").exists()
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=apt", machine.boot())
    assert machine.would_stage() == kernel_files(machine.newer)


def test_dpkg_without_apt_decides_once_when_all_is_done(machine: DebianChroot) -> None:
    done = machine.chroot.sh("dpkg -i /srv/repo/linux-*.deb")
    assert done.status == 0
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=dpkg", machine.boot())
    assert machine.would_stage() == kernel_files(machine.newer)


def test_initrd_alone_is_decided_once_when_all_is_done(machine: DebianChroot) -> None:
    before = machine.boot()
    assert machine.apt("install", "test-initrd").status == 0
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=apt", machine.boot())
    assert decision.boot != before


def test_initrd_made_by_hand_is_decided_once(machine: DebianChroot) -> None:
    assert machine.chroot.run("update-initramfs", "-u").status == 0
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=kernel", machine.boot())


def test_package_that_changes_nothing_we_read_starts_no_python(machine: DebianChroot) -> None:
    time.sleep(2)
    for words in (("remove", "test-nothing"), ("install", "test-library")):
        done = machine.apt(*words)
        assert (done.status, said(done), machine.decisions()) == (0, [], [])


def test_run_in_a_chroot_is_silent_and_stage_says_why(machine: DebianChroot) -> None:
    machine.forget()
    # Nor does its first process pass for an init now.
    (machine.chroot / "srv/kexec_loaded").unlink()
    program = "/usr/bin/kexec-hook.real"
    assert machine.chroot.run(program, "run", "--source=apt").check().output == ""
    answer = json.loads(machine.chroot.sh(f"{program} stage --json; true").output)
    reasons = [(found["code"], found["reason"]) for found in answer["objections"]]
    assert reasons == [
        ("image-build", "PID 1 is sh, not an init: this is a chroot or an image build")
    ]
    assert machine.kexecs() == []


def test_suspended_kexec_hook_stays_out(machine: DebianChroot) -> None:
    done = machine.apt("dist-upgrade", env={"KEXEC_HOOK_SUSPEND": "1"})
    assert (done.status, said(done), machine.decisions()) == (0, [], [])


def test_failing_package_fails_as_without_us(machine: DebianChroot) -> None:
    done = machine.apt("install", "test-broken", "test-initrd")
    assert done.status == 100
    assert "E: Problem executing scripts" not in done.output
    [decision] = machine.decisions()
    assert decision.boot == machine.boot()


def test_unattended_upgrades_decides_on_the_final_state(machine: DebianChroot) -> None:
    machine.chroot.write(
        "etc/apt/apt.conf.d/99test",
        'Unattended-Upgrade::Origins-Pattern { "origin=Test"; };\nDpkg::Use-Pty "0";\n',
    )
    done = machine.chroot.run("unattended-upgrade", "--verbose")
    assert done.status == 0, done.output
    assert (machine.chroot / f"boot/vmlinuz-{machine.newer}").exists(), done.output
    # It runs each Post-Invoke twice, for each of its steps; the second one finds nothing new.
    decisions = machine.decisions()
    assert decisions[-1].boot == machine.boot()
    assert machine.would_stage() == kernel_files(machine.newer)


def test_upgrade_killed_halfway_is_decided_when_dpkg_goes_on(machine: DebianChroot) -> None:
    slow = machine.chroot.write(
        "etc/kernel/postinst.d/yyy-slow", "#!/bin/sh\ntouch /slow\nsleep 60\n", mode=0o755
    )
    process = machine.chroot.start("apt-get", "-qq", "-y", "dist-upgrade")
    deadline = time.monotonic() + 120
    while not (machine.chroot / "slow").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kill(process)
    slow.unlink()
    assert machine.decisions() == []
    done = machine.chroot.run("dpkg", "--configure", "-a")
    assert done.status == 0, done.output
    [decision] = machine.decisions()
    assert (decision.words, decision.boot) == ("run --source=dpkg", machine.boot())
    assert machine.would_stage() == kernel_files(machine.newer)


def test_unusable_python_is_one_line_and_what_was_staged_is_unloaded(machine: DebianChroot) -> None:
    machine.pretend_staged()
    (machine.chroot / "usr/bin/python3").unlink()
    done = machine.apt("dist-upgrade")
    assert done.status == 0
    [line] = said(done)
    assert line.startswith("kexec-hook: cannot run (")
    assert line.endswith(
        "); what it had staged is unloaded, the next reboot goes through the firmware"
    )
    assert machine.kexecs() == ["--kexec-file-syscall --unload"]
    assert not machine.loaded()
    assert not (machine.chroot / "run/kexec-hook/staged.json").exists()


def test_removal_unloads_and_leaves_apt_alone(machine: DebianChroot) -> None:
    machine.pretend_staged()
    assert machine.apt("remove", "kexec-hook").status == 0
    assert not machine.loaded()
    assert not (machine.chroot / "run/kexec-hook").exists()
    machine.forget()
    for command in ("dist-upgrade", "autoremove"):
        done = machine.apt(command)
        assert (done.status, said(done), machine.decisions()) == (0, [], [])
    assert "kexec-hook" not in done.output


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> /var/log/systemctl
case $* in
    --root=*) exec systemctl.real "$@" ;;
    *is-enabled*) echo enabled ;;
esac
"""


def test_shutdown_unit_is_enabled_and_started_and_no_upgrade_stops_it(
    bare: DebianChroot, package: Path, tmp_path: Path
) -> None:
    """With a systemd that notes what it is asked; what is about files is done."""
    systemctl = bare.chroot / "usr/bin/systemctl"
    systemctl.rename(systemctl.with_suffix(".real"))
    bare.chroot.write("usr/bin/systemctl", SYSTEMCTL, 0o755)
    (bare.chroot / "run/systemd/system").mkdir(parents=True, exist_ok=True)

    def asked() -> set[str]:
        log = bare.chroot / "var/log/systemctl"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        verbs = ("start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "kill")
        words = [line.split() for line in lines if "kexec-hook.service" in line]
        return {verb for line in words for verb in line if verb in verbs}

    bare.install(package)
    assert asked() == {"start"}
    enabled = {link.name for link in (bare.chroot / "etc/systemd/system").glob("*.wants/*")}
    assert {"kexec-hook.service", "kexec-hook-judge.service"} <= enabled
    for version in ("99", "0.0.9"):
        bare.install(repacked(package, tmp_path, version))
        assert asked() == {"start"}  # which is nothing to do
    bare.apt("remove", "kexec-hook").check()
    assert asked() == {"stop"}


def test_removal_leaves_what_the_administrator_loaded(machine: DebianChroot) -> None:
    machine.chroot.write("srv/kexec_loaded", "1\n")
    assert machine.apt("remove", "kexec-hook").status == 0
    assert (machine.loaded(), machine.kexecs()) == (True, [])


def test_purge_leaves_nothing(bare: DebianChroot, package: Path) -> None:
    def files() -> set[str]:
        found = bare.chroot.sh(
            "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -print"
        )
        ours = (
            "/var/lib/dpkg/",
            "/var/cache/",
            "/var/log/",
            "/usr/bin/kexec-hook",
            "/var/lib/apt/",
            "/srv/",
        )
        return {line for line in found.output.splitlines() if not line.startswith(ours)}

    before = files()
    bare.install(package)
    bare.apt("dist-upgrade").check()
    bare.apt("purge", "kexec-hook").check()
    bare.apt("autoremove").check()
    kernels = (
        "/boot/",
        "/lib/modules/",
        "/usr/lib/modules/",
        "/vmlinuz",
        "/initrd",
        "/usr/share/doc/linux-",
    )
    left = {line for line in files() - before if not line.startswith(kernels)}
    assert {line for line in left if "kexec" in line} == set()
    assert left <= {"/run/reboot-required", "/run/reboot-required.pkgs"} | {
        line for line in left if "linux" in line
    }


# Before there was a mark, the record told an image of kexec-hook from an administrator's.
OLDER_KEXEC = """\
[Unit]
FailureAction=reboot-force

[Service]
Type=oneshot
ExecStart=
ExecStart=/bin/sh -c 'if [ "$(cat /sys/kernel/kexec_loaded)" = 1 ] && { [ -e /run/kexec-hook/approved ] || [ ! -e /run/kexec-hook/staged.json ]; }; then exec systemctl --force kexec; else exec systemctl --force reboot; fi'
"""
OLDER_REBOOT = """\
[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'if [ -e /run/kexec-hook/approved ] && [ "$(cat /sys/kernel/kexec_loaded)" = 1 ]; then exec systemctl --force kexec; fi'
"""
OLDER = {
    "lib/systemd/system/systemd-kexec.service.d/50-kexec-hook.conf": OLDER_KEXEC,
    "lib/systemd/system/systemd-reboot.service.d/50-kexec-hook.conf": OLDER_REBOOT,
    "DEBIAN/preinst": "#!/bin/sh\n",
}
OLDER_ATTEMPT = '{"release": "6.1", "kernel": "/boot/vmlinuz-6.1", "boot_id": "1", "time": 1.0}\n'


def last_second(machine: DebianChroot, unit: str) -> str:
    """What the drop-in that is installed asks of systemd at the end of a shutdown."""
    name = f"{unit}.service.d/50-kexec-hook.conf"
    found = machine.chroot.sh(f"cat /lib/systemd/system/{name}").check().output
    [script] = re.findall(r"^ExecStart=-?/bin/sh -c '(.*)'$", found, re.MULTILINE)
    machine.chroot.write("srv/bin/systemctl", '#!/bin/sh\necho "$@"\n', 0o755)
    return machine.chroot.sh(f"PATH=/srv/bin:$PATH\n{script}").output.strip()


def test_upgrade_over_an_older_version_that_has_staged(
    bare: DebianChroot, package: Path, tmp_path: Path
) -> None:
    """Its drop-ins, its record without a mark, and an attempt of its: nothing jumps unapproved, nothing is lost."""
    bare.install(repacked(package, tmp_path, "0.0.1", OLDER))
    bare.pretend_staged()
    (bare.chroot / "run/kexec-hook/approved").unlink()
    attempt = bare.chroot.write("var/lib/kexec-hook/attempt.json", OLDER_ATTEMPT, 0o600)
    shutil.copy(package, bare.chroot / "srv")
    bare.apt("install", f"/srv/{package.name}", env={"KEXEC_HOOK_SUSPEND": "1"}).check()

    assert bare.loaded()
    assert last_second(bare, "systemd-kexec") == "--force reboot"
    assert last_second(bare, "systemd-reboot") == ""
    bare.chroot.write("run/kexec-hook/approved")
    assert last_second(bare, "systemd-kexec") == "--force kexec"
    (bare.chroot / "run/kexec-hook/approved").unlink()
    assert attempt.read_text() == OLDER_ATTEMPT

    # The next decision, which declines here, knows whose image it is.
    bare.chroot.run("/usr/lib/kexec-hook/run", "apt").check()
    assert not bare.loaded()
    assert not (bare.chroot / "run/kexec-hook.loaded").exists()
    # Now an image is an administrator's.
    bare.chroot.write("srv/kexec_loaded", "1\n")
    assert last_second(bare, "systemd-kexec") == "--force kexec"


@pytest.mark.parametrize("name", ["smoke", "upgrades"])
def test_autopkgtest_passes(bare: DebianChroot, package: Path, name: str) -> None:
    """Without autopkgtest, of which no more is needed here than a directory."""
    ours = "/usr/bin/kexec-hook"
    bare.chroot.sh(f"rm {ours}; dpkg-divert --quiet --local --rename --remove {ours}").check()
    bare.install(package)
    bare.chroot.write("srv/test", (ROOT / "packaging/debian/tests" / name).read_bytes(), mode=0o755)
    bare.chroot.sh("mkdir /srv/tmp; AUTOPKGTEST_TMP=/srv/tmp exec /srv/test").check()


def test_administrators_settings_survive_upgrade_and_downgrade(
    machine: DebianChroot, package: Path, tmp_path: Path
) -> None:
    conf = machine.chroot / "etc/kexec-hook.conf"
    conf.write_text(conf.read_text() + "panic_timeout = 30\n")
    changed = conf.read_text()
    for version in ("99", "0.0.9"):
        other = repacked(package, tmp_path, version)
        done = machine.install(other)
        assert conf.read_text() == changed
        assert "conffile" not in done.output
        assert (
            machine.chroot.run("dpkg-query", "-W", "-f=${Version}", "kexec-hook").output == version
        )
