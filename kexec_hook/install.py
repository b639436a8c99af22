"""The files by which package managers and systemd call kexec-hook: where they go, what they say, and whose they are.

Distributions' packages bring them by themselves.  For an installation by pip or pipx they are written from the same
sources, with its own program in the place of /usr/bin/kexec-hook and a line at the end that says whose they are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from kexec_hook.errors import KexecHookError
from kexec_hook.plugins.api import PackageManager
from kexec_hook.system.sysroot import MissingError, NotPermittedError, Sysroot, SysrootError
from kexec_hook.tuples import NamedTuple

PACKAGED = "/usr/bin/kexec-hook"  # as the files in hooks/ and systemd/ name the program
MARK = "Put here by `kexec-hook hooks install`"
OURS = "kexec-hook"  # the group of what serves all the others
SYSTEMD = "systemd"
UNITS = "/etc/systemd/system"

_HERE = Path(__file__).resolve().parent
# Shell, unit files and Python are all written into; a path that is plain in one might not be in another.
_PLAIN = r"[A-Za-z0-9/._+-]+"

State = Literal["installed", "outdated", "missing", "foreign", "unused"]


class InstallError(KexecHookError):
    """A file could not be written or removed, or must not be; one sentence."""


class Program(NamedTuple):
    """The installed kexec-hook."""

    python: str  # with its own packages: a virtual environment's
    script: str

    @property
    def words(self) -> str:
        """How files call it: as root, hence -I; and paths are UTF-8 in any locale."""
        return PACKAGED if self.script == PACKAGED else f"{self.python} -IXutf8 {self.script}"


class Glue(NamedTuple):
    """A file to be installed."""

    group: str  # whom it serves: kexec-hook, systemd, or the name of a package manager
    path: str  # below the root
    text: str  # as a distribution's package would have it
    settings: bool = False  # once it is there, it is the administrator's

    def marked(self, made: str = "") -> str:
        """What is written; `made` is the highest directory that was made for it."""
        comment = re.search(r"^(//|#)", self.text, re.MULTILINE)
        if comment is None:  # nothing in it can say whose it is
            return self.text
        also = f", with {made}" if made else ""
        return f"{self.text}{comment[1]} {MARK}{also}; `kexec-hook hooks remove` takes it away.\n"

    @property
    def mode(self) -> int:
        return 0o755 if self.text.startswith("#!") else 0o644


class Found(NamedTuple):
    """What is there in its place."""

    state: State
    path: str
    ours: bool = False  # `hooks install` wrote it
    made: str = ""  # with this directory


def this_program(called: str | None = None, python: str | None = None) -> Program:
    """The program that runs now.  GlueError where its path cannot be written into scripts and units."""
    python = python or sys.executable
    script = os.path.abspath(called or sys.argv[0])
    if os.path.basename(script) != "kexec-hook":  # python3 -m kexec_hook
        script = os.path.join(os.path.dirname(python), "kexec-hook")
    for path in (python, script):
        if not os.path.isfile(path):
            raise InstallError(f"there is no {path}; run the installed program `kexec-hook`")
        if not re.fullmatch(_PLAIN, path):
            raise InstallError(
                f"{path!r} would have to be quoted in scripts and units; install it in another directory"
            )
    return Program(python, script)


def strangers(program: Program, owner: int = 0) -> str:
    """Who else than root could change what would run as root; empty where nobody can."""
    names = (*program, str(_HERE))
    paths = {above for path in (*names, *map(os.path.realpath, names)) for above in _way(path)}
    for path in sorted(paths):
        info = os.lstat(path)
        sticky = stat.S_ISLNK(info.st_mode) or (
            stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
        )
        if info.st_uid not in (0, owner):
            return f"{path} does not belong to root"
        if info.st_mode & 0o022 and not sticky:
            return f"{path} can be written by others than root"
    return ""


def _way(path: str) -> Iterator[str]:
    yield path
    while path != "/":
        path = os.path.dirname(path)
        yield path


def files(sysroot: Sysroot, program: Program, managers: Iterable[PackageManager]) -> list[Glue]:
    """Everything that could be installed here.  GlueError where a plugin names a file that is not there."""
    data, hooks, units = _HERE / "data", _sources("hooks"), _sources("systemd")
    found = [Glue(OURS, "/etc/kexec-hook.conf", _text(data / "kexec-hook.conf"), settings=True)]
    for name in ("run", "boot", "gap", "watchdog"):
        found.append(Glue(OURS, f"/usr/lib/kexec-hook/{name}", _text(hooks / name, program)))
    for manager in managers:
        for source, pattern in manager.glue:
            text = _text(hooks / source, program)
            found += [Glue(manager.name, path, text) for path in _expand(sysroot, pattern)]
    for path in sorted(units.rglob("*")):
        if path.is_file():
            found.append(Glue(SYSTEMD, f"{UNITS}/{path.relative_to(units)}", _text(path, program)))
    return found


def here(sysroot: Sysroot, manager: PackageManager) -> bool:
    """Does this root have that package manager?  One that names no databases is taken for granted."""
    asked = (manager.databases, manager.programs)
    return all(any(map(sysroot.exists, paths)) for paths in asked if paths)


def _sources(name: str) -> Path:
    """In the installed package; in a checkout beside it."""
    packaged = _HERE / "data" / name
    return packaged if packaged.is_dir() else _HERE.parent / name


def troubleshooting() -> str:
    """docs/troubleshooting.md.  InstallError where the installation does not have it."""
    packaged = _HERE / "data/troubleshooting.md"
    return _text(packaged if packaged.is_file() else _HERE.parent / "docs/troubleshooting.md")


def _text(path: Path, program: Program | None = None) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(
            f"{path} cannot be read: {error}; install the package that it comes from once more"
        ) from error
    if program is None or program.script == PACKAGED:
        return text
    # The shutdown unit must not outlive what it runs.
    mounts = sorted({os.path.dirname(path) for path in program if not path.startswith("/usr/")})
    text = text.replace(
        "\nRequiresMountsFor=", "\nRequiresMountsFor=" + "".join(f"{path} " for path in mounts)
    )
    return text.replace(PACKAGED, program.words)


def _expand(sysroot: Sysroot, pattern: str) -> list[str]:
    """The paths that a pattern stands for; all but the last directory have to be there.  Without a match, itself."""
    if not _is_pattern(pattern):
        return [pattern]
    *above, directory, name = pattern.strip("/").split("/")
    paths = [""]
    for part in above:
        names = {path: sysroot.listdir(path) if _is_pattern(part) else [part] for path in paths}
        paths = [
            f"{path}/{name}" for path in paths for name in names[path] if fnmatchcase(name, part)
        ]
    # `python3*/dnf/../dnf-plugins` is beside each dnf
    found = [
        posixpath.normpath(f"{path}/{directory}/{name}") for path in paths if sysroot.is_dir(path)
    ]
    return found or [pattern]


def _is_pattern(text: str) -> bool:
    return bool(set(text) & set("*?["))


def look(sysroot: Sysroot, glue: Glue) -> Found:
    """What is there already.  NotPermittedError where we are not allowed to know."""
    for path in _places(glue.path):
        try:
            content = sysroot.read(path, follow=False)
        except MissingError:
            continue
        except NotPermittedError:
            raise
        except SysrootError:  # a link to /dev/null, say
            return Found("foreign", path)
        return _judge(glue, path, content.decode("utf-8", "surrogateescape"))
    return Found("unused" if _is_pattern(glue.path) else "missing", glue.path)


def _judge(glue: Glue, path: str, content: str) -> Found:
    said = re.search(rf"^(?://|#) {re.escape(MARK)}(?:, with (/.*?))?;", content, re.MULTILINE)
    made = (said[1] or "") if said else ""
    if content == glue.marked(made):
        return Found("installed", path, path == glue.path, made)
    if glue.settings or content == glue.text:
        return Found("installed", path)
    if said and path == glue.path:
        return Found("outdated", path, ours=True, made=made)
    return Found("foreign", path)


def _places(path: str) -> tuple[str, ...]:
    """Packages put units and the like into /usr/lib, and /etc goes before it."""
    return (path, "/usr/lib" + path[len("/etc") :]) if path.startswith("/etc/") else (path,)


def put(sysroot: Sysroot, glue: Glue, made: str = "") -> None:
    """Write a file, whole or not at all; `made` is the directory that was made for it before."""
    try:
        parent = posixpath.dirname(glue.path)
        made = _make(sysroot, parent) or made
        directory = Path(sysroot.host(parent))
        name = posixpath.basename(glue.path)
        new = directory / f".{name}.new"  # run-parts, apt, dnf and systemd read no hidden files
        fd = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(fd, "w", encoding="utf-8", closefd=False) as file:
                file.write(glue.marked(made))
            os.fchmod(fd, glue.mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(new, directory / name)
        _sync(directory)
    except OSError as error:
        raise InstallError(
            f"{glue.path} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error


def _make(sysroot: Sysroot, directory: str) -> str:
    """Make a directory and those above it; the highest that was missing."""
    missing = [path for path in _way(directory) if not sysroot.is_dir(path)]
    for path in reversed(missing):
        made = Path(sysroot.host(path))
        os.mkdir(made)
        os.chmod(made, 0o755)  # noqa: S103 - whatever the umask is, as a package's would be
    return missing[-1] if missing else ""


def take(sysroot: Sysroot, glue: Glue, made: str) -> None:
    """Remove a file, what Python made of it, and the directories that were made for it."""
    directory = Path(sysroot.host(posixpath.dirname(glue.path)))
    name = posixpath.basename(glue.path)
    try:
        os.unlink(directory / name)
        if name.endswith(".py"):
            for compiled in directory.glob(f"__pycache__/{name[:-3]}.*.pyc"):
                os.unlink(compiled)
            _remove_empty(directory / "__pycache__")
        for path in _way(posixpath.dirname(glue.path)) if made else ():
            if posixpath.commonpath((path, made)) == made:
                _remove_empty(Path(sysroot.host(path)))
    except OSError as error:
        raise InstallError(
            f"{glue.path} cannot be removed: {(error.strerror or str(error)).lower()}"
        ) from error


def _remove_empty(directory: Path) -> None:
    """Others may have put something there, or taken it away."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
