"""The fact that Ansible gathers is one JSON document, whatever kexec-hook says, and whether it is there or not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FACT = (
    Path(__file__).resolve().parents[2] / "contrib/ansible/roles/kexec_hook/files/kexec_hook.fact"
)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("""echo '{"schema": 1}'""", {"schema": 1}),
        ("""echo '{"error": "no"}'; echo no >&2; exit 1""", {"error": "no"}),
        ("exit 1", {}),
        ("", {}),
    ],
)
def test_fact_is_one_document(tmp_path: Path, program: str, told: dict[str, Any]) -> None:
    if program:
        (tmp_path / "kexec-hook").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "kexec-hook").chmod(0o755)
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, FACT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == told
