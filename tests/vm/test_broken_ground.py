"""What breaks below kexec-hook, on Debian 12: nothing is staged, status says why, and an ordinary reboot comes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.vm import image, product
from tests.vm.lab import Lab, State
from tests.vm.machine import Booted, VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

APT_INSTALL = (
    "mount -o ro LABEL=payload /mnt && apt-get -y -qq install /mnt/newer/*.deb && umount /mnt"
)


def declined(machine: VirtualMachine, *words: str) -> str:
    """The reasons why nothing is staged."""
    answer = machine.shell(" ".join(["kexec-hook stage --json", *words, "2> /dev/null"]))
    assert answer.code == 3, answer.output
    assert loaded(machine) == "0"
    return "; ".join(objection["reason"] for objection in json.loads(answer.output)["objections"])


def why(machine: VirtualMachine) -> str:
    """What status has to say about it."""
    answer = json.loads(machine.ok("kexec-hook status --json"))
    return "; ".join(objection["reason"] for objection in answer["objections"])


def reboots_the_ordinary_way(machine: VirtualMachine) -> tuple[Booted, str]:
    """How the machine comes back, and what the shutdown unit has said about it."""
    booted = machine.reboot("reboot")
    assert booted.kind == "firmware"
    assert loaded(machine) == "0"
    return booted, machine.ok("journalctl --no-pager -o cat -b -1 -u kexec-hook.service")


def stages_and_jumps_again(machine: VirtualMachine) -> Booted:
    """Into what GRUB boots after that."""
    stage(machine)
    jumped = jump(machine)
    by_grub = machine.power_cycle()
    assert jumped == by_grub.same_as_grub
    return by_grub


def at_shutdown(machine: VirtualMachine, command: str) -> None:
    """What GRUB could not boot is mended by a unit that is stopped after kexec-hook's."""
    unit = (
        "[Unit]\nDefaultDependencies=no\nBefore=kexec-hook.service shutdown.target\nConflicts=shutdown.target\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop={command}\n"
    )
    machine.write("/etc/systemd/system/e2e-repair.service", unit.encode())
    machine.ok("systemctl daemon-reload && systemctl start e2e-repair")


# The initrd.


def test_truncated_initrd_is_not_staged_until_it_is_whole(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    initrd = f"/boot/initrd.img-{lab.image.newer}"
    machine.ok(f"cp {initrd} /root/whole && truncate -s -4096 {initrd}")
    assert f"{initrd} is cut off" in declined(machine)
    assert f"{initrd} is cut off" in why(machine)
    machine.ok(f"cp /root/whole {initrd}")
    stage(machine)
    assert jump(machine) == lab.by_grub(UPGRADED).same_as_grub


def test_initrd_that_is_truncated_after_staging_does_not_boot(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    # GRUB would boot it all the same, and Linux panic.
    initrd = f"/boot/initrd.img-{lab.image.newer}"
    at_shutdown(machine, f"/bin/cp /root/whole {initrd}")
    machine.ok(f"cp -p {initrd} /root/whole && truncate -s -4096 {initrd}")
    booted, said = reboots_the_ordinary_way(machine)
    assert booted.same_as_grub == by_grub.same_as_grub
    assert f"this reboot is not a kexec: {initrd} is cut off" in said


# The kernel.

# GRUB without one waits at its menu for somebody, hence the entry to fall back to: the third, after Debian's own two.
FALLBACK = """\
#!/bin/sh
cat << END
set fallback=2
menuentry "What still boots" {{
    search --no-floppy --fs-uuid --set=root {uuid}
    linux /boot/vmlinuz-{older} root=UUID={uuid} ro quiet console=ttyS0,115200 no_timer_check e2e.by=fallback
    initrd /boot/initrd.img-{older}
}}
END
"""


def _fall_back(lab: Lab, machine: VirtualMachine) -> None:
    script = FALLBACK.format(uuid=image.UUID, older=lab.image.older)
    machine.write("/etc/grub.d/42_fallback", script.encode())
    machine.ok("chmod 755 /etc/grub.d/42_fallback && update-grub", 300)


def test_missing_kernel_is_not_staged_and_grub_falls_back(lab: Lab) -> None:
    machine = lab.at(State("falls-back", _fall_back, UPGRADED))
    kernel = f"/boot/vmlinuz-{lab.image.newer}"
    stage(machine)
    machine.ok(f"mv {kernel} /root/kernel")
    assert kernel in why(machine)
    # What was staged is still loaded, and the shutdown unit alone is in the way of a jump into a kernel that is gone.
    assert loaded(machine) == "1"
    booted, said = reboots_the_ordinary_way(machine)
    assert (booted.release, b" e2e.by=fallback" in booted.cmdline) == (lab.image.older, True)
    assert ("this reboot is not a kexec: " in said, kernel in said) == (True, True), said
    assert kernel in declined(machine)
    assert kernel in why(machine)
    machine.ok(f"mv /root/kernel {kernel}")
    assert stages_and_jumps_again(machine).release == lab.image.newer


# A configuration without an end.

LOOP = b"#!/bin/sh\necho 'while true; do true; done'\n"
# The shutdown unit has no more time than this.
TIMEOUT_STOP = 60


def _prepare_the_upgrade(lab: Lab, machine: VirtualMachine) -> None:
    """apt's glue is there, the newer kernel is not; all is on the disk, where GRUB sees it without ext4's journal."""
    machine.ok(f"apt-get -y -qq purge linux-image-{lab.image.newer}", 600)
    product.install_apt_glue(machine)
    # As on any machine: what dpkg says is unpacked has come to the disk.
    machine.ok("sed -i /force-unsafe-io/d /etc/dpkg/dpkg.cfg.d/*")
    assert machine.power_cycle().release == lab.image.older


TO_BE_UPGRADED = State("to-be-upgraded", _prepare_the_upgrade, UPGRADED)


def loop_in_grub_cfg(machine: VirtualMachine) -> str:
    """Where it is."""
    machine.write("/etc/grub.d/42_loop", LOOP)
    machine.ok("chmod 755 /etc/grub.d/42_loop && update-grub", 300)
    return where_it_loops(machine)


def where_it_loops(machine: VirtualMachine) -> str:
    line = machine.ok("grep -n '^while true' /boot/grub/grub.cfg").partition(":")[0]
    return f"(/boot/grub/grub.cfg:{line})"


def test_endless_loop_in_grub_cfg_is_declined_in_time(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    machine.ok("cp /boot/grub/grub.cfg /root/finite")
    # GRUB itself would never come to its menu.
    at_shutdown(machine, "/bin/cp /root/finite /boot/grub/grub.cfg")
    where = loop_in_grub_cfg(machine)
    started = time.monotonic()
    reasons = why(machine)
    assert time.monotonic() - started < TIMEOUT_STOP
    assert ("GRUB's configuration cannot be evaluated: " in reasons, where in reasons) == (
        True,
        True,
    ), reasons
    booted, said = reboots_the_ordinary_way(machine)
    assert booted.same_as_grub == by_grub.same_as_grub
    assert (
        "this reboot is not a kexec: GRUB's configuration cannot be evaluated: " in said,
        where in said,
    ) == (
        True,
        True,
    ), said


def test_endless_loop_in_grub_cfg_does_not_stop_an_upgrade(lab: Lab) -> None:
    machine = lab.at(TO_BE_UPGRADED)
    loop_in_grub_cfg(machine)
    said = machine.ok(APT_INSTALL, 900)
    where = where_it_loops(machine)
    assert "kexec-hook: not staged: GRUB's configuration cannot be evaluated: " in said, said
    assert where in said, said
    assert where in declined(machine)
    assert machine.ok("dpkg --audit") == ""
    machine.ok("rm /etc/grub.d/42_loop && update-grub", 300)
    booted, _ = reboots_the_ordinary_way(machine)
    assert booted.release == lab.image.newer
    stages_and_jumps_again(machine)


# No room in /run.


def fill_run(machine: VirtualMachine) -> None:
    machine.ok("cat /dev/zero > /run/filler; ! echo full > /run/full", 120)


def test_full_run_stages_nothing_and_leaves_no_halves(lab: Lab) -> None:
    machine = lab.at(UPGRADED)
    fill_run(machine)
    failed = machine.shell("kexec-hook stage")
    assert (failed.code, "no space left on device" in failed.output) == (1, True), failed.output
    said = machine.ok("kexec-hook run --source=apt")
    assert said.endswith(
        "no space left on device; nothing is staged, the next reboot goes through the firmware"
    ), said
    assert loaded(machine) == "0"
    assert machine.ok("find /run/kexec-hook -type f -size +0") == ""
    status = json.loads(machine.ok("kexec-hook status --json"))
    assert status["staged"] is None
    assert any(note.startswith("/run is full") for note in status["notes"]), status["notes"]
    machine.ok("rm /run/filler /run/full")
    stages_and_jumps_again(machine)


def test_full_run_after_staging_leads_to_an_ordinary_reboot(lab: Lab) -> None:
    by_grub = lab.by_grub(UPGRADED)
    machine = lab.at(UPGRADED)
    stage(machine)
    fill_run(machine)
    booted, said = reboots_the_ordinary_way(machine)
    assert booted.same_as_grub == by_grub.same_as_grub
    assert "no space left on device" in said, said


# dpkg is killed in the middle, and then the power fails.

KILL_DPKG = """
mount -o ro LABEL=payload /mnt
(apt-get -y -qq install /mnt/newer/*.deb > /root/apt.said 2>&1; echo $? > /root/apt.code) &
for i in $(seq 3000); do [ -e %s ] && break; sleep 0.1; done
kill -KILL $(pidof dpkg)
"""


def nothing_is_wrong(machine: VirtualMachine, release: str) -> dict[str, Any]:
    """As status has it: GRUB boots that, and what is staged, if anything, is just that."""
    answer: dict[str, Any] = json.loads(machine.ok("kexec-hook status --json"))
    assert (answer["grub"]["release"], answer["objections"]) == (release, [])
    assert answer["loaded"] == bool(answer["staged"])
    if answer["staged"]:
        assert (answer["staged"]["release"], answer["staged"]["why"]) == (release, "")
    return answer


def completes(machine: VirtualMachine, command: str, release: str) -> None:
    """The upgrade that was interrupted; the glue stages."""
    machine.ok(command, 900)
    assert machine.ok("dpkg --audit") == ""
    assert nothing_is_wrong(machine, release)["staged"]
    jumped = jump(machine)
    assert jumped[0] == release
    assert jumped == machine.power_cycle().same_as_grub


def test_dpkg_that_is_killed_while_it_unpacks_a_kernel(lab: Lab) -> None:
    machine = lab.at(TO_BE_UPGRADED)
    machine.ok(KILL_DPKG % f"/lib/modules/{lab.image.newer}/kernel" + "wait; umount /mnt", 300)
    # apt calls kexec-hook all the same: the older kernel, which runs, is still what GRUB boots.
    assert machine.ok("cat /root/apt.code") == "100"
    assert not nothing_is_wrong(machine, lab.image.older)["staged"]
    booted = machine.reset()
    assert (booted.kind, booted.release) == ("firmware", lab.image.older)
    assert not nothing_is_wrong(machine, lab.image.older)["staged"]
    # No archive has the package, of which apt says that it needs to be reinstalled.
    completes(
        machine,
        "mount -o ro LABEL=payload /mnt && dpkg -i /mnt/newer/*.deb && umount /mnt",
        lab.image.newer,
    )


def test_dpkg_that_is_killed_while_it_configures_a_kernel(lab: Lab) -> None:
    machine = lab.at(TO_BE_UPGRADED)
    # The initrd is being made.
    machine.ok(KILL_DPKG % "/var/tmp/mkinitramfs_*", 300)
    booted = machine.reset()
    assert (booted.kind, booted.release) == ("firmware", lab.image.older)
    assert machine.shell(f"test -e /boot/initrd.img-{lab.image.newer}").code
    assert not nothing_is_wrong(machine, lab.image.older)["staged"]
    completes(machine, "dpkg --configure -a && apt-get -y -f install", lab.image.newer)
