"""`stage --panic`: the kernel that takes over when the running one panics, as /etc/sysconfig/kdump asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kexec_hook.disks.root import RootDisks
from kexec_hook.kernel.cmdline import CmdlineError
from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.plugins.api import Decision, Note, Objection, Trigger
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
    """Which crash kernel, with which command line, and what speaks against it."""
    kdump = load_kdump(sysroot)
    kernels, initrds = panic_files(kdump, host.running)
    kernel = next(filter(sysroot.is_file, kernels), None)
    initrd = next(filter(sysroot.is_file, initrds), None)
    objections = []
    if kernel is None:
        objections.append(f"there is no crash kernel: looked for {', '.join(kernels)}")
    if initrd is None:
        objections.append(
            f"there is no initrd for the crash kernel: looked for {', '.join(initrds)}"
        )
    plan = None
    if kernel is not None:
        try:
            plan = _plan(host, kdump, kernel, initrd)
        except CmdlineError as error:
            objections.append(str(error))
    if sysroot.is_host:
        objections += _machine(host, trigger)
    return Decision(
        trigger,
        sysroot,
        settings,
        RootDisks(sysroot),
        plan=plan,
        objections=tuple(Objection(reason, "panic") for reason in objections),
        notes=tuple(Note(text, "crash-kernel-settings") for text in _notes(kdump)),
        programs=host.programs,
        owner=host.owner,
    )


def _plan(host: Host, kdump: KdumpSettings, kernel: str, initrd: str | None) -> Plan:
    """Raises CmdlineError."""
    release = kdump.kernelver.value or host.running
    initrds = (InitrdFile(initrd),) if initrd else ()
    cmdline = panic_cmdline(kdump, host.cmdline)
    return Plan(kernel, initrds, cmdline, release, None, kdump.kexec_args.value, panic=True)


def _machine(host: Host, trigger: Trigger) -> Iterator[str]:
    if host.fact("/sys/kernel/kexec_crash_size") in ("", "0"):
        yield "no memory is reserved for a crash kernel; boot with crashkernel=256M or so on the command line"
    if host.fact("/proc/sys/kernel/kexec_load_disabled") == "1":
        yield "kernel.kexec_load_disabled is 1: this kernel takes no image until it is booted again"
    if Kexec(host).crash_loaded() and not trigger.force:
        yield "a crash kernel is loaded already; --force replaces it"
    if host.programs.find("kexec") is None:
        yield "there is no kexec; install kexec-tools"
    for service in _SERVICES:
        if _enabled(host, service):
            yield f"{service} is enabled and loads the crash kernel; `systemctl disable {service}` to leave it to this"


def _enabled(host: Host, service: str) -> bool:
    try:
        return (
            host.programs.run(("systemctl", "is-enabled", service), timeout=20, check=False).status
            == 0
        )
    except ProcessError:
        return False


def _notes(kdump: KdumpSettings) -> Iterator[str]:
    if kdump.mkdumprd_args.value:
        yield f"MKDUMPRD_ARGS ({kdump.mkdumprd_args.origin}) is for mkdumprd, which makes the initrd; it is unused here"
    if not kdump.found:
        yield "there is no /etc/sysconfig/kdump: the running command line, followed by irqpoll nr_cpus=1 reset_devices"


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
                "kexec said it had loaded the kernel, but /sys/kernel/kexec_crash_loaded says it has not"
            )
    except (KexecError, SysrootError, OSError) as error:
        return Staging("failed", decision, failure=str(error))
    return Staging("staged", decision, time.monotonic() - started)
