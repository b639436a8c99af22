"""The seed and the numbers of the generated cases, at the end of a run."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, said in getattr(report, "user_properties", ()):
                if name == "oracle":
                    terminalreporter.write_line(f"oracle: {said}")
