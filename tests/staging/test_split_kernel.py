"""Debian's kernels in several packages: linux-binary-R has /usr/lib/modules/R/vmlinuz, linux-image-R puts it into /boot.

Each step is what the scripts of linux-image-7.2.12+deb14-amd64 and of linux-base 4.17 do.  dpkg configures linux-image
after all that it depends on; whoever asks between two steps gets what GRUB would boot then.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bootfiles import bzimage
from tests.machine import Box

BEFORE, NEW = "6.1.0-39-amd64", "6.1.0-40-amd64"
BINARY = f"usr/lib/modules/{NEW}/vmlinuz"
KERNEL, INITRD = f"boot/vmlinuz-{NEW}", f"boot/initrd.img-{NEW}"
CFG = "boot/grub/grub.cfg"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def kernel(build: int = 1) -> bytes:
    return bzimage(f"{NEW} (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.150-{build}")


def unpack(box: Box, build: int = 1) -> None:
    """linux-binary and linux-modules: dpkg puts a new file in the place of the old one."""
    box.write(f"{BINARY}.dpkg-new", kernel(build))
    os.replace(box / f"{BINARY}.dpkg-new", box / BINARY)


def legacy_boot(box: Box) -> None:
    """/usr/share/kernel/postinst.d/00-legacy-boot: `cp -l`, and where that fails, `cp -p`."""
    try:
        os.link(box / BINARY, box / KERNEL)
    except FileExistsError:
        (box / KERNEL).write_bytes((box / BINARY).read_bytes())


def make_initrd(box: Box) -> None:
    box.write(INITRD, (box / f"boot/initrd.img-{BEFORE}").read_bytes())


def update_grub(box: Box) -> None:
    """Of what is in /boot: a kernel without an initrd gets no initrd line."""
    text = box.lib / "grub.cfg"
    if not text.exists():
        text.write_text((box / CFG).read_text())
    newest = NEW if (box / KERNEL).exists() else BEFORE
    lines = text.read_text().replace(BEFORE, newest).splitlines(keepends=True)
    has = (box / f"boot/initrd.img-{newest}").exists()
    (box / CFG).write_text(
        "".join(line for line in lines if has or "/boot/initrd.img-" not in line)
    )


def staged(box: Box) -> str:
    code = box.run("stage")
    assert (code == 0) == box.loaded == bool(box.record)
    return str(box.record["release"]) if box.record else ""


def test_between_the_steps_it_is_what_grub_boots_then(box: Box) -> None:
    found = [staged(box)]
    for step in (unpack, legacy_boot, make_initrd, update_grub):
        step(box)
        found.append(staged(box))
    assert found == [BEFORE, BEFORE, BEFORE, BEFORE, NEW]


@pytest.mark.parametrize(
    "order", list(itertools.permutations([legacy_boot, make_initrd, update_grub]))
)
def test_the_last_decision_is_right_in_each_order(
    box: Box, order: tuple[Callable[[Box], None], ...]
) -> None:
    """grub.cfg is made of what is there, and once more where something comes behind it (a trigger's initrd)."""
    assert staged(box) == BEFORE
    unpack(box)
    for step in order:
        step(box)
    if not (box / KERNEL).exists() or order[-1] is not update_grub:
        assert staged(box) in ("", BEFORE)  # in doubt, or as before
        update_grub(box)
    assert staged(box) == NEW


def test_another_build_of_the_same_release_counts_once_it_is_in_boot(box: Box) -> None:
    for step in (unpack, legacy_boot, make_initrd, update_grub):
        step(box)
    assert staged(box) == NEW
    unpack(box, build=2)
    assert (box / KERNEL).read_bytes() == kernel(1)
    # Its other name went, which its ctime shows: the same may be loaded once more.
    assert staged(box) == NEW
    calls = len(box.calls)
    legacy_boot(box)
    assert (box / KERNEL).read_bytes() == kernel(2)
    assert staged(box) == NEW
    assert len(box.calls) > calls


def test_a_kernel_that_goes_is_not_left_loaded(box: Box) -> None:
    for step in (unpack, legacy_boot, make_initrd, update_grub):
        step(box)
    assert staged(box) == NEW
    # zz-legacy-boot in prerm.d; postrm.d has zz-update-grub
    (box / KERNEL).unlink()
    assert staged(box) == ""
    (box / INITRD).unlink()
    update_grub(box)
    assert staged(box) == BEFORE
