#!/usr/bin/env python3
"""A release from one version number: `release.py VERSION [DATE]` commits it, tags it and makes dist/.  Pushes nothing.

The version goes into kexec_hook/__init__.py, the date into NEWS.md, and both into the changelogs of all packagings.
dist/ gets the source archive that the packagings build from, sdist, wheel, and SHA256SUMS.
Needs git and the Python package build.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import gzip
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from email.utils import format_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEWS = "NEWS.md"
CHANGELOG = "packaging/debian/changelog"
SPEC = "packaging/rpm/kexec-hook.spec"
NAMED = "(not released)"  # behind the version that NEWS.md is about


class Refused(Exception):
    """No release can be made of this; the message says why."""


def edited(root: Path, version: str, when: datetime.datetime) -> dict[str, str]:
    """The files in which a version stands, for this one."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", version):
        raise Refused(f"{version!r} is no version like 1.2.3")
    read = {
        name: (root / name).read_text(encoding="utf-8")
        for name in ("kexec_hook/__init__.py", NEWS, CHANGELOG, SPEC)
    }
    heading = f"## {version} {NAMED}"
    if heading not in read[NEWS].splitlines():
        raise Refused(f"{NEWS} has no section {heading!r}: what is new in {version}?")
    return {
        "kexec_hook/__init__.py": _replaced(
            read["kexec_hook/__init__.py"],
            r'(?m)^__version__ = ".*"$',
            f'__version__ = "{version}"',
        ),
        NEWS: read[NEWS].replace(heading, f"## {version} ({when:%Y-%m-%d})"),
        CHANGELOG: _debian(read[CHANGELOG], version, when),
        SPEC: _rpm(read[SPEC], version, when),
    }


def _debian(text: str, version: str, when: datetime.datetime) -> str:
    """Its newest entry is about this version: another one above it, or that one with the new date."""
    stamp = format_datetime(when)
    if text.startswith(f"kexec-hook ({version}-"):
        return _replaced(text, r"(?m)^( -- .*>  ).*$", rf"\g<1>{stamp}")
    entry = f"kexec-hook ({version}-0upstream1) unstable; urgency=medium\n\n  * New release; NEWS.md tells what is new."
    return f"{entry}\n\n -- publisher  {stamp}\n\n{text}"


def _rpm(text: str, version: str, when: datetime.datetime) -> str:
    text = _replaced(text, r"(?m)^(Version: +).*$", rf"\g<1>{version}")
    text = _replaced(text, r"(?m)^(Release: +).*$", r"\g<1>1%{?dist}")
    date = f"{when:%a %b %d %Y}"
    if re.search(rf"%changelog\n\* .* - {re.escape(version)}-", text):
        return _replaced(text, r"(?m)(?<=^%changelog\n\* )\w{3} \w{3} \d\d \d{4}", date)
    entry = f"* {date} publisher - {version}-1\n- New release; NEWS.md tells what is new\n\n"
    return text.replace("%changelog\n", f"%changelog\n{entry}", 1)


def _replaced(text: str, pattern: str, new: str) -> str:
    text, found = re.subn(pattern, new, text, count=1)
    if not found:
        raise Refused(f"nothing matches {pattern}")
    return text


def prepare(root: Path, version: str, when: datetime.datetime) -> None:
    """Write the version, the date and the publisher where they belong; Refused where that cannot be."""
    for name, text in edited(root, version, when).items():
        (root / name).write_text(text, encoding="utf-8")
    publisher = runpy.run_path(str(ROOT / "packaging/publisher.py"))
    for name, text in publisher["filled"](root).items():
        (root / name).write_text(text, encoding="utf-8")


def release(version: str, when: datetime.datetime) -> None:
    tag = f"v{version}"
    if _git("status", "--porcelain"):
        raise Refused("something is not committed")
    if _git("tag", "--list", tag):
        raise Refused(f"the tag {tag} exists")
    prepare(ROOT, version, when)
    # The archive of a commit carries its time and name: the same release is the same bytes, whoever makes it again.
    date = when.isoformat()
    os.environ.update(GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
    _git("commit", "--all", "--quiet", f"--message=release: {version}")
    _git("tag", "--annotate", f"--message=kexec-hook {version}", tag)
    build(version, tag)


def build(version: str, tag: str) -> None:
    """dist/, from what the tag names and nothing else that lies about."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    prefix = f"kexec-hook-{version}"
    content = subprocess.run(
        ["git", "archive", "--format=tar", f"--prefix={prefix}/", tag],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    (dist / f"{prefix}.tar.gz").write_bytes(gzip.compress(content, mtime=0))
    env = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["tar", "-x", "-C", directory], input=content, check=True)
        argv = [sys.executable, "-m", "build", "--outdir", str(dist), f"{directory}/{prefix}"]
        subprocess.run(argv, env=env, check=True)
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(dist.iterdir())
    ]
    (dist / "SHA256SUMS").write_text("".join(lines))


def _git(*words: str) -> str:
    ran = subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip()


def main(argv: list[str]) -> int:
    if len(argv) not in (1, 2):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    when = now if argv[1:] == [] else datetime.datetime.fromisoformat(f"{argv[1]}T12:00:00+00:00")
    try:
        release(argv[0], when)
    except (Refused, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"Tagged v{argv[0]}, and dist/ is what it is made of.  Nothing has been pushed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
