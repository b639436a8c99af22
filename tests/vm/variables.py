"""UEFI variables in the file of OVMF's flash: from here come those that no running system may write.

edk2, MdeModulePkg/Include/Guid/VariableFormat.h: a firmware volume's header, VARIABLE_STORE_HEADER, then variables, each
at a multiple of four: AUTHENTICATED_VARIABLE_HEADER, name (UTF-16, with its zero), data.
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

SHIM = uuid.UUID("605dab50-e046-4300-abb6-3dd810dd8b23")
SECURITY = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")  # of db and dbx
# NON_VOLATILE, BOOTSERVICE_ACCESS; RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS
HIDDEN, SIGNED = 0x3, 0x27
X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")

_START, _ADDED, _DELETED = 0x55AA, 0x3F, 0x3C
# start, state, reserved, attributes, count, time, key; sizes of name and data; vendor
_HEADER = struct.Struct("<HBBIQ16sIII16s")


def put(store: Path, name: str, vendor: uuid.UUID, attributes: int, data: bytes) -> None:
    """Set a variable; one of this name goes."""
    image = bytearray(store.read_bytes())
    at = int.from_bytes(image[48:50], "little") + 28
    while int.from_bytes(image[at : at + 2], "little") == _START:
        *_, name_size, data_size, of = _HEADER.unpack_from(image, at)
        end = at + _HEADER.size + name_size
        if (image[at + _HEADER.size : end].decode("utf-16-le"), of) == (
            f"{name}\0",
            vendor.bytes_le,
        ):
            image[at + 2] &= _DELETED
        at = end + data_size
        at += -at % 4
    words = f"{name}\0".encode("utf-16-le")
    header = (_START, _ADDED, 0, attributes, 0, b"", 0, len(words), len(data), vendor.bytes_le)
    added = _HEADER.pack(*header) + words + data
    assert set(image[at : at + len(added)]) == {0xFF}, "there is room"
    image[at : at + len(added)] = added
    store.write_bytes(image)


def signature_list(kind: uuid.UUID, entry: bytes) -> bytes:
    """EFI_SIGNATURE_LIST of one entry."""
    size = 16 + len(entry)
    return kind.bytes_le + struct.pack("<III", 28 + size, 0, size) + SHIM.bytes_le + entry
