"""Every file by which we remember something, and who writes, reads and removes it, the shell included.

Whoever is named is a module of kexec_hook, or a file of hooks/, systemd/ and packaging/.  Some orders must hold: the
mark is there before kexec is started, and goes last, when kexec_loaded reads 0 and no kexec of ours is alive; the
approval goes first; stamp and changed go before a decision.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.system.directory import LOADER, LOCK
from kexec_hook.system.host import MARK, RUN, VAR
from kexec_hook.tuples import NamedTuple

STAGED = "staged.json"
APPROVED = "approved"
COLD = "cold"
ASKED = "asked"
SAID = "said"
STAMP = "stamp"
CHANGED = "changed"
NEW = "new"
ATTEMPT = "attempt.json"
FAILED = "failed.json"
JUMPED = "jumped.json"
JUMPS = "jumps.json"
DOWN = "down"
GAPS = "gaps"

_RUN = "hooks/run"
_GAP = "hooks/gap"
_BOOT = "hooks/boot"
_CANCELLED = "systemd/kexec-hook-cancelled.service"
_JUMP = (
    "systemd/systemd-kexec.service.d/50-kexec-hook.conf",
    "systemd/systemd-reboot.service.d/50-kexec-hook.conf",
)
_MARKS = (
    "hooks/apt/zzz-kexec-hook",
    "hooks/dnf/99-kexec-hook.install",
    "packaging/rpm/kexec-hook.spec",
)
_ASK_LATER = ("hooks/dnf/kexec-hook.actions", "hooks/dnf/kexec_hook.py", "hooks/zypper/kexec-hook")
_DEBIAN = "packaging/debian"
_SPEC = "packaging/rpm/kexec-hook.spec"


class Name(NamedTuple):
    """One file; who is named writes, reads or removes it."""

    path: str
    what: str  # what it says
    written: tuple[str, ...]
    read: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()  # none: it stays


NAMES = (
    Name(
        MARK,
        "what the kernel holds, or may hold, was loaded by kexec-hook, and is started only with its approval",
        ("staging.load", f"{_DEBIAN}/preinst", _SPEC),
        ("state.record", _RUN, _GAP, *_JUMP),
        ("staging.load", _RUN, f"{_DEBIAN}/postrm", _SPEC),
    ),
    Name(
        f"{RUN}/{LOCK}", "its holder decides and acts", ("system.directory",), ("system.directory",)
    ),
    Name(
        f"{RUN}/{LOADER}",
        "its holder is a kexec that loads, and nobody forgets what it loads",
        ("system.directory",),
        ("system.directory", _RUN),
    ),
    Name(
        f"{RUN}/{STAGED}",
        'what is staged: "loading" before kexec is started, "staged" after',
        ("staging.load",),
        ("state.record", _RUN, f"{_DEBIAN}/preinst", _SPEC),
        ("staging.load", _RUN),
    ),
    Name(
        f"{RUN}/{APPROVED}",
        "the next reboot may be a kexec",
        ("staging.jump",),
        (*_JUMP, _CANCELLED, _GAP, _RUN),
        ("staging.jump", "staging.load", _RUN, _BOOT),
    ),
    Name(
        f"{RUN}/{COLD}",
        "`kexec-hook coldreboot` asked for a firmware boot",
        ("commands.reboot",),
        ("staging.finalize",),
        ("commands.reboot", "commands.stage"),
    ),
    Name(
        f"{RUN}/{ASKED}",
        "`kexec-hook reboot` asked for this reboot",
        ("commands.reboot",),
        ("staging.jump", "plugins.builtin.jumps"),
        ("commands.reboot", _BOOT),
    ),
    Name(f"{RUN}/{SAID}", "why the last `run` declined", ("commands.stage",), ("commands.stage",)),
    Name(
        f"{RUN}/{STAMP}",
        "what has to stay as it is so that nothing need be decided; shell",
        ("commands.stage",),
        (_RUN,),
        ("commands.stage", _RUN),
    ),
    Name(
        f"{RUN}/{CHANGED}",
        "the stamp is not to be believed",
        ("commands.stage", *_MARKS, f"{_DEBIAN}/postinst"),
        (_RUN,),
        ("commands.stage", _RUN),
    ),
    Name(
        f"{RUN}/{NEW}",
        "the apt that installed kexec-hook does not know its hook yet",
        (f"{_DEBIAN}/postinst",),
        (_RUN, f"{_DEBIAN}/postinst"),
        (_RUN,),
    ),
    Name(
        "/run/kexec-hook.asks-PID",
        "dnf or zypper, whose process has that number, asks when its transaction is done",
        _ASK_LATER,
        (_RUN,),
        _ASK_LATER,
    ),
    Name(f"{VAR}/{LOCK}", "its holder writes here", ("system.directory",), ("system.directory",)),
    Name(
        f"{VAR}/{ATTEMPT}",
        "the kexec that finalize noted, and what GRUB would have written, until the next boot",
        ("staging.jump",),
        ("state.attempts", _BOOT, _RUN, "systemd/kexec-hook-judge.service"),
        ("state.attempts", _BOOT),
    ),
    Name(
        f"{VAR}/{FAILED}",
        "releases that did not come up after a kexec, until `kexec-hook ack`",
        ("state.attempts",),
        ("state.attempts",),
        ("state.attempts",),
    ),
    Name(
        f"{VAR}/{JUMPED}",
        "the kexec that came up last, as it was noted, until it is among the others",
        (_BOOT,),
        ("state.attempts",),
        ("state.attempts",),
    ),
    Name(
        f"{VAR}/{JUMPS}",
        "the last kexecs, and whether they came up",
        ("state.attempts",),
        ("state.attempts",),
    ),
    Name(
        f"{VAR}/{DOWN}",
        "what the clocks showed when the machine went down to reboot; empty after the next boot",
        (_GAP,),
        (_GAP,),
        (_GAP,),
    ),
    Name(
        f"{VAR}/{GAPS}",
        "what the clocks showed before and after the last reboots, a line each",
        (_GAP,),
        ("state.gain",),
    ),
)
