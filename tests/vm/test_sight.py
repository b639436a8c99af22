"""What GRUB sees and Linux does not show, on Debian 12: a flag, a kernel and its initrd on a disk that is not mounted."""

from __future__ import annotations

import pytest

from tests.vm import image
from tests.vm.lab import Lab, State
from tests.vm.machine import VirtualMachine
from tests.vm.scenarios import UPGRADED, jump, loaded, stage

pytestmark = pytest.mark.vm
RECIPE = image.DEBIAN_12

# The second disk holds the packages for the tests; it has a file system and no partitions.
ON_THE_OTHER_DISK = """\
#!/bin/sh
cat << 'END'
search --no-floppy --label --set=other payload
if [ -f ($other)/maintenance ]; then
    set default="{older}"
fi
menuentry "From the other disk" --id other {{
    search --no-floppy --label --set=root payload
    linux /vmlinuz root=UUID={uuid} ro quiet console=ttyS0,115200 no_timer_check e2e.from=other
    initrd /initrd.img
}}
END
"""


def _other_disk(lab: Lab, machine: VirtualMachine) -> None:
    script = ON_THE_OTHER_DISK.format(older=lab.entry_of(lab.image.older), uuid=image.UUID)
    machine.write("/etc/grub.d/42_other", script.encode())
    machine.ok("chmod 755 /etc/grub.d/42_other && update-grub", 300)


def on_the_other_disk(machine: VirtualMachine, command: str) -> None:
    machine.ok(f"mount LABEL=payload /mnt && {command} && umount /mnt")


WITH_ANOTHER_DISK = State("with-another-disk", _other_disk, UPGRADED)
FLAGGED = State(
    "flagged",
    lambda lab, machine: on_the_other_disk(machine, "touch /mnt/maintenance"),
    WITH_ANOTHER_DISK,
)


def _unflag_what_is_staged(lab: Lab, machine: VirtualMachine) -> None:
    assert stage(machine)["release"] == lab.image.older
    on_the_other_disk(machine, "rm /mnt/maintenance")


UNFLAGGED = State("unflagged", _unflag_what_is_staged, FLAGGED)


def _kernel_there(lab: Lab, machine: VirtualMachine) -> None:
    older = lab.image.older
    copies = f"cp /boot/vmlinuz-{older} /mnt/vmlinuz && cp /boot/initrd.img-{older} /mnt/initrd.img"
    on_the_other_disk(machine, copies)
    machine.ok("grub-reboot other")


KERNEL_THERE = State("kernel-there", _kernel_there, WITH_ANOTHER_DISK)


@pytest.mark.parametrize("state", [WITH_ANOTHER_DISK, FLAGGED], ids=lambda state: str(state.name))
def test_a_flag_on_a_disk_that_is_not_mounted_is_followed(lab: Lab, state: State) -> None:
    by_grub = lab.by_grub(state)
    assert by_grub.release == (lab.image.older if state is FLAGGED else lab.image.newer)
    machine = lab.at(state)
    assert stage(machine)["release"] == by_grub.release
    assert jump(machine) == by_grub.same_as_grub


def test_a_flag_that_goes_after_staging_is_seen_at_shutdown(lab: Lab) -> None:
    by_grub = lab.by_grub(UNFLAGGED)
    assert by_grub.release == lab.image.newer
    assert jump(lab.at(UNFLAGGED)) == by_grub.same_as_grub


def test_a_kernel_on_a_disk_that_is_not_mounted_boots_as_by_grub(lab: Lab) -> None:
    by_grub = lab.by_grub(KERNEL_THERE)
    assert b" e2e.from=other" in by_grub.cmdline
    machine = lab.at(KERNEL_THERE)
    answer = stage(machine)
    assert answer["kernel"] == "/dev/vdb:/vmlinuz"
    assert answer["initrds"] == ["/dev/vdb:/initrd.img"]
    assert loaded(machine) == "1"
    assert jump(machine) == by_grub.same_as_grub
