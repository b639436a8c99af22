"""The machine that the tests share, what is kept of each test, and what more of one that fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.vm import proof
from tests.vm.lab import Lab

_LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Lab:
    """A machine of the module's RECIPE, with its DEVICES, in its LAB; kept for the next module where that is the same."""
    stash = request.config.stash
    kind = getattr(request.module, "LAB", Lab)
    wanted = request.module.RECIPE, getattr(request.module, "DEVICES", ())
    kept = stash.get(_LAB, None)
    if kept is None or (type(kept), kept.recipe, kept.devices) != (kind, *wanted):
        _close(request.config)
        stash[_LAB] = kind(*wanted)
    return stash[_LAB]


def pytest_unconfigure(config: pytest.Config) -> None:
    _close(config)


def _close(config: pytest.Config) -> None:
    if _LAB in config.stash:
        config.stash[_LAB].close()
        del config.stash[_LAB]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and _LAB in item.config.stash:
        test = f"{item.path.name}::{item.name}"
        proof.remember(test, report.outcome, report.duration, item.config.stash[_LAB].versions)
    if report.failed and report.when != "teardown" and _LAB in item.config.stash:
        evidence = item.config.stash[_LAB].keep_evidence(item.name)
        report.sections.append(("evidence", evidence))
        # At once: whoever waits for the end may be cut off before it.
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write(f"\n{report.longreprtext}\n{evidence}\n")
