"""What kexec(8) is told: load, unload, and whether the kernel holds an image; by the file syscall first."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kexec_hook.errors import KexecHookError
from kexec_hook.system.host import Host
from kexec_hook.system.process import ProcessError, TimedOut
from kexec_hook.tuples import NamedTuple

TIMEOUT = 120.0  # seconds; it reads kernel and initrd, and may check a signature
UNLOAD_TIMEOUT = 10.0  # seconds
LOADED = "/sys/kernel/kexec_loaded"
CRASH_LOADED = "/sys/kernel/kexec_crash_loaded"
# How many more calls may load or unload: since Linux 6.3 each takes one, but for -1, and it can only be lowered.
LIMIT = "/proc/sys/kernel/kexec_load_limit_reboot"
_MOST = b"2147483647\n"
# What kexec_load() would have been given, which kexec(8) prints for its developers: print_segments() in kexec/kexec.c.
_DUMP = r"(?m)^(?:entry +=|nr_segments +=|segment\[\d+\]\.).*\n?"
# kexec-tools' --kexec-syscall-auto: the file syscall, which Secure Boot needs, and the old one where that is missing.
_AUTO_SINCE = "2.0.20"


class KexecError(KexecHookError):
    """kexec did not do it; one sentence with what it said.  The failing program is the `__cause__`."""


class Kexec(NamedTuple):
    """kexec on one machine."""

    host: Host

    def loaded(self) -> bool:
        """Does the kernel hold an image for the next reboot?"""
        return self.host.fact(LOADED) == "1"

    def crash_loaded(self) -> bool:
        return self.host.fact(CRASH_LOADED) == "1"

    def calls_left(self) -> int | None:
        """What the kernel counts down; while it stays, nobody has loaded or unloaded.  None where it does not count."""
        found = self.host.fact(LIMIT)
        return int(found) if found.isdigit() else None

    def count_calls(self) -> int | None:
        """From now on the kernel counts, if it can; `calls_left`."""
        if self.host.fact(LIMIT) == "-1":
            try:
                with open(self.host.path(LIMIT), "wb", buffering=0) as file:
                    file.write(_MOST)
            except OSError:
                pass  # a read-only /proc: then it does not count
        return self.calls_left()

    def knows_auto(self) -> bool:
        """Is it new enough to fall back by itself?"""
        from packaging.version import Version

        try:
            said = self.host.programs.run(("kexec", "--version"), timeout=TIMEOUT, check=False)
        except ProcessError:
            return False
        found = re.search(r"(\d+(?:\.\d+)+)", said.stdout + said.stderr)
        return found is not None and Version(found[1]) >= Version(_AUTO_SINCE)

    def load(self, argv: Sequence[str], pass_fds: Iterable[int] = ()) -> tuple[str, ...]:
        """Load by the first syscall that works; the call that did.  KexecError."""
        name, *rest = argv
        fds = tuple(pass_fds)
        chosen = any(word in ("-a", "-c", "-s") or word.startswith("--kexec-") for word in rest)
        calls = [tuple(argv) if chosen else (name, "--kexec-syscall-auto", *rest)]
        for call in calls:
            try:
                self.host.programs.run(call, pass_fds=fds, timeout=TIMEOUT, undisturbed=True)
                return call
            except TimedOut as error:
                raise _failed(error) from error
            except ProcessError as error:
                # Asked only now: nearly every kexec is new enough, and to ask takes as long as a tenth of a run.
                if len(calls) == 1 and not chosen and not self.knows_auto():
                    calls += [(name, "--kexec-file-syscall", *rest), (name, *rest)]
                if call is calls[-1]:
                    raise _failed(error) from error
        raise AssertionError("there is always a call")

    def unload(self, pass_fds: Iterable[int] = (), *, panic: bool = False) -> None:
        """Make the kernel forget its image, by the file syscall first: the other is refused under Secure Boot."""
        held = self.crash_loaded if panic else self.loaded
        words = ("--unload", "--load-panic") if panic else ("--unload",)
        failure: ProcessError | None = None
        fds = tuple(pass_fds)
        for call in (("kexec", "--kexec-file-syscall", *words), ("kexec", *words)):
            if not held():
                return
            try:
                self.host.programs.run(call, pass_fds=fds, timeout=UNLOAD_TIMEOUT, undisturbed=True)
            except TimedOut as error:
                failure = failure or error
                break
            except ProcessError as error:
                failure = failure or error
        if held():
            reason = (
                str(failure)
                if failure
                else "kexec --unload reported success, but a kernel image is still loaded"
            )
            raise KexecError(f"the image could not be unloaded: {reason}") from failure


def _failed(error: ProcessError) -> KexecError:
    """Without the command line, which may hold what only root may read (rd.luks.key=, say)."""
    words = [word for word in error.argv if "=" not in word and not word.startswith("--kexec-")]
    shown = ProcessError(words[:3], error.what, error.status, re.sub(_DUMP, "", error.stderr))
    return KexecError(str(shown))
