"""Every GRUB command and its fate: implemented, inert, refused; what is in no table is unknown."""
# SPDX-License-Identifier: GPL-3.0-or-later

from kexec_hook.grub.commands import (
    boot,
    conditions,
    control,
    entries,
    inert,
    probes,
    refused,
    search,
    variables,
)
from kexec_hook.grub.commands.registry import TABLE

__all__ = [
    "TABLE",
    "boot",
    "conditions",
    "control",
    "entries",
    "inert",
    "probes",
    "refused",
    "search",
    "variables",
]
