"""The units that are shipped, as systemd would run their commands, on a directory that stands for the machine."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.machine import PROJECT, Box

SYSTEMD = PROJECT / "systemd"
SHUTDOWN = "kexec-hook.service"
# The units of systemd that our drop-ins change: the last of a shutdown to run.
REBOOT = "systemd-reboot.service"
KEXEC = "systemd-kexec.service"
# What each boot passes, and where a shutdown may end that comes to nothing: there the early units are stopped.
EARLY = {"local-fs.target", "sysinit.target", "basic.target"}
SHORT = {"rescue.target", "emergency.target"}

# What stands below the root in the commands; /bin, /dev and the shell's own /proc/$$ do not.
_BELOW = re.compile(r"(?<![\w./}])/(?:run|sys|proc(?!/\$\$)|var|boot|etc|no-kexec-reboot)(?![\w-])")
_SHIPPED = "/usr/lib/kexec-hook/"
_CALLED = "/usr/bin/kexec-hook"


class Command(NamedTuple):
    """A line of a unit: may it fail, and what it runs."""

    unit: str
    may_fail: bool
    argv: tuple[str, ...]

    def program(self, box: Box) -> Callable[[], object]:
        """What a process of its own does to be this command."""
        if self.argv[0] == _CALLED:
            return kexec_hook(box, *self.argv[1:])
        argv = [below(box, word) for word in self.argv]
        env = {"PATH": str(box.bin), "LC_ALL": "C"}
        return lambda: os.execve(argv[0], argv, env)


def kexec_hook(box: Box, *argv: str) -> Callable[[], object]:
    """The installed command, on this machine."""

    def program() -> None:
        import sys

        from kexec_hook.__main__ import run

        sys.argv[1:] = argv
        run(box.host)

    return program


def below(box: Box, text: str) -> str:
    """A word or a script, with the machine's paths in place of our own."""
    text = _BELOW.sub(lambda found: f"{box.root}{found[0]}", text)
    text = text.replace(_SHIPPED, f"{box.lib}/shipped/").replace(_CALLED, f"{box.bin}/kexec-hook")
    return re.sub(r"^PATH=.*$", f"PATH={box.bin}", text, flags=re.MULTILINE)


def read(path: Path) -> list[tuple[str, str, str]]:
    """(section, key, value) of a unit, in its order; systemd.syntax(7)."""
    found = []
    section = ""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = line[1:-1]
        else:
            key, _, value = line.partition("=")
            found.append((section, key.strip(), value.strip()))
    return found


def commands(path: Path, key: str) -> list[Command]:
    """What `ExecStart=` and its like hold, after the last empty one has cleared the list."""
    found: list[Command] = []
    for _, name, value in read(path):
        if name != key:
            continue
        if not value:
            found.clear()
            continue
        prefix = re.match(r"[-@:+!|]*", value)
        assert prefix
        words = shlex.split(value[prefix.end() :])
        assert not any("${" in word.replace("$$", "") for word in words), (
            f"{path}: systemd would expand {value}"
        )
        argv = tuple(word.replace("$$", "$").replace("%%", "%") for word in words)
        found.append(Command(path.name, "-" in prefix[0], argv))
    return found


def last_commands(systemd: Path, unit: str) -> list[Command]:
    """What our drop-ins have a unit of systemd run at the very end of a shutdown."""
    files = sorted((systemd / f"{unit}.d").glob("*.conf"))
    assert files, f"no drop-in for {unit}"
    return [command for file in files for command in commands(file, "ExecStart")]


def stop_commands(systemd: Path) -> list[Command]:
    """What the shutdown runs first."""
    unit = systemd / SHUTDOWN
    return commands(unit, "ExecStop") + commands(unit, "ExecStopPost")


def named(systemd: Path, word: str) -> list[Command]:
    """What a boot starts that has this word in its unit's name or in its own."""
    found = [command for path in boot_units(systemd) for command in commands(path, "ExecStart")]
    return [command for command in found if word in " ".join((command.unit, *command.argv))]


def boot_units(systemd: Path, target: str = "multi-user.target") -> Iterator[Path]:
    """The services that come with a target, the earlier ones first."""
    found = []
    for path in sorted(systemd.glob("*.service")):
        values = read(path)
        wanted = {word for _, key, value in values if key == "WantedBy" for word in value.split()}
        late = target in wanted
        if late or (wanted & EARLY and target not in SHORT):
            before = any(key == "Before" and "grub" in value for _, key, value in values)
            found.append((late, not before, path.name, path))
    return (path for *_, path in sorted(found))


def starts(box: Box, path: Path) -> bool:
    """Do its conditions hold?"""
    for section, key, value in read(path):
        if section != "Unit" or not key.startswith(("Condition", "Assert")):
            continue
        negated, value = value.startswith("!"), value.lstrip("!")
        if _condition(box, key, value) == negated:
            return False
    return True


def _condition(box: Box, key: str, value: str) -> bool:
    if key == "ConditionPathExists":
        return (box / value).exists()
    if key == "ConditionPathExistsGlob":
        return any(fnmatch(str(path), str(box / value)) for path in (box / value).parent.glob("*"))
    if key == "ConditionDirectoryNotEmpty":
        return (box / value).is_dir() and any((box / value).iterdir())
    if key == "ConditionKernelCommandLine":
        return value in (box / "proc/cmdline").read_text().split()
    if key in ("ConditionVirtualization", "ConditionArchitecture"):
        return key == "ConditionVirtualization" and value != "container"
    raise AssertionError(f"{key}= is not known here")
