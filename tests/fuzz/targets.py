"""What the fuzzer runs: bytes in, and nothing but our own errors may come out, soon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from kexec_hook.grub.flavours import FLAVOURS
from kexec_hook.grub.grubenv import BadBlock, replace, variables
from kexec_hook.grub.menu import boot_default, evaluate, try_all
from kexec_hook.grub.regex import automaton as ere
from kexec_hook.grub.script.source import ScriptError
from tests.property.disk import PREFIX, machine


def _flavour(data: bytes) -> tuple[str, bytes]:
    """The first byte chooses a GRUB."""
    return sorted(FLAVOURS)[data[0] % len(FLAVOURS)] if data else "upstream", data[1:]


def _evaluate(files: Mapping[str, bytes], flavour: str) -> None:
    made = machine(files, flavour)
    with suppress(ScriptError):
        if evaluate(made, f"{PREFIX}/grub.cfg") == "menu":
            for _ in try_all(made):
                pass
            boot_default(made)
    for problem in made.problems:
        assert str(problem.span) if problem.span else problem.message


def script(data: bytes) -> None:
    """A configuration: read, run, each entry tried, the default booted."""
    flavour, text = _flavour(data)
    _evaluate({"/boot/grub/grub.cfg": text, "/a": b"", "/b/c": b"x=1\n"}, flavour)


def bls(data: bytes) -> None:
    """Two snippets, parted by a NUL, and what blscfg makes of them."""
    flavour, text = _flavour(data)
    first, _, second = text.partition(b"\0")
    config = b"set v=x\nset early_initrd='a b'\nblscfg\n"
    files = {
        "/loader/entries/a-1.conf": first,
        "/loader/entries/b-2.conf": second,
        "/boot/grub/grub.cfg": config,
    }
    _evaluate(files, flavour if flavour != "upstream" else "upstream-2.14")


def grubenv(data: bytes) -> None:
    """An environment block: read, one variable set and deleted."""
    head, _, rest = data.partition(b"\0")
    name, _, value = head.decode("utf-8", "surrogateescape").partition("=")
    for block in (rest, (b"# GRUB Environment Block\n" + rest).ljust(1024, b"#")):
        for skip in (False, True):
            with suppress(BadBlock):
                list(variables(block, skip_blank=skip))
        for new in (value, None):
            with suppress(BadBlock):
                assert len(replace(block, name, new)) == len(block)


def pattern(data: bytes) -> None:
    """A regular expression and a text, parted by a NUL."""
    expression, _, text = data.decode("utf-8", "surrogateescape").partition("\0")
    with suppress(ere.EreError):
        ere.compile(expression).search(text)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "script": script,
    "bls": bls,
    "grubenv": grubenv,
    "pattern": pattern,
}
