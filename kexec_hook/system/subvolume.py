"""The default subvolume of a mounted btrfs, as the kernel tells it: Linux' include/uapi/linux/btrfs.h."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import struct

from kexec_hook.system.sysroot import SysrootError

_TREE_SEARCH = 0xD0009411  # BTRFS_IOC_TREE_SEARCH
_ROOT_TREE, _ROOT_TREE_DIR, _DIR_ITEM, _TOP = 1, 6, 84, 5
_LAST = (1 << 64) - 1
_KEY = struct.Struct("<QQQQQQQIII36x")  # btrfs_ioctl_search_key
_FOUND = struct.Struct("<QQQII")  # btrfs_ioctl_search_header


def default_subvolume(directory: str) -> int:
    """Its number, on the file system that is mounted there.  SysrootError, also without root's rights."""
    key = _KEY.pack(
        _ROOT_TREE, _ROOT_TREE_DIR, _ROOT_TREE_DIR, 0, _LAST, 0, _LAST, _DIR_ITEM, _DIR_ITEM, 16
    )
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            answer = bytearray(key.ljust(4096, b"\0"))
            fcntl.ioctl(fd, _TREE_SEARCH, answer)
        finally:
            os.close(fd)
    except OSError as error:
        raise SysrootError(directory, error.strerror or str(error)) from error
    at = _KEY.size
    for _ in range(struct.unpack_from("<I", answer, 64)[0]):
        length = _FOUND.unpack_from(answer, at)[4]
        item = answer[at + _FOUND.size : at + _FOUND.size + length]
        at += _FOUND.size + length
        if item[30 : 30 + struct.unpack_from("<H", item, 27)[0]] == b"default":
            return int(struct.unpack_from("<Q", item)[0])
    return _TOP
