"""Every GRUB command and its fate: implemented, inert, refused; what is in no table is unknown."""

from kexec_hook.grub.commands import (
    blscfg,
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
    "blscfg",
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
