"""pacman: which file tells kexec-hook that a transaction is done."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import PackageManager

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl(trylast=True)
def kexec_hook_package_manager() -> PackageManager:
    hook = "zzz-kexec-hook.hook"
    return PackageManager(
        name="pacman",
        sources=("pacman",),
        glue=((f"pacman/{hook}", f"/usr/share/libalpm/hooks/{hook}"),),
        tails="rpm",  # vercmp(8) orders as rpm does
        databases=("/var/lib/pacman/local",),
        programs=("/usr/bin/pacman",),
    )
