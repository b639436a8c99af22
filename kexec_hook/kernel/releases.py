"""Which of two kernel releases is the newer one?  Strings in, sort keys out."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from kexec_hook.grub.vercmp import Flat, filevercmp_key, number, segments_key, verrev_key

Key = tuple[object, ...]
TailKey = Callable[[str], Key]

# Ubuntu's builds of mainline kernels say the candidate behind their serial number: 6.8.0-060800rc1-generic.
_RELEASE = re.compile(
    r"([0-9]+(?:\.[0-9]+)*)(?:[-.~]?rc([0-9]+)|(?=-[0-9]{6}rc([0-9]+)))?(.*)", re.DOTALL
)


def dpkg_key(version: str) -> Key:
    """The order of `dpkg --compare-versions`.

    version = [ epoch ":" ] upstream [ "-" revision ]: the first ":", where digits stand before it, and the last "-".

    >>> sorted(["1:1.0", "1.0-1+b1", "1.0-1", "1.0~rc1-1"], key=dpkg_key)
    ['1.0~rc1-1', '1.0-1', '1.0-1+b1', '1:1.0']
    """
    epoch, colon, rest = version.partition(":")
    if not (colon and re.fullmatch("[0-9]+", epoch)):
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (
        number(epoch),
        verrev_key(upstream if dash else rest),
        verrev_key(revision if dash else ""),
    )


def rpm_key(version: str) -> Flat:
    """The order of rpmvercmp, which rpm applies to a version or a release: `~` is older than the end, `^` newer.

    >>> sorted(["301.fc41", "60.fc41", "0.rc1.fc41", "301^git.fc41", "301"], key=rpm_key)
    ['0.rc1.fc41', '60.fc41', '301', '301^git.fc41', '301.fc41']
    """
    return segments_key(version, "^")


def sort_v_key(text: str) -> Key:
    """The order of `LC_ALL=C sort -V`, which grub-mkconfig puts kernels in; texts that tie are ordered by bytes."""
    return (filevercmp_key(text), text.encode("utf-8", "surrogateescape"))


def release_key(release: str, tail_key: TailKey) -> Key:
    """The order of kernel releases (`uname -r`): upstream part first, then the distribution's tail by `tail_key`.

    release = upstream tail
    upstream = number { "." number } [ [ "-" | "." | "~" ] "rc" number ], or "rc" number is in the tail of Ubuntu's

    A name that does not start with a number is older than all that do.

    >>> key = lambda release: release_key(release, dpkg_key)
    >>> sorted(["6.8.0-10-amd64", "6.8.0-9-amd64", "6.8-rc2-amd64", "6.10.0-1-amd64", "rescue"], key=key)
    ['rescue', '6.8-rc2-amd64', '6.8.0-9-amd64', '6.8.0-10-amd64', '6.10.0-1-amd64']
    """
    from packaging.version import Version  # 10 ms, and most runs order nothing

    matched = _RELEASE.match(release)
    if matched:
        numbers, *candidates, tail = matched.groups()
        candidate = "".join(f"rc{number}" for number in candidates if number)
        try:
            upstream = Version(numbers + candidate)
        except (
            ValueError
        ):  # InvalidVersion is one too; Python refuses numbers of more than 4300 digits
            pass
        else:
            return (1, upstream, tail_key(tail), release)
    return (0, tail_key(release), release)


def newest(releases: Iterable[str], tail_key: TailKey) -> str | None:
    """The newest of the releases, or None where there are none."""
    return max(releases, key=lambda release: release_key(release, tail_key), default=None)
