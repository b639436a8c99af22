"""What plugins get and give: who asked, the configuration, the choice, the plan, and what speaks against it."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING

from kexec_hook.system.process import Programs
from kexec_hook.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kexec_hook.disks.root import RootDisks
    from kexec_hook.grub.machine import Machine
    from kexec_hook.grub.menu import BootResult, Tried
    from kexec_hook.grub.values import EnvWrite, Problem
    from kexec_hook.kernel.plan import Plan
    from kexec_hook.settings.conf import Settings
    from kexec_hook.system.sysroot import Sysroot


API_VERSION = "1.0"


class Trigger(NamedTuple):
    """Who asked for this run: `cli`, or a package manager's --source (apt, dpkg, dnf4, dnf5, rpm, zypper, ...)."""

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
    flavour: str  # upstream | upstream-2.14 | rhboot | rhboot-8 | rhboot-7 | suse
    platform: str  # $grub_platform: pc, efi
    cpu: str  # $grub_cpu
    cmdpath: str = ""  # where GRUB's image was loaded from, as GRUB names it; empty: $prefix
    globbing: bool = False  # the regexp module is built in: `*` and `?` expand from the start
    notes: tuple[str, ...] = ()
    relative: bool = False  # its paths on btrfs start at the default subvolume, from the beginning
    others: tuple[BootConfig, ...] = ()  # what GRUB may read instead: all must boot the same
    sync: str = ""  # the command that makes them alike
    version: tuple[int, int] = (0, 0)  # of GRUB: 2, 12; zeros: not known
    told: bool = False  # GRUB's image, or its stub on an EFI system partition, says that it is read
    variables: tuple[tuple[str, str], ...] = ()  # that are set before it is read, beside GRUB's own


class PackageManager(NamedTuple):
    """A package manager as kexec-hook meets it."""

    name: str  # apt
    sources: tuple[str, ...]  # the names its glue gives to `run --source`
    glue: tuple[tuple[str, str], ...]  # (file in the package, where it is installed)
    tails: str = "dpkg"  # how it orders what follows a kernel's upstream version: dpkg | rpm
    databases: tuple[str, ...] = ()  # files or directories that only a root under its care has
    programs: tuple[
        str, ...
    ] = ()  # one of these is there where it is used; none: the databases tell


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


class Evaluation(NamedTuple):
    """What GRUB makes of its configuration: its menu, and what it or somebody else picks there."""

    config: BootConfig
    menu: Machine  # as it was when the menu was shown
    machine: Machine  # as GRUB would have left it when it boots
    result: BootResult
    chosen_by: str = ""  # who wants another entry than GRUB's default

    @property
    def default(self) -> Tried | None:
        """The entry that is asked for, whatever GRUB would try after it."""
        return self.result.default


class Decision(NamedTuple):
    """One answer, before anything is done: what would be loaded, and why it may not be."""

    trigger: Trigger
    sysroot: Sysroot
    settings: Settings
    disks: RootDisks
    evaluation: Evaluation | None = None  # None: GRUB was not asked, or it has no configuration
    plan: Plan | None = None  # what was found, also where it is declined
    problems: tuple[Problem, ...] = ()
    objections: tuple[Objection, ...] = ()
    notes: tuple[Note, ...] = ()
    programs: Programs = Programs()  # kexec, grub-editenv, systemctl
    owner: int = 0  # the user who must own what is believed: root

    @property
    def accepted(self) -> Plan | None:
        """The plan, where nothing forbids it; None: the decision is declined."""
        return None if self.objections else self.plan

    @property
    def declined(self) -> bool:
        return self.accepted is None

    @property
    def default(self) -> Tried | None:
        """The entry of GRUB's menu that the plan comes from."""
        return self.evaluation.default if self.evaluation else None

    @property
    def pending(self) -> Sequence[EnvWrite]:
        """What GRUB would write to its environment on the way, in its order."""
        return self.evaluation.machine.pending if self.evaluation else ()
