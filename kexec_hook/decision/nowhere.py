"""Why there is no configuration of GRUB that could be evaluated."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Objection
from kexec_hook.plugins.builtin.grub import other_loader
from kexec_hook.system.distribution import Distribution

if TYPE_CHECKING:
    from kexec_hook.system.sysroot import Sysroot


def no_configuration(sysroot: Sysroot) -> Objection:
    for path in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"):
        if sysroot.exists(path):
            return Objection(
                f"{path} is on a file system that GRUB does not read",
                code="no-configuration",
                fix="put /boot on a file system that GRUB reads",
            )
    return other_loader(sysroot) or Objection(
        "there is no GRUB configuration: no grub.cfg in /boot/grub or /boot/grub2",
        code="no-configuration",
        fix=Distribution(sysroot).make_config,
    )
