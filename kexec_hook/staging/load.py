"""The act: what a run decided is loaded, kept, or unloaded, and the record says which; only under the lock."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from kexec_hook import __version__
from kexec_hook.decision.decide import env_blocks
from kexec_hook.decision.running import already_running
from kexec_hook.errors import KexecHookError
from kexec_hook.kernel.plan import Plan, paths
from kexec_hook.plugins.api import Decision, Objection, Trigger
from kexec_hook.staging.jump import take_back
from kexec_hook.staging.mark import marked_tree, marks
from kexec_hook.state import names, record
from kexec_hook.state.record import NoRecord, Staged
from kexec_hook.system.directory import Busy, LockedDirectory
from kexec_hook.system.host import Host
from kexec_hook.system.kexec import LOADED, Kexec, KexecError
from kexec_hook.system.process import uninterrupted
from kexec_hook.system.sysroot import Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

Outcome = Literal["staged", "unchanged", "declined", "failed"]

_CHUNK = 1 << 20  # bytes


class Staging(NamedTuple):
    """What came of a run."""

    outcome: Outcome
    decision: Decision
    seconds: float = 0.0  # that kexec took
    failure: str = ""  # failed: one sentence
    code: str = ""  # unchanged: why, where it is not that it is staged already
    # Declined or failed, and the kernel holds an image all the same: an administrator's, mostly.
    image_loaded: bool = False


def carry_out(
    host: Host,
    held: LockedDirectory,
    decide: Callable[[], Decision],
    *,
    reload: bool = False,
    only_news: bool = False,
) -> Staging:
    """Decide and act.  Where files change between the two, decide once more.

    `reload`: load also what seems to be loaded, unless the kernel tells that nobody has loaded another image since.
    `only_news`: where GRUB would boot what runs already, nothing is loaded.
    """
    take_back(host, held.state)
    for again in (True, False):
        decision = decide()
        if only_news and already_running(host, decision):
            return _nothing_new(host, held, decision)
        done = act(host, held, decision, reload=reload)
        if done.outcome != "failed" or not again or not decision.sysroot.changed():
            break
    return done


def _nothing_new(host: Host, held: LockedDirectory, decision: Decision) -> Staging:
    """What is staged goes, unless it is the same: somebody has asked for that with `stage`."""
    before = record.read_staged(held.state)
    try:
        plan = decision.accepted
        if plan and _is_right(host, before, staged(decision, plan, marks(host, plan))):
            return Staging("unchanged", decision)
        if record.is_ours(host, before):
            forget(host, held)
    except KexecError as error:
        return Staging("failed", decision, failure=str(error), image_loaded=Kexec(host).loaded())
    return Staging("unchanged", decision, code="already-running")


def _is_right(host: Host, before: Staged | NoRecord, wanted: Staged) -> bool:
    """Does the kernel hold what is wanted, unless somebody else has loaded another image since?"""
    return (
        isinstance(before, Staged)
        and still(before, wanted)
        and before.marked == wanted.marked
        and Kexec(host).loaded()
    )


def _nobody_has_loaded_since(host: Host, held: LockedDirectory, before: Staged) -> bool:
    """The kernel counts, if it can; nor will a kexec of ours whose caller was killed."""
    if before.calls_left is None or not host.mark.is_there:
        return False
    try:
        with held.loader():
            return Kexec(host).calls_left() == before.calls_left
    except Busy:
        return False


def act(host: Host, held: LockedDirectory, decision: Decision, *, reload: bool = False) -> Staging:
    """Load what was decided; unload what was loaded by us and is no longer right.  Nothing stale survives a failure."""
    before = record.read_staged(held.state)
    ours = record.is_ours(host, before)
    try:
        plan = decision.accepted
        if plan is None:
            # A chroot may share /run with the machine.
            theirs = ours and any(objection.elsewhere for objection in decision.objections)
            if ours and not theirs:
                forget(host, held)
            return Staging("declined", decision, image_loaded=theirs or Kexec(host).loaded())
        wanted = staged(decision, plan, marks(host, plan))
        if (
            isinstance(before, Staged)
            and _is_right(host, before, wanted)
            and (not reload or _nobody_has_loaded_since(host, held, before))
        ):
            wanted = wanted._replace(calls_left=before.calls_left)
            if before._replace(time=wanted.time) != wanted:
                record.write_staged(held, wanted)
            return Staging("unchanged", decision)
        if reload:
            unload(host, held)  # before the load, so that memory need not hold both
        return _load(host, held, decision, plan, wanted)
    except KexecError as error:
        return Staging("failed", decision, failure=str(error), image_loaded=Kexec(host).loaded())


def staged(decision: Decision, plan: Plan, marked: bool = False) -> Staged:
    """The record of a run, as it is when everything has gone well."""
    for path in paths(plan):
        decision.sysroot.stat(path)
    default = decision.default
    return Staged(
        state="staged",
        version=__version__,
        time=time.time(),
        wanted=decision.trigger.entry,
        running=decision.trigger.running,
        entry_path=default.spec if default else "",
        entry_titles=default.titles if default else (),
        entry_id=default.entries[-1].id if default else "",
        plan=plan,
        env_blocks=env_blocks(decision),
        reads=dict(decision.sysroot.reads),
        marked=marked,
    )


def still(before: Staged, wanted: Staged) -> bool:
    """Is the image that was loaded then the one that is wanted now?"""
    same = (before.state, before.plan) == (wanted.state, wanted.plan)
    return same and all(
        before.reads.get(path) == wanted.reads.get(path) is not None for path in paths(wanted.plan)
    )


def decide_again(
    found: Staged | NoRecord,
    source: str,
    decide: Callable[[Trigger], Decision],
    *,
    dry: bool = False,
) -> Decision:
    """Decide as somebody asked for it: GRUB's default, or what `stage --entry` or `--running` named then.

    The same words may name something else by now; then it is not what was asked for.
    """
    if not isinstance(found, Staged) or not asked_for(found):
        return decide(Trigger(source, dry=dry))
    decision = decide(Trigger(source, entry=found.wanted, dry=dry, running=found.running))
    if decision.plan is None:
        return decision
    if decision.plan == found.plan:
        return decision
    changed = Objection(
        f"`stage {asked_for(found)}` would stage something else now than when it was called",
        code="choice-changed",
        fix=f"kexec-hook stage {asked_for(found)}",
    )
    return decision._replace(objections=(*decision.objections, changed))


def asked_for(found: Staged) -> str:
    """The option by which something else than GRUB's default was asked for; empty where it was not."""
    if found.wanted is not None:
        return f"--entry {found.wanted}"
    return "--running" if found.running else ""


def _load(
    host: Host, held: LockedDirectory, decision: Decision, plan: Plan, wanted: Staged
) -> Staging:
    started = time.monotonic()
    try:
        with (
            initrd_argument(decision.sysroot, plan) as (initrd, fds),
            marked_tree(host, plan) as (tree, tree_fds),
            uninterrupted(),
        ):
            argv = plan.below(decision.sysroot).argv(initrd, tree)
            _load_recorded(host, held, decision, argv, (*fds, *tree_fds), wanted)
    except (SysrootError, OSError) as error:
        raise KexecError(f"the kernel could not be loaded: {error}") from error
    seconds = time.monotonic() - started
    return Staging("staged", decision, seconds)


def _load_recorded(
    host: Host,
    held: LockedDirectory,
    decision: Decision,
    argv: Sequence[str],
    fds: tuple[int, ...],
    wanted: Staged,
) -> None:
    """From "loading" to "staged".  Whatever goes wrong between, nothing stays loaded, or it stays ours."""
    kexec = Kexec(host)
    record.withdraw(held.state)
    try:
        # Where we are killed, kexec goes on, and whoever comes next must not forget what it loads.
        with held.loader() as lock:
            record.write_staged(held, wanted._replace(state="loading"))
            host.mark.put()
            before = kexec.count_calls()
            kexec.load(argv, (*fds, lock))
            left = kexec.calls_left()
        if not kexec.loaded():
            raise KexecError(
                "kexec reported success, but no kernel is loaded (/sys/kernel/kexec_loaded)"
            )
        changed = decision.sysroot.changed()
        if changed:
            raise KexecError(f"{changed[0]} changed while the kernel was being loaded; try again")
        alone = before is not None and left == before - 1
        record.write_staged(held, wanted._replace(calls_left=left if alone else None))
    except BaseException as error:
        try:
            forget(host, held)
        except KexecHookError as worse:
            raise KexecError(f"{error}; {worse}") from error
        raise


def forget(host: Host, held: LockedDirectory) -> None:
    """Unload what we loaded; the record and the mark go with it.  KexecError where it stays, as they do then."""
    record.withdraw(held.state)
    unload(host, held)
    if host.fact(LOADED) != "0":
        raise KexecError(f"whether the kernel still holds it is not known: {LOADED} cannot be read")
    held.state.remove(names.STAGED)
    host.mark.remove()


def unload(host: Host, held: LockedDirectory) -> None:
    """Make the kernel forget its image, whosever it is.  KexecError

    The kexec that does it holds the lock of those that load: one whose caller was killed would undo what comes after.
    """
    try:
        with held.loader() as lock:
            Kexec(host.in_any_case).unload((lock,))
    except Busy as error:
        raise KexecError(str(error)) from error


def give_up(host: Host, held: LockedDirectory) -> None:
    """Forget what we loaded, and what a shutdown has done about it.  KexecError, StateError, EditenvError"""
    try:
        take_back(host, held.state)
    finally:
        forget(host, held)


@contextmanager
def initrd_argument(sysroot: Sysroot, plan: Plan) -> Iterator[tuple[str | None, tuple[int, ...]]]:
    """The path for --initrd, and all descriptors: a single initrd is given as it is, several are joined in memory."""
    lent = sysroot.lent(paths(plan))
    if not plan.initrds:
        yield None, lent
        return
    if len(plan.initrds) == 1 and not plan.initrds[0].newc:
        yield sysroot.host(plan.initrds[0].path), lent
        return
    from kexec_hook.kernel.join import join

    sizes = []
    for item in plan.initrds:
        info = sysroot.stat(item.path)
        if info is None:
            raise SysrootError(item.path, "has vanished")
        sizes.append((item.path, item.newc, info.st_size))
    memory = os.memfd_create("initrd", os.MFD_CLOEXEC)
    try:
        for piece in join(sizes):
            if piece.path:
                _copy(
                    sysroot,
                    piece.path,
                    memory,
                    next(size for path, _, size in sizes if path == piece.path),
                )
            else:
                os.write(memory, piece.data)
        os.lseek(memory, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{memory}", (memory, *lent)
    finally:
        os.close(memory)


def _copy(sysroot: Sysroot, path: str, to: int, size: int) -> None:
    """Append a file, which must be as long as it was: the headers and the padding were made for that."""
    with sysroot.descriptor(path) as fd:
        left = size
        while left and (sent := os.sendfile(to, fd, None, min(left, _CHUNK))):
            left -= sent
        if left or os.read(fd, 1):
            raise SysrootError(path, "changed while it was being read")
