"""The act: what a run decided is loaded, kept, or unloaded, and the record says which; only under the lock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from kexec_hook import __version__
from kexec_hook.decision.decide import env_file
from kexec_hook.kernel.plan import Plan
from kexec_hook.plugins.api import Objection, Run, Trigger
from kexec_hook.state import record
from kexec_hook.state.record import NoRecord, Staged
from kexec_hook.system import systemd as units
from kexec_hook.system.directory import Held
from kexec_hook.system.host import World
from kexec_hook.system.kexec import LOADED, Kexec, KexecError
from kexec_hook.system.sysroot import Sysroot, SysrootError

Outcome = Literal["staged", "unchanged", "declined", "failed"]

_CHUNK = 1 << 20  # bytes


class Done(NamedTuple):
    """What came of a run."""

    outcome: Outcome
    run: Run
    seconds: float = 0.0  # that kexec took
    error: str = ""  # failed: one sentence
    vetoed: bool = False  # staged, and nobody is there who would approve the jump
    left: bool = False  # declined or failed, and the kernel holds an image all the same: an administrator's, mostly


def carry_out(world: World, held: Held, decide: Callable[[], Run], *, anew: bool = False) -> Done:
    """Decide and act.  Where files change between the two, decide once more.

    `anew`: load also what seems to be loaded, since the kernel does not tell whose image it holds.
    """
    for again in (True, False):
        run = decide()
        done = act(world, held, run, anew=anew)
        if done.outcome != "failed" or not again or not run.sysroot.changed():
            break
    return done


def act(world: World, held: Held, run: Run, *, anew: bool = False) -> Done:
    """Load what was decided; unload what was loaded by us and is no longer right.  Nothing stale survives a failure."""
    before = record.read_staged(held.state)
    ours = isinstance(before, Staged) or before.found
    record.withdraw(held.state)  # of a shutdown that came to nothing
    try:
        if run.declined or run.plan is None:
            # A chroot may share /run with the machine.
            theirs = ours and any(objection.elsewhere for objection in run.objections)
            if ours and not theirs:
                forget(world, held)
            return Done("declined", run, left=theirs or Kexec(world).loaded())
        wanted = staged(run, run.plan)
        if anew:
            Kexec(world).unload()  # before the load, so that memory need not hold both
        elif isinstance(before, Staged) and still(before, wanted) and Kexec(world).loaded():
            if before._replace(time=wanted.time) != wanted:
                record.write_staged(held, wanted)
            return Done("unchanged", run)
        return _load(world, held, run, run.plan, wanted)
    except KexecError as error:
        return Done("failed", run, error=str(error), left=Kexec(world).loaded())


def staged(run: Run, plan: Plan) -> Staged:
    """The record of a run, as it is when everything has gone well."""
    for path in (plan.kernel, *(initrd.path for initrd in plan.initrds), *filter(None, [plan.devicetree])):
        run.sysroot.stat(path)
    default = run.result.default if run.result else None
    pending = run.machine.pending if run.machine and run.result else []
    return Staged(
        state="staged",
        version=__version__,
        time=time.time(),
        wanted=run.trigger.entry,
        running=run.trigger.running,
        entry_path=">".join(map(str, default.path)) if default else "",
        entry_titles=tuple(entry.title for entry in default.entries) if default else (),
        entry_id=default.entries[-1].id if default else "",
        entry_source=str(default.entries[-1].span) if default else "",
        kernel=plan.kernel,
        initrds=tuple(f"newc:{item.newc}:{item.path}" if item.newc else item.path for item in plan.initrds),
        devicetree=plan.devicetree,
        cmdline=plan.cmdline,
        release=plan.release or "",
        env_file=env_file(run, pending[0].path) if pending else None,
        env_writes={write.name: write.value for write in pending},
        commands=(plan.argv(),),
        reads=dict(run.sysroot.reads),
    )


def still(before: Staged, wanted: Staged) -> bool:
    """Is the image that was loaded then the one that is wanted now?"""
    same = (before.state, before.initrds, before.commands) == (wanted.state, wanted.initrds, wanted.commands)
    files = [wanted.kernel, *wanted.initrds, *filter(None, [wanted.devicetree])]
    paths = [file.split(":", 2)[2] if file.startswith("newc:") else file for file in files]
    return same and all(before.reads.get(path) == wanted.reads.get(path) is not None for path in paths)


def decide_again(found: Staged | NoRecord, source: str, decide: Callable[[Trigger], Run], *, dry: bool = False) -> Run:
    """Decide as somebody asked for it: GRUB's default, or what `stage --entry` or `--running` named then.

    The same words may name something else by now; then it is not what was asked for.
    """
    if not isinstance(found, Staged) or not asked_for(found):
        return decide(Trigger(source, dry=dry))
    run = decide(Trigger(source, entry=found.wanted, dry=dry, running=found.running))
    if run.plan is None:
        return run
    now = staged(run, run.plan)
    if (now.commands, now.initrds) == (found.commands, found.initrds):
        return run
    reason = f"`stage {asked_for(found)}` asked for something else when it was called than it would now; call it again"
    return run._replace(objections=(*run.objections, Objection(reason)))


def asked_for(found: Staged) -> str:
    """The option by which something else than GRUB's default was asked for; empty where it was not."""
    if found.wanted is not None:
        return f"--entry {found.wanted}"
    return "--running" if found.running else ""


def _load(world: World, held: Held, run: Run, plan: Plan, wanted: Staged) -> Done:
    kexec = Kexec(world)
    record.withdraw(held.state)
    record.write_staged(held, wanted._replace(state="loading"))
    started = time.monotonic()
    try:
        with initrd_argument(run.sysroot, plan) as (initrd, fds):
            # With the lock: where we are killed, kexec goes on, and whoever comes next has to see what it loads.
            kexec.run(plan.below(run.sysroot).argv(initrd), (*fds, held.fd))
        if not kexec.loaded():
            raise KexecError("kexec said it had loaded the kernel, but /sys/kernel/kexec_loaded says it has not")
        changed = run.sysroot.changed()
        if changed:
            raise KexecError(f"{changed[0]} changed while the kernel was being loaded; try again")
        record.write_staged(held, wanted)
    except BaseException as error:
        forget(world, held)
        if isinstance(error, (SysrootError, OSError)):
            raise KexecError(f"the kernel could not be loaded: {error}") from error
        raise
    seconds = time.monotonic() - started
    # The unit itself is no more active, or not yet again, when it finalizes.
    vetoed = run.trigger.source != "finalize" and units.vetoed(world.programs, world.sysroot())
    return Done("staged", run, seconds, vetoed=vetoed)


def forget(world: World, held: Held) -> None:
    """Unload what we loaded, and the record with it.  KexecError where it stays loaded; then the record stays too."""
    record.withdraw(held.state)
    Kexec(world).unload()
    if world.fact(LOADED) != "0":
        raise KexecError(f"whether the kernel still holds it is not known: {LOADED} cannot be read")
    held.state.remove(record.STAGED)


@contextmanager
def initrd_argument(sysroot: Sysroot, plan: Plan) -> Iterator[tuple[str | None, tuple[int, ...]]]:
    """The path for --initrd, and the descriptors behind it: a single initrd as it is, several joined in memory."""
    if not plan.initrds:
        yield None, ()
        return
    if len(plan.initrds) == 1 and not plan.initrds[0].newc:
        yield str(sysroot.host(plan.initrds[0].path)), ()
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
                _copy(sysroot, piece.path, memory, next(size for path, _, size in sizes if path == piece.path))
            else:
                os.write(memory, piece.data)
        os.lseek(memory, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{memory}", (memory,)
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
