"""`python3 -m kexec_hook`, and what the installed command runs."""

from __future__ import annotations

import sys
from typing import NoReturn

from kexec_hook.cli import main


def run() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    run()
