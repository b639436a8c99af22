"""errors/NAME.err is all that is said when errors/NAME.grub runs: where, what, and which word."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexec_hook.cli import main
from tests.oracle import world

CASES = sorted(Path(__file__).with_name("errors").glob("*.grub"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_an_error_points(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case.parent)
    main(["grub-eval", str(world.make(tmp_path).files), "--script", case.name])
    assert capsys.readouterr().err == case.with_suffix(".err").read_text()
