"""Objections to a kexec on this machine: where we run, and what its kernel allows."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kexec_hook.kernel import images
from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin import known, virtual, watchdog
from kexec_hook.plugins.builtin.checks import Checks, Notes, ask
from kexec_hook.system.distribution import Distribution
from kexec_hook.system.facts import Facts
from kexec_hook.system.host import MARK
from kexec_hook.system.process import Programs
from kexec_hook.system.sysroot import Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first process of a machine that has booted; in an image that is being built it is a shell, or a build tool.
_INITS = (
    "systemd",
    "init",
    "openrc-init",
    "runit",
    "runit-init",
    "s6-svscan",
    "dinit",
    "shepherd",
    "finit",
)
_ON_THE_MACHINE = "run kexec-hook on the booted machine, outside the chroot"
_OUTSIDE = "run it outside of the sandbox that takes this capability away"
_RECORD = 64 << 10  # bytes that a record and what goes with it may take
OFF = "kexec_hook=off"
_CAP_SYS_BOOT = 22  # capabilities(7)


def objections(decision: Decision) -> Iterator[Objection]:
    yield from ask(CHECKS, decision, Facts(decision.sysroot.unnoted))


def notes(decision: Decision) -> Iterator[Note]:
    yield from ask(NOTES, decision, Facts(decision.sysroot.unnoted))


# Where we run


def _suspended(decision: Decision, facts: Facts) -> Iterator[Objection]:
    value = os.environ.get("KEXEC_HOOK_SUSPEND", "")
    if value not in ("", "0"):
        yield Objection(
            f"KEXEC_HOOK_SUSPEND={value} is set in the environment",
            code="suspended",
            fix="unset KEXEC_HOOK_SUSPEND",
        )


def _switched_off(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if is_switched_off(facts):
        yield Objection(
            f"{OFF} is on the kernel's command line", code="switched-off", fix="boot without it"
        )


def is_switched_off(facts: Facts) -> bool:
    """For rescue: whoever boots with that word wants none of us."""
    return OFF in (facts.text("/proc/cmdline") or "").split()


def runs_elsewhere(facts: Facts) -> bool:
    """In a container, a chroot or an image that is being built: what boots there is not this machine."""
    return any(True for check in (_container, _chroot, _image_build) for _ in check(facts))


def _rights(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if decision.trigger.dry or not _may_not_boot(facts):
        return
    if _is_root(facts):
        yield Objection(
            "loading a kernel needs CAP_SYS_BOOT, which root does not have here",
            rights=True,
            code="needs-root",
            fix=_OUTSIDE,
        )
    else:
        yield Objection(
            "loading a kernel needs root (CAP_SYS_BOOT)",
            rights=True,
            code="needs-root",
            fix="sudo kexec-hook stage",
        )


def _may_not_boot(facts: Facts) -> bool:
    found = _own_status(facts, "CapEff")
    return bool(found) and not int(found, 16) >> _CAP_SYS_BOOT & 1


def _is_root(facts: Facts) -> bool:
    return _own_status(facts, "Uid").split()[1:2] == ["0"]  # the effective one


def _own_status(facts: Facts, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*)$", facts.text("/proc/self/status") or "", re.MULTILINE)
    return found[1] if found else ""


def _elsewhere(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """One sentence is enough: the first process of a container is no init either."""
    for check in (_container, _chroot, _image_build):
        found = [objection._replace(elsewhere=True) for objection in check(facts)]
        if found:
            yield from found
            return


def _container(facts: Facts) -> Iterator[Objection]:
    what = _container_kind(facts)
    if what:
        yield Objection(
            f"this is a container ({what}), and it runs on its host's kernel",
            code="container",
            fix="run kexec-hook on the host",
        )


def _container_kind(facts: Facts) -> str:
    """As systemd-detect-virt --container finds out."""
    for path in ("/run/host/container-manager", "/run/systemd/container"):
        kind = facts.text(path)
        if kind:
            return kind
    for path, kind in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if facts.exists(path):
            return kind
    if facts.exists("/proc/vz") and not facts.exists("/proc/bc"):
        return "openvz"
    if re.search("microsoft|wsl", facts.text("/proc/sys/kernel/osrelease") or "", re.IGNORECASE):
        return "wsl"
    for word in (facts.text("/proc/1/environ") or "").split("\0"):
        if word.startswith("container=") and len(word) > len("container="):
            return word[len("container=") :]
    mapped = (facts.text("/proc/self/uid_map") or "").split()
    return "a user namespace" if mapped and mapped != ["0", "0", "4294967295"] else ""


def _chroot(facts: Facts) -> Iterator[Objection]:
    if not facts.exists("/proc/self/mountinfo"):
        yield Objection(
            "there is no /proc: this is a chroot or an image build",
            code="chroot",
            fix=_ON_THE_MACHINE,
        )
        return
    first, ours = (_top(facts.text(f"/proc/{process}/mountinfo")) for process in ("1", "self"))
    spaces = [facts.link(f"/proc/{process}/ns/mnt") for process in ("1", "self")]
    # A chroot into `mount --rbind /` differs by the mount's number alone, which means something in one namespace only.
    numbered = 3 if spaces[0] and spaces[0] == spaces[1] else 2
    if first and first[:numbered] != (ours or ())[:numbered]:
        yield Objection(
            "this is a chroot: its / is not that of PID 1", code="chroot", fix=_ON_THE_MACHINE
        )


def _top(mountinfo: str | None) -> tuple[str, str, str] | None:
    """Device, directory and number of what is mounted on /; a mount namespace of its own changes the number alone."""
    found = None
    for line in (mountinfo or "").splitlines():
        fields = line.split(" ")
        if fields[4:5] == ["/"]:
            found = fields[2], fields[3], fields[0]
    return found


def _image_build(facts: Facts) -> Iterator[Objection]:
    first = facts.text("/proc/1/comm")
    if first and first not in _INITS:
        yield Objection(
            f"PID 1 is {first}, not an init: this is a chroot or an image build",
            code="image-build",
            fix=_ON_THE_MACHINE,
        )


def _ostree(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if facts.exists("/run/ostree-booted"):
        yield Objection(
            "ostree manages this system, and has a kexec of its own",
            code="ostree",
            fix="ostree admin upgrade --kexec",
        )


# What the kernel allows


def _no_support(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if facts.text("/sys/kernel/kexec_loaded") is None:
        yield Objection(
            "the running kernel does not support kexec (there is no /sys/kernel/kexec_loaded)",
            code="no-kexec-support",
            fix="boot a kernel with CONFIG_KEXEC_FILE",
        )
    yield from no_kexec(decision.programs, decision.sysroot)


def no_kexec(programs: Programs, sysroot: Sysroot) -> Iterator[Objection]:
    """Is the program missing?"""
    if programs.find("kexec") is None:
        yield Objection(
            f"the program kexec is not installed (looked in {':'.join(programs.path)})",
            code="kexec-missing",
            fix=Distribution(sysroot).install("kexec-tools"),
        )


def _load_disabled(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if facts.number("/proc/sys/kernel/kexec_load_disabled") == 1:
        yield Objection(
            "kexec is switched off until the next boot (kernel.kexec_load_disabled = 1)",
            code="kexec-disabled",
            fix="take kernel.kexec_load_disabled out of /etc/sysctl.d, then reboot",
        )
    # With the last call allowed, ours was loaded, and what is right need not be loaded again.
    ours = facts.exists(MARK) and facts.number("/sys/kernel/kexec_loaded") == 1
    if facts.number("/proc/sys/kernel/kexec_load_limit_reboot") == 0 and not ours:
        yield Objection(
            "no more kernels may be loaded until the next boot (kernel.kexec_load_limit_reboot = 0)",
            code="kexec-limit",
        )


def _lockdown(decision: Decision, facts: Facts) -> Iterator[Objection]:
    locked = re.search(r"\[(\w+)\]", facts.text("/sys/kernel/security/lockdown") or "")
    if decision.plan is None or locked is None or locked[1] == "none":
        return
    try:
        with decision.sysroot.window(decision.plan.kernel) as file:
            kernel = images.inspect_kernel(file)
    except (images.Damaged, SysrootError):
        return  # builtin/files.py objects
    if not kernel.signed:
        what = "the kernel that is packed in " if kernel.kind in ("zboot", "Image.gz") else ""
        yield Objection(
            f"the running kernel is locked down ({locked[1]}), and {what}{decision.plan.kernel} is not signed",
            code="not-signed",
            fix="install a signed kernel",
        )
    elif _cannot_verify(facts):
        yield Objection(
            f"the running kernel is locked down ({locked[1]}), and cannot verify the signature of another one: "
            "it was built without CONFIG_KEXEC_FILE",
            code="cannot-verify",
            fix="use a kernel with CONFIG_KEXEC_FILE",
        )


def _cannot_verify(facts: Facts) -> bool:
    """Has the running kernel no kexec_file_load, as Debian's for arm64?  Its configuration tells."""
    release = facts.text("/proc/sys/kernel/osrelease") or ""
    for path in (f"/boot/config-{release}", f"/usr/lib/modules/{release}/config"):
        configuration = facts.text(path, 1 << 20)
        if configuration:
            return not re.search(r"^CONFIG_KEXEC_FILE=y$", configuration, re.MULTILINE)
    return False


def _xen(decision: Decision, facts: Facts) -> Iterator[Objection]:
    if facts.text("/sys/hypervisor/type") != "xen":
        return
    if "control_d" in (facts.text("/proc/xen/capabilities") or ""):
        yield Objection("this is Xen's dom0, which boots through Xen", code="xen")
    elif facts.text("/sys/hypervisor/guest_type") not in ("HVM", "PVH"):
        yield Objection("this is a paravirtualised Xen guest, which cannot use kexec", code="xen")


def _confidential(decision: Decision, facts: Facts) -> Iterator[Objection]:
    what = ""
    if facts.exists("/dev/sev-guest"):
        what = "SEV-SNP"
    elif facts.exists("/dev/tdx_guest"):
        what = "TDX"
    else:
        flags = facts.cpu()
        if "tdx_guest" in flags:
            what = "TDX"
        elif "hypervisor" in flags and {"sev", "sev_es", "sev_snp"} & set(flags):
            what = "SEV"
    if what:
        yield Objection(
            f"this is a confidential virtual machine ({what}), which does not survive a kexec",
            code="confidential-vm",
        )


def _module(decision: Decision, facts: Facts) -> Iterator[Objection]:
    unwanted = decision.settings.decline_if_module
    loaded = known.modules(facts)
    for name in unwanted.value:
        if name in loaded:
            yield Objection(
                f"the kernel module {name} is loaded, and its devices may not survive a kexec ({unwanted.origin})",
                code="module-loaded",
                fix=f"to allow it, take {name} out of decline_if_module in /etc/kexec-hook.conf",
            )


def _memory(decision: Decision, facts: Facts) -> Iterator[Objection]:
    found = re.search(
        r"^MemAvailable:\s*([0-9]+) kB$", facts.text("/proc/meminfo") or "", re.MULTILINE
    )
    if decision.plan is None or found is None:
        return
    files = (decision.plan.kernel, *(initrd.path for initrd in decision.plan.initrds))
    sizes = [info.st_size for path in files if (info := decision.sysroot.stat(path))]
    needed, available = 2 * sum(sizes) + (64 << 20), int(found[1]) << 10
    if available < needed:
        yield Objection(
            f"loading needs {-(-needed >> 20)} MiB of memory, and {available >> 20} MiB are available",
            code="low-memory",
            fix="free some memory",
        )


CHECKS: Checks = (
    _suspended,
    _switched_off,
    _rights,
    _elsewhere,
    _ostree,
    _no_support,
    _load_disabled,
    _lockdown,
    _xen,
    _confidential,
    _module,
    known.objections,
    _memory,
)

# Notes


def _no_rights(decision: Decision, facts: Facts) -> Iterator[Note]:
    if not decision.trigger.dry or not _may_not_boot(facts):
        return
    if _is_root(facts):
        yield Note(
            "loading a kernel needs CAP_SYS_BOOT, which root does not have here",
            code="needs-root",
            fix=_OUTSIDE,
        )
    else:
        yield Note(
            "loading a kernel needs root (CAP_SYS_BOOT)",
            code="needs-root",
            fix="sudo kexec-hook stage",
        )


def _full(decision: Decision, facts: Facts) -> Iterator[Note]:
    if facts.is_full("/run", _RECORD):
        yield Note(
            "/run is full, so nothing can be staged: what is staged is recorded there",
            code="run-full",
            fix="free some space in /run",
        )


NOTES: Notes = (_no_rights, virtual.note, _full, known.notes, watchdog.note)
