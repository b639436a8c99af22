"""list, explain and status: they look, and change nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from kexec_hook.commands import (
    DECLINED,
    FAILED,
    OK,
    as_json,
    decide_here,
    exit_code,
    fail,
    load_plugins,
)
from kexec_hook.commands.stage import planned
from kexec_hook.plugins.api import Trigger

if TYPE_CHECKING:
    from kexec_hook.system.host import Host


def list_entries(host: Host, args: Namespace) -> int:
    from kexec_hook.decision.newest import tail_key
    from kexec_hook.report import listing
    from kexec_hook.report.reasons import fix_of, lines_of

    plugins = load_plugins()
    found = decide_here(host, Trigger("cli"), plugins)
    answer = listing.entries_json(found)
    if args.sort:
        answer["entries"] = listing.by_release(answer["entries"], tail_key(plugins, found.sysroot))
    if args.json:
        print(as_json(answer))
    elif answer["entries"]:
        print(listing.list_text(answer, legend=not args.no_legend))
    if answer["entries"]:
        return OK
    about = [one for one in found.objections if one.by in ("kexec-hook", "checks")]
    about = about or list(found.objections if found.evaluation is None else ())
    for objection in about:
        fail("\n".join(lines_of("no menu:", objection.reason, fix_of(objection))))
    return FAILED if about else fail("the menu is empty")


def explain_choice(host: Host, args: Namespace) -> int:
    from kexec_hook.report import explain

    found = decide_here(host, Trigger("cli", args.entry))
    outcome = "declined" if found.declined else "would-stage"
    if args.json:
        print(as_json(explain.explain_json(found, outcome, planned(found))))
    else:
        print(explain.explain_text(found))
    return exit_code(found)


def status(host: Host, args: Namespace) -> int:
    from kexec_hook.decision.newest import tail_key
    from kexec_hook.report.status import check, status_json, status_text, verify

    plugins = load_plugins()
    found = decide_here(host, Trigger("cli"), plugins)
    answer = status_json(
        host,
        found,
        tail_key(plugins, found.sysroot),
        lambda trigger: decide_here(host, trigger, plugins),
    )
    if args.verify:
        answer["verified"] = verify(host, found)
    would, line = check(answer)
    text = line if args.check else status_text(answer)
    print(as_json(answer) if args.json else text)
    if args.check:
        return {"kexec": OK, "firmware": DECLINED}.get(would, FAILED)
    return FAILED if exit_code(found) == FAILED else OK
