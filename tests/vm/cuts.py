"""The power is cut while a machine with a one-time entry goes down; what does GRUB boot then?

By QEMU's reset, without a warning: what the guest has not brought to its disk by then is lost.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import ONE_SHOT, UPGRADED

# Said behind finalize, where it has approved: then all is written as well.
_APPROVED = "@@APPROVED"
_TELL = f"""\
[Service]
ExecStopPost=-/bin/sh -c 'test -e /run/kexec-hook/approved && echo {_APPROVED} > /dev/console'
"""
_PATIENCE = 300.0  # seconds until the approval


def _telling(lab: Lab, machine: VirtualMachine) -> None:
    machine.write("/etc/systemd/system/kexec-hook.service.d/e2e.conf", _TELL.encode())
    machine.ok("systemctl daemon-reload && sync")


TELLING = State("telling", _telling, ONE_SHOT)


class Cut(NamedTuple):
    """What came of it."""

    one_shot: Literal["kept", "used"]  # when GRUB looked
    approved: bool  # when the power was cut, as far as was told
    approval: float  # seconds from `reboot` to the approval, where that was waited for


def power_cut(lab: Lab, seconds: float, *, after_approval: bool = False) -> Cut:
    """So many seconds after `reboot`, or after the approval."""
    kept, used = lab.by_grub(ONE_SHOT), lab.by_grub(UPGRADED)
    machine = lab.at(TELLING)
    since, started = machine.mark(), time.monotonic()
    machine.say("reboot")
    if after_approval:
        machine.wait_for_console(_APPROVED, since, _PATIENCE)
    approval = time.monotonic() - started
    machine.wait(seconds)
    approved = _APPROVED in machine.console(since.console)

    booted = machine.reset()
    assert booted.kind == "firmware"
    assert booted.same_as_grub in (kept.same_as_grub, used.same_as_grub)
    blamed = machine.ok("cat /var/lib/kexec-hook/failed.json 2> /dev/null || true")
    if booted.release == kept.release:
        assert not approved, "a kexec was approved, and GRUB still found the one-time entry"
        assert not blamed
    assert machine.shell("test -e /var/lib/kexec-hook/attempt.json").code
    return Cut("kept" if booted.release == kept.release else "used", approved, approval)
