"""File systems and volumes made by their own tools: grub-fstest and we find the same files on them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kexec_hook.disks.root import RootDisks
from kexec_hook.grub.disks import DiskError, GrubPath, Unseen
from kexec_hook.report import grubeval
from kexec_hook.system.editenv import EditenvError, read_block, replace_block
from kexec_hook.system.sysroot import Sysroot
from tests.tree import Tree

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what the tools have made"),
]
UUID = "11111111-2222-3333-4444-555555555555"


def needs(*programs: str) -> None:
    missing = [
        program
        for program in programs
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def mounted(image: Path, at: Path, options: str = "") -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", f"loop{options and ','}{options}", image, at)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_block_is_what_grub_has_written_while_this_system_was_hibernated(tmp_path: Path) -> None:
    """Linux remembers files of a mounted file system; GRUB boots the machine that wakes, and uses a one-time entry up."""
    needs("mkfs.ext4", "mount")
    image = tmp_path / "image"
    image.write_bytes(bytes(8 << 20))
    run("mkfs.ext4", "-q", image)
    with mounted(image, tmp_path / "root") as root:
        for name in ("evaluated", "replaced"):
            block = f"# GRUB Environment Block\nnext_entry={name}\n".encode().ljust(1024, b"#")
            (root / name).write_bytes(block)
            run("sync", "-f", root)
            used = block.replace(name.encode() + b"\n", b"\n" + b"#" * len(name))
            with open(image, "r+b") as disk:
                disk.seek(image.read_bytes().index(block))
                disk.write(used)
            assert (root / name).read_bytes() == block  # else this proves nothing
            if name == "evaluated":
                assert Sysroot(root).read(f"/{name}") == used
            else:
                with pytest.raises(EditenvError):
                    replace_block(str(root / name), block, block)
                assert read_block(str(root / name)) == used


def disks_of(root: Path, node: str = "sda2") -> RootDisks:
    """The disks of a root as mountinfo has them, with a disk in place of the loop device; /proc and /dev are files."""
    lines = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == str(root) or fields[4].startswith(f"{root}/"):
            fields[4] = fields[4][len(str(root)) :] or "/"
            source = fields.index("-") + 2
            fields[source] = f"/dev/{node}"
            lines.append(" ".join(fields))
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")
    by_uuid = root / "dev/disk/by-uuid"
    by_uuid.mkdir(parents=True, exist_ok=True)
    if not (by_uuid / UUID).is_symlink():
        (by_uuid / UUID).symlink_to(f"../../{node}")
    return RootDisks(Sysroot(root))


UNSEEN = "no mount shows it"


def grub_says(image: Path, path: str) -> str | None:
    done = subprocess.run(
        ["grub-fstest", str(image), "cat", f"(loop0){path}"], capture_output=True, text=True
    )
    return done.stdout if not done.stderr else None


def we_say(disks: RootDisks, path: str) -> str | None:
    device = disks.find("fs_uuid", UUID)[0]
    try:
        return disks.read(GrubPath(device, path)).decode()
    except Unseen:
        return UNSEEN
    except DiskError:
        return None


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subvolumes @, @home and @/nested, a snapshot of @, links in all directions; the default subvolume is @."""
    needs("mkfs.btrfs", "btrfs", "grub-fstest")
    directory = tmp_path_factory.mktemp("btrfs")
    image = directory / "image"
    with open(image, "wb") as stream:
        stream.truncate(128 << 20)
    run("mkfs.btrfs", "-q", "-U", UUID, image)
    with mounted(image, directory / "top") as top:
        for name in ("@", "@home", "@/nested"):
            run("btrfs", "subvolume", "create", top / name)
        for name in (
            "@/boot/vmlinuz",
            "@/nested/file",
            "@home/file",
            "plain/file",
            "@/home/under",
            "boot/top",
        ):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(f"{name}\n")
        for name, to in LINKS.items():
            (top / name).symlink_to(to)
        run("btrfs", "subvolume", "snapshot", top / "@", top / "@snap")
        run("btrfs", "subvolume", "set-default", top / "@")
    return image


LINKS = {
    "@/abs": "/boot/vmlinuz",
    "@/top": "/@/boot/vmlinuz",
    "@/rel": "boot/vmlinuz",
    "@/up": "../plain/file",
    "@/nested/up": "../boot/vmlinuz",
    "@/into": "nested/file",
    "@/home-of": "/@home/file",
}
PATHS = [
    *(f"/{name}" for name in LINKS),
    "/@/boot/vmlinuz", "/boot/vmlinuz", "/boot/top", "/@/nested/file", "/nested/file", "/@home/file", "/plain/file",
    "/@snap/boot/vmlinuz", "/@snap/rel", "/@/nested/../boot/vmlinuz", "/@/nested/../file", "/@/../plain/file",
    "/@/../boot/vmlinuz", "/@/boot/../boot/vmlinuz", "/@/boot/vmlinuz/", "/@/boot/vmlinuz/x", "/@/boot",
    "/@//boot/./vmlinuz", "/@BOOT/vmlinuz", "/@/home/under", "/",
]  # fmt: skip


@pytest.mark.parametrize(
    "mounts",
    [
        {"": "subvolid=5"},
        {"": ""},  # what set-default has named
        {"": "subvol=@", "/home": "subvol=@home"},
        {"": "subvol=@", "/home": "subvol=@home", "/nested": "subvol=@/nested"},
        {"": "subvol=@snap"},
    ],
    ids=["top", "default", "subvolumes", "nested", "snapshot"],
)
def test_btrfs_paths_start_at_the_top_whatever_is_mounted_or_the_default(
    btrfs: Path, tmp_path: Path, mounts: dict[str, str]
) -> None:
    """What a mount shows is what GRUB finds; what none shows is unseen, never missing or something else."""
    root = tmp_path / "root"
    found = 0
    with mounted(btrfs, root, mounts[""]):
        others = [
            mounted(btrfs, root / point[1:], options) for point, options in mounts.items() if point
        ]
        entered = [other.__enter__() for other in others]
        try:
            disks = disks_of(root)
            for path in PATHS:
                said, ours = grub_says(btrfs, path), we_say(disks, path)
                assert ours in (said, UNSEEN), path
                found += ours not in (None, UNSEEN)
        finally:
            for other in reversed(others[: len(entered)]):
                other.__exit__(None, None, None)
            shutil.rmtree(root / "proc", ignore_errors=True)
            shutil.rmtree(root / "dev", ignore_errors=True)
    assert found >= 2


# --- volumes: which names GRUB has for one, and which of them a search answers with ---

SCRIPT = """search --no-floppy --fs-uuid --set=found {uuid}
echo search: $found
for hint in {names}; do
    search --no-floppy --fs-uuid --set=found --hint=$hint {uuid}
    echo hint $hint: $found
    search.fs_uuid {uuid} found $hint
    echo short $hint: $found
    if [ -f ($hint)/boot/vmlinuz ]; then echo $hint has it; else echo $hint has it not; fi
    probe --set=is --fs-uuid $hint
    echo probe $hint: $is
    unset is
    set root=$hint
    if [ -f /boot/vmlinuz ]; then echo $root has it; fi
    set root=($hint)
    echo root: $root
done
"""


def file_system(image: Path, offset: int, size: int, scratch: Path) -> None:
    (scratch / "boot").mkdir(parents=True)
    (scratch / "boot/vmlinuz").write_text("kernel\n")
    run(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext2",
        "-U",
        UUID,
        "-d",
        scratch,
        "-E",
        f"offset={offset}",
        image,
        f"{size >> 10}k",
    )


def same_answers(image: Path, names: list[str], machine: Tree, scratch: Path) -> list[str]:
    """What grub-emu prints of the names on this disk, and that we print the same."""
    from tests.oracle.emu import Grub, missing

    why = missing()
    if why:
        pytest.skip(why)
    scratch.mkdir()
    shutil.copy(image, scratch / "hd0.pristine")  # a disk that Grub finds made
    script = SCRIPT.format(uuid=UUID, names=" ".join(names))
    said = Grub([], scratch).script(script)
    ours, _ = grubeval.script(
        grubeval.make_machine(machine.disks(), "upstream", "pc", "i386", "(hd0)/"),
        "script",
        script.encode(),
    )
    assert ours.splitlines() == said.text.splitlines()
    return said.text.splitlines()


def test_a_logical_volume_has_the_names_that_grub_gives_it(tmp_path: Path) -> None:
    needs("pvcreate", "vgcreate", "lvcreate", "lvs", "losetup")
    image = tmp_path / "image"
    with open(image, "wb") as stream:
        stream.truncate(64 << 20)
    loop = run("losetup", "--find", "--show", image).strip()
    config = f'filter=["a|^{loop}$|", "r|.*|"]'
    config = (
        f'devices {{ scan=["/dev"] {config} use_devicesfile=0 }}\nglobal {{ event_activation=0 }}\n'
    )
    config += (
        "activation { udev_sync=0 udev_rules=0 monitoring=0 }\nbackup { backup=0 archive=0 }\n"
    )
    (tmp_path / "lvm.conf").write_text(config)
    offline = ("--driverloaded", "n")  # no device-mapper is asked for anything

    def lvm(program: str, *words: str) -> str:
        env = {
            "LVM_SYSTEM_DIR": str(tmp_path),
            "LVM_SUPPRESS_FD_WARNINGS": "1",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        done = subprocess.run([program, *offline, *words], env=env, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{program}: {done.stderr.strip()}")
        return done.stdout

    try:
        lvm("pvcreate", loop)
        lvm("vgcreate", "my-vg", loop)
        lvm("lvcreate", "-an", "-Zn", "-Wn", "-L", "16M", "-n", "ro-ot", "my-vg")
        group, volume = lvm("lvs", "--noheadings", "-o", "vg_uuid,lv_uuid").split()
        start = lvm("pvs", "--noheadings", "-o", "pe_start", "--units", "b", "--nosuffix").split()[
            0
        ]
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
    file_system(image, int(start), 16 << 20, tmp_path / "files")

    machine = Tree(tmp_path / "root").mount(
        "/", "/dev/mapper/my--vg-ro--ot", "ext2", device="254:0"
    )
    machine.touch("dev/dm-0", "boot/vmlinuz").link("dev/mapper/my--vg-ro--ot", "../dm-0").by(
        "uuid", UUID, "dm-0"
    )
    machine.write(
        "sys/class/block/dm-0/dm/uuid",
        f"LVM-{group}{volume}".replace("-", "").replace("LVM", "LVM-") + "\n",
    )
    names = [
        "lvm/my--vg-ro--ot",
        f"lvmid/{group}/{volume}",
        "lvm/my-vg-ro-ot",
        "lvm/my--vg-home",
        f"lvmid/{group}/{group}",
    ]
    said = same_answers(image, names, machine, tmp_path / "emu")
    assert said[0] == "search: lvm/my--vg-ro--ot"
    assert f"lvmid/{group}/{volume} has it" in said
    assert "lvm/my-vg-ro-ot has it not" in said


def test_an_array_has_the_names_that_grub_gives_it(tmp_path: Path) -> None:
    """RAID 1 with one of two disks; mdadm says that the superblock is a good one."""
    needs("mdadm")
    image, size, start = tmp_path / "image", 16 << 20, 1 << 20
    with open(image, "wb") as stream:
        stream.truncate(size + start)
    file_system(image, start, size, tmp_path / "files")
    array = uuid.UUID("3aaa0122-2982-7cfa-5331-ad66ca767371")
    with open(image, "r+b") as stream:
        stream.seek(4096)
        stream.write(superblock(array.bytes, "debian:root", size // 512, start // 512))
    examined = run("mdadm", "--examine", image)
    assert "correct" in examined
    assert "3aaa0122:29827cfa:5331ad66:ca767371" in examined

    machine = (
        Tree(tmp_path / "root")
        .mount("/", "/dev/md127", "ext2", device="9:127")
        .touch("dev/md127", "boot/vmlinuz")
    )
    machine.by("id", "md-uuid-3aaa0122:29827cfa:5331ad66:ca767371", "md127").by(
        "id", "md-name-debian:root", "md127"
    )
    machine.by("uuid", UUID, "md127")
    names = [
        "md/root",
        f"mduuid/{array.hex}",
        "md/debian:root",
        "md127",
        "md/127",
        f"mduuid/{array.hex[:-1]}0",
    ]
    said = same_answers(image, names, machine, tmp_path / "emu")
    assert said[0] == "search: md/root"
    assert f"mduuid/{array.hex} has it" in said


def superblock(array: bytes, name: str, sectors: int, start: int) -> bytes:
    """md's version 1.2, as Linux' include/uapi/linux/raid/md_p.h has it."""
    block = bytearray(512)
    struct.pack_into("<III", block, 0, 0xA92B4EFC, 1, 0)
    block[16:32], block[32 : 32 + len(name)] = array, name.encode()
    struct.pack_into("<QiIQII", block, 64, 1600000000, 1, 0, sectors, 0, 2)
    struct.pack_into("<QQQ", block, 128, start, sectors, 8)
    block[168:184] = bytes(range(16))
    struct.pack_into("<QQQII", block, 192, 1600000000, 17, 0xFFFFFFFFFFFFFFFF, 0, 128)
    struct.pack_into("<HH", block, 256, 0, 0xFFFE)
    block[260:512] = b"\xff" * 252
    total = sum(struct.unpack("<128I", bytes(block)))
    struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    return bytes(block)


def test_a_container_has_the_names_that_grub_gives_it(tmp_path: Path) -> None:
    """LUKS 1 with a key of ours and AES in ECB, so that openssl can fill what no device-mapper opens."""
    needs("cryptsetup", "openssl", "grub-fstest")
    image, plain, key = tmp_path / "image", tmp_path / "plain", bytes(range(32))
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "pass").write_text("secret")
    with open(image, "wb") as stream:
        stream.truncate(16 << 20)
    ident = "0b5e1e3c-6c7e-4d55-9d33-0123456789ab"
    run(
        "cryptsetup", "luksFormat", "-q", "--type", "luks1", "--cipher", "aes-ecb", "--key-size", "256",
        "--pbkdf-force-iterations", "1000", "--uuid", ident, "--master-key-file", tmp_path / "key", image,
        tmp_path / "pass",
    )  # fmt: skip
    file_system(plain, 0, 4 << 20, tmp_path / "files")
    run(
        "openssl",
        "enc",
        "-aes-256-ecb",
        "-nopad",
        "-nosalt",
        "-K",
        key.hex(),
        "-in",
        plain,
        "-out",
        tmp_path / "enc",
    )
    with open(image, "r+b") as stream:
        stream.seek(4096 * 512)  # the payload offset that luksDump shows
        stream.write((tmp_path / "enc").read_bytes())

    name = f"luks-{ident}"
    machine = Tree(tmp_path / "root").mount("/", f"/dev/mapper/{name}", "ext2", device="254:0")
    machine.touch("dev/dm-0", "boot/vmlinuz").link(f"dev/mapper/{name}", "../dm-0").by(
        "uuid", UUID, "dm-0"
    )
    machine.write("sys/class/block/dm-0/dm/uuid", f"CRYPT-LUKS1-{ident.replace('-', '')}-{name}\n")
    bare = ident.replace("-", "")
    for device, there in (
        ("crypto0", True),
        (f"cryptouuid/{bare}", True),
        (f"cryptouuid/{bare.upper()}", True),
        (f"cryptouuid/{bare[:-1]}0", False),
        ("crypto1", False),
        ("crypto0,1", False),
    ):
        argv = ["grub-fstest", "-C", str(image), "cat", f"({device})/boot/vmlinuz"]
        said = subprocess.run(argv, input="secret\n", capture_output=True, text=True)
        assert ("kernel" in said.stdout) is there, said
        assert (machine.disks().stat(GrubPath(device, "/boot/vmlinuz")) is not None) is there, (
            device
        )
