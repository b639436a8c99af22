"""Objections to an entry and notes about it, each on a root that has nothing else wrong with it."""

from __future__ import annotations

import time

import pytest

from tests.plugins.builtin.disk import (
    ANOTHER,
    INITRD,
    KERNEL,
    MAKE_CONFIG,
    MENUENTRY,
    REMAKE,
    UUID,
    Disk,
)


def test_nothing_speaks_against_a_plain_root(disk: Disk) -> None:
    assert disk.reasons() == []
    assert disk.notes() == []


# --- the entry ---


def test_no_entry_at_all(disk: Disk) -> None:
    disk.config("set a=b\n")
    why = f"/boot/grub/grub.cfg has no menu entry, so GRUB would stop at its prompt; {MAKE_CONFIG}"
    assert disk.reasons() == [why]


def test_a_configuration_that_is_no_file(disk: Disk) -> None:
    (disk.root / "boot/grub/grub.cfg").unlink()
    (disk.root / "boot/grub/grub.cfg").mkdir()
    why = f"/boot/grub/grub.cfg cannot be read; {MAKE_CONFIG}"
    assert disk.reasons() == [why]


def test_a_configuration_that_boots_without_a_menu(disk: Disk) -> None:
    disk.config("linux /boot/vmlinuz-6.1 root=/dev/sda2\ninitrd /boot/initrd.img-6.1\nboot\n")
    why = (
        "/boot/grub/grub.cfg boots without showing a menu, which kexec-hook does not follow; "
        "put its commands into a menuentry"
    )
    assert disk.reasons() == [why]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("halt", "switches the machine off"),
        ("reboot", "restarts the machine"),
        ("exit", "returns to the firmware"),
    ],
)
def test_a_configuration_that_leaves_grub(disk: Disk, command: str, what: str) -> None:
    disk.config(f"{command}\n")
    why = (
        f"/boot/grub/grub.cfg shows no menu: its command `{command}` {what}; "
        "put its commands into a menuentry"
    )
    assert disk.reasons() == [why]


def test_an_entry_that_boots_no_linux(disk: Disk) -> None:
    disk.config("menuentry 'Off' {\n halt\n}\n")
    why = f"«Off» does not boot Linux: its command `halt` switches the machine off; {ANOTHER}"
    assert disk.reasons() == [why]


def test_an_entry_for_another_system(disk: Disk) -> None:
    disk.write("boot/xen.gz")
    disk.config("menuentry 'Xen' {\n multiboot2 /boot/xen.gz\n}\n")
    (why,) = disk.reasons()
    assert why.startswith("«Xen» starts ")
    assert why.endswith(f"(multiboot2), not Linux; {ANOTHER}")


def test_an_entry_with_a_password(disk: Disk) -> None:
    disk.config("set superusers=root\npassword root secret\n" + MENUENTRY)
    why = (
        "«Linux» needs a GRUB password, so it does not boot unattended; "
        "add --unrestricted to the menuentry at /boot/grub/grub.cfg:4"
    )
    assert disk.reasons() == [why]


def test_an_entry_whose_kernel_is_gone(disk: Disk) -> None:
    (disk.root / "boot/vmlinuz-6.1").unlink()
    why = (
        "GRUB cannot load the kernel of «Linux»: file `/boot/vmlinuz-6.1' not found "
        f"(/boot/grub/grub.cfg:3); {MAKE_CONFIG}"
    )
    assert disk.reasons() == [why]


def test_an_entry_on_a_disk_that_is_not_mounted(disk: Disk) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    disk.write("dev/sdb1")
    disk.link(f"dev/disk/by-uuid/{other}", "../../sdb1")
    disk.config(
        f"menuentry 'Linux' {{\n search --fs-uuid --set=root {other}\n linux /vmlinuz root=/dev/sdb2\n}}\n"
    )
    (why,) = disk.reasons()
    assert why == (
        f"what GRUB boots cannot be known: /dev/sdb1 (UUID {other}) is not mounted, and it cannot be read without "
        "grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL), and GRUB looks for /vmlinuz on it (/boot/grub/grub.cfg:4); "
        "install grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL), or mount /dev/sdb1"
    )


def test_an_entry_whose_kernel_is_no_file_but_blocks_of_a_disk(disk: Disk) -> None:
    disk.config("menuentry 'Linux' {\n linux (hd0)+100 root=/dev/sda2\n}\n")
    why = "the files of «Linux» cannot be reached: (hd0)+100: unknown filesystem; mount the file system that holds them"
    assert disk.reasons() == [why]


def test_an_initrd_that_is_gone(disk: Disk) -> None:
    (disk.root / "boot/initrd.img-6.1").unlink()
    why = (
        "GRUB cannot load the initrd of «Linux»: file `/boot/initrd.img-6.1' not found "
        f"(/boot/grub/grub.cfg:4); {REMAKE}"
    )
    assert disk.reasons() == [why]


def test_the_last_initrd_is_gone(disk: Disk) -> None:
    entry = MENUENTRY.replace("\n}", "\n  initrd /boot/more.img\n}")
    disk.config(entry)
    why = (
        "GRUB cannot load the last initrd of «Linux»: file `/boot/more.img' not found "
        "(/boot/grub/grub.cfg:5); restore /boot/more.img, or take it out of the boot entry"
    )
    assert disk.reasons() == [why]


def test_a_command_that_changes_the_hardware(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("\n}", "\n  badram 0x1000,0xfff\n}"))
    (why,) = disk.reasons()
    assert why.endswith(f"(/boot/grub/grub.cfg:5), and a kexec cannot do the same; {ANOTHER}")


def test_a_choice_that_depends_on_the_clock(disk: Disk) -> None:
    disk.config('if [ "$HOUR" = 3 ]; then set default=1; fi\n' + MENUENTRY)
    (why,) = disk.reasons()
    assert why.startswith("what GRUB boots cannot be known: ")
    assert why.endswith("(/boot/grub/grub.cfg:2); take that out of the configuration")


def test_a_root_built_from_an_unset_variable(disk: Disk) -> None:
    disk.parameters("root=$rootdev")
    why = "root=$rootdev uses $rootdev, which is not set (/boot/grub/grub.cfg:3)"
    assert [f"{why}; set rootdev, or correct /boot/grub/grub.cfg:3"] == disk.reasons()


@pytest.mark.parametrize(
    ("before", "initrd"),
    [
        ("", "/boot/initrd.img-6.1 $more"),
        ("", "$more /boot/initrd.img-6.1"),
        ("", "/boot/initrd.img-6.1 ${more}"),
        ("", "$more$more /boot/initrd.img-6.1 ${more}$more"),
        ("set second=$more", "/boot/initrd.img-6.1 $second"),
        ('set empty="$more$more"', "/boot/initrd.img-6.1 $empty$empty"),
        ('set all="/boot/initrd.img-6.1 $more"', "$all"),
        ('all=$more\nset list="$all /boot/initrd.img-6.1"', "$list"),
    ],
)
def test_a_word_of_which_nothing_is_left_is_no_initrd(disk: Disk, before: str, initrd: str) -> None:
    """As in GRUB: `$tuned_initrd` in the entries of Fedora 41."""
    disk.config(f"{before}\n" + MENUENTRY.replace("/boot/initrd.img-6.1", initrd))
    decision = disk.run()
    assert decision.objections == ()
    assert decision.plan is not None
    assert [found.path for found in decision.plan.initrds] == [INITRD]
    line = 5 + before.count("\n")
    note = f"$more is not set, so it adds no initrd (/boot/grub/grub.cfg:{line})"
    assert [found.text for found in decision.notes] == [note]


@pytest.mark.parametrize(
    ("before", "command", "what"),
    [
        ("", "initrd /boot/initrd$x.img-6.1", "the path /boot/initrd$x.img-6.1"),
        (
            "",
            "initrd /boot/initrd.img-6.1 /boot/${x}initrd.img-6.1",
            "the path /boot/${x}initrd.img-6.1",
        ),
        ("set whole=/boot/initrd$x.img-6.1", "initrd $whole", "the path $whole"),
        ('set all="/boot/initrd.img-6.1 /boot/initrd$x.img-6.1"', "initrd $all", "the path $all"),
        ('set all="$x /boot/initrd$x.img-6.1"', "initrd $all", "the path $all"),
        ("set name=initrd.img-6.1", "initrd /boot/$x$name", "the path /boot/$x$name"),
        ("", f"linux $x{KERNEL}", f"the path $x{KERNEL}"),
        ("", f"linux $x {KERNEL}", "the path $x"),
        ("set kernel=$x", f"linux $kernel {KERNEL}", "the path $kernel"),
        ("", f"linux {KERNEL} ro root=UUID=$x", "root=UUID=$x"),
        ('set args="ro root=$x"', f"linux {KERNEL} $args", "$args"),
    ],
)
def test_a_path_or_root_with_an_unset_variable_in_it(
    disk: Disk, before: str, command: str, what: str
) -> None:
    name = command.split()[0]
    lines = [command if line.split()[:1] == [name] else line for line in MENUENTRY.splitlines()]
    disk.config(f"{before}\n" + "\n".join(lines) + "\n")
    line = 4 if name == "linux" else 5
    why = f"{what} uses $x, which is not set (/boot/grub/grub.cfg:{line})"
    assert f"{why}; set x, or correct /boot/grub/grub.cfg:{line}" in disk.reasons()


@pytest.mark.parametrize("words", ['"$x"', '/boot/initrd.img-6.1 "$x"', '"$x$x"'])
def test_an_initrd_in_quotes_is_opened_by_the_name_that_is_left(disk: Disk, words: str) -> None:
    disk.config(MENUENTRY.replace("/boot/initrd.img-6.1", words))
    why = disk.reasons()[0]
    assert why.startswith("GRUB cannot load the initrd of «Linux»: invalid file name `' ")


@pytest.mark.parametrize("command", ["initrd $x", "initrd"])
def test_an_entry_whose_initrd_is_gone_altogether(disk: Disk, command: str) -> None:
    disk.config(MENUENTRY.replace("initrd /boot/initrd.img-6.1", command))
    why = disk.reasons()[0]
    assert why.startswith("GRUB cannot load the initrd of «Linux»: filename expected ")


def test_what_a_word_was_built_from_is_looked_at_once(disk: Disk) -> None:
    """Twelve values, each of forty earlier ones."""
    again = "$a$b$c$d" * 10
    lines = [f'set {name}="{again}"' for _ in range(3) for name in "abcd"]
    disk.config("\n".join(lines) + "\n" + MENUENTRY.replace("initrd ", "initrd $d "))
    started = time.monotonic()
    assert disk.reasons() == []
    assert time.monotonic() - started < 5


def test_words_that_are_no_path_may_be_empty(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} $x a=$x ro")
    assert disk.reasons() == []


@pytest.mark.parametrize(
    ("options", "reason", "note"),
    [
        (
            f"root=UUID={UUID} $tuned_params",
            "",
            "$tuned_params is not set, so it adds nothing to the command line",
        ),
        (
            "ro root=$disk quiet",
            "root=$disk uses $disk, which is not set",
            "$disk is not set, so it adds",
        ),
        ("root=$through", "root=$through uses $nothing, which is not set", ""),
        ("root=$known", "", ""),
    ],
)
def test_an_unset_variable_in_a_snippet(disk: Disk, options: str, reason: str, note: str) -> None:
    disk.write("etc/kexec-hook.conf", "flavour = rhboot\n")
    disk.config("set known=UUID=@UUID@\nset through=$nothing\nblscfg\n")
    snippet = f"title a\nlinux /boot/vmlinuz-6.1\ninitrd /boot/initrd.img-6.1\noptions {options}\n"
    disk.write("boot/loader/entries/a.conf", snippet)
    run = disk.run()
    notes = [found.text for found in run.notes if "is assumed to be" not in found.text]
    for found, wanted in (
        ([objection.reason for objection in run.objections], reason),
        (notes, note),
    ):
        assert len(found) == bool(wanted), found
        assert all(
            one.startswith(wanted) and "(/boot/loader/entries/a.conf:4)" in one for one in found
        )


@pytest.mark.parametrize("name", ["cmdpath", "fw_path"])
def test_a_variable_that_not_every_grub_sets(disk: Disk, name: str) -> None:
    disk.parameters(f"root=UUID={UUID} from=${name}")
    why = (
        f"what GRUB boots cannot be known: ${name} is set by some builds of GRUB and not by others"
    )
    assert disk.reasons() == [f"{why} (/boot/grub/grub.cfg:3); take that out of the configuration"]


# --- settings ---


@pytest.mark.parametrize(
    ("path", "text", "origin"),
    [
        ("etc/default/kexec", "# x\nLOAD_KEXEC=false\n", "/etc/default/kexec:2 (LOAD_KEXEC)"),
        ("etc/kexec-hook.conf", "load = no\n", "/etc/kexec-hook.conf:1"),
    ],
)
def test_staging_is_switched_off(disk: Disk, path: str, text: str, origin: str) -> None:
    disk.write(path, text)
    why = f"kexec-hook is switched off in {origin}; set `load = yes` in /etc/kexec-hook.conf"
    assert disk.reasons() == [why]
    disk.write("etc/kexec-hook.conf.d/on.conf", "load = yes\n")
    assert disk.reasons() == []


def test_files_are_judged_also_where_grub_is_not_asked(disk: Disk) -> None:
    disk.write("etc/kexec-hook.conf", "select = kexec-default\n")
    disk.write(
        "etc/default/kexec",
        f'KERNEL_IMAGE="{KERNEL}"\nINITRD="{INITRD}"\nAPPEND="root=UUID=1 ro"\n',
    )
    disk.write(INITRD, b"")
    assert disk.reasons() == [
        f"{INITRD} is empty; {REMAKE}",
        "root=UUID=1: there is no such name in /dev/disk/by-uuid",
    ]


# --- notes ---


def test_grub_would_wait(disk: Disk) -> None:
    note = "GRUB's menu has no timeout, so GRUB would wait there; a kexec does not wait"
    for timeout in ("", "set timeout=-1\n", "set timeout=x\n"):
        disk.config(MENUENTRY, timeout=timeout)
        assert disk.notes() == [note]
    disk.config(MENUENTRY, timeout="set timeout=0\n")
    assert disk.notes() == []


def test_unset_variables_are_noted(disk: Disk) -> None:
    disk.parameters(f"root=UUID={UUID} $tuned_params")
    note = (
        "$tuned_params is not set, so it adds nothing to the command line (/boot/grub/grub.cfg:3)"
    )
    assert disk.notes() == [note]


def test_an_assumed_disk_is_noted(disk: Disk) -> None:
    disk.config(MENUENTRY.replace("/boot/vmlinuz", "($root)/boot/vmlinuz"))
    (note,) = disk.notes()
    assert note.startswith("GRUB's name for the disk is assumed to be (hd0,")


def test_assumptions_about_disks_are_noted(disk: Disk) -> None:
    (disk.root / "proc/self/mountinfo").unlink()
    for unnamed in (disk.root / "dev").glob("sd?[0-9]"):
        unnamed.unlink()
    disk.config(f"search --fs-uuid --set=root {UUID[:-1]}2\n" + MENUENTRY)
    (note,) = disk.notes()
    assert (
        note
        == "there is no proc/self/mountinfo below the root, so it is taken to be one file system"
    )


def test_a_fallback_is_noted(disk: Disk) -> None:
    disk.config("set fallback=1\nmenuentry 'Broken' {\n linux /gone\n}\n" + MENUENTRY)
    run = disk.run()
    assert "GRUB would then try its fallback, «Linux»" in [note.text for note in run.notes]
    assert run.declined
