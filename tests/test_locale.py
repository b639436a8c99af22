"""Any locale: no traceback, and no byte of what is loaded or of JSON differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import PROJECT, Box

UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C as Python would have it": {"LC_ALL": "C"},
    "latin-1": {"LC_ALL": "de_DE", "PYTHONUTF8": "0"},
    "nothing at all": {},
}
CONFIG = "menuentry 'Déb«ian» 日本' {{\n linux /boot/vmlinuz-{release} root=/dev/mapper/x naïve=日本\n initrd /boot/é.img\n}}\n"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path)
    release = "6.1.0-39-amd64"
    (box / "boot/é.img").write_bytes((box / f"boot/initrd.img-{release}").read_bytes())
    raw = CONFIG.format(release=release).encode() + b"# \xff\xfe, as no UTF-8 has it\n"
    (box / "boot/grub/grub.cfg").write_bytes(raw)
    return box


@pytest.fixture(scope="module", params=list(LOCALES.values()), ids=list(LOCALES))
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found: dict[str, str] = dict(request.param)
    if found.get("LC_ALL") != "de_DE":
        return found
    locales = tmp_path_factory.mktemp("locales")
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(locales / "de_DE")]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"localedef makes no locale: {error}")
    return {**found, "LOCPATH": str(locales)}


def answer(box: Box, env: dict[str, str], *argv: str) -> tuple[int, bytes, bytes]:
    host = box.host
    # A file, as the installed command is one: Python 3.9 cannot begin anew what -c was given.
    driver = box.lib / "driver.py"
    driver.write_text(
        "from kexec_hook.__main__ import run\n"
        "from kexec_hook.system.process import Programs\nfrom kexec_hook.system.host import Host\n"
        f"run(Host({host.root!r}, Programs({host.programs.path!r}), {host.owner}, True))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **env}
    argv = (sys.executable, str(driver), *argv)
    done = subprocess.run([word.encode() for word in argv], capture_output=True, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_no_command_fails_or_decides_otherwise(box: Box, env: dict[str, str]) -> None:
    for argv in (["status"], ["list"], ["explain"], ["stage", "-n", "--entry", "Déb«ian» 日本"]):
        assert answer(box, env, *argv) == answer(box, UTF8, *argv)
    status, out, _ = answer(box, env, "list", "--json")
    assert status == 0
    assert out.isascii()
    assert json.loads(out)["entries"][0]["titles"] == ["Déb«ian» 日本"]


def test_what_is_loaded_is_the_same_to_the_byte(box: Box, env: dict[str, str]) -> None:
    log = box.lib / "kexec.log"
    status, out, error = answer(box, env, "run", "--source=apt")
    assert (status, error) == (0, b"")
    assert b"next reboot: kexec into" in out
    assert "naïve=日本".encode() in log.read_bytes()
    assert (box.lib / "initrd").read_bytes() == (box / "boot/é.img").read_bytes()
