"""`python3 -m kexec_hook`, and what the installed command runs."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc
import io
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from kexec_hook.system.host import Host


def run(host: Host | None = None) -> NoReturn:
    # A run is short and makes hardly any cycles; to look for them would take a tenth of it, much of that at its end.
    gc.disable()
    from kexec_hook.system.process import (
        begin_anew_in_utf8,
        end_as_interrupted,
        open_standard_files,
    )

    open_standard_files()
    begin_anew_in_utf8()
    from kexec_hook.cli import Output, main
    from kexec_hook.commands import fail

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A title that the locale's encoding lacks is no reason to fail; hooks/run would unload what was staged.
        errors = "backslashreplace" if sys.stdout.errors == "strict" else sys.stdout.errors
        encoding, buffered = sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = Output(sys.stdout.detach(), encoding, errors, line_buffering=buffered)
    try:
        code = main(host=host)
    except KeyboardInterrupt:
        fail("interrupted")
        end_as_interrupted()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
