"""apt and dpkg: which files tell kexec-hook that an upgrade is done."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import PackageManager

hookimpl = pluggy.HookimplMarker("kexec_hook")


@hookimpl(trylast=True)
def kexec_hook_package_manager() -> PackageManager:
    marker = "apt/zzz-kexec-hook"
    return PackageManager(
        name="apt",
        # dpkg: the trigger of the Debian package, for dpkg without apt.  kernel: update-initramfs and the like by hand.
        sources=("apt", "dpkg", "kernel"),
        glue=(
            ("apt/80kexec-hook", "/etc/apt/apt.conf.d/80kexec-hook"),
            (marker, "/etc/kernel/postinst.d/zzz-kexec-hook"),
            (marker, "/etc/kernel/postrm.d/zzz-kexec-hook"),
            (marker, "/etc/initramfs/post-update.d/zzz-kexec-hook"),
        ),
        tails="dpkg",
        databases=("/var/lib/dpkg/status",),
    )
