"""Kernels that were revoked: shim would not let GRUB start them, whatever kexec thinks of them."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import pytest

from kexec_hook.kernel.signed import digest, read_program
from tests.kernel.test_images import Bytes
from tests.machine import Box
from tests.plugins.builtin.test_host import notes, reasons

KERNEL = "boot/vmlinuz-6.1.0-39-amd64"
EFIVARS = "sys/firmware/efi/efivars"
GLOBAL, SHIM = "8be4df61-93ca-11d2-aa0d-00e098032b8c", "605dab50-e046-4300-abb6-3dd810dd8b23"
DBX = f"{EFIVARS}/dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
MOK = f"{EFIVARS}/MokListXRT-{SHIM}"
SBAT = f"{EFIVARS}/SbatLevelRT-{SHIM}"
# UEFI 2.10, 32.4.1: GUIDs, the first three parts with their least byte first
SHA256 = struct.pack("<IHH", 0xC1C41626, 0x504C, 0x4092) + bytes.fromhex("aca941f936934328")
SHA1 = struct.pack("<IHH", 0x826CA512, 0xCF10, 0x4AC9) + bytes.fromhex("b187be01496631bd")
X509 = struct.pack("<IHH", 0xA5C059A1, 0x94E4, 0x4AA7) + bytes.fromhex("87b5ab155c2bf072")
REVOKED = f"/{KERNEL} was revoked, and GRUB would not be allowed to start it under Secure Boot: "


def der(tag: int, *parts: bytes) -> bytes:
    """X.690: tag, length, value."""
    data = b"".join(parts)
    if len(data) < 128:
        return bytes([tag, len(data)]) + data
    size = (len(data).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(data).to_bytes(size, "big") + data


def name(text: str) -> bytes:
    attribute = der(0x30, b"\x06\x03\x55\x04\x03", der(0x0C, text.encode()))
    return der(0x30, der(0x31, attribute))


def certificate(
    subject: str, issuer: str, serial: int, key: bytes = b"", above: bytes = b""
) -> bytes:
    """RFC 5280, 4.1; with the identifiers of its key and of its issuer's, where they are given."""
    extensions = [
        *([der(0x30, b"\x06\x03\x55\x1d\x0e", der(4, der(4, key)))] if key else []),
        *(
            [der(0x30, b"\x06\x03\x55\x1d\x23", der(4, der(0x30, der(0x80, above))))]
            if above
            else []
        ),
    ]
    signed = der(
        0x30,
        der(0xA0, der(2, b"\2")),
        der(2, bytes([serial])),
        der(0x30, b"\x05\0"),
        name(issuer),
        der(0x30),
        name(subject),
        der(0x30, b"key of " + subject.encode()),
        der(0xA3, der(0x30, *extensions)),
    )
    return der(0x30, signed, der(0x30), der(3, b"signature"))


CA = certificate("Distribution CA", "Distribution CA", 1, key=b"ca-key-one", above=b"ca-key-one")
SIGNER = certificate("Kernel signer", "Distribution CA", 7, above=b"ca-key-one")
OTHER = certificate("Another", "Another CA", 9)


def pkcs7(serial: int, issuer: str, *certificates: bytes) -> bytes:
    """RFC 2315, 9.1"""
    signer = der(0x30, der(2, b"\1"), der(0x30, name(issuer), der(2, bytes([serial]))))
    content = der(
        0x30, der(2, b"\1"), der(0x31), der(0x30), der(0xA0, *certificates), der(0x31, signer)
    )
    return der(0x30, b"\x06\x01\x02", der(0xA0, content))


BY_SIGNER = pkcs7(7, "Distribution CA", SIGNER)


def kernel(*signatures: bytes, sbat: bytes = b"") -> bytes:
    """A bzImage: headers of 2 KiB, .text, .sbat where there is one, and behind these the signatures."""
    head = bytearray(2048)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x40)
    sections = [(b".text", b"\xaa" * 3072), *([(b".sbat", sbat.ljust(512, b"\0"))] if sbat else [])]
    table = b"".join(
        struct.pack("<8sIIIIIIHHI", kind, len(body), at, len(body), at, 0, 0, 0, 0, 0)
        for at, (kind, body) in zip((2048, 2048 + 3072), sections)
    )
    end = 2048 + sum(len(body) for _, body in sections)
    entries = b""
    for one in signatures:
        entry = struct.pack("<IHH", len(one) + 8, 0x200, 2) + one
        entries += entry + b"\0" * (-len(entry) % 8)
    optional = bytearray(112 + 16 * 8)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 60, 2048)
    struct.pack_into("<I", optional, 64, 0xC0FFEE)  # the checksum
    struct.pack_into("<I", optional, 108, 16)
    struct.pack_into("<II", optional, 112 + 4 * 8, end if entries else 0, len(entries))
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, len(optional), 0)
    pe = b"PE\0\0" + coff + optional + table
    head[0x40 : 0x40 + len(pe)] = pe
    struct.pack_into("<BHI", head, 0x1F1, 3, 1, (end - 2048) // 16)
    head[0x1FE:0x206] = b"\x55\xaa\xeb\x6aHdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<H", head, 0x236, 0x3F)
    struct.pack_into("<I", head, 0x238, 2047)
    return bytes(head) + b"".join(body for _, body in sections) + entries


def hashed(data: bytes, algorithm: str = "sha256") -> bytes:
    """All but the checksum, the directory's entry and what it names."""
    start = 0x40 + 24
    entry = start + 112 + 4 * 8
    size = struct.unpack_from("<I", data, entry + 4)[0]
    covered = data[: start + 64] + data[start + 68 : entry] + data[entry + 8 : len(data) - size]
    return hashlib.new(algorithm, covered).digest()


def listed(kind: bytes, *values: bytes) -> bytes:
    each = 16 + len(values[0])
    return (
        kind
        + struct.pack("<III", 28 + each * len(values), 0, each)
        + b"".join(bytes(16) + one for one in values)
    )


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path)
    box.write(f"{EFIVARS}/SecureBoot-{GLOBAL}", b"\6\0\0\0\1")
    box.write(KERNEL, kernel(BY_SIGNER))
    return box


def put(box: Box, path: str, value: bytes) -> None:
    box.write(path, b"\x26\0\0\0" + value)


def why(box: Box) -> list[str]:
    found = [reason for reason in reasons(box) if "revoked" in reason]
    return [reason.removeprefix(REVOKED).partition(";")[0] for reason in found]


def test_the_hash_is_of_what_is_signed() -> None:
    for data in (
        kernel(),
        kernel(BY_SIGNER),
        kernel(BY_SIGNER, sbat=b"sbat,1\n"),
        kernel() + b"behind it",
    ):
        file = Bytes(data)
        program = read_program(file)
        assert program
        assert digest(file, program, "sha256") == hashed(data)


@pytest.mark.parametrize("path", [DBX, MOK])
@pytest.mark.parametrize(("kind", "algorithm"), [(SHA256, "sha256"), (SHA1, "sha1")])
def test_a_hash_that_was_revoked(box: Box, path: str, kind: bytes, algorithm: str) -> None:
    mine, other = hashed(kernel(BY_SIGNER), algorithm), hashed(b"x" * 500, algorithm)
    put(box, path, listed(X509, OTHER) + listed(kind, other))
    assert why(box) == []
    put(box, path, listed(X509, OTHER) + listed(kind, other, mine))
    assert why(box) == [f"{'dbx' if path == DBX else 'MokListX'} has its hash"]
    assert box.run("stage") == 3


def test_in_a_packed_kernel_that_counts_which_grub_unpacks(box: Box) -> None:
    put(box, DBX, listed(SHA256, hashed(kernel(BY_SIGNER))))
    box.write(KERNEL, gzip.compress(kernel(BY_SIGNER)))
    assert why(box) == ["dbx has its hash"]
    box.write(KERNEL, gzip.compress(kernel(BY_SIGNER))[:-9])
    assert why(box) == []  # builtin/files.py objects


@pytest.mark.parametrize("bad", [SIGNER, CA], ids=["the signer", "its CA"])
def test_a_certificate_that_was_revoked(box: Box, bad: bytes) -> None:
    put(box, DBX, listed(SHA256, bytes(32)) + listed(X509, OTHER) + listed(X509, bad))
    assert why(box) == ["dbx has the certificate that it is signed by"]
    put(box, DBX, listed(X509, OTHER))
    assert why(box) == []


def test_a_ca_of_the_same_name_with_another_key_is_another(box: Box) -> None:
    put(
        box,
        DBX,
        listed(X509, certificate("Distribution CA", "Distribution CA", 2, key=b"ca-key-two")),
    )
    assert why(box) == []


def test_one_signature_that_stands_is_enough(box: Box) -> None:
    put(box, DBX, listed(X509, SIGNER))
    box.write(KERNEL, kernel(BY_SIGNER, pkcs7(9, "Another CA", OTHER)))
    assert why(box) == []


def test_who_signed_is_known_without_the_certificate(box: Box) -> None:
    box.write(KERNEL, kernel(pkcs7(7, "Distribution CA")))
    put(box, DBX, listed(X509, SIGNER))
    assert why(box) == ["dbx has the certificate that it is signed by"]


@pytest.mark.parametrize(
    ("section", "level", "reason"),
    [
        ("linux,1,x", "sbat,1,2024\nlinux,2\n", "linux 1, and 2 is"),
        ("linux,2,x", "sbat,1,2024\nlinux,2\n", ""),
        ("linux,3,x", "sbat,1,2024\nlinux,2\n", ""),
        ("linux,1,x", "sbat,1,2024\ngrub,4\n", ""),
        ("linux,9,x\nlinux.debian,1,x", "sbat,1\nlinux.debian,10\n", "linux.debian 1, and 10 is"),
        ("", "sbat,1,2024\nlinux,2\n", ""),  # a kernel needs none
    ],
)
def test_a_generation_below_the_least(box: Box, section: str, level: str, reason: str) -> None:
    sbat = f"sbat,1,SBAT Version,sbat,1,url\n{section}\n".encode() if section else b""
    box.write(KERNEL, kernel(BY_SIGNER, sbat=sbat))
    put(box, SBAT, level.encode())
    expected = f"its SBAT section has {reason} the least that is allowed (SbatLevel)"
    assert why(box) == ([expected] if reason else [])


def test_variables_that_are_too_large_are_found_where_they_are_whole(box: Box) -> None:
    box.write(
        "sys/firmware/efi/mok-variables/MokListXRT", listed(SHA256, hashed(kernel(BY_SIGNER)))
    )
    assert why(box) == ["MokListX has its hash"]


def test_nobody_asks_where_nobody_checks(box: Box) -> None:
    put(box, DBX, listed(SHA256, hashed(kernel(BY_SIGNER))))
    assert why(box)
    put(box, f"{EFIVARS}/MokSBStateRT-{SHIM}", b"\1")
    assert why(box) == []
    (box / f"{EFIVARS}/MokSBStateRT-{SHIM}").unlink()
    put(box, f"{EFIVARS}/SecureBoot-{GLOBAL}", b"\0")
    assert why(box) == []


def test_a_list_that_cannot_be_read_is_noted_and_the_others_count(box: Box) -> None:
    (box / DBX).mkdir(parents=True)
    unknown = "whether the kernel was revoked is not known ("
    assert why(box) == []
    (note,) = (note for note in notes(box) if "revoked" in note)
    assert note.startswith(unknown)
    assert "/dbx-d719b2cb" in note
    put(box, MOK, listed(SHA256, hashed(kernel(BY_SIGNER))))
    assert why(box) == ["MokListX has its hash"]
    put(box, f"{EFIVARS}/SecureBoot-{GLOBAL}", b"\0")
    assert not any("revoked" in note for note in notes(box))


def test_torn_lists_and_signatures_revoke_nothing_else(box: Box) -> None:
    whole = listed(X509, OTHER) + listed(SHA256, hashed(kernel(BY_SIGNER)))
    for size in range(0, len(whole), 7):
        put(box, DBX, whole[:size])
        assert why(box) == []
    put(box, DBX, listed(X509, SIGNER))
    for size in range(0, len(BY_SIGNER), 5):
        box.write(KERNEL, kernel(BY_SIGNER[:size]))
        assert why(box) == []
