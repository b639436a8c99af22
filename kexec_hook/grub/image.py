"""What GRUB's own images say of themselves: where boot.img finds core.img, and the prefix and script built into it.

boot.img and core.img of a BIOS: grub-core/boot/i386/pc/{boot,diskboot}.S and startup_raw.S, include/grub/offsets.h;
what grub-mkimage puts into an image: util/mkimage.c, include/grub/kernel.h.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from kexec_hook.tuples import NamedTuple

SECTOR = 512
LARGEST = 4 << 20  # bytes: more than any core.img has
_SIGN = b"GRUB \0Geom\0Hard Disk\0Read\0 Error"  # of boot.img, in its code
_SIGN_OF_CORE = b"Geom\0Read\0 Error"  # of diskboot.img, core.img's first sector
_KERNEL_SECTOR = 0x5C  # in boot.img: where core.img begins, in sectors of 512 bytes
_FIRST_LIST = (
    SECTOR - 12
)  # in diskboot.img: start, 8 bytes; length, 2; segment, 2; the next one is before it
_COMPRESSED, _REDUNDANCY = (
    8,
    16,
)  # in what follows diskboot.img: sizes, and what grub-bios-setup fills in
_MAGIC = b"mimg"
_ELF, _CONFIG, _PREFIX = 0, 2, 3  # OBJ_TYPE_ELF, OBJ_TYPE_CONFIG, OBJ_TYPE_PREFIX
_KEYS = (4, 7)  # OBJ_TYPE_PUBKEY and its kin, by whose GRUB it is
_UNLOCKED = (6, 7)  # OBJ_TYPE_DISABLE_SHIM_LOCK, before 2.14 and since
_OPENPGP = (b"\x98", b"\x99", b"\xc6")  # how a public key begins: RFC 9580, 4.2
_SETS = r"^[ \t]*(?:set[ \t]+)?(check_signatures|superusers)=[\"']?([^\s\"']*)"

ReadAt = Callable[[int, int], bytes]


class Embedded(NamedTuple):
    """What a GRUB has built in."""

    prefix: str  # (,gpt2)/boot/grub; without a disk: on the one it was started from
    script: str = ""  # it is run before anything else: search.fs_uuid ...
    modules: frozenset[str] = frozenset()  # their names: ext2, normal
    keyed: bool = False  # with a public key, by which it checks the signature of every file
    unlocked: bool = (
        False  # made with --disable-shim-lock: without shim, Secure Boot means nothing to it
    )
    beside: bool = False  # rhboot's, and Debian's and Ubuntu's from 2.12: the grub.cfg beside it is tried first

    @property
    def variables(self) -> tuple[tuple[str, str], ...]:
        """What decides whether an entry boots, and is set before grub.cfg is read (commands/pgp.c, and the script)."""
        key = (("check_signatures", "enforce"),) if self.keyed else ()
        return (*key, *re.findall(_SETS, self.script, re.MULTILINE))


class Damaged(Exception):
    """No GRUB, or not one that we can read."""


class Overwritten(Damaged):
    """GRUB's boot code, and something else where its core.img was."""


def is_boot_sector(sector: bytes) -> bool:
    """Does a disk begin with GRUB's boot.img?"""
    return len(sector) >= SECTOR and sector[510:512] == b"\x55\xaa" and _SIGN in sector


def read_core(read_at: ReadAt) -> bytes:
    """The core.img that the boot.img at the start of a disk loads.  Damaged"""
    start = struct.unpack_from("<Q", read_at(0, SECTOR), _KERNEL_SECTOR)[0]
    first = _sectors(read_at, start, 1)
    if _SIGN_OF_CORE not in first:
        raise Overwritten("what it loads is overwritten")
    core = first
    for at in range(_FIRST_LIST, 0, -12):
        start, length = struct.unpack_from("<QH", first, at)
        if not length:
            return core
        core += _sectors(read_at, start, length)
        if len(core) > LARGEST:
            break
    raise Damaged("its list of blocks has no end")


def _sectors(read_at: ReadAt, start: int, count: int) -> bytes:
    if not 0 < start < 1 << 40:
        raise Damaged("it names a sector that no disk has")
    found = read_at(start * SECTOR, count * SECTOR)
    if len(found) != count * SECTOR:
        raise Damaged("it lies beyond the end of the disk")
    return found


def same_core(installed: bytes, file: bytes) -> bool:
    """Is this core.img that file, but for the list of blocks and the length of the code that mends it?"""
    return _plain(installed)[: len(file)] == _plain(file)


def _plain(core: bytes) -> bytes:
    blank = bytearray(core)
    blank[_FIRST_LIST:SECTOR] = bytes(12)
    blank[SECTOR + _REDUNDANCY : SECTOR + _REDUNDANCY + 4] = bytes(4)
    return bytes(blank)


def of_core(core: bytes) -> Embedded:
    """What a core.img of i386-pc has built in.  Damaged"""
    if len(core) < SECTOR + 0x40:
        raise Damaged("it is cut off")
    packed, size = struct.unpack_from("<II", core, SECTOR + _COMPRESSED)
    if not 0 < packed < len(core) or not 0 < size <= LARGEST:
        raise Damaged("it has no header")
    # What grub-bios-setup appends to mend it with fills up the last sector; without that, zeros do.
    redundancy = struct.unpack_from("<I", core, SECTOR + _REDUNDANCY)[0]
    end = len(core) - redundancy
    for last in range(end, end - (1 if redundancy else SECTOR), -1):
        image = _unpacked(core[max(last - packed, 0) : max(last, 0)], size)
        if image:
            return _embedded(image, "<III", 12)
    raise Damaged("it is packed in a way that is not known")


def of_efi(image: bytes) -> Embedded:
    """What grubx64.efi and its like have built in.  Damaged"""
    try:
        header = struct.unpack_from("<I", image, 0x3C)[0]
        if image[:2] != b"MZ" or image[header : header + 4] != b"PE\0\0":
            raise Damaged("it is not an EFI program")
        wide = struct.unpack_from("<H", image, header + 24)[0] == 0x20B
        count, optional = struct.unpack_from("<H12xH", image, header + 6)
        for at in range(header + 24 + optional, header + 24 + optional + 40 * count, 40):
            if image[at : at + 8] == b"mods\0\0\0\0":
                size, start = struct.unpack_from("<II", image, at + 16)
                form = ("<I4xQQ", 24) if wide else ("<III", 12)
                found = _embedded(image[start : start + size], *form)
                return found._replace(beside=b"fw_path" in image)
    except struct.error:
        raise Damaged("it is cut off") from None
    raise Damaged("it is not GRUB")


def _unpacked(packed: bytes, size: int) -> bytes:
    """LZMA without a header, as grub-mkimage calls it; empty where it is none."""
    if packed[:1] != b"\0":
        return b""
    import lzma  # where core.img is packed, which it is only on a BIOS

    form = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}
    try:
        found = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[form]).decompress(packed, size)
    except lzma.LZMAError:
        return b""
    return found if len(found) == size else b""


def _embedded(image: bytes, form: str, head: int) -> Embedded:
    """The last prefix and script among the objects of an image.  Damaged"""
    found: dict[int, str] = {}
    modules = set()
    keyed = unlocked = False
    for kind, data in _objects(image, form, head):
        if kind == _ELF:
            modules.add(module_name(data))
        elif kind in (_PREFIX, _CONFIG):
            found[kind] = data.split(b"\0")[0].decode("utf-8", "surrogateescape")
        elif kind in _UNLOCKED and not data:
            unlocked = True
        elif kind in _KEYS:
            keyed = keyed or data.startswith(_OPENPGP)
    if _PREFIX not in found:
        raise Damaged("it has no prefix")
    script = found.get(_CONFIG, "")
    return Embedded(found[_PREFIX], script, frozenset(modules - {""}), keyed, unlocked)


def module_name(elf: bytes) -> str:
    """What the section .modname of a module says; empty where it is not one of x86, ARM or RISC-V."""
    wide = elf[4:5] == b"\2"
    at, counts, place = ("<Q", 0x28), 0x3A, ("<QQ", 0x18)
    if not wide:
        at, counts, place = ("<I", 0x20), 0x2E, ("<II", 0x10)
    try:
        first = struct.unpack_from(at[0], elf, at[1])[0]
        size, number, names = struct.unpack_from("<HHH", elf, counts)
        headers = [first + size * index for index in range(number)]
        sections = [struct.unpack_from(place[0], elf, header + place[1]) for header in headers]
        text = elf[sections[names][0] :][: sections[names][1]]
        for header, (start, length) in zip(headers, sections):
            name = text[struct.unpack_from("<I", elf, header)[0] :].split(b"\0")[0]
            if name == b".modname":
                return elf[start : start + length].split(b"\0")[0].decode("ascii", "replace")
    except (struct.error, IndexError):
        pass
    return ""


def _objects(image: bytes, form: str, head: int) -> Iterator[tuple[int, bytes]]:
    """grub_module_info, then grub_module_header: kind and size, 4 bytes each, and data."""
    for match in re.finditer(re.escape(_MAGIC), image):
        at = match.start()
        if at + head > len(image):
            return
        _, offset, size = struct.unpack_from(form, image, at)
        if offset != head or at + size > len(image):
            continue
        end, at = at + size, at + offset
        while at + 8 <= end:
            kind, length = struct.unpack_from("<II", image, at)
            if length < 8:
                return
            yield kind, image[at + 8 : at + length]
            at += length
        return
