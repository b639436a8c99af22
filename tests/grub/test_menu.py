"""Which entry a `default` names, what entering does, and what comes after it (grub-core/normal/menu.c)."""

from __future__ import annotations

import pytest

from kexec_hook.grub.menu import BootResult, boot_default, evaluate
from tests.property.disk import PREFIX, machine

MENU = """
menuentry 'First' --id one { linux /k 1; }
submenu 'More kernels' --id more {
    menuentry 'Old' --id old { linux /k 2.0; }
    menuentry '6.1 kernel' --id six { linux /k 2.1; }
    submenu 'Deeper' --id deep { menuentry 'Oldest' --id oldest { linux /k 2.2.0; }; }
}
menuentry '6.1 kernel' --id top { linux /k 3; }
menuentry 'a>b' --id 'c>d' { linux /k 4; }
menuentry '1' --id zero { linux /k 5; }
"""
BOTH = pytest.mark.parametrize("flavour", ["upstream", "rhboot"])


def boot(script: str, flavour: str = "upstream") -> tuple[BootResult, str | None]:
    """What GRUB does when left alone, and what stands behind the kernel on the command line."""
    made = machine({"/boot/grub/grub.cfg": script.encode(), "/k": b"", "/i": b""}, flavour)
    assert evaluate(made, f"{PREFIX}/grub.cfg") == "menu"
    result = boot_default(made)
    return result, made.loaded.kcmdline.partition("/k ")[
        2
    ] if made.loaded and result.booted else None


def booted(default: str, flavour: str) -> str | None:
    return boot(f"set default='{default}'\n{MENU}", flavour)[1]


# What both agree on.


@BOTH
@pytest.mark.parametrize(
    ("default", "entry"),
    [
        ("0", "1"),
        ("2", "3"),
        ("top", "3"),
        ("First", "1"),
        ("more>old", "2.0"),
        ("more>1", "2.1"),
        ("more>deep>oldest", "2.2.0"),
        ("More kernels>Deeper>Oldest", "2.2.0"),
        ("c>>d", "4"),
        ("a>>b", "4"),
        ("nothing of this name", "1"),
        ("99", "1"),
        ("more>nope", "2.0"),
        ("0x2", "3"),
        ("02", "3"),
    ],
)
def test_a_default_names_an_entry(default: str, entry: str, flavour: str) -> None:
    assert booted(default, flavour) == entry


@BOTH
def test_without_a_default_the_first_entry_boots(flavour: str) -> None:
    assert boot(MENU, flavour)[1] == "1"


@BOTH
def test_the_first_of_two_with_one_name_boots(flavour: str) -> None:
    two = "menuentry x --id a { linux /k 1; }\nmenuentry x --id a { linux /k 2; }\n"
    assert boot("set default=a\n" + two, flavour)[1] == "1"


# Where they differ: upstream begins with the number, rhboot with ids and then titles.


@pytest.mark.parametrize(
    ("default", "upstream", "rhboot"),
    [
        ("1", "2.0", "5"),  # an entry has this title
        ("2x", "3", "1"),
        ("2 ", "3", "1"),
        ("1>2", "2.2.0", "5"),  # this title ends at the sign
        ("6.1 kernel", "1", "3"),  # 6 is out of range
        ("more>6.1 kernel", "2.0", "1"),  # rhboot cuts ids at a blank
        ("more>six", "2.1", "2.1"),
        ("1>1", "2.1", "5"),
    ],
)
def test_numbers_and_names_collide(default: str, upstream: str, rhboot: str) -> None:
    assert (booted(default, "upstream"), booted(default, "rhboot")) == (upstream, rhboot)


def test_default_without_a_tail_is_unset_in_a_submenu_of_upstream() -> None:
    menu = "submenu s --id 1 { menuentry a { linux /k 0; }; menuentry b { linux /k 1; }; }\n"
    filled = "menuentry x { linux /k x; }\n" + menu
    assert boot("set default=1\nexport default\n" + filled, "upstream")[1] == "0"
    assert boot("set default=1\nexport default\n" + filled, "rhboot")[1] == "1"


# Entering


@BOTH
def test_chosen_is_the_path_of_ids(flavour: str) -> None:
    assert boot(f"set default='more>deep>oldest'\n{MENU}", flavour)[0].chosen == "more>deep>oldest"
    assert boot(f"set default=3\n{MENU}", flavour)[0].chosen == "c>>d"


@BOTH
def test_an_entry_runs_with_what_was_set_until_then(flavour: str) -> None:
    script = "v=early\nmenuentry a { linux /k $v $1; }\nv=late\n"
    assert boot(script, flavour)[1] == "late a"


def test_a_submenu_of_upstream_sees_exported_variables_only() -> None:
    script = "v=1; w=2; export w\nsubmenu s { menuentry a { linux /k x$v$w; }; }\n"
    assert boot(script, "upstream")[1] == "x2"
    assert boot(script, "rhboot")[1] == "x12"


HIDDEN = "hiddenentry text --id text --hotkey t { linux /k text; }\n"
LINUXES = "menuentry a { linux /k a; }\nmenuentry b { linux /k b; }\nmenuentry c { linux /k c; }\n"
SNAPSHOT = "submenu 'Bootable snapshot #1' { menuentry help { true; }; }\n"


@pytest.mark.parametrize(
    ("default", "hidden", "snapshot"),
    [(None, "a", "a"), ("1", "b", "b"), ("b", "b", "b"), ("text", "a", "a"), ("7", "a", None)],
)
def test_suse_counts_neither_hidden_entries_nor_a_snapshot_ahead(
    default: str | None, hidden: str, snapshot: str | None
) -> None:
    """grub2-Add-hidden-menu-entries, and grub2-btrfs-08-workaround-snapshot-menu-default-entry."""
    script = f"set default={default}\n" if default else ""
    assert boot(script + HIDDEN + LINUXES, "suse")[1] == hidden
    assert boot(script + SNAPSHOT + LINUXES, "suse")[1] == snapshot


def test_el_8_chooses_as_rhboot_and_enters_as_upstream() -> None:
    """rhel-8-main of rhboot/grub2: names before numbers, but neither inherited variables nor a status that decides."""
    assert booted("more>6.1 kernel", "rhboot-8") == booted("more>6.1 kernel", "rhboot")
    script = "v=1; w=2; export w\nsubmenu s { menuentry a { linux /k x$v$w; }; }\n"
    assert boot(script, "rhboot-8")[1] == "x2"
    menu = "submenu s --id 1 { menuentry a { linux /k 0; }; menuentry b { linux /k 1; }; }\n"
    assert boot("set default=1\nexport default\n" + menu, "rhboot-8")[1] == "0"
    assert boot("menuentry a { linux /k x; initrd /nope; }\n", "rhboot-8")[1] == "x"


def test_el_7_takes_a_number_before_a_name_and_a_path_of_numbers() -> None:
    """rhel-7.9 of rhboot/grub2"""
    menu = "menuentry a --id 1 { linux /k a; }\nsubmenu s { menuentry b { linux /k b; }; menuentry c { linux /k c; }; }\n"
    for default in ("1>1", "s>c"):
        assert boot(f"set default='{default}'\n" + menu, "rhboot-7")[1] == "c"
    assert boot("set default=1\n" + menu, "rhboot-7")[1] == "b"
    assert boot("set default=1\n" + menu, "rhboot-8")[1] == "a"


def test_an_entry_that_needs_a_password_ends_it() -> None:
    assert boot("set superusers=root\nmenuentry a { linux /k; }\n")[0].ended == "password"
    assert (
        boot("set superusers=root\nmenuentry a --unrestricted { linux /k; }\n")[0].ended == "boot"
    )


@pytest.mark.parametrize(
    ("flavour", "value", "users", "ended"),
    [
        ("suse", "y", "", "boot"),
        ("suse", "1", "", "boot"),
        ("suse", "n", "", "password"),
        ("suse", "", "", "password"),
        ("suse", "y", "--users me", "password"),
        ("upstream", "y", "", "password"),
    ],
)
def test_with_yasts_password_for_changes_alone_suses_entries_boot_without(
    flavour: str, value: str, users: str, ended: str
) -> None:
    script = (
        f"set superusers=root\nset unrestricted_menu={value}\nmenuentry a {users} {{ linux /k; }}\n"
    )
    assert boot(script, flavour)[0].ended == ended


def test_nothing_boots_where_the_kernel_is_missing() -> None:
    assert boot("menuentry a { linux /nope; }\n")[0].ended == "menu"


def test_upstream_boots_after_an_error_behind_the_kernel() -> None:
    script = "menuentry a { linux /k x; initrd /nope; }\n"
    assert boot(script, "upstream")[1] == "x"
    assert boot(script, "rhboot")[1] is None


# Afterwards


@BOTH
def test_a_fallback_is_tried_when_the_default_fails(flavour: str) -> None:
    script = "set fallback='2 1'\nmenuentry a { linux /nope; }\nmenuentry b { linux /k b; }\nmenuentry c { linux /k c; }\n"
    assert boot(script, flavour)[1] == "c"


@BOTH
def test_the_next_fallback_is_tried_when_one_fails(flavour: str) -> None:
    script = "set fallback='1 2'\nmenuentry a { linux /nope; }\nmenuentry b { linux /nope; }\nmenuentry c { linux /k c; }\n"
    assert boot(script, flavour)[1] == "c"


def test_a_default_that_ends_without_error_falls_back_in_upstream_only() -> None:
    script = "set fallback=1\nmenuentry a { true; }\nmenuentry b { linux /k b; }\n"
    assert boot(script, "upstream")[1] == "b"
    assert boot(script, "rhboot")[1] is None


@BOTH
def test_a_backslash_may_end_the_last_line_of_a_body(flavour: str) -> None:
    assert boot("menuentry a { linux /k x \\\n}\n", flavour)[1] == "x"
