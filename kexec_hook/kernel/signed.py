"""What an EFI program says of itself: the hash that is signed, by whom it is signed, and its generations (SBAT).

Windows Authenticode Portable Executable Signature Format 1.0; PE/COFF; X.690 for DER; shim's SBAT.md.  No signature is
verified here: that is for the firmware, shim and the kernel.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

from kexec_hook.kernel.images import Damaged, Pieces, little_endian
from kexec_hook.tuples import NamedTuple

_CHUNK = 1 << 20
_SECTIONS = 96  # the most that the format allows
_LIMIT = 1 << 20  # bytes of certificates, and of an .sbat section
_PKCS7 = 2  # WIN_CERT_TYPE_PKCS_SIGNED_DATA
_SEQUENCE, _SET, _INTEGER, _FIRST = 0x30, 0x31, 0x02, 0xA0
_KEY_ID, _ISSUERS_KEY_ID = b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x23"  # RFC 5280, 4.2.1


class Program(NamedTuple):
    """Where in the file things are, in bytes."""

    checksum: int
    directory: int  # of the certificates, 8 bytes
    headers: int  # how long they are
    sections: tuple[tuple[str, int, int], ...]  # name, start, size
    certificates: tuple[int, int]  # start, size


class Certificate(NamedTuple):
    """The parts that tell whose it is, as they are encoded."""

    whole: bytes
    serial: bytes
    issuer: bytes
    subject: bytes

    def may_have_issued(self, other: Certificate) -> bool:
        """By name, and by the key's identifier where both have one."""
        if self.subject != other.issuer:
            return False
        at = self.whole.find(_KEY_ID)
        if at < 0 or _ISSUERS_KEY_ID not in other.whole:
            return True
        _, start, end = _value(self.whole, at + len(_KEY_ID))  # an octet string in an octet string
        _, start, end = _value(self.whole, start)
        return self.whole[start:end] in other.whole


def read_program(file: Pieces) -> Program | None:
    """None where it is no EFI program.  Damaged where its headers are cut off."""
    start = little_endian(file.at(0x3C, 4), 0, 4)
    head = file.at(start, 24 + 240)
    if file.at(0, 2) != b"MZ" or head[:4] != b"PE\0\0":
        return None
    count, optional = little_endian(head, 6, 2), little_endian(head, 20, 2)
    directories = 24 + (112 if little_endian(head, 24, 2) == 0x20B else 96)
    place = directories + 4 * 8
    table = file.at(start + 24 + optional, 40 * min(count, _SECTIONS))
    sections = tuple(
        (
            table[at : at + 8].rstrip(b"\0").decode("ascii", "replace"),
            little_endian(table, at + 20, 4),
            little_endian(table, at + 16, 4),
        )
        for at in range(0, len(table) - 39, 40)
    )
    known = little_endian(head, directories - 4, 4) > 4
    certificates = (little_endian(head, place, 4), little_endian(head, place + 4, 4))
    if known and sum(certificates) > file.size:
        raise Damaged("is cut off: its signature ends behind the file")
    return Program(
        start + 24 + 64,
        start + place,
        little_endian(head, 24 + 60, 4),
        sections,
        certificates if known else (0, 0),
    )


def digest(file: Pieces, program: Program, algorithm: str) -> bytes:
    """The hash that is signed: of all but the checksum and the certificates, sections in the order of the file."""
    import hashlib

    state = hashlib.new(algorithm)  # SHA-1 stands in lists of revoked hashes, too
    for start, end in _hashed(file, program):
        while start < end:
            piece = file.at(start, min(_CHUNK, end - start))
            if not piece:
                raise Damaged("is shorter than its headers say")
            state.update(piece)
            start += len(piece)
    return state.digest()


def _hashed(file: Pieces, program: Program) -> Iterator[tuple[int, int]]:
    yield 0, program.checksum
    yield program.checksum + 4, program.directory
    yield program.directory + 8, program.headers
    done = program.headers
    for start, size in sorted((start, size) for _, start, size in program.sections if size):
        yield start, start + size
        done += size
    yield done, max(done, file.size - program.certificates[1])


def generations(file: Pieces, program: Program) -> dict[str, int]:
    """What its .sbat section says: components and their generations; none where it has no such section."""
    for name, start, size in program.sections:
        if name == ".sbat":
            return parse_generations(file.at(start, min(size, _LIMIT)))
    return {}


def parse_generations(text: bytes) -> dict[str, int]:
    """component,generation[,...]: an .sbat section, or SbatLevel, which says what is the least."""
    found = {}
    for line in text.split(b"\0")[0].decode("ascii", "replace").splitlines():
        component, comma, rest = line.partition(",")
        number = rest.partition(",")[0].strip()
        if comma and number.isascii() and number.isdigit():
            found[component.strip()] = int(number)
    return found


def signatures(file: Pieces, program: Program) -> list[list[Certificate]]:
    """For each signature the certificate of who signed, and those above it as far as they come along."""
    start, size = program.certificates
    data = file.at(start, min(size, _LIMIT))
    found, at = [], 0
    while at + 8 <= len(data):
        length, kind = little_endian(data, at, 4), little_endian(data, at + 6, 2)
        if length < 8:
            break
        if kind == _PKCS7:
            found.append(_signers(data[at + 8 : at + length]))
        at += length + -length % 8
    return found


def parse_certificate(data: bytes) -> Certificate | None:
    """None where it is not an X.509 certificate."""
    try:
        _, start, end = _value(data, 0)
        signed = _children(data[start:end])[0]
        _, start, end = _value(signed, 0)
        parts = _children(signed[start:end])
    except (IndexError, ValueError):
        return None
    if parts and parts[0][0] == _FIRST:  # the version
        del parts[0]
    # serial number, algorithm, issuer, validity, subject: RFC 5280, 4.1
    return Certificate(data, parts[0], parts[2], parts[4]) if len(parts) >= 5 else None


def _signers(pkcs7: bytes) -> list[Certificate]:
    """RFC 2315, 9.1: version, algorithms, content, certificates [0], signers."""
    try:
        content = _inside(pkcs7)
        signed = _inside(_inside_of(content[1]))
        known = [
            found
            for part in signed
            if part[0] == _FIRST
            for one in _inside_of_all(part)
            if (found := parse_certificate(one))
        ]
        signer = _inside(_inside_of_all(signed[-1])[0])
        issuer, serial = _inside(signer[1])[:2]
    except (IndexError, ValueError):
        return []
    mine = [one for one in known if (one.issuer, one.serial) == (issuer, serial)]
    chain = mine or [Certificate(b"", serial, issuer, b"")]
    while len(chain) <= len(known):
        above = [one for one in known if one not in chain and one.may_have_issued(chain[-1])]
        if not above:
            break
        chain.append(above[0])
    return chain


def _inside(data: bytes) -> list[bytes]:
    """The elements of a sequence."""
    kind, start, end = _value(data, 0)
    if kind != _SEQUENCE:
        raise ValueError
    return _children(data[start:end])


def _inside_of(data: bytes) -> bytes:
    _, start, end = _value(data, 0)
    return data[start:end]


def _inside_of_all(data: bytes) -> list[bytes]:
    return _children(_inside_of(data))


def _children(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        _, _, end = _value(data, at)
        found.append(data[at:end])
        at = end
    return found


def _value(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of a value in DER.  ValueError where it is cut off"""
    if at + 2 > len(data):
        raise ValueError
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise ValueError
    return tag, start, start + length
