"""Work in a process of its own, where there can be no other process."""

from __future__ import annotations

from tests.ordinary import OrdinaryUser

WITHOUT_PROCESSES = """
import resource
from kexec_hook.system.process import ProcessError
from kexec_hook.system.worker import in_worker
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    in_worker(lambda: b"done", 10)
except ProcessError as error:
    print(error)
"""


def test_a_worker_that_cannot_be_started_is_the_error_of_a_process(user: OrdinaryUser) -> None:
    done = user.python(WITHOUT_PROCESSES)
    assert done.stderr == ""
    assert done.stdout == "`kexec-hook` could not be started: Resource temporarily unavailable\n"
