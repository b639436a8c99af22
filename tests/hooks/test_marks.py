"""The scripts that run inside the package managers never fail, whatever has become of /run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELLS = [[shell] for shell in ("dash", "bash") if shutil.which(shell)]
SHELLS += [["bash", "--posix"]] if shutil.which("bash") else []
SHELLS += [["busybox", "sh"]] if shutil.which("busybox") else []
MARKS = ["hooks/apt/zzz-kexec-hook", "hooks/dnf/99-kexec-hook.install", "packaging/debian/postinst"]


class Hook:
    """A script with /run/kexec-hook and what it calls below a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.state = directory / "state"
        self.log = directory / "log"
        called = directory / "called"
        called.write_text(f'#!/bin/sh\necho "$*" >> {self.log}\n')
        called.chmod(0o755)
        text = (ROOT / name).read_text()
        for path, instead in {
            "/run/kexec-hook": self.state,
            "/usr/lib/kexec-hook/run": called,
        }.items():
            # Whole paths only: the one begins like the other ends.
            text = text.replace(f" {path}", f" {instead}")
        self.script = directory / "script"
        self.script.write_text(text.replace("#DEBHELPER#", ""))

    def run(
        self, shell: "list[str]", *words: str, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        argv = [*shell, str(self.script), *words]
        return subprocess.run(
            argv, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True
        )


WORDS = {"zzz-kexec-hook": ("6.1.0-39-amd64",), "99-kexec-hook.install": ("add", "6.1.0-39-amd64")}
WORDS["postinst"] = ("configure", "0.1.0")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("name", MARKS)
def test_kernel_is_installed_though_the_mark_cannot_be_written(
    tmp_path: Path, shell: "list[str]", name: str
) -> None:
    hook = Hook(tmp_path, name)
    # A directory stands for what root, too, cannot write: a /run that is full, or read-only in a chroot.
    (hook.state / "changed").mkdir(parents=True)
    (hook.state / "new").mkdir()
    words = WORDS[Path(name).name]
    done = hook.run(shell, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "words", [("triggered", "kexec-hook-stage"), ("configure", ""), ("configure", "0.1.0")]
)
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_package_is_configured_where_run_cannot_be_written(
    tmp_path: Path, shell: "list[str]", words: "tuple[str, str]"
) -> None:
    hook = Hook(tmp_path, "packaging/debian/postinst")
    hook.state.write_text("")
    for env in ({}, {"DPKG_FRONTEND_LOCKED": "true"}):
        done = hook.run(shell, *words, **env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_mark_is_written(tmp_path: Path, shell: "list[str]") -> None:
    hook = Hook(tmp_path, "hooks/apt/zzz-kexec-hook")
    hook.state.mkdir()
    assert hook.run(shell, "6.1.0-39-amd64").returncode == 0
    assert os.listdir(hook.state) == ["changed"]
    assert hook.log.read_text() == "kernel\n"
