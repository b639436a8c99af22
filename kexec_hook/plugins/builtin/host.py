"""What speaks against a jump on this machine: where we run, what its kernel allows, and what else is going on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kexec_hook.kernel import images
from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin.checks import Checks, Notes, ask
from kexec_hook.state import record
from kexec_hook.system.directory import StateError
from kexec_hook.system.facts import Facts
from kexec_hook.system.host import MARK, RUN
from kexec_hook.system.sysroot import SysrootError
from kexec_hook.system.systemd import UNIT, active, drop_ins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_RECORD = 64 << 10  # bytes that a record and what goes with it may take
OFF = "kexec_hook=off"
_CAP_SYS_BOOT = 22  # capabilities(7)
_RELEASE_UPGRADES = r"do-release-upgrade|release-upgrader|\bleapp\b|system-upgrade"


def objections(decision: Decision) -> Iterator[str | Objection]:
    yield from ask(CHECKS, decision, Facts(decision.sysroot.unnoted))


def notes(decision: Decision) -> Iterator[str | Note]:
    yield from ask(NOTES, decision, Facts(decision.sysroot.unnoted))


# Where we run


def _suspended(decision: Decision, facts: Facts) -> Iterator[str]:
    value = os.environ.get("KEXEC_HOOK_SUSPEND", "")
    if value not in ("", "0"):
        yield f"KEXEC_HOOK_SUSPEND={value} is set where kexec-hook was called; unset it to stage"


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
    if not decision.trigger.dry and _may_not_boot(facts):
        yield Objection(
            "loading a kernel needs root with CAP_SYS_BOOT; run kexec-hook as root", rights=True
        )


def _may_not_boot(facts: Facts) -> bool:
    found = re.search(
        r"^CapEff:\s*([0-9a-f]+)$", facts.text("/proc/self/status") or "", re.MULTILINE
    )
    return bool(found) and not int(found[1], 16) >> _CAP_SYS_BOOT & 1  # type: ignore[index]


def _elsewhere(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """One sentence is enough: the first process of a container is no init either."""
    for check in (_container, _chroot, _image_build):
        found = [Objection(reason, elsewhere=True) for reason in check(facts)]
        if found:
            yield from found
            return


def _container(facts: Facts) -> Iterator[str]:
    what = _container_kind(facts)
    if what:
        yield f"this is a container ({what}), which has no kernel of its own; run kexec-hook on its host"


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


def _chroot(facts: Facts) -> Iterator[str]:
    if not facts.exists("/proc/self/mountinfo"):
        yield "there is no /proc here, as in a chroot or an image that is being built; run kexec-hook on the machine"
        return
    first, ours = (_top(facts.text(f"/proc/{process}/mountinfo")) for process in ("1", "self"))
    spaces = [facts.link(f"/proc/{process}/ns/mnt") for process in ("1", "self")]
    # A chroot into `mount --rbind /` differs by the mount's number alone, which means something in one namespace only.
    numbered = 3 if spaces[0] and spaces[0] == spaces[1] else 2
    if first and first[:numbered] != (ours or ())[:numbered]:
        yield "this is a chroot: its / is not that of the first process; run kexec-hook outside of it"


def _top(mountinfo: str | None) -> tuple[str, str, str] | None:
    """Device, directory and number of what is mounted on /; a mount namespace of its own changes the number alone."""
    found = None
    for line in (mountinfo or "").splitlines():
        fields = line.split(" ")
        if fields[4:5] == ["/"]:
            found = fields[2], fields[3], fields[0]
    return found


def _image_build(facts: Facts) -> Iterator[str]:
    first = facts.text("/proc/1/comm")
    if first and first not in _INITS:
        yield f"the first process is {first} and no init, as where an image is built; run kexec-hook once it has booted"


def _ostree(decision: Decision, facts: Facts) -> Iterator[str]:
    if facts.exists("/run/ostree-booted"):
        yield "this system is booted by ostree, which has a way of its own: `ostree admin upgrade --kexec`"


# What the kernel allows


def _no_support(decision: Decision, facts: Facts) -> Iterator[str]:
    if facts.text("/sys/kernel/kexec_loaded") is None:
        yield "the running kernel cannot kexec (no /sys/kernel/kexec_loaded); boot one that has CONFIG_KEXEC_FILE"
    if decision.programs.find("kexec") is None:
        yield f"there is no program kexec in {':'.join(decision.programs.path)}; install kexec-tools"


def _load_disabled(decision: Decision, facts: Facts) -> Iterator[str]:
    if facts.number("/proc/sys/kernel/kexec_load_disabled") == 1:
        yield "kernel.kexec_load_disabled is 1 until the next boot; take it out of sysctl.d to use kexec"
    if facts.number("/proc/sys/kernel/kexec_load_limit_reboot") == 0:
        yield "kernel.kexec_load_limit_reboot allows no more kernels to be loaded; the next boot allows them again"


def _lockdown(decision: Decision, facts: Facts) -> Iterator[str]:
    locked = re.search(r"\[(\w+)\]", facts.text("/sys/kernel/security/lockdown") or "")
    if decision.plan is None or locked is None or locked[1] == "none":
        return
    try:
        with decision.sysroot.window(decision.plan.kernel) as file:
            signed = images.inspect_kernel(file).signed
    except (images.Damaged, SysrootError):
        return  # said elsewhere
    if not signed:
        yield (
            f"the running kernel is locked down ({locked[1]}) and {decision.plan.kernel} has no signature; "
            "install a signed kernel, or reboot the ordinary way"
        )


def _xen(decision: Decision, facts: Facts) -> Iterator[str]:
    if facts.text("/sys/hypervisor/type") != "xen":
        return
    if "control_d" in (facts.text("/proc/xen/capabilities") or ""):
        yield "this is Xen's dom0, which boots through Xen; reboot the ordinary way"
    elif facts.text("/sys/hypervisor/guest_type") not in ("HVM", "PVH"):
        yield "this is a paravirtualised guest of Xen, which cannot kexec; reboot the ordinary way"


def _confidential(decision: Decision, facts: Facts) -> Iterator[str]:
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
        yield f"this is a confidential guest ({what}), which a kexec does not get out of; reboot the ordinary way"


def _module(decision: Decision, facts: Facts) -> Iterator[str]:
    unwanted = decision.settings.decline_if_module
    loaded = {
        line.split(" ")[0] for line in (facts.text("/proc/modules", 1 << 20) or "").splitlines()
    }
    for name in unwanted.value:
        if name in loaded:
            yield (
                f"the module {name} is loaded, and its devices may not survive a jump ({unwanted.origin}); "
                "take it out of decline_if_module in /etc/kexec-hook.conf to jump all the same"
            )


def _memory(decision: Decision, facts: Facts) -> Iterator[str]:
    found = re.search(
        r"^MemAvailable:\s*([0-9]+) kB$", facts.text("/proc/meminfo") or "", re.MULTILINE
    )
    if decision.plan is None or found is None:
        return
    files = (decision.plan.kernel, *(initrd.path for initrd in decision.plan.initrds))
    sizes = [info.st_size for path in files if (info := decision.sysroot.stat(path))]
    needed, available = 2 * sum(sizes) + (64 << 20), int(found[1]) << 10
    if available < needed:
        yield (
            f"{available >> 20} MiB of memory are available, and loading needs {-(-needed >> 20)} MiB; "
            "stop something large, or reboot the ordinary way"
        )


# What else is going on


def _loaded_by_another(decision: Decision, facts: Facts) -> Iterator[str]:
    if decision.trigger.force or facts.text("/sys/kernel/kexec_loaded") != "1":
        return
    try:
        known = record.look(f"{str(decision.sysroot.root).rstrip('/')}{RUN}", owner=decision.owner)
    except StateError as error:
        if not decision.trigger.dry:
            yield f"the kernel holds an image, and whose it is cannot be known ({error}); `kexec-hook stage --force`"
        return
    if isinstance(known, record.NoRecord) and not known.found and not facts.exists(MARK):
        yield "the kernel holds an image that kexec-hook did not load; `kexec-hook stage --force` replaces it"


def _system_update(decision: Decision, facts: Facts) -> Iterator[str]:
    for path in ("/system-update", "/etc/system-update"):
        if decision.sysroot.stat(path, follow=False):
            yield f"an offline update waits for the next boot ({path}); reboot the ordinary way"
            return


def _reboot_parameter(decision: Decision, facts: Facts) -> Iterator[str]:
    """`systemctl reboot --reboot-argument=X` leaves it for reboot(2), which a kexec is not given."""
    path = "/run/systemd/reboot-param"
    argument = facts.text(path)
    if argument:
        yield f"the reboot has an argument for the firmware, {argument[:60]!r} ({path}); reboot the ordinary way"


def _release_upgrade(decision: Decision, facts: Facts) -> Iterator[str]:
    kernel = decision.plan.kernel if decision.plan else ""
    if re.search("/vmlinuz-upgrade[.][^/]*$", kernel):
        yield f"a release upgrade waits for the next boot ({kernel}); reboot the ordinary way"
        return
    for name in _ancestors(facts):
        if re.search(_RELEASE_UPGRADES, name):
            yield f"a release upgrade is under way (`{name[:60]}`); reboot the ordinary way when it is done"
            return


def _ancestors(facts: Facts) -> Iterator[str]:
    """The command lines of the processes that called us, the nearest first."""
    process = "self"
    for _ in range(16):
        found = re.search(
            r"^PPid:\s*([0-9]+)$", facts.text(f"/proc/{process}/status") or "", re.MULTILINE
        )
        if found is None or found[1] in ("0", "1"):
            return
        process = found[1]
        yield (facts.text(f"/proc/{process}/cmdline") or "").replace("\0", " ").strip()


def _systemd(decision: Decision, facts: Facts) -> Iterator[Objection]:
    """Only the shutdown unit approves a jump.  While it stops itself, it is active no more."""
    if decision.trigger.source == "finalize":
        return
    if not facts.exists("/run/systemd/system"):
        yield Objection(
            "systemd does not run here, and only its units decide at shutdown whether a reboot is a kexec",
            code="no-systemd",
        )
    elif not active(decision.programs):
        yield Objection(
            f"{UNIT} is not active, and nothing else decides at shutdown whether the reboot is a kexec",
            code="unit-inactive",
            fix=f"systemctl enable --now {UNIT}",
        )
    elif not drop_ins(decision.sysroot.unnoted):
        yield Objection(
            "the drop-ins of systemd-reboot.service and systemd-kexec.service are missing, or an older version's",
            code="drop-ins-missing",
            fix="kexec-hook hooks install systemd",
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
    _memory,
    _loaded_by_another,
    _system_update,
    _reboot_parameter,
    _release_upgrade,
    _systemd,
)

# Notes


def _no_rights(decision: Decision, facts: Facts) -> Iterator[str]:
    if decision.trigger.dry and _may_not_boot(facts):
        yield "this user may not load a kernel (CAP_SYS_BOOT); run kexec-hook as root to stage"


def _virtual(decision: Decision, facts: Facts) -> Iterator[str]:
    kind = facts.text("/sys/hypervisor/type") or (
        "hypervisor" if "hypervisor" in facts.cpu() else ""
    )
    if kind or facts.exists("/proc/device-tree/hypervisor"):
        yield "this is a virtual machine, whose firmware is quick: a kexec gains little here"


def _full(decision: Decision, facts: Facts) -> Iterator[str]:
    if facts.is_full("/run", _RECORD):
        yield "/run is full, and what is staged is recorded there; nothing can be staged until there is room"


def _watchdog(decision: Decision, facts: Facts) -> Iterator[str]:
    value = _system_conf(facts).get("KExecWatchdogSec", "off")
    if value in ("", "0", "off", "no"):
        yield "no watchdog ends a jump that hangs; KExecWatchdogSec= in /etc/systemd/system.conf.d sets one"


def _system_conf(facts: Facts) -> Mapping[str, str]:
    """systemd-system.conf(5): the file, then the snippets by their names, of which the later words count."""
    directories = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
    main = next((path for d in directories[::-1] if facts.exists(path := f"{d}/system.conf")), "")
    snippets = {
        name: f"{d}/system.conf.d/{name}"
        for d in directories
        for name in facts.names(f"{d}/system.conf.d")
    }
    found: dict[str, str] = {}
    for path in (main, *(snippets[name] for name in sorted(snippets) if name.endswith(".conf"))):
        for line in (facts.text(path) or "").splitlines() if path else ():
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith(("#", ";")):
                found[key.strip()] = value.strip()
    return found


NOTES: Notes = (_no_rights, _virtual, _full, _watchdog)
