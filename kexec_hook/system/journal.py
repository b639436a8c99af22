"""A line for the journal with fields of its own, in systemd's native protocol; without a journal, for syslog.

Each datagram to the socket is one entry: `NAME=value` lines, or NAME, a newline, 8 bytes of length and the value
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kexec_hook.system.host import Host

SOCKET = "/run/systemd/journal/socket"
INFO, WARNING = 6, 4  # syslog(3)
# `journalctl MESSAGE_ID=...` finds every line of its kind, in any version.
MESSAGE_IDS: Mapping[str, str] = {
    "staged": "e1dd0e91f3e0432784f31e5083b75228",
    "declined": "c6ee006b2b8448b583e8cceec046c048",
    "failed": "1d062eeb98b341d98e767a31a90b62f0",
}


def send(host: Host, message: str, fields: Iterable[tuple[str, str]] = ()) -> None:
    """Best effort, and it never waits.  A directory that stands for a machine has a journal if the socket is there."""
    import socket

    head = [("SYSLOG_IDENTIFIER", "kexec-hook"), ("MESSAGE", message)]
    entry = b"".join(_field(name, value) for name, value in (*head, *fields))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(entry, socket.MSG_DONTWAIT, host.path(SOCKET))
    except OSError:
        if host.root == "/":
            _syslog(message)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _syslog(message: str) -> None:
    import syslog

    syslog.openlog("kexec-hook", 0, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_INFO, message)
