"""What GRUB's own images say of themselves; made here as grub-mkimage and grub-bios-setup make them, and by them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kexec_hook.grub import image
from kexec_hook.grub.image import Embedded
from tests import bootcode

SCRIPT = (
    "search.fs_uuid 1f6efbae-6fe4-4bde-a506-46aad0992daf root \nset prefix=($root)'/boot/grub'\n"
)
MODULES = [
    (Path("/usr/lib/grub/i386-pc"), image.of_core, ["biosdisk", "part_msdos", "ext2"]),
    (Path("/usr/lib/grub/x86_64-efi"), image.of_efi, ["part_gpt", "ext2"]),
]


def reader(disk: bytes) -> image.ReadAt:
    return lambda offset, size: disk[offset : offset + size]


@pytest.mark.parametrize(
    ("prefix", "script"), [("(,gpt2)/boot/grub", ""), ("/boot/grub", SCRIPT), ("(md/0)/grub", "")]
)
@pytest.mark.parametrize("start", [1, 2048])
@pytest.mark.parametrize("mended", [True, False])
def test_a_disk_leads_to_prefix_and_script(
    prefix: str, script: str, start: int, mended: bool
) -> None:
    file = bootcode.core(prefix, script)
    disk = bootcode.disk(file, start=start, mended=mended)
    assert image.is_boot_sector(disk[:512])
    core = image.read_core(reader(disk))
    assert image.of_core(core) == Embedded(prefix, script)
    assert image.of_core(file) == Embedded(prefix, script)
    assert image.same_core(core, file)
    assert not image.same_core(core, bootcode.core("(,gpt3)/boot/grub"))


def test_an_efi_program_leads_to_prefix_and_script() -> None:
    assert image.of_efi(bootcode.efi("/EFI/debian")) == Embedded("/EFI/debian")
    assert image.of_efi(bootcode.efi("(,gpt2)/grub", SCRIPT)) == Embedded("(,gpt2)/grub", SCRIPT)


def test_an_image_names_its_modules() -> None:
    names = ("ext2", "search_fs_uuid", "normal")
    assert image.of_efi(bootcode.efi("/g", modules=names)).modules == {*names}
    assert image.of_core(bootcode.core("/g", modules=names)).modules == {*names}


@pytest.mark.parametrize("directory", sorted(Path("/usr/lib/grub").glob("*-*")), ids=str)
def test_real_modules_say_their_names(directory: Path) -> None:
    for file in directory.glob("*.mod"):
        assert image.module_name(file.read_bytes()) == file.stem


@pytest.mark.parametrize("sector", [b"", bytes(512), bytes(510) + b"\x55\xaa"])
def test_other_boot_code_is_not_grubs(sector: bytes) -> None:
    assert not image.is_boot_sector(sector)


def test_torn_images_are_damaged_and_end() -> None:
    disk, file, efi = bootcode.disk(core := bootcode.core("/g")), core, bootcode.efi("/g")
    found: list[tuple[Callable[[], Embedded], int]] = []
    for length in range(0, len(disk) - 64 * 512, 97):
        torn = disk[:length].ljust(512, b"\0")
        found.append((lambda torn=torn: image.of_core(image.read_core(reader(torn))), length))  # type: ignore[misc]
    for length in range(0, len(file), 97):
        found.append((lambda torn=file[:length]: image.of_core(torn), length))  # type: ignore[misc]
    for length in range(0, len(efi) - 40, 13):
        found.append((lambda torn=efi[:length]: image.of_efi(torn), length))  # type: ignore[misc]
    for read, _ in found:
        with pytest.raises(image.Damaged):
            read()


def test_a_list_of_blocks_without_end_is_damaged() -> None:
    disk = bytearray(bootcode.disk(bootcode.core("/g")))
    for at in range(512 + 500, 512, -12):
        disk[at : at + 10] = (1).to_bytes(8, "little") + (60).to_bytes(2, "little")
    with pytest.raises(image.Damaged):
        image.of_core(image.read_core(reader(bytes(disk) + bytes(1 << 20))))


@pytest.mark.parametrize(("directory", "read", "modules"), MODULES, ids=["i386-pc", "x86_64-efi"])
def test_what_grub_mkimage_makes_is_read(
    tmp_path: Path, directory: Path, read: Callable[[bytes], Embedded], modules: list[str]
) -> None:
    if not directory.is_dir() or not shutil.which("grub-mkimage"):
        pytest.skip(f"no {directory}, or no grub-mkimage")
    (tmp_path / "load.cfg").write_text(SCRIPT)
    out = tmp_path / "image"
    words = (
        f"-d {directory} -O {directory.name} -p (,gpt2)/boot/grub -c {tmp_path}/load.cfg -o {out}"
    )
    subprocess.run(["grub-mkimage", *words.split(), *modules], check=True)
    found = read(out.read_bytes())
    assert found._replace(modules=frozenset()) == Embedded("(,gpt2)/boot/grub", SCRIPT)
    assert {*modules} <= found.modules  # and what they need
