"""The machine that the tests of a file share, and what is kept when one of them fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.vm.lab import Lab

_LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A machine of the module's RECIPE."""
    lab = Lab(request.module.RECIPE)
    request.config.stash[_LAB] = lab
    yield lab
    lab.close()
    del request.config.stash[_LAB]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when != "teardown" and _LAB in item.config.stash:
        evidence = item.config.stash[_LAB].keep_evidence(item.name)
        report.sections.append(("evidence", evidence))
        # At once: whoever waits for the end may be cut off before it.
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write(f"\n{report.longreprtext}\n{evidence}\n")
