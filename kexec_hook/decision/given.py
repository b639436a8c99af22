"""Plans in which GRUB has no say: the running kernel once more, and what /etc/default/kexec names."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.decision.planning import Refused, given_plan, release_of
from kexec_hook.plugins.api import Objection

if TYPE_CHECKING:
    from kexec_hook.kernel.plan import Plan
    from kexec_hook.settings.conf import Settings
    from kexec_hook.system.host import Host
    from kexec_hook.system.sysroot import Sysroot


def running_plan(host: Host, sysroot: Sysroot, settings: Settings) -> Plan:
    """The running kernel with its own command line, whatever GRUB says."""
    release = host.running
    kernels = [
        f"/boot/vmlinuz-{release}",
        f"/boot/vmlinux-{release}",
        f"/usr/lib/modules/{release}/vmlinuz",
    ]
    initrds = [
        f"/boot/initrd.img-{release}",
        f"/boot/initramfs-{release}.img",
        f"/boot/initrd-{release}",
    ]
    kernel = next(filter(sysroot.is_file, kernels), None)
    if not release or kernel is None:
        raise Refused(
            Objection(
                f"the file of the running kernel does not exist (looked for {', '.join(kernels)})",
                code="running-kernel-missing",
            )
        )
    initrd = next(filter(sysroot.is_file, initrds), "")
    return given_plan(kernel, initrd, host.cmdline, release, settings)


def kexec_default_plan(host: Host, sysroot: Sysroot, settings: Settings) -> Plan:
    """KERNEL_IMAGE, INITRD and APPEND of /etc/default/kexec as they are."""
    from kexec_hook.kernel.cmdline import edit_cmdline

    given = settings.kexec_default
    why = f"{settings.select.origin} asks for the kernel of /etc/default/kexec"
    fix = "set `select = grub` in /etc/kexec-hook.conf, or correct /etc/default/kexec"
    if not given.kernel_image.value:
        raise Refused(
            Objection(f"{why}, and KERNEL_IMAGE is not set there", code="kexec-default", fix=fix)
        )
    for path in filter(None, (given.kernel_image.value, given.initrd.value)):
        if not sysroot.is_file(path):
            raise Refused(
                Objection(f"{why}, and {path} does not exist", code="kexec-default", fix=fix)
            )
    kernel = sysroot.resolve(given.kernel_image.value)
    initrd = sysroot.resolve(given.initrd.value) if given.initrd.value else ""
    cmdline = given.append.value or edit_cmdline(host.cmdline, ["BOOT_IMAGE"])
    return given_plan(kernel, initrd, cmdline, release_of(kernel, sysroot), settings)
