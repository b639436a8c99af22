"""What no mount shows: GRUB's own drivers say there or not there, and where they cannot, nobody knows."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
from collections.abc import Callable
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
from tests.machine import Box
from tests.tree import Content, Tree

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
ENTRIES = """\
menuentry 'Linux' {
  linux /boot/vmlinuz-6.1 root=UUID=@UUID@ ro
  initrd /boot/initrd.img-6.1
}
menuentry 'Rescue' {
  linux /boot/vmlinuz-6.1 root=UUID=@UUID@ ro rescue
  initrd /boot/initrd.img-6.1
}
"""


@pytest.fixture(autouse=True)
def _needs_fstest() -> None:
    if not any(shutil.which(name) for name in ("grub-fstest", "grub2-fstest")):
        pytest.skip("needs grub-fstest")


class Disk(Tree):
    """/dev/sda2 is mounted on /, /dev/sda3 is not mounted; GRUB calls the disk hd0 for sure."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "root")
        self.files = Tree(root / "files")  # what sda3 will hold
        self.write("boot/vmlinuz-6.1", bzimage("6.1.0-39-amd64 (debian) #1 SMP"))
        self.write("boot/initrd.img-6.1", cpio())
        self.mount("/", "/dev/sda2").write("dev/sda2").by("uuid", UUID, "sda2")
        self.by("partuuid", "11111111-aaaa-4bbb-8ccc-dddddddddd02", "sda2")
        self.by("partuuid", "11111111-aaaa-4bbb-8ccc-dddddddddd03", "sda3")
        self.by("label", "DATA", "sda3")
        self.cmdline("BOOT_IMAGE=(hd0,gpt2)/boot/vmlinuz-6.1 root=/dev/sda2 ro")

    def config(self, text: str) -> Disk:
        self.grubcfg((text + ENTRIES).replace("@UUID@", UUID))
        return self

    def image(self, make: Callable[..., Path] = images.ext4) -> Disk:
        """Its UUID is known by udev, as that of every file system."""
        make(self / "dev/sda3", self.files.root)
        (self / "dev/sda3").chmod(0o644)
        uuid = "ABCD-1234" if make is images.fat else images.UUID
        self.by("uuid", uuid, "sda3")
        return self

    def empty(self) -> Disk:
        """A partition that is there and cannot be read."""
        self.write("dev/sda3").by("uuid", images.UUID, "sda3")
        return self

    def decide(self) -> Decision:
        host = Host(str(self.root), Programs(), os.geteuid(), False)
        sysroot = host.sysroot()
        return decide(host, sysroot, load_settings(sysroot), Plugins(installed=False), Trigger())

    def boots(self) -> str:
        """The title of the entry that would be staged, which nothing speaks against."""
        decision = self.decide()
        assert [objection.reason for objection in decision.objections] == []
        assert decision.evaluation is not None
        assert decision.evaluation.default is not None
        return decision.evaluation.default.entries[-1].title

    def reason(self) -> str:
        """The one objection."""
        (objection,) = self.decide().objections
        return objection.reason


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


FLAG = "if [ -f (hd0,gpt3)/flag ]; then set default=1; fi\n"
QUESTIONS = {
    "test -f": FLAG,
    "test -e": "if [ -e (hd0,gpt3)/flag ]; then set default=1; fi\n",
    "test -s": "if [ -s (hd0,gpt3)/flag ]; then set default=1; fi\n",
    "test -d": "if [ -d (hd0,gpt3)/flag.d ]; then set default=1; fi\n",
    "test -nt": "if [ (hd0,gpt3)/flag -nt (hd0,gpt3)/old ]; then set default=1; fi\n",
    "search --file": "if search --file --set=x /flag; then set default=1; fi\n",
    "source": "source (hd0,gpt3)/flag.cfg\n",
    "configfile": "function go { configfile (hd0,gpt3)/flag.menu; }\nif [ -f (hd0,gpt3)/flag.menu ]; then go; fi\n",
    "load_env": "load_env -f (hd0,gpt3)/flag.env default\n",
    "glob": "insmod regexp\nfor f in (hd0,gpt3)/fl?g; do if [ -f $f ]; then set default=1; fi; done\n",
    "cat": "if cat (hd0,gpt3)/flag; then set default=1; fi\n",
}
FLAGS: dict[str, Content] = {
    "flag": "on\n",
    "flag.d/x": "",
    "flag.cfg": "set default=1\n",
    "flag.menu": "set default=1\n" + ENTRIES.replace("@UUID@", UUID),
    "flag.env": b"# GRUB Environment Block\ndefault=1\n".ljust(1024, b"#"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_file_on_a_partition_that_is_not_mounted_is_seen(question: str, disk: Disk) -> None:
    disk.files.fill(FLAGS).write("old", "x")
    os.utime(disk.files / "old", (1, 1))
    if question == "configfile":
        disk.config(QUESTIONS[question] + "set root=hd0,gpt2\n").image()
        decision = disk.decide()
        assert decision.evaluation is not None
        assert decision.evaluation.default is not None
        assert decision.evaluation.default.entries[-1].title == "Rescue"
        return
    assert disk.config(QUESTIONS[question]).image().boots() == "Rescue"


@pytest.mark.parametrize("question", QUESTIONS)
def test_file_that_is_not_on_that_partition_is_not_there(question: str, disk: Disk) -> None:
    disk.files.write("other", "x")
    assert disk.config(QUESTIONS[question]).image().boots() == "Linux"


@pytest.mark.parametrize("question", QUESTIONS)
def test_partition_that_cannot_be_read_is_neither(question: str, disk: Disk) -> None:
    why = disk.config(QUESTIONS[question]).empty().decide().objections[0].reason
    assert why.startswith(
        "what GRUB boots cannot be known: /dev/sda3 (label DATA) is not mounted, and it cannot be read: "
        "the file in its place is empty, and GRUB looks for /"
    )
    line = 2 if question in ("configfile", "glob") else 1
    assert why.endswith(f"(/boot/grub/grub.cfg:{line})")


@pytest.mark.parametrize("kind", images.MAKERS)
def test_each_kind_of_file_system_is_seen(kind: str, disk: Disk) -> None:
    disk.files.write("flag", "on")
    assert disk.config(FLAG).image(images.MAKERS[kind]).boots() == "Rescue"


def test_what_a_term_decides_alone_hangs_on_nothing_unseen(disk: Disk) -> None:
    disk.config("if [ -f (hd0,gpt3)/x -a -n '' ]; then set default=1; fi\n").empty()
    assert disk.boots() == "Linux"
    disk.config("if [ -f (hd0,gpt3)/x -o -n 1 ]; then set default=1; fi\n")
    assert disk.boots() == "Rescue"
    disk.config("if [ ! -f (hd0,gpt3)/x -o -n '' ]; then set default=1; fi\n")
    assert "cannot be known" in disk.reason()


HARMLESS = [
    "loadfont (hd0,gpt3)/unicode.pf2",
    "background_image (hd0,gpt3)/picture.png",
    "set theme=(hd0,gpt3)/theme.txt",
    "set locale_dir=(hd0,gpt3)/locale",
    "terminal_output gfxterm",
    "play (hd0,gpt3)/tune",
]


@pytest.mark.parametrize("command", HARMLESS)
def test_what_decides_on_colours_alone_need_not_be_seen(command: str, disk: Disk) -> None:
    assert disk.config(f"{command}\n").empty().boots() == "Linux"


@pytest.mark.parametrize(
    "name",
    ["memdisk", "proc", "crypto0", "lvm/vg-root", "md/0", "http,10.0.0.1", "tftp,10.0.0.1", "cd0"],
)
def test_devices_that_grub_alone_has_are_not_seen(name: str, disk: Disk) -> None:
    why = disk.config(f"if [ -f ({name})/flag ]; then set default=1; fi\n").empty().reason()
    assert f"({name}) is a device that GRUB may have and Linux does not show" in why


def test_disk_that_linux_does_not_have_is_not_there(disk: Disk) -> None:
    assert disk.config("if [ -f (hd7,gpt1)/flag ]; then set default=1; fi\n").boots() == "Linux"


def test_number_of_one_of_several_disks_is_not_known(disk: Disk) -> None:
    disk.cmdline("BOOT_IMAGE=/boot/vmlinuz-6.1").write("dev/sdb1").by("uuid", images.UUID, "sdb1")
    why = disk.config("if [ -f (hd1,msdos1)/flag ]; then set default=1; fi\n").reason()
    assert "which disk GRUB calls (hd1) is not known, as there are several" in why


@pytest.mark.parametrize(
    ("comparison", "known"),
    [
        ('[ "$root" = hd1,gpt2 ]', False),
        ('[ "$root" = hd1,msdos2 ]', True),
        ('[ "$root" = hd7,gpt2 ]', False),
        ('[ "$root" = hd0,gpt9 ]', True),
        ('[ "$root" != "" ]', True),
        ('[ "$grub_platform" = pc ]', True),
        ('[ "$mine" = hd0,gpt2 ]', True),
        ('regexp "^hd1" "$root"', False),
        ('regexp "^hd[0-9]+,gpt2" "$root"', True),
    ],
)
def test_name_of_a_disk_is_a_guess_where_something_hangs_on_its_number(
    comparison: str, known: bool, disk: Disk
) -> None:
    disk.cmdline("BOOT_IMAGE=/boot/vmlinuz-6.1").empty()
    disk.config(
        f"search --fs-uuid --set=root {UUID}\nset mine=hd0,gpt2\nif {comparison}; then true; fi\n"
    )
    reasons = [objection.reason for objection in disk.decide().objections]
    assert (reasons == []) == known, reasons
    assert known or "is a guess, and something hangs on it (/boot/grub/grub.cfg:3)" in reasons[0]


def test_name_that_grub_itself_wrote_is_no_guess(disk: Disk) -> None:
    disk.config(
        f"search --fs-uuid --set=root {UUID}\nif [ $root = hd0,gpt2 ]; then set default=1; fi\n"
    )
    assert disk.boots() == "Rescue"


@pytest.mark.parametrize("variable", ["lockdown", "shim_lock", "cmdpath", "fw_path"])
def test_variables_that_builds_differ_in_are_not_known(variable: str, disk: Disk) -> None:
    disk.efi().config(f'if [ "${variable}" = y ]; then set default=1; fi\n')
    reasons = [objection.reason for objection in disk.decide().objections]
    assert f"${variable} is set by some builds of GRUB and not by others" in "\n".join(reasons)


def test_bios_has_no_secure_boot_and_its_grub_no_lockdown(disk: Disk) -> None:
    disk.config('if [ "$lockdown" = y ]; then set default=1; fi\n')
    assert disk.boots() == "Linux"


KERNEL = """\
menuentry 'From there' {{
  search --no-floppy --{by} --set=root {value}
  linux /vmlinuz-6.8 root=/dev/sda2 ro
  initrd /ucode.img /initrd.img-6.8
}}
"""


def from_there(disk: Disk, by: str = "label", value: str = "DATA") -> Disk:
    disk.files.write("vmlinuz-6.8", bzimage("6.8.0-1-amd64 (debian) #1 SMP"))
    disk.files.write("initrd.img-6.8", cpio({"init": b"8"})).write("ucode.img", cpio({"u": b"c"}))
    return disk.config(KERNEL.format(by=by, value=value))


@pytest.mark.parametrize("kind", images.MAKERS)
@pytest.mark.parametrize("by", ["label", "fs-uuid", "file"])
def test_kernel_on_a_partition_that_is_not_mounted_is_checked_and_named(
    by: str, kind: str, disk: Disk
) -> None:
    uuid = "ABCD-1234" if kind == "fat" else images.UUID
    from_there(disk, by, {"label": "DATA", "fs-uuid": uuid, "file": "/vmlinuz-6.8"}[by])
    decision = disk.image(images.MAKERS[kind]).decide()
    assert [objection.reason for objection in decision.objections] == []
    assert decision.plan is not None
    assert decision.plan.kernel == "/dev/sda3:/vmlinuz-6.8"
    assert [item.path for item in decision.plan.initrds] == [
        "/dev/sda3:/ucode.img",
        "/dev/sda3:/initrd.img-6.8",
    ]
    assert decision.plan.release == "6.8.0-1-amd64"
    assert decision.plan.cmdline == "BOOT_IMAGE=/vmlinuz-6.8 root=/dev/sda2 ro"


def test_file_system_that_udev_does_not_name_is_found_by_its_own_words(disk: Disk) -> None:
    from_there(disk, "fs-uuid", images.UUID)
    images.ext4(disk / "dev/sda3", disk.files.root)
    decision = disk.decide()
    assert [objection.reason for objection in decision.objections] == []
    assert decision.plan is not None
    assert decision.plan.kernel == "/dev/sda3:/vmlinuz-6.8"


def test_damaged_kernel_from_there_is_an_objection(disk: Disk) -> None:
    from_there(disk).files.write("vmlinuz-6.8", bzimage("6.8.0-1-amd64")[:-2000])
    (objection,) = disk.image().decide().objections
    assert objection.reason.startswith("/dev/sda3:/vmlinuz-6.8 is cut off")


def test_other_slot_that_cannot_be_read_is_no_fault_of_the_entry(disk: Disk) -> None:
    why = from_there(disk).empty().reason()
    assert why.startswith("what GRUB boots cannot be known: /dev/sda3 (label DATA) is not mounted")
    assert why.endswith("GRUB looks for /vmlinuz-6.8 on it (/boot/grub/grub.cfg:3)")


def test_removable_disk_is_not_read(disk: Disk) -> None:
    disk.files.write("flag", "on")
    disk.config(FLAG).image().write("sys/class/block/sda/removable", "1\n")
    assert "and it is not read, as it is removable" in disk.reason()


def test_subvolume_that_is_not_mounted_is_seen(disk: Disk) -> None:
    """As Fedora's blscfg, and grub-btrfs, ask at the top of the file system."""
    disk.files.write("aem/x", "").write("@/boot/x", "")
    images.btrfs(disk / "dev/sda3", disk.files.root)
    (disk / "dev/sda3").chmod(0o644)
    disk.by("uuid", images.UUID, "sda3").mount(
        "/data", "/dev/sda3", "btrfs", "/@", "0:25", "rw,subvol=/@"
    )
    assert disk.config("if [ -d (hd0,gpt3)/aem/ ]; then set default=1; fi\n").boots() == "Rescue"
    assert disk.config("if [ -d (hd0,gpt3)/gone ]; then set default=1; fi\n").boots() == "Linux"


def test_what_a_mount_hides_is_seen(disk: Disk) -> None:
    """GRUB reads /data of sda3; over it something else is mounted."""
    disk.files.write("data/flag", "on")
    disk.image().mount("/mnt", "/dev/sda3", device="8:3").mkdir("mnt/data")
    disk.mount("/mnt/data", "tmpfs", "tmpfs", device="0:40", parent=disk.root_id() + 1)
    text = "if [ -f (hd0,gpt3)/data/flag ]; then set default=1; fi\n"
    assert disk.config(text).boots() == "Rescue"


def test_zfs_that_is_not_mounted_is_not_seen(disk: Disk) -> None:
    disk.mount("/pool", "pool/ROOT/a", "zfs", device="0:30").by("uuid", "1234", "sda3")
    disk.link("dev/disk/by-label/pool", "../../sda3").write("dev/sda3", bytes(1 << 20))
    disk.config("if [ -f (hd0,gpt3)/ROOT/b@/flag ]; then set default=1; fi\n")
    assert "cannot be read, as it is ZFS" in disk.reason()


def test_write_to_a_block_that_is_not_mounted_is_an_objection(disk: Disk) -> None:
    disk.files.grubenv("default=0", path="grubenv")
    disk.config("set x=1\nsave_env -f (hd0,gpt3)/grubenv x\n").image()
    assert "(hd0,gpt3)/grubenv, which is not mounted" in disk.reason()


@pytest.mark.parametrize("options", ["ro", "rw"])
def test_write_to_a_block_on_a_read_only_mount_is_an_objection(disk: Disk, options: str) -> None:
    disk.mount("/mnt", "/dev/sda3", device="8:3", options=options)
    disk.grubenv("default=0", path="mnt/grubenv")
    disk.config("set x=1\nsave_env -f (hd0,gpt3)/grubenv x\n")
    found = [one for one in disk.decide().objections if one.code == "environment-not-writable"]
    assert [(one.reason, one.fix) for one in found] == [
        (
            "GRUB would write its environment to /mnt/grubenv, and /mnt is mounted read-only",
            "mount -o remount,rw /mnt",
        )
    ][: options == "ro"]


def test_what_is_there_already_need_not_be_written_there(disk: Disk) -> None:
    disk.files.grubenv("x=1", path="grubenv")
    disk.config("set x=1\nsave_env -f (hd0,gpt3)/grubenv x\n").image()
    assert disk.boots() == "Linux"


def test_grub_writes_nothing_to_a_block_on_btrfs_mounted_or_not(disk: Disk) -> None:
    disk.files.grubenv("default=0", path="grubenv")
    save = "set x=1\nif save_env -f (hd0,gpt3)/grubenv x; then set default=1; fi\n"
    disk.config(save).image(images.btrfs)
    assert disk.boots() == "Linux"


OTHERS = {"swap space": (4086, b"SWAPSPACE2"), "a locked container": (0, b"LUKS\xba\xbe\x00\x02")}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_file_system_holds_no_file(what: str, disk: Disk) -> None:
    """udev gives it a link by its UUID as it does for file systems."""
    at, magic = OTHERS[what]
    disk.write("dev/sda3", (b"\0" * at + magic).ljust(1 << 16, b"\0")).by(
        "uuid", images.UUID, "sda3"
    )
    for question in ("test -f", "search --file"):
        assert disk.config(QUESTIONS[question]).boots() == "Linux"


@pytest.mark.parametrize("question", ["test -f", "search --file"])
def test_file_system_that_is_cut_off_may_hold_the_file(question: str, disk: Disk) -> None:
    disk.files.write("flag", "on")
    disk.config(QUESTIONS[question]).image()
    os.truncate(disk / "dev/sda3", 40_000)
    assert "/dev/sda3 (label DATA) is not mounted, and it cannot be read" in disk.reason()


def test_what_a_file_system_that_is_cut_off_is_called_is_not_known(disk: Disk) -> None:
    disk.config("if probe --set=x --fs (hd0,gpt3); then set default=1; fi\n").image()
    os.truncate(disk / "dev/sda3", 40_000)
    assert "/dev/sda3 (label DATA) is not mounted, and it cannot be read" in disk.reason()


def test_the_time_of_a_link_to_a_directory_is_its_own_or_not_known(disk: Disk) -> None:
    """GRUB's `test` knows the time of the link itself; `ls -l` of GRUB 2.06 leaves it out."""
    disk.files.write("old", "x").write("d/x", "x").link("link", "d")
    for name in ("old", "d"):
        os.utime(disk.files / name, (10**9, 10**9))
    disk.config("if [ (hd0,gpt3)/link -nt (hd0,gpt3)/old ]; then set default=1; fi\n").image()
    if disk.decide().objections:
        assert "it does not tell when that was changed" in disk.reason()
    else:
        assert disk.boots() == "Rescue"


def test_the_kernel_that_grub_named_may_be_where_no_mount_shows_it(disk: Disk) -> None:
    """/ is the subvolume @ of sda2, and sda1 has a file of that name, too."""
    disk.mounts = []
    disk.mount("/", "/dev/sda2", "btrfs", root="/@", options="rw,subvol=/@")
    disk.mount("/srv", "/dev/sda1", device="8:1").touch("srv/vmlinuz")
    disk.by("uuid", "00000000-0000-4000-8000-000000000001", "sda1")
    disk.by("partuuid", "11111111-aaaa-4bbb-8ccc-dddddddddd01", "sda1")
    disk.cmdline("BOOT_IMAGE=(hd1,gpt2)/vmlinuz root=/dev/sda2 ro")
    assert disk.disks().grub_path("/boot/vmlinuz-6.1") == GrubPath(
        "hd1,gpt2", "/@/boot/vmlinuz-6.1"
    )


def test_disk_made_of_an_image_is_not_seen(disk: Disk) -> None:
    disk.write("boot/live.iso", "x")
    disk.config("loopback loop /boot/live.iso\nif [ -f (loop)/x ]; then set default=1; fi\n")
    assert "(loop) is what `loopback` makes of the image (hd0,gpt2)/boot/live.iso" in disk.reason()
    disk.config(
        "loopback loop /boot/live.iso\nloopback -d loop\nif [ -f (loop)/x ]; then true; fi\n"
    )
    assert disk.boots() == "Linux"


@pytest.mark.parametrize(
    ("search", "codes"),
    [
        ("search --file --set=x /boot/vmlinuz-6.1", ["not-mounted"]),
        ("search --file --set=x /only/in/the/image", ["not-mounted"]),
        (f"search --fs-uuid --set=x {UUID}", ["cannot-be-known"]),
        ("search --file --set=x --hint=hd0,gpt2 /boot/vmlinuz-6.1", []),
        ("search --file --set=x --hint=hd0, /boot/vmlinuz-6.1", []),
    ],
)
def test_disk_made_of_an_image_is_searched_before_all_others(
    disk: Disk, search: str, codes: list[str]
) -> None:
    """As grub-emu 2.06 does: what was registered last comes first (kern/disk.c, grub_disk_dev_register)."""
    disk.write("boot/live.iso", "x")
    disk.config(f"loopback loop /boot/live.iso\n{search}\n")
    assert [objection.code for objection in disk.decide().objections] == codes


PACKED: dict[str, Callable[[bytes], bytes]] = {"gzio": gzip.compress, "xzio": lzma.compress}


@pytest.mark.parametrize("module", PACKED)
def test_packed_configuration_is_unpacked_once_the_module_is_there(module: str, disk: Disk) -> None:
    disk.write("boot/custom.cfg", PACKED[module](b"set default=1\n"))
    disk.write(
        "boot/env", PACKED[module](b"# GRUB Environment Block\ndefault=1\n".ljust(1024, b"#"))
    )
    for load in ("source /boot/custom.cfg", "load_env -f /boot/env"):
        assert disk.config(f"insmod {module}\n{load}\n").boots() == "Rescue"
        alone = disk.config(f"{load}\n").boots()
        assert alone == ("Rescue" if module == "gzio" else "Linux")  # GRUB loads gzio by itself
    packed = disk.config("source /boot/custom.cfg\n") / "boot/grub/grub.cfg"
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    assert disk.boots() == ("Rescue" if module == "gzio" else "Linux")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89LZO\0\r\n\x1a\nxxx", "is packed by lzop, which is not unpacked here"),
        (gzip.compress(b"set default=1\n")[:-9], "packed by gzip, is damaged or in several parts"),
        (gzip.compress(b"x") * 2, "packed by gzip, is damaged or in several parts"),
        (gzip.compress(bytes(70 << 20)), "packed by gzip, holds more than 64 MiB"),
        (lzma.compress(bytes(70 << 20)), "packed by xz, holds more than 64 MiB"),
    ],
)
def test_what_cannot_be_unpacked_as_grub_does_is_not_known(
    data: bytes, why: str, disk: Disk
) -> None:
    disk.write("boot/custom.cfg", data)
    modules = "insmod gzio\ninsmod xzio\ninsmod lzopio\n"
    assert (
        f"/boot/custom.cfg {why}".replace("cfg packed", "cfg, packed")
        in disk.config(f"{modules}source /boot/custom.cfg\n").reason()
    )


def test_hwmatch_is_no_command_of_an_efi_grub(disk: Disk) -> None:
    disk.efi().write("boot/list", "v0000d0000.*\n")
    disk.config(
        'if hwmatch /boot/list 3; then if [ "$match" = 0 ]; then true; else set default=1; fi; fi\n'
    )
    assert disk.boots() == "Rescue"


@pytest.mark.parametrize("name", ["menu_show_once", "menu_show_once_timeout"])
def test_wish_for_the_menu_is_an_objection(name: str, disk: Disk) -> None:
    ask = f'load_env\nif [ "${name}" ]; then unset {name}; save_env {name}; fi\n'
    disk.grubenv(f"{name}=1").config(ask)
    assert disk.reason() == (
        f"somebody asked for GRUB's menu at the next boot ({name} in /boot/grub/grubenv)"
    )
    disk.grubenv("x=1")
    assert disk.boots() == "Linux"


def test_remembered_answer_of_search_is_no_hint(tmp_path: Path) -> None:
    disk = Disk(tmp_path).cmdline("x").empty()
    disk.config(f"search --fs-uuid --set=root {UUID}\n" * 2)
    decision = disk.decide()
    device = decision.disks.device("hd0,gpt2")
    assert device is not None
    assert device.assumed == "nothing tells its number"


def test_blscfg_that_finds_nothing_says_where_it_looked(disk: Disk) -> None:
    disk.write("boot/grub/x86_64-efi/modinfo.sh", 'grub_version="2.14"\n').efi()
    disk.grubcfg("blscfg\nmenuentry 'UEFI Firmware Settings' {\n  fwsetup\n}\n")
    (why, *_) = [objection.reason for objection in disk.decide().objections]
    assert why.startswith(
        "blscfg finds no entry in (hd0,gpt2)/loader/entries/ (/boot/grub/grub.cfg:1), so «UEFI"
    )


def test_so_it_is_where_the_one_entry_is_nothing_for_this_platform(disk: Disk) -> None:
    disk.write("boot/grub/i386-pc/modinfo.sh", 'grub_version="2.14"\n')
    disk.grubcfg("blscfg\nmenuentry 'UEFI Firmware Settings' {\n  fwsetup\n}\n")
    assert disk.reason() == (
        "blscfg finds no entry in (hd0,gpt2)/loader/entries/ (/boot/grub/grub.cfg:1), "
        "so «UEFI Firmware Settings» boots nothing"
    )
    disk.grubcfg("blscfg\nmenuentry 'Linux' {\n  linux /none\n}\n")
    assert disk.reason().startswith(
        "GRUB cannot load the kernel of «Linux»: file `/none' not found"
    )


def test_link_off_its_own_file_system_is_called_that(disk: Disk) -> None:
    disk.link("vmlinuz", "nowhere/vmlinuz")
    disk.grubcfg("menuentry 'Linux' {\n  linux /vmlinuz root=/dev/sda2\n}\n")
    assert disk.reason() == (
        "GRUB cannot boot «Linux»: (hd0,gpt2)/vmlinuz is a symbolic link that leads nowhere on its own file system, "
        "and GRUB follows it only there"
    )


def test_an_initrd_that_is_such_a_link_is_called_that(disk: Disk) -> None:
    disk.link("initrd.img", "nowhere/initrd.img")
    disk.grubcfg(
        "menuentry 'Linux' {\n  linux /boot/vmlinuz-6.1 root=/dev/sda2\n  initrd /initrd.img\n}\n"
    )
    assert disk.reason() == (
        "GRUB cannot load the initrd of «Linux»: (hd0,gpt2)/initrd.img is a symbolic link that leads nowhere "
        "on its own file system, and GRUB follows it only there"
    )


@pytest.mark.parametrize(
    ("config", "code", "fix"),
    [
        (
            "search --file --set=x (memdisk)/x\n[ -f (memdisk)/x ]\n",
            "cannot-be-known",
            "take that out",
        ),
        ("[ -f (lvm/vg-other)/x ]\n", "not-mounted", "activate it"),
        ("loopback loop (hd0,gpt2)/x.iso\n[ -f (loop)/x ]\n", "cannot-be-known", "choose an entry"),
        ("insmod lzopio\nsource (hd0,gpt2)/x.lzo\n", "cannot-be-known", "unpack it"),
        ("[ -f (hd0,gpt2)/srv/x ]\n", "not-mounted", "mount /dev/sda2 /mnt"),
        ("[ -f (hd0,gpt3)/x ]\n", "not-mounted", "mount /dev/sda3"),
    ],
)
def test_what_to_do_about_it_helps(disk: Disk, config: str, code: str, fix: str) -> None:
    disk.write("x.iso", b"x").write("x.lzo", b"\x89LZO\0\r\n\x1a\n")
    disk.empty().config(config).mount("/srv", "tmpfs", "tmpfs", device="0:40")
    (objection,) = disk.decide().objections
    assert (objection.code, objection.fix[: len(fix)]) == (code, fix)


@pytest.mark.parametrize("path", ["EFI/Linux/debian.efi", "boot/own.efi"])
def test_unified_kernel_image_is_called_that(path: str, disk: Disk) -> None:
    disk.write(path, b"MZ".ljust(700, b"\0") + b".linux\0\0".ljust(400, b"\0"))
    disk.grubcfg(f"menuentry 'Image' {{\n  chainloader /{path}\n}}\n")
    assert disk.reason().startswith(f"«Image» starts /{path}, a unified kernel image that ")


@pytest.mark.parametrize(
    "path", ["/etc/fstab", "/etc/os-release", "/etc/crypttab", "/etc/kernel/proxmox-boot-uuids"]
)
def test_link_in_a_circle_is_an_objection_that_names_the_file(path: str, disk: Disk) -> None:
    disk.link(path.lstrip("/"), Path(path).name).config("")
    assert disk.reason() == (
        f"{path}: its symbolic links lead in a circle, so what it says is not known"
    )


def test_kernel_from_there_is_loaded_from_memory_and_again_at_shutdown(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for name in ("grub-fstest", "grub2-fstest"):
        found = shutil.which(name)
        if found:
            (box.bin / name).symlink_to(found)
    files = Tree(tmp_path / "files")
    files.write("vmlinuz-6.8", bzimage("6.8.0-1-amd64 (debian) #1 SMP"))
    files.write("initrd.img-6.8", cpio({"init": b"8"})).write("ucode.img", cpio({"u": b"c"}))
    device = images.ext4(box / "dev/sda9", files.root)
    device.chmod(0o644)
    box.by("label", "DATA", "sda9").by("uuid", images.UUID, "sda9")
    box.grubcfg(KERNEL.format(by="label", value="DATA"))
    assert box.run("stage") == 0
    (call,) = box.calls
    assert call[2].startswith("/proc/self/fd/")
    assert (box.lib / "initrd").read_bytes().startswith(cpio({"u": b"c"}))
    assert box.record is not None
    assert box.record["kernel"] == "/dev/sda9:/vmlinuz-6.8"
    before = box.record["reads"]["/dev/sda9:/vmlinuz-6.8"]
    files.write("vmlinuz-6.8", bzimage("6.8.0-1-amd64 (debian) #2 SMP"))
    images.ext4(device, files.root)
    box.rebooting()
    assert box.run("finalize") == 0
    assert box.approved
    assert len([call for call in box.calls if "--load" in call]) == 2
    assert box.record["reads"]["/dev/sda9:/vmlinuz-6.8"] != before


def test_what_was_read_is_counted_and_what_was_not_is_not_believed(disk: Disk) -> None:
    disk.files.write("flag", "on")
    disk.config(FLAG).image()
    numbers = "1 2 3 4 50 60 70 8 9 10 11 120 130 140 15 16 17\n"
    for name in ("sda", "sda3"):
        disk.write(f"sys/class/block/{name}/stat", numbers)
    sight = disk.decide().disks.sight
    assert not sight.unwatched
    assert sight.counted == {
        f"/sys/class/block/{name}/stat": "50 60 70 120 130 140" for name in ("sda", "sda3")
    }
    (disk / "sys/class/block/sda/stat").unlink()
    assert disk.decide().disks.sight.unwatched
    assert disk.config("").decide().disks.sight.counted == {}
    assert not disk.decide().disks.sight.unwatched


def test_each_file_is_asked_for_once_in_a_run(disk: Disk) -> None:
    disk.files.write("flag", "on")
    disks = RootDisks(disk.image().sysroot())
    for _ in range(3):
        assert disks.stat(GrubPath("hd0,gpt3", "/flag"))
        assert disks.entry(GrubPath("hd0,gpt3", "/gone")) is None
    assert disks.sight.drivers.looks == 3
    with pytest.raises(Unseen):
        disks.device("memdisk")
