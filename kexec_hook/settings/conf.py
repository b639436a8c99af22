"""What the administrator wants: kexec-hook's settings, and those of Debian's kexec-tools below them.

    file    = { line }
    line    = [ blanks ] [ "#" comment ] | key [ blanks ] "=" value
    key     = one of KEYS
    value   = the rest of the line, without the blanks around it; a "#" in it is no comment

    yes-no  = "yes" | "no" | "true" | "false" | "on" | "off" | "1" | "0"
    words   = words between blanks; double quotes keep blanks together, and stay, as on a kernel command line
    select  = "grub" | "newest" | "running" | "kexec-default" | [ "entry:" ] entry

A later file replaces what an earlier one says of a key, also where it is a list:
/etc/default/kexec, /etc/default/kexec.d/*, /etc/kexec-hook.conf, /etc/kexec-hook.conf.d/*.conf, command line.
No file is ever run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from kexec_hook.kernel.cmdline import words as _kernel_words
from kexec_hook.settings.shellvars import Assigned, assignments
from kexec_hook.settings.shellvars import SettingsError as SettingsError
from kexec_hook.tuples import NamedTuple

CONF = "/etc/kexec-hook.conf"
CONF_D = "/etc/kexec-hook.conf.d"
DEFAULT = "/etc/default/kexec"
DEFAULT_D = "/etc/default/kexec.d"
BUILT_IN = "built in"
COMMAND_LINE = "command line"

T = TypeVar("T")


class Files(Protocol):
    """What is read through; a Sysroot is one."""

    def exists(self, path: str) -> bool: ...

    def is_file(self, path: str) -> bool:
        """Is it a regular file, or a link to one?"""

    def is_loop(self, path: str) -> bool:
        """Is it a link that leads in a circle?  Then it cannot be read, and that is an error."""

    def is_broken_link(self, path: str) -> bool:
        """Is it a link that leads nowhere, or in a circle?"""

    def text(self, path: str) -> str: ...

    def listdir(self, path: str) -> list[str]:
        """The names in a directory; none where there is no such directory."""


class Setting(Generic[T]):
    """A value, and the file:line it comes from."""

    def __init__(self, value: T, origin: str = BUILT_IN) -> None:
        self.value = value
        self.origin = origin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setting) and (self.value, self.origin) == (
            other.value,
            other.origin,
        )

    def __repr__(self) -> str:
        return f"Setting({self.value!r}, {self.origin!r})"


class Selection(NamedTuple):
    """Who chooses what is staged."""

    how: str  # grub, newest, running, kexec-default, entry
    entry: str = ""  # as GRUB's `default` names it: 1>2, a title, an id

    def __str__(self) -> str:
        return f"entry:{self.entry}" if self.how == "entry" else self.how


class KexecDefault(NamedTuple):
    """What /etc/default/kexec names as given; empty: no initrd, the running command line without BOOT_IMAGE."""

    kernel_image: Setting[str]
    initrd: Setting[str]
    append: Setting[str]


class Settings(NamedTuple):
    load: Setting[bool]
    when: Setting[str]  # upgrade, always: what `run` stages
    use_grub_config: Setting[bool]
    # use_grub_config = no counts as kexec-default where no `select` was given
    select: Setting[Selection]
    remove_parameters: Setting[tuple[str, ...]]
    append_parameters: Setting[tuple[str, ...]]
    panic_timeout: Setting[int]  # seconds; 0: the command line stays without panic=
    kexec_args: Setting[tuple[str, ...]]
    decline_if_module: Setting[tuple[str, ...]]  # with `_`, as in /proc/modules
    allow_known_bad: Setting[tuple[str, ...]]  # names of plugins/builtin/known.py
    allow_tpm: Setting[bool]
    require_trial: Setting[bool]
    watchdog: Setting[int]  # seconds; 0: systemd is told nothing; hooks/watchdog reads it
    flavour: Setting[str]  # empty: that of the distribution
    kexec_default: KexecDefault


class WrongValueError(ValueError):
    """A value, and the word in it that is wrong."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


def yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in {"yes", "true", "on", "1", "no", "false", "off", "0"}:
        raise WrongValueError(f"`{text}` is neither yes nor no", text)
    return word in {"yes", "true", "on", "1"}


def kernel_words(text: str) -> tuple[str, ...]:
    if text.count('"') % 2:
        raise WrongValueError("this quote is never closed", text[text.rindex('"') :])
    return tuple(_kernel_words(text))


def selection(text: str) -> Selection:
    if text.startswith("entry:") and len(text) > len("entry:"):
        return Selection("entry", text[len("entry:") :])
    if text in SELECT:
        return Selection(text)
    if text[0] in "'\"" and text[-1] == text[0]:
        raise WrongValueError("quotes would be part of the entry's name; write it without", text)
    if re.match(rf"({'|'.join(SELECT)})\s+#", text):
        raise WrongValueError("a comment needs a line of its own", text[text.index("#") :])
    return Selection("entry", text)


def seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text):
        raise WrongValueError(f"`{text}` is not a number of seconds", text)
    return int(text)


def modules(text: str) -> tuple[str, ...]:
    wrong = next((word for word in text.split() if not re.fullmatch("[A-Za-z0-9_-]+", word)), None)
    if wrong is not None:
        raise WrongValueError(
            f"`{wrong}` is not the name of a module; write names with blanks between them", wrong
        )
    return tuple(word.replace("-", "_") for word in text.split())


def names(text: str) -> tuple[str, ...]:
    wrong = next((word for word in text.split() if not re.fullmatch("[a-z0-9-]+", word)), None)
    if wrong is not None:
        raise WrongValueError(f"`{wrong}` is not in the list of docs/how-it-decides.md", wrong)
    return tuple(text.split())


def kexec_args(text: str) -> tuple[str, ...]:
    """Options of kexec(8) that say how to load, never what to load or to do something else."""
    for word in text.split():
        name = word.partition("=")[0]
        # getopt_long takes any beginning of an option's name for the option.
        long = name.startswith("--") and any(option.startswith(name[2:]) for option in _OURS)
        short = not name.startswith("--") and any(
            c in _OURS_SHORT for c in word[1:].partition("t")[0]
        )
        if long or short:
            raise WrongValueError(
                f"`{word}` is not for the settings; kexec-hook itself tells kexec what to do", word
            )
        if not word.startswith("-") or word == "-":
            raise WrongValueError(
                f"`{word}` is not an option; write an option's value as --option=value", word
            )
    return tuple(text.split())


def when(text: str) -> str:
    if text not in WHEN:
        raise WrongValueError(f"`{text}` is neither {' nor '.join(WHEN)}", text)
    return text


def flavour(text: str) -> str:
    from kexec_hook.grub.flavours import FLAVOURS

    if text not in FLAVOURS:
        raise WrongValueError(f"`{text}` is none of {', '.join(FLAVOURS)}", text)
    return text


# Of UTF-8, and of UTF-16, whose bytes are no UTF-8.
_BYTE_ORDER_MARKS = ("\ufeff", "\udcff\udcfe", "\udcfe\udcff")
SELECT = ("grub", "newest", "running", "kexec-default")
WHEN = ("upgrade", "always")
KEYS: Mapping[str, Callable[[str], object]] = {
    "load": yes_or_no,
    "when": when,
    "use_grub_config": yes_or_no,
    "select": selection,
    "remove_parameters": kernel_words,
    "append_parameters": kernel_words,
    "panic_timeout": seconds,
    "kexec_args": kexec_args,
    "decline_if_module": modules,
    "allow_known_bad": names,
    "allow_tpm": yes_or_no,
    "require_trial": yes_or_no,
    "watchdog": seconds,
    "flavour": flavour,
}
_MAY_BE_EMPTY = {kernel_words, modules, names, kexec_args}
# kexec(8) of kexec-tools 2.0.32: what it would do instead, or with what.
_OURS = (
    *("help", "version", "status", "print-ckr-size", "exec", "exec-live-update", "force", "unload"),
    *("load", "load-panic", "load-preserve-context", "load-jump-back-helper", "load-live-update"),
    *("entry", "append", "command-line", "reuse-cmdline", "initrd", "ramdisk", "reuseinitrd"),
    *("module", "dtb"),
)
_OURS_SHORT = "h?vSefulp"


def load_settings(files: Files, command_line: Mapping[str, str] | None = None) -> Settings:
    """Everything, read from its files; the command line's values are written as in a file."""
    variables = kexec_variables(files)
    given = from_kexec_variables(variables)
    for path in conf_files(files):
        given.update(parse_conf(files.text(path), path))
    for key, value in (command_line or {}).items():
        _parsed(key, value, COMMAND_LINE, value)
        given[key] = Setting(value, COMMAND_LINE)
    return make_settings(given, variables)


def conf_files(files: Files) -> list[str]:
    """kexec-hook's own files that are there, in the order in which they are read."""
    if files.is_file(CONF_D):
        raise SettingsError(f"{CONF_D} is not a directory; what it says belongs in {CONF}")
    names = sorted(
        name
        for name in files.listdir(CONF_D)
        if name.endswith(".conf") and not name.startswith(".")
    )
    paths = (CONF, CONF_D, *(f"{CONF_D}/{name}" for name in names))
    broken = files.is_broken_link
    return [path for path in paths if broken(path) or (path != CONF_D and files.exists(path))]


def kexec_variables(files: Files) -> dict[str, Assigned]:
    """/etc/default/kexec and its snippets, in the order in which kexec-tools sources them."""
    # `run-parts --list`: regular files whose names are made of these characters, in the order of their bytes.
    names = sorted(
        name for name in files.listdir(DEFAULT_D) if re.fullmatch("[A-Za-z0-9_-]+", name)
    )
    snippets = (f"{DEFAULT_D}/{name}" for name in names)
    paths = [DEFAULT] if files.exists(DEFAULT) else []
    paths += [path for path in (DEFAULT, DEFAULT_D) if files.is_loop(path)]
    paths += [path for path in snippets if files.is_file(path) or files.is_loop(path)]
    variables: dict[str, Assigned] = {}
    for path in paths:  # what is no file to read is an error that names it
        variables = assignments(files.text(path), path, variables)
    return variables


# What kexec-tools' postinst leaves beside USE_GRUB_CONFIG=false where nobody has chosen anything.
_UNASKED = {"KERNEL_IMAGE": "/vmlinuz", "INITRD": "/initrd.img", "APPEND": ""}


def from_kexec_variables(variables: Mapping[str, Assigned]) -> dict[str, Setting[str]]:
    """Debian's two switches, as settings of ours: `true` is yes; kexec-tools 2.0.27 removes LOAD_KEXEC."""
    given = {}
    for name, key in (("LOAD_KEXEC", "load"), ("USE_GRUB_CONFIG", "use_grub_config")):
        found = variables.get(name)
        if found is None or (key == "use_grub_config" and _is_unasked(found, variables)):
            continue
        if found.value not in {"true", "false", ""}:
            raise SettingsError(
                f"{found.origin}: {name} is `{found.value}`; kexec-tools knows true and false"
            )
        given[key] = Setting("yes" if found.value == "true" else "no", f"{found.origin} ({name})")
    return given


def _is_unasked(use_grub_config: Assigned, variables: Mapping[str, Assigned]) -> bool:
    """Has kexec-tools' postinst written it, and nobody chosen it?  It writes `false`, or nothing."""
    as_installed = all(
        name in variables and variables[name].value == value for name, value in _UNASKED.items()
    )
    in_main_file = use_grub_config.origin.startswith(f"{DEFAULT}:")
    return use_grub_config.value == "" or (
        use_grub_config.value == "false" and as_installed and in_main_file
    )


def parse_conf(text: str, name: str) -> dict[str, Setting[str]]:
    """The values of one file, as they are written; each is known to be good."""
    given: dict[str, Setting[str]] = {}
    if text.startswith(_BYTE_ORDER_MARKS):
        message = f"{name}:1: the file begins with a byte order mark; save it as UTF-8 without one"
        raise SettingsError(message, text.partition("\n")[0])
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        origin = f"{name}:{number}"
        if not equals:
            what = "there are no sections here" if key.startswith("[") else "there is no `=` here"
            message = f"{origin}: {what}; a line is `key = value`, a comment begins with #"
            raise SettingsError(message, line, line.index(key), len(key))
        if key in given:
            message = (
                f"{origin}: `{key}` is set in {given[key].origin} already; remove one of the two"
            )
            raise SettingsError(message, line, line.index(key), len(key))
        _parsed(key, value, origin, line)
        given[key] = Setting(value, origin)
    return given


def make_settings(given: Mapping[str, Setting[str]], variables: Mapping[str, Assigned]) -> Settings:
    """Typed values, and the built in one where nothing is given."""

    def pick(key: str, parse: Callable[[str], T], *, default: T) -> Setting[T]:
        found = given.get(key)
        return Setting(default) if found is None else Setting(parse(found.value), found.origin)

    def variable(name: str) -> Setting[str]:
        found = variables.get(name)
        return Setting("") if found is None else Setting(found.value, found.origin)

    use_grub_config = pick("use_grub_config", yes_or_no, default=True)
    select = pick("select", selection, default=Selection("grub"))
    if "select" not in given and not use_grub_config.value:
        select = Setting(Selection("kexec-default"), use_grub_config.origin)
    return Settings(
        load=pick("load", yes_or_no, default=True),
        use_grub_config=use_grub_config,
        select=select,
        remove_parameters=pick("remove_parameters", kernel_words, default=()),
        append_parameters=pick("append_parameters", kernel_words, default=()),
        panic_timeout=pick("panic_timeout", seconds, default=0),
        kexec_args=pick("kexec_args", kexec_args, default=()),
        # After a jump NVIDIA's driver finds its card as the old kernel left it.
        decline_if_module=pick("decline_if_module", modules, default=("nvidia", "nvidia_drm")),
        allow_known_bad=pick("allow_known_bad", names, default=()),
        allow_tpm=pick("allow_tpm", yes_or_no, default=False),
        require_trial=pick("require_trial", yes_or_no, default=False),
        watchdog=pick("watchdog", seconds, default=0),
        when=pick("when", when, default="upgrade"),
        flavour=pick("flavour", flavour, default=""),
        kexec_default=KexecDefault(
            variable("KERNEL_IMAGE"), variable("INITRD"), variable("APPEND")
        ),
    )


def _parsed(key: str, value: str, origin: str, line: str) -> object:
    """A key's value, or an error that points into the line."""
    parse = KEYS.get(key)
    if parse is None:
        message = f"{origin}: unknown key `{key}`; {_nearest(key, KEYS)}"
        raise SettingsError(message, line, max(0, line.find(key)), len(key))
    try:
        if not value and parse not in _MAY_BE_EMPTY:
            raise WrongValueError(f"`{key}` has no value; remove the line to leave it unset", key)
        bad = next((c for c in value if (c < " " and c != "\t") or c == "\x7f"), None)
        if bad is not None:
            raise WrongValueError(f"the value has an unprintable character, {bad!r}", bad)
        if parse is not selection and re.search(r"(?:^|\s)#", value):
            raise WrongValueError("a comment needs a line of its own", value[value.index("#") :])
        return parse(value)
    except WrongValueError as wrong:
        column = line.find(wrong.word, line.find("=") + 1)
        column = max(0, column if column >= 0 else line.find(wrong.word))
        raise SettingsError(f"{origin}: {wrong}", line, column, len(wrong.word)) from None


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word.lower().replace("-", "_"), known, 1)
    return f"did you mean `{near[0]}`?" if near else f"the keys are {', '.join(known)}"
