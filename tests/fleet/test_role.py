"""contrib/ansible's role, by real ansible-core, on a Debian 12 that has kexec-hook's package: settings, unit, fact."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import PROJECT
from tests.packages import chroot as chroots
from tests.packages import deb_lab
from tests.packages.chroot import Chroot, ChrootError

ROLE = PROJECT / "contrib/ansible/roles/kexec_hook"
ANSIBLE = PROJECT / ".venv/ansible"
# What ansible-playbook imports; Debian 12's Python may run it with those of another one's that are plain Python.
MODULES = (
    "ansible",
    "ansible_core-*",
    "jinja2*",
    "markupsafe*",
    "packaging*",
    "resolvelib*",
    "yaml",
)
FILE = "etc/kexec-hook.conf.d/50-ansible.conf"
FACT = "etc/ansible/facts.d/kexec_hook.fact"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: true
  vars: {kexec_hook_settings: %s}
  roles: [kexec_hook]
"""

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not ANSIBLE.exists(), reason="no .venv/ansible (make fleet)"),
]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    why = chroots.missing()
    if why:
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("role")
    try:
        finished = os.environ.get("KEXEC_HOOK_DEB")
        deb = Path(finished) if finished else deb_lab.package(directory)
        root = chroots.unpack(chroots.tarball(deb_lab.machine("bookworm")), directory / "root")
    except ChrootError as error:
        pytest.skip(f"no Debian 12 can be had: {error}")
    root.write("srv/kexec-hook.deb", deb.read_bytes())
    root.run("dpkg", "-i", "/srv/kexec-hook.deb").check()
    [site] = ANSIBLE.glob("lib/python3*/site-packages")
    for path in (path for name in MODULES for path in site.glob(name)):
        shutil.copytree(path, root / "srv/ansible" / path.name)
    shutil.copytree(ROLE, root / "srv/roles/kexec_hook")
    yield root
    root.remove()


def play(root: Chroot, **settings: object) -> tuple[int, dict[str, object]]:
    """How many tasks have changed something, and ansible_local.kexec_hook."""
    root.write("srv/play.yml", PLAY % json.dumps(settings))
    env = {"PYTHONPATH": "/srv/ansible", "SYSTEMD_OFFLINE": "1", "ANSIBLE_NOCOLOR": "1"}
    ansible = ("/usr/bin/python3", "-m", "ansible.cli.playbook", "-i", "localhost,")
    done = root.run(*ansible, "/srv/play.yml", env=env).check()
    recap = re.search(r"changed=([0-9]+) .* failed=0 ", done.output)
    assert recap, done.output
    setup = ("-m", "setup", "-a", "filter=ansible_local", "-c", "local", "localhost")
    asked = root.run("/usr/bin/python3", "-m", "ansible.cli.adhoc", *setup, env=env).check()
    facts = asked.output
    local = json.loads(facts[facts.index("{") :])["ansible_facts"]["ansible_local"]
    return int(recap[1]), local["kexec_hook"]


def test_settings_come_and_go_and_the_fact_says_what_kexec_hook_says(debian: Chroot) -> None:
    changed, fact = play(debian, load=True, remove_parameters=["rhgb", "quiet"], panic_timeout=30)
    assert changed
    text = (debian / FILE).read_text().splitlines()
    assert text[1:] == ["load = yes", "panic_timeout = 30", "remove_parameters = rhgb quiet"]
    assert fact["schema"] == 1
    said = debian.run("kexec-hook", "explain").output
    assert f"/{FILE}:" in said, "kexec-hook reads what the role has written"
    silent = debian.run("env", "-i", "PATH=/nowhere", "/bin/sh", f"/{FACT}")
    assert (silent.status, silent.output) == (0, "{}\n")

    again, _ = play(debian, load=True, remove_parameters=["rhgb", "quiet"], panic_timeout=30)
    assert again == 0

    play(debian)
    assert not (debian / FILE).exists()


def test_unit_is_enabled(debian: Chroot) -> None:
    debian.run("systemctl", "disable", "kexec-hook.service")
    play(debian)
    wants = debian / "etc/systemd/system/sysinit.target.wants/kexec-hook.service"
    assert wants.is_symlink()
