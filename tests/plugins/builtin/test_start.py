"""The GRUB that starts next is followed to its configuration, also where that is on a partition not mounted."""

from __future__ import annotations

import json
import shutil
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest

from kexec_hook.cli import main
from tests import bootcode, images
from tests.tree import Tree, node

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
ESP_PART = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BOOT = Path(__file__).resolve().parents[2] / "roots/debian-12/tree/boot"
KERNEL = (BOOT / "vmlinuz-6.1.0-39-amd64").read_bytes()
INITRD = (BOOT / "initrd.img-6.1.0-39-amd64").read_bytes()
PVE = """if [ -s $prefix/grubenv ]; then load_env; fi
if [ "${{next_entry}}" ]; then set default="${{next_entry}}"; set next_entry=; save_env next_entry
else set default="${{saved_entry}}"; fi
menuentry 'old' --id old {{ search --no-floppy --fs-uuid --set=root {uuid}
linux /vmlinuz-1-pve root=ZFS=rpool/ROOT/pve-1 ro
initrd /initrd.img-1-pve
}}
menuentry 'new' --id new {{ search --no-floppy --fs-uuid --set=root {uuid}
linux /vmlinuz-2-pve root=ZFS=rpool/ROOT/pve-1 ro
initrd /initrd.img-2-pve
}}
"""

pytestmark = pytest.mark.skipif(not shutil.which("grub-fstest"), reason="needs grub-fstest")


def stage(tree: Tree, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    tree.sysroot()
    main(["--root", str(tree.root), "stage", "--dry-run", "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def codes(said: dict[str, Any]) -> list[str]:
    return [objection["code"] for objection in said["objections"]]


def linux(words: str = "") -> str:
    return f"menuentry Linux {{\nlinux /boot/vmlinuz root=/dev/sda2 {words}\ninitrd /boot/initrd.img\n}}\n"


@pytest.fixture
def system(tmp_path: Path) -> Tree:
    """/ is sda2, and its own grub.cfg is the one that GRUB does not read."""
    tree = Tree(tmp_path / "root").mount("/", "/dev/sda2").touch("dev/sda2", "dev/sda3", "dev/sdb1")
    tree.write("etc/os-release", "ID=debian\nVERSION_ID=12\n").grubcfg(linux("wrong"))
    tree.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    return tree.by("uuid", UUID, "sda2").by("partuuid", "12345678-02", "sda2")


# --- Proxmox ---


def esp(tree: Tree, node: str, uuid: str, saved: str = "new", **files: bytes) -> None:
    """A partition as proxmox-boot-tool keeps it."""
    content = Tree(tree.root.parent / f"esp-{node}", {"grub/grub.cfg": PVE.format(uuid=uuid)})
    content.grubenv(f"saved_entry={saved}", path="grub/grubenv")
    for number in "12":
        content.write(f"vmlinuz-{number}-pve", KERNEL).write(f"initrd.img-{number}-pve", INITRD)
    for name, data in files.items():
        content.write(f"{name.replace('_', '-')}-2-pve", data)
    images.fat(tree / f"dev/{node}", content.root, serial=uuid.replace("-", ""))


@pytest.fixture
def proxmox(tmp_path: Path) -> Tree:
    """/ on ZFS; two disks, each with its ESP."""
    tree = Tree(tmp_path / "root").mount("/", "rpool/ROOT/pve-1", "zfs", device="0:25")
    tree.write("etc/os-release", "ID=debian\nVERSION_ID=12\n").touch("dev/sda3", "dev/sdb3")
    tree.by("label", "rpool", "sda3").by("uuid", "81985529216486895", "sda3")
    tree.by("uuid", "AAAA-0001", "sda2").by("uuid", "AAAA-0002", "sdb2")
    tree.by("partuuid", "0fedcba9-1111-4222-8333-444444444444", "sda2")
    tree.by("partuuid", "0fedcba9-1111-4222-8333-444444444445", "sdb2").grubcfg(linux("wrong"))
    tree.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    esp(tree, "sda2", "AAAA-0001")
    esp(tree, "sdb2", "AAAA-0002")
    return tree.write("etc/kernel/proxmox-boot-uuids", "AAAA-0001\nAAAA-0002\n")


def test_grub_and_kernels_are_read_from_the_partitions_of_proxmox_boot_tool(
    proxmox: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    said = stage(proxmox, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/dev/sda2:/vmlinuz-2-pve")
    assert said["initrds"] == ["/dev/sda2:/initrd.img-2-pve"]
    assert said["cmdline"] == "BOOT_IMAGE=/vmlinuz-2-pve root=ZFS=rpool/ROOT/pve-1 ro"


def test_a_pinned_kernel_is_followed(proxmox: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    esp(proxmox, "sda2", "AAAA-0001", saved="old")
    esp(proxmox, "sdb2", "AAAA-0002", saved="old")
    assert stage(proxmox, capsys)["kernel"] == "/dev/sda2:/vmlinuz-1-pve"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"saved": "old"}, "the command line is "),
        ({"vmlinuz": KERNEL[:-1] + b"x"}, "the kernel is "),
        ({"initrd_img": INITRD + b"\0\0\0\0"}, "the initrds differ"),
    ],
)
def test_partitions_that_boot_otherwise_are_an_objection(
    proxmox: Tree, capsys: pytest.CaptureFixture[str], change: dict[str, Any], why: str
) -> None:
    if "initrd_img" in change:
        change = {"initrd.img": change["initrd_img"]}
    esp(proxmox, "sdb2", "AAAA-0002", **change)
    said = stage(proxmox, capsys)
    assert codes(said) == ["configurations-differ"]
    assert said["objections"][0]["fix"] == "proxmox-boot-tool refresh"
    assert said["objections"][0]["reason"].startswith(
        "GRUB may read /dev/sda2:/grub/grub.cfg or /dev/sdb2:/grub/grub.cfg, "
        f"and what they boot is not the same: {why}"
    )


def test_a_partition_that_is_not_there_is_a_note(
    proxmox: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    (proxmox / "dev/disk/by-uuid/AAAA-0002").unlink()
    said = stage(proxmox, capsys)
    assert said["outcome"] == "would-stage"
    assert "AAAA-0002: it is not there" in " ".join(said["notes"])


def test_without_one_that_can_be_read_all_are_named(
    proxmox: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    proxmox.write("dev/sda2", b"").write("dev/sdb2", b"")
    said = stage(proxmox, capsys)
    assert said["outcome"] == "declined"
    reasons = " ".join(objection["reason"] for objection in said["objections"])
    assert "/dev/sda2" in reasons
    assert "/dev/sdb2" in reasons


def test_under_efi_the_firmware_tells_the_partition(
    proxmox: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """Since 8.1 with GRUB and shim: EFI/proxmox/grub.cfg leads to /grub of the partition."""
    content = Tree(proxmox.root.parent / "esp-sda2")
    content.write(
        "EFI/proxmox/grub.cfg",
        "search.fs_uuid AAAA-0001 root\nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n",
    )
    images.fat(proxmox / "dev/sda2", content.root, serial="AAAA0001")
    part = "0fedcba9-1111-4222-8333-444444444444"
    proxmox.efi().option(1, "proxmox", part, "\\EFI\\proxmox\\shimx64.efi").boot_order(1, current=1)
    said = stage(proxmox, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/dev/sda2:/vmlinuz-2-pve")


# --- EFI ---


@pytest.fixture
def uefi(system: Tree) -> Tree:
    """The EFI system partition is sda1, an image, and not mounted."""
    system.by("uuid", "ABCD-1234", "sda1").by("partuuid", ESP_PART, "sda1")
    system.option(1, "GRUB", ESP_PART, "\\EFI\\debian\\shimx64.efi").boot_order(1, current=1)
    return system.efi()


def mounted_nowhere(tree: Tree, files: dict[str, str | bytes]) -> None:
    content = tree.root.parent / "esp"
    shutil.rmtree(content, ignore_errors=True)
    images.fat(tree / "dev/sda1", Tree(content, files).root)


def on_esp(tree: Tree, files: dict[str, str | bytes], *, mounted: bool) -> None:
    mounted_nowhere(tree, files)
    if mounted:
        tree.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1")
        tree.fill({f"boot/efi/{path}": content for path, content in files.items()})


STUB = "search.fs_uuid {} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"


def test_the_stub_on_an_esp_that_is_not_mounted_is_read(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    uefi.grubcfg(linux("own=$prefix"))
    mounted_nowhere(uefi, {"EFI/debian/grub.cfg": STUB.format(UUID)})
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith("own=(hd0,msdos2)/boot/grub")


def test_a_prefix_built_into_the_image_is_followed(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """grub-install without shim writes no grub.cfg on the ESP."""
    uefi.write("boot/other/grub.cfg", linux("followed"))
    uefi.option(1, "GRUB", ESP_PART, "\\EFI\\arch\\grubx64.efi")
    mounted_nowhere(uefi, {"EFI/arch/grubx64.efi": bootcode.efi("(,msdos2)/boot/other")})
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith("followed")
    uefi.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1")
    uefi.write("boot/efi/EFI/arch/grubx64.efi", bootcode.efi("(,msdos2)/boot/other"))
    assert stage(uefi, capsys)["cmdline"].endswith("followed")


SUPERUSERS = "set superusers=root\nexport superusers\n"


@pytest.mark.parametrize(
    ("script", "objects", "expected"),
    [
        ("", (), []),
        ("", (bootcode.key(),), ["cannot-be-known"]),
        ("set check_signatures=enforce\nexport check_signatures\n", (), ["cannot-be-known"]),
        (SUPERUSERS, (), ["needs-password"]),
        ("insmod part_gpt\n", (), []),
    ],
)
@pytest.mark.parametrize("efi", [False, True])
def test_what_an_image_sets_before_its_configuration_counts(
    system: Tree,
    capsys: pytest.CaptureFixture[str],
    script: str,
    objects: tuple[bytes, ...],
    expected: list[str],
    efi: bool,
) -> None:
    """grub-install --pubkey has GRUB check the signature of every file; a script may ask for a password."""
    search = f"search.fs_uuid {UUID} root\nset prefix=($root)'/boot/grub'\n"
    if efi:
        system.efi().option(1, "GRUB", ESP_PART, "\\EFI\\mine\\grubx64.efi").boot_order(
            1, current=1
        )
        system.by("uuid", "ABCD-1234", "sda1").by("partuuid", ESP_PART, "sda1")
        image = bootcode.efi("/boot/grub", script + search, objects=objects)
        on_esp(system, {"EFI/mine/grubx64.efi": image}, mounted=True)
    else:
        core = bootcode.core("/boot/grub", script + search, objects=objects)
        system.write("dev/sda", bootcode.disk(core))
    said = stage(system, capsys)
    assert codes(said) == expected
    assert said["outcome"] == ("declined" if expected else "would-stage")


@pytest.mark.parametrize("mounted", [False, True])
def test_an_entry_without_a_file_starts_the_removable_path(
    uefi: Tree, capsys: pytest.CaptureFixture[str], mounted: bool
) -> None:
    """UEFI 2.10, 3.5.1.1: \\EFI\\BOOT\\BOOTX64.EFI, here another system's GRUB beside what Debian has left."""
    uefi.write("boot/other/grub.cfg", linux("followed")).write("boot/grub/grub.cfg", linux("here"))
    drive = struct.pack("<IQQ16sBB", 1, 2048, 1048576, uuid.UUID(ESP_PART).bytes_le, 2, 2)
    uefi.device_option(1, "UEFI OS", node(4, 1, drive))
    esp: dict[str, str | bytes] = {"EFI/debian/grub.cfg": STUB.format(UUID)}
    for image, end in (("", "here"), (bootcode.efi("(,msdos2)/boot/other"), "followed")):
        esp.update({"EFI/BOOT/BOOTX64.EFI": image} if image else {})
        on_esp(uefi, esp, mounted=mounted)
        said = stage(uefi, capsys)
        assert (said["outcome"], codes(said)) == ("would-stage", [])
        assert said["cmdline"].endswith(end)


@pytest.mark.parametrize(
    ("loader", "image", "prefix", "script"),
    [
        ("grubx64.efi", "grubx64.efi", "(memdisk)/boot/grub", ""),
        ("shimx64.efi", "grubx64.efi", "(memdisk)/boot/grub", "insmod part_gpt"),
        ("shim.efi", "grub.efi", "/boot/grub", "set enable_blscfg=1\n"),
    ],
)
def test_a_configuration_inside_of_the_image_is_not_the_one_on_the_disk(
    uefi: Tree,
    capsys: pytest.CaptureFixture[str],
    loader: str,
    image: str,
    prefix: str,
    script: str,
) -> None:
    """grub-mkstandalone's, and SUSE's grubbls.efi, which runs blscfg alone."""
    uefi.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1")
    uefi.option(1, "GRUB", ESP_PART, f"\\EFI\\mine\\{loader}")
    uefi.write(f"boot/efi/EFI/mine/{loader}", "MZ")
    uefi.write(f"boot/efi/EFI/mine/{image}", bootcode.efi(prefix, script))
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("declined", ["cannot-be-known"])
    uefi.write(f"boot/efi/EFI/mine/{image}", bootcode.efi("(,msdos2)/boot/grub"))
    assert stage(uefi, capsys)["outcome"] == "would-stage"


BUILT_IN = [
    ("/boot/grub", "search.fs_label other root\nset prefix=($root)/boot/grub\n", "followed", []),
    (
        "/boot/grub",
        f"search.fs_uuid {OTHER} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n",
        "followed",
        [],
    ),
    ("/boot/grub", f"search.fs_uuid {UUID} root\nfor x in a; do true; done\n", "here", ["note"]),
    ("(hd9,gpt1)/boot/grub", "", "here", ["note"]),
    (
        "/boot/grub",
        f"search -u {OTHER} -s root\nconfigfile /boot/grub/grub.cfg\n",
        "",
        ["other-grub"],
    ),
    ("/boot/grub", "search.fs_uuid ABCD-9999 root\nset prefix=($root)/grub\n", "", ["other-grub"]),
    ("/EFI/mine", "configfile (memdisk)/grub.cfg\n", "", ["cannot-be-known"]),
    ("/EFI/debian", "configfile (memdisk)/grub.cfg\n", "here", []),
    ("/EFI/mine", "set root=hd0\nlinux /vmlinuz\nboot\n", "", ["cannot-be-known"]),
]


def test_a_script_built_into_the_image_leads_somewhere_or_is_told(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    uefi.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1").grubcfg(linux("here"))
    uefi.write("boot/efi/EFI/debian/grub.cfg", STUB.format(UUID))
    uefi.option(1, "GRUB", ESP_PART, "\\EFI\\mine\\shimx64.efi").write(
        "boot/efi/EFI/mine/shimx64.efi"
    )
    uefi.by("uuid", OTHER, "sda3").by("label", "other", "sda3")
    other = Tree(uefi.root.parent / "other", {"boot/grub/grub.cfg": linux("followed")})
    other.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    images.ext4(uefi / "dev/sda3", other.root, uuid=OTHER)
    for prefix, script, end, expected in BUILT_IN:
        uefi.write("boot/efi/EFI/mine/grubx64.efi", bootcode.efi(prefix, script))
        said = stage(uefi, capsys)
        found = codes(said) + ["note" for note in said["notes"] if "reads is not known (" in note]
        outcome = "would-stage" if end else "declined"
        assert (prefix, script, found, said["outcome"]) == (prefix, script, expected, outcome)
        assert (said["cmdline"] or "").endswith(end)


MEMDISK = "configfile (memdisk)/grub.cfg\n"


def test_a_signed_image_of_debians_goes_on_to_its_prefix_wherever_it_lies(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its memdisk has a grub.cfg that reads $prefix/grub.cfg."""
    uefi.write("etc/os-release", "ID=arch\n").grubcfg(linux("wrong"))
    uefi.write("boot/other/grub.cfg", linux("followed"))
    uefi.option(1, "GRUB", ESP_PART, "\\EFI\\mine\\grubx64.efi")
    stub = STUB.format(UUID).replace("/boot/grub", "/boot/other")
    image = bootcode.efi("/EFI/debian", MEMDISK)
    on_esp(uefi, {"EFI/mine/grubx64.efi": image, "EFI/debian/grub.cfg": stub}, mounted=True)
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith("followed")


def test_a_prefix_that_something_hides_is_named(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    uefi.mount("/boot/efi", "/dev/sda1", "vfat", device="8:1").grubcfg(linux("here"))
    uefi.mount("/boot/efi/EFI/debian", "tmpfs", "tmpfs", device="0:99")
    uefi.option(1, "GRUB", ESP_PART, "\\EFI\\mine\\grubx64.efi")
    uefi.write("boot/efi/EFI/mine/grubx64.efi", bootcode.efi("/EFI/debian", MEMDISK))
    (objection,) = stage(uefi, capsys)["objections"]
    assert objection["code"] == "not-mounted"
    assert objection["reason"].startswith(
        "the firmware starts /EFI/mine/grubx64.efi, and which configuration that reads cannot be known: "
    )


@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("loader", ["grub2-bls", "systemd-boot", "grub2-efi"])
def test_where_sdbootutil_has_installed_the_loader_nobody_reads_grub_cfg(
    system: Tree, capsys: pytest.CaptureFixture[str], loader: str, configured: bool
) -> None:
    system.write("etc/os-release", 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n')
    system.write("etc/sysconfig/bootloader", f'## Type: string\nLOADER_TYPE="{loader}"\n')
    if not configured:
        (system / "boot/grub/grub.cfg").unlink()
    said = stage(system, capsys)
    if loader == "grub2-efi":
        assert codes(said) == ([] if configured else ["no-configuration"])
        return
    assert [(found["code"], found["reason"], found["fix"]) for found in said["objections"]] == [
        ("not-grub", f"/etc/sysconfig/bootloader names {loader}, which reads no grub.cfg", "")
    ]


@pytest.mark.parametrize(
    ("file", "prefix", "end"),
    [
        ("EFI/BOOT/BOOTX64.EFI", "(,msdos2)/boot/other", "followed"),
        ("EFI/mine/grubx64.efi", "(,msdos2)/boot/other", "followed"),
        ("EFI/mine/grubx64.efi", "/EFI/other", "there"),
        ("EFI/mine/grubx64.efi", "/EFI/debian", "here"),
        ("EFI/mine/shimx64.efi", "", "here"),
    ],
)
@pytest.mark.parametrize("mounted", [False, True])
def test_what_is_built_into_the_image_counts_before_the_distributions_directory(
    uefi: Tree, capsys: pytest.CaptureFixture[str], file: str, prefix: str, end: str, mounted: bool
) -> None:
    """grub-install --removable, or with another --bootloader-id, beside what Debian has installed before."""
    uefi.write("boot/other/grub.cfg", linux("followed")).write("boot/grub/grub.cfg", linux("here"))
    uefi.option(1, "GRUB", ESP_PART, "\\" + file.replace("/", "\\"))
    there = f"search.fs_uuid {UUID} root\n{linux('there')}"
    image: bytes | str = bootcode.efi(prefix) if prefix else "MZ no GRUB"
    esp = {file: image, "EFI/debian/grub.cfg": STUB.format(UUID), "EFI/other/grub.cfg": there}
    on_esp(uefi, esp, mounted=mounted)
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith(end)


@pytest.mark.parametrize(
    ("image", "end"),
    [
        (bootcode.efi("(,msdos2)/boot/grub"), "here"),
        (
            bootcode.efi(
                "/boot/grub", f"search.fs_uuid {UUID} root\nset prefix=($root)'/boot/grub'\n"
            ),
            "here",
        ),
        (bootcode.efi("/EFI/debian"), "old"),
        (bootcode.efi("/EFI/debian", "configfile (memdisk)/grub.cfg\n"), "old"),
        ("MZ no GRUB", "old"),
        (bootcode.efi("(,msdos2)/boot/grub") + b"fw_path", "old"),  # Debian 13's
    ],
)
@pytest.mark.parametrize("mounted", [False, True])
def test_a_stub_that_an_earlier_system_has_left_is_read_where_the_image_says_so(
    uefi: Tree, capsys: pytest.CaptureFixture[str], image: bytes | str, end: str, mounted: bool
) -> None:
    """grub-install without shim builds the prefix in, and leaves the grub.cfg of shim's time where it is."""
    uefi.by("uuid", OTHER, "sda3").grubcfg(linux("here"))
    old = Tree(uefi.root.parent / "old", {"boot/grub/grub.cfg": linux("old")})
    old.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    images.ext4(uefi / "dev/sda3", old.root, uuid=OTHER)
    esp = {
        "EFI/debian/shimx64.efi": "MZ",
        "EFI/debian/grubx64.efi": image,
        "EFI/debian/grub.cfg": STUB.format(OTHER),
    }
    on_esp(uefi, esp, mounted=mounted)
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith(end)
    uefi.write("etc/os-release", "ID=mine\nID_LIKE=fedora\n")  # $fw_path comes before the prefix
    assert stage(uefi, capsys)["cmdline"].endswith("old")


def test_another_distributions_grub_is_followed_to_its_configuration(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ubuntu's on sda3 has Debian in its menu, and starts it."""
    uefi.option(1, "ubuntu", ESP_PART, "\\EFI\\ubuntu\\shimx64.efi").by("uuid", OTHER, "sda3")
    mounted_nowhere(uefi, {"EFI/ubuntu/grub.cfg": STUB.format(OTHER), "EFI/debian/grub.cfg": ""})
    ubuntu = f"menuentry Debian {{\nsearch --fs-uuid --set=root {UUID}\nlinux /boot/vmlinuz root=/dev/sda2 osprober\ninitrd /boot/initrd.img\n}}\n"
    content = Tree(uefi.root.parent / "ubuntu", {"boot/grub/grub.cfg": ubuntu})
    images.ext4(uefi / "dev/sda3", content.root, uuid=OTHER)
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith("osprober")
    (uefi / "dev/sda3").write_bytes(b"")
    said = stage(uefi, capsys)
    assert codes(said) == ["not-mounted"]
    assert "/dev/sda3" in said["objections"][0]["reason"]


@pytest.mark.parametrize(("release", "taken"), [("debian", False), ("arch", True)])
def test_another_distributions_grub_without_a_stub_does_not_read_ours(
    uefi: Tree, capsys: pytest.CaptureFixture[str], release: str, taken: bool
) -> None:
    """Its image tells nothing here; beside Debian's own shim is a stub that GRUB never sees."""
    uefi.write("etc/os-release", f"ID={release}\n")
    uefi.option(1, "arch", ESP_PART, "\\EFI\\Arch\\grubx64.efi")
    mounted_nowhere(uefi, {"EFI/Arch/grubx64.efi": "x", "EFI/debian/grub.cfg": STUB.format(UUID)})
    said = stage(uefi, capsys)
    assert (said["outcome"] == "would-stage") is taken
    if not taken:
        assert codes(said) == ["cannot-be-known"]
        assert (
            "which is another system's, and no grub.cfg beside it"
            in said["objections"][0]["reason"]
        )


FLAVOURS = {
    "debian": "Plain",  # it knows no blscfg
    "fedora": "Snippet",
    "opensuse": "Plain",
}


@pytest.mark.parametrize("vendor", FLAVOURS)
@pytest.mark.parametrize("release", ["debian", "fedora"])
def test_whose_grub_it_is_the_directory_tells(
    uefi: Tree, capsys: pytest.CaptureFixture[str], vendor: str, release: str
) -> None:
    """Fedora's blscfg puts its entries where it stands, the others go on without it."""
    uefi.write("etc/os-release", f"ID={release}\nVERSION_ID=12\n")
    uefi.option(1, "x", ESP_PART, f"\\EFI\\{vendor}\\shimx64.efi")
    snippet = (
        "title Snippet\nlinux /boot/vmlinuz\ninitrd /boot/initrd.img\noptions root=/dev/sda2\n"
    )
    uefi.write("loader/entries/a.conf", snippet)
    uefi.grubcfg("set root=hd0,msdos2\nblscfg\n" + linux().replace("Linux", "Plain"))
    mounted_nowhere(uefi, {f"EFI/{vendor}/grub.cfg": STUB.format(UUID)})
    said = stage(uefi, capsys)
    assert said["entry"]["titles"] == [FLAVOURS[vendor]]


# --- BIOS ---


def test_boot_code_leads_to_another_systems_configuration(
    system: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    system.by("uuid", OTHER, "sda3").by("partuuid", "12345678-03", "sda3")
    other = Tree(system.root.parent / "other").grubcfg(linux("other"))
    other.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    images.ext4(system / "dev/sda3", other.root, uuid=OTHER)
    system.write("dev/sda", bootcode.disk(bootcode.core("(,msdos3)/boot/grub")))
    said = stage(system, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/dev/sda3:/boot/vmlinuz")
    assert said["cmdline"].endswith("other")


def test_an_esp_that_is_mounted_when_somebody_looks_is_seen(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    uefi.write("etc/fstab", "UUID=ABCD-1234 /boot/efi vfat noauto,x-systemd.automount 0 1\n")
    uefi.mount("/boot/efi", "systemd-1", "autofs", device="0:40").grubcfg(linux())
    mounted_nowhere(uefi, {"EFI/debian/shimx64.efi": "", "EFI/debian/grub.cfg": STUB.format(UUID)})
    said = stage(uefi, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    uefi.write("dev/sda1", b"")
    assert "not-mounted" in codes(stage(uefi, capsys))


@pytest.mark.parametrize("directory", ["grub", "grub2"])
@pytest.mark.parametrize("efi", [False, True])
def test_of_two_configurations_the_one_that_the_image_names_counts(
    system: Tree, capsys: pytest.CaptureFixture[str], efi: bool, directory: str
) -> None:
    """Somebody ran `grub-mkconfig -o /boot/grub2/grub.cfg` on Debian, as Fedora's instructions have it."""
    for name in ("grub", "grub2"):
        system.write(f"boot/{name}/grub.cfg", linux(f"by={name}"))
    assert codes(stage(system, capsys)) == ["two-configurations"]
    prefix = f"(,msdos2)/boot/{directory}"
    if efi:
        system.by("uuid", "ABCD-1234", "sda1").by("partuuid", ESP_PART, "sda1").efi()
        system.option(1, "GRUB", ESP_PART, "\\EFI\\mine\\grubx64.efi").boot_order(1, current=1)
        on_esp(system, {"EFI/mine/grubx64.efi": bootcode.efi(prefix)}, mounted=True)
    else:
        system.write("dev/sda", bootcode.disk(bootcode.core(prefix)))
    said = stage(system, capsys)
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith(f"by={directory}")


BLS = "title new\nlinux /boot/vmlinuz\ninitrd /boot/initrd.img\noptions root=/dev/sda3 new\n"
NUMBERED = (
    "set default=6a\n" + linux("0").replace("Linux", "z") + linux("6a").replace("Linux", "6a")
)


@pytest.mark.parametrize(
    ("directory", "modules", "config", "outcome"),
    [
        ("grub2", ("normal", "blscfg"), "blscfg\n" + linux("osprober"), "new"),
        ("grub2", ("normal",), NUMBERED, "0"),  # Mageia's
        ("grub2", ("normal", "blscfg"), NUMBERED, "6a"),
        ("grub2", ("normal", "blscfg", "crypttab"), NUMBERED, "0"),  # SUSE's
        ("grub2", (), NUMBERED, ""),
        ("grub2", (), linux("same"), "same"),
        ("grub", (), NUMBERED, "0"),
    ],
)
def test_another_systems_grub_is_of_its_own_kind(
    system: Tree,
    capsys: pytest.CaptureFixture[str],
    directory: str,
    modules: tuple[str, ...],
    config: str,
    outcome: str,
) -> None:
    """Fedora's in the MBR has Debian in its menu, behind its own entries, which Debian's would not see."""
    system.by("uuid", OTHER, "sda3").by("partuuid", "12345678-03", "sda3")
    other = Tree(system.root.parent / "other").write("loader/entries/new.conf", BLS)
    other.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    other.write(f"boot/{directory}/grub.cfg", config)
    other.touch(*(f"boot/{directory}/i386-pc/{name}.mod" for name in modules))
    images.ext4(system / "dev/sda3", other.root, uuid=OTHER)
    core = bootcode.core(f"(,msdos3)/boot/{directory}")
    system.write("dev/sda", bootcode.disk(core))
    said = stage(system, capsys)
    if not outcome:
        assert codes(said) == ["cannot-be-known"]
        assert said["objections"][0]["reason"].startswith("which kind of GRUB reads ")
        return
    assert (said["outcome"], codes(said)) == ("would-stage", [])
    assert said["cmdline"].endswith(outcome)


def test_two_disks_whose_configurations_differ_are_an_objection(
    system: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    system.by("uuid", OTHER, "sdb1").by("partuuid", "99995678-01", "sdb1")
    other = Tree(system.root.parent / "other").grubcfg(linux("other"))
    other.write("boot/vmlinuz", KERNEL).write("boot/initrd.img", INITRD)
    images.ext4(system / "dev/sdb1", other.root, uuid=OTHER)
    system.write("dev/sda", bootcode.disk(bootcode.core("(,msdos2)/boot/grub")))
    system.write("dev/sdb", bootcode.disk(bootcode.core("(,msdos1)/boot/grub")))
    said = stage(system, capsys)
    assert codes(said) == ["configurations-differ"]
    fix = "run grub-install on each disk that begins with GRUB's boot code"
    assert said["objections"][0]["fix"] == fix
    other.grubcfg(linux("wrong"))
    images.ext4(system / "dev/sdb1", other.root, uuid=OTHER)
    said = stage(system, capsys)
    assert (said["outcome"], said["kernel"]) == ("would-stage", "/boot/vmlinuz")


# --- the modules of an image ---

FEDORAS = ("normal", "linux", "test", "regexp", "search", "configfile")
CONDITIONS = [
    ("if false; then set default=1; fi", "1", "0", "0"),  # unknown commands succeed
    ("if true; then set default=1; fi", "1", "0", "1"),
    ("if ! keystatus --shift; then set default=1; fi", "1", "1", "1"),
    ("eval set default=1", "0", "0", "1"),
    ('probe --set=x --fs $root; if [ -n "$x" ]; then set default=1; fi', "0", "0", "1"),
    ("for x in /boot/vm*; do set default=1; done", "1", "1", "1"),
    ("if [ 1 = 1 ]; then set default=1; fi", "1", "1", "1"),
]


@pytest.mark.parametrize(("condition", "without", "listed", "there"), CONDITIONS)
def test_a_command_whose_module_is_nowhere_is_unknown_or_fails(
    uefi: Tree,
    capsys: pytest.CaptureFixture[str],
    condition: str,
    without: str,
    listed: str,
    there: str,
) -> None:
    """Fedora's signed image has no `true`, and its packages put no modules beside it."""
    uefi.write("etc/os-release", "ID=fedora\nVERSION_ID=44\n")
    uefi.option(1, "Fedora", ESP_PART, "\\EFI\\fedora\\shimx64.efi")
    menu = linux("first") + linux("second")
    uefi.grubcfg(f"set default=0\n{condition}\n{menu}")
    image = bootcode.efi("/EFI/fedora", modules=FEDORAS)
    esp: dict[str, str | bytes] = {"EFI/fedora/grub.cfg": STUB.format(UUID)}
    esp["EFI/fedora/grubx64.efi"] = image
    on_esp(uefi, esp, mounted=True)
    chosen = {"0": "first", "1": "second"}

    def booted() -> str:
        said = stage(uefi, capsys)
        assert (said["outcome"], codes(said)) == ("would-stage", [])
        return str(said["cmdline"].split()[-1])

    assert booted() == chosen[without]
    uefi.write("boot/grub/x86_64-efi/command.lst", "*true: true\n")
    assert booted() == chosen[listed]
    for name in ("true", "keystatus", "eval", "probe"):
        uefi.write(f"boot/grub/x86_64-efi/{name}.mod")
    assert booted() == chosen[there]
    uefi.variable("SecureBoot", b"\1")  # which refuses modules
    assert booted() == chosen[listed]
    uefi.write("boot/efi/EFI/fedora/grubx64.efi", "no image that can be read")
    assert booted() == chosen[there]


def test_a_pattern_stays_a_word_where_the_image_has_no_regexp(
    uefi: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """openSUSE's and Photon's have none; `insmod regexp` loads it, but not under Secure Boot."""
    uefi.write("etc/os-release", "ID=opensuse-leap\nID_LIKE='suse opensuse'\n")
    uefi.option(1, "openSUSE", ESP_PART, "\\EFI\\opensuse\\shim.efi")
    uefi.touch("boot/efi/EFI/opensuse/shim.efi").mount(
        "/boot/efi", "/dev/sda1", "vfat", device="8:1"
    )
    uefi.write("boot/efi/EFI/opensuse/grub.cfg", STUB.format(UUID))
    for modules, end in (FEDORAS, "/boot/vmlinuz"), (("normal", "test"), "/boot/vm*"):
        image = bootcode.efi("/EFI/opensuse", modules=modules)
        uefi.write("boot/efi/EFI/opensuse/grub.efi", image)
        uefi.grubcfg(linux("/boot/vm*"))
        assert stage(uefi, capsys)["cmdline"].endswith(f" {end}")
    uefi.grubcfg("insmod regexp\n" + linux("/boot/vm*"))
    uefi.touch("boot/grub/x86_64-efi/regexp.mod")
    assert stage(uefi, capsys)["cmdline"].endswith(" /boot/vmlinuz")
    uefi.variable("SecureBoot", b"\1")
    assert stage(uefi, capsys)["cmdline"].endswith(" /boot/vm*")
    image = bootcode.efi(
        "/EFI/opensuse", modules=("normal", "test"), objects=(bootcode.unlocked(),)
    )
    uefi.write("boot/efi/EFI/opensuse/grub.efi", image)
    assert stage(uefi, capsys)["cmdline"].endswith(" /boot/vm*")  # shim has started it
    uefi.option(1, "openSUSE", ESP_PART, "\\EFI\\opensuse\\grub.efi")
    assert stage(uefi, capsys)["cmdline"].endswith(" /boot/vmlinuz")


def test_boot_code_tells_its_modules_as_well(
    system: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    core = bootcode.core("(,msdos2)/boot/grub", modules=("biosdisk", "ext2"))
    system.write("dev/sda", bootcode.disk(core))
    system.grubcfg("if false; then set default=1; fi\n" + linux("first") + linux("second"))
    assert stage(system, capsys)["cmdline"].endswith("second")
    system.touch("boot/grub/i386-pc/true.mod")
    assert stage(system, capsys)["cmdline"].endswith("first")


@pytest.mark.parametrize(
    ("modules", "line", "end"),
    [
        (("ext2", "part_msdos"), "", ""),
        (("ext2", "part_msdos"), "insmod part_gpt\n", "second"),
        (("ext2", "part_msdos", "part_gpt"), "", "second"),
        ((), "", "second"),  # nothing tells
    ],
)
def test_a_disk_whose_partition_map_no_module_reads_is_not_there_for_grub(
    system: Tree, capsys: pytest.CaptureFixture[str], modules: tuple[str, ...], line: str, end: str
) -> None:
    """A stick with a GPT: boot code knows the map of its own disk, and nothing loads another one by itself."""
    core = bootcode.core("(,msdos2)/boot/grub", modules=modules)
    system.write("dev/sda", bootcode.disk(core)).by("uuid", OTHER, "sdb1")
    system.by("partuuid", ESP_PART, "sdb1").mount("/stick", "/dev/sdb1", device="8:17")
    search = f'search --fs-uuid --set=x {OTHER}\nif [ -n "$x" ]; then set default=1; fi\n'
    system.grubcfg(line + search + linux("first") + linux("second"))
    said = stage(system, capsys)
    if end:
        assert (said["outcome"], codes(said)) == ("would-stage", [])
        assert said["cmdline"].endswith(end)
        return
    (objection,) = said["objections"]
    assert (objection["code"], objection["fix"]) == ("cannot-be-known", "insmod part_gpt")
    assert "only with its module part_gpt, which nothing loads" in objection["reason"]
