"""A plan as a line for a shell, which loads by hand what kexec-hook would load."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex

from kexec_hook.kernel.plan import Plan, paths

_JOINED = "/run/kexec-initrd.img"


def shell_line(plan: Plan) -> str:
    """Quoted so that it can be pasted; empty where files are not on a mounted file system, or named by `newc:`."""
    named = any(initrd.newc for initrd in plan.initrds)
    if named or any(":" in path for path in paths(plan)):
        return ""
    files = [initrd.path for initrd in plan.initrds]
    kexec = " ".join(map(quoted, plan.argv(_JOINED if len(files) > 1 else None)))
    if len(files) < 2:
        return kexec
    # As GRUB joins them: each begins at a multiple of 4 bytes.
    adding = f" >> {_JOINED} && truncate -s %4 {_JOINED} && cat "
    joining = "cat " + adding.join(map(quoted, files)) + f" >> {_JOINED}"
    return f"(umask 077 && rm -f {_JOINED} && {joining}) && {kexec}"


def quoted(word: str) -> str:
    """One word for bash, zsh, ksh and (as of 2024) every POSIX shell, in ASCII."""
    if word.isascii() and word.isprintable():
        return shlex.quote(word)
    known = {ord("'"): "\\'", ord("\\"): "\\\\"}
    octets = word.encode("utf-8", "surrogateescape")
    text = "".join(
        known.get(octet, chr(octet)) if 0x20 <= octet < 0x7F else f"\\{octet:03o}"
        for octet in octets
    )
    return f"$'{text}'"
