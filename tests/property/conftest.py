"""What hypothesis tries: the same for each change; with KEXEC_HOOK_EXAMPLES as many as it says, and new ones each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "kexec-hook",
    max_examples=int(os.environ.get("KEXEC_HOOK_EXAMPLES", "30")),
    derandomize="KEXEC_HOOK_EXAMPLES" not in os.environ,
    deadline=None,  # of one example: machines that build packages are busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("kexec-hook")
