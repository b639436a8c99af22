"""What a unified kernel image would get from systemd's stub, or from the firmware, and does not get by a kexec."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.grub.disks import DiskError, Unseen
from kexec_hook.kernel.images import Damaged
from kexec_hook.kernel.unified import path_of, read_unified
from kexec_hook.plugins.api import Objection
from kexec_hook.system import efi
from kexec_hook.system.sysroot import SysrootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.plugins.api import Decision, Evaluation
    from kexec_hook.system.sysroot import Sysroot

# Beside the image, and for all images: systemd-stub(7).
_EXTRA = (".addon.efi", ".cred", ".raw")
_GLOBAL = ("/loader/addons", "/loader/credentials", "/loader/extensions")
_SMBIOS = "/sys/firmware/dmi/entries"
_CMDLINE_EXTRA = b"io.systemd.stub.kernel-cmdline-extra="


def objections(decision: Decision, evaluation: Evaluation) -> Iterator[Objection]:
    """Each by its name; a plain image has none."""
    path = path_of(decision.plan) if decision.plan else ""
    if not path:
        return
    sysroot = decision.sysroot
    try:
        found = read_unified(sysroot, path)
    except (Damaged, SysrootError):
        return  # its parts cannot be read either, which is another objection
    if found is None:
        return
    if found.image.adds:
        yield _adds(path, found.image.adds)
    words = _load_options(evaluation)
    if words:
        yield _adds(path, f"the command line that GRUB passes to it ({words})")
    for file in _beside(decision, evaluation):
        yield _adds(path, file)
    if sysroot.is_host and _in_smbios(sysroot):
        yield _adds(path, "what SMBIOS adds to the command line")
    if not found.image.signed and _checks_signatures(sysroot):
        yield Objection(
            f"{path} has no signature, so the firmware would refuse it under Secure Boot",
            code="uki-unsigned",
        )


def _adds(path: str, what: str) -> Objection:
    return Objection(
        f"{path} is a unified kernel image whose stub would also use {what}, which kexec cannot do",
        code="uki-adds",
    )


def _load_options(evaluation: Evaluation) -> str:
    loaded = evaluation.machine.loaded
    words = [word for word in loaded.words if not word.startswith("--")] if loaded else []
    return " ".join(words[1:])


def _beside(decision: Decision, evaluation: Evaluation) -> list[str]:
    """Files that the stub picks up, in x.efi.extra.d and below /loader of the same partition."""
    loaded = evaluation.machine.loaded
    if loaded is None or loaded.path is None:
        return []
    found = []
    for directory in (f"{loaded.path.path}.extra.d", *_GLOBAL):
        place = loaded.path._replace(path=directory)
        try:
            names = decision.disks.list(place)
        except Unseen as unseen:
            found.append(f"{place}, which cannot be looked at ({unseen})")
            continue
        except DiskError:
            continue  # there is none
        found += [f"{place}/{name}" for name in names if name.lower().endswith(_EXTRA)]
    return found


def _in_smbios(sysroot: Sysroot) -> bool:
    """OEM strings, type 11: systemd-stub appends one to the command line."""
    entries = (name for name in sysroot.listdir(_SMBIOS) if name.startswith("11-"))
    for name in entries:
        try:
            if _CMDLINE_EXTRA in sysroot.read(f"{_SMBIOS}/{name}/raw", 1 << 16):
                return True
        except SysrootError:
            continue
    return False


def _checks_signatures(sysroot: Sysroot) -> bool:
    """Is Secure Boot on?  GRUB then has shim or the firmware verify what chainloader starts."""
    return efi.variable(sysroot, f"SecureBoot-{efi.GLOBAL}") == b"\1"
