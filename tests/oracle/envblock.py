"""Variables of an environment block, read as GRUB's lib/envblk.c reads them, independently of kexec-hook."""

from __future__ import annotations

SIGNATURE = b"# GRUB Environment Block\n"


def variables(block: bytes) -> dict[str, str] | None:
    """Names and values in order; None where GRUB refuses the block."""
    if not block.startswith(SIGNATURE):
        return None
    found: dict[str, str] = {}
    position = len(SIGNATURE)
    size = len(block)
    while position < size:
        if block[position : position + 1] == b"#":
            end = block.find(b"\n", position)
            position = size if end < 0 else end + 1
            continue
        equals = block.find(b"=", position)
        if equals < 0:
            break
        name = block[position:equals]
        position = equals + 1
        value = bytearray()
        while position < size and block[position : position + 1] != b"\n":
            if block[position : position + 1] == b"\\":
                position += 1
            value += block[position : position + 1]
            position += 1
        if position >= size:
            break  # a value that the block's end cuts off is not there (grub_envblk_iterate)
        found[name.decode("utf-8", "surrogateescape")] = bytes(value).decode(
            "utf-8", "surrogateescape"
        )
        position += 1
    return found
