"""How much hypothesis tries: enough for each change; KEXEC_HOOK_EXAMPLES asks for more."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "kexec-hook",
    max_examples=int(os.environ.get("KEXEC_HOOK_EXAMPLES", "30")),
    deadline=None,  # of one example: machines that build packages are busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("kexec-hook")
