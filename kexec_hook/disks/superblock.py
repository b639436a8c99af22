"""Which ext4 that Linux has mounted can GRUB not read?

fs/ext2.c, grub_ext2_mount: it refuses what it does not know of the incompatible features, and clusters of blocks.
The layout is that of Linux' Documentation/filesystems/ext4/super.rst.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

from kexec_hook.system.sysroot import Sysroot, SysrootError

_AT, _SIZE = 1024, 104  # bytes
_MAGIC = 0xEF53
# Of 2.14: file types, recovery, meta_bg, extents, 64bit, mmp, flex_bg, csum_seed, large_dir, encryption
_KNOWN = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000 | 0x4000 | 0x10000


def is_beyond_grub(sysroot: Sysroot, node: str) -> bool:
    """Certainly not to be read by a GRUB up to 2.14; no where the device cannot be looked at."""
    sysroot = Sysroot(
        sysroot.root, is_host=sysroot.is_host
    )  # what is written there is no part of a decision
    try:
        with sysroot.window(f"/dev/{node}", block=True) as file:
            block = file.at(_AT, _SIZE)
    except SysrootError:
        return False
    if len(block) < _SIZE or struct.unpack_from("<H", block, 56)[0] != _MAGIC:
        return False
    blocks, clusters = struct.unpack_from("<II", block, 24)
    incompatible = struct.unpack_from("<I", block, 96)[0]
    return blocks != clusters or bool(incompatible & ~_KNOWN)
