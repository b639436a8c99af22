"""contrib/ansible: real ansible-core reboots machines in growing batches, and stops at the first that came up otherwise.

Each machine is a directory.  `ssh` is a program of ours that runs what Ansible sends here, with that machine's own
kexec-hook and boot_id; nothing of it can reboot anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kexec_hook import __version__
from tests.machine import PROJECT

COLLECTION = PROJECT / "contrib/ansible"
ANSIBLE = PROJECT / ".venv/ansible/bin"
PLAYBOOK = COLLECTION / "playbooks/rolling_reboot.yml"

# ssh [OPTION...] MACHINE COMMAND
_SSH = """#!/bin/sh
for word; do host=$command; command=$word; done
cd @LAB@/$host || exit 255
HERE=$PWD
export HERE PATH=@LAB@/bin:$PATH
command=$(printf '%s' "$command" | sed "s,/proc/sys/kernel/random/boot_id,$HERE/boot_id,g")
exec sh -c "$command"
"""
_KEXEC_HOOK = """#!/bin/sh
echo "$*" >> $HERE/calls
case "$*" in
    "status --json") cat $HERE/status ;;
    "status --check") echo "the next reboot is $(cat $HERE/check)"; [ "$(cat $HERE/check)" = kexec ] || exit 3 ;;
    "stage --json") cat $HERE/stage; exit $(cat $HERE/declined) ;;
esac
"""
_REBOOT = """#!/bin/sh
echo reboot >> $HERE/calls
echo up-again > $HERE/boot_id
mv $HERE/after $HERE/status
"""
_SYSTEMCTL = "#!/bin/sh\necho running\n"


class Fleet:
    """Machines m1, m2, ...: an older kernel runs, a newer one would be staged and comes up by a kexec."""

    def __init__(self, directory: Path, machines: int) -> None:
        self.lab = directory
        self.names = [f"m{number}" for number in range(1, machines + 1)]
        programs = {
            "ssh": _SSH,
            "kexec-hook": _KEXEC_HOOK,
            "reboot": _REBOOT,
            "systemctl": _SYSTEMCTL,
        }
        for name, text in programs.items():
            path = directory / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("@LAB@", str(directory)))
            path.chmod(0o755)
        for name in self.names:
            self.write(name, "status", status("6.1", "GRUB"))
            self.write(name, "after", status("6.2", "kexec"))
            self.write(name, "stage", {"outcome": "staged", "release": "6.2"})
            for what, text in (
                ("check", "kexec"),
                ("declined", "0"),
                ("boot_id", "first"),
                ("calls", ""),
            ):
                (directory / name / what).write_text(text)

    def write(self, name: str, what: str, answer: dict[str, Any]) -> None:
        (self.lab / name).mkdir(exist_ok=True)
        (self.lab / name / what).write_text(json.dumps(answer))

    def roll(self, *words: str) -> tuple[int, str]:
        """ansible-playbook's exit status, and what it said."""
        ssh = {"executable": self.lab / "bin/ssh", "pipelining": "true", "args": "''"}
        options = " ".join(f"ansible_ssh_{key}={value}" for key, value in ssh.items())
        common = f"{options} ansible_become=false ansible_python_interpreter={sys.executable}"
        (self.lab / "ansible.cfg").write_text("")
        inventory = self.lab / "inventory"
        inventory.write_text("".join(f"{name} {common}\n" for name in self.names))
        done = subprocess.run(
            [
                ANSIBLE / "ansible-playbook", "-i", inventory, PLAYBOOK,
                *("-e", f"rolling_reboot_command={self.lab}/bin/reboot", *words),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(self.lab / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.lab / "home"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.lab / "cp"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_FORKS": "2",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    def rebooted(self) -> list[str]:
        return [
            name
            for name in self.names
            if "reboot" in (self.lab / name / "calls").read_text().split()
        ]

    def asked(self) -> list[str]:
        return [name for name in self.names if (self.lab / name / "calls").read_text()]


def status(release: str, booted_by: str, *failed: str) -> dict[str, Any]:
    return {
        "running": {"release": release, "booted_by": booted_by},
        "grub": {"release": "6.2"},
        "failed_jumps": [{"release": name, "time": 1} for name in failed],
        "reboot_required": None,
    }


def test_collection_has_the_version_of_kexec_hook() -> None:
    assert f"\nversion: {__version__}\n" in (COLLECTION / "galaxy.yml").read_text()


needs_ansible = [
    pytest.mark.fleet,
    pytest.mark.skipif(
        not (ANSIBLE / "ansible-playbook").exists(), reason="no .venv/ansible (make fleet)"
    ),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, 3)


class TestRollingReboot:
    pytestmark = needs_ansible

    def test_all_of_them_are_rebooted(self, fleet: Fleet) -> None:
        code, output = fleet.roll()
        assert code == 0, output
        assert fleet.rebooted() == fleet.names
        assert "6.2, booted by kexec" in output

    def test_it_stops_at_the_first_whose_kernel_did_not_come_up(self, fleet: Fleet) -> None:
        fleet.write("m2", "after", status("6.2", "GRUB", "6.2"))
        code, output = fleet.roll()
        assert code != 0
        assert "it runs 6.2, booted by GRUB" in " ".join(output.split()), output
        assert fleet.rebooted() == fleet.asked() == ["m1", "m2"]

    def test_it_stops_where_another_kernel_came_up(self, fleet: Fleet) -> None:
        fleet.write("m1", "after", status("6.1", "kexec"))
        code, output = fleet.roll()
        assert code != 0
        assert "it runs 6.1, booted by kexec" in " ".join(output.split()), output
        assert fleet.asked() == ["m1"]

    def test_a_firmware_boot_that_was_foreseen_stops_nothing(self, fleet: Fleet) -> None:
        fleet.write("m1", "after", status("6.2", "GRUB"))
        fleet.write("m1", "stage", {"outcome": "declined", "release": "6.2"})
        (fleet.lab / "m1/declined").write_text("3")
        (fleet.lab / "m1/check").write_text("firmware")
        code, output = fleet.roll()
        assert code == 0, output
        assert fleet.rebooted() == fleet.names

    def test_a_machine_that_would_go_through_the_firmware_can_be_left_out(
        self, fleet: Fleet
    ) -> None:
        (fleet.lab / "m1/check").write_text("firmware")
        code, output = fleet.roll("-e", "rolling_reboot_may_go_cold=false")
        assert code == 0, output
        assert fleet.rebooted() == fleet.names[1:]

    def test_a_machine_that_needs_no_reboot_can_be_left_out(self, fleet: Fleet) -> None:
        fleet.write("m2", "status", status("6.2", "kexec"))
        code, output = fleet.roll("-e", "rolling_reboot_only_where_due=true")
        assert code == 0, output
        assert fleet.rebooted() == ["m1", "m3"]

    def test_a_failure_of_the_past_stops_it_before_anything_is_done(self, fleet: Fleet) -> None:
        fleet.write("m1", "status", status("6.1", "GRUB", "6.2"))
        code, output = fleet.roll()
        assert code != 0
        assert "a kexec into 6.2 did not come up here before" in " ".join(output.split()), output
        assert (fleet.rebooted(), fleet.asked()) == ([], ["m1"])


class TestLinters:
    pytestmark = needs_ansible

    @pytest.fixture
    def installed(self, tmp_path: Path) -> tuple[Path, dict[str, str]]:
        """As ansible-galaxy installs it: a playbook finds its role by name only there."""
        env = {
            **os.environ,
            "PATH": f"{ANSIBLE}:{os.environ['PATH']}",
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        }
        done = subprocess.run(
            ["ansible-galaxy", "collection", "install", "-p", str(tmp_path), str(COLLECTION)],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        collection = tmp_path / "ansible_collections/kexec_hook/fleet"
        shutil.copy(COLLECTION / ".ansible-lint", collection)
        return collection, env

    @pytest.mark.parametrize(
        "command",
        [
            ("ansible-playbook", "--syntax-check", "-i", "localhost,", "playbooks/install.yml"),
            (
                "ansible-playbook",
                "--syntax-check",
                "-i",
                "localhost,",
                "playbooks/rolling_reboot.yml",
            ),
            ("ansible-lint", "--nocolor", "--offline", "."),
        ],
        ids=["install", "rolling_reboot", "ansible-lint"],
    )
    def test_nothing_is_wrong(
        self, installed: tuple[Path, dict[str, str]], command: tuple[str, ...]
    ) -> None:
        collection, env = installed
        done = subprocess.run(
            command,
            cwd=collection,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
