"""kexec-hook follows Portage."""

from pathlib import Path

import pluggy

from kexec_hook.plugins.api import PackageManager

hookimpl = pluggy.HookimplMarker("kexec_hook")
kexec_hook_api = ">=1.0,<2"


@hookimpl
def kexec_hook_package_manager():
    return PackageManager(
        name="portage",
        sources=("portage",),
        glue=(
            # Run in the order of names, and 91-grub-mkconfig.install writes grub.cfg.
            (
                str(Path(__file__).with_name("portage.install")),
                "/etc/kernel/install.d/99-kexec-hook-portage.install",
            ),
        ),
        tails="dpkg",
        databases=("/var/db/pkg",),
    )
