"""Which of several does GRUB come to first?  Its order where that is known, and where it is not, nobody knows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kexec_hook.decision.decide import decide
from kexec_hook.disks.root import RootDisks
from kexec_hook.grub.disks import GrubPath, Unseen
from kexec_hook.plugins.api import Decision, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
from tests import images
from tests.bootfiles import bzimage, cpio
from tests.tree import Tree

ROOT = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"


@pytest.fixture
def two_disks(tmp_path: Path) -> Tree:
    """/ is sda2, /boot sda1 and /srv sdb1; each has /flag."""
    made = Tree(tmp_path / "root").touch("flag", "boot/flag", "srv/flag", "boot/vmlinuz")
    made.mount("/", "/dev/sda2").mount("/boot", "/dev/sda1").mount("/srv", "/dev/sdb1")
    for node, number in (("sda1", 1), ("sda2", 2), ("sdb1", 11)):
        made.write(f"dev/{node}")
        made.by("uuid", f"00000000-0000-4000-8000-{number:012}", node)
        made.by("partuuid", f"11111111-aaaa-4bbb-8ccc-{number:012}", node)
    return made


def test_within_a_disk_the_last_partition_comes_first(two_disks: Tree) -> None:
    (two_disks / "srv/flag").unlink()
    assert two_disks.disks().find("file", "/flag") == ["hd0,gpt2", "hd0,gpt1"]


@pytest.mark.parametrize("hint", ["hd0,", "hd0,gpt1"])
def test_a_hinted_disk_is_searched_from_its_first_partition(two_disks: Tree, hint: str) -> None:
    two_disks.cmdline("BOOT_IMAGE=(hd0,gpt1)/vmlinuz root=/dev/sda2 ro")
    (two_disks / "srv/flag").unlink()
    assert two_disks.disks().find("file", "/flag", [hint])[0] == "hd0,gpt1"


@pytest.mark.parametrize("hint", ["hd0,", "hd0,gpt1", "hd1,gpt1", "hd1,"])
def test_a_hint_decides_nothing_where_the_number_of_its_disk_is_a_guess(
    two_disks: Tree, hint: str
) -> None:
    """GRUB takes sda1 if it calls that disk so, and sda2 if not."""
    (two_disks / "srv/flag").unlink()
    with pytest.raises(Unseen) as caught:
        two_disks.disks().find("file", "/flag", [hint])
    disk = hint.partition(",")[0]
    assert (
        caught.value.reason == f"which disk GRUB calls ({disk}) is not known, as there are several"
    )


def test_a_hint_for_one_disk_alone_says_more_than_a_guess_that_a_search_gave_out(
    two_disks: Tree,
) -> None:
    """The search without a hint has sdb1 as hd1,gpt1; the hint says then that the disk is hd0."""
    two_disks.cmdline("")
    disks = two_disks.disks()
    uuid = "00000000-0000-4000-8000-000000000011"
    assert disks.find("fs_uuid", uuid) == ["hd1,gpt1"]
    assert disks.find("fs_uuid", uuid, ["hd0,"])[0] == "hd0,gpt1"
    assert disks.contradiction == {"sdb": ("hd0", "from the hint of a search")}


def test_a_hint_for_one_disk_tells_not_in_which_order_grub_has_them(two_disks: Tree) -> None:
    """It may be false: GRUB finds /flag on sda2 first if it calls sda hd0, and on sdb1 if it calls sdb so."""
    two_disks.cmdline("")
    disks = two_disks.disks()
    uuid = "00000000-0000-4000-8000-000000000011"
    assert disks.find("fs_uuid", uuid, ["hd0,gpt1"])[0] == "hd0,gpt1"
    for hints in ((), ("hd0,",), ("hd0,gpt1",)):
        with pytest.raises(Unseen):
            disks.find("file", "/flag", hints)


def test_which_of_two_disks_has_it_first_is_not_known(two_disks: Tree) -> None:
    with pytest.raises(Unseen) as caught:
        two_disks.disks().find("file", "/flag")
    assert caught.value.reason == (
        "which disk GRUB finds first when it looks for /flag is not known, as there are several"
    )


def test_a_name_that_grub_wrote_tells_which_comes_first(two_disks: Tree) -> None:
    two_disks.cmdline("BOOT_IMAGE=(hd1,gpt1)/vmlinuz root=/dev/sda2 ro")
    assert two_disks.disks().find("file", "/flag") == ["hd0,gpt1", "hd1,gpt2", "hd1,gpt1"]


@pytest.mark.parametrize("hint", ["hd0,", "hd0,gpt1"])
def test_a_hint_that_may_mean_either_disk_tells_nothing(two_disks: Tree, hint: str) -> None:
    with pytest.raises(Unseen) as caught:
        two_disks.disks().find("file", "/flag", [hint])
    assert caught.value.reason == "which disk GRUB calls (hd0) is not known, as there are several"


def test_a_hint_that_comes_after_a_guess_leaves_the_other_disk_unknown(two_disks: Tree) -> None:
    """$root was said to be on hd0 before the hint called that disk hd1; the other one may be hd0 or hd2."""
    disks = two_disks.disks()
    assert disks.grub_path("/vmlinuz") == GrubPath("hd0,gpt2", "/vmlinuz")
    uuid = "00000000-0000-4000-8000-000000000002"
    assert disks.find("fs_uuid", uuid, ["hd1,gpt2"])[0] == "hd1,gpt2"
    with pytest.raises(Unseen):
        disks.find("file", "/flag")


def test_a_hint_that_only_one_of_them_can_be_is_believed_where_the_number_is_known(
    two_disks: Tree,
) -> None:
    two_disks.cmdline("BOOT_IMAGE=(hd1,gpt1)/vmlinuz root=/dev/sda2 ro")
    assert two_disks.disks().find("file", "/flag", ["hd1,gpt2"])[0] == "hd1,gpt2"


def test_a_hinted_disk_with_a_partition_that_cannot_be_read_is_not_known(two_disks: Tree) -> None:
    """GRUB may find it on sda1, which comes before sda2."""
    two_disks.mounts = [line for line in two_disks.mounts if " /boot " not in line]
    two_disks.cmdline("BOOT_IMAGE=(hd0,gpt2)/boot/vmlinuz root=/dev/sda2 ro")
    (two_disks / "srv/flag").unlink()
    with pytest.raises(Unseen) as caught:
        two_disks.disks().find("file", "/flag", ["hd0,"])
    assert caught.value.reason.startswith("/dev/sda1 ")


def test_what_nobody_tells_of_may_be_what_is_searched_for(two_disks: Tree) -> None:
    """A root without its devices: /dev/sda3 is an empty file, and has no link by its UUID."""
    two_disks.write("dev/sda3").by("partuuid", "11111111-aaaa-4bbb-8ccc-000000000003", "sda3")
    disks = two_disks.disks()
    with pytest.raises(Unseen) as caught:
        disks.find("fs_uuid", ROOT)
    assert caught.value.reason.startswith("/dev/sda3 is not mounted")
    uuid = "00000000-0000-4000-8000-000000000002"
    assert disks.find("fs_uuid", uuid) == ["hd0,gpt2"]


BOOT = "00000000-0000-4000-8000-000000000011"


@pytest.fixture
def second_disk(tmp_path: Path) -> Tree:
    """/boot is sdb1, which GRUB calls hd1, as the configuration says; sda1 is / and holds /grub/flag."""
    made = Tree(tmp_path / "root").write("etc/os-release").touch("grub/flag")
    made.write("boot/vmlinuz", bzimage()).write("boot/initrd", cpio())
    made.mount("/", "/dev/sda1").mount("/boot", "/dev/sdb1", device="8:17")
    for node, uuid in (("sda1", ROOT), ("sdb1", BOOT)):
        made.write(f"dev/{node}").by("uuid", uuid, node)
        made.by("partuuid", f"11111111-aaaa-4bbb-8ccc-{uuid[-12:]}", node)
    return made


TWO = f"""\
menuentry Linux {{\n linux /vmlinuz root=UUID={ROOT}\n initrd /initrd\n}}
menuentry Rescue {{\n linux /vmlinuz root=UUID={ROOT} rescue\n initrd /initrd\n}}
"""
HINTED = f"search --fs-uuid --set=root --hint-bios=hd1,gpt1 {BOOT}\n"
ASKS = "if [ -f (hd0,gpt1)/grub/flag ]; then set default=1; fi\n"


@pytest.mark.parametrize("config", [HINTED + ASKS, ASKS + HINTED, HINTED + ASKS + HINTED])
def test_a_number_that_is_learnt_late_is_known_from_the_start(
    second_disk: Tree, config: str
) -> None:
    """The directory of grub.cfg was taken to be on hd0 until the hint of a search called its disk hd1."""
    second_disk.touch("boot/grub/flag.of.boot")
    decision = decided(second_disk, config + TWO)
    assert [objection.reason for objection in decision.objections] == []
    assert decision.default is not None
    assert decision.default.entries[-1].title == "Rescue"
    assert decision.evaluation is not None
    assert decision.evaluation.machine.get("prefix") == "(hd1,gpt1)/grub"


def test_hints_may_number_the_disks_with_gaps(second_disk: Tree) -> None:
    swapped = f"search --fs-uuid --set=root --hint-bios=hd0,gpt1 {ROOT}\n"
    decision = decided(second_disk, swapped + HINTED.replace("hd1", "hd3") + TWO)
    assert decision.evaluation is not None
    assert decision.evaluation.machine.get("prefix") == "(hd3,gpt1)/grub"
    assert decision.plan is not None


# --- the order of names, and what follows from a file that nobody can look at ---


@pytest.fixture
def machine(tmp_path: Path) -> Tree:
    """/dev/sda2 is mounted on /, /dev/sda3 is not mounted; GRUB calls the disk hd0."""
    made = Tree(tmp_path / "root")
    made.write("boot/vmlinuz", bzimage()).write("boot/initrd", cpio()).write("etc/os-release")
    made.mount("/", "/dev/sda2").write("dev/sda2").write("dev/sda3").by("uuid", ROOT, "sda2")
    made.by("uuid", images.UUID, "sda3")
    for number in (2, 3):
        made.by("partuuid", f"11111111-aaaa-4bbb-8ccc-{number:012}", f"sda{number}")
    return made.cmdline("BOOT_IMAGE=(hd0,gpt2)/boot/vmlinuz root=/dev/sda2 ro")


def decided(machine: Tree, config: str) -> Decision:
    machine.grubcfg("set timeout=0\n" + config)
    host = Host(str(machine.root), Programs(), os.geteuid(), False)
    sysroot = host.sysroot()
    return decide(host, sysroot, load_settings(sysroot), Plugins(installed=False), Trigger())


def test_a_directory_that_grubs_driver_lists_is_in_grubs_order(
    machine: Tree, tmp_path: Path
) -> None:
    if not any(shutil.which(name) for name in ("grub-fstest", "grub2-fstest")):
        pytest.skip("needs grub-fstest")
    files = Tree(tmp_path / "files").touch("conf.d/b", "conf.d/a", "conf.d/c")
    images.ext4(machine / "dev/sda3", files.root)
    disks = RootDisks(machine.sysroot())
    machine.touch("conf.d/a", "conf.d/b")
    assert disks.lists_in_order(GrubPath("hd0,gpt3", "/conf.d/"))
    assert not disks.lists_in_order(GrubPath("hd0,gpt2", "/conf.d/"))
    entry = (
        f"menuentry x {{\n linux /boot/vmlinuz root=UUID={ROOT} $all\n initrd /boot/initrd\n}}\n"
    )
    loop = "insmod regexp\nfor f in (hd0,{})/conf.d/*; do set all=$all$f; done\n"
    decision = decided(machine, loop.format("gpt3") + entry)
    assert [objection.reason for objection in decision.objections] == []
    assert decision.plan is not None
    names = [decision.plan.cmdline.count(f"(hd0,gpt3)/conf.d/{name}") for name in "abc"]
    assert names == [1, 1, 1]
    (objection,) = decided(machine, loop.format("gpt2") + entry).objections
    assert "the order in which GRUB finds `(hd0,gpt2)/conf.d/*'" in objection.reason


@pytest.mark.parametrize(
    ("default", "lines", "known"),
    [
        ("/k/3", "menuentry $f --id $f {{ linux {linux} $1; initrd /boot/initrd }}", True),
        ("0", "menuentry $f --id $f {{ linux {linux} $1; initrd /boot/initrd }}", False),
        ("1", "menuentry $f --id $f {{ linux {linux} $1; initrd /boot/initrd }}", False),
        ("x", "menuentry $f --id $f {{ linux {linux} $1; initrd /boot/initrd }}", False),
        ("x", "last=$f", False),
        ("x", 'if [ "$f" -pgt "$newest" ]; then newest=$f; fi', True),
        ("3", "menuentry $f {{ true }}", True),
    ],
)
def test_an_order_that_is_not_known_counts_only_where_something_hangs_on_it(
    machine: Tree, default: str, lines: str, known: bool
) -> None:
    """Debian's live systems make an entry of each kernel in a directory."""
    machine.touch("k/1", "k/2", "k/3")
    linux = f"/boot/vmlinuz root=UUID={ROOT}"
    config = (
        f"insmod regexp\nset default={default}\nset newest=/k/0\nfor f in /k/*; do {lines.format(linux=linux)}; done\n"
        f"menuentry own {{\nlinux {linux} last=$last newest=$newest\ninitrd /boot/initrd\n}}\n"
    )
    decision = decided(machine, config)
    reasons = [objection.reason for objection in decision.objections]
    if known:
        assert reasons == []
        assert decision.plan is not None
        end = {"/k/3": " /k/3", "x": " newest=/k/3", "3": " newest=/k/0"}[default]
        assert decision.plan.cmdline.endswith(end)
    else:
        (reason,) = reasons
        assert reason.startswith(
            "what GRUB boots cannot be known: the order in which GRUB finds `/k/*'"
        )


@pytest.mark.parametrize(
    "lines",
    ["initrd (hd0,gpt3)/initrd", "if [ -f (hd0,gpt3)/i ]; then initrd (hd0,gpt3)/i; fi"],
)
def test_an_initrd_that_cannot_be_seen_is_not_called_missing(machine: Tree, lines: str) -> None:
    config = f"menuentry x {{\n linux /boot/vmlinuz root=UUID={ROOT}\n {lines}\n}}\n"
    reasons = [objection.reason for objection in decided(machine, config).objections]
    assert len(reasons) == 1, reasons
    assert "/dev/sda3" in reasons[0]


def test_a_volume_comes_before_the_disks_or_after_them(tmp_path: Path) -> None:
    """GRUB asks the volumes that it has met first, and looks for others last."""
    machine = Tree(tmp_path / "root").mount("/", "/dev/sda2").by("uuid", "AAAA", "sda2")
    machine.write("dev/sda2").write("dev/dm-0").link("dev/mapper/vg-data", "../dm-0")
    machine.write("sys/class/block/dm-0/dm/uuid", f"LVM-{'a' * 32}{'b' * 32}\n")
    machine.mount("/data", "/dev/mapper/vg-data", device="254:0").by("uuid", "BBBB", "dm-0")
    machine.touch("both", "data/both", "data/one")
    disks = machine.disks()
    with pytest.raises(Unseen, match="which disk GRUB finds first"):
        disks.find("file", "/both")
    assert list(disks.find("file", "/one")) == ["lvm/vg-data"]
    assert disks.find("file", "/both", ["lvm/vg-data"])[0] == "lvm/vg-data"
