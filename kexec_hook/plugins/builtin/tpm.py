"""Is the root file system unlocked by a TPM whose registers (PCRs) differ after a kexec?"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Objection
from kexec_hook.plugins.builtin.files import BY, parameter, table
from kexec_hook.system.sysroot import Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def objections(decision: Decision) -> Iterator[Objection]:
    """A jump leaves the TPM's registers as they are, and systemd extends some of them once more."""
    if decision.settings.allow_tpm.value:
        return
    mount = decision.disks.mounts.at("/")
    if mount is None or not mount.source.startswith(("/dev/mapper/", "/dev/dm-")):
        return
    for device, registers in _tpm_bound(decision, mount.source):
        if set(registers) - {"7"}:
            yield Objection(
                f"{device} is unlocked by a TPM that checks PCRs {'+'.join(registers)}: after a kexec they differ, "
                "and the boot would stop at the prompt for a passphrase",
                code="tpm",
                fix="bind it to PCR 7 alone, or set `allow_tpm = yes` in /etc/kexec-hook.conf",
            )


def _tpm_bound(decision: Decision, root: str) -> Iterator[tuple[str, list[str]]]:
    """What the TPM unlocks below the root file system, and the registers it is bound to; ? where they are not known."""
    sysroot = decision.sysroot.unnoted  # the times of device nodes say nothing
    below = {f"/dev/{node}" for node in _below(sysroot, sysroot.resolve(root).rpartition("/")[2])}
    table = list(_crypttab(decision))
    mine = [
        line
        for line in table
        if f"/dev/mapper/{line[0]}" == root or sysroot.resolve(line[1]) in below
    ]
    for _, device, options in mine or (
        [] if below else table
    ):  # a logical volume in a root without /sys: any of them
        device = sysroot.resolve(device)
        below.discard(device)
        bound = [*_options(options), *_options(parameter(decision, "rd.luks.options") or "")]
        if any(key == "tpm2-device" for key, _ in bound):
            given = next((value for key, value in bound if key == "tpm2-pcrs"), None)
            found = _tokens(sysroot, device) if given is None else _registers(given)
            yield device, ["?"] if found is None else found
    for device in sorted(below):
        yield device, _tokens(sysroot, device) or []


def _below(sysroot: Sysroot, node: str) -> set[str]:
    """The devices that a device is made of, down to the disks."""
    found = set()
    for slave in sysroot.listdir(f"/sys/class/block/{node}/slaves"):
        found |= {slave} | _below(sysroot, slave)
    return found


def _crypttab(decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Name, device and options: crypttab(5)."""
    for fields in table(decision.sysroot, "/etc/crypttab"):
        if len(fields) >= 4:
            kind, equals, value = fields[1].partition("=")
            device = f"/dev/disk/by-{BY[kind]}/{value}" if equals and kind in BY else fields[1]
            yield fields[0], device, fields[3]


def _options(text: str) -> Iterator[tuple[str, str]]:
    for option in (
        text.partition("=")[2].split(",") if re.match("[0-9a-f-]{36}=", text) else text.split(",")
    ):
        key, _, value = option.partition("=")
        yield key, value


def _tokens(sysroot: Sysroot, device: str) -> list[str] | None:
    """The TPM's registers in the header of a LUKS 2 container, systemd's and clevis'; None where it tells of no TPM.

    LUKS2 On-Disk Format Specification 1.1.2, chapters 2 and 3.4; systemd-cryptenroll(1), clevis-encrypt-tpm2(1).
    """
    import json

    try:
        with sysroot.window(device, block=True) as file:
            head = file.at(0, 4096)
            if head[:8] != b"LUKS\xba\xbe\0\2":
                return None
            text = file.at(4096, min(int.from_bytes(head[8:16], "big"), 4 << 20) - 4096).split(
                b"\0"
            )[0]
        found = [_token(token) for token in json.loads(text)["tokens"].values()]
    except SysrootError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["?"]
    # one token that a jump leaves alone is enough to unlock it
    bound = [registers for registers in found if registers is not None]
    return min(bound, key=lambda registers: len(set(registers) - {"7"}), default=None)


def _token(token: dict[str, Any]) -> list[str] | None:
    """The registers of one token; None where it is not about a TPM."""
    if token.get("type") == "systemd-tpm2":
        if token.get("tpm2_pcrlock"):
            return ["pcrlock"]
        return [*map(str, token.get("tpm2-pcrs", [])), *map(str, token.get("tpm2_pubkey_pcrs", []))]
    if token.get("type") == "clevis":
        import base64
        import json

        protected = token["jwe"]["protected"]
        clevis = json.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))[
            "clevis"
        ]
        if clevis["pin"] == "tpm2":
            return _registers(str(clevis["tpm2"].get("pcr_ids", "")).replace(",", "+"))
    return None


def _registers(text: str) -> list[str]:
    """0+7:sha256 -> 0, 7"""
    names = (word.partition(":")[0].strip() for word in text.split("+"))
    return ["7" if name == "secure-boot-policy" else name for name in names if name]
