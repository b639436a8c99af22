"""What plugins get and give: who asked, the configuration, the choice, the plan, and what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kexec_hook.system.process import Programs

if TYPE_CHECKING:
    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.machine import Machine
    from kexec_hook.grub.menu import BootResult
    from kexec_hook.grub.values import Problem
    from kexec_hook.kernel.plan import Plan
    from kexec_hook.settings.conf import Settings
    from kexec_hook.system.sysroot import Sysroot


API_VERSION = "1.0"


class Trigger(NamedTuple):
    """Who asked for this run: `cli`, or the --source of the glue (apt, dpkg, kernel, dnf4, dnf5, rpm)."""

    source: str = "cli"
    entry: str | None = None  # stage --entry: as GRUB's `default` would name it
    dry: bool = True  # nothing will be loaded; missing rights are no objection then
    force: bool = False  # replace an image that somebody else has loaded
    running: bool = False  # the running kernel, with its command line, instead of GRUB's choice
    panic: bool = False  # the crash kernel, which no reboot jumps into


class BootConfig(NamedTuple):
    """Where GRUB's configuration is and what kind of GRUB reads it."""

    path: str  # below the root: /boot/grub/grub.cfg
    config: str  # as GRUB names it: (hd0,gpt2)/boot/grub/grub.cfg
    prefix: str  # (hd0,gpt2)/boot/grub
    flavour: str  # upstream | upstream-2.14 | rhboot
    platform: str  # $grub_platform: pc, efi
    cpu: str  # $grub_cpu
    cmdpath: str = ""  # where GRUB's image was loaded from, as GRUB names it; empty: $prefix
    globbing: bool = False  # the regexp module is built in: `*` and `?` expand from the start
    notes: tuple[str, ...] = ()


class PackageManager(NamedTuple):
    """A package manager as kexec-hook meets it."""

    name: str  # apt
    sources: tuple[str, ...]  # the names its glue gives to `run --source`
    glue: tuple[tuple[str, str], ...]  # (file in the package, where it is installed)
    tails: str = "dpkg"  # how it orders what follows a kernel's upstream version: dpkg | rpm
    databases: tuple[str, ...] = ()  # files or directories that only a root under its care has


class Objection(NamedTuple):
    """Why nothing is staged, in one sentence, and which plugin says so."""

    reason: str
    by: str = "kexec-hook"
    rights: bool = False  # nothing was decided, for want of rights: a failure (exit 1), no decline
    elsewhere: bool = False  # we are in a container or chroot: what may be staged is the machine's, and none of ours
    code: str = "plugin"  # a stable slug, listed in docs/how-it-decides.md; given by keyword
    fix: str = ""  # one line: what to do, if possible a command; given by keyword


class Note(NamedTuple):
    """What the administrator should know, though it forbids nothing."""

    text: str
    code: str
    fix: str = ""


class Decision(NamedTuple):
    """One run up to, not including, its act; what is printed, explained and tested."""

    trigger: Trigger
    sysroot: Sysroot
    settings: Settings
    config: BootConfig | None = None
    disks: RootDisks | None = None
    machine: Machine | None = None  # as GRUB would have left it when it boots
    menu_machine: Machine | None = None  # as it was when the menu was shown
    result: BootResult | None = (
        None  # None: GRUB was not asked (--running, select = kexec-default) or not understood
    )
    chosen_by: str = ""  # who wants another entry than GRUB's default
    plan: Plan | None = None
    problems: tuple[Problem, ...] = ()
    objections: tuple[Objection, ...] = ()
    notes: tuple[Note, ...] = ()
    programs: Programs = Programs()  # kexec, grub-editenv, systemctl
    owner: int = 0  # the user who must own what is believed: root

    @property
    def declined(self) -> bool:
        return bool(self.objections)
