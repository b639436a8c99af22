"""hooks list, install and remove: for those whose kexec-hook comes from pip or pipx, not from a package."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kexec_hook.commands import FAILED, OK, USAGE, fail, journal, load_plugins
from kexec_hook.commands.stage import forget_ours

if TYPE_CHECKING:
    from kexec_hook.install import Found, Glue
    from kexec_hook.plugins.api import PackageManager
    from kexec_hook.system.host import Host
    from kexec_hook.system.sysroot import Sysroot

Items = Sequence[tuple["Glue", "Found"]]

# Started, not only enabled: they act when they are stopped, at shutdown.
_STARTED = ("kexec-hook.service", "kexec-hook-always.service")
_ENABLED = ("kexec-hook-judge.service", "kexec-hook-cancelled.service")


def hooks(host: Host, args: Namespace) -> int:
    from kexec_hook import install as glue

    act = {"list": _list, "install": _install, "remove": _remove}[args.action]
    if act is not _list:
        if not host.is_host:
            return fail("with --root, hooks can only be listed", USAGE)
        if os.geteuid() != host.owner:
            return fail("this needs root; `kexec-hook hooks list` does not")
    sysroot = host.sysroot()
    plugins = load_plugins()
    managers = plugins.package_managers()
    troubles = [objection.reason for objection in plugins.broken]
    for trouble in (*troubles, *(note.text for note in plugins.complaints)):
        print(f"kexec-hook: {trouble}", file=sys.stderr)
    known = [glue.SYSTEMD, *sorted(manager.name for manager in managers)]
    unknown = [name for name in args.names if name not in known]
    if unknown:
        return fail(f"there are no hooks for {unknown[0]}, only for {', '.join(known)}", USAGE)
    try:
        program = glue.this_program()
        everything = [
            (item, glue.look(sysroot, item)) for item in glue.files(sysroot, program, managers)
        ]
        return act(host, args.names, _present(sysroot, managers), everything)
    except glue.InstallError as error:
        return fail(str(error))


def _present(sysroot: Sysroot, managers: Sequence[PackageManager]) -> set[str]:
    from kexec_hook import install as glue

    return {
        glue.OURS,
        glue.SYSTEMD,
        *(manager.name for manager in managers if glue.here(sysroot, manager)),
    }


def _list(host: Host, names: Sequence[str], present: set[str], everything: Items) -> int:
    for item, found in everything:
        if names and item.group not in names:
            continue
        state = "unused" if found.state == "missing" and item.group not in present else found.state
        print(f"{state:<10} {item.group:<11} {found.path}")
    return OK


def _install(host: Host, names: Sequence[str], present: set[str], everything: Items) -> int:
    from kexec_hook import install as glue

    groups = {*names, glue.OURS} if names else present
    wanted = [(item, found) for item, found in everything if item.group in groups]
    refusal = _in_the_way(host, wanted)
    if refusal:
        return fail(refusal)
    sysroot = host.sysroot()
    written = []
    for item, found in wanted:
        if found.state in ("missing", "outdated"):
            glue.put(sysroot, item, found.made)
            print(f"installed {item.path}")
            written.append(item)
    ours = {item.path for item, found in wanted if found.ours} | {item.path for item in written}
    reload = any(item.group == glue.SYSTEMD for item in written)
    code = _systemctl(host, _calls(ours, reload=reload))
    if written:
        journal(host, f"hooks installed: {', '.join(item.path for item in written)}")
    if code != OK:
        return code
    _print_what_next(list(_missing(host, sysroot, present)), anew=bool(written))
    return OK


def _in_the_way(host: Host, wanted: Items) -> str:
    """Why nothing may be installed; empty where it may."""
    from kexec_hook import install as glue

    foreign = [found.path for _, found in wanted if found.state == "foreign"]
    for path in foreign:
        print(
            f"kexec-hook: {path} exists, and `kexec-hook hooks install` did not write it",
            file=sys.stderr,
        )
    if foreign:
        return "nothing was installed; remove the package or the file that is in the way first"
    strange = glue.strangers(glue.this_program(), host.owner) if host.root == "/" else ""
    if strange:
        return f"{strange}, and kexec-hook would run as root; install it where only root can write, as in /opt"
    return ""


def _print_what_next(missing: list[tuple[str, str]], *, anew: bool) -> None:
    for what, fix in missing:
        print(f"kexec-hook: {what}" + (f"\n  fix: {fix}" if fix else ""), file=sys.stderr)
    if missing:
        print("The hooks are installed, but no kernel is staged until that is mended.")
    elif anew:
        print("From the next upgrade on, kernels are staged; `kexec-hook stage` does it now.")
    else:
        print("Everything is there already.")


def _calls(ours: set[str], *, reload: bool) -> list[tuple[str, ...]]:
    """What systemctl is told of our units."""
    from kexec_hook.install import UNITS

    calls: list[tuple[str, ...]] = [("daemon-reload",)] if reload else []
    started = [name for name in _STARTED if f"{UNITS}/{name}" in ours]
    calls += [("enable", "--now", *started)] if started else []
    enabled = [name for name in _ENABLED if f"{UNITS}/{name}" in ours]
    return calls + ([("enable", *enabled)] if enabled else [])


def _missing(host: Host, sysroot: Sysroot, present: set[str]) -> Iterator[tuple[str, str]]:
    """What kexec-hook cannot do without, and how to get it."""
    from kexec_hook.system.distribution import Distribution
    from kexec_hook.system.editenv import NAMES

    install = Distribution(sysroot).install
    if host.programs.find("kexec") is None:
        yield "the program kexec is not installed", install("kexec-tools")
    if not any(map(host.programs.find, NAMES)):
        yield "the program grub-editenv is not installed", install("grub-editenv")
    if not sysroot.exists("/run/systemd/system"):
        yield "systemd does not run here, and only its units can approve a kexec", ""
    if present <= {"kexec-hook", "systemd"}:
        yield "there is no package manager here that calls kexec-hook after an upgrade", ""


def _remove(host: Host, names: Sequence[str], present: set[str], everything: Items) -> int:
    from kexec_hook import install as glue

    ours = [(item, found) for item, found in everything if found.ours]
    gone = [(item, found) for item, found in ours if not names or item.group in names]
    if {item.group for item, _ in ours} - {item.group for item, _ in gone} <= {glue.OURS}:
        gone = ours  # nobody is left whom the others would serve
    if not gone:
        print("There is nothing that `kexec-hook hooks install` has put here.")
        return OK
    paths = [item.path for item, _ in gone]
    units = [name for name in (*_STARTED, *_ENABLED) if f"{glue.UNITS}/{name}" in paths]
    if _STARTED[0] in units:
        # Nobody would look any more, at shutdown, whether what is staged is still what GRUB would boot.
        left = forget_ours(host)
        if left:
            return fail(f"what is staged cannot be unloaded{left}; nothing was removed")
    code = _systemctl(host, [("disable", "--now", *units)] if units else [])
    sysroot = host.sysroot()
    # The other way round than they came: what is called goes last.
    for item, found in reversed(gone):
        glue.take(sysroot, item, found.made)
        print(f"removed {item.path}")
    if any(item.group == glue.SYSTEMD for item, _ in gone):
        code = _systemctl(host, [("daemon-reload",)]) or code
    journal(host, f"hooks removed: {', '.join(paths)}")
    for item, found in everything:
        if item.settings and not found.ours and found.state == "installed" and gone == ours:
            print(f"left {item.path}, which was changed")
    return code


def _systemctl(host: Host, calls: Sequence[tuple[str, ...]]) -> int:
    """Tell systemd, where it runs."""
    from kexec_hook.system.process import ProcessError

    if not host.sysroot().exists("/run/systemd/system"):
        return OK
    code = OK
    for words in calls:
        try:
            host.programs.run(("systemctl", *words))
        except ProcessError as error:
            code = fail(str(error), FAILED)
    return code
