"""What the world does wrong: the root of our exceptions, which cli.py alone catches; anything else is a bug.

    Exception
    ├─ KexecHookError             str() is what the user reads: one sentence, where and what to do included
    │  ├─ SysrootError            a file below the root: path, reason, hint            system/file.py
    │  │  ├─ MissingError
    │  │  ├─ LinkLoopError
    │  │  ├─ NotPermittedError
    │  │  └─ TooLargeError
    │  ├─ NoAnswer                grub-fstest gave no answer                           system/fstest.py
    │  ├─ StateError              /run/kexec-hook, /var/lib/kexec-hook                 system/directory.py
    │  │  ├─ Busy                 another process of ours holds the lock
    │  │  └─ StateNotPermitted    an ordinary user: nothing is known of it, and a dry run says so
    │  ├─ ProcessError            a program: argv, what it did, status, stderr         system/process.py
    │  │  ├─ ProgramNotFound
    │  │  └─ TimedOut
    │  ├─ KexecError              kexec(8) did not do it; __cause__ is the program     system/kexec.py
    │  ├─ EditenvError            grub-editenv neither                                 system/editenv.py
    │  ├─ SettingsError           a settings file, with file, line and a caret         settings/shellvars.py
    │  ├─ CmdlineError            a command line that cannot be edited                 kernel/cmdline.py
    │  ├─ InstallError            a file that `hooks` cannot or must not write         install.py
    │  ├─ Refusal                 not for this machine or user; with its exit code     commands/__init__.py
    │  └─ OutputError             standard output cannot be written                    cli.py
    └─ in grub/, GRUB's own errors: each is what GRUB would print, and `decide` makes an objection of those that end it

Who raises one names it in its docstring as `Raises X`.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class KexecHookError(Exception):
    """Something outside this program is wrong; one sentence for the user."""
