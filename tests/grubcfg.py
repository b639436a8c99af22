"""What the generators of distributions write into every grub.cfg, for tests that make one."""

from __future__ import annotations


def one_time_entry(default: str) -> str:
    """GRUB's 00_header: the entry that `grub-reboot` named, once, and otherwise this one."""
    return f"""\
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="{default}"
fi
"""


LOADED = "if [ -s $prefix/grubenv ]; then\n  load_env\nfi\n"
SAVEDEFAULT = """\
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
"""
# Fedora's 00_header.
FEDORAS = f"""\
if [ -f ${{config_directory}}/grubenv ]; then
  load_env -f ${{config_directory}}/grubenv
el{LOADED}{one_time_entry("${saved_entry}")}"""
