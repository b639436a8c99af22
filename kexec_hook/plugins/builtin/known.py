"""Machines of which others report that a kexec does not end well there: each line with its reports.

Objections: nothing starts, or nobody can reach what has started, each time or so often that several people say so.
Notes: of old kernels or firmware, of a part of such devices, or by one who does not say how often.  To read of
a report is not to have seen it; `allow_known_bad` in the settings allows each by its name.
docs/how-it-decides.md has the same table, and what is known but not listed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kexec_hook.plugins.api import Decision, Note, Objection
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kexec_hook.system.facts import Facts

_GITHUB = "https://github.com/"
_DMI = "/sys/class/dmi/id/"


class Known(NamedTuple):
    name: str
    happens: str
    reports: tuple[str, ...]  # below https://github.com/
    note: bool = False
    # What must be so, each as a regular expression from the beginning; empty: anything.
    module: str = ""  # one of /proc/modules, whole
    vendor: str = ""  # of the firmware's sys_vendor
    product: str = ""
    model: str = ""  # of the device tree
    cpu: str = ""  # anywhere in its name
    arch: str = ""


KNOWN = (
    Known(
        "jasper-lake",
        "no kernel starts, and the screen stays black",
        ("coreos/fedora-coreos-tracker/issues/2071", "nix-community/nixos-anywhere/issues/289"),
        cpu=r".*\bN510[05]\b",
    ),
    Known(
        "hyper-v",
        "at times the new kernel does not come up, or without network",
        (
            "systemd/systemd/issues/20072",
            "nix-community/nixos-anywhere/issues/400",
            "SUSE/suse-migration-services/issues/111",
        ),
        vendor="Microsoft Corporation",
        product="Virtual Machine",
    ),
    Known(
        "xen",
        "the machine crashes, and boots through its firmware",
        ("SUSE/suse-migration-services/pull/126", "SUSE/suse-migration-services/issues/111"),
        vendor="Xen",
    ),
    Known(
        "raspberry-pi",
        "no kernel starts, or with one processor only",
        (
            "siderolabs/talos/pull/4608",
            "siderolabs/talos/pull/5670",
            "raspberrypi/linux/issues/6465",
        ),
        model="Raspberry Pi",
    ),
    Known(
        "rock-pi", "no kernel starts", ("siderolabs/talos/pull/5670",), model=r"(Radxa )?ROCK Pi"
    ),
    Known(
        "hp-e1000e",
        "the network card gets no answer until the next boot through the firmware",
        ("siderolabs/talos/issues/8751", "siderolabs/talos/issues/9100"),
        module="e1000e",
        vendor="HP|Hewlett-Packard",
    ),
    Known(
        "vmware-arm64",
        "the kexec fails",
        ("siderolabs/talos/issues/4677", "siderolabs/talos-vmtoolsd/issues/51"),
        vendor="VMware",
        arch="aarch64",
    ),
    Known("quanta", "the kexec fails", ("coreos/bugs/issues/101",), note=True, vendor="Quanta"),
    Known(
        "mlx4",
        "its shutdown hangs, or the card is not found afterwards",
        ("siderolabs/talos/issues/10143", "ipxe/ipxe/issues/916"),
        note=True,
        module="mlx4_core",
    ),
    Known(
        "mlx5",
        "with card firmware before 12.17 the card is not found afterwards",
        ("open-power/op-build/issues/538", "open-power/op-build/pull/781"),
        note=True,
        module="mlx5_core",
    ),
    Known(
        "amdgpu",
        "the screen stays black",
        ("NixOS/nixpkgs/pull/536384",),
        note=True,
        module="amdgpu",
    ),
    Known(
        "loongson",
        "the new kernel dies of interrupts",
        ("loongson-community/linux-stable/issues/26",),
        note=True,
        cpu=".*Loongson",
    ),
)


def objections(decision: Decision, facts: Facts) -> Iterator[Objection]:
    for known in _here(decision, facts):
        if not known.note:
            yield Objection(
                f"a kexec is reported to fail on such machines ({known.name}): {known.happens}",
                code="known-bad",
                fix=_fix(known),
            )


def notes(decision: Decision, facts: Facts) -> Iterator[Note]:
    for known in _here(decision, facts):
        if known.note:
            yield Note(
                f"a kexec is reported to fail on some such machines ({known.name}): {known.happens}",
                code="known-bad",
                fix=_fix(known),
            )


def _fix(known: Known) -> str:
    return f"read {_GITHUB}{known.reports[0]}; allow_known_bad = {known.name} in /etc/kexec-hook.conf if it works here"


def _here(decision: Decision, facts: Facts) -> Iterator[Known]:
    allowed = decision.settings.allow_known_bad.value
    found = _machine(facts)
    loaded = modules(facts)
    for known in KNOWN:
        wanted = ((getattr(known, name), text) for name, text in found.items())
        if (
            known.name not in allowed
            and (not known.module or known.module in loaded)
            and all(not pattern or re.match(pattern, text) for pattern, text in wanted)
        ):
            yield known


def _machine(facts: Facts) -> dict[str, str]:
    cpu = re.search(r"^model name\s*:\s*(.*)$", facts.text("/proc/cpuinfo", 1 << 13) or "", re.M)
    return {
        "vendor": facts.text(f"{_DMI}sys_vendor") or "",
        "product": facts.text(f"{_DMI}product_name") or "",
        "model": facts.text("/proc/device-tree/model") or "",
        "cpu": cpu[1] if cpu else "",
        "arch": facts.text("/proc/sys/kernel/arch") or "",
    }


def modules(facts: Facts) -> set[str]:
    """The names of what is loaded."""
    return {
        line.split(" ")[0] for line in (facts.text("/proc/modules", 1 << 20) or "").splitlines()
    }
