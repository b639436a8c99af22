"""dnf 4, dnf 5 and plain rpm: which files tell kexec-hook that a transaction is done."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pluggy

from kexec_hook.plugins.api import PackageManager

hookimpl = pluggy.HookimplMarker("kexec_hook")

# Of rpm, whoever calls it.
DATABASES = (
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",  # SUSE
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
)


@hookimpl(trylast=True)
def kexec_hook_package_manager() -> PackageManager:
    return PackageManager(
        name="dnf",
        # rpm: the file triggers of the rpm package, for rpm without dnf.
        sources=("dnf4", "dnf5", "rpm"),
        glue=(
            # dnf 4 has one directory for plugins, beside its own module.
            ("dnf/kexec_hook.py", "/usr/lib/python3*/*-packages/dnf/../dnf-plugins/kexec_hook.py"),
            ("dnf/kexec-hook.conf", "/etc/dnf/plugins/kexec-hook.conf"),
            ("dnf/kexec-hook.actions", "/etc/dnf/libdnf5-plugins/actions.d/kexec-hook.actions"),
            ("dnf/99-kexec-hook.install", "/etc/kernel/install.d/99-kexec-hook.install"),
        ),
        tails="rpm",
        databases=DATABASES,
        programs=("/usr/bin/dnf", "/usr/bin/dnf5", "/usr/bin/microdnf"),
    )
