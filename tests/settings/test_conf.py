"""settings.py: what each file says, which one wins, and errors that point."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kexec_hook.grub.flavours import FLAVOURS
from kexec_hook.settings.conf import (
    COMMAND_LINE,
    CONF,
    DEFAULT,
    KEYS,
    SELECT,
    WHEN,
    Files,
    Selection,
    Setting,
    Settings,
    SettingsError,
    load_settings,
    parse_conf,
)
from kexec_hook.system.sysroot import Sysroot, SysrootError
from tests.tree import Tree

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "kexec_hook/data/kexec-hook.conf"
DOCS = ROOT / "docs/settings.md"

# As Debian 12's kexec-tools writes it when nobody is asked: LOAD_KEXEC's question defaults to true.
DEBIAN_12 = """\
# Load a kexec kernel (true/false)
LOAD_KEXEC=true

# Kernel and initrd image
KERNEL_IMAGE="/vmlinuz"
INITRD="/initrd.img"

# If empty, use current /proc/cmdline
APPEND=""

# Load the default kernel from grub config (true/false)
USE_GRUB_CONFIG=false
"""


class Etc(Tree):
    """A root with settings files in it."""

    def load(self, **command_line: str) -> Settings:
        files: Files = Sysroot(self.root)
        return load_settings(files, command_line)


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path).mkdir("etc")


def values(settings: Settings) -> dict[str, object]:
    return {
        name: setting.value
        for name, setting in settings._asdict().items()
        if isinstance(setting, Setting)
    }


BUILT_IN = {
    "load": True,
    "when": "upgrade",
    "use_grub_config": True,
    "select": Selection("grub"),
    "remove_parameters": (),
    "append_parameters": (),
    "panic_timeout": 0,
    "kexec_args": (),
    "decline_if_module": ("nvidia", "nvidia_drm"),
    "allow_known_bad": (),
    "allow_tpm": False,
    "require_trial": False,
    "watchdog": 0,
    "flavour": "",
}


def test_without_files_the_built_in_values(etc: Etc) -> None:
    settings = etc.load()
    assert values(settings) == BUILT_IN
    assert {getattr(settings, key).origin for key in KEYS} == {"built in"}
    assert settings.kexec_default.kernel_image == Setting("", "built in")


def test_each_key_in_a_file(etc: Etc) -> None:
    lines = {
        "load": ("no", False),
        "when": ("always", "always"),
        "use_grub_config": ("off", False),
        "select": ("1>2", Selection("entry", "1>2")),
        "remove_parameters": ("rhgb quiet", ("rhgb", "quiet")),
        "append_parameters": ('a="b c" d', ('a="b c"', "d")),
        "panic_timeout": ("30", 30),
        "kexec_args": ("--type=bzImage -d", ("--type=bzImage", "-d")),
        "decline_if_module": ("amdgpu snd-hda-intel", ("amdgpu", "snd_hda_intel")),
        "allow_known_bad": ("hyper-v xen", ("hyper-v", "xen")),
        "allow_tpm": ("Yes", True),
        "require_trial": ("on", True),
        "watchdog": ("180", 180),
        "flavour": ("rhboot", "rhboot"),
    }
    assert set(lines) == set(KEYS)
    etc.write(
        CONF,
        "# comment\n\n" + "".join(f"  {key}  = {text}\t\n" for key, (text, _) in lines.items()),
    )
    settings = etc.load()
    assert values(settings) == {key: value for key, (_, value) in lines.items()}
    assert [getattr(settings, key).origin for key in lines] == [
        f"{CONF}:{number}" for number in range(3, 3 + len(KEYS))
    ]


def test_the_last_word_counts(etc: Etc) -> None:
    etc.write(DEFAULT, "LOAD_KEXEC=true\n")
    assert etc.load().load == Setting(True, f"{DEFAULT}:1 (LOAD_KEXEC)")
    etc.write(f"{DEFAULT}.d/local", "\nLOAD_KEXEC=false\n")
    assert etc.load().load == Setting(False, f"{DEFAULT}.d/local:2 (LOAD_KEXEC)")
    etc.write(CONF, "load = yes\nremove_parameters = quiet\n")
    assert etc.load().load == Setting(True, f"{CONF}:1")
    etc.write(f"{CONF}.d/20.conf", "load = no\nremove_parameters =\n")
    etc.write(f"{CONF}.d/10.conf", "load = yes\n")
    etc.write(f"{CONF}.d/90.conf.dpkg-old", "load = maybe\n")
    etc.write(f"{CONF}.d/.99.conf", "load = maybe\n")
    etc.write(f"{CONF}.d/README", "not settings\n")
    assert etc.load().load == Setting(False, f"{CONF}.d/20.conf:1")
    assert etc.load().remove_parameters == Setting((), f"{CONF}.d/20.conf:2")
    assert etc.load(load="yes").load == Setting(True, COMMAND_LINE)


def test_a_hidden_mistake_is_still_a_mistake(etc: Etc) -> None:
    etc.write(CONF, "load = maybe\n")
    etc.write(f"{CONF}.d/x.conf", "load = no\n")
    with pytest.raises(SettingsError, match="neither yes nor no"):
        etc.load()


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        *((word, Selection(word)) for word in SELECT),
        ("1>2", Selection("entry", "1>2")),
        ("0", Selection("entry", "0")),
        (
            "Debian GNU/Linux, with Linux 6.1.0-39 # 2",
            Selection("entry", "Debian GNU/Linux, with Linux 6.1.0-39 # 2"),
        ),
        ("entry:newest", Selection("entry", "newest")),
        ("entry:", Selection("entry", "entry:")),
        ("Grub", Selection("entry", "Grub")),
        ("a=b", Selection("entry", "a=b")),
    ],
)
def test_select(etc: Etc, text: str, selected: Selection) -> None:
    etc.write(CONF, f"select = {text}\n")
    assert etc.load().select == Setting(selected, f"{CONF}:1")
    assert etc.load(select=text).select == Setting(selected, COMMAND_LINE)


def test_a_selection_can_be_written_back() -> None:
    assert [str(Selection(word)) for word in SELECT] == list(SELECT)
    assert str(Selection("entry", "newest")) == "entry:newest"


@pytest.mark.parametrize(
    ("default", "conf", "select", "origin"),
    [
        ("", "", "grub", "built in"),
        ("USE_GRUB_CONFIG=true\n", "", "grub", "built in"),
        ("USE_GRUB_CONFIG=false\n", "", "kexec-default", f"{DEFAULT}:1 (USE_GRUB_CONFIG)"),
        ("USE_GRUB_CONFIG=\n", "", "grub", "built in"),
        ("USE_GRUB_CONFIG=false\n", "use_grub_config = yes\n", "grub", "built in"),
        ("", "use_grub_config = no\n", "kexec-default", f"{CONF}:1"),
        ("USE_GRUB_CONFIG=false\n", "select = newest\n", "newest", f"{CONF}:1"),
        ("", "use_grub_config = no\nselect = newest\n", "newest", f"{CONF}:2"),
        ("", "use_grub_config = yes\nselect = kexec-default\n", "kexec-default", f"{CONF}:2"),
    ],
)
def test_use_grub_config_counts_where_nothing_is_selected(
    etc: Etc, default: str, conf: str, select: str, origin: str
) -> None:
    etc.write(DEFAULT, default)
    etc.write(CONF, conf)
    assert etc.load().select == Setting(Selection(select), origin)


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("", True),
        ("LOAD_KEXEC=true", True),
        ("LOAD_KEXEC=false", False),
        ("LOAD_KEXEC=", False),
        ("#LOAD_KEXEC=false", True),
    ],
)
def test_load_kexec(etc: Etc, text: str, load: bool) -> None:
    etc.write(DEFAULT, text + "\n")
    assert etc.load().load.value is load


def test_debians_file_as_installed(etc: Etc) -> None:
    etc.write(DEFAULT, DEBIAN_12)
    settings = etc.load()
    assert settings.load == Setting(True, f"{DEFAULT}:2 (LOAD_KEXEC)")
    assert settings.select == Setting(Selection("grub"), "built in")
    assert settings.kexec_default.kernel_image == Setting("/vmlinuz", f"{DEFAULT}:5")
    assert settings.kexec_default.initrd == Setting("/initrd.img", f"{DEFAULT}:6")
    assert settings.kexec_default.append == Setting("", f"{DEFAULT}:9")
    etc.write(CONF, SHIPPED.read_text())
    assert values(etc.load()) == BUILT_IN


@pytest.mark.parametrize(
    "chosen",
    ["KERNEL_IMAGE=/boot/mine\n", "INITRD=\n", "APPEND=quiet\n", "USE_GRUB_CONFIG=false\n"],
)
def test_use_grub_config_counts_where_somebody_has_chosen_something(etc: Etc, chosen: str) -> None:
    etc.write(DEFAULT, DEBIAN_12)
    etc.write("etc/default/kexec.d/mine", chosen)
    assert etc.load().select.value == Selection("kexec-default")


def test_debian_13_has_no_load_kexec(etc: Etc) -> None:
    etc.write(DEFAULT, DEBIAN_12.replace("LOAD_KEXEC=true\n", ""))
    assert etc.load().load == Setting(True, "built in")


def test_snippets_are_those_that_run_parts_lists(etc: Etc, tmp_path: Path) -> None:
    names = [
        "10-a",
        "9_b",
        "B",
        "a",
        "_x",
        "no.suffix",
        "x.dpkg-old",
        "backup~",
        "#x#",
        ".hidden",
        "sp ace",
        "\u00e9",
    ]
    for name in names:
        etc.write(f"{DEFAULT}.d/{name}", 'ORDER="$ORDER ' + name + '"\n')
    (tmp_path / "etc/default/kexec.d/directory").mkdir()
    (tmp_path / "etc/default/kexec.d/dangling").symlink_to("nowhere")
    (tmp_path / "etc/default/kexec.d/link").symlink_to("B")
    etc.write(DEFAULT, "ORDER=\nKERNEL_IMAGE=x\n")
    etc.write(f"{DEFAULT}.d/zz", 'KERNEL_IMAGE="$ORDER"\n')
    ours = etc.load().kexec_default.kernel_image.value
    assert ours == " 10-a 9_b B _x a B"  # the link is read before zz, and says what B says
    run_parts = shutil.which("run-parts")
    if run_parts is None:
        pytest.skip("needs run-parts (debianutils)")
    directory = str(tmp_path / "etc/default/kexec.d")
    listed = subprocess.run(
        [run_parts, "--list", directory], capture_output=True, text=True, check=False
    )
    assert [Path(line).name for line in listed.stdout.splitlines()] == [
        "10-a",
        "9_b",
        "B",
        "_x",
        "a",
        "link",
        "zz",
    ]


def test_variables_reach_from_file_to_file(etc: Etc) -> None:
    etc.write(DEFAULT, "BOOT=/boot\nKERNEL_IMAGE=$BOOT/vmlinuz\n")
    etc.write(f"{DEFAULT}.d/x", 'INITRD="${BOOT}/initrd.img"\n')
    default = etc.load().kexec_default
    assert default.initrd == Setting("/boot/initrd.img", f"{DEFAULT}.d/x:1")
    assert default.kernel_image == Setting("/boot/vmlinuz", f"{DEFAULT}:2")


def test_bytes_that_are_not_utf8_survive(etc: Etc) -> None:
    etc.write(CONF, "select = caf\udce9\n")
    assert etc.load().select.value == Selection("entry", "caf\udce9")


def test_windows_line_ends_do_no_harm(etc: Etc) -> None:
    etc.write(CONF, "load = no\r\nselect = newest\r\n")
    assert (etc.load().load.value, etc.load().select.value) == (False, Selection("newest"))


REFUSED = {
    "lod = no": """\
kexec-hook.conf:1: unknown key `lod`; did you mean `load`?
    lod = no
    ^^^""",
    "\n  Use-GRUB-config = no": """\
kexec-hook.conf:2: unknown key `Use-GRUB-config`; did you mean `use_grub_config`?
      Use-GRUB-config = no
      ^^^^^^^^^^^^^^^""",
    "x = y": f"""\
kexec-hook.conf:1: unknown key `x`; the keys are {", ".join(KEYS)}
    x = y
    ^""",
    "load no": """\
kexec-hook.conf:1: there is no `=` here; a line is `key = value`, a comment begins with #
    load no
    ^^^^^^^""",
    "[kexec]": """\
kexec-hook.conf:1: there are no sections here; a line is `key = value`, a comment begins with #
    [kexec]
    ^^^^^^^""",
    "load = yes\nload = no": """\
kexec-hook.conf:2: `load` is set in kexec-hook.conf:1 already; remove one of the two
    load = no
    ^^^^""",
    "load =": """\
kexec-hook.conf:1: `load` has no value; remove the line to leave it unset
    load =
    ^^^^""",
    "select =": """\
kexec-hook.conf:1: `select` has no value; remove the line to leave it unset
    select =
    ^^^^^^""",
    "load = maybe": """\
kexec-hook.conf:1: `maybe` is neither yes nor no
    load = maybe
           ^^^^^""",
    "load = no # for now": """\
kexec-hook.conf:1: a comment needs a line of its own
    load = no # for now
              ^^^^^^^^^""",
    "select = newest  # always": """\
kexec-hook.conf:1: a comment needs a line of its own
    select = newest  # always
                     ^^^^^^^^""",
    'select = "1>2"': """\
kexec-hook.conf:1: quotes would be part of the entry's name; write it without
    select = "1>2"
             ^^^^^""",
    'append_parameters = a="b c': """\
kexec-hook.conf:1: this quote is never closed
    append_parameters = a="b c
                          ^^^^""",
    "panic_timeout = soon": """\
kexec-hook.conf:1: `soon` is not a number of seconds
    panic_timeout = soon
                    ^^^^""",
    "panic_timeout = -1": """\
kexec-hook.conf:1: `-1` is not a number of seconds
    panic_timeout = -1
                    ^^""",
    "decline_if_module = nvidia, radeon": """\
kexec-hook.conf:1: `nvidia,` is not the name of a module; write names with blanks between them
    decline_if_module = nvidia, radeon
                        ^^^^^^^""",
    "flavour = fedora": """\
kexec-hook.conf:1: `fedora` is none of upstream, upstream-2.14, rhboot, rhboot-8, rhboot-7, suse
    flavour = fedora
              ^^^^^^""",
    "select = a\x1b[2J": """\
kexec-hook.conf:1: the value has an unprintable character, '\\x1b'
    select = a?[2J
              ^""",
    "\ufeffload = no": """\
kexec-hook.conf:1: the file begins with a byte order mark; save it as UTF-8 without one
    ?load = no
    ^""",
    "\udcff\udcfel\0o\0": """\
kexec-hook.conf:1: the file begins with a byte order mark; save it as UTF-8 without one
    ??l?o?
    ^""",
    f"load = {'x' * 500} #": f"""\
kexec-hook.conf:1: a comment needs a line of its own
    {"x" * 158} #
    {" " * 159}^""",
    "\x1b[2J = a": f"""\
kexec-hook.conf:1: unknown key `?[2J`; the keys are {", ".join(KEYS)}
    ?[2J = a
    ^^^^""",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_an_error_points_at_the_wrong_word(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_conf(text + "\n", "kexec-hook.conf")
    assert str(caught.value) == message
    assert caught.value.message == message.partition("\n")[0]


@pytest.mark.parametrize(
    "word",
    [
        *(
            "-e",
            "--exec",
            "--exe",
            "-f",
            "--force",
            "-u",
            "--unload",
            "-l",
            "--load",
            "-p",
            "--load-panic",
            "-v",
            "-S",
        ),
        *(
            "-de",
            "-dl",
            "--append=x",
            "--app=x",
            "--command-line=x",
            "--reuse-cmdline",
            "--initrd=/x",
            "--ramdisk=/x",
        ),
        *(
            "--reuseinitrd",
            "--module=x",
            "--dtb=/x",
            "--entry=0x1",
            "--e",
            "--",
            "--help",
            "-h",
            "-?",
        ),
    ],
)
def test_kexec_args_cannot_change_what_kexec_does(word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_conf(f"kexec_args = --debug {word}\n", "conf")
    assert caught.value.message == (
        f"conf:1: `{word}` is not for the settings; kexec-hook itself tells kexec what to do"
    )


@pytest.mark.parametrize("word", ["/boot/vmlinuz", "-"])
def test_kexec_args_are_options(word: str) -> None:
    with pytest.raises(
        SettingsError, match="is not an option; write an option's value as --option=value"
    ):
        parse_conf(f"kexec_args = -t {word}\n", "conf")


def test_kexec_args_of_every_harmless_kind() -> None:
    words = "-d -a -s -c -i -x -y -tbzImage --type=bzImage --no-checks --mem-min=0x100 --reset-vga --entry-32bit --noefi"
    assert parse_conf(f"kexec_args = {words}\n", "conf")["kexec_args"].value == words


def test_errors_of_debians_file_point_too(etc: Etc) -> None:
    etc.write(DEFAULT, "KERNEL_IMAGE=$(ls /boot/vmlinuz-*)\n")
    with pytest.raises(SettingsError) as caught:
        etc.load()
    assert (
        str(caught.value)
        == f"""\
{DEFAULT}:1: a shell would run a command here; this file is only read, never run
    KERNEL_IMAGE=$(ls /boot/vmlinuz-*)
                 ^^"""
    )
    etc.write(DEFAULT, "\nLOAD_KEXEC=yes\n")
    with pytest.raises(SettingsError) as caught:
        etc.load()
    assert (
        str(caught.value) == f"{DEFAULT}:2: LOAD_KEXEC is `yes`; kexec-tools knows true and false"
    )


def test_an_error_of_the_command_line_says_so(etc: Etc) -> None:
    with pytest.raises(SettingsError) as caught:
        etc.load(flavour="x=y")
    assert (
        str(caught.value)
        == """\
command line: `x=y` is none of upstream, upstream-2.14, rhboot, rhboot-8, rhboot-7, suse
    x=y
    ^^^"""
    )


def test_code_documentation_and_the_shipped_file_have_the_same_keys() -> None:
    code = [name for name in Settings._fields if name != "kexec_default"]
    assert list(KEYS) == code
    assert re.findall(r"^#?([a-z_]+) =", SHIPPED.read_text(), re.M) == code
    assert re.findall(r"^### `([a-z_]+)`$", DOCS.read_text(), re.M) == code


def test_documentation_and_the_shipped_file_have_all_the_words() -> None:
    for text in (SHIPPED.read_text(), DOCS.read_text()):
        assert [word for word in (*SELECT, *WHEN, *FLAVOURS, "entry:") if word not in text] == []


def test_the_shipped_file_changes_nothing_but_leaves_load_to_debians_file(etc: Etc) -> None:
    etc.write(CONF, SHIPPED.read_text())
    assert values(etc.load()) == BUILT_IN
    etc.write(DEFAULT, "LOAD_KEXEC=false\n")
    assert etc.load().load.value is False


def test_every_line_of_the_shipped_file_is_true_with_its_comment_sign_removed() -> None:
    text = re.sub(r"^#([a-z_]+ =)", r"\1", SHIPPED.read_text(), flags=re.M)
    given = parse_conf(text, "conf")
    assert list(given) == list(KEYS)
    shown = {
        "load": "yes",
        "use_grub_config": "yes",
        "select": "grub",
        "panic_timeout": "0",
        "allow_tpm": "no",
        "require_trial": "no",
        "watchdog": "0",
    }
    assert {key: given[key].value for key in shown} == shown
    assert given["decline_if_module"].value == "nvidia nvidia_drm"
    assert [
        given[key].value
        for key in ("remove_parameters", "append_parameters", "kexec_args", "allow_known_bad")
    ] == ["", "", "", ""]


@pytest.mark.parametrize(
    "path",
    [
        "etc/kexec-hook.conf",
        "etc/kexec-hook.conf.d",
        "etc/kexec-hook.conf.d/a.conf",
        "etc/default/kexec",
        "etc/default/kexec.d",
        "etc/default/kexec.d/snippet",
    ],
)
def test_settings_behind_links_in_a_circle_are_an_error_with_their_name(
    etc: Etc, path: str
) -> None:
    place = etc.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(place.name)
    with pytest.raises(SysrootError) as caught:
        etc.load()
    assert str(caught.value) == f"/{path}: its symbolic links lead in a circle"


@pytest.mark.parametrize(
    "path", ["etc/kexec-hook.conf", "etc/kexec-hook.conf.d", "etc/kexec-hook.conf.d/a.conf"]
)
def test_settings_behind_a_link_that_leads_nowhere_are_an_error_with_their_name(
    etc: Etc, path: str
) -> None:
    """Whoever made the link has set something, perhaps `load = no`."""
    place = etc.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to("nowhere")
    with pytest.raises(SysrootError) as caught:
        etc.load()
    assert str(caught.value) == f"/{path}: no such file or directory"


@pytest.mark.parametrize(
    ("path", "text"),
    [("etc/kexec-hook.conf", "x" * 100_000), ("etc/default/kexec", f"A={'x' * 100_000}$(y)")],
)
def test_a_line_of_megabytes_is_not_shown_whole(etc: Etc, path: str, text: str) -> None:
    etc.write(path, f"{text} = y\n")
    with pytest.raises(SettingsError) as caught:
        etc.load()
    sentence, line, caret = str(caught.value).split("\n")
    assert sentence.startswith(f"/{path}:1: ")
    assert len(sentence) < 600
    assert len(line) == 164
    assert 4 <= caret.index("^") < len(line)


def test_a_file_in_the_place_of_the_directory_is_not_passed_over(etc: Etc) -> None:
    etc.write("etc/kexec-hook.conf.d", "load = no\n")
    with pytest.raises(SettingsError) as caught:
        etc.load()
    assert str(caught.value) == (
        "/etc/kexec-hook.conf.d is not a directory; what it says belongs in /etc/kexec-hook.conf"
    )


@pytest.mark.parametrize("path", ["etc/kexec-hook.conf", "etc/default/kexec"])
def test_a_directory_in_the_place_of_settings_is_an_error_with_its_name(
    etc: Etc, path: str
) -> None:
    etc.mkdir(path)
    with pytest.raises(SysrootError) as caught:
        etc.load()
    assert str(caught.value) == f"/{path}: not a regular file"
