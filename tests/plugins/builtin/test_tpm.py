"""A root that a TPM unlocks: would it after a kexec?"""

from __future__ import annotations

import base64
import json
import struct

import pytest

from tests.plugins.builtin.disk import MENUENTRY, Disk

LUKS = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def sealed(disk: Disk) -> Disk:
    """Root is the container /dev/sda3, which systemd's token in its header binds to register 7."""
    mount = "29 1 253:0 / / rw - ext4 /dev/mapper/cryptroot rw\n30 29 8:2 / /boot rw - ext4 /dev/sda2 rw\n"
    disk.write("proc/self/mountinfo", mount)
    disk.write("dev/dm-0")
    disk.link("dev/mapper/cryptroot", "../dm-0")
    disk.link(f"dev/disk/by-uuid/{LUKS}", "../../sda3")
    disk.write("sys/class/block/dm-0/slaves/sda3")
    disk.parameters("root=/dev/mapper/cryptroot")
    disk.config(
        MENUENTRY.replace("/boot/", "/").replace("root=UUID=@UUID@", "root=/dev/mapper/cryptroot")
    )
    luks(disk, {"type": "systemd-tpm2", "tpm2-pcrs": [7]})
    return disk


def luks(disk: Disk, *tokens: object, text: str | None = None) -> None:
    area = (
        text or json.dumps({"tokens": {str(n): token for n, token in enumerate(tokens)}})
    ).encode()
    head = b"LUKS\xba\xbe" + struct.pack(">HQ", 2, 16384)
    disk.write("dev/sda3", head.ljust(4096, b"\0") + area.ljust(12288, b"\0") + b"\xff" * 4096)


def clevis(config: object) -> dict[str, object]:
    protected = (
        base64.urlsafe_b64encode(json.dumps({"clevis": config}).encode()).decode().rstrip("=")
    )
    return {"type": "clevis", "jwe": {"protected": protected}}


def bound(registers: str) -> str:
    return (
        f"/dev/sda3 is unlocked by a TPM that checks PCRs {registers}: after a kexec they differ, "
        "and the boot would stop at the prompt for a passphrase; "
        "bind it to PCR 7 alone, or set `allow_tpm = yes` in /etc/kexec-hook.conf"
    )


def test_a_root_bound_to_register_7_alone(sealed: Disk) -> None:
    assert sealed.reasons() == []


@pytest.mark.parametrize(
    ("tokens", "registers"),
    [
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [0, 7]}], "0+7"),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [], "tpm2_pubkey_pcrs": [11]}], "11"),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": [7], "tpm2_pcrlock": True}], "pcrlock"),
        (
            [
                {"type": "systemd-tpm2", "tpm2-pcrs": [4]},
                {"type": "systemd-tpm2", "tpm2-pcrs": [7]},
            ],
            "",
        ),
        ([{"type": "systemd-tpm2", "tpm2-pcrs": []}], ""),
        ([{"type": "systemd-recovery"}], ""),
        ([clevis({"pin": "tpm2", "tpm2": {"pcr_bank": "sha256", "pcr_ids": "1,7"}})], "1+7"),
        ([clevis({"pin": "tpm2", "tpm2": {"pcr_ids": "7"}})], ""),
        ([clevis({"pin": "tpm2", "tpm2": {}})], ""),
        ([clevis({"pin": "tang", "tang": {}})], ""),
        ([{"type": "clevis"}], "?"),
    ],
)
def test_the_tokens_of_a_container_tell(sealed: Disk, tokens: list[object], registers: str) -> None:
    luks(sealed, *tokens)
    assert sealed.reasons() == ([bound(registers)] if registers else [])


def test_a_header_that_is_not_understood(sealed: Disk) -> None:
    luks(sealed, text="{")
    assert sealed.reasons() == [bound("?")]
    sealed.write("dev/sda3", b"LUKS\xba\xbe\0\1".ljust(4096, b"\0"))
    assert sealed.reasons() == []


@pytest.mark.parametrize(
    ("options", "registers"),
    [
        ("luks,discard", ""),
        ("tpm2-device=auto", ""),
        ("tpm2-device=auto,tpm2-pcrs=0+7:sha256", "0+7"),
        ("tpm2-device=auto,tpm2-pcrs=7:sha256", ""),
        ("tpm2-device=auto,tpm2-pcrs=secure-boot-policy", ""),
        ("tpm2-device=auto,tpm2-pcrs=", ""),
    ],
)
def test_crypttab_tells(sealed: Disk, options: str, registers: str) -> None:
    sealed.write(
        "etc/crypttab", f"# name device key options\ncryptroot UUID={LUKS} none {options}\n"
    )
    sealed.write(
        "etc/crypttab",
        (sealed.root / "etc/crypttab").read_text() + "home /dev/sda9 none tpm2-device=auto\n",
    )
    assert sealed.reasons() == ([bound(registers)] if registers else [])


def test_crypttab_of_a_root_without_its_devices(sealed: Disk) -> None:
    """A logical volume in a tree without /sys: any container may be below it; one without a header says nothing."""
    (sealed.root / "sys/class/block/dm-0/slaves/sda3").unlink()
    (sealed.root / "dev/sda3").unlink()
    sealed.write("etc/crypttab", f"pv UUID={LUKS} none tpm2-device=auto\n")
    assert sealed.reasons() == [bound("?")]


def test_the_command_line_tells(sealed: Disk) -> None:
    sealed.write("etc/crypttab", f"cryptroot UUID={LUKS} none luks\n")
    words = "root=/dev/mapper/cryptroot rd.luks.options=tpm2-device=auto,tpm2-pcrs=9"
    sealed.config(MENUENTRY.replace("/boot/", "/").replace("root=UUID=@UUID@", words))
    assert sealed.reasons() == [bound("9")]
    sealed.config(
        MENUENTRY.replace("/boot/", "/").replace(
            "root=UUID=@UUID@", words.replace("=tpm2", f"={LUKS}=tpm2", 1)
        )
    )
    assert sealed.reasons() == [bound("9")]


def test_allow_tpm_allows_it(sealed: Disk) -> None:
    luks(sealed, {"type": "systemd-tpm2", "tpm2-pcrs": [0]})
    assert sealed.reasons() == [bound("0")]
    sealed.write("etc/kexec-hook.conf", "allow_tpm = yes\n")
    assert sealed.reasons() == []
