"""Coverage-guided fuzzing, by hand: `make fuzz TARGET=script FOR=300`; needs atheris, which nothing else does."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["kexec_hook"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
