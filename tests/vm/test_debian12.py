"""Debian 12 (systemd 252, GRUB 2.06): a reboot is a jump into what GRUB would boot, or an ordinary reboot.

What changes after staging is for finalize alone to see: apt's glue is kept out where it would see it first.
"""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import (
    LOGIND,
    ONE_SHOT,
    UPGRADED,
    early_cpio,
    grub_reboot_is_followed_once,
    jump,
    loaded,
    stage,
)

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

# The states.


def _saved(lab: Lab, machine: VirtualMachine) -> None:
    machine.ok(
        "printf '%s\\n' GRUB_DEFAULT=saved GRUB_SAVEDEFAULT=true >> /etc/default/grub && update-grub",
        300,
    )
    assert stage(machine)["release"] == lab.image.newer
    machine.ok(f"grub-set-default '{lab.entry_of(lab.image.older)}'")


# Memory for a crash kernel, and words that GRUB has to quote.
ADDED = r"""
GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX crashkernel=256M e2e.a=\"two  words\" e2e.b='\$x\\y' e2e.c=\\\\\\\$"
"""


def _edited(lab: Lab, machine: VirtualMachine) -> None:
    assert stage(machine)["release"] == lab.image.newer
    machine.write("/boot/microcode.cpio", early_cpio("e2e-early", b"brought along\n"))
    machine.ok(f"cat >> /etc/default/grub <<'END'{ADDED}END\nupdate-grub", 300)


def _purged(lab: Lab, machine: VirtualMachine) -> None:
    assert stage(machine)["release"] == lab.image.newer
    machine.ok(f"KEXEC_HOOK_SUSPEND=1 apt-get -y -qq purge linux-image-{lab.image.newer}", 600)
    assert loaded(machine) == "1"


# The newer kernel is staged in each of these, and then something changes.
SAVED = State("saved", _saved, UPGRADED)
EDITED = State("edited", _edited, UPGRADED)
PURGED = State("purged", _purged, UPGRADED)


# The jump, whoever asks.


@pytest.mark.parametrize(
    ("command", "load"),
    [
        ("kexec-hook reboot --yes", "true"),
        ("reboot", "true"),
        ("systemctl reboot", "false"),
        ("shutdown -r now", "true"),
        pytest.param(LOGIND, "false", id="logind's D-Bus Reboot-false"),
    ],
)
def test_every_caller_jumps_into_what_grub_boots(lab: Lab, command: str, load: str) -> None:
    by_grub = lab.by_grub(UPGRADED)
    assert by_grub.release == lab.image.newer
    machine = lab.at(UPGRADED)
    load_kexec(machine, load)
    staged = stage(machine)
    assert (staged["outcome"], staged["release"], loaded(machine)) == (
        "staged",
        by_grub.release,
        "1",
    )
    assert staged["cmdline"].encode() + b"\n" == by_grub.cmdline
    assert jump(machine, command) == by_grub.same_as_grub


def load_kexec(machine: VirtualMachine, value: str) -> None:
    """Debian's own setting, which is true where nobody has changed it; ours has the last word."""
    machine.ok(f"sed -i 's/^LOAD_KEXEC=.*/LOAD_KEXEC={value}/' /etc/default/kexec")
    if value == "false":
        machine.write("/etc/kexec-hook.conf.d/e2e.conf", b"load = yes\n")


# No jump.


# `reboot -f` stops no unit, hence nothing reads LOAD_KEXEC.
@pytest.mark.parametrize(
    ("command", "load"),
    [
        ("kexec-hook coldreboot", "true"),
        ("coldreboot", "true"),
        ("coldreboot", "false"),
        ("reboot -f", "true"),
    ],
)
def test_cold_reboot_is_cold(lab: Lab, command: str, load: str) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    load_kexec(machine, load)
    stage(machine)
    booted = machine.reboot(command)
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub
    assert machine.shell("test -e /no-kexec-reboot").code


@pytest.mark.parametrize("load", ["true", "false"])
def test_power_off_powers_off(lab: Lab, load: str) -> None:
    machine = lab.at(UPGRADED)
    load_kexec(machine, load)
    stage(machine)
    before = machine.power_off("poweroff")
    assert (machine.resets, "@@READY" in machine.console(before.console)) == (before.resets, False)


def test_load_kexec_alone_does_not_jump(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    load_kexec(machine, "true")
    booted = machine.reboot("reboot")
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub


def test_without_a_record_of_ours_an_administrators_kexec_jumps(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    machine.ok(
        f"kexec -s -l /boot/vmlinuz-{lab.image.newer} --initrd=/boot/initrd.img-{lab.image.newer}"
        ' --append="$(sed "s/BOOT_IMAGE=[^ ]* //" /proc/cmdline) e2e.by=hand"'
    )
    booted = machine.reboot("systemctl kexec")
    assert (booted.kind, booted.release) == ("kexec", lab.image.newer)
    assert booted.cmdline.endswith(b" e2e.by=hand\n")


# What changes between staging and the reboot.


test_grub_reboot_is_followed_once = grub_reboot_is_followed_once


def test_grub_set_default_is_followed(lab: Lab) -> None:
    by_grub = lab.by_grub(SAVED)
    assert by_grub.release == lab.image.older
    assert jump(lab.at(SAVED)) == by_grub.same_as_grub


def test_update_grub_is_followed_and_both_initrds_arrive(lab: Lab) -> None:
    machine = lab.after_grub(EDITED)
    assert machine.ok("cat /run/e2e-early") == "brought along"
    by_grub = lab.by_grub(EDITED)
    assert b" crashkernel=256M " in by_grub.cmdline
    machine = lab.at(EDITED)
    assert jump(machine) == by_grub.same_as_grub
    assert machine.ok("cat /run/e2e-early") == "brought along"


def test_purged_kernel_does_not_boot(lab: Lab) -> None:
    by_grub = lab.by_grub(PURGED)
    assert by_grub.release == lab.image.older
    assert jump(lab.at(PURGED)) == by_grub.same_as_grub


# finalize does not come to its end.  grub-reboot came after staging, hence it calls kexec.


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param("kill -KILL $PPID", id="killed"),
        pytest.param("kill -STOP $PPID; sleep 1000", id="timed out"),
        pytest.param("echo no memory >&2; exit 1", id="kexec fails"),
    ],
)
def test_finalize_that_does_not_end_well_leads_to_an_ordinary_reboot(
    lab: Lab, instead: str
) -> None:
    by_grub = lab.by_grub(ONE_SHOT)
    machine = lab.at(ONE_SHOT)
    machine.write(
        "/etc/systemd/system/kexec-hook.service.d/e2e.conf", b"[Service]\nTimeoutStopSec=30\n"
    )
    machine.ok("systemctl daemon-reload && mv /sbin/kexec /sbin/kexec.real")
    # /run is another one after the boot: this file must not be.
    script = f'#!/bin/sh\necho "$@" >> /var/log/kexec.called\n{instead}\n'
    machine.write("/sbin/kexec", script.encode())
    machine.ok("chmod 755 /sbin/kexec")
    booted = machine.reboot("reboot")
    assert machine.ok("cat /var/log/kexec.called")
    assert booted.kind == "firmware"
    assert booted.same_as_grub == by_grub.same_as_grub


# The crash kernel.


def test_crash_kernel_sees_the_memory_of_the_crashed_one(lab: Lab) -> None:
    machine = lab.after_grub(EDITED)
    machine.ok("mkdir -p /var/lib/kdump && cp /boot/initrd.img-$(uname -r) /var/lib/kdump/")
    stage(machine, "--panic")
    assert (machine.ok("cat /sys/kernel/kexec_crash_loaded"), loaded(machine)) == ("1", "0")
    booted = machine.reboot("echo c > /proc/sysrq-trigger")
    assert (booted.kind, booted.release) == ("kexec", lab.image.newer)
    assert b"crashkernel" not in booted.cmdline
    assert int(machine.ok("stat -c %s /proc/vmcore")) > 500 << 20
