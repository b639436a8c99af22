"""What is mounted where below a root, and which file systems these mounts show."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable

from kexec_hook.system.reach import join, parts_of
from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

# GRUB's name of a file system (grub-core/fs/*.c, struct grub_fs) for the kernel's.
GRUB_NAMES = {
    "ext2": "ext2",
    "ext3": "ext2",
    "ext4": "ext2",
    "vfat": "fat",
    "msdos": "fat",
    "exfat": "exfat",
    "btrfs": "btrfs",
    "xfs": "xfs",
    "zfs": "zfs",
    "f2fs": "f2fs",
    "jfs": "jfs",
    "reiserfs": "reiserfs",
    "ntfs": "ntfs",
    "ntfs3": "ntfs",
    "fuseblk": "ntfs",
    "hfs": "hfs",
    "hfsplus": "hfsplus",
    "iso9660": "iso9660",
    "udf": "udf",
    "squashfs": "squash4",
    "erofs": "erofs",
    "nilfs2": "nilfs2",
    "minix": "minix",
    "romfs": "romfs",
}
_PARTITION = r"(?:sd|vd|xvd|hd)[a-z]+[1-9]\d*|(?:nvme\d+n|mmcblk)\d+p[1-9]\d*"
_NEVER_GRUB = r"(loop|zram|ram|fd|nbd)\d"


class Mount(NamedTuple):
    """One line of mountinfo (proc(5))."""

    id: int
    parent: int
    device: str  # 8:2
    root: tuple[
        str, ...
    ]  # the directory of the file system that is mounted: ("@", "boot"); ZFS: ("ROOT/debian@",)
    point: str  # where, below the root
    type: str  # the kernel's name: ext4
    source: str  # /dev/sda2, or rpool/ROOT/debian
    options: tuple[str, ...] = ()  # of the superblock: subvol=/@
    read_only: bool = False  # the mount, or the whole file system

    @property
    def subvolume(self) -> bool:
        """Is the mounted directory the top of a btrfs subvolume?"""
        return f"subvol={join(self.root)}" in self.options


class FileSystem(NamedTuple):
    """A file system that a root knows of, mounted or not."""

    kind: str  # GRUB's name of its type; empty: not known (not mounted), or GRUB cannot read it
    nodes: tuple[str, ...]  # its block devices below /dev: sda2, mapper/vg-root; empty: not known
    mounts: tuple[Mount, ...] = ()
    uuid: str = ""  # as GRUB prints it: of FAT and NTFS in capitals
    label: str = ""
    anything: str = (
        ""  # not empty: why it answers to every UUID and label that nothing else answers to
    )


class Mounts:
    """All mounts of a root, and which of them a path belongs to."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self.all = tuple(mounts)
        self._ids = {mount.id for mount in self.all}
        self._order = {id(mount): number for number, mount in enumerate(self.all)}
        self._at: dict[str, list[Mount]] = {}
        for mount in self.all:
            self._at.setdefault(mount.point, []).append(mount)

    def at(self, path: str) -> Mount | None:
        """The mount that a path without links is on: walked as the kernel does, mount over mount."""
        here: Mount | None = None
        names = parts_of(path)
        for depth in range(len(names) + 1):
            stacked = self._at.get(join(names[:depth]), [])
            while stacked:
                # A parent that is not in the table is outside the root: the top of what we can see.
                above = [m for m in stacked if m is not here and self._is_on(m, here)]
                if not above:
                    break
                here = above[-1]
                stacked = [m for m in stacked if m is not here]
        return here

    def _is_on(self, mount: Mount, here: Mount | None) -> bool:
        """Is it mounted on that mount?  Beside it and later is as good: by its path it was reached over that one."""
        if self._parent(mount) == (here.id if here else None):
            return True
        return (
            here is not None
            and here.point not in ("/", mount.point)
            and mount.parent == here.parent
            and self._order[id(mount)] > self._order[id(here)]
        )

    def _parent(self, mount: Mount) -> int | None:
        if mount.parent in self._ids and mount.parent != mount.id:
            return mount.parent
        if mount.point == "/":
            return None
        top = next(
            (m for m in self._at.get("/", ()) if m.parent not in self._ids or m.parent == m.id),
            None,
        )
        return top.id if top else None


def read_mounts(sysroot: Sysroot) -> Mounts | None:
    """The mounts of a root from its proc/self/mountinfo; None where it has none."""
    text = _mountinfo(sysroot)
    if text is None:
        return None
    mounts = parse_mountinfo(text)
    if any(
        mount.type == "autofs" and mount.point in ("/boot", "/efi", "/boot/efi") for mount in mounts
    ):
        for point in ("/boot", "/efi", "/boot/efi"):
            sysroot.is_dir(point)  # the kernel mounts it as we walk in
        mounts = parse_mountinfo(_mountinfo(sysroot) or "")
    if not sysroot.is_host:
        # A live /proc inside the root tells of our own mounts, as seen from outside.
        inside = _rebased(mounts, sysroot.root)
        if inside:
            mounts = inside
        elif sysroot.readlink("/proc/self") is not None:
            return None
    if not mounts:
        return None
    if not any(
        mount.point == "/" for mount in mounts
    ):  # a chroot into a directory: its mount is out of sight
        mounts.append(Mount(-1, -1, "", (), "/", "", ""))
    return Mounts(mount for mount in mounts if mount.type != "autofs")


def parse_mountinfo(text: str) -> list[Mount]:
    """line = id parent dev root point options { tag } "-" type source super; torn lines are left out."""
    mounts = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if (
            not dash
            or len(left) < 6
            or len(right) < 2
            or not (left[0].isdigit() and left[1].isdigit())
        ):
            continue
        type_, source = _unescape(right[0]), _unescape(right[1])
        root = _unescape(left[3])
        if root.endswith("//deleted") or not root.startswith("/"):
            continue  # a directory that is gone, or (net:[4026531833]) never was one
        inside = tuple(parts_of(root))
        if type_ == "zfs":
            inside = (source.partition("/")[2] + "@", *inside)
        options = tuple(
            _unescape(option) for option in (right[2] if len(right) > 2 else "").split(",")
        )
        point = join(parts_of(_unescape(left[4])))
        read_only = "ro" in (*left[5].split(","), *options)
        numbers = int(left[0]), int(left[1])
        mounts.append(Mount(*numbers, left[2], inside, point, type_, source, options, read_only))
    return mounts


def file_systems(sysroot: Sysroot, mounts: Mounts | None) -> list[FileSystem]:
    """Every file system on a disk that GRUB may see; the one that holds /boot comes first."""
    if mounts is None:
        why = "there is no proc/self/mountinfo below the root, so it is taken to be one file system"
        return [FileSystem("ext2", (), (Mount(1, 0, "", (), "/", "", "", ()),), anything=why)]
    mounted = [(_node(sysroot, mount), mount) for mount in mounts.all]
    uuids, labels = _uuids(sysroot, mounted), links_by(sysroot, "label")
    boot = mounts.at(sysroot.resolve("/boot"))
    shown: dict[str, list[Mount]] = {}
    nodes: dict[str, list[str]] = {}
    for node, mount in mounted:
        if mount.type == "zfs":
            key = mount.source.partition("/")[0]
            members = [member for member, label in labels.items() if label == key]
        elif node and not re.match(_NEVER_GRUB, node):
            # one btrfs has several devices; other file systems of one UUID are copies
            key, members = uuids.get(node, node) if mount.type == "btrfs" else node, [node]
        elif mount is boot:
            key, members = mount.source, []
        else:
            continue
        shown.setdefault(key, []).append(mount)
        nodes.setdefault(key, []).extend(
            member for member in members if member not in nodes.get(key, ())
        )
    known = {node for members in nodes.values() for node in members}
    for node, uuid in uuids.items():
        key = uuid if uuid in shown else node
        if node not in known and not re.match(_NEVER_GRUB, node):
            shown.setdefault(key, [])
            nodes.setdefault(key, []).append(node)
    found = [_file_system(shown[key], nodes[key], uuids, labels, boot) for key in shown]
    return sorted(found, key=lambda fs: boot not in fs.mounts)


def _uuids(sysroot: Sysroot, mounted: list[tuple[str, Mount]]) -> dict[str, str]:
    uuids = links_by(sysroot, "uuid")
    for uuid in sysroot.listdir("/sys/fs/btrfs"):
        if len(uuid) == 36:  # of several devices, /dev/disk/by-uuid names but one
            for node in sysroot.listdir(f"/sys/fs/btrfs/{uuid}/devices"):
                uuids.setdefault(node, uuid)
    silent = {
        node: mount
        for node, mount in mounted
        if node and node not in uuids and not re.match(_NEVER_GRUB, node)
    }
    others = [node for node in partitions(sysroot) if node not in uuids]
    if uuids and (silent or others):
        from kexec_hook.disks.untold import untold_uuids  # most machines have one of each

        uuids.update(untold_uuids(sysroot, silent, others))
    return uuids


def links_by(sysroot: Sysroot, what: str) -> dict[str, str]:
    """Device node -> name, from the links of udev: dev/disk/by-uuid and its kin."""
    found = {}
    for name in sysroot.listdir(f"/dev/disk/by-{what}"):
        node = sysroot.resolve(f"/dev/disk/by-{what}/{name}")
        if node.startswith("/dev/") and not node.startswith("/dev/disk/"):
            found[node[len("/dev/") :]] = unescape_udev(name)
    return found


def partitions(sysroot: Sysroot) -> list[str]:
    """The partitions that have a node, with or without udev's links to them."""
    sysroot = Sysroot(sysroot.root, is_host=sysroot.is_host)  # others come and go
    return [name for name in sysroot.listdir("/dev") if re.fullmatch(_PARTITION, name)]


def line_of(sysroot: Sysroot, path: str) -> str:
    """A short file of /proc or /sys without its end; empty where there is none."""
    try:
        return sysroot.text(path, limit=1 << 16).strip()
    except SysrootError:
        return ""


def _file_system(
    shown: list[Mount],
    nodes: list[str],
    uuids: dict[str, str],
    labels: dict[str, str],
    boot: Mount | None,
) -> FileSystem:
    first = shown[0] if shown else None
    uuid = next((uuids[node] for node in nodes if node in uuids), "")
    label = next((labels[node] for node in nodes if node in labels), "")
    if first and first.type == "zfs":
        uuid = (
            f"{int(uuid):016x}" if uuid.isdigit() else uuid
        )  # blkid has the pool's number in decimal
        label = first.source.partition("/")[0]
    anything = ""
    if boot is not None and boot in shown:
        if not nodes and not label:
            source = boot.source or boot.type or "a mount outside the root"
            anything = f"/boot is on {source}, which is not a disk that GRUB could see"
        elif not uuids:
            anything = "there is no dev/disk/by-uuid below the root, so /boot is taken to be what is searched for"
    unknown = "" if nodes else "ext2"
    kind = GRUB_NAMES.get(first.type, unknown) if first else ""
    return FileSystem(kind, tuple(nodes), tuple(shown), uuid, label, anything)


def _node(sysroot: Sysroot, mount: Mount) -> str:
    """The block device of a mount, below /dev; empty when it has none."""
    if not mount.source.startswith("/dev/") or mount.source == "/dev/fuse":
        return ""
    path = sysroot.resolve(mount.source)
    if not sysroot.exists(path):  # /dev/root, or a tree without nodes
        link = f"/dev/block/{mount.device}"
        if sysroot.readlink(link) is not None:
            path = sysroot.resolve(link)
        else:
            system = sysroot.readlink(f"/sys/dev/block/{mount.device}")
            path = "/dev/" + system.rpartition("/")[2] if system and path == "/dev/root" else path
    return path[len("/dev/") :] if path.startswith("/dev/") else ""


def _mountinfo(sysroot: Sysroot) -> str | None:
    try:
        return sysroot.text("/proc/self/mountinfo")
    except SysrootError:
        return None


def _rebased(mounts: list[Mount], root: str) -> list[Mount]:
    """The mounts at and below `root`, as seen from there; none where nothing is mounted at `root` itself."""
    inside = [m for m in mounts if m.point == root or m.point.startswith(root + "/")]
    if not any(m.point == root for m in inside):
        return []
    return [
        Mount(
            m.id,
            m.parent,
            m.device,
            m.root,
            m.point[len(root) :] or "/",
            m.type,
            m.source,
            m.options,
        )
        for m in inside
    ]


def _unescape(word: str) -> str:
    """\\040 and its kin, as the kernel's mangle() writes blanks, newlines and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), word)


def unescape_udev(name: str) -> str:
    """\\x20 and its kin, as udev writes what is not safe in a file name; each is a byte."""
    raw = re.sub(
        rb"\\x([0-9a-fA-F]{2})",
        lambda hexa: bytes([int(hexa[1], 16)]),
        name.encode("utf-8", "surrogateescape"),
    )
    return raw.decode("utf-8", "surrogateescape")
