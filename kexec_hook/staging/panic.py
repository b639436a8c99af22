"""`stage --panic`: the kernel that takes over when the running one panics, as /etc/sysconfig/kdump asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kexec_hook.kernel.plan import InitrdFile, Plan
from kexec_hook.plugins.api import Objection, Run, Trigger
from kexec_hook.settings.conf import Settings
from kexec_hook.settings.kdump import KdumpSettings, load_kdump, panic_cmdline, panic_files
from kexec_hook.staging.load import Done, initrd_argument
from kexec_hook.system.host import World
from kexec_hook.system.kexec import Kexec, KexecError
from kexec_hook.system.process import ProcessError
from kexec_hook.system.sysroot import Sysroot, SysrootError

# Fedora's and RHEL's, Debian's and Ubuntu's: whoever enabled one of them has chosen another program for this.
_SERVICES = ("kdump.service", "kdump-tools.service")


def decide(world: World, sysroot: Sysroot, settings: Settings, trigger: Trigger) -> Run:
    """Which crash kernel, with which command line, and what speaks against it."""
    kdump = load_kdump(sysroot)
    kernels, initrds = panic_files(kdump, world.running)
    kernel = next(filter(sysroot.is_file, kernels), None)
    initrd = next(filter(sysroot.is_file, initrds), None)
    objections = []
    if kernel is None:
        objections.append(f"there is no crash kernel: looked for {', '.join(kernels)}")
    if initrd is None:
        objections.append(f"there is no initrd for the crash kernel: looked for {', '.join(initrds)}")
    plan = None
    if kernel is not None:
        release = kdump.kernelver.value or world.running
        words = (InitrdFile(initrd),) if initrd else ()
        cmdline = panic_cmdline(kdump, world.cmdline)
        plan = Plan(kernel, words, cmdline, release, None, kdump.kexec_args.value, panic=True)
    if sysroot.is_host:
        objections += _machine(world, trigger)
    return Run(
        trigger,
        sysroot,
        settings,
        plan=plan,
        objections=tuple(Objection(reason, "panic") for reason in objections),
        notes=tuple(_notes(kdump)),
        programs=world.programs,
        owner=world.owner,
    )


def _machine(world: World, trigger: Trigger) -> Iterator[str]:
    if world.fact("/sys/kernel/kexec_crash_size") in ("", "0"):
        yield "no memory is reserved for a crash kernel; boot with crashkernel=256M or so on the command line"
    if world.fact("/proc/sys/kernel/kexec_load_disabled") == "1":
        yield "kernel.kexec_load_disabled is 1: this kernel takes no image until it is booted again"
    if Kexec(world).crash_loaded() and not trigger.force:
        yield "a crash kernel is loaded already; --force replaces it"
    if world.programs.find("kexec") is None:
        yield "there is no kexec; install kexec-tools"
    for service in _SERVICES:
        if _enabled(world, service):
            yield f"{service} is enabled and loads the crash kernel; `systemctl disable {service}` to leave it to this"


def _enabled(world: World, service: str) -> bool:
    try:
        return world.programs.run(("systemctl", "is-enabled", service), timeout=20, check=False).status == 0
    except ProcessError:
        return False


def _notes(kdump: KdumpSettings) -> Iterator[str]:
    if kdump.mkdumprd_args.value:
        yield f"MKDUMPRD_ARGS ({kdump.mkdumprd_args.origin}) is for mkdumprd, which makes the initrd; it is unused here"
    if not kdump.found:
        yield "there is no /etc/sysconfig/kdump: the running command line, followed by irqpoll nr_cpus=1 reset_devices"


def act(world: World, run: Run) -> Done:
    """Load the crash kernel."""
    if run.declined or run.plan is None:
        return Done("declined", run)
    kexec = Kexec(world)
    started = time.monotonic()
    try:
        with initrd_argument(run.sysroot, run.plan) as (initrd, fds):
            kexec.run(run.plan.below(run.sysroot).argv(initrd), fds)
        if not kexec.crash_loaded():
            raise KexecError("kexec said it had loaded the kernel, but /sys/kernel/kexec_crash_loaded says it has not")
    except (KexecError, SysrootError, OSError) as error:
        return Done("failed", run, error=str(error))
    return Done("staged", run, time.monotonic() - started)
