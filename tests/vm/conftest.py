"""The machine that all tests share, and what is kept when one of them fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.vm.lab import Lab

_LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    lab = Lab()
    pytestconfig.stash[_LAB] = lab
    yield lab
    lab.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when != "teardown" and _LAB in item.config.stash:
        report.sections.append(("evidence", item.config.stash[_LAB].keep_evidence(item.name)))
