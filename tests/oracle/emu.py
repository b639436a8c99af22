"""What does real GRUB make of this script, or of this configuration?  Runs grub-emu and reads its console.

grub-emu is Debian's, unpatched; it gets a disk image, a pseudo-terminal, no capabilities (above all not
CAP_SYS_BOOT), an empty PATH and a deadline.  `halt`, `reboot` and `exit` only end the process (they longjmp out of its
main function).

**Scripts.**  A prelude on a second disk (hd77, which no configuration names) sources the script between two markers;
what stands between them, less GRUB's own `error: ...` lines, is the answer.  The terminal is so wide that nothing is
wrapped.

**Configurations.**  grub-emu 2.06 has no loader commands, so each is a GRUB function that prints its words, one to a
line, with $root, $chosen and whether the file is there, and returns the status that GRUB's command would have.  The
prelude sources the untouched grub.cfg and then sets only `timeout` (0 to boot, -1 to look) and `timeout_style`: a menu
that waits is GRUB's own, and a hidden menu without modifier keys waits three seconds.
- `boot_default` lets the menu boot by itself.  Nothing is ever loaded, so the body always returns; whether GRUB would
  have started something is worked out here: a loader command whose file is there has been run, and the body has ended.
  GRUB 2.06 boots then whatever the body's status was.  From then on nothing counts: grub-emu is killed during the 2.5 s
  it waits before an entry of `fallback`.
- `walk` presses keys: it reads titles and the highlighted entry off each menu drawn, enters the entry asked for, and
  afterwards lists the variables at GRUB's prompt.

**Limits.**  Ids cannot be seen, only $chosen while a loader command runs.  An explicit `boot` is known by GRUB's
complaint that nothing is loaded.  A second `linux` that fails after a first that worked leaves the first one set in
GRUB (grub_loader_set is not undone); what would boot then is not judged.  Restricted entries end at the user name
prompt.  `source` costs two levels of GRUB's recursion limit of 64; scripts that go that deep can be run `inline`.
Commands that hardware offers and grub-emu lacks (acpi, cpuid, drivemap, ...) are functions that do nothing; `fwsetup`
ends GRUB, as it does.  After a
`return` in an entry's body (not in a function) GRUB runs only the first command of each list, so that the functions
here cannot print: no answer then.  No answer either where GRUB follows a null pointer, as a number in `fallback` beyond
the menu makes it.  The variables that differ from a PC's (`EMU_ONLY`) are left out.  Titles lose trailing blanks, and
control characters show as blanks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern

from tests.oracle import disk
from tests.oracle.disk import Partition

GRUB_EMU = "/usr/bin/grub-emu"
LOADERS_OF_KERNELS = (
    "linux", "linux16", "linuxefi", "chainloader", "multiboot", "multiboot2", "xen_hypervisor",
)  # fmt: skip
LOADERS_OF_MORE = (
    "initrd", "initrd16", "initrdefi", "module", "module2", "xen_module", "xen_linux", "xen_initrd", "devicetree",
)  # fmt: skip
INERT = (
    "acpi", "badram", "cpuid", "cutmem", "drivemap", "gfxmode", "hdparm", "lsefi", "play", "setpci", "smbios", "uki",
    "bli", "getenv", "serial", "sendkey", "terminfo", "vbeinfo",
)  # fmt: skip
# Variables whose value is grub-emu's own, or the clock's, or the judge's.
_OTHER_VARIABLES = """
? DAY HOUR MINUTE MONTH SECOND WEEKDAY YEAR cmdpath config_directory config_file enable_progress_indicator lang
locale_dir secondary_locale_dir net_default_ip net_default_mac net_default_server pxe_default_server pager
check_signatures color_highlight color_normal judge_kernel judge_status judge_word judge_path
"""
EMU_ONLY = frozenset(_OTHER_VARIABLES.split())
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS = re.compile(r"\x1b\[\d+;\d+H *\[ [^\x1b\n]*\](?:\x1b\[[0-9;]*m)*\x1b\[\d+;\d+H")
_QUOTED_ERROR = re.compile(
    r"error: (?:can't find command `.*?'|file `.*?' not found|no such device: .*?|disk `.*?' not found"
    r"|unknown (?:command|argument) `.*?'|module `.*?' isn't loaded|variable `.*?' isn't set)\.\n",
    re.DOTALL,
)
_ERROR = re.compile(r"error: .*?\.\n", re.DOTALL)
_MENU_ROW = re.compile(r"\x1b\[\d+;3H([* ])([^\x1b]*)")
_ANY_KEY = r"Press any key to continue\.\.\."
_ENV_END = re.compile(r"\]env@@\n")
_COLUMNS = 400  # of a terminal that menus are drawn on: GRUB writes each blank by a system call
_WIDE = (30000, 60000)
CONFIG = "(hd0,gpt1)/boot/grub/grub.cfg"
NO_SETTINGS: Mapping[str, str] = {}


class GrubFailed(Exception):
    """grub-emu itself did not get through: it hung, or died before it said anything."""


@dataclass(frozen=True)
class ScriptRun:
    """The console of a script: `text` is without GRUB's errors, `raw` is with them."""

    text: str
    raw: str
    errors: tuple[str, ...]
    ended_early: bool
    seconds: float


@dataclass(frozen=True)
class Loader:
    """One loader command as it was run."""

    words: tuple[str, ...]
    opened: bool
    root: str
    chosen: str | None


@dataclass(frozen=True)
class BootRun:
    """What a configuration did when nobody touched a key."""

    env: Mapping[str, str]
    loaders: tuple[Loader, ...]
    booted: bool
    end: str
    errors: tuple[str, ...]
    grubenv: bytes | None
    seconds: float
    before_menu: bool  # the configuration itself has loaded something
    fell_back: bool

    @property
    def executed(self) -> list[list[str]]:
        return [list(loader.words) for loader in self.loaders]

    @property
    def chosen(self) -> str | None:
        return self.loaders[-1].chosen if self.booted and self.loaders else None


@dataclass(frozen=True)
class Menu:
    """A menu as it was drawn."""

    titles: tuple[str, ...]
    highlighted: int


@dataclass(frozen=True)
class WalkRun:
    """What was seen and run on the way to one entry; `depth` is how many submenus GRUB was in at the end."""

    path: tuple[int, ...]
    menus: tuple[Menu, ...]
    depth: int
    loaders: tuple[Loader, ...]
    env: Mapping[str, str]
    end: str
    seconds: float

    @property
    def executed(self) -> list[list[str]]:
        return [list(loader.words) for loader in self.loaders]


@dataclass(frozen=True)
class EntryRun:
    """One entry of the menu, and what running it did."""

    path: tuple[int, ...]
    title: str
    submenu: bool
    run: WalkRun


@dataclass
class _Console:
    """A running grub-emu and all it has written so far."""

    process: subprocess.Popen[bytes]
    fd: int
    deadline: float
    data: str = ""
    seen: int = 0
    open: bool = True
    _raw: bytearray = field(default_factory=bytearray)

    def _more(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.fd], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            chunk = os.read(self.fd, 1 << 20)
        except OSError:  # EIO: the other side has closed the terminal
            chunk = b""
        if not chunk:
            self.open = False
            return False
        self._raw += chunk
        self.data = self._raw.decode("utf-8", errors="replace").replace("\r", "")
        if b"--MORE--" in chunk:  # a configuration that sets `pager`; any key turns the page
            self.press(" ")
        return True

    def wait_for(self, pattern: Pattern[str]) -> re.Match[str] | None:
        """The next match behind everything waited for so far; None at the end of GRUB's life."""
        while True:
            match = pattern.search(self.data, self.seen)
            if match:
                self.seen = match.end()
                return match
            if not self.open:
                return None
            if time.monotonic() > self.deadline:
                raise GrubFailed(
                    "grub-emu took too long; its last words: " + clean(self.data)[-300:]
                )
            self._more(self.deadline - time.monotonic())

    def died(self) -> bool:
        """Whether a signal ended grub-emu, rather than `exit` or its kin."""
        return self.process.wait() < 0

    def press(self, keys: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self.fd, keys.encode())


def missing() -> str | None:
    """Why grub-emu cannot be run here, or None."""
    if not os.path.exists(GRUB_EMU):
        return "grub-emu is not installed"
    for name in ("sfdisk", "mke2fs", "debugfs", "setpriv"):
        if disk.find_tool(name) is None:
            return f"{name} is not installed"
    return None


def clean(console: str) -> str:
    """Console output without colours, cursor moves and progress indicators."""
    return re.sub(r"--MORE-- *", "", _ESCAPE.sub("", _PROGRESS.sub("", console)))


def split_errors(console: str) -> tuple[str, tuple[str, ...]]:
    """Text without GRUB's error messages, and the messages; a message may stand in mid-line or span lines."""
    text = []
    errors = []
    position = 0
    while True:
        start = console.find("error: ", position)
        if start < 0:
            break
        match = _QUOTED_ERROR.match(console, start) or _ERROR.match(console, start)
        if not match:
            break
        text.append(console[position:start])
        errors.append(match.group()[len("error: ") : -2])
        position = match.end()
    text.append(console[position:])
    return "".join(text), tuple(errors)


@contextlib.contextmanager
def _console(map_file: Path, columns: int, rows: int, seconds: float) -> Iterator[_Console]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    argv = [GRUB_EMU, "-m", str(map_file), "-r", "hd77", "-d", "/"]
    if os.geteuid() == 0:
        argv = [
            disk.tool("setpriv"),
            "--bounding-set=-all",
            "--no-new-privs",
            "--pdeathsig=KILL",
            *argv,
        ]
    # An ASCII locale makes GRUB 2.06 write UTF-8 (grub_console_init has the comparison the wrong way round).
    environment = {"PATH": "/nonexistent", "TERM": "vt100", "LC_ALL": "C", "SDL_VIDEODRIVER": "x11"}
    # grub-emu makes its input non-blocking; were it the same open file as the output, characters would be lost there.
    keyboard = os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY)
    process = subprocess.Popen(
        argv,
        stdin=keyboard,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
        cwd="/",
    )
    os.close(slave)
    os.close(keyboard)
    try:
        yield _Console(process, master, time.monotonic() + seconds)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _settings(values: Mapping[str, str]) -> str:
    given = {
        "root": "hd0,gpt1",
        "prefix": "(hd0,gpt1)/boot/grub",
        "grub_platform": "pc",
        "grub_cpu": "i386",
        **values,
    }
    given["cmdpath"] = given["prefix"]
    lines = [f"set {name}={_quote(value)}" for name, value in given.items()]
    lines.append("enable_progress_indicator=0")
    lines.append("export enable_progress_indicator")
    return "\n".join(lines) + "\n"


def _functions() -> str:
    report = """function judge_report {
 for judge_word in "$@"; do echo "@@w[$judge_word]w@@"; done
 echo "@@root[$root]"
 echo "@@chosen[$chosen]"
 unset judge_word
}
function judge_done {
 echo "@@status[$judge_status]"
 unset judge_path
}
function fwsetup {
 if [ "$1" = --is-supported ]; then true; else exit; fi
}
function judge_env {
 echo
 echo "@@env["
 set
 echo "]env@@"
}
function judge_find {
 if [ -f "$1" ]; then judge_status=0
 elif regexp --set 1:judge_path '^newc:[^:]*:(.*)$' "$1"; then
  if [ -f "$judge_path" ]; then judge_status=0; else judge_status=5; fi
 elif regexp '^(\\([^)]*\\))?([0-9]*\\+[0-9]+,?)+$' "$1"; then
  if [ -s "$1" ]; then judge_status=0; else judge_status=5; fi
 else judge_status=5; fi
}
"""
    lines = [report]
    for name in LOADERS_OF_KERNELS:
        lines.append(
            f"""function {name} {{
 echo "@@loader"
 if [ $# = 0 ]; then judge_report {name}; else judge_report {name} "$@"; fi
 if regexp -- '^--' "$1"; then judge_find "$2"; else judge_find "$1"; fi
 if [ $# = 0 ]; then judge_status=18; fi
 judge_done
 if [ $judge_status = 0 ]; then judge_kernel=1; export judge_kernel; unset judge_status
 elif [ $judge_status = 5 ]; then unset judge_status; unset judge_kernel; return 5
 else unset judge_status; unset judge_kernel; return 18; fi
}}
"""
        )
    for name in LOADERS_OF_MORE:
        lines.append(
            f"""function {name} {{
 echo "@@loader"
 if [ $# = 0 ]; then judge_report {name}; else judge_report {name} "$@"; fi
 if [ "$judge_kernel" = 1 -o {name} = devicetree ]; then
  judge_status=0
  for judge_word in "$@"; do if [ $judge_status = 0 ]; then judge_find "$judge_word"; fi; done
  unset judge_word
 else judge_status=18; fi
 if [ $# = 0 ]; then judge_status=18; fi
 judge_done
 if [ $judge_status = 0 ]; then unset judge_status
 elif [ $judge_status = 5 ]; then unset judge_status; return 5
 else unset judge_status; return 18; fi
}}
"""
        )
    for name in INERT:
        lines.append(f"function {name} {{ true; }}\n")
    return "".join(lines)


_PRELUDE = _functions()


@dataclass
class Grub:
    """Real GRUB beside some partitions; a directory of its own holds the images."""

    partitions: Sequence[Partition]
    directory: Path
    seconds: float = 20.0
    fresh: bool = False

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._image = self.directory / "hd0"
        self._pristine = self.directory / "hd0.pristine"
        if not self._pristine.exists() or self.fresh:
            disk.build(self._pristine, self.partitions)

    def _disks(self, files: Mapping[str, bytes]) -> Path:
        """Copy the disk, write the judge's own beside it, and a device map that names both."""
        # cp keeps the holes; shutil would fill them.
        subprocess.run(
            ["/bin/cp", "--sparse=always", str(self._pristine), str(self._image)], check=True
        )
        with tempfile.TemporaryDirectory(dir=self.directory) as tmp:
            for name, content in files.items():
                Path(tmp, name).write_bytes(content)
            second = self.directory / "hd77"
            disk.build_whole(second, Path(tmp))
        map_file = self.directory / "device.map"
        map_file.write_text(f"(hd0) {self._image}\n(hd77) {second}\n")
        return map_file

    def script(
        self, source: str | bytes, settings: Mapping[str, str] = NO_SETTINGS, inline: bool = False
    ) -> ScriptRun:
        """Run a script and return what it wrote."""
        start = time.monotonic()
        body = source.encode("utf-8", "surrogateescape") if isinstance(source, str) else source
        prelude = _settings({"grubshell": "yes", **settings}).encode() + b"echo '@@begin'\n"
        last = b"echo '@@end'\nexit\n"
        if inline:
            files = {"grub.cfg": prelude + body + b"\n" + last}
        else:
            files = {"grub.cfg": prelude + b"source (hd77)/script\n" + last, "script": body}
        map_file = self._disks(files)
        with _console(map_file, *_WIDE, self.seconds) as console:
            console.wait_for(re.compile(r"@@end\n"))
            output = console.data
        begin = output.find("@@begin\n")
        if begin < 0:
            raise GrubFailed("grub-emu never came to the script: " + clean(output)[-300:])
        output = output[begin + len("@@begin\n") :]
        end = output.rfind("@@end\n")
        raw = clean(output if end < 0 else output[:end])
        text, errors = split_errors(raw)
        return ScriptRun(text, raw, errors, end < 0, time.monotonic() - start)

    def _configuration(
        self, config: str, settings: Mapping[str, str], timeout: str, default: str | None = None
    ) -> Path:
        prelude = (
            _settings(settings) + _PRELUDE + f"source {_quote(config)}\nset pager=0\njudge_env\n"
        )
        prelude += f"set timeout={timeout}\nset timeout_style=menu\n"
        if default is not None:
            prelude += f"set default={_quote(default)}\n"
        return self._disks({"grub.cfg": prelude.encode()})

    def boot_default(
        self,
        config: str = CONFIG,
        settings: Mapping[str, str] = NO_SETTINGS,
        grubenv: str | None = None,
    ) -> BootRun:
        """Let the menu boot its default, and fall back, until GRUB would have started something."""
        start = time.monotonic()
        map_file = self._configuration(config, settings, "0")
        with _console(map_file, *_WIDE, self.seconds) as console:
            _expect(console, _ENV_END, "ended while it read the configuration")
            body = console.seen
            # What the configuration itself loads is still there when an entry ends.
            at_top = _loaders(console.data[:body])
            booted, end, stop = _until_booted(console, at_top)
            output = console.data[:stop]
        loaders = _loaders(output[body:])
        _, errors = split_errors(clean(output))
        after = disk.read_file(self._image, grubenv) if grubenv else None
        return BootRun(
            env=_env(output),
            loaders=loaders,
            booted=booted,
            end="booted" if booted else end,
            errors=errors,
            grubenv=after,
            seconds=time.monotonic() - start,
            before_menu=loaded(at_top),
            fell_back="Falling back to `" in output,
        )

    def walk(
        self,
        path: Sequence[int],
        config: str = CONFIG,
        settings: Mapping[str, str] = NO_SETTINGS,
        rows: int = 40,
    ) -> WalkRun:
        """Enter one entry after the other; what the last one draws, if it is a submenu, is the last menu.

        A component -1 takes what is highlighted, and walking stops at the first entry that is not a submenu.
        """
        start = time.monotonic()
        # An entry reads in $default what is left of it, so it has to be the path of what is entered.
        wish = ">".join(str(index) for index in path) if path and min(path) >= 0 else None
        map_file = self._configuration(config, settings, "-1", wish)
        # The last thing a menu draws is the line for its countdown: blanks, and the cursor back beside the entry.
        drawn = rf"(?P<drawn>\x1b\[{rows - 1};1H {{{_COLUMNS - 1}}}\x1b\[\d+;\d+H)"
        events = re.compile(
            rf"(?P<key>{_ANY_KEY})|(?P<prompt>grub> )|(?P<auth>Enter username: )|{drawn}"
        )
        menus: list[Menu] = []
        taken: list[int] = []
        env: Mapping[str, str] = {}
        with _console(map_file, _COLUMNS, rows, self.seconds) as console:
            _expect(console, _ENV_END, "ended while it read the configuration")
            body = console.seen
            todo = list(path)
            while True:
                event = console.wait_for(events)
                end = event.lastgroup if event and event.lastgroup else "exit"
                if end == "key":
                    console.press(" ")
                    continue
                if end != "drawn":
                    break
                menu = _menu(console.data[: console.seen])
                if not todo or (menus and todo[0] < 0):
                    asked = _ask_env(console)
                    if asked is None:
                        end = "auth"
                        menus.append(menu)
                        break
                    env = asked
                    if not todo or depth(env.get("chosen")) < len(taken):
                        menus.append(menu)
                        break
                    console.press("\x1b")
                    if not console.wait_for(events):
                        break
                menus.append(menu)
                wanted = todo.pop(0)
                if wanted >= 0:
                    step = wanted - menu.highlighted
                    console.press(("\x0e" if step > 0 else "\x10") * abs(step))
                taken.append(wanted if wanted >= 0 else menu.highlighted)
                console.press("\r")
            output = console.data[body:]
        level = depth(env.get("chosen"))
        return WalkRun(
            path=tuple(taken),
            menus=tuple(menus[: level + 1]),
            depth=level,
            loaders=_loaders(output),
            env=env,
            end=end,
            seconds=time.monotonic() - start,
        )

    def entries(
        self,
        config: str = CONFIG,
        settings: Mapping[str, str] = NO_SETTINGS,
        rows: int = 40,
        limit: int = 200,
    ) -> list[EntryRun]:
        """Every entry and the children of each submenu, each run by a GRUB of its own."""
        found: list[EntryRun] = []
        top = self.walk((), config, settings, rows)

        def below(prefix: tuple[int, ...], menu: Menu) -> None:
            for index, title in enumerate(menu.titles):
                if len(found) >= limit:
                    return
                path = (*prefix, index)
                run = self.walk(path, config, settings, rows)
                is_submenu = run.depth == len(path) and run.end == "drawn"
                found.append(EntryRun(path, title, is_submenu, run))
                if is_submenu and len(path) < 8:
                    below(path, run.menus[-1])

        if top.menus:
            below((), top.menus[0])
        return found


def _until_booted(console: _Console, at_top: Sequence[Loader] = ()) -> tuple[bool, str, int]:
    """Follow the menu until an entry has loaded something, or GRUB waits or ends: booted, how it ended, and where."""
    events = re.compile(
        rf"(?P<key>{_ANY_KEY})|(?P<fallback>Falling back to `)|(?P<failed>Failed to boot both)"
        r"|(?P<prompt>grub> )|(?P<menu>select which entry is highlighted)|(?P<auth>Enter username: )"
        r"|(?P<boot>error: you need to load the kernel first\.)"
    )
    segment = console.seen
    while True:
        event = console.wait_for(events)
        kind = event.lastgroup if event else None
        stop = event.start() if event else len(console.data)
        if kind == "key":
            console.press(" ")
            continue
        if kind in ("auth", "prompt"):
            return False, kind or "", stop
        found = (*at_top, *_loaders(console.data[segment:stop]))
        if kind is None and loaded(found) and console.died():
            return (
                True,
                "booted",
                stop,
            )  # GRUB would not have come to the entry of `fallback` that is not there
        if kind is None:
            if console.died():
                raise GrubFailed("GRUB followed a null pointer")
            return False, "exit", stop
        booted = loaded(found)
        if kind == "boot" and not booted:
            continue
        if booted or kind != "fallback":
            return booted, kind, stop
        segment = stop


def boot_disks(
    disks: Mapping[str, Path], directory: Path, settings: Mapping[str, str], seconds: float
) -> BootRun:
    """Boot whole disks as they are; save_env writes to them.  The configuration itself sets timeout to 0."""
    start = time.monotonic()
    # A loader opens its file; test -f only looks into the directory.
    prelude = (
        _settings(settings) + _PRELUDE.replace('[ -f "$', '[ -s "$') + 'source "$prefix/grub.cfg"\n'
    )
    judge = directory / "hd77"
    with tempfile.TemporaryDirectory(dir=directory) as tmp:
        Path(tmp, "grub.cfg").write_text(prelude)
        disk.build_whole(judge, Path(tmp))
    map_file = directory / "device.map"
    map_file.write_text(
        "".join(f"({name}) {image}\n" for name, image in {**disks, "hd77": judge}.items())
    )
    with _console(map_file, *_WIDE, seconds) as console:
        booted, end, stop = _until_booted(console)
        output = console.data[:stop]
    _, errors = split_errors(clean(output))
    loaders, seconds = _loaders(output), time.monotonic() - start
    fell_back = "Falling back to `" in output
    return BootRun(
        {}, loaders, booted, "booted" if booted else end, errors, None, seconds, False, fell_back
    )


def _expect(console: _Console, pattern: Pattern[str], otherwise: str) -> None:
    if not console.wait_for(pattern):
        raise GrubFailed(f"grub-emu {otherwise}: {clean(console.data)[-300:]}")


def _ask_env(console: _Console) -> dict[str, str] | None:
    """Go from the menu to GRUB's prompt and list the variables; None where a password is asked for."""
    console.press("c")
    event = console.wait_for(re.compile(r"(?P<prompt>grub> )|Enter username: "))
    if not event or not event.lastgroup:
        return None
    # One command: after a `return` in an entry's body GRUB runs only the first command of every list.
    start = console.seen
    console.press("set\n")
    if not console.wait_for(re.compile(r"grub> ")):
        return None
    return _variables(clean(console.data[start : console.seen]).partition("\n")[2])


def depth(chosen: str | None) -> int:
    """How many entries lead here: $chosen is their ids, joined by single `>`."""
    return 0 if chosen is None else len(chosen.replace(">>", "").split(">"))


def _menu(console: str) -> Menu:
    """Read the menu that was drawn last."""
    text = console[console.rindex("\x1b[H\x1b[J") :]
    rows = _MENU_ROW.findall(re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]", "", text))
    stars = [index for index, (star, _) in enumerate(rows) if star == "*"]
    titles = [title.rstrip() for _, title in rows]
    while titles and not titles[-1] and len(titles) - 1 > max(stars, default=0):
        titles.pop()
    return Menu(tuple(titles), stars[0] if stars else 0)


def _loaders(output: str) -> tuple[Loader, ...]:
    found = []
    for block in output.split("@@loader\n")[1:]:
        words = re.findall(r"@@w\[(.*?)\]w@@\n", block, re.DOTALL)
        if not words:
            raise GrubFailed(
                "after a `return` in a body, a function runs its first command only: no words to be seen"
            )
        root = re.search(r"@@root\[(.*?)\]\n", block, re.DOTALL)
        chosen = re.search(r"@@chosen\[(.*?)\]\n", block, re.DOTALL)
        status = re.search(r"@@status\[(.*?)\]\n", block)
        found.append(
            Loader(
                tuple(words),
                bool(status) and status is not None and status.group(1) == "0",
                root.group(1) if root else "",
                chosen.group(1) if chosen else None,
            )
        )
    return tuple(found)


def loaded(loaders: Sequence[Loader]) -> bool:
    """Whether a kernel is loaded once these commands have been run."""
    results = [loader.opened for loader in loaders if loader.words[0] in LOADERS_OF_KERNELS]
    if any(results) and not results[-1]:
        raise GrubFailed(
            "a kernel was loaded, and then another was not: what GRUB boots then is not known"
        )
    return any(results)


def _env(output: str) -> dict[str, str]:
    start = output.find("@@env[\n") + len("@@env[\n")
    return _variables(clean(output[start : output.find("]env@@\n", start)]))


def _variables(listing: str) -> dict[str, str]:
    """What `set` listed, less what is grub-emu's own; a value may span lines."""
    env: dict[str, str] = {}
    name = None
    for line in listing.split("\n")[:-1]:
        head, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[^\s=]+", head):
            name = head
            env[name] = value
        elif name is not None:
            env[name] += "\n" + line
    return {name: value for name, value in env.items() if name not in EMU_ONLY}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for images; in memory where that is possible."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="kexec-hook-oracle-", dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
