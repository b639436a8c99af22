"""The sections of unified kernel images, made as PE/COFF and UAPI.5 have them, and by objcopy from systemd's stub."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kexec_hook.kernel.images import Damaged
from kexec_hook.kernel.uki import Uki, cmdline_of, read_uki, uname_of
from tests.bootfiles import bzimage, uki

STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")  # Debian's systemd-boot-efi
PLAIN = (
    (".osrel", b"ID=debian\n"),
    (".cmdline", b"root=/dev/sda2 ro quiet\n\0"),
    (".uname", b"6.12.9-amd64"),
    (".initrd", b"070701" + b"i" * 500),
    (".linux", bzimage()),
)


class Bytes:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def read(data: bytes) -> Uki:
    found = read_uki(Bytes(data))
    assert found is not None
    return found


def content(data: bytes, name: str) -> bytes:
    section = read(data).section(name)
    assert section is not None
    return data[section.start : section.start + section.size]


def test_the_parts_are_found_to_the_byte() -> None:
    data = uki(*PLAIN)
    assert content(data, ".linux") == bzimage()
    assert content(data, ".initrd") == b"070701" + b"i" * 500
    assert cmdline_of(read(data), Bytes(data)) == "root=/dev/sda2 ro quiet"
    assert uname_of(read(data), Bytes(data)) == "6.12.9-amd64"
    assert (read(data).stub, read(data).signed, read(data).adds) == (257, False, "")
    assert read(uki(*PLAIN, certificates=True)).signed


def test_what_is_no_unified_kernel_image_is_none() -> None:
    assert read_uki(Bytes(b"")) is None
    assert read_uki(Bytes(bzimage())) is None
    assert read_uki(Bytes(bzimage(signed=True))) is None
    assert read_uki(Bytes(uki((".text", b"code"), stub=None))) is None
    assert read_uki(Bytes(b"MZ" + b"\xff" * 4096)) is None


def test_control_characters_of_the_command_line_are_blanks() -> None:
    data = uki((".linux", b"k"), (".cmdline", b"\n a=1\tb='\xc3\xa9'\n\nc \n\0rest"))
    assert cmdline_of(read(data), Bytes(data)) == "a=1 b='é'  c"
    assert cmdline_of(read(uki((".linux", b"k"))), Bytes(uki((".linux", b"k")))) == ""


@pytest.mark.parametrize(
    ("section", "added"),
    [
        (".ucode", "microcode (.ucode)"),
        (".pcrsig", "signed TPM policies (.pcrsig)"),
        (".dtbauto", "device trees (.dtbauto)"),
    ],
)
def test_what_the_stub_would_add_is_named(section: str, added: str) -> None:
    assert read(uki(*PLAIN, (section, b"x"))).adds == added


def test_the_first_of_several_profiles_is_what_starts_and_is_no_plain_image() -> None:
    data = uki(
        *PLAIN,
        (".profile", b"ID=main"),
        (".cmdline", b"mine"),
        (".profile", b"ID=rescue"),
        (".cmdline", b"rescue"),
    )
    assert cmdline_of(read(data), Bytes(data)) == "mine"
    assert read(data).adds == "one of 2 profiles (.profile)"
    one = uki(*PLAIN, (".profile", b"ID=main"), (".cmdline", b"mine"))
    assert (read(one).adds, cmdline_of(read(one), Bytes(one))) == ("", "mine")


def test_stubs_pass_on_os_release_since_257_and_unknown_ones_may_do_more() -> None:
    names = [name for _, name in read(uki(*PLAIN)).initrds]
    assert names == ["", ".extra/os-release"]
    assert [name for _, name in read(uki(*PLAIN, stub="256.7")).initrds] == [""]
    assert [name for _, name in read(uki(*PLAIN, stub=None)).initrds] == [""]
    assert "systemd 259" in read(uki(*PLAIN, stub="259")).adds


def test_an_image_that_is_cut_off_is_damaged() -> None:
    data = uki(*PLAIN)
    with pytest.raises(Damaged, match=r"is cut off: \.initrd ends at byte 3578, the file at 3000"):
        read_uki(Bytes(data[:3000]))
    for size in range(0, 1500, 7):  # anything may happen to a file, but no other error
        try:
            read_uki(Bytes(data[:size]))
        except Damaged:
            pass


@pytest.mark.skipif(not STUB.exists(), reason=f"there is no {STUB}")
@pytest.mark.skipif(shutil.which("objcopy") is None, reason="there is no objcopy")
def test_an_image_made_by_objcopy_from_systemds_stub(tmp_path: Path) -> None:
    words = []
    for at, (name, data) in enumerate(PLAIN):
        (tmp_path / name).write_bytes(data)
        words += ["--add-section", f"{name}={tmp_path / name}"]
        words += ["--change-section-vma", f"{name}={(at + 1) << 24:#x}"]
    subprocess.run(["objcopy", *words, str(STUB), str(tmp_path / "x.efi")], check=True)
    data = (tmp_path / "x.efi").read_bytes()
    assert content(data, ".linux") == bzimage()
    assert cmdline_of(read(data), Bytes(data)) == "root=/dev/sda2 ro quiet"
    assert read(data).stub is not None
