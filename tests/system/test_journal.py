"""The journal: what it is sent, when nobody listens, and that nobody is waited for."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kexec_hook.system.journal import MESSAGE_IDS, SOCKET, send
from tests.machine import PROJECT, Box


@pytest.fixture
def box() -> Iterator[Box]:
    """Where a socket's name is short enough."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Box(Path(directory))


@pytest.fixture
def journal(box: Box) -> Iterator[socket.socket]:
    path = box / SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(path))
        found.setblocking(False)
        yield found


def entries(journal: socket.socket) -> list[dict[str, list[str]]]:
    """As systemd reads them."""
    found: list[dict[str, list[str]]] = []
    while True:
        try:
            data = journal.recv(1 << 20)
        except BlockingIOError:
            return found
        fields: dict[str, list[str]] = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size = int.from_bytes(data[:8], "little")
                value, data = data[8 : 8 + size], data[8 + size + 1 :]
            fields.setdefault(name.decode(), []).append(value.decode("utf-8", "surrogateescape"))
        found.append(fields)


def test_staging_is_an_entry_with_fields(box: Box, journal: socket.socket) -> None:
    assert box.run("run", "--source=apt") == 0
    (entry,) = entries(journal)
    assert entry["MESSAGE"][0].startswith("apt: next reboot: kexec into Debian GNU/Linux")
    assert entry["MESSAGE_ID"] == [MESSAGE_IDS["staged"]]
    assert entry["KEXEC_HOOK_OUTCOME"] == ["staged"]
    assert entry["KEXEC_HOOK_SOURCE"] == ["apt"]
    assert entry["KEXEC_HOOK_RELEASE"] == ["6.1.0-39-amd64"]
    assert entry["PRIORITY"] == ["6"]
    assert "KEXEC_HOOK_CODE" not in entry


def test_each_reason_is_a_code(box: Box, journal: socket.socket) -> None:
    (box / "boot/initrd.img-6.1.0-39-amd64").unlink()
    (box.lib / "active").write_text("inactive\n")
    assert box.run("stage", "-q") == 3
    (entry,) = entries(journal)
    assert {"initrd-missing", "unit-inactive"} <= set(entry["KEXEC_HOOK_CODE"])
    assert entry["MESSAGE_ID"] == [MESSAGE_IDS["declined"]]
    assert entry["PRIORITY"] == ["4"]


def test_shutdown_that_is_no_kexec_says_why_by_its_codes(box: Box, journal: socket.socket) -> None:
    assert box.run("stage", "-q") == 0
    (box / "boot/initrd.img-6.1.0-39-amd64").unlink()
    (box.lib / "jobs").write_text("1 reboot.target start waiting\n")
    box.run("finalize")
    *_, entry = entries(journal)
    assert "initrd-missing" in entry["KEXEC_HOOK_CODE"]
    assert entry["MESSAGE"][0].startswith("not approved: initrd-missing")


def test_value_of_several_lines_stays_whole(box: Box, journal: socket.socket) -> None:
    send(box.host, "one\ntwo", [("KEXEC_HOOK_X", "a=b\udcff")])
    assert entries(journal) == [
        {
            "SYSLOG_IDENTIFIER": ["kexec-hook"],
            "MESSAGE": ["one\ntwo"],
            "KEXEC_HOOK_X": ["a=b\udcff"],
        }
    ]


def test_journal_that_does_not_read_is_not_waited_for(box: Box, journal: socket.socket) -> None:
    for _ in range(2000):  # more than the socket holds
        send(box.host, "x" * 100)
    assert 0 < len(entries(journal)) < 2000


def test_without_a_journal_it_runs_all_the_same(box: Box) -> None:
    assert box.run("run", "--source=apt") == 0
    assert box.loaded


def test_message_ids_are_ids_and_differ() -> None:
    ids = list(MESSAGE_IDS.values())
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len(ids)


def test_fields_and_ids_are_documented(box: Box, journal: socket.socket) -> None:
    box.run("run", "--source=apt")
    (box / "boot/initrd.img-6.1.0-39-amd64").unlink()
    box.run("stage", "-q")
    chapter = (PROJECT / "docs/json.md").read_text().partition("## The journal")[2]
    fields = {name for entry in entries(journal) for name in entry} - {"MESSAGE"}
    assert [name for name in fields - {"SYSLOG_IDENTIFIER"} if f"`{name}`" not in chapter] == []
    assert [one for one in MESSAGE_IDS.values() if f"`{one}`" not in chapter] == []
