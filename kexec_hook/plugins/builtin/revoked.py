"""Would GRUB be refused this kernel under Secure Boot, since it was revoked?  kexec does not ask all that shim asks.

shim 16: check_denylist() in shim.c, verify_sbat_section() in sbat.c; GRUB's kern/efi/sb.c calls it for each kernel.
A signature list is UEFI 2.10, 32.4.1: kind 16, sizes of all, of a header and of an entry, 4 each; an entry is who put
it there, 16, and a hash or a certificate.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.kernel import signed
from kexec_hook.kernel.images import Damaged, Pieces, unpacked
from kexec_hook.kernel.unified import path_of
from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.plugins.builtin.fixes import another_entry
from kexec_hook.system import efi
from kexec_hook.system.sysroot import MissingError, NotPermittedError, Sysroot, SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"  # EFI_IMAGE_SECURITY_DATABASE_GUID
# The copies of its own variables that shim leaves for the system; where they are too large for one, it is here whole.
_MOK = "/sys/firmware/efi/mok-variables"
_LIMIT = 1 << 20
# GUIDs as they lie in memory: c1c41626-504c-..., 826ca512-cf10-..., a5c059a1-94e4-...
_HASHES = {
    bytes.fromhex("2616c4c14c509240aca941f936934328"): "sha256",
    bytes.fromhex("12a56c8210cfc94ab187be01496631bd"): "sha1",
}
_X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")


def objections(decision: Decision) -> Iterator[Objection]:
    """One, with the first reason."""
    sysroot = decision.sysroot.unnoted
    if decision.plan is None or not _checks_signatures(sysroot):
        return
    path = path_of(decision.plan) or decision.plan.kernel
    try:
        with decision.sysroot.window(path) as file:
            why = next(_reasons(sysroot, unpacked(file)), "")
    except (Damaged, SysrootError):
        return  # builtin/files.py objects
    if why:
        yield Objection(
            f"{path} was revoked, and GRUB would not be allowed to start it under Secure Boot: {why}",
            code="revoked",
            fix=another_entry(decision),
        )


def notes(decision: Decision) -> Iterator[Note]:
    """Lists that cannot be read; what needs root is told elsewhere.  Linux has copies of its own for kexec."""
    sysroot = decision.sysroot.unnoted
    if decision.plan is None or not _checks_signatures(sysroot):
        return
    for name, guid in (("dbx", _SECURITY), ("MokListXRT", efi.SHIM), ("SbatLevelRT", efi.SHIM)):
        try:
            _variable(sysroot, name, guid)
        except NotPermittedError:
            continue
        except SysrootError as error:
            yield Note(f"whether the kernel was revoked is not known ({error})", code="revoked")


def _checks_signatures(sysroot: Sysroot) -> bool:
    """Is Secure Boot on, and was shim not told to pass over it (mokutil --disable-validation)?"""
    is_on = efi.variable(sysroot, f"SecureBoot-{efi.GLOBAL}") == b"\1"
    return is_on and efi.variable(sysroot, f"MokSBStateRT-{efi.SHIM}") != b"\1"


def _reasons(sysroot: Sysroot, file: Pieces) -> Iterator[str]:
    program = signed.read_program(file)
    if program is None:
        return
    least = signed.parse_generations(_readable(sysroot, "SbatLevelRT", efi.SHIM))
    for component, generation in signed.generations(file, program).items():
        if generation < least.get(component, 0):
            yield (
                f"its SBAT section has {component} {generation}, "
                f"and {least[component]} is the least that is allowed (SbatLevel)"
            )
    digests: dict[bytes, bytes] = {}
    chains = signed.signatures(file, program)
    for name, guid in (("dbx", _SECURITY), ("MokListX", efi.SHIM)):
        entries = _entries(_readable(sysroot, "MokListXRT" if guid == efi.SHIM else name, guid))
        hashes = {(kind, value) for kind, value in entries if kind in _HASHES}
        for kind in {kind for kind, _ in hashes}:
            if kind not in digests:
                digests[kind] = signed.digest(file, program, _HASHES[kind])
            if (kind, digests[kind]) in hashes:
                yield f"{name} has its hash"
        revoked = [
            found
            for kind, value in entries
            if kind == _X509 and (found := signed.parse_certificate(value))
        ]
        # One signature that stands is enough.
        if chains and all(_is_below(chain, revoked) for chain in chains):
            yield f"{name} has the certificate that it is signed by"


def _is_below(chain: list[signed.Certificate], revoked: list[signed.Certificate]) -> bool:
    return any(
        (one.issuer, one.serial) == (bad.issuer, bad.serial) or bad.may_have_issued(one)
        for one in chain
        for bad in revoked
    )


def _readable(sysroot: Sysroot, name: str, guid: str) -> bytes:
    """The same, empty where it cannot be read: see notes()."""
    try:
        return _variable(sysroot, name, guid)
    except SysrootError:
        return b""


def _variable(sysroot: Sysroot, name: str, guid: str) -> bytes:
    """A variable's value; empty where there is none.  SysrootError"""
    found = b""
    for path, attributes in ((f"{efi.VARIABLES}/{name}-{guid}", 4), (f"{_MOK}/{name}", 0)):
        try:
            found = found or sysroot.read(path, _LIMIT)[attributes:]
        except MissingError:
            continue
    return found


def _entries(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and value of everything in some signature lists; a torn one ends them."""
    found, at = [], 0
    while at + 28 <= len(data):
        whole, header, each = (
            int.from_bytes(data[at + 16 + 4 * n : at + 20 + 4 * n], "little") for n in range(3)
        )
        if whole < 28 or each <= 16:
            break
        end = min(at + whole, len(data))
        for entry in range(at + 28 + header, end - each + 1, each):
            found.append((data[at : at + 16], data[entry + 16 : entry + each]))
        at += whole
    return found
