"""zypper, and whoever else installs by libzypp: which file tells kexec-hook that a commit is done."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import PackageManager
from kexec_hook.plugins.builtin.dnf import DATABASES

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl(trylast=True)
def kexec_hook_package_manager() -> PackageManager:
    return PackageManager(
        name="zypper",
        sources=("zypper",),
        glue=(("zypper/kexec-hook", "/usr/lib/zypp/plugins/commit/kexec-hook"),),
        tails="rpm",
        databases=DATABASES,
        programs=("/usr/bin/zypper",),
    )
