"""Who is not root gets an answer from each command that looks, and a clear no from each that acts."""

from __future__ import annotations

import json

import pytest

from tests.machine import Box
from tests.ordinary import OrdinaryUser, close

LOOKING = {
    "stage": ("stage", "--dry-run"),
    "list": ("list",),
    "explain": ("explain",),
    "status": ("status",),
}
CLOSED_FACTS = "proc/1/environ", "proc/1/ns"
CLOSED_STATE = "run/kexec-hook", "var/lib/kexec-hook"
CLOSED_FILES = "boot/vmlinuz-6.1.0-39-amd64", "boot/initrd.img-6.1.0-39-amd64"


def machine(user: OrdinaryUser, tree: str = "debian-12") -> Box:
    """A machine whose programs anybody may run."""
    box = Box(user.directory(), tree)
    for path in (box.root, box.bin / "kexec", box.bin / "systemctl"):
        path.chmod(0o755)
    return box


@pytest.fixture
def box(user: OrdinaryUser) -> Box:
    """A machine of somebody else, on which kexec-hook has been at work, and whose kernels are closed as Ubuntu's."""
    box = machine(user)
    box.write("proc/1/environ", "")
    (box / "proc/1/ns").mkdir()
    (box / "proc/1/ns/mnt").symlink_to("mnt:[4026531841]")
    for directory in CLOSED_STATE:
        (box / directory).mkdir()
    close(*(box / path for path in (*CLOSED_FACTS, *CLOSED_STATE, *CLOSED_FILES)))
    return box


@pytest.mark.parametrize("command", LOOKING)
def test_every_command_that_looks_answers(user: OrdinaryUser, box: Box, command: str) -> None:
    told = user.run(box, *LOOKING[command])
    assert (told.returncode, told.stderr) == (0, "")
    assert "6.1.0-39-amd64" in told.stdout
    data = json.loads(user.run(box, *LOOKING[command], "--json").stdout)
    assert data.get("objections", []) == []


def test_a_dry_run_says_what_it_could_not_look_at(user: OrdinaryUser, box: Box) -> None:
    told = user.run(box, "stage", "--dry-run")
    for path in CLOSED_FILES:
        assert f"/{path} is not readable by this user" in told.stdout
    assert (
        "note: some checks need root, to read /proc/1/environ, /proc/1/ns/mnt\n"
        "  fix: sudo kexec-hook stage --dry-run\n"
    ) in told.stdout
    assert (
        f"it is not known whether the last kexec came up: {box.root}/var/lib/kexec-hook cannot be opened: permission denied"
        in told.stdout
    )


@pytest.mark.parametrize("command", LOOKING)
def test_an_image_that_is_loaded_may_be_anybodys(
    user: OrdinaryUser, box: Box, command: str
) -> None:
    box.write("sys/kernel/kexec_loaded", "1\n")
    assert user.run(box, *LOOKING[command]).returncode == 0


@pytest.mark.parametrize("closed", CLOSED_FACTS + CLOSED_STATE)
def test_one_closed_path_alone_declines_nothing(user: OrdinaryUser, closed: str) -> None:
    box = machine(user)
    path = box / closed
    if path.name == "environ":
        box.write(closed, "")
    else:
        path.mkdir()
    close(path)
    told = user.run(box, "stage", "--dry-run")
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(
    ("closed", "command"),
    [
        *(("boot/grub/grub.cfg", command) for command in LOOKING),
        *(("boot/grub/grubenv", command) for command in LOOKING),
        ("boot/grub", "stage"),
        ("etc/kexec-hook.conf", "stage"),
    ],
)
def test_nothing_is_said_of_a_configuration_that_may_not_be_read(
    user: OrdinaryUser, box: Box, closed: str, command: str
) -> None:
    box.write("etc/kexec-hook.conf", "")
    close(box / closed)
    told = user.run(box, *LOOKING[command])
    named = "/boot/grub/grub.cfg" if closed == "boot/grub" else f"/{closed}"
    assert told.returncode == 1
    assert named in told.stdout + told.stderr
    assert "run it with sudo" in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    assert "update-grub" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("closed", "command"),
    [("loader/entries", "list"), *(("loader/entries/*.conf", command) for command in LOOKING)],
)
def test_nothing_is_said_of_a_snippet_that_may_not_be_read(
    user: OrdinaryUser, closed: str, command: str
) -> None:
    box = machine(user, "fedora-bls")
    close(sorted((box / "boot").glob(closed))[0])
    told = user.run(box, *LOOKING[command])
    assert told.returncode == 1
    assert "/boot/loader/entries" in told.stdout + told.stderr
    assert "run it with sudo" in told.stdout + told.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("stage",),
        ("stage", "--panic"),
        ("unstage",),
        ("reboot", "--yes"),
        ("coldreboot",),
        ("ack",),
        ("finalize",),
        ("judge-boot",),
    ],
    ids=" ".join,
)
def test_commands_that_act_need_root(
    user: OrdinaryUser, box: Box, command: tuple[str, ...]
) -> None:
    told = user.run(box, *command, owner=0)
    assert told.returncode == 1
    assert "this needs root" in told.stderr
    assert "Traceback" not in told.stderr
    assert box.calls == []
    assert box.asked == []


@pytest.mark.parametrize(
    "command",
    [("stage", "--dry-run", "--running"), ("stage", "--dry-run", "--panic")],
    ids=" ".join,
)
def test_a_dry_run_without_grub_answers_too(
    user: OrdinaryUser, box: Box, command: tuple[str, ...]
) -> None:
    told = user.run(box, *command)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_call_of_the_package_managers_succeeds(user: OrdinaryUser, box: Box) -> None:
    told = user.run(box, "run", "--source=apt")
    assert (told.returncode, told.stderr) == (0, "")
    assert "Traceback" not in told.stdout
    assert box.calls == []
