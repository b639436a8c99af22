"""What single commands do, and how they fail."""

from __future__ import annotations

import pytest

from kexec_hook.disks.directories import PartitionDisks
from kexec_hook.report import grubeval
from tests.grub.behaviour import behaviours

TABLE = {
    "test without operands is true": ("[ ]; p $?; [ $nope ]; p $?", "1:<0>\n1:<0>\n"),
    "test of an unset variable is true": ("[ -n $nope ]; p $?; [ $nope = x ]; p $?", "1:<0>\n1:<0>\n"),
    "test of a quoted unset variable is not": ('[ -n "$nope" ]; p $?; [ "$nope" = x ]; p $?', "1:<1>\n1:<1>\n"),
    "test compares texts": ("[ a = a ]; p $?; [ a != a ]; p $?; [ a \\< b ]; p $?", "1:<0>\n1:<1>\n1:<0>\n"),
    "test compares numbers": ("[ 10 -gt 9 ]; p $?; [ 9 -ge 10 ]; p $?", "1:<0>\n1:<1>\n"),
    "test knows hexadecimal and octal numbers": ("[ 0x10 -eq 16 ]; p $?; [ 010 -eq 8 ]; p $?", "1:<0>\n1:<0>\n"),
    "test takes text for zero": ("[ abc -eq 0 ]; p $?", "1:<0>\n"),
    "test knows negative numbers": ("[ -1 -lt 0 ]; p $?", "1:<0>\n"),
    "test knows or and not": ("[ a = b -o a = a ]; p $?; [ ! a = b ]; p $?", "1:<0>\n1:<0>\n"),
    "neighbours in test are joined by and": ("[ a = a a = b ]; p $?", "1:<1>\n"),
    "test knows parentheses": ("[ \\( a = b -o a = a \\) -a b = b ]; p $?", "1:<0>\n"),
    "test looks at files": ("[ -e /g/a1 ]; p $?; [ -d /g ]; p $?; [ -f /g ]; p $?; [ -s /boot/empty ]; p $?",
        "1:<0>\n1:<0>\n1:<1>\n1:<1>\n"),
    "test compares ages": ("[ /g/a2 -nt /g/a1 ]; p $?; [ /g/a2 -ot /g/a1 ]; p $?", "1:<0>\n1:<1>\n"),
    "the closing bracket may be missing": ("[ a = a; p $?", "1:<0>\n"),
    "not before a word that is no operator": ("[ ! a ]; p $?", "1:<1>\n"),
    "echo joins by blanks": ("echo a  'b  c'", "a b  c\n"),
    "echo without newline": ("echo -n a; echo b", "ab\n"),
    "echo knows escapes when asked": ("echo -e 'a\\nb'; echo 'a\\nb'", "a\nb\na\\nb\n"),
    "search finds a file": ("search --file --set=d /g/a1; p $? $d", "2:<0><hd0,gpt1>\n"),
    "search finds a label": ("search --label --set=d lab; p $? $d", "2:<0><hd0,gpt1>\n"),
    "search finds a file system": ("search -u -s d 11111111-2222-3333-4444-555555555555; p $d", "1:<hd0,gpt1>\n"),
    "search sets root when told nothing else": ("root=x; search --set --file /g/a1; p $root", "1:<hd0,gpt1>\n"),
    "search that finds nothing leaves the variable": ("d=x; search --set=d --file /nope; p $? $d", "2:<5><x>\n"),
    "regexp sets the first group": ("regexp --set=v 'a(.)c' abc; p $? $v", "2:<0><b>\n"),
    "regexp sets any group": ("regexp --set=2:v '(a)(b)' ab; p $? $v", "2:<0><b>\n"),
    "regexp that does not match leaves the variable": ("v=x; regexp --set=v 'a(.)c' zzz; p $? $v", "2:<1><x>\n"),
    "regexp with a wrong pattern fails": ("regexp '(' a; p $?", "1:<1>\n"),
    "load_env reads variables": ('load_env -f /boot/env/e1; p "$saved_entry" "$next_entry"', "2:<foo bar><>\n"),
    "load_env reads those named": ("load_env -f /boot/env/e1 saved_entry; p $saved_entry $esc", "2:<foo><bar>\n"),
    "load_env of a missing file fails": ("load_env -f /nope; p $?", "1:<5>\n"),
    "load_env of a file that is no block fails": ("load_env -f /g/a1; p $?", "1:<4>\n"),
    "authenticate asks for nothing where there are no superusers": (
        "if authenticate root; then p $? yes; fi", "2:<0><yes>\n"),
    "save_env writes, and load_env reads it": (
        "x=1; save_env -f /boot/env/e1 x; unset x; load_env -f /boot/env/e1; p $? $x", "2:<0><1>\n"),
    "save_env of an unset variable deletes it": (
        "unset saved_entry; save_env -f /boot/env/e1 saved_entry; load_env -f /boot/env/e1; p $saved_entry", "0:\n"),
    "list_env prints a block": (
        "list_env -f /boot/env/e1", "saved_entry=foo bar\nx\\=y=1\nnext_entry=\nesc=a\\b\nc\n"),
    "true and false": ("true; p $?; false; p $?", "1:<0>\n1:<1>\n"),
    "source of a missing file is an error without a status": ("source /nope; p $?", "1:<0>\n"),
    "menuentry needs a title": ("menuentry; p $?; menuentry { true; }; p $?", "1:<18>\n1:<27>\n"),
    "menuentry needs a body": ("menuentry a; p $?", "1:<18>\n"),
    "export of an assignment exports a variable of that whole name": ("export v=a; p $v", "0:\n"),
    "setparams outside of a function is an error": ("setparams a b; p $?", "1:<17>\n"),
    "break outside of a loop does nothing": ("break; p $?", "1:<0>\n"),
    "insmod of a missing module is an error without a status": ("insmod nosuch; p $?", "1:<0>\n"),
}  # fmt: skip
test_kexec_hook, test_grub_emu, running = behaviours(TABLE)


@pytest.mark.parametrize(
    "line", ["gptprio.next -d usr -u usr_uuid", "gptsync hd0 1", "parttool hd0,1 boot+"]
)
def test_a_command_that_changes_the_partition_table_is_refused(line: str) -> None:
    disks = PartitionDisks([])
    machine = grubeval.make_machine(disks, "upstream", "pc", "i386", "(hd0,gpt1)/boot/grub", {})
    grubeval.script(machine, "script", line.encode())
    assert [refusal.reason for refusal in machine.refusals] == [
        f"`{line.split()[0]}` changes hardware, disks or memory before Linux starts"
    ]


def test_which_system_the_partition_table_puts_first_is_not_known() -> None:
    disks = PartitionDisks([])
    machine = grubeval.make_machine(disks, "upstream", "pc", "i386", "(hd0,gpt1)/boot/grub", {})
    script = b"gptpriority hd0 2 a; gptpriority hd0 4 b; if [ $a -lt $b ]; then echo b; fi"
    grubeval.script(machine, "script", script)
    assert machine.guesses[0].reason == "`gptpriority` asks the partition table"
