"""Every objection to a kexec on this machine and every note about it, on a directory that stands for the machine."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Objection, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.plugins.builtin import underway
from kexec_hook.settings.conf import load_settings
from tests.bootfiles import bzimage, image, zboot
from tests.machine import Box

KERNEL, INITRD = "/boot/vmlinuz-6.1.0-39-amd64", "/boot/initrd.img-6.1.0-39-amd64"
OUTSIDE = "run kexec-hook on the booted machine, outside the chroot"
NOT_GRUB = "so GRUB's menu does not decide the next boot"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
NO_WATCHDOG = "if the new kernel hangs, no watchdog resets this machine: none is set"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A machine that nothing speaks against, though its tree may come from a checkout with a generous umask."""
    box = Box(tmp_path)
    for path in (*box.root.rglob("*"), box.root, box.bin):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o022)
    return box


def run(box: Box, *, dry: bool = False, **trigger: Any) -> Decision:
    sysroot = box.host.sysroot()
    plugins = Plugins(installed=False)
    return decide(box.host, sysroot, load_settings(sysroot), plugins, Trigger(dry=dry, **trigger))


def with_fix(found: Objection) -> str:
    """The sentence, and what to do about it."""
    return f"{found.reason}; {found.fix}" if found.fix else found.reason


def reasons(box: Box, **trigger: Any) -> list[str]:
    return [with_fix(objection) for objection in run(box, **trigger).objections]


def notes(box: Box, **trigger: Any) -> list[str]:
    return [note.text for note in run(box, **trigger).notes]


def remove(box: Box, path: str) -> None:
    (box / path).unlink()


def test_nothing_speaks_against_a_plain_machine(box: Box) -> None:
    assert reasons(box) == []
    assert notes(box) == [NO_WATCHDOG]


def test_a_root_that_is_only_looked_at_is_not_taken_for_the_machine(box: Box) -> None:
    box.write("/run/ostree-booted", "")
    box.write("/proc/1/comm", "bash\n")
    box.write("/etc/systemd/system.conf", "[Manager]\n")
    assert box.run("--root", str(box.root), "stage", "--dry-run") in (0, 3)
    from kexec_hook.system.host import Host

    host = Host(str(box.root), box.host.programs, os.geteuid())
    sysroot = host.sysroot()
    found = decide(host, sysroot, load_settings(sysroot), Plugins(installed=False), Trigger())
    assert (found.objections, found.notes) == ((), ())


# --- where we run ---


@pytest.mark.parametrize(
    ("value", "declined"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_kexec_hook_suspend_is_heeded(box: Box, value: str, declined: bool) -> None:
    process = box.start(
        "stage",
        "--dry-run",
        "--json",
        limits=f"import os; os.environ['KEXEC_HOOK_SUSPEND'] = {value!r}",
    )
    out, error = process.communicate()
    assert error == ""
    found = [f"{found['reason']}; {found['fix']}" for found in json.loads(out)["objections"]]
    why = f"KEXEC_HOOK_SUSPEND={value} is set in the environment; unset KEXEC_HOOK_SUSPEND"
    assert found == ([why] if declined else [])


def test_missing_rights_are_a_failure_in_a_real_run_and_a_note_in_a_dry_one(box: Box) -> None:
    box.write("/proc/self/status", "Name:\tpython3\nCapEff:\t000001ffffbfffff\n")
    (objection,) = run(box).objections
    assert (
        with_fix(objection) == "loading a kernel needs root (CAP_SYS_BOOT); sudo kexec-hook stage"
    )
    assert objection.rights
    assert reasons(box, dry=True) == []
    assert "loading a kernel needs root (CAP_SYS_BOOT)" in notes(box, dry=True)
    box.write("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffbfffff\n")
    sandboxed = "loading a kernel needs CAP_SYS_BOOT, which root does not have here"
    assert [objection.reason for objection in run(box).objections] == [sandboxed]
    assert sandboxed in notes(box, dry=True)
    box.write("/proc/self/status", "CapEff:\t0000000000400000\n")
    assert reasons(box) == []
    assert notes(box, dry=True) == [NO_WATCHDOG]


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        ("/run/host/container-manager", "systemd-nspawn\n", "systemd-nspawn"),
        ("/run/systemd/container", "lxc\n", "lxc"),
        ("/run/.containerenv", "", "podman"),
        ("/.dockerenv", "", "docker"),
        ("/proc/vz/version", "", "openvz"),
        ("/proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n", "wsl"),
        ("/proc/1/environ", "HOME=/\0container=oci\0", "oci"),
        ("/proc/self/uid_map", "         0     100000      65536\n", "a user namespace"),
    ],
)
def test_a_container_is_left_alone(box: Box, path: str, content: str, what: str) -> None:
    box.write(path, content)
    why = f"this is a container ({what}), and it runs on its host's kernel; run kexec-hook on the host"
    assert reasons(box) == [why]


def test_a_container_is_told_in_one_sentence(box: Box) -> None:
    box.write("/.dockerenv", "")
    box.write("/proc/1/comm", "sh\n")
    (box / "proc/self/mountinfo").unlink()
    found = [reason for reason in reasons(box) if "run kexec-hook" in reason]
    assert found == [
        "this is a container (docker), and it runs on its host's kernel; run kexec-hook on the host"
    ]


def test_what_looks_a_little_like_a_container_is_none(box: Box) -> None:
    box.write("/proc/self/uid_map", "         0          0 4294967295\n")
    box.write("/proc/1/environ", "HOME=/\0container=\0")
    box.write("/proc/vz/version", "")
    box.write("/proc/bc/0", "")
    assert reasons(box) == []


MACHINE = "28 1 8:2 / / rw - ext4 /dev/sda2 rw\n"


@pytest.mark.parametrize(
    ("first", "chroot"),
    [
        (MACHINE, False),
        (
            "99 1 8:2 / / rw - ext4 /dev/sda2 rw\n",
            False,
        ),  # a mount namespace of our own has other numbers
        ("28 1 8:3 / / rw - ext4 /dev/sda3 rw\n", True),
        ("28 1 8:2 /srv/image / rw - ext4 /dev/sda2 rw\n", True),
        ("28 1 0:1 / / rw - rootfs rootfs rw\n29 28 8:2 / / rw - ext4 /dev/sda2 rw\n", False),
        ("", False),
    ],
)
def test_a_chroot_is_left_alone(box: Box, first: str, chroot: bool) -> None:
    box.write("/proc/1/mountinfo", first)
    why = f"this is a chroot: its / is not that of PID 1; {OUTSIDE}"
    assert reasons(box) == ([why] if chroot else [])


@pytest.mark.parametrize(
    ("space", "chroot"), [("mnt:[4026531841]", True), ("mnt:[4026532179]", False)]
)
def test_a_chroot_into_another_mount_of_the_root_has_another_number_in_the_same_namespace(
    box: Box, space: str, chroot: bool
) -> None:
    box.write("/proc/1/mountinfo", MACHINE)
    box.write("/proc/self/mountinfo", MACHINE.replace("28 1", "110 28"))
    for process, its in (("1", "mnt:[4026531841]"), ("self", space)):
        (box / f"proc/{process}/ns").mkdir()
        (box / f"proc/{process}/ns/mnt").symlink_to(its)
    why = f"this is a chroot: its / is not that of PID 1; {OUTSIDE}"
    assert reasons(box) == ([why] if chroot else [])


def test_a_chroot_into_a_plain_directory_sees_no_root_of_its_own(box: Box) -> None:
    box.write("/proc/1/mountinfo", MACHINE)
    box.write("/proc/self/mountinfo", "30 28 0:22 / /proc rw - proc proc rw\n")
    assert f"this is a chroot: its / is not that of PID 1; {OUTSIDE}" in reasons(box)


def test_without_proc_nothing_is_done(box: Box) -> None:
    remove(box, "/proc/self/mountinfo")
    why = f"there is no /proc: this is a chroot or an image build; {OUTSIDE}"
    assert why in reasons(box)


@pytest.mark.parametrize("first", ["bash", "mkosi", "mmdebstrap", "sh", "anaconda"])
def test_an_image_that_is_being_built_is_left_alone(box: Box, first: str) -> None:
    box.write("/proc/1/comm", f"{first}\n")
    why = f"PID 1 is {first}, not an init: this is a chroot or an image build; {OUTSIDE}"
    assert reasons(box) == [why]


@pytest.mark.parametrize("first", ["systemd", "init", "runit", "openrc-init"])
def test_an_init_is_no_image_that_is_being_built(box: Box, first: str) -> None:
    box.write("/proc/1/comm", f"{first}\n")
    assert reasons(box) == []


def test_ostree_has_a_way_of_its_own(box: Box) -> None:
    box.write("/run/ostree-booted", "")
    assert reasons(box) == [
        "ostree manages this system, and has a kexec of its own; ostree admin upgrade --kexec"
    ]


# --- what the kernel allows ---


def test_a_kernel_without_kexec(box: Box) -> None:
    remove(box, "/sys/kernel/kexec_loaded")
    why = "the running kernel does not support kexec (there is no /sys/kernel/kexec_loaded); boot a kernel with CONFIG_KEXEC_FILE"
    assert reasons(box) == [why]


def test_a_machine_without_kexec_tools(box: Box) -> None:
    (box.bin / "kexec").unlink()
    assert reasons(box) == [
        f"the program kexec is not installed (looked in {box.bin}); apt-get install kexec-tools"
    ]


def test_kexec_is_switched_off_by_sysctl(box: Box) -> None:
    box.write("/proc/sys/kernel/kexec_load_disabled", "1\n")
    why = (
        "kexec is switched off until the next boot (kernel.kexec_load_disabled = 1); "
        "take kernel.kexec_load_disabled out of /etc/sysctl.d, then reboot"
    )
    assert reasons(box) == [why]


@pytest.mark.parametrize(("limit", "declined"), [("0", True), ("-1", False), ("5", False)])
def test_kexec_is_limited_by_sysctl(box: Box, limit: str, declined: bool) -> None:
    box.write("/proc/sys/kernel/kexec_load_limit_reboot", f"{limit}\n")
    why = "no more kernels may be loaded until the next boot (kernel.kexec_load_limit_reboot = 0)"
    assert reasons(box) == ([why] if declined else [])


@pytest.mark.parametrize("how", ["integrity", "confidentiality"])
def test_lockdown_wants_a_signed_kernel(box: Box, how: str) -> None:
    known = "none integrity confidentiality\n"
    box.write("/sys/kernel/security/lockdown", known.replace(how, f"[{how}]"))
    locked = f"the running kernel is locked down ({how}), and {KERNEL} is not signed"
    why = f"{locked}; install a signed kernel"
    assert reasons(box) == [why]
    (box / KERNEL).write_bytes(bzimage(signed=True))
    assert reasons(box) == []
    (box / KERNEL).write_bytes(bzimage())
    box.write("/sys/kernel/security/lockdown", known.replace("none", "[none]"))
    assert reasons(box) == []


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zboot(signed=True, inner=data)])
def test_under_lockdown_the_kernel_in_a_packed_one_is_to_be_signed(
    box: Box, pack: Callable[[bytes], bytes]
) -> None:
    box.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    box.write("proc/sys/kernel/arch", "aarch64\n")
    (box / KERNEL).write_bytes(pack(image()))
    [why] = reasons(box)
    assert f"the kernel that is packed in {KERNEL} is not signed" in why
    (box / KERNEL).write_bytes(pack(image(signed=True)))
    assert reasons(box) == []


@pytest.mark.parametrize("path", ["boot/config-@", "usr/lib/modules/@/config"])
def test_lockdown_wants_a_kernel_that_can_verify(box: Box, path: str) -> None:
    """Debian's for arm64 is built without it."""
    box.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    (box / KERNEL).write_bytes(bzimage(signed=True))
    config = path.replace("@", box.host.running)
    (box / f"boot/config-{box.host.running}").unlink(missing_ok=True)
    box.write(config, "CONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\n")
    why = (
        "the running kernel is locked down (integrity), and cannot verify the signature of another one: "
        "it was built without CONFIG_KEXEC_FILE; use a kernel with CONFIG_KEXEC_FILE"
    )
    assert reasons(box) == [why]
    assert box.run("stage") == 3
    box.write(config, "CONFIG_KEXEC=y\nCONFIG_KEXEC_FILE=y\n")
    assert reasons(box) == []


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (
            {"type": "xen", "guest_type": "PV"},
            "this is a paravirtualised Xen guest, which cannot use kexec",
        ),
        ({"type": "xen"}, "this is a paravirtualised Xen guest, which cannot use kexec"),
        (
            {"type": "xen", "capabilities": "control_d\n"},
            "this is Xen's dom0, which boots through Xen",
        ),
        ({"type": "xen", "guest_type": "HVM"}, ""),
        ({"type": "xen", "guest_type": "PVH"}, ""),
    ],
)
def test_xen_boots_its_own_way(box: Box, facts: dict[str, str], why: str) -> None:
    for name, text in facts.items():
        box.write(
            "/proc/xen/capabilities" if name == "capabilities" else f"/sys/hypervisor/{name}",
            f"{text}\n",
        )
    assert reasons(box) == ([why] if why else [])


CPU = "processor\t: 0\nflags\t\t: fpu vme @FLAGS@ sse\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    ("device", "flags", "what"),
    [
        ("/dev/sev-guest", "", "SEV-SNP"),
        ("/dev/tdx_guest", "", "TDX"),
        ("", "hypervisor tdx_guest", "TDX"),
        ("", "hypervisor sev", "SEV"),
        ("", "hypervisor sev sev_es", "SEV"),
        ("", "sev sev_es sev_snp", ""),  # the machine itself can have such guests
        ("", "hypervisor", ""),
    ],
)
def test_a_confidential_guest_stays_what_it_is(
    box: Box, device: str, flags: str, what: str
) -> None:
    box.write("/proc/cpuinfo", CPU.replace("@FLAGS@", flags))
    if device:
        box.write(device, "")
    why = f"this is a confidential virtual machine ({what}), which does not survive a kexec"
    assert reasons(box) == ([why] if what else [])


def module(name: str, origin: str) -> str:
    return (
        f"the kernel module {name} is loaded, and its devices may not survive a kexec ({origin}); "
        f"to allow it, take {name} out of decline_if_module in /etc/kexec-hook.conf"
    )


def test_modules_whose_devices_do_not_survive(box: Box) -> None:
    box.write(
        "/proc/modules",
        "nvidia_drm 1 0 - Live 0x0\nnvidia 1 1 nvidia_drm, Live 0x0\next4 1 0 - Live 0x0\n",
    )
    assert reasons(box) == [module("nvidia", "built in"), module("nvidia_drm", "built in")]
    box.write("/etc/kexec-hook.conf", "decline_if_module = snd-hda ext4\n")
    assert reasons(box) == [module("ext4", "/etc/kexec-hook.conf:1")]
    box.write("/etc/kexec-hook.conf", "decline_if_module =\n")
    assert reasons(box) == []


def test_memory_for_two_copies_and_some_more(box: Box) -> None:
    size = (box / KERNEL).stat().st_size + (box / INITRD).stat().st_size
    needed = 2 * size + (64 << 20)
    assert needed % 1024, "so that one kB decides"
    box.write("/proc/meminfo", f"MemFree: 1 kB\nMemAvailable:   {needed // 1024 + 1} kB\n")
    assert reasons(box) == []
    box.write("/proc/meminfo", f"MemFree: 999999999 kB\nMemAvailable:   {needed // 1024} kB\n")
    why = "loading needs 65 MiB of memory, and 64 MiB are available; free some memory"
    assert reasons(box) == [why]


# --- what else is going on ---

FORCE = "kexec-hook stage --force"


def test_an_image_of_somebody_else_is_left_alone(box: Box) -> None:
    box.write("/sys/kernel/kexec_loaded", "1\n")
    assert reasons(box) == [f"a kernel image is loaded, but not by kexec-hook; {FORCE}"]
    assert reasons(box, force=True) == []


def test_our_own_image_is_no_objection(box: Box) -> None:
    assert box.run("stage") == 0
    assert box.loaded
    assert reasons(box) == []


def test_a_torn_record_is_ours_all_the_same(box: Box) -> None:
    assert box.run("stage") == 0
    (box / "/run/kexec-hook/staged.json").write_text("{")
    assert reasons(box) == []


def test_a_record_that_anybody_could_have_written_is_none(box: Box) -> None:
    assert box.run("stage") == 0
    (box / "/run/kexec-hook").chmod(0o777)
    (why,) = reasons(box)
    assert why.startswith("a kernel image is loaded, and it is not known who loaded it (")
    assert why.endswith(f"); {FORCE}")
    assert reasons(box, dry=True) == []


@pytest.mark.parametrize("path", ["/system-update", "/etc/system-update"])
def test_an_offline_update_waits(box: Box, path: str) -> None:
    (box / path).symlink_to("/var/lib/PackageKit/prepared-update")
    assert reasons(box) == [f"an offline update is waiting for the next boot ({path})"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("reboot\n", True), ("kexec\n", False), ("soft-reboot", False), ("", False)],
)
def test_packages_of_suse_ask_for_the_firmware(box: Box, text: str, wanted: bool) -> None:
    box.write("run/reboot-needed", text)
    said = "packages that were installed ask for a reboot through the firmware (/run/reboot-needed)"
    assert reasons(box) == ([said] if wanted else [])


def test_argument_of_the_reboot_is_for_the_firmware(box: Box) -> None:
    box.write("run/systemd/reboot-param", "recovery\n")
    assert reasons(box) == [
        "the reboot has an argument for the firmware, 'recovery' (/run/systemd/reboot-param)"
    ]
    box.write("run/systemd/reboot-param", "")
    assert reasons(box) == []


@pytest.mark.parametrize(
    "name",
    ["reboot-to-boot-loader-menu", "reboot-to-boot-loader-entry", "reboot-boot-to-loader-entry"],
)
def test_boot_loader_was_asked_for_its_menu_or_an_entry(box: Box, name: str) -> None:
    """Fedora's grub2-systemd-integration.service writes grubenv as the machine goes down, beside kexec-hook.service."""
    box.write(f"run/systemd/{name}", "0\n")
    (found,) = run(box, source="finalize").objections
    assert found.reason == (
        f"somebody asked for the boot loader's menu, or for an entry of it, at the next boot (/run/systemd/{name})"
    )
    assert found.code == "menu-asked-for"


def test_setup_was_asked_for_without_efi(box: Box) -> None:
    box.write("run/systemd/reboot-to-firmware-setup", "")
    (found,) = run(box).objections
    assert found.reason == (
        "somebody asked for the firmware's setup at the next boot (/run/systemd/reboot-to-firmware-setup)"
    )
    assert found.code == "firmware-request"


def test_update_that_is_put_in_place_as_the_machine_goes_down(box: Box) -> None:
    """bootc-finalize-staged.service exchanges the boot entries then."""
    box.write("run/composefs/staged-deployment", "{}\n")
    assert reasons(box) == [
        "an update is put in place as the machine goes down (/run/composefs/staged-deployment)"
    ]


@pytest.mark.parametrize(("pending", "waits"), [("1\n", True), ("0\n", False), ("", False)])
def test_settings_of_the_firmware_wait_for_it(box: Box, pending: str, waits: bool) -> None:
    path = "/sys/class/firmware-attributes/dell-wmi-sysman/attributes/pending_reboot"
    box.write("/sys/class/firmware-attributes/other/attributes/BootOrder/current_value", "1\n")
    box.write(path, pending)
    said = f"settings of the firmware were changed, and it applies them at the next boot ({path})"
    assert reasons(box) == ([said] if waits else [])


@pytest.mark.parametrize(
    ("request_", "waits"), [("5\n", True), ("23 1\n", True), ("0\n", False), ("", False)]
)
def test_firmware_was_asked_to_clear_the_tpm(box: Box, request_: str, waits: bool) -> None:
    """What systemd-tpm2-clear.service writes, too."""
    path = "/sys/class/tpm/tpm0/ppi/request"
    box.write(path, request_)
    said = f"the firmware was asked to clear or change the TPM at the next boot ({path})"
    assert reasons(box) == ([said] if waits else [])


def test_leapp_waits_for_the_next_boot(box: Box) -> None:
    (box / KERNEL).rename(box / "/boot/vmlinuz-upgrade.x86_64")
    config = box / "/boot/grub/grub.cfg"
    config.write_text(config.read_text().replace(KERNEL, "/boot/vmlinuz-upgrade.x86_64"))
    assert reasons(box) == [
        "a release upgrade is waiting for the next boot (/boot/vmlinuz-upgrade.x86_64)"
    ]


def called_by(box: Box, argv: str) -> None:
    """Our caller's caller has these words."""
    box.write("/proc/self/status", "Name:\tkexec-hook\nPPid:\t41\nCapEff:\t000001ffffffffff\n")
    box.write("/proc/41/cmdline", "sh\0-c\0kexec-hook run\0")
    box.write("/proc/41/status", "PPid:\t40\n")
    box.write("/proc/40/cmdline", argv)
    box.write("/proc/40/status", "PPid:\t1\n")
    box.write("/proc/1/cmdline", "leapp\0")  # nobody's upgrade is the first process


RELEASE_UPGRADES = (
    "/usr/bin/python3\0/usr/bin/do-release-upgrade\0",
    "/usr/bin/python3.13\0-Es\0-W\0ignore\0/usr/bin/do-release-upgrade\0-d\0",
    "/usr/bin/python3\0/tmp/ubuntu-release-upgrader-1x2y3z_a/noble\0--mode=server\0",
    "/usr/bin/python3\0/usr/bin/leapp\0upgrade\0",
    "/usr/libexec/platform-python\0/usr/bin/leapp\0upgrade\0",
)
OTHER_CALLERS = (
    "apt\0full-upgrade\0",
    "/usr/bin/python3\0/usr/bin/unattended-upgrade\0",
    "/bin/sh\0/srv/system-upgrade.sh\0",
    "tmux\0new\0-s\0system-upgrade\0",
    "tmux\0new\0-s\0do-release-upgrade\0",
    "/usr/bin/python3\0/srv/do-release-upgrade.d/after.py\0",
    "/usr/bin/python3\0/srv/patch.py\0--instead-of\0/usr/bin/do-release-upgrade\0",
    "/usr/bin/python3\0-c\0print(1)\0/usr/bin/do-release-upgrade\0",
    "/usr/bin/python3\0-m\0leapp\0",
    "/usr/bin/python3\0/home/leapp/apt.py\0",
    "sh\0-c\0apt install ubuntu-release-upgrader-core\0",
    "vim\0/root/leapp\0",
    "/usr/bin/dnf5\0offline\0_execute\0",
    "/usr/bin/dnf\0--releasever=44\0system-upgrade\0upgrade\0",
    "/usr/bin/python3\0",
    "",
)


def upgrades(decision: Decision) -> list[str]:
    """What is found at this moment, the rest of the decision being what it was."""
    found = underway.objections(decision)
    return [objection.reason for objection in found if objection.code == "release-upgrade"]


def test_a_release_upgrade_that_called_the_package_manager_is_running(box: Box) -> None:
    decision = run(box)
    for argv in RELEASE_UPGRADES:
        called_by(box, argv)
        shown = argv.replace("\0", " ").strip()[:60]
        assert upgrades(decision) == [f"a release upgrade is running (`{shown}`)"]


def test_a_word_on_a_callers_command_line_is_no_release_upgrade(box: Box) -> None:
    decision = run(box)
    for argv in OTHER_CALLERS:
        called_by(box, argv)
        assert upgrades(decision) == [], argv


DNF5 = "/usr/lib/sysimage/libdnf5/offline/offline-transaction-state.toml"
DNF4 = "/var/lib/dnf/system-upgrade/system-upgrade-state.json"
PACKAGEKIT = "/var/lib/PackageKit/prepared-upgrade"


def not_finished(path: str) -> list[str]:
    return [f"a release upgrade was started and is not finished ({path})"]


def dnf5(box: Box, **state: str) -> None:
    """Its keys in the order in which toml11 writes them; its command line is long, and says what it is not."""
    state = {
        "verb": "upgrade",
        "status": "transaction-incomplete",
        "system_releasever": "43",
        "target_releasever": "43",
        **state,
    }
    box.write(
        DNF5,
        f"""\
[offline-transaction-state]
rpmdb_cookie = "302d4f791681b80728445fbf06c0221988a60c3131e5c24d3aeec8c5406fd54f"
module_platform_id = ""
poweroff_after = false
verb = "{state["verb"]}"
system_releasever = "{state["system_releasever"]}"
target_releasever = "{state["target_releasever"]}"
cachedir = "/var/cache/libdnf5"
status = "{state["status"]}"
cmd_line = \"\"\"
dnf5 upgrade --offline --comment=\\
verb = "system-upgrade download"
\"\"\"
state_version = 2
""",
    )


DNF5_STATES: tuple[tuple[dict[str, str], bool], ...] = (
    ({"verb": "system-upgrade download", "target_releasever": "44"}, True),
    ({"verb": "system-upgrade download"}, True),
    ({"verb": "distro-sync", "target_releasever": "rawhide"}, True),
    ({"verb": "", "target_releasever": "44", "status": "upgrade-incomplete"}, True),
    ({"verb": "upgrade"}, False),
    ({"verb": "upgrade", "system_releasever": ""}, False),
    ({"verb": "install system-upgrade"}, False),
    *(
        ({"verb": "system-upgrade download", "status": status}, False)
        for status in ("download-incomplete", "download-complete", "ready")
    ),
)


def test_dnf_5_is_in_a_release_upgrade_where_its_state_says_so(box: Box) -> None:
    decision = run(box)
    called_by(box, "/usr/bin/dnf5\0offline\0_execute\0")
    for state, upgrade in DNF5_STATES:
        dnf5(box, **state)
        assert upgrades(decision) == (not_finished(DNF5) if upgrade else []), state


DNF4_STATES: tuple[tuple[dict[str, str | None], bool], ...] = (
    ({"upgrade_command": "system-upgrade", "target_releasever": "39"}, True),
    ({"upgrade_command": "fedup", "target_releasever": "39"}, True),
    ({"target_releasever": "39"}, True),
    ({"upgrade_command": "offline-distrosync", "target_releasever": "39"}, True),
    ({"upgrade_command": "offline-upgrade"}, False),
    ({"upgrade_command": "offline-distrosync"}, False),
    ({"upgrade_command": "system-upgrade", "upgrade_status": "ready"}, False),
    ({"upgrade_command": "system-upgrade", "upgrade_status": None}, False),
)


@pytest.mark.parametrize("path", [DNF4, "/var/lib/dnf/system-upgrade.json"])
def test_dnf_4_is_in_a_release_upgrade_where_its_state_says_so(box: Box, path: str) -> None:
    decision = run(box)
    called_by(box, "/usr/bin/python3\0/usr/bin/dnf\0system-upgrade\0upgrade\0")
    known = {"upgrade_status": "incomplete", "system_releasever": "38", "target_releasever": "38"}
    for state, upgrade in DNF4_STATES:
        box.write(path, json.dumps({**known, **state}, indent=4, sort_keys=True))
        assert upgrades(decision) == (not_finished(path) if upgrade else []), state


def test_a_state_that_dnf_itself_would_not_understand_is_none(box: Box) -> None:
    decision = run(box)
    for text in ("", "{", "[]", '"incomplete"', "\0"):
        box.write(DNF4, text)
        box.write(DNF5, text)
        assert upgrades(decision) == [], text


def test_packagekit_is_in_a_release_upgrade_while_its_service_runs(box: Box) -> None:
    decision = run(box)
    box.write(PACKAGEKIT, "[update]\nname=Fedora\nreleasever=44\n")
    systemctl = box.bin / "systemctl"
    ours = systemctl.read_text()
    unit = "packagekit-offline-update.service"
    for service, upgrade in (("activating", True), ("inactive", False), ("active", False)):
        theirs = f'case "$*" in *{unit}) echo {service}; exit 3 ;; esac'
        systemctl.write_text(ours.replace("\n", f"\n{theirs}\n", 1))
        assert upgrades(decision) == (not_finished(PACKAGEKIT) if upgrade else [])


def test_only_an_active_shutdown_unit_approves(box: Box) -> None:
    assert reasons(box) == []
    (box.lib / "active").write_text("inactive\n")
    why = (
        "kexec-hook.service is not active, and nothing else decides at shutdown whether the reboot is a kexec; "
        "systemctl enable --now kexec-hook.service"
    )
    assert reasons(box) == [why]
    assert reasons(box, source="finalize") == [], "it runs while its own unit is being stopped"
    (box.bin / "systemctl").unlink()
    assert reasons(box) == [why]


def test_word_on_the_kernels_command_line_switches_everything_off(box: Box) -> None:
    box.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz ro kexec_hook=off quiet\n")
    (objection,) = run(box).objections
    assert (objection.reason, objection.code) == (
        "kexec_hook=off is on the kernel's command line",
        "switched-off",
    )
    box.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz ro xkexec_hook=off quiet\n")
    assert reasons(box) == []


# --- firmware ---


def variable(box: Box, name: str, value: bytes) -> None:
    box.write(f"/sys/firmware/efi/efivars/{name}", b"\7\0\0\0" + value)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (1, "open its setup"),
        (4, "install an update"),
        (0x20, "start a recovery"),
        (0x40, "start a recovery"),
        (0, ""),
    ],
)
def test_the_firmware_was_asked_for_something(box: Box, value: int, what: str) -> None:
    variable(box, f"OsIndications-{GLOBAL}", struct.pack("<Q", value))
    variable(box, f"OsIndicationsSupported-{GLOBAL}", struct.pack("<Q", 0xFF))
    why = f"the firmware was asked to {what} at the next boot (OsIndications)"
    assert reasons(box) == ([why] if what else [])


@pytest.mark.parametrize(("status", "waits"), [(1, True), (2, False), (0, False)])
def test_an_update_of_the_firmware_waits(box: Box, status: int, waits: bool) -> None:
    """struct efi_update_info of fwupd: version, guid, flags, hardware instance, time, status, device path."""
    info = struct.pack("<I16sIQ16sI", 7, b"g" * 16, 0, 0, b"t" * 16, status) + b"\x7f\xff\4\0"
    variable(
        box,
        "fwupd-61b65ccc-0116-4b62-80ed-ec5f089ae523-0-0abba7dc-e516-4167-bbf5-4d9d1c739416",
        info,
    )
    why = "fwupd has a firmware update for the next boot"
    assert reasons(box) == ([why] if waits else [])


def test_an_update_of_the_firmware_waits_on_the_esp(box: Box) -> None:
    with (box / "/proc/self/mountinfo").open("a") as mountinfo:
        mountinfo.write("40 28 8:1 / /boot/efi rw,relatime - vfat /dev/sda1 rw\n")
    (box / "/boot/efi/EFI/UpdateCapsule").mkdir(parents=True)
    assert reasons(box) == []
    box.write("/boot/efi/EFI/UpdateCapsule/fw.cap", "capsule")
    assert reasons(box) == [
        "a firmware update is waiting for the next boot in /boot/efi/EFI/UpdateCapsule"
    ]


@pytest.mark.parametrize(
    ("number", "what"),
    [
        *(("114", ""), ("208", ""), ("209", "")),
        *(
            ("113", "GRUB Legacy"),
            ("49", "Syslinux"),
            ("176", "QEMU itself"),
            ("255", "something else"),
        ),
    ],
)
def test_a_machine_that_another_loader_boots(box: Box, number: str, what: str) -> None:
    box.write("/proc/sys/kernel/bootloader_type", f"{number}\n")
    why = f"this machine was started by {what} (bootloader_type {number}), not by GRUB, {NOT_GRUB}"
    assert reasons(box) == ([why] if what else [])


@pytest.mark.parametrize(
    ("loader", "declined"),
    [("systemd-boot 252.39-1", True), ("rEFInd 0.13.2", True), ("GRUB 2.12", False), ("", False)],
)
def test_a_machine_that_another_efi_loader_boots(box: Box, loader: str, declined: bool) -> None:
    box.write("/sys/firmware/efi/fw_platform_size", "64\n")
    box.write("/proc/sys/kernel/bootloader_type", "33\n")  # 0x21, as the kernel's EFI stub has it
    if loader:
        variable(box, f"LoaderInfo-{LOADER}", (loader + "\0").encode("utf-16-le"))
    why = f"this machine was started by {loader}, not by GRUB, {NOT_GRUB}"
    assert reasons(box) == ([why] if declined else [])


@pytest.mark.parametrize("arch", ["aarch64", "riscv64", "loongarch64", "x86_64"])
@pytest.mark.parametrize("firmware", ["efi/fw_platform_size", "devicetree/base/model", ""])
def test_a_machine_that_u_boot_boots_has_a_grub_cfg_left_over(
    box: Box, arch: str, firmware: str
) -> None:
    """GRUB has no other platform than EFI there; without a /sys nothing is told, and a kexec may leave EFI behind."""
    box.write("proc/sys/kernel/arch", f"{arch}\n")
    shutil.rmtree(box / "sys/firmware", ignore_errors=True)
    if firmware:
        box.write(f"sys/firmware/{firmware}", "64\n")
    why = f"this machine is a {arch} whose firmware is not UEFI, and GRUB is started there by UEFI alone, {NOT_GRUB}"
    assert (why in reasons(box)) is (arch != "x86_64" and firmware.startswith("devicetree"))
    box.write("proc/device-tree/chosen/linux,booted-from-kexec", "")
    assert why not in reasons(box)


# --- whom we believe ---


def writable(path: object, more: str = "", others: str = "") -> str:
    why = f"{path}{more} can be written by users other than root, and it decides what is booted"
    return f"{why}; chmod go-w {path}{others}"


@pytest.mark.parametrize(
    "path",
    [
        "/boot/grub/grub.cfg",
        "/boot/grub/grubenv",
        "/boot/grub",  # whoever may write there may put another grub.cfg into its place
        "/boot",
        "/etc",
        KERNEL,
        INITRD,
        "/etc/kexec-hook.conf",
        "/etc/default/kexec",
    ],
)
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_what_others_can_write_is_not_believed(box: Box, path: str, mode: int) -> None:
    for name in ("/etc/kexec-hook.conf", "/etc/default/kexec"):
        (box.write(name, "# nothing\n") / name).chmod(0o644)
    assert reasons(box) == []
    (box / path).chmod((box / path).stat().st_mode | mode)
    assert reasons(box) == [writable(path)]


def test_what_is_sourced_is_looked_at_too(box: Box) -> None:
    box.write("/boot/grub/custom.cfg", "set timeout=1\n")
    (box / "/boot/grub/custom.cfg").chmod(0o666)
    assert reasons(box) == [writable("/boot/grub/custom.cfg")]


def test_several_files_are_one_sentence(box: Box) -> None:
    for path in ("/boot/grub/grub.cfg", KERNEL, INITRD):
        (box / path).chmod(0o666)
    assert reasons(box) == [writable("/boot/grub/grub.cfg", " (and 2 more)", f" {INITRD} {KERNEL}")]


def test_files_on_fat_belong_to_the_mount(box: Box) -> None:
    (box / "/boot/grub/grub.cfg").chmod(0o777)
    assert reasons(box) == [writable("/boot/grub/grub.cfg")]
    mounts = box / "/proc/self/mountinfo"
    mounts.write_text(mounts.read_text().replace("- ext4 /dev/sda2", "- vfat /dev/sda2"))
    assert reasons(box) == [writable("/boot/grub/grub.cfg")], "mounted with umask=000"
    (box / "/boot/grub/grub.cfg").chmod(0o755)
    assert reasons(box) == []


def test_what_does_not_belong_to_root_is_not_believed(box: Box) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for path in ("/boot/grub/grub.cfg", INITRD):
        os.chown(box / path, 12345, 0)
    why = "/boot/grub/grub.cfg (and 1 more) does not belong to root, and it decides what is booted"
    assert reasons(box) == [f"{why}; chown root /boot/grub/grub.cfg {INITRD}"]


@pytest.mark.parametrize("which", ["kexec", "."])
def test_a_kexec_that_others_can_write_is_not_run(box: Box, which: str) -> None:
    path = (box.bin / which).resolve()
    path.chmod(0o777)
    assert reasons(box) == [writable(path)]


# --- notes ---


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/proc/cpuinfo", CPU.replace("@FLAGS@", "hypervisor")),
        ("/proc/device-tree/hypervisor/compatible", "linux,kvm"),
        ("/sys/hypervisor/type", "other\n"),
    ],
)
def test_a_virtual_machine_is_noted(box: Box, path: str, content: str) -> None:
    box.write(path, content)
    note = "this is a virtual machine, whose firmware is fast, so a kexec saves little time"
    assert notes(box) == [note, NO_WATCHDOG]
    assert reasons(box) == []


@pytest.mark.parametrize(
    ("vendor", "product", "virtual"),
    [
        ("QEMU", "KVM Virtual Machine", True),
        ("QEMU", "QEMU Virtual Machine", True),
        ("Amazon EC2", "m7g.large", True),
        ("Amazon EC2", "m7g.metal", False),
        ("Google", "Google Compute Engine", True),
        ("Ampere(R)", "Mt. Jade", False),
    ],
)
def test_where_the_processor_does_not_tell_the_firmware_does(
    box: Box, vendor: str, product: str, virtual: bool
) -> None:
    """arm64's has no word for it."""
    box.write("/sys/class/dmi/id/sys_vendor", f"{vendor}\n")
    box.write("/sys/class/dmi/id/product_name", f"{product}\n")
    assert notes(box) == [NO_WATCHDOG]  # an x86 would have told
    (box / "proc/sys/kernel/bootloader_type").unlink()
    note = "this is a virtual machine, whose firmware is fast, so a kexec saves little time"
    assert notes(box) == [note, NO_WATCHDOG] if virtual else [NO_WATCHDOG]
