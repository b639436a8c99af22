"""Which files a stamp watches, so that a shell can tell whether anything changed."""

import pytest

from kexec_hook.state.stamp import absent, watched
from kexec_hook.system.sysroot import Identity


def file(mtime: int = 1) -> Identity:
    return Identity("file", 1, 2, 3, mtime)


def test_files_are_watched_with_their_directories() -> None:
    assert watched({"/boot/grub/grub.cfg": file()}) == ["/boot/grub", "/boot/grub/grub.cfg"]


def test_busy_directory_is_not_watched_but_its_file_is() -> None:
    assert watched({"/etc/kexec-hook.conf": file()}) == ["/etc/kexec-hook.conf"]


def test_directory_is_watched_only_where_it_was_listed() -> None:
    reads = {
        "/boot/loader/entries": Identity("dir", 1, 2, 0, 5),
        "/boot/efi": Identity("dir", 1, 2, 0, 0),
    }
    assert watched(reads) == ["/boot", "/boot/loader", "/boot/loader/entries"]


def test_what_was_missing_has_to_stay_missing() -> None:
    reads = {"/boot/grub2/grub.cfg": None, "/etc/kexec-hook.conf": None, "/etc/fstab": file()}
    assert absent(reads) == ["/boot/grub2/grub.cfg", "/etc/kexec-hook.conf"]
    assert "/boot/grub2/grub.cfg" not in watched(reads)


def test_what_was_missing_in_a_watched_directory_changes_its_time() -> None:
    reads = {"/boot/grub/custom.cfg": None, "/boot/grub/grubenv": file()}
    assert watched(reads) == ["/boot/grub", "/boot/grub/grubenv"]
    assert absent(reads) == []


@pytest.mark.parametrize(
    "path", ["/proc/cmdline", "/sys/firmware/efi", "/dev/disk/by-uuid/1-2", "/run/kexec-hook"]
)
def test_what_the_kernel_makes_up_is_not_watched(path: str) -> None:
    assert (watched({path: file()}), absent({path: None})) == ([], [])
