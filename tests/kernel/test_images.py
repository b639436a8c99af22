"""images.py and unpack.py: what kernels and initrds are, and that every cut is seen."""

from __future__ import annotations

import functools
import gzip
import lzma
import random
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexec_hook.kernel.images import Damaged, Kernel, NotLinux, inspect_kernel
from kexec_hook.kernel.initrd import Part, read_initrd
from kexec_hook.kernel.unpack import unpack_initrd
from kexec_hook.system.process import Programs
from tests.bootfiles import FILES, bzimage, cpio, elf, image, packed, zboot

ROOTS = Path(__file__).resolve().parents[1] / "roots"


class Bytes:
    """A file in memory, as sysroot.Window shows one on a disk."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


NOISE = (
    random.Random(1).randbytes(300_000)
    if hasattr(random.Random, "randbytes")
    else bytes(range(256)) * 1200
)


def kernel(data: bytes) -> Kernel:
    return inspect_kernel(Bytes(data))


def kinds(data: bytes) -> list[str]:
    return [part.kind for part in read_initrd(Bytes(data))]


def wrong(data: bytes) -> str:
    with pytest.raises(Damaged) as caught:
        read_initrd(Bytes(data))
    return str(caught.value)


def no_kernel(data: bytes) -> str:
    with pytest.raises(Damaged) as caught:
        inspect_kernel(Bytes(data))
    return str(caught.value)


# --- kernels ---


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (bzimage(), Kernel("bzImage", "x86_64", False, 2047)),
        (bzimage(signed=True), Kernel("bzImage", "x86_64", True, 2047)),
        (bzimage(wide=False), Kernel("bzImage", "i686", False, 2047)),
        (bzimage(wide=False, signed=True, longest=255), Kernel("bzImage", "i686", True, 255)),
        (bzimage(protocol=0x0208), Kernel("bzImage", "x86", False, 2047)),
        (image(), Kernel("Image", "aarch64")),
        (image(signed=True), Kernel("Image", "aarch64", True)),
        (image(stub=False), Kernel("Image", "aarch64")),
        (image(0x5064, b"RSC\x05"), Kernel("Image", "riscv64")),
        (gzip.compress(image()), Kernel("Image.gz", "aarch64")),
        (gzip.compress(image(signed=True)), Kernel("Image.gz", "aarch64", True)),
        (gzip.compress(image(stub=False)), Kernel("Image.gz", "aarch64")),
        (zboot(), Kernel("zboot", "aarch64")),
        # What kexec hands over is the kernel in it.
        (zboot(0x6264, signed=True), Kernel("zboot", "loongarch64")),
        (zboot(signed=True, inner=image()), Kernel("zboot", "aarch64")),
        (zboot(signed=True, inner=image(signed=True)), Kernel("zboot", "aarch64", True)),
        (elf(183), Kernel("ELF", "aarch64")),
        (elf(21, order=">"), Kernel("ELF", "ppc64")),
        (elf(40, wide=False), Kernel("ELF", "arm")),
        (elf(4711), Kernel("ELF", "")),
    ],
)
def test_a_kernel_says_what_it_is(data: bytes, known: Kernel) -> None:
    assert kernel(data) == known


def test_the_kernels_of_the_roots_are_kernels() -> None:
    for path in ROOTS.glob("*/tree/boot/vmlinuz-*"):
        assert kernel(path.read_bytes()) == Kernel("bzImage", "x86_64", False, 2047), path


@pytest.mark.parametrize(
    "data", [bzimage(), bzimage(wide=False), image(), zboot(), elf(183), elf(40, wide=False)]
)
def test_a_kernel_without_its_end_is_cut_off(data: bytes) -> None:
    for size in (len(data) - 1, len(data) // 2 + 512):
        with pytest.raises(
            Damaged, match=rf"^is cut off: it has {size} of {len(data)} bytes$"
        ) as caught:
            kernel(data[:size])
        assert not isinstance(caught.value, NotLinux)


@pytest.mark.parametrize(
    "data",
    [
        *(bzimage(), bzimage(signed=True), image(signed=True), zboot(), elf(183)),
        *(gzip.compress(image() + NOISE[:4000]), gzip.compress(image(signed=True))),
    ],
)
def test_no_beginning_of_a_kernel_is_a_kernel(data: bytes) -> None:
    for size in range(0, len(data), 7):
        no_kernel(data[:size])


@pytest.mark.parametrize(
    "data", [bzimage(signed=True), bzimage(wide=False, signed=True), image(signed=True)]
)
def test_a_signature_without_its_end_is_cut_off(data: bytes) -> None:
    size = len(data)
    assert (
        no_kernel(data[:-1])
        == f"is cut off: its signature ends at byte {size}, the file at {size - 1}"
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\x7f", "is not a Linux kernel"),
        (b"#!/bin/sh\n" * 1000, "is not a Linux kernel"),
        (cpio(), "is not a Linux kernel"),
        (bytes(8192), "is not a Linux kernel"),
        (
            gzip.compress(b"no kernel" * 100),
            "is a gzip file without a Linux kernel that kexec could load",
        ),
        (gzip.compress(bzimage()), "is a gzip file without a Linux kernel that kexec could load"),
        (
            b"\x1f\x8b\x08" + bytes(99),
            "is a gzip file without a Linux kernel that kexec could load",
        ),
        (b"MZ".ljust(4096, b"\0"), "is an EFI program, not a Linux kernel"),
        (elf(62), "is a bare vmlinux; GRUB loads only a bzImage here"),
        (elf(3, wide=False), "is a bare vmlinux; GRUB loads only a bzImage here"),
        (bzimage("Memtest86+ v6.10", protocol=0x020C), "is «Memtest86+ v6.10», not Linux"),
        (
            bzimage("MEMDISK 6.04 20200816", protocol=0x0203),
            "is «MEMDISK 6.04 20200816», not Linux",
        ),
        (
            bzimage("1.0.0+git-20190125.36a4c85-5.1", protocol=0x0207),  # iPXE
            "has the boot protocol 2.07, which is older than Linux 2.6.26",
        ),
    ],
)
def test_what_is_no_kernel_is_named(data: bytes, why: str) -> None:
    assert no_kernel(data) == why


# --- initrds ---

ZSTD = ("zstd", "-q", "-c")
LZ4 = ("lz4", "-q", "-l", "-c")
XZ = ("xz", "-q", "-c", "--check=crc32")
LARGE = cpio({**FILES, "usr/lib/noise": NOISE, "usr/lib/zeros": bytes(500_000)})

# What is packed, and the program that packs it.
WHOLE: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "cpio": (cpio(), ()),
    "cpio with sums": (cpio(magic=b"070702"), ()),
    "zstd": (cpio(), ZSTD),
    "zstd of a pipe": (cpio(), (*ZSTD, "--no-check")),
    "zstd, several blocks": (LARGE, (*ZSTD, "-1")),
    "zstd that knows its size": (cpio(), (*ZSTD, f"--stream-size={len(cpio())}")),
    "zstd, not packed": (NOISE[:1000], ZSTD),
    "xz": (cpio(), XZ),
    "xz, several blocks": (LARGE, (*XZ, "--block-size=100KiB", "-T2")),
    "xz, one block": (LARGE, (*XZ, "-T1")),
    "xz without sums": (cpio(), ("xz", "-q", "-c", "--check=none", "-T1")),
    "xz with sha256": (cpio(), ("xz", "-q", "-c", "--check=sha256")),
    "xz with a filter": (cpio(), (*XZ, "--x86", "--lzma2=dict=1MiB", "-T1")),
    "xz of nothing": (b"", XZ),
}
XZ_EMPTY = lzma.compress(b"", check=lzma.CHECK_CRC32)
XZ_BLOCK = lzma.compress(b"x", check=lzma.CHECK_CRC32)[
    :24
]  # the stream's header, and a block's of 12 bytes
SHORT = [name for name, (data, _) in WHOLE.items() if data is not LARGE]


@functools.cache
def whole(name: str) -> bytes:
    data, argv = WHOLE[name]
    return packed(data, *argv) if argv else data


def kind_of(name: str) -> str:
    return name.split()[0].rstrip(",")


@pytest.mark.parametrize("name", WHOLE)
def test_an_initrd_is_followed_to_its_end(name: str) -> None:
    data = whole(name)
    assert read_initrd(Bytes(data)) == (Part(kind_of(name), 0, len(data)),)


@pytest.mark.parametrize("name", SHORT)
def test_every_cut_is_seen(name: str) -> None:
    """The padding behind the trailer of a cpio archive may be missing; nothing else may."""
    data = whole(name).rstrip(b"\0") + b"\0" if kind_of(name) == "cpio" else whole(name)
    begins = data.index(b"\x28\xb5\x2f\xfd") + 4 if kind_of(name) == "zstd" else 6
    for size in range(len(data)):
        assert ("is cut off: it ends at byte" if size >= begins else "") in wrong(data[:size])


@pytest.mark.parametrize("name", sorted(set(WHOLE) - set(SHORT)))
def test_cuts_of_large_initrds_are_seen(name: str) -> None:
    data = whole(name)
    for size in [*range(16, len(data), 4999), len(data) - 1]:
        assert "is cut off: it ends at byte" in wrong(data[:size])


def test_an_lz4_initrd_is_followed_block_by_block() -> None:
    data = packed(LARGE, *LZ4)
    assert read_initrd(Bytes(data)) == (Part("lz4", 0, len(data)),)
    assert read_initrd(Bytes(data + data)) == (Part("lz4", 0, 2 * len(data)),)
    for size in (*range(5, 400), len(data) // 2, len(data) - 1):
        if size != 8:  # four bytes of length with nothing behind them
            assert "is cut off" in wrong(data[:size]), size


def test_lz4_with_something_behind_it_is_not_what_the_kernel_can_unpack() -> None:
    """unlz4() takes what follows for the size of a block."""
    assert "in the middle of lz4 data" in wrong(packed(cpio(), *LZ4) + cpio())
    assert kinds(packed(cpio(), *LZ4) + bytes(4) + packed(cpio(), *ZSTD)) == ["lz4", "zstd"]


def test_lz4_frames_of_today_are_not_for_the_kernel() -> None:
    data = packed(cpio(), "lz4", "-q", "-c")
    assert wrong(data) == f"holds nothing that Linux could unpack at byte 0 of {len(data)}"


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("gzip", ("gzip", "-c")),
        ("bzip2", ("bzip2", "-c")),
        ("lzma", ("xz", "--format=lzma", "-c")),
        ("lzo", ("lzop",)),
    ],
)
def test_other_kinds_are_known_by_their_first_bytes(name: str, argv: tuple[str, ...]) -> None:
    data = packed(cpio(), *argv)
    assert read_initrd(Bytes(data)) == (Part(name, 0, None),)
    assert read_initrd(Bytes(cpio() + data)) == (
        Part("cpio", 0, len(cpio())),
        Part(name, len(cpio()), None),
    )


def test_old_initrds_with_a_file_system_are_known() -> None:
    ext2 = bytearray(4096)
    ext2[1080:1082] = b"\x53\xef"
    ext2[1024:1028] = b"\1\0\0\0"
    assert read_initrd(Bytes(b"hsqs" + bytes(96))) == (Part("squashfs", 0, None),)
    assert kinds(b"-rom1fs-" + bytes(96)) == ["romfs"]
    assert kinds(b"\x45\x3d\xcd\x28" + bytes(96)) == ["cramfs"]
    assert wrong(cpio() + b"hsqs").startswith("holds nothing that Linux could unpack at byte")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (bytes(5000), "holds nothing but zeros"),
        (b"initrd", "holds nothing that Linux could unpack at byte 0 of 6"),
        (
            cpio() + b"junk",
            f"holds nothing that Linux could unpack at byte {len(cpio())} of {len(cpio()) + 4}",
        ),
        (
            bytes(2) + cpio(),
            f"holds nothing that Linux could unpack at byte 2 of {len(cpio()) + 2}",
        ),
        (
            b"070707" + cpio()[6:],
            f"holds nothing that Linux could unpack at byte 0 of {len(cpio())}",
        ),
        (cpio()[:54] + b"-0000010" + cpio()[62:], "holds a cpio archive that is damaged at byte 0"),
        (
            cpio()[:94] + b"-000006E" + cpio()[102:],
            "holds a cpio archive that is damaged at byte 0",
        ),
        (
            cpio()[:94] + b"0000000G" + cpio()[102:],
            "holds a cpio archive that is damaged at byte 0",
        ),
        (cpio({"a": b""})[:112] + b"xxxx" * 40, "holds a cpio archive that is damaged at byte 112"),
        (
            b"\x28\xb5\x2f\xfd\x20\x05" + b"\x06\0\0" * 9,
            "holds a zstd frame that is damaged at byte 6",
        ),
        (XZ_EMPTY[:-1] + b"z", f"holds an xz stream that is damaged at byte {len(XZ_EMPTY) - 12}"),
        (
            XZ_BLOCK + b"\x03" + bytes(99),
            f"holds an xz stream that is damaged at byte {len(XZ_BLOCK)}",
        ),
        (
            XZ_EMPTY[:12] + b"\0" + b"\xff" * 99,
            "holds an xz stream with a number that does not end",
        ),
    ],
)
def test_what_is_no_initrd_is_named(data: bytes, why: str) -> None:
    assert wrong(data) == why


def test_a_boot_config_at_the_end_is_taken_off() -> None:
    """Documentation/admin-guide/bootconfig.rst: the config, its size, its sum, and the magic."""
    config = b"kernel {\n  quiet\n}\n".ljust(20, b"\0")
    tail = config + struct.pack("<II", len(config), sum(config)) + b"#BOOTCONFIG\n"
    data = packed(cpio(), *ZSTD)
    assert read_initrd(Bytes(data + tail)) == (Part("zstd", 0, len(data)),)
    assert "at byte" in wrong(data + tail[:-1] + b"!")


@given(st.lists(st.tuples(st.sampled_from(SHORT), st.integers(0, 4096)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_concatenated_initrds_are_followed_over_zeros(pieces: list[tuple[str, int]]) -> None:
    data, expected = b"", []
    for name, zeros in pieces:
        data += bytes(-len(data) % 4)
        expected.append(Part(kind_of(name), len(data), len(data) + len(whole(name))))
        data += whole(name) + bytes(zeros)
    assert list(read_initrd(Bytes(data))) == expected
    with pytest.raises(Damaged):
        read_initrd(Bytes(data.rstrip(b"\0")[:-1]))


@given(st.binary(max_size=300), st.sampled_from(sorted(WHOLE)), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_more_than_a_verdict(noise: bytes, name: str, at: int) -> None:
    data = whole(name)
    for broken in (noise, data[:at] + noise + data[at + len(noise) :]):
        for look in (read_initrd, inspect_kernel):
            with suppress(Damaged):
                look(Bytes(broken))


def test_real_cpio_makes_what_ours_does(tmp_path: Path) -> None:
    if not shutil.which("cpio"):
        pytest.skip("no cpio")
    (tmp_path / "init").write_text("#!/bin/sh\n")
    (tmp_path / "link").symlink_to("init")
    names = b"init\nlink\n"
    data = packed(names, "cpio", "--quiet", "-o", "-H", "newc", "-D", str(tmp_path))
    assert kinds(data) == ["cpio"]
    assert wrong(data.rstrip(b"\0")[:-8])


# --- unpacking ---

PROGRAMS = Programs()


def unpacked(data: bytes, programs: Programs = PROGRAMS) -> tuple[str, ...]:
    return unpack_initrd(Bytes(data), programs)


def does_not_unpack(data: bytes) -> str:
    with pytest.raises(Damaged) as caught:
        unpacked(data)
    return str(caught.value)


PACKERS = {
    "gzip": ("gzip", "-c"),
    "bzip2": ("bzip2", "-c"),
    "lzma": ("xz", "--format=lzma", "-c"),
    "xz": XZ,
    "zstd": ZSTD,
    "lz4": LZ4,
    "lzo": ("lzop", "-c"),
}


@pytest.fixture(params=PACKERS)
def packer(request: pytest.FixtureRequest) -> tuple[str, ...]:
    argv = PACKERS[request.param]
    if not shutil.which(argv[0]):
        pytest.skip(f"no {argv[0]}")
    return argv


def test_whole_initrds_unpack(packer: tuple[str, ...]) -> None:
    assert unpacked(cpio() + bytes(512 - len(cpio()) % 512) + packed(LARGE, *packer)) == ()


def test_a_damaged_byte_is_found_by_unpacking(packer: tuple[str, ...]) -> None:
    data = bytearray(packed(LARGE, *packer))
    data[len(data) // 2] ^= 0xFF
    if packer in (
        LZ4,
        PACKERS["lzma"],
    ):  # their old formats have no sums; what comes out may still be an archive
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    assert does_not_unpack(bytes(data)).startswith(("does not unpack: ", "unpacks (lzma) to "))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "lzma", "xz"])
def test_a_cut_is_found_by_unpacking(kind: str) -> None:
    data = packed(LARGE, *PACKERS[kind])
    for size in (len(data) - 1, len(data) // 2, 20):
        assert "is cut off: it ends at byte" in does_not_unpack(data[:size]), size


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "lzma", "xz"])
def test_the_archive_inside_has_to_end_with_its_trailer(kind: str) -> None:
    archive = cpio()
    for inside in (archive[:-124], archive[:-200], archive[:300]):
        message = f"unpacks ({kind}) to a cpio archive without a trailer"
        assert does_not_unpack(packed(inside, *PACKERS[kind])) == message


def test_what_is_packed_has_to_be_an_archive() -> None:
    assert (
        does_not_unpack(gzip.compress(b"x" * 500)) == "unpacks (gzip) to no cpio archive, at byte 0"
    )
    assert does_not_unpack(gzip.compress(b"")) == "unpacks (gzip) to nothing"
    broken = cpio()[:112] + b"y" * 500
    assert does_not_unpack(gzip.compress(broken)).startswith(
        "unpacks (gzip) to a damaged cpio archive, at byte"
    )
    assert unpacked(gzip.compress(cpio() + bytes(100) + cpio() + bytes(7))) == ()


def test_what_follows_a_packed_part_is_unpacked_too() -> None:
    first = gzip.compress(cpio())
    first += bytes(-len(first) % 4)
    assert unpacked(first + cpio() + gzip.compress(LARGE)) == ()
    assert "before its trailer" in does_not_unpack(first + cpio()[:-20])
    assert "nothing that Linux could unpack" in does_not_unpack(first + b"junk")
    assert "without a trailer" in does_not_unpack(first + gzip.compress(cpio()[:-20]))


def test_what_no_program_is_there_for_is_said(tmp_path: Path) -> None:
    nothing = Programs((str(tmp_path),))
    assert unpacked(packed(cpio(), *ZSTD), nothing) == (
        "is packed with zstd, and there is no zstd to check it",
    )
    assert unpacked(b"hsqs" + bytes(96)) == (
        "holds a file system, squashfs, which was not looked into",
    )


def test_unpacking_begins_with_a_look() -> None:
    assert does_not_unpack(b"") == "is empty"
    assert does_not_unpack(bytes(100)) == "holds nothing but zeros"
