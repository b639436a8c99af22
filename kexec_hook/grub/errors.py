"""GRUB's error numbers (include/grub/err.h), as `$?` shows them, and the exception that carries one."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kexec_hook.grub.script.source import Span

OK = 0
TEST_FAILURE = 1
BAD_FILE_TYPE = 4
FILE_NOT_FOUND = 5
BAD_FILENAME = 7
UNKNOWN_FS = 8
BAD_NUMBER = 10
OUT_OF_RANGE = 11
UNKNOWN_DEVICE = 12
BAD_DEVICE = 13
UNKNOWN_COMMAND = 16
INVALID_COMMAND = 17
BAD_ARGUMENT = 18
NO_KERNEL = 22
BAD_FONT = 23
NOT_IMPLEMENTED_YET = 24
MENU = 27
SYMLINK_LOOP = 25
IO = 29
ACCESS_DENIED = 30
EXTRACTOR = 31
NET_BAD_ADDRESS = 32
NET_NO_CARD = 36
RECURSION_DEPTH = 47

# What a file system answers GRUB as it answers us: no file, a bad name, no file system, a loop of links.
GRUBS_OWN = (BAD_FILE_TYPE, FILE_NOT_FOUND, BAD_FILENAME, UNKNOWN_FS, UNKNOWN_DEVICE, SYMLINK_LOOP)


class CommandError(Exception):
    """A GRUB command failed: number and message as grub_error(n, message) would set them."""

    def __init__(self, errno: int, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message
        self.span = span


def unknown_device(name: str) -> CommandError:
    """A name without a comma could be a protocol of the network (net/net.c:grub_net_open_real)."""
    return CommandError(
        UNKNOWN_DEVICE if "," in name else NET_BAD_ADDRESS, f"disk `{name}' not found"
    )
