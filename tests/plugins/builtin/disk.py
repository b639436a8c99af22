"""A root with one entry in its menu, which nothing speaks against; and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kexec_hook.decision.decide import decide
from kexec_hook.plugins.api import Decision, Objection, Trigger
from kexec_hook.plugins.asking import Plugins
from kexec_hook.settings.conf import load_settings
from kexec_hook.system.host import Host
from kexec_hook.system.process import Programs
from tests.bootfiles import bzimage, cpio
from tests.tree import Tree

UUID = "3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11"
KERNEL, INITRD = "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"
MENUENTRY = "menuentry 'Linux' {\n  linux /boot/vmlinuz-6.1 root=UUID=@UUID@ ro quiet\n  initrd /boot/initrd.img-6.1\n}\n"
ROOT_MOUNT = "28 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n"


class Disk(Tree):
    """A root with one entry in its menu, which nothing speaks against."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.write("boot/vmlinuz-6.1", bzimage("6.1.0-39-amd64 (debian) #1 SMP"))
        self.write("boot/initrd.img-6.1", cpio())
        self.write("proc/self/mountinfo", ROOT_MOUNT)
        self.write("dev/sda2").by("uuid", UUID, "sda2")
        self.config(MENUENTRY)

    def config(self, text: str, *, timeout: str = "set timeout=5\n") -> None:
        self.write("boot/grub/grub.cfg", timeout + text.replace("@UUID@", UUID))

    def parameters(self, words: str) -> None:
        self.config(MENUENTRY.replace("root=UUID=@UUID@ ro quiet", words))

    def run(self, *, is_host: bool = False, **trigger: Any) -> Decision:
        host = Host(str(self.root), Programs(()), os.geteuid(), is_host)
        sysroot = host.sysroot()
        plugins = Plugins(installed=False)
        return decide(host, sysroot, load_settings(sysroot), plugins, Trigger(**trigger))

    def reasons(self, **trigger: Any) -> list[str]:
        return [with_fix(objection) for objection in self.run(**trigger).objections]

    def notes(self) -> list[str]:
        run = self.run()
        assert run.objections == ()
        return [note.text for note in run.notes]


def with_fix(found: Objection) -> str:
    """The sentence, and what to do about it."""
    return f"{found.reason}; {found.fix}" if found.fix else found.reason


# What is recommended where the distribution is not known, and GRUB's default entry is the first.
MAKE_CONFIG = "grub-mkconfig -o /boot/grub/grub.cfg"
ANOTHER = "set `default` in /boot/grub/grub.cfg"
REMAKE = "make /boot/initrd.img-6.1 again (update-initramfs, dracut or mkinitcpio)"
