"""blscfg turns snippets into entries as the two GRUBs do that have it: Fedora's and RHEL's, and upstream's 2.14."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest

from kexec_hook.disks.directories import Partition, PartitionDisks
from kexec_hook.grub.disks import DiskError, GrubPath
from kexec_hook.grub.errors import BAD_ARGUMENT, BAD_DEVICE, BAD_FILENAME, FILE_NOT_FOUND
from kexec_hook.grub.machine import Machine
from kexec_hook.grub.menu import boot_default
from kexec_hook.grub.script.source import read_source
from kexec_hook.grub.values import Entry
from kexec_hook.report.grubeval import make_machine
from tests.tree import Tree

RHBOOT, EL_8, UPSTREAM = "rhboot", "rhboot-8", "upstream-2.14"
BOTH = pytest.mark.parametrize("flavour", [RHBOOT, UPSTREAM])
K1 = "title One\nlinux /k1\n"
K2 = "title Two\nlinux /k2\n"


class Disk(Tree):
    """The one partition of a machine, filled with snippets."""

    def entry(self, name: str, text: str, directory: str = "loader/entries") -> "Disk":
        return self.write(f"{directory}/{name}.conf", text)

    def run(
        self, flavour: str, script: str = "blscfg", platform: str = "pc", **variables: str
    ) -> Machine:
        disks = PartitionDisks([Partition(self.root)])
        machine = make_machine(disks, flavour, platform, "i386", "(hd0,gpt1)/boot/grub2", variables)
        machine.run(read_source("grub.cfg", script.encode()))
        return machine

    def menu(
        self, flavour: str, script: str = "blscfg", platform: str = "pc", **variables: str
    ) -> list[Entry]:
        return self.run(flavour, script, platform, **variables).menu or []

    def ids(self, flavour: str, script: str = "blscfg", **variables: str) -> list[str]:
        return [entry.id for entry in self.menu(flavour, script, **variables)]

    def body(self, flavour: str, text: str, **variables: str) -> str:
        """The script of the entry that this snippet makes."""
        (entry,) = self.entry("a-1-1", text).menu(flavour, **variables)
        return entry.code.source.text

    def options(self, flavour: str, value: str, **variables: str) -> Optional[str]:
        """What becomes of the value of an options line; None: it counts as none at all."""
        body = self.body(flavour, f"linux /k\noptions {value}\n", **variables)
        line = next(line for line in body.split("\n") if line.startswith("linux "))
        _, blank, rest = line.partition("/k")[2].partition(" ")
        return rest if blank else None


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def status(machine: Machine) -> str:
    return "".join(machine.output)


# Where they look


@BOTH
def test_snippets_lie_in_loader_entries_of_root(disk: Disk, flavour: str) -> None:
    assert disk.entry("a-1-1", K1).ids(flavour) == ["a-1-1"]


def test_rhboot_falls_back_to_boot_when_the_directory_is_missing(disk: Disk) -> None:
    assert disk.entry("a-1-1", K1, "boot/loader/entries").ids(RHBOOT) == ["a-1-1"]


def test_rhboot_does_not_fall_back_from_an_empty_directory(disk: Disk) -> None:
    disk.write("loader/entries/README").entry("a-1-1", K1, "boot/loader/entries")
    assert disk.ids(RHBOOT) == []


def test_rhboot_looks_in_blsdir_first(disk: Disk) -> None:
    disk.entry("a-1-1", K1).entry("b-1-1", K2, "other")
    assert disk.ids(RHBOOT, blsdir="/other") == ["b-1-1"]


def test_rhboot_falls_back_from_a_missing_blsdir_to_boot(disk: Disk) -> None:
    disk.entry("a-1-1", K1).entry("b-1-1", K2, "boot/loader/entries")
    assert disk.ids(RHBOOT, blsdir="/other") == ["b-1-1"]


def test_upstream_does_not_look_in_boot(disk: Disk) -> None:
    machine = disk.entry("a-1-1", K1, "boot/loader/entries").run(UPSTREAM, "blscfg\necho $?")
    assert (machine.menu, status(machine)) == ([], "0\n")


def test_upstream_ignores_blsdir(disk: Disk) -> None:
    disk.entry("a-1-1", K1).entry("b-1-1", K2, "other")
    assert disk.ids(UPSTREAM, blsdir="/other") == ["a-1-1"]


@BOTH
def test_an_unknown_root_is_a_bad_device(disk: Disk, flavour: str) -> None:
    assert status(disk.run(flavour, "set root=hd9\nblscfg\necho $?")) == f"{BAD_DEVICE}\n"


@BOTH
def test_suffix_minds_case(disk: Disk, flavour: str) -> None:
    disk.write("loader/entries/a-1-1.CONF", K1).write("loader/entries/b-1-1.conf~", K1)
    assert disk.ids(flavour) == []


def test_hidden_files_count_upstream_only(disk: Disk) -> None:
    disk.entry("", K1).entry(".b", K2)
    assert (disk.ids(RHBOOT), disk.ids(UPSTREAM)) == ([], ["", ".b"])


@BOTH
def test_a_snippet_that_cannot_be_opened_makes_the_choice_a_guess(disk: Disk, flavour: str) -> None:
    disk.entry("b-1-1", K2)
    (disk.root / "loader/entries/a-1-1.conf").symlink_to("nowhere")
    machine = disk.run(flavour)
    assert [entry.id for entry in machine.menu or []] == ["b-1-1"]
    reason = "GRUB cannot open (hd0,gpt1)/loader/entries/a-1-1.conf, and may read none of the entries after it"
    assert [guess.reason for guess in machine.guesses] == [reason]


def test_a_directory_of_which_only_we_know_nothing_makes_the_choice_a_guess(disk: Disk) -> None:
    class Blind(PartitionDisks):
        def list(self, path: GrubPath) -> Sequence[str]:
            raise DiskError(30, "permission denied")

    machine = make_machine(
        Blind([Partition(disk.root)]), RHBOOT, "pc", "i386", "(hd0,gpt1)/boot/grub2"
    )
    machine.run(read_source("grub.cfg", b"blscfg"))
    assert [guess.reason for guess in machine.guesses] == [
        "the entries in (hd0,gpt1)/loader/entries/ are not known: permission denied",
        "the entries in (hd0,gpt1)/boot/loader/entries/ are not known: permission denied",
    ]


# Order


def test_rhboot_orders_by_name_version_and_release(disk: Disk) -> None:
    for name in ("a-6.9-1", "a-6.10-1", "a-0-rescue", "b-1-1"):
        disk.entry(name, K1)
    assert disk.ids(RHBOOT) == ["b-1-1", "a-6.10-1", "a-6.9-1", "a-0-rescue"]


def test_el_8_orders_by_version_where_each_snippet_has_one(disk: Disk) -> None:
    """A machine whose machine-id has changed: the newest kernel has the name that comes last."""
    disk.entry("ffff-4.18.0-80", K1 + "version 4.18.0-80.el8\n")
    disk.entry("eeee-4.18.0-553", K2 + "version 4.18.0-553.el8\n")
    disk.entry("ffff-0-rescue", K2 + "version 0-rescue-ffff\n")
    assert disk.ids(EL_8) == ["eeee-4.18.0-553", "ffff-4.18.0-80", "ffff-0-rescue"]
    assert disk.ids(RHBOOT) == ["ffff-4.18.0-80", "ffff-0-rescue", "eeee-4.18.0-553"]
    assert disk.entry("a-9-9", K1).ids(EL_8) == [
        "ffff-4.18.0-80",
        "ffff-0-rescue",
        "eeee-4.18.0-553",
        "a-9-9",
    ]


def test_el_8_takes_a_plus_for_a_separator(disk: Disk) -> None:
    disk.entry("a-1+2-1", K1).entry("a-1-1", K2)
    assert (disk.ids(EL_8), disk.ids(RHBOOT)) == (["a-1+2-1", "a-1-1"], ["a-1+2-1", "a-1-1"])
    assert disk.entry("a-1+z-1", K1).entry("a-1a-1", K1).ids(EL_8)[-2:] == ["a-1a-1", "a-1-1"]


def test_el_8_sorts_two_equal_names_in_an_order_that_nobody_knows(disk: Disk) -> None:
    machine = disk.entry("k-01", K1).entry("k-1", K2).run(EL_8)
    assert sorted(entry.id for entry in machine.menu or []) == ["k-01", "k-1"]
    reason = "GRUB may put the entries that it takes for one version in any order"
    assert [guess.reason for guess in machine.guesses] == [reason]


def test_el_8_falls_back_to_boot_from_an_empty_directory_as_well(disk: Disk) -> None:
    disk.mkdir("loader/entries").entry("a-1-1", K1, "boot/loader/entries")
    assert disk.ids(EL_8) == ["a-1-1"]


def test_el_8_shows_all_whatever_it_is_asked_for_and_each_time(disk: Disk) -> None:
    disk.entry("a-1-1", K1).entry("b-1-1", K2)
    assert disk.ids(EL_8, "blscfg non-default\nbls_import a-1-1") == ["b-1-1", "a-1-1"] * 2


def test_el_8s_body(disk: Disk) -> None:
    text = "linux /k\ninitrd /i\noptions a=1 $bb\ndevicetree /d\n"
    variables = {"bb": "2", "save_default": "true", "early_initrd": "ucode", "devicetree": "d"}
    body = (
        "load_video\nset gfxpayload=keep\ninsmod gzio\nlinux ($root)/k a=1 2 \ninitrd ($root)/i\n"
    )
    assert disk.body(EL_8, text, **variables) == body
    assert disk.options(EL_8, "a\\$bb cc", bb="x") == "a\\x cc"


def test_rhboots_blscfg_goes_by_bls_import_as_well(disk: Disk) -> None:
    assert disk.entry("a-1-1", K1).ids(RHBOOT, "bls_import") == ["a-1-1"]


def test_upstream_orders_by_the_whole_name(disk: Disk) -> None:
    for name in ("2024-linux", "linux-cachyos", "m-1.0-1", "m-1.0+3-0-1", "m-1.0-10"):
        disk.entry(name, K1)
    assert disk.ids(UPSTREAM) == [
        "m-1.0-10",
        "m-1.0-1",
        "m-1.0+3-0-1",
        "linux-cachyos",
        "2024-linux",
    ]


def test_rhboot_drops_the_second_of_two_equal_names(disk: Disk) -> None:
    assert disk.entry("k-01", K1).entry("k-1", K2).ids(RHBOOT) == ["k-01"]


def test_of_two_equal_names_upstream_may_read_no_more(disk: Disk) -> None:
    machine = disk.entry("k-01", K1).entry("k-1", K2).run(UPSTREAM)
    assert [entry.id for entry in machine.menu or []] == ["k-01"]
    reason = "GRUB takes (hd0,gpt1)/loader/entries/k-1.conf for a file it has already read, and may read none after it"
    assert [guess.reason for guess in machine.guesses] == [reason]


@BOTH
def test_boot_counters_stay_in_the_id(disk: Disk, flavour: str) -> None:
    assert disk.entry("m-1.0+3-0", K1).ids(flavour) == ["m-1.0+3-0"]


# What they read


@BOTH
@pytest.mark.parametrize("end", ["\n", "machine-id\n", "title \n"])
def test_a_blank_line_or_a_bare_key_ends_the_file(disk: Disk, flavour: str, end: str) -> None:
    (entry,) = disk.entry("a-1-1", f"linux /k\n{end}title lost\n").menu(flavour)
    assert entry.title == "/k"


@BOTH
def test_a_file_without_linux_makes_no_entry_and_a_note(disk: Disk, flavour: str) -> None:
    machine = disk.entry("a-1-1", "title One\n\nlinux /k\n").run(flavour)
    assert machine.menu == []
    message = "GRUB makes no entry of this file: no linux line, or one after a blank line or a key without a value"
    assert [(problem.message, problem.errno) for problem in machine.problems] == [(message, 0)]


@pytest.mark.parametrize(("flavour", "doubts"), [(RHBOOT, 1), (UPSTREAM, 0)])
def test_an_efi_program_may_be_an_entry_of_newer_rhboots(
    disk: Disk, flavour: str, doubts: int
) -> None:
    machine = disk.entry("a-1-1", K1).entry("b-1-1", "title U\nefi /EFI/x.efi\n").run(flavour)
    assert [entry.id for entry in machine.menu or []] == ["a-1-1"]
    assert len(machine.guesses) == doubts


@BOTH
def test_comments_are_skipped_also_indented_ones(disk: Disk, flavour: str) -> None:
    (entry,) = disk.entry("a-1-1", "# one\n  # two\n  #\ntitle T\n#\nlinux /k\n").menu(flavour)
    assert (entry.title, entry.code.source.text.split()[-1]) == (
        "T",
        "($root)/k" if flavour == RHBOOT else "/k",
    )


@BOTH
def test_carriage_returns_vanish_and_trailing_blanks_stay(disk: Disk, flavour: str) -> None:
    assert disk.options(flavour, "ro  \r") == "ro  "
    assert disk.menu(flavour)[0].title == "/k"


def test_upstream_allows_indented_lines(disk: Disk) -> None:
    (entry,) = disk.entry("a-1-1", "\ttitle\t T\n  linux /k\n").menu(UPSTREAM)
    assert (entry.title, entry.code.source.text) == ("T", "linux /k\n")


@pytest.mark.parametrize("line", ["  linux /k2", "  "])
def test_an_indented_line_would_crash_rhboot_and_is_refused(disk: Disk, line: str) -> None:
    machine = disk.entry("a-1-1", f"title T\n{line}\nlinux /k\n").entry("b-1-1", K1).run(RHBOOT)
    assert [entry.id for entry in machine.menu or []] == ["b-1-1"]
    (refusal,) = machine.refusals
    assert refusal.reason == "rhboot's GRUB crashes at a line that begins with a blank"
    assert str(refusal.span) == "(hd0,gpt1)/loader/entries/a-1-1.conf:2"
    assert refusal.reason in [problem.message for problem in machine.problems]


def test_a_name_with_conf_in_its_middle_would_hang_rhboot_and_is_refused(disk: Disk) -> None:
    machine = disk.entry("a.conf-1-1", K1).run(RHBOOT)
    assert machine.menu == []
    assert [r.reason for r in machine.refusals] == [
        "rhboot's GRUB hangs at a file name with .conf in its middle"
    ]


def test_a_second_conf_at_the_end_is_no_part_of_rhboots_id(disk: Disk) -> None:
    disk.write("loader/entries/x.conf.conf", K1)
    assert (disk.ids(RHBOOT), disk.ids(UPSTREAM)) == (["x"], ["x.conf"])


def test_a_tab_separates_for_rhboot_only_where_no_blank_is_in_the_line(disk: Disk) -> None:
    disk.entry("a-1-1", "title\tA B\nlinux\t/k\noptions\tro quiet\n")
    assert [entry.title for entry in disk.menu(UPSTREAM)] == ["A B"]
    assert [entry.title for entry in disk.menu(RHBOOT)] == ["/k"]
    assert disk.menu(RHBOOT)[0].code.source.text.endswith("linux ($root)/k\n")


def test_a_tab_before_a_path_with_a_trailing_blank_loses_rhboots_entry(disk: Disk) -> None:
    disk.entry("a-1-1", "title T\nlinux\t/k \n")
    assert (disk.ids(RHBOOT), disk.ids(UPSTREAM)) == ([], ["a-1-1"])


@BOTH
def test_keys_mind_case(disk: Disk, flavour: str) -> None:
    assert disk.entry("a-1-1", "Title T\nlinux /k\n").menu(flavour)[0].title == "/k"


@BOTH
def test_the_first_of_each_key_counts_and_every_initrd(disk: Disk, flavour: str) -> None:
    text = (
        "title A\ntitle B\nlinux /k1\nlinux /k2\noptions one\noptions two\ninitrd /i1\ninitrd /i2\n"
    )
    (entry,) = disk.entry("a-1-1", text).menu(flavour)
    root = "($root)" if flavour == RHBOOT else ""
    assert entry.title == "A"
    assert entry.code.source.text.endswith(f"linux {root}/k1 one\ninitrd {root}/i1 {root}/i2\n")


@BOTH
def test_keys_of_the_entry_become_its_class_hotkey_and_arguments(disk: Disk, flavour: str) -> None:
    text = (
        K1
        + "grub_class a b\ngrub_class c\ngrub_hotkey x\ngrub_arg --unrestricted\ngrub_arg two words\n"
    )
    (entry,) = disk.entry("a-1-1", text).menu(flavour)
    assert (entry.classes, entry.hotkey, entry.args) == (
        ("a b", "c"),
        "x",
        ("One", "--unrestricted", "two words"),
    )


@BOTH
def test_title_and_paths_are_not_expanded_at_load(disk: Disk, flavour: str) -> None:
    (entry,) = disk.entry("a-1-1", "title $x\nlinux /$x\n").menu(flavour, x="1")
    assert (entry.title, "/$x\n" in entry.code.source.text) == ("$x", True)


# The body


def test_rhboots_body(disk: Disk) -> None:
    text = "linux /k\noptions ro quiet\ninitrd /i $tuned_initrd\ndevicetree /t.dtb\n"
    assert disk.body(RHBOOT, text) == (
        "load_video\nset gfxpayload=keep\ninsmod gzio\nlinux ($root)/k ro quiet\n"
        "initrd ($root)/i $tuned_initrd\ndevicetree ($root)/t.dtb\n"
    )


def test_upstreams_body(disk: Disk) -> None:
    text = "linux /k\noptions ro quiet\ninitrd /i $tuned_initrd\ndevicetree /t.dtb\n"
    assert (
        disk.body(UPSTREAM, text)
        == "linux /k ro quiet\ninitrd /i $tuned_initrd\ndevicetree /t.dtb\n"
    )


@pytest.mark.parametrize(("value", "saves"), [("true", True), ("1", False), ("", False)])
def test_rhboot_saves_the_default_when_save_default_is_true(
    disk: Disk, value: str, saves: bool
) -> None:
    assert disk.body(RHBOOT, K1, save_default=value).startswith("savedefault\n") is saves


@pytest.mark.parametrize(
    ("value", "saves"),
    [
        ("true", True),
        ("x", True),
        ("", False),
        ("0", False),
        ("no", False),
        ("false", False),
        ("disable", False),
    ],
)
def test_upstream_saves_the_default_when_its_own_variable_says_so(
    disk: Disk, value: str, saves: bool
) -> None:
    assert disk.body(UPSTREAM, K1, save_default="true") == "linux /k1\n"
    assert disk.body(UPSTREAM, K1, blsuki_save_default=value).startswith("savedefault\n") is saves


def test_early_initrds_lie_beside_the_first_initrd(disk: Disk) -> None:
    body = disk.body(RHBOOT, "linux /k\ninitrd /d/i1\ninitrd /e/i2\n", early_initrd="u1 u2")
    assert body.endswith("initrd ($root)/d/u1 ($root)/d/u2 ($root)/d/i1 ($root)/e/i2\n")


def test_early_initrds_lie_beside_the_kernel_where_there_is_no_initrd(disk: Disk) -> None:
    assert disk.body(RHBOOT, "linux /d/k\n", early_initrd="u").endswith("initrd ($root)/d/u\n")


def test_upstream_knows_no_early_initrd(disk: Disk) -> None:
    assert disk.body(UPSTREAM, "linux /k\n", early_initrd="u") == "linux /k\n"


def test_rhboots_devicetree_variable_names_a_file_beside_the_kernel(disk: Disk) -> None:
    assert disk.body(RHBOOT, "linux /d/k\n", devicetree="t.dtb").endswith(
        "devicetree ($root)/d/t.dtb\n"
    )
    assert disk.body(RHBOOT, "linux /d/k\ndevicetree /x\n", devicetree="t.dtb").endswith(
        "devicetree ($root)/x\n"
    )


@BOTH
def test_root_and_run_time_variables_are_those_of_the_moment_it_runs(
    disk: Disk, flavour: str
) -> None:
    disk.write("k").write("i").write("j").entry("a-1-1", "linux /k\ninitrd /i $tuned_initrd\n")
    machine = disk.run(flavour, "blscfg\nset tuned_initrd=/j\n")
    assert boot_default(machine).booted
    assert machine.loaded is not None
    assert [str(initrd.path) for initrd in machine.loaded.initrds] == [
        "(hd0,gpt1)/i",
        "(hd0,gpt1)/j",
    ]
    assert machine.loaded.kcmdline == ("(hd0,gpt1)/k" if flavour == RHBOOT else "/k")


@BOTH
def test_options_are_parsed_again_as_script(disk: Disk, flavour: str) -> None:
    disk.write("k").entry("a-1-1", 'linux /k\noptions a="b  c" d;echo e\n')
    machine = disk.run(flavour)
    assert boot_default(machine).booted
    assert machine.loaded is not None
    assert (machine.loaded.words[1:], machine.output) == (("a=b  c", "d"), ["e\n"])


@BOTH
def test_a_syntax_error_in_options_loads_nothing(disk: Disk, flavour: str) -> None:
    disk.write("k").entry("a-1-1", "linux /k\noptions a & b\n")
    machine = disk.run(flavour)
    assert not boot_default(machine).booted
    assert machine.executed == []


@BOTH
def test_title_and_arguments_are_the_entrys_parameters(disk: Disk, flavour: str) -> None:
    disk.write("k").entry("a-1-1", 'title A B\nlinux /k "x=$1" y=$2\ngrub_arg two\n')
    machine = disk.run(flavour)
    assert boot_default(machine).booted
    assert machine.loaded is not None
    assert machine.loaded.words[1:] == ("x=A B", "y=two")


# Variables in options


@BOTH
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$long", "a b "),
        ("$long x1", "a b x1"),
        ("x1 $long", "x1 a b "),
        ("$long/x", "a b /x"),
        ("x=$long", "x=a b "),
        ("$long$long", "a b a b "),
        ("x1 $undefined x2", "x1 x2"),
        ("$empty", " "),
        ("$empty x1", " x1"),
        ("${long}", "{long}"),
        ("x1 $long y", "x1 a b "),
        ("x1 $long é", "x1 a b é"),
        ("$s x1", "s x1"),
        ("x1 $s", "x1 "),
        ("x1 $s$long", "x1 a b "),
        ("x1 5$ x2", "x1 5x2"),
        ("$undefined x1", "x1"),
        ("ro", "ro"),
    ],
)
def test_variables_in_options(disk: Disk, flavour: str, value: str, expected: str) -> None:
    assert disk.options(flavour, value, long="a b", empty="", s="s") == expected


@BOTH
@pytest.mark.parametrize("value", ["x", "$undefined", "$undefined1$undefined2 rest", "$$x rest"])
def test_options_that_count_as_none(disk: Disk, flavour: str, value: str) -> None:
    assert disk.options(flavour, value) is None


@pytest.mark.parametrize("value", ["x", "$undefined", "$undefined1$undefined2 rest"])
def test_rhboot_takes_default_kernelopts_for_options_that_count_as_none(
    disk: Disk, value: str
) -> None:
    assert (
        disk.options(RHBOOT, value, default_kernelopts="root=$dev ro", dev="/d1") == "root=/d1 ro"
    )


def test_a_variable_set_to_nothing_keeps_default_kernelopts_away(disk: Disk) -> None:
    assert disk.options(RHBOOT, "$kernelopts", kernelopts="", default_kernelopts="ro") == " "


def test_a_blank_between_two_unset_variables_keeps_default_kernelopts_away(disk: Disk) -> None:
    # The second `$` ends an empty field, and then the result is empty instead of missing.
    assert disk.options(RHBOOT, "$kernelopts $tuned_params", default_kernelopts="ro") == ""


def test_upstream_knows_no_default_kernelopts(disk: Disk) -> None:
    assert disk.body(UPSTREAM, "linux /k\n", default_kernelopts="ro") == "linux /k\n"


def test_an_escaped_dollar_is_kept_for_the_script_by_rhboot_alone(disk: Disk) -> None:
    assert disk.options(RHBOOT, "x1 \\$long", long="a b") == "x1 \\$long"
    assert disk.options(UPSTREAM, "x1 \\$long", long="a b") == "x1 \\a b "


# Who may boot it


@BOTH
def test_an_entry_is_restricted_only_where_grub_users_leaves_a_value(
    disk: Disk, flavour: str
) -> None:
    disk.entry("a-1-1", K1 + "grub_users $grub_users\n").entry("b-1-1", K1).entry(
        "c-1-1", K1 + "grub_users me\n"
    )
    assert [entry.users for entry in disk.menu(flavour)] == ["me", None, None]
    assert [entry.users for entry in disk.menu(flavour, grub_users="root")] == ["me", None, "root "]


# Arguments


def three(disk: Disk) -> Disk:
    return (
        disk.entry("a-1-1", "title A\nlinux /k\n")
        .entry("b-1-1", "title B\nlinux /k\n")
        .entry("c-1-1", K1)
    )


@pytest.mark.parametrize("default", ["b-1-1", "B", "1", "1x"])
def test_rhboot_can_show_the_default_alone_and_all_others(disk: Disk, default: str) -> None:
    assert three(disk).ids(RHBOOT, "blscfg default", default=default) == ["b-1-1"]
    assert disk.ids(RHBOOT, "blscfg non-default", default=default) == ["c-1-1", "a-1-1"]


def test_rhboot_can_show_the_default_first(disk: Disk) -> None:
    script = "blscfg default\nblscfg non-default\n"
    assert three(disk).ids(RHBOOT, script, default="B") == ["b-1-1", "c-1-1", "a-1-1"]


def test_rhboot_can_show_one_entry_by_its_id(disk: Disk) -> None:
    assert three(disk).ids(RHBOOT, "blscfg b-1-1") == ["b-1-1"]
    assert disk.ids(RHBOOT, "blscfg b-1-1.conf") == []


def test_rhboot_takes_a_directory_with_its_device(disk: Disk) -> None:
    three(disk).entry("d-1-1", K2, "other")
    assert disk.ids(RHBOOT, "blscfg ($root)/other") == ["d-1-1"]
    assert disk.ids(RHBOOT, "blscfg ($root)/missing") == []


def test_rhboot_takes_one_file_with_its_device(disk: Disk) -> None:
    three(disk).entry("d-1-1", K2, "other")
    assert disk.ids(RHBOOT, "blscfg ($root)/other/d-1-1.conf") == ["d-1-1"]
    machine = disk.run(RHBOOT, "blscfg ($root)/x.conf\necho $?")
    assert (machine.menu, status(machine)) == ([], f"{FILE_NOT_FOUND}\n")


def test_rhboot_refuses_an_unclosed_device(disk: Disk) -> None:
    assert status(disk.run(RHBOOT, "blscfg '(hd0'\necho $?")) == f"{BAD_ARGUMENT}\n"


def test_rhboot_ignores_two_arguments(disk: Disk) -> None:
    assert three(disk).ids(RHBOOT, "blscfg default b-1-1") == ["c-1-1", "b-1-1", "a-1-1"]


def test_called_twice_rhboot_adds_each_entry_once_and_upstream_twice(disk: Disk) -> None:
    disk.entry("a-1-1", K1)
    assert (disk.ids(RHBOOT, "blscfg\nblscfg"), disk.ids(UPSTREAM, "blscfg\nblscfg")) == (
        ["a-1-1"],
        ["a-1-1"] * 2,
    )


def test_rhboot_shows_later_what_it_has_read_before(disk: Disk) -> None:
    three(disk).entry("d-1-1", K2, "other")
    assert disk.ids(RHBOOT, "blscfg b-1-1\nblscfg ($root)/other") == [
        "b-1-1",
        "d-1-1",
        "c-1-1",
        "a-1-1",
    ]


def test_what_one_copy_of_a_machine_reads_the_other_does_not_know(disk: Disk) -> None:
    machine = disk.entry("a-1-1", K1).run(RHBOOT, "true")
    machine.fork().run(read_source("x", b"blscfg"))
    machine.run(read_source("x", b"blscfg"))
    assert [entry.id for entry in machine.menu or []] == ["a-1-1"]


def test_upstream_takes_a_path_on_root_or_on_a_device(disk: Disk) -> None:
    three(disk).entry("d-1-1", K2, "other")
    assert disk.ids(UPSTREAM, "blscfg --path /other") == ["d-1-1"]
    assert disk.ids(UPSTREAM, "blscfg -p ($root)/other/") == ["d-1-1"]
    assert disk.ids(UPSTREAM, "blscfg --path ($root)") == []
    assert disk.ids(UPSTREAM, "blscfg --path other") == ["c-1-1", "b-1-1", "a-1-1"]


def test_upstream_falls_back_only_when_told_to(disk: Disk) -> None:
    disk.entry("a-1-1", K1)
    assert disk.ids(UPSTREAM, "blscfg --path /missing") == []
    assert disk.ids(UPSTREAM, "blscfg --path /missing --enable-fallback") == ["a-1-1"]
    disk.entry("b-1-1", K2, "other")
    assert disk.ids(UPSTREAM, "blscfg --path /other --enable-fallback") == ["b-1-1"]


def test_upstream_takes_one_file(disk: Disk) -> None:
    disk.entry("d-1-1", K2, "other")
    assert disk.ids(UPSTREAM, "blscfg --path /other/d-1-1.conf") == ["d-1-1"]
    assert disk.run(UPSTREAM, "blscfg --path /other/d-1-1.conf", platform="efi").guesses != []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("default", BAD_ARGUMENT),
        ("($root)/loader/entries", BAD_ARGUMENT),
        ("--nosuch", BAD_ARGUMENT),
        ("--path '(hd0'", BAD_ARGUMENT),
        ("--path '(hd9)/x'", BAD_DEVICE),
        ("--path /x.conf", FILE_NOT_FOUND),
        ("--path x.conf", BAD_FILENAME),
    ],
)
def test_upstreams_errors(disk: Disk, arguments: str, error: int) -> None:
    machine = disk.entry("a-1-1", K1).run(UPSTREAM, f"blscfg {arguments}\necho $?")
    assert (machine.menu, status(machine)) == ([], f"{error}\n")


@pytest.mark.parametrize("default", ["b-1-1.conf", "B", "1"])
def test_upstream_shows_the_default_by_file_name_title_or_number(disk: Disk, default: str) -> None:
    assert three(disk).ids(UPSTREAM, "blscfg --show-default", default=default) == ["b-1-1"]
    assert disk.ids(UPSTREAM, "blscfg --show-non-default", default=default) == ["c-1-1", "a-1-1"]


@pytest.mark.parametrize("default", ["b-1-1", "1x", ""])
def test_upstream_knows_no_default_by_id_or_with_a_tail(disk: Disk, default: str) -> None:
    assert three(disk).ids(UPSTREAM, "blscfg --show-default", default=default) == []


def test_upstreams_filters_add_up(disk: Disk) -> None:
    assert three(disk).ids(UPSTREAM, "blscfg --entry a-1-1.conf") == ["a-1-1"]
    assert disk.ids(UPSTREAM, "blscfg --entry a-1-1") == []
    assert disk.ids(UPSTREAM, "blscfg --entry a-1-1.conf --show-default", default="B") == [
        "b-1-1",
        "a-1-1",
    ]


# Evidence


@BOTH
def test_an_entry_points_into_its_file(disk: Disk, flavour: str) -> None:
    (entry,) = disk.entry("a-1-1", "# c\ntitle T\ninitrd /i\nlinux /k\n").menu(flavour)
    assert str(entry.span) == "(hd0,gpt1)/loader/entries/a-1-1.conf:2"
    assert entry.span.source.number(entry.span.end - 1) == 4


@BOTH
def test_errors_of_the_body_point_to_the_lines_that_made_it(disk: Disk, flavour: str) -> None:
    disk.write("k").entry("a-1-1", "title T\ninitrd /i\n# c\nlinux /k\n")
    machine = disk.run(flavour)
    boot_default(machine)
    place = next(
        str(problem.span)
        for problem in machine.problems
        if problem.message == "file `/i' not found"
    )
    assert place == "(hd0,gpt1)/loader/entries/a-1-1.conf:2"


@BOTH
def test_a_value_of_several_lines_keeps_the_lines_after_it_in_place(
    disk: Disk, flavour: str
) -> None:
    disk.write("k").entry("a-1-1", "linux /k\noptions $two\ninitrd /i\ndevicetree /t.dtb\n")
    machine = disk.run(flavour, two="x1\necho x2")
    boot_default(machine)
    place = next(
        str(problem.span)
        for problem in machine.problems
        if problem.message == "file `/i' not found"
    )
    assert (machine.output, place) == (["x2\n"], "(hd0,gpt1)/loader/entries/a-1-1.conf:3")


@BOTH
def test_an_entry_tells_which_variables_its_options_read(disk: Disk, flavour: str) -> None:
    text = "linux /k\noptions root=$dev $tuned_params\ngrub_users $grub_users\n"
    (entry,) = disk.entry("a-1-1", text).menu(flavour, "set dev=/d1\nblscfg")
    dev, tuned = entry.reads
    assert (dev.name, dev.binding and (dev.binding.value, str(dev.binding.origin))) == (
        "dev",
        ("/d1", "grub.cfg:1"),
    )
    assert (tuned.name, tuned.binding) == ("tuned_params", None)
    source, start, end = tuned.span
    assert (source.text[start:end], tuned.span.line) == ("$tuned_params", 2)


def test_an_entry_tells_that_default_kernelopts_was_read(disk: Disk) -> None:
    (entry,) = disk.entry("a-1-1", "linux /k\n").menu(RHBOOT, default_kernelopts="root=$dev ro")
    assert [(read.name, read.binding is None) for read in entry.reads] == [
        ("default_kernelopts", False),
        ("dev", True),
    ]


# GRUB 2.14 writes one byte too many (commands/blsuki.c:bls_get_linux): 7 bytes, the path, a blank, the options


@pytest.mark.parametrize(
    ("length", "platform", "noted"),
    [(5, "pc", 1), (21, "pc", 1), (4, "pc", 0), (13, "pc", 0), (5, "efi", 0)],
)
def test_an_unlucky_length_is_noted(disk: Disk, length: int, platform: str, noted: int) -> None:
    machine = disk.entry("a-1-1", f"linux /k1\noptions {'x' * length}\ninitrd /i\n").run(
        UPSTREAM, platform=platform
    )
    assert sum("may lose the initrd" in problem.message for problem in machine.problems) == noted
