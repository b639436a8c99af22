"""hooks/run ends without Python where nothing changed, and does what is needed where Python cannot start."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from kexec_hook.state.stamp import format_stamp
from kexec_hook.system.sysroot import Identity, Sysroot

ROOT = Path(__file__).resolve().parents[2]
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
BEFORE = 60  # seconds: how much older than now a stamp is


class Glue:
    """hooks/run with its directories and programs below one directory."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.shell = [shell, "sh"] if shell == "busybox" else [shell]
        self.state = root / "state"
        self.mark = root / "mark"
        self.state.mkdir()
        (root / "bin").mkdir()
        for name in ("rm", "cat"):
            (root / "bin" / name).symlink_to(shutil.which(name) or name)
        self.log = root / "log"
        self.image(1)
        self.program("kexec-hook", 'echo "kexec-hook: $*"')
        self.program("kexec", f"echo 0 > {root}/loaded")
        text = (ROOT / "hooks/run").read_text()
        for line, value in {
            "state=/run/kexec-hook": f"state={self.state}",
            "mark=/run/kexec-hook.loaded": f"mark={self.mark}",
            "asks=/run/kexec-hook.asks": f"asks={root}/asks",
            "cmdline=/proc/cmdline": f"cmdline={root}/cmdline",
            "init=/proc/1": f"init={root}/init",
            "loaded=/sys/kernel/kexec_loaded": f"loaded={root}/loaded",
            "attempt=/var/lib/kexec-hook/attempt.json": f"attempt={root}/attempt.json",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin": f"PATH={root}/bin",
            'kexec_hook() { /usr/bin/kexec-hook "$@"; }': f'kexec_hook() {{ {root}/bin/kexec-hook "$@"; }}',
        }.items():
            assert text.count(f"\n{line}\n") == 1
            text = text.replace(f"\n{line}\n", f"\n{value}\n")
        (root / "run").write_text(text)

    def program(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def image(self, loaded: int) -> None:
        (self.root / "loaded").write_text(f"{loaded}\n")

    def left(self) -> list[str]:
        """What is there but locks."""
        return [name for name in os.listdir(self.state) if name != "loader"]

    def staged(self) -> None:
        (self.state / "staged.json").write_text("{}")
        self.mark.touch()

    def stamp(self, reads: dict[str, "Identity | None"], age: int = BEFORE) -> None:
        (self.state / "stamp").write_bytes(format_stamp(reads))
        then = time.time() - age
        os.utime(self.state / "stamp", (then, then))

    def run(
        self, *words: str, suspend: str = "", dpkg_root: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        env = {"KEXEC_HOOK_SUSPEND": suspend, "DPKG_ROOT": dpkg_root}
        return subprocess.run(
            [*self.shell, str(self.root / "run"), *(words or ("apt",))],
            env={name: value for name, value in env.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def ran(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(params=SHELLS)
def glue(tmp_path: Path, request: pytest.FixtureRequest) -> Glue:
    (tmp_path / "glue").mkdir()
    return Glue(tmp_path / "glue", request.param)


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A /boot that was read an hour ago, in a directory whose name a shell might misread."""
    directory = tmp_path / "machine" / "it's $(boot) \\ \n*"
    directory.mkdir(parents=True)
    (directory / "grub.cfg").write_text("set default=0\n")
    for path in (directory / "grub.cfg", directory, directory.parent):
        os.utime(path, (time.time() - 3600,) * 2)
    return directory


def reads(boot: Path) -> dict[str, "Identity | None"]:
    sysroot = Sysroot("/")
    sysroot.read(f"{boot}/grub.cfg")
    sysroot.exists(f"{boot}/custom.cfg")
    sysroot.exists(f"{boot}/later/grub.cfg")
    sysroot.listdir(str(boot))
    return {path: was for path, was in sysroot.reads.items() if path.startswith(str(boot))}


def test_nothing_changed_is_silent_and_starts_nothing(glue: Glue, boot: Path) -> None:
    glue.stamp(reads(boot))
    done = glue.run()
    assert (done.stdout, done.stderr, done.returncode, glue.ran()) == ("", "", 0, [])


@pytest.mark.parametrize("above", [0, 1, 3])
def test_rpm_says_nothing_where_somebody_above_it_asks_when_all_is_done(
    glue: Glue, above: int
) -> None:
    """dnf runs rpm's triggers itself, zypper by an rpm of its own, and that by a shell."""
    last = f"{' '.join(glue.shell)} {glue.root}/run rpm"
    for level in range(above):
        script = glue.root / f"level{level}"
        script.write_text(f"{last}\n:\n")
        last = f"sh {script}"
    asks = f"touch {glue.root}/asks-$$\n{last}\n:\n"
    done = subprocess.run(["sh", "-c", asks], capture_output=True, text=True)
    assert (done.stdout, done.stderr, glue.ran()) == ("", "", [])
    assert glue.run("rpm").stdout == "kexec-hook: run --source=rpm\n"


def test_who_else_asks_when_all_is_done_does_not_silence_rpm(glue: Glue) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        (glue.root / f"asks-{other.pid}").touch()
        assert glue.run("rpm").stdout == "kexec-hook: run --source=rpm\n"
        (glue.root / f"asks-{os.getpid()}").touch()
        assert glue.run("zypper").stdout == "kexec-hook: run --source=zypper\n"
        assert glue.run("rpm").stdout == ""
    finally:
        other.kill()
        other.wait()


def test_first_call_decides(glue: Glue) -> None:
    done = glue.run("dpkg")
    assert (done.stdout, done.stderr, done.returncode) == ("kexec-hook: run --source=dpkg\n", "", 0)


def test_words_for_dnf5_go_to_standard_error(glue: Glue) -> None:
    done = glue.run("dnf5")
    assert (done.stdout, done.stderr) == ("", "kexec-hook: run --source=dnf5\n")


def written(boot: Path) -> None:
    (boot / "grub.cfg").write_text("set default=1\n")


def unpacked(boot: Path) -> None:
    """As dpkg and rpm do: the file is older than the stamp, its directory is not."""
    (boot / "new").write_text("set default=1\n")
    os.utime(boot / "new", (1, 1))
    (boot / "new").rename(boot / "grub.cfg")


def added(boot: Path) -> None:
    (boot / "custom.cfg").write_text("")
    os.utime(boot / "custom.cfg", (1, 1))


def added_where_nothing_was(boot: Path) -> None:
    (boot / "later").mkdir()
    (boot / "later/grub.cfg").write_text("")
    for path in (boot / "later/grub.cfg", boot / "later", boot):
        os.utime(path, (time.time() - 3600,) * 2)


def removed(boot: Path) -> None:
    (boot / "grub.cfg").unlink()
    os.utime(boot, (time.time() - 3600,) * 2)


def linked(boot: Path) -> None:
    (boot / "custom.cfg").symlink_to("nowhere")


@pytest.mark.parametrize(
    "change", [written, unpacked, added, added_where_nothing_was, removed, linked]
)
def test_change_is_noticed(glue: Glue, boot: Path, change: "object") -> None:
    glue.stamp(reads(boot))
    assert callable(change)
    change(boot)
    assert glue.run().stdout == "kexec-hook: run --source=apt\n"
    # Whatever happens to that decision, the next call may not believe the one before.
    assert os.listdir(glue.state) == []


def test_marker_is_believed_once(glue: Glue, boot: Path) -> None:
    glue.stamp(reads(boot))
    (glue.state / "changed").touch()
    assert glue.run().stdout == "kexec-hook: run --source=apt\n"
    assert os.listdir(glue.state) == []


def test_stamp_from_the_future_is_not_believed(glue: Glue, boot: Path) -> None:
    glue.stamp(reads(boot), age=-BEFORE)
    assert glue.run().stdout == "kexec-hook: run --source=apt\n"


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_torn_stamp_is_not_believed(glue: Glue, boot: Path, keep: float) -> None:
    stamp = format_stamp(reads(boot))
    glue.stamp({})
    (glue.state / "stamp").write_bytes(stamp[: int(len(stamp) * keep)])
    os.utime(glue.state / "stamp", (time.time() - BEFORE,) * 2)
    done = glue.run()
    assert (done.stdout, done.stderr) == ("kexec-hook: run --source=apt\n", "")


def test_stamp_of_another_user_is_not_believed(glue: Glue, boot: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    glue.stamp(reads(boot))
    os.chown(glue.state / "stamp", 1, 1)
    assert glue.run().stdout == "kexec-hook: run --source=apt\n"


def test_suspended_glue_does_nothing(glue: Glue) -> None:
    done = glue.run(suspend="1")
    assert (done.stdout, done.stderr, done.returncode, glue.ran()) == ("", "", 0, [])


def test_suspended_by_0_is_not_suspended(glue: Glue) -> None:
    assert glue.run(suspend="0").stdout == "kexec-hook: run --source=apt\n"


def test_chroot_does_nothing_and_writes_nothing(glue: Glue, tmp_path: Path) -> None:
    """Also where it shares /run with the machine: what is staged there is not its own."""
    (glue.root / "init").mkdir()
    (glue.root / "init/root").symlink_to("/")
    glue.run()
    assert glue.ran() == ["kexec-hook run --source=apt"]
    (glue.root / "init/root").unlink()
    (glue.root / "init/root").symlink_to(tmp_path)
    glue.program("kexec-hook", "exit 1")
    glue.staged()
    glue.stamp({})
    before = {path.name: path.stat().st_mtime for path in glue.state.iterdir()}
    for words in ("apt", "--removed"):
        done = glue.run(words)
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert len(glue.ran()) == 1
    assert {path.name: path.stat().st_mtime for path in glue.state.iterdir()} == before


def test_another_root_of_dpkg_is_not_this_machine(glue: Glue) -> None:
    for words in ("dpkg", "--removed"):
        done = glue.run(words, dpkg_root="/srv/image")
        assert (done.stdout, done.stderr, done.returncode, glue.ran()) == ("", "", 0, [])


@pytest.mark.parametrize(
    ("words", "off"),
    [
        ("ro kexec_hook=off quiet", True),
        ("kexec_hook=off", True),
        ("ro xkexec_hook=off kexec_hook=offline", False),
    ],
)
def test_word_on_the_kernels_command_line_switches_it_off(
    glue: Glue, words: str, off: bool
) -> None:
    (glue.root / "cmdline").write_text(f"BOOT_IMAGE=/vmlinuz {words}\n")
    assert glue.run().returncode == 0
    assert glue.ran() == ([] if off else ["kexec-hook run --source=apt"])


def test_removal_unstages_also_what_is_suspended(glue: Glue) -> None:
    glue.run("--removed", suspend="1")
    assert glue.ran() == ["kexec-hook unstage"]


def test_nobody_who_reads_is_no_failure(glue: Glue) -> None:
    """`dpkg -i ... | head`: the package's postinst would fail with us."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nowhere:
        argv = [*glue.shell, str(glue.root / "run"), "dpkg"]
        # Python ignores SIGPIPE, and gives its children back what they had.
        done = subprocess.run(
            argv, env={}, stdin=subprocess.DEVNULL, stdout=nowhere, restore_signals=True
        )
    assert done.returncode == 0
    assert glue.ran() == ["kexec-hook run --source=dpkg"]


def test_run_that_fails_is_one_line(glue: Glue) -> None:
    glue.image(0)
    glue.program(
        "kexec-hook",
        "echo Traceback...; echo ModuleNotFoundError: No module named \"'pluggy'\" >&2; exit 1",
    )
    done = glue.run()
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == (
        "kexec-hook: cannot run (ModuleNotFoundError: No module named 'pluggy'); "
        "nothing is staged, the next reboot goes through the firmware\n"
    )
    assert not any(line.startswith("kexec ") for line in glue.ran())


def test_nothing_is_said_of_the_reboot_where_an_administrators_image_is_loaded(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 3")
    done = glue.run()
    assert (done.stdout, done.stderr) == (
        "kexec-hook: cannot run (exit status 3); nothing is staged\n",
        "",
    )
    (glue.root / "loaded").unlink()
    done = glue.run()
    assert done.stdout.endswith("nothing is staged, the next reboot goes through the firmware\n")
    assert done.stderr == ""


def test_python_that_is_missing_is_one_line(glue: Glue) -> None:
    (glue.root / "bin/kexec-hook").write_text("#!/usr/bin/no-python3\n")
    done = glue.run()
    assert (done.stderr, done.returncode, done.stdout.count("\n")) == ("", 0, 1)
    assert done.stdout.startswith("kexec-hook: cannot run (")


def test_python_that_dies_without_a_word_is_one_line(glue: Glue) -> None:
    glue.image(0)
    glue.program("kexec-hook", "exit 3")
    assert glue.run().stdout == (
        "kexec-hook: cannot run (exit status 3); nothing is staged, the next reboot goes through the firmware\n"
    )


def test_what_was_staged_is_unloaded_where_python_cannot_start(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 127")
    glue.staged()
    (glue.state / "approved").touch()
    done = glue.run()
    assert done.stdout == (
        "kexec-hook: cannot run (exit status 127); what it had staged is unloaded, the next reboot goes through the firmware\n"
    )
    assert glue.ran()[1:] == ["kexec --kexec-file-syscall --unload"]
    assert (glue.left(), glue.mark.exists()) == ([], False)


@pytest.mark.parametrize("words", [("apt",), ("--removed",)])
def test_what_a_shutdown_has_approved_stays_where_python_cannot_start(
    glue: Glue, words: tuple[str, ...]
) -> None:
    """GRUB's environment is written by then; GRUB would boot something else, and the kernel would be blamed."""
    glue.program("kexec-hook", "exit 127")
    glue.staged()
    (glue.state / "approved").touch()
    (glue.root / "attempt.json").touch()
    assert glue.run(*words).stdout == (
        "kexec-hook: cannot run (exit status 127); this reboot is the kexec that was approved before\n"
        if words == ("apt",)
        else ""
    )
    assert len(glue.ran()) == 1
    assert (sorted(glue.left()), glue.mark.exists()) == (["approved", "staged.json"], True)


def test_unload_is_tried_by_the_other_system_call(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 127")
    glue.program("kexec", f'[ "$1" = --unload ] || exit 1; echo 0 > {glue.root}/loaded')
    glue.staged()
    glue.run()
    assert glue.ran()[1:] == ["kexec --kexec-file-syscall --unload", "kexec --unload"]
    assert glue.left() == []


def test_record_stays_where_the_image_cannot_be_unloaded(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 127")
    glue.program("kexec", "echo no >&2; exit 1")
    glue.staged()
    (glue.state / "approved").touch()
    done = glue.run()
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == (
        "kexec-hook: cannot run (exit status 127), and what it had staged cannot be unloaded; "
        "the next reboot goes through the firmware\n"
    )
    assert (glue.left(), glue.mark.exists()) == (["staged.json"], True)


def test_what_an_older_version_staged_is_unloaded_without_a_mark(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 127")
    glue.staged()
    glue.mark.unlink()
    assert "what it had staged is unloaded" in glue.run().stdout
    assert glue.left() == []


def test_image_whose_record_was_lost_is_unloaded_by_its_mark(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 127")
    glue.mark.touch()
    assert "what it had staged is unloaded" in glue.run().stdout
    assert not glue.mark.exists()


def test_kexec_that_is_still_loading_is_waited_for(glue: Glue) -> None:
    """Python was killed, kexec was not; without a record its image would be taken for the administrator's."""
    (glue.root / "bin/flock").symlink_to(shutil.which("flock") or pytest.skip("needs flock"))
    (glue.root / "bin/true").symlink_to(shutil.which("true") or "true")
    glue.image(0)
    glue.program("kexec-hook", "exit 137")
    glue.staged()
    kexec = f"exec 9> {glue.state}/loader; flock 9; echo; sleep 0.5; echo 1 > {glue.root}/loaded"
    with subprocess.Popen(["sh", "-c", kexec], stdout=subprocess.PIPE) as loading:
        assert loading.stdout
        loading.stdout.readline()
        assert "what it had staged is unloaded" in glue.run().stdout
    assert (glue.root / "loaded").read_text() == "0\n"
    assert glue.left() == []


def test_removal_unstages(glue: Glue) -> None:
    done = glue.run("--removed")
    assert (done.stdout, done.stderr, done.returncode, glue.ran()) == (
        "",
        "",
        0,
        ["kexec-hook unstage"],
    )


def test_removal_unloads_where_python_cannot_start(glue: Glue) -> None:
    glue.program("kexec-hook", "exit 1")
    glue.staged()
    done = glue.run("--removed")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert glue.ran() == ["kexec-hook unstage", "kexec --kexec-file-syscall --unload"]
    assert (glue.left(), glue.mark.exists()) == ([], False)


STAT = "  1 2 3 4 50 60 70 8 9 10 11{rest}\n"


@pytest.mark.parametrize(
    ("rest", "numbers"),
    [
        ("", "50 60 70"),
        (" 12 13 14 15 16 17", "50 60 70 12 13 14"),
        (" 120 130 140 15", "50 60 70 120 130 140"),
    ],
)
def test_disk_that_was_read_without_being_mounted_is_counted(
    glue: Glue, boot: Path, tmp_path: Path, rest: str, numbers: str
) -> None:
    """Its writes and discards, not its reads."""
    stat = tmp_path / "stat"

    def stamped(text: str) -> str:
        stat.write_text(text)
        (glue.state / "stamp").write_bytes(format_stamp(reads(boot), {str(stat): numbers}))
        os.utime(glue.state / "stamp", (time.time() - BEFORE,) * 2)
        return glue.run().stdout

    same = STAT.format(rest=rest)
    assert stamped(same) == ""
    assert stamped(same.replace("1 2 3 4 ", "9 9 9 9 ")) == ""
    assert stamped(same.replace(" 60 ", " 61 ")) == "kexec-hook: run --source=apt\n"
    if rest:
        assert stamped(same.replace(rest.split()[2], "999")) == "kexec-hook: run --source=apt\n"
    stat.unlink()
    (glue.state / "stamp").write_bytes(format_stamp(reads(boot), {str(stat): numbers}))
    os.utime(glue.state / "stamp", (time.time() - BEFORE,) * 2)
    assert glue.run().stdout == "kexec-hook: run --source=apt\n"
