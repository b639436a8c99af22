"""What to say of a plugin that raised."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


def blame(error: BaseException) -> str:
    """What was raised, and the innermost place."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
