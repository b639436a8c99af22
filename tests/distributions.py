"""Machines as distributions lay them out, in what decides what boots; each is one row of docs/supported.md.

Configurations are in the words of each distribution's generator, cut down; where they were read is in
docs/grub-compatibility.md.  No GRUB but Debian's is at hand here: it judges those without `blscfg` (make oracle).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import bootcode, grubcfg, images
from tests.bootfiles import bzimage, cpio
from tests.grubcfg import one_time_entry
from tests.tree import Tree

ROOT = "6a0f2f7b-8a9e-4c59-9f2e-3d1c5b7a9e66"
BOOT = "0c1d2e3f-1111-4222-8333-444455556666"
PART = "11111111-aaaa-4bbb-8ccc-dddddddddd0"
MACHINE = "1f0e2d3c4b5a69788796a5b4c3d2e1f0"


@dataclass(frozen=True)
class Answer:
    """What GRUB boots; nothing where that is declined."""

    kernel: str = ""
    initrds: tuple[str, ...] = ()
    cmdline: str = ""
    writes: Mapping[str, str | None] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()  # the files that are written, in GRUB's order; empty: one


@dataclass(frozen=True)
class Layout:
    """One row: a machine, what it is called, and whether real GRUB can be asked about it."""

    name: str
    system: str
    firmware: str
    what: str
    make: Callable[[Machine], Answer]
    judged: bool = False  # by grub-emu
    code: str = ""  # of the one objection; empty: it is served


def booted(
    version: str,
    words: str,
    at: str = "/boot",
    initrd: str = "initramfs-{}.img",
    **writes: str | None,
) -> Answer:
    """This version's kernel and initrd in /boot, which GRUB has found at another path perhaps."""
    kernel, of_it = f"vmlinuz-{version}", initrd.format(version)
    cmdline = f"BOOT_IMAGE={at}/{kernel} {words}"
    return Answer(f"/boot/{kernel}", (f"/boot/{of_it}",), cmdline, writes)


LAYOUTS: list[Layout] = []


def layout(
    system: str, firmware: str, what: str, *, judged: bool = True, code: str = ""
) -> Callable[[Callable[[Machine], Answer]], Callable[[Machine], Answer]]:
    def add(make: Callable[[Machine], Answer]) -> Callable[[Machine], Answer]:
        LAYOUTS.append(Layout(make.__name__, system, firmware, what, make, judged, code))
        return make

    return add


class Machine(Tree):
    """A tree whose disk is sda, hd0 to GRUB."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "tree")
        self.scratch = root

    def release(self, name: str, version: str = "", like: str = "") -> Machine:
        lines = [f"ID={name}", f"VERSION_ID={version}", *([f'ID_LIKE="{like}"'] if like else [])]
        return self.write("etc/os-release", "\n".join(lines) + "\n")

    def part(
        self, number: int, point: str, fs: str, uuid: str, label: str = "", root: str = "/"
    ) -> Machine:
        node = f"sda{number}"
        if point:
            options = f"rw,subvol={root}" if fs == "btrfs" else "rw"
            self.mount(point, f"/dev/{node}", fs, root, device=f"8:{number}", options=options)
        if not (self / f"dev/disk/by-partuuid/{PART}{number}").is_symlink():
            self.write(f"dev/{node}").by("partuuid", f"{PART}{number}", node).by("uuid", uuid, node)
            if label:
                self.by("label", label, node)
        return self

    def kernel(self, path: str, initrd: str = "") -> Machine:
        self.write(path, bzimage(f"{path.rpartition('vmlinuz-')[2] or 'other'} (test) #1 SMP"))
        return self.write(initrd, cpio({"for": path.encode()})) if initrd else self

    def snippet(self, version: str, options: str, where: str = "") -> Machine:
        """A Boot Loader Specification snippet as kernel-install of Fedora and its kin writes it."""
        text = f"title Linux ({version})\nversion {version}\nlinux {where}/vmlinuz-{version}\n"
        text += f"initrd {where}/initramfs-{version}.img $tuned_initrd\noptions {options} $tuned_params\n"
        text += "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class kernel\n"
        self.kernel(f"boot/vmlinuz-{version}", f"boot/initramfs-{version}.img")
        return self.write(f"boot/loader/entries/{MACHINE}-{version}.conf", text)

    def config(self, text: str, path: str = "boot/grub2/grub.cfg") -> Machine:
        return self.write(path, text.replace("@ROOT@", ROOT).replace("@BOOT@", BOOT))


HEADER = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
"""
FEDORAS = f"""\
set pager=1
{grubcfg.FEDORAS}"""
FEDORAS += """\
search --no-floppy --fs-uuid --set=root @BOOT@
set boot="${root}"
insmod blscfg
blscfg
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
  save_env boot_counter
fi
"""


@layout("Amazon Linux 2", "BIOS", "/boot on /, xfs; menu entries of grub2-mkconfig")
def amazon_linux_2(m: Machine) -> Answer:
    m.release("amzn", "2", "centos rhel fedora").part(1, "/", "xfs", ROOT)
    entries = ""
    for version in ("5.10.230-223.885.amzn2.x86_64", "4.14.355-275.570.amzn2.x86_64"):
        m.kernel(f"boot/vmlinuz-{version}", f"boot/initramfs-{version}.img")
        entries += f"""\
menuentry 'Amazon Linux 2 ({version})' --class amzn --unrestricted 'gnulinux-{version}-advanced' {{
	insmod xfs
	search --no-floppy --fs-uuid --set=root --hint='hd0,gpt1'  @ROOT@
	linux /boot/vmlinuz-{version} root=UUID=@ROOT@ ro console=tty0 console=ttyS0,115200n8
	initrd /boot/initramfs-{version}.img
}}
"""
    m.config(HEADER + one_time_entry("0") + entries).grubenv(path="boot/grub2/grubenv")
    words = f"root=UUID={ROOT} ro console=tty0 console=ttyS0,115200n8"
    return booted("5.10.230-223.885.amzn2.x86_64", words)


@layout("Amazon Linux 2023", "BIOS", "/boot on /, xfs; snippets in /boot/loader", judged=False)
def amazon_linux_2023(m: Machine) -> Answer:
    m.release("amzn", "2023", "fedora").part(1, "/", "xfs", ROOT, "/")
    old, new = "6.1.112-122.189.amzn2023.x86_64", "6.1.115-126.197.amzn2023.x86_64"
    words = f"root=UUID={ROOT} ro console=tty0 nvme_core.io_timeout=60"
    for version in (old, new):
        m.snippet(version, words, "/boot")
    m.config(FEDORAS.replace("@BOOT@", ROOT))
    m.grubenv(f"saved_entry={MACHINE}-{old}", path="boot/grub2/grubenv")
    return booted(old, words, "(hd0,gpt1)/boot")


@layout("Oracle Linux 9, UEK", "BIOS", "/boot of its own, xfs on LVM; snippets", judged=False)
def oracle_linux_9(m: Machine) -> Answer:
    m.release("ol", "9.5", "fedora").part(1, "/boot", "xfs", BOOT)
    m.mount("/", "/dev/mapper/ol-root", "xfs", device="252:0").write("dev/mapper/ol-root")
    uek, rhck = "5.15.0-303.171.5.2.el9uek.x86_64", "5.14.0-503.11.1.el9_5.x86_64"
    words = "root=/dev/mapper/ol-root ro crashkernel=1G-64G:448M rd.lvm.lv=ol/root"
    for version in (rhck, uek):
        m.snippet(version, words)
    m.config(FEDORAS).grubenv(f"saved_entry={MACHINE}-{uek}", path="boot/grub2/grubenv")
    return booted(uek, words, "(hd0,gpt1)")


@layout("Rocky Linux, AlmaLinux, RHEL 9", "BIOS", "boot_counter has run out", judged=False)
def rhel_9_boot_counter(m: Machine) -> Answer:
    m.release("rocky", "9.3", "rhel centos fedora").part(1, "/boot", "xfs", BOOT)
    m.part(2, "/", "xfs", ROOT)
    old, new = "5.14.0-284.11.1.el9_2.x86_64", "5.14.0-284.30.1.el9_2.x86_64"
    words = f"root=UUID={ROOT} ro rhgb quiet"
    for version in (old, new):
        m.snippet(version, words)
    m.config(FEDORAS).grubenv("boot_counter=0", "boot_success=0", path="boot/grub2/grubenv")
    return booted(old, words, "(hd0,gpt1)", boot_counter="-1")


@layout("Rocky Linux, AlmaLinux, RHEL 8", "BIOS", "machine-id changed; snippets", judged=False)
def rhel_8_new_machine_id(m: Machine) -> Answer:
    """A copied machine got a new id, its grubenv names nothing, and blscfg sorts by `version` first."""
    m.release("rocky", "8.10", "rhel centos fedora").part(1, "/boot", "xfs", BOOT)
    m.part(2, "/", "xfs", ROOT)
    old, new = "4.18.0-513.5.1.el8_9.x86_64", "4.18.0-553.5.1.el8_10.x86_64"
    words = f"root=UUID={ROOT} ro rhgb quiet"
    for version in (old, new):
        m.snippet(version, words)
    entries = m / "boot/loader/entries"
    entries.joinpath(f"{MACHINE}-{new}.conf").rename(entries / f"{MACHINE[::-1]}-{new}.conf")
    m.config(FEDORAS).grubenv(path="boot/grub2/grubenv")
    return booted(new, words, "(hd0,gpt1)")


_MARINER = """\
set timeout=0
set bootprefix=@PREFIX@
search -n -u @BOOT@ -s
load_env -f $bootprefix/mariner.cfg
if [ -f $bootprefix/systemd.cfg ]; then
  load_env -f $bootprefix/systemd.cfg
else
  set systemd_cmdline=net.ifnames=0
fi
if [ -f $bootprefix/grub2/grubenv ]; then
  load_env -f $bootprefix/grub2/grubenv
fi
set rootdevice=PARTUUID=@PART@
menuentry "CBL-Mariner" {
  linux $bootprefix/$mariner_linux rd.auto=1 root=$rootdevice $mariner_cmdline lockdown=integrity $systemd_cmdline $kernelopts
  if [ -f $bootprefix/$mariner_initrd ]; then
    initrd $bootprefix/$mariner_initrd
  fi
}
"""


@layout("Azure Linux 2 (CBL-Mariner)", "BIOS", "/boot on /; kernel named by mariner.cfg, a link")
def azure_linux_2(m: Machine) -> Answer:
    m.release("mariner", "2.0").part(2, "/", "ext4", ROOT)
    version = "5.15.176.3-1.cm2"
    m.kernel(f"boot/vmlinuz-{version}", f"boot/initrd.img-{version}")
    block = "# GRUB Environment Block\nmariner_cmdline=init=/lib/systemd/systemd ro loglevel=3\n"
    block += f"mariner_linux=vmlinuz-{version}\nmariner_initrd=initrd.img-{version}\n"
    m.write(f"boot/linux-{version}.cfg", block).link("boot/mariner.cfg", f"linux-{version}.cfg")
    config = _MARINER.replace("@PREFIX@", "/boot").replace("@BOOT@", ROOT)
    m.config(config.replace("@PART@", f"{PART}2")).grubenv(path="boot/grub2/grubenv")
    words = f"rd.auto=1 root=PARTUUID={PART}2 init=/lib/systemd/systemd ro loglevel=3"
    words += " lockdown=integrity net.ifnames=0"
    return booted(version, words, initrd="initrd.img-{}")


@layout("Photon OS", "BIOS", "/boot on /; kernel named by photon.cfg, a link; no grubenv")
def photon(m: Machine) -> Answer:
    m.release("photon", "5.0").part(3, "/", "ext4", ROOT)
    version = "6.1.10-11.ph5-esx"
    m.kernel(f"boot/vmlinuz-{version}", f"boot/initrd.img-{version}")
    block = f"# GRUB Environment Block\nphoton_cmdline=init=/lib/systemd/systemd ro loglevel=3\nphoton_linux=vmlinuz-{version}\nphoton_initrd=initrd.img-{version}\n"
    m.write(f"boot/linux-{version}.cfg", block).link("boot/photon.cfg", f"linux-{version}.cfg")
    m.write("boot/systemd.cfg", "# GRUB Environment Block\nsystemd_cmdline=net.ifnames=0\n")
    m.link("boot/grub", "grub2").config(f"""\
set default=0
set timeout=5
search -n -u @ROOT@ -s
loadfont /boot/grub2/ascii.pf2
gfxpayload=keep
load_env -f /boot/photon.cfg
if [ -f  /boot/systemd.cfg ]; then
    load_env -f /boot/systemd.cfg
else
    set systemd_cmdline=net.ifnames=0
fi
set rootpartition=PARTUUID={PART}3
menuentry "Photon" {{
    linux /boot/$photon_linux root=$rootpartition $photon_cmdline $systemd_cmdline
    if [ -f /boot/$photon_initrd ]; then
        initrd /boot/$photon_initrd
    fi
}}
""")
    words = f"root=PARTUUID={PART}3 init=/lib/systemd/systemd ro loglevel=3 net.ifnames=0"
    return booted(version, words, initrd="initrd.img-{}")


_UBUNTU = HEADER
_UBUNTU += """\
if [ "${initrdfail}" = 2 ]; then
   set initrdfail=
elif [ "${initrdfail}" = 1 ]; then
   set next_entry="${prev_entry}"
   set prev_entry=
   save_env prev_entry
   if [ "${next_entry}" ]; then
      set initrdfail=2
   fi
fi
"""
_UBUNTU += one_time_entry("0")
_UBUNTU += """\
function initrdfail {
    if [ -n "${have_grubenv}" ]; then if [ -n "${partuuid}" ]; then
      if [ -z "${initrdfail}" ]; then
        set initrdfail=1
        if [ -n "${boot_once}" ]; then
          set prev_entry="${default}"
          save_env prev_entry
        fi
      fi
      save_env initrdfail
    fi; fi
}
function recordfail {
  set recordfail=1
  if [ -n "${have_grubenv}" ]; then if [ -z "${boot_once}" ]; then save_env recordfail; fi; fi
}
set partuuid=@PART@
menuentry 'Ubuntu' --id gnulinux-simple {
    recordfail
    search --no-floppy --fs-uuid --set=root @ROOT@
    if [ "${initrdfail}" = 1 ]; then
      linux    /boot/vmlinuz-@V@ root=PARTUUID=@PART@ ro console=tty1 console=ttyS0
      initrd    /boot/initrd.img-@V@
    else
      linux    /boot/vmlinuz-@V@ root=PARTUUID=@PART@ ro console=tty1 console=ttyS0 panic=-1
    fi
    initrdfail
}
"""


def _ubuntu(m: Machine, *assignments: str) -> str:
    m.release("ubuntu", "24.04", "debian").part(1, "/", "ext4", ROOT, "cloudimg-rootfs")
    version = "6.8.0-1018-aws"
    m.kernel(f"boot/vmlinuz-{version}", f"boot/initrd.img-{version}")
    config = _UBUNTU.replace("@V@", version).replace("@PART@", f"{PART}1")
    m.config(config, "boot/grub/grub.cfg").grubenv(*assignments)
    return f"BOOT_IMAGE=/boot/vmlinuz-{version} root=PARTUUID={PART}1 ro console=tty1 console=ttyS0"


@layout("Ubuntu 24.04, cloud image", "BIOS", "tries to boot without an initrd")
def ubuntu_initrdless(m: Machine) -> Answer:
    words = _ubuntu(m)
    kernel = "/boot/vmlinuz-6.8.0-1018-aws"
    return Answer(kernel, (), f"{words} panic=-1", {"recordfail": "1", "initrdfail": "1"})


@layout("Ubuntu 24.04, cloud image", "BIOS", "the boot without an initrd has failed (initrdfail)")
def ubuntu_initrdfail(m: Machine) -> Answer:
    words = _ubuntu(m, "initrdfail=1", "prev_entry=")
    kernel, initrd = "/boot/vmlinuz-6.8.0-1018-aws", "/boot/initrd.img-6.8.0-1018-aws"
    writes = {"prev_entry": "", "recordfail": "1", "initrdfail": "1"}
    return Answer(kernel, (initrd,), words, writes)


@layout(
    "Fedora Cloud",
    "BIOS",
    "/boot is a btrfs subvolume, its top not readable",
    judged=False,
    code="not-mounted",
)
def fedora_cloud(m: Machine) -> Answer:
    m.release("fedora", "43").part(3, "/", "btrfs", BOOT, "fedora", "/root")
    m.part(3, "/boot", "btrfs", BOOT, "fedora", "/boot")
    m.snippet("6.17.8-300.fc43.x86_64", f"root=UUID={BOOT} rootflags=subvol=root", "/boot")
    m.config(FEDORAS).grubenv(path="boot/grub2/grubenv")
    return Answer()


_RAUC = """\
set timeout=0
set ORDER="A B"
set A_OK=0
set B_OK=0
set A_TRY=0
set B_TRY=0
load_env
for SLOT in $ORDER; do
  if [ "$SLOT" == "A" ]; then INDEX=0; OK=$A_OK; TRY=$A_TRY; A_TRY=1; fi
  if [ "$SLOT" == "B" ]; then INDEX=1; OK=$B_OK; TRY=$B_TRY; B_TRY=1; fi
  if [ "$OK" -eq 1 -a "$TRY" -eq 0 ]; then
    default=$INDEX
    break
  fi
done
save_env A_TRY B_TRY
menuentry "Slot A" {
  linux (hd0,gpt2)/boot/bzImage root=PARTUUID=@PART@2 rauc.slot=A
}
menuentry "Slot B" {
  linux (hd0,gpt3)/boot/bzImage root=PARTUUID=@PART@3 rauc.slot=B
}
"""


def _rauc(m: Machine, *, readable: bool) -> None:
    m.release("poky", "5.0").part(1, "/boot", "ext4", BOOT, "grub").part(2, "/", "ext4", ROOT)
    m.part(3, "", "ext4", "77777777-2222-4333-8444-555555555555")
    m.config(_RAUC.replace("@PART@", PART), "boot/grub/grub.cfg")
    m.grubenv("ORDER=B A", "A_OK=1", "B_OK=1", "A_TRY=0", "B_TRY=0")
    if readable:
        slot = Tree(m.scratch / "slot").write("boot/bzImage", bzimage("6.6.54 (slot b) #1"))
        images.ext4(m / "dev/sda3", slot.root, uuid="77777777-2222-4333-8444-555555555555")
        (m / "dev/sda3").chmod(0o644)


@layout(
    "RAUC, slots A and B", "BIOS, UEFI", "the other slot is next, read by grub-fstest", judged=False
)
def rauc_other_slot(m: Machine) -> Answer:
    _rauc(m, readable=True)
    words = f"BOOT_IMAGE=(hd0,gpt3)/boot/bzImage root=PARTUUID={PART}3 rauc.slot=B"
    return Answer("/dev/sda3:/boot/bzImage", (), words, {"A_TRY": "0", "B_TRY": "1"})


@layout(
    "RAUC, slots A and B",
    "BIOS, UEFI",
    "the other slot is next, not readable",
    judged=False,
    code="not-mounted",
)
def rauc_hidden_slot(m: Machine) -> Answer:
    _rauc(m, readable=False)
    return Answer()


_MENDER = """\
mender_rootfsa_part=2
mender_rootfsb_part=3
mender_kernel_root_base=/dev/sda
MENDER_ENV1=${prefix}/mender_grubenv1/env
MENDER_LOCK1=${prefix}/mender_grubenv1/lock
MENDER_ENV2=${prefix}/mender_grubenv2/env
MENDER_LOCK2=${prefix}/mender_grubenv2/lock
function mender_check_and_restore_env {
    editing=invalid
    load_env --skip-sig --file ${MENDER_LOCK2} editing
    if [ "${editing}" != 0 ]; then
        load_env --skip-sig --file ${MENDER_ENV1} bootcount mender_boot_part upgrade_available
        save_env --file ${MENDER_ENV2} bootcount mender_boot_part upgrade_available
        editing=0
        save_env --file ${MENDER_LOCK2} editing
    fi
}
function mender_save_env {
    editing=1
    save_env --file ${MENDER_LOCK2} editing
    save_env --file ${MENDER_ENV2} bootcount mender_boot_part upgrade_available
    editing=0
    save_env --file ${MENDER_LOCK2} editing
    editing=1
    save_env --file ${MENDER_LOCK1} editing
    save_env --file ${MENDER_ENV1} bootcount mender_boot_part upgrade_available
    editing=0
    save_env --file ${MENDER_LOCK1} editing
}
mender_check_and_restore_env
load_env --skip-sig --file ${MENDER_ENV1} bootcount mender_boot_part upgrade_available
export upgrade_available
if [ "${upgrade_available}" = "1" ]; then
    if [ "${bootcount}" != "0" ]; then
        if [ "${mender_boot_part}" = "${mender_rootfsa_part}" ]; then
            mender_boot_part="${mender_rootfsb_part}"
        else
            mender_boot_part="${mender_rootfsa_part}"
        fi
        upgrade_available=0
        bootcount=0
    else
        bootcount=1
    fi
    mender_save_env
fi
regexp (.*),(.*) $root -s mender_grub_storage_device
if test -e (${mender_grub_storage_device},gpt${mender_boot_part})/; then
    root="${mender_grub_storage_device},gpt${mender_boot_part}"
else
    root="${mender_grub_storage_device},msdos${mender_boot_part}"
fi
mender_kernel_root="${mender_kernel_root_base}${mender_boot_part}"
export mender_kernel_root
configfile /boot/grub-mender-grubenv.cfg
if [ "${upgrade_available}" = "1" ]; then reboot; else normal_exit; fi
"""
_MENDERS_SLOT = """\
set timeout=0
if [ "${upgrade_available}" = "1" ]; then
    menuentry "Roll back latest upgrade" --id mender_rollback {
        reboot
    }
    fallback=0
fi
set default=gnulinux-simple
menuentry 'Debian GNU/Linux' --id gnulinux-simple {
    linux /boot/vmlinuz-@V@ root=${mender_kernel_root} ro quiet
    initrd /boot/initrd.img-@V@
}
"""
_MENDERS_FILES = ("lock", "env")


def _mender(m: Machine, *assignments: str) -> None:
    """An update of slot B, sda3, beside the running slot A."""
    m.release("debian", "12").part(1, "/boot/efi", "vfat", "ABCD-1234").part(2, "/", "ext4", ROOT)
    m.part(3, "", "ext4", "77777777-2222-4333-8444-555555555555")
    m.mkdir("boot/efi/grub-mender-grubenv").link("boot/grub", "efi/grub-mender-grubenv")
    m.config(_MENDER, "boot/grub/grub.cfg")
    for number in "12":
        directory = f"boot/grub/mender_grubenv{number}"
        m.grubenv(*assignments, path=f"{directory}/env")
        m.grubenv("editing=0", path=f"{directory}/lock")
    m.kernel("boot/vmlinuz-6.1.0-25-amd64", "boot/initrd.img-6.1.0-25-amd64")
    m.config(_MENDERS_SLOT.replace("@V@", "6.1.0-25-amd64"), "boot/grub-mender-grubenv.cfg")
    new = "6.1.0-26-amd64"
    slot = Tree(m.scratch / "slot").write(f"boot/vmlinuz-{new}", bzimage(f"{new} (b) #1"))
    slot.write(f"boot/initrd.img-{new}", cpio())
    slot.write("boot/grub-mender-grubenv.cfg", _MENDERS_SLOT.replace("@V@", new))
    images.ext4(m / "dev/sda3", slot.root, uuid="77777777-2222-4333-8444-555555555555")
    (m / "dev/sda3").chmod(0o644)


_MENDERS = tuple(
    f"/boot/efi/grub-mender-grubenv/mender_grubenv{number}/{name}"
    for number in "21"
    for name in _MENDERS_FILES
)


@layout("Mender, Debian", "BIOS, UEFI", "an update is tried, read by grub-fstest", judged=False)
def mender_update(m: Machine) -> Answer:
    _mender(m, "bootcount=0", "mender_boot_part=3", "upgrade_available=1")
    at, words = "/dev/sda3:/boot", "BOOT_IMAGE=/boot/vmlinuz-6.1.0-26-amd64 root=/dev/sda3 ro quiet"
    writes = {"editing": "0", "bootcount": "1", "mender_boot_part": "3", "upgrade_available": "1"}
    kernel, initrd = f"{at}/vmlinuz-6.1.0-26-amd64", f"{at}/initrd.img-6.1.0-26-amd64"
    return Answer(kernel, (initrd,), words, writes, _MENDERS)


@layout(
    "Mender, Debian", "BIOS, UEFI", "an update that did not come up is taken back", judged=False
)
def mender_rollback(m: Machine) -> Answer:
    _mender(m, "bootcount=1", "mender_boot_part=3", "upgrade_available=1")
    writes = {"editing": "0", "bootcount": "0", "mender_boot_part": "2", "upgrade_available": "0"}
    found = booted("6.1.0-25-amd64", "root=/dev/sda2 ro quiet", initrd="initrd.img-{}", **writes)
    return replace(found, blocks=_MENDERS)


@layout(
    "Azure Linux 3", "UEFI", "grub2-mkconfig; the image's own prefix is on the ESP", judged=False
)
def azure_linux_3(m: Machine) -> Answer:
    m.efi().release("azurelinux", "3.0").part(1, "/boot/efi", "vfat", "ABCD-1234")
    m.part(2, "/", "ext4", ROOT)
    m.option(1, "UEFI OS", f"{PART}1", "\\EFI\\BOOT\\bootx64.efi").boot_order(1, current=1)
    m.write("boot/efi/EFI/BOOT/bootx64.efi", "shim")
    m.write("boot/efi/EFI/BOOT/grubx64.efi", bootcode.efi("/boot/grub2"))
    stub = 'search -n -u @ROOT@ -s\nset bootprefix=/boot\nset prefix=($root)"$bootprefix/grub2"\n'
    m.config(stub + "configfile $prefix/grub.cfg\n", "boot/efi/boot/grub2/grub.cfg")
    version = "6.6.64.2-9.azl3"
    m.kernel(f"boot/vmlinuz-{version}", f"boot/initramfs-{version}.img")
    words = f"root=PARTUUID={PART}2 ro selinux=0 rd.auto=1 net.ifnames=1 lockdown=integrity console=ttyS0"
    m.config(f"""\
{HEADER}set timeout=0
menuentry 'AzureLinux GNU/Linux, with Linux {version}' --class azurelinux $menuentry_id_option 'gnulinux-{version}' {{
	search --no-floppy --fs-uuid --set=root @ROOT@
	linux	/boot/vmlinuz-{version} {words} $kernelopts
	initrd	/boot/initramfs-{version}.img
}}
""")
    m.grubenv("kernelopts=sysctl.kernel.unprivileged_bpf_disabled=1", path="boot/grub2/grubenv")
    return booted(version, f"{words} sysctl.kernel.unprivileged_bpf_disabled=1")


_POOL = """\
set default=@DEFAULT@
menuentry 'TrueNAS SCALE 24.10' --id new {
  search --no-floppy --label boot-pool --set=root
  linux /ROOT/24.10.0@/boot/vmlinuz-6.6.44 root=ZFS=boot-pool/ROOT/24.10.0 ro
  initrd /ROOT/24.10.0@/boot/initrd.img-6.6.44
}
menuentry 'TrueNAS SCALE 24.04' --id old {
  search --no-floppy --label boot-pool --set=root
  linux /ROOT/24.04.2@/boot/vmlinuz-6.6.32 root=ZFS=boot-pool/ROOT/24.04.2 ro
  initrd /ROOT/24.04.2@/boot/initrd.img-6.6.32
}
menuentry 'Ubuntu, history' --id past {
  search --no-floppy --label boot-pool --set=root
  linux "/ROOT/24.04.2@autozsys_1kzq2w/boot/vmlinuz-6.6.32" root=ZFS="boot-pool/ROOT/24.04.2@autozsys_1kzq2w" ro
}
"""


def _pool(m: Machine, default: str) -> None:
    m.release("debian", "12").by("label", "boot-pool", "sda3").by(
        "uuid", "8198552921648689", "sda3"
    )
    m.mount("/", "boot-pool/ROOT/24.04.2", "zfs", device="0:25").write("dev/sda3")
    m.mount("/boot/grub", "boot-pool/grub", "zfs", device="0:26")
    m.kernel("boot/vmlinuz-6.6.32", "boot/initrd.img-6.6.32")
    m.config(_POOL.replace("@DEFAULT@", default), "boot/grub/grub.cfg")


@layout("ZFS boot environments (TrueNAS, zsys)", "BIOS, UEFI", "the running one", judged=False)
def zfs_running(m: Machine) -> Answer:
    _pool(m, "old")
    words = "BOOT_IMAGE=/ROOT/24.04.2@/boot/vmlinuz-6.6.32 root=ZFS=boot-pool/ROOT/24.04.2 ro"
    return Answer("/boot/vmlinuz-6.6.32", ("/boot/initrd.img-6.6.32",), words)


@layout(
    "ZFS boot environments (TrueNAS, zsys)",
    "BIOS, UEFI",
    "another one",
    judged=False,
    code="not-mounted",
)
def zfs_other(m: Machine) -> Answer:
    _pool(m, "new")
    return Answer()


@layout(
    "ZFS boot environments (TrueNAS, zsys)",
    "BIOS, UEFI",
    "a snapshot",
    judged=False,
    code="not-mounted",
)
def zfs_history(m: Machine) -> Answer:
    _pool(m, "past")
    return Answer()


@layout(
    "Elemental, Kairos (cOS)",
    "BIOS, UEFI",
    "the system is a loop image",
    judged=False,
    code="cannot-be-known",
)
def elemental(m: Machine) -> Answer:
    m.release("elemental", "2").part(2, "/", "ext4", ROOT, "COS_STATE").write("cOS/active.img", "x")
    m.config("""\
set timeout=0
search --no-floppy --file --set=env_blk /grub_oem_env
menuentry "Elemental" --id cos {
  search.fs_label COS_STATE root
  set img=/cOS/active.img
  loopback loop0 /$img
  set root=($root)
  source (loop0)/etc/cos/bootargs.cfg
  linux (loop0)$kernel $kernelcmd ${extra_cmdline}
  initrd (loop0)$initramfs
}
""")
    return Answer()
