"""What kexec-tools' own script and kexec-hook would load on the trees of tests/roots, against what GRUB boots there.

    make compare

The script is /etc/init.d/kexec-load of Debian 12's kexec-tools, taken from its package: its function
get_grub_kernel() runs as it is, but for the paths, which lead into a tree.  What GRUB boots is in each tree's
expected.json; tests/roots/README.md says where that comes from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]
ROOTS = HERE / "tests/roots"
CACHE = HERE / ".cache/compare"
OURS = Path(sys.executable).with_name("kexec-hook")
SCRIPT = "etc/init.d/kexec-load"
PROGRAMS = ("kexec-tools", "kexec-hook")


class Loaded(NamedTuple):
    """What would be loaded; without a kernel, nothing, and `why` says so."""

    kernel: str = ""
    initrds: tuple[str, ...] = ()
    words: str = ""  # the command line without BOOT_IMAGE=, which GRUB adds by itself
    why: str = ""


def main() -> int:
    script = _script()
    if isinstance(script, str):
        print(script)
        return 1
    counts = {name: dict.fromkeys(("right", "nothing", "wrong"), 0) for name in PROGRAMS}
    trees = sorted(path for path in ROOTS.iterdir() if (path / "expected.json").is_file())
    for tree in trees:
        wanted = _expected(json.loads((tree / "expected.json").read_text()))
        answers = {
            "kexec-tools": _kexec_tools(script, tree / "tree"),
            "kexec-hook": _kexec_hook(tree / "tree"),
        }
        print(tree.name)
        for name, answer in answers.items():
            wrong = next(_differences(wanted, answer), "right")
            counts[name][wrong.split()[0].rstrip(":")] += 1
            print(f"  {name:<12} {wrong}")
    print(f"\nof {len(trees)} trees  right  nothing  wrong")
    for name, count in counts.items():
        print(f"{name:<12} {count['right']:>6} {count['nothing']:>8} {count['wrong']:>6}")
    print("nothing: loads nothing, though GRUB boots Linux there")
    return 0


def _script() -> str | Path:
    """The script from Debian's package; a sentence where it cannot be had."""
    if (CACHE / SCRIPT).is_file():
        return CACHE / SCRIPT
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        call = ["apt-get", "download", "-q", "kexec-tools"]
        try:
            subprocess.run(call, cwd=directory, check=True, capture_output=True)
            (package,) = Path(directory).glob("kexec-tools_*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), str(CACHE)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            return (
                f"kexec-tools' package cannot be had: {error}; this needs a Debian 12 with a mirror"
            )
    if not (CACHE / SCRIPT).is_file():
        return f"this system's kexec-tools has no /{SCRIPT}: Debian 12's has"
    return CACHE / SCRIPT


def _expected(answer: dict[str, object]) -> Loaded:
    if answer["outcome"] != "would-stage":
        return Loaded(why="GRUB boots no Linux there that could be loaded")
    return _answer(answer)


def _answer(answer: dict[str, object]) -> Loaded:
    kernel, initrds, cmdline = answer["kernel"], answer["initrds"], answer["cmdline"]
    assert isinstance(initrds, list)
    return Loaded(str(kernel), tuple(map(str, initrds)), _words(str(cmdline)))


def _words(cmdline: str) -> str:
    return re.sub(r"^BOOT_IMAGE=\S* ?", "", cmdline)


def _kexec_hook(tree: Path) -> Loaded:
    call = [str(OURS), "--root", str(tree), "stage", "--dry-run", "--json"]
    answer = json.loads(subprocess.run(call, capture_output=True, text=True).stdout)
    if answer["outcome"] != "would-stage":
        return Loaded(why=answer["objections"][0]["reason"])
    return _answer(answer)


def _kexec_tools(script: Path, tree: Path) -> Loaded:
    """get_grub_kernel() with its paths in the tree, and whether /boot is a file system told by the tree."""
    text = script.read_text()
    functions = text[text.index("process_grub_entry()") : text.index("do_stop ()")]
    functions = functions.replace("/boot/grub/", f"{tree}/boot/grub/")
    mounted = " /boot " in _read(tree / "proc/self/mountinfo")
    functions = functions.replace("mountpoint -q /boot", "true" if mounted else "false")
    code = functions + (
        "KERNEL_IMAGE=/vmlinuz INITRD=/initrd.img APPEND=\nget_grub_kernel\n"
        'printf "%s\\n" "$KERNEL_IMAGE" "$INITRD" "$APPEND"\n'
    )
    done = subprocess.run(
        ["sh", "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    lines = done.stdout.split("\n")
    if done.returncode or len(lines) < 3:
        return Loaded(why=f"the script ends with an error: {done.stderr.strip()}")
    kernel, initrd, append = lines[:3]
    if not (tree / kernel.lstrip("/")).is_file():
        return Loaded(why=f"{kernel} does not exist")
    return Loaded(kernel, (initrd,) if initrd else (), append)


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _differences(wanted: Loaded, got: Loaded) -> Iterator[str]:
    if not wanted.kernel:
        if got.kernel:
            yield f"wrong: loads {got.kernel}, and {wanted.why}"
        return
    if not got.kernel:
        yield f"nothing is loaded: {got.why}"
    for name in ("kernel", "initrds", "words"):
        mine, grubs = getattr(got, name), getattr(wanted, name)
        if got.kernel and mine != grubs:
            yield f"wrong: its {name} would be {mine!r}, GRUB's {grubs!r}"


if __name__ == "__main__":
    sys.exit(main())
