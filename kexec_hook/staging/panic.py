"""`stage --panic`: the kernel that takes over when the running one panics, as /etc/sysconfig/kdump asks for it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from collections.abc import Iterator

from kexec_hook.disks.root import RootDisks
from kexec_hook.kernel.cmdline import CmdlineError
from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.plugins.api import Decision, Note, Objection, Trigger
from kexec_hook.plugins.builtin.host import no_kexec
from kexec_hook.settings.conf import Settings
from kexec_hook.settings.kdump import KdumpSettings, load_kdump, panic_cmdline, panic_files
from kexec_hook.staging.load import Staging, initrd_argument
from kexec_hook.system.host import Host
from kexec_hook.system.kexec import Kexec, KexecError
from kexec_hook.system.process import ProcessError
from kexec_hook.system.sysroot import Sysroot, SysrootError

# Fedora's and RHEL's, Debian's and Ubuntu's: whoever enabled one of them has chosen another program for this.
_SERVICES = ("kdump.service", "kdump-tools.service")


def decide(host: Host, sysroot: Sysroot, settings: Settings, trigger: Trigger) -> Decision:
    """Which crash kernel, with which command line, and why it cannot be loaded."""
    kdump = load_kdump(sysroot)
    kernels, initrds = panic_files(kdump, host.running)
    kernel = next(filter(sysroot.is_file, kernels), None)
    initrd = next(filter(sysroot.is_file, initrds), None)
    objections = []
    if kernel is None:
        objections.append(
            Objection(
                f"there is no crash kernel (looked for {', '.join(kernels)})",
                code="crash-kernel-missing",
            )
        )
    if initrd is None:
        objections.append(
            Objection(
                f"there is no initrd for the crash kernel (looked for {', '.join(initrds)})",
                code="crash-kernel-missing",
            )
        )
    plan = None
    if kernel is not None:
        try:
            plan = _plan(host, kdump, kernel, initrd)
        except CmdlineError as error:
            objections.append(Objection(str(error), code="open-quote"))
    if sysroot.is_host:
        objections += _machine(host, trigger)
    return Decision(
        trigger,
        sysroot,
        settings,
        RootDisks(sysroot),
        plan=plan,
        objections=tuple(objection._replace(by="panic") for objection in objections),
        notes=tuple(_notes(kdump)),
        programs=host.programs,
        owner=host.owner,
    )


def _plan(host: Host, kdump: KdumpSettings, kernel: str, initrd: str | None) -> Plan:
    """Raises CmdlineError."""
    release = kdump.kernelver.value or host.running
    initrds = (InitrdFile(initrd),) if initrd else ()
    cmdline = panic_cmdline(kdump, host.cmdline)
    return Plan(kernel, initrds, cmdline, release, None, kdump.kexec_args.value, panic=True)


def _machine(host: Host, trigger: Trigger) -> Iterator[Objection]:
    if host.fact("/sys/kernel/kexec_crash_size") in ("", "0"):
        yield Objection(
            "no memory is reserved for a crash kernel",
            code="no-crash-memory",
            fix="boot with a parameter such as crashkernel=256M",
        )
    if host.fact("/proc/sys/kernel/kexec_load_disabled") == "1":
        yield Objection(
            "kexec is switched off until the next boot (kernel.kexec_load_disabled = 1)",
            code="kexec-disabled",
            fix="take kernel.kexec_load_disabled out of /etc/sysctl.d, then reboot",
        )
    if Kexec(host).crash_loaded() and not trigger.force:
        yield Objection(
            "a crash kernel is loaded already",
            code="crash-kernel-loaded",
            fix="kexec-hook stage --panic --force",
        )
    yield from no_kexec(host.programs, host.sysroot())
    for service in _SERVICES:
        if _enabled(host, service):
            yield Objection(
                f"{service} is enabled and loads a crash kernel of its own",
                code="kdump-enabled",
                fix=f"systemctl disable {service}",
            )


def _enabled(host: Host, service: str) -> bool:
    try:
        return (
            host.programs.run(("systemctl", "is-enabled", service), timeout=20, check=False).status
            == 0
        )
    except ProcessError:
        return False


def _notes(kdump: KdumpSettings) -> Iterator[Note]:
    if kdump.mkdumprd_args.value:
        yield Note(
            f"MKDUMPRD_ARGS ({kdump.mkdumprd_args.origin}) is not used: it is for mkdumprd, which makes the initrd",
            code="crash-kernel-settings",
        )
    if not kdump.found:
        yield Note(
            "there is no /etc/sysconfig/kdump, so the crash kernel gets the running command line, "
            "followed by irqpoll nr_cpus=1 reset_devices",
            code="crash-kernel-settings",
        )


def act(host: Host, decision: Decision) -> Staging:
    """Load the crash kernel."""
    plan = decision.accepted
    if plan is None:
        return Staging("declined", decision)
    kexec = Kexec(host)
    started = time.monotonic()
    try:
        with initrd_argument(decision.sysroot, plan) as (initrd, fds):
            kexec.load(plan.below(decision.sysroot).argv(initrd), fds)
        if not kexec.crash_loaded():
            raise KexecError(
                "kexec reported success, but no crash kernel is loaded (/sys/kernel/kexec_crash_loaded)"
            )
    except (KexecError, SysrootError, OSError) as error:
        return Staging("failed", decision, failure=str(error))
    return Staging("staged", decision, time.monotonic() - started)
