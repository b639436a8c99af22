"""A Debian in a directory, where package managers run as they do on a machine, and nothing can kexec or reboot.

`tarball(Recipe(...))` makes a root with mmdebstrap and keeps it under .cache/chroots, by everything that went into it;
`unpack(tarball, directory)` gives a Chroot, and `chroot.copy(directory)` another one that starts where it is now;
`chroot.run("apt-get", ...)` runs a program in it, in its own mount, pid, ipc and network namespaces, with /sys
read-only and without CAP_SYS_BOOT and CAP_SYS_MODULE.

    python3 -m tests.packages.chroot --needs    installs what is missing on this system
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "chroots"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "trixie", "testing")
ROLLING = ("testing", "unstable")
# Programs or files that a chroot is made and entered with, and the packages they come in.
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    KEYRING: "debian-archive-keyring",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "tar": "tar",
    "git": "git",
    "dpkg-deb": "dpkg",
}

# The words after the script's name: the root, the network (host | none), the seconds it may take, and the program.
# The nodes are bound one by one: a chroot that saw the host's disks could be written to them by grub-install.
_ENTER = r"""
set -e
root=$1 network=$2
shift 2
mount --make-rprivate /
# As on a machine, / is a mount point: rpm 4.20's unshare plugin makes it private.
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" 2>/dev/null || mount --rbind -o ro /sys "$root/sys"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
# Whether an image is loaded is not for the host's kernel to say (it may know nothing of kexec), where kexec is a
# recorder.
if [ -e "$root/srv/kexec_loaded" ]; then
    mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$root/sys/kernel"
    : > "$root/sys/kernel/kexec_loaded"
    mount --bind "$root/srv/kexec_loaded" "$root/sys/kernel/kexec_loaded"
    # As on a machine, the first process is an init: where an image is built, kexec-hook keeps quiet.
    [ -e "$root/srv/comm" ] || echo systemd > "$root/srv/comm"
    mount --bind "$root/srv/comm" "$root/proc/1/comm"
fi
# What else tells a machine from a chroot, by its paths.  And root has every capability there, by name: in a user
# namespace, where none of them lets anybody kexec, reboot or load a module.
as_root=
if [ -d "$root/srv/facts" ]; then
    (cd "$root/srv/facts" && find . -type f) | while read -r fact; do
        [ -e "$root/$fact" ] || : > "$root/$fact"
        mount --bind "$root/srv/facts/$fact" "$root/$fact"
    done
    all='0 0 4294967295'
    (until echo "$all" > "$root/proc/1/uid_map" && echo "$all" > "$root/proc/1/gid_map"; do sleep 0.02; done) 2> /dev/null &
    as_root='unshare --user --keep-caps /bin/sh -c "until read -r all < /proc/self/gid_map; do sleep 0.02; done; exec \"\$@\"" sh'
fi
if [ "$network" = host ]; then
    cp /etc/resolv.conf "$root/etc/resolv.conf"
else
    rm -f "$root/etc/resolv.conf"
fi
eval "exec setpriv --bounding-set -sys_boot,-sys_module --inh-caps -sys_boot,-sys_module --no-new-privs $as_root" \
    'chroot "$root" "$@"'
"""


class ChrootError(Exception):
    """A chroot cannot be made or used here; the message says what is missing."""


@dataclass(frozen=True)
class Recipe:
    """What a root is made of.  Two equal recipes are one tarball, until it is deleted."""

    suite: str  # bookworm | trixie | testing | unstable
    include: tuple[str, ...] = ()
    before: str = (
        ""  # run by sh in the chroot when the essential packages are there, before the others
    )
    after: str = ""  # run by sh in the chroot when everything is installed
    recommends: bool = False
    name: str = field(
        default="", repr=False
    )  # when a new one of this name is made, the old one of the suite goes

    @property
    def stem(self) -> str:
        return "-".join(filter(None, (self.suite, self.name, self.key)))

    @property
    def key(self) -> str:
        return hashlib.sha256(repr((self, _SOURCE_OPTIONS)).encode()).hexdigest()[:16]


_SOURCE_OPTIONS = (
    "--mode=root",
    "--variant=apt",
    "--format=tar",
    f"--keyring={KEYRING}",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Acquire::IndexTargets::deb::DEP-11 { DefaultEnabled "false"; }',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-include=/usr/share/man/man*/kexec-hook*",
    "--dpkgopt=path-include=/usr/share/doc/kexec-hook*",
    "--dpkgopt=force-unsafe-io",
)


def missing() -> str:
    """Why no chroot can be made here, or nothing."""
    if os.geteuid() != 0:
        return "chroots need root"
    packages = missing_packages()
    return f"missing programs: apt-get install {' '.join(packages)}" if packages else ""


def missing_packages() -> list[str]:
    found = {name for name in NEEDED if shutil.which(name, path=_path()) or os.path.isfile(name)}
    return sorted({package for name, package in NEEDED.items() if name not in found})


def install_missing() -> None:
    packages = missing_packages()
    if packages and os.geteuid() != 0:
        raise ChrootError(f"missing packages; as root: apt-get install {' '.join(packages)}")
    if packages:
        apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
        subprocess.run([*apt, "update"], check=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(
            [*apt, "install", "-y", "--no-install-recommends", *packages], env=env, check=True
        )


def tarball(recipe: Recipe) -> Path:
    """A root as a tar file, from the cache where it was made before."""
    path = cached(recipe)
    if path.exists():
        return path
    why = missing()
    if why:
        raise ChrootError(why)
    with lock(recipe.stem):
        if not path.exists():
            _make(recipe, path)
            if recipe.name:
                forget_others(f"{recipe.suite}-{recipe.name}-*", recipe.stem)
    return path


def cached(recipe: Recipe) -> Path:
    """Where its tarball is, once it is made."""
    return CACHE / f"{recipe.stem}.tar"


def forget_others(pattern: str, stem: str) -> None:
    for path in (*CACHE.glob(pattern), *CACHE.glob(f".{pattern}")):
        if not path.name.lstrip(".").startswith(stem):
            path.unlink()


def _make(recipe: Recipe, path: Path) -> None:
    options = [
        *_SOURCE_OPTIONS,
        f'--aptopt=APT::Install-Recommends "{str(recipe.recommends).lower()}"',
    ]
    if recipe.include:
        options.append(f"--include={','.join(recipe.include)}")
    for hook, script in (("--essential-hook", recipe.before), ("--customize-hook", recipe.after)):
        if script:
            # Outside, a shell sees file names only: no word of the script can get out of the chroot.
            file = path.with_suffix(f".{hook.strip('-')}.sh")
            file.write_text(script)
            inside = '"$1"/root/hook.sh'
            options.append(
                f'{hook}=cp {shlex.quote(str(file))} {inside} && chroot "$1" sh -e /root/hook.sh && rm {inside}'
            )
    if recipe.suite in ROLLING:
        # Their Release files are valid for a week only; a mirror that stands still is no reason not to test.
        options.append('--aptopt=Acquire::Check-Valid-Until "false"')
    new = path.with_suffix(".new")
    log = path.with_suffix(".log")
    argv = ["mmdebstrap", *options, recipe.suite, str(new), *sources(recipe.suite)]
    env = {
        "PATH": _path(),
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "TMPDIR": _fast_directory(),
    }
    with open(log, "wb") as output:
        status = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
    if status != 0:
        new.unlink(missing_ok=True)
        last = log.read_text(errors="replace").splitlines()[-15:]
        raise ChrootError("\n".join([f"mmdebstrap failed ({status}), {log}:", *last]))
    new.rename(path)


def sources(suite: str) -> list[str]:
    """This system's Debian mirrors, asked for another suite of Debian."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)"]
    said = subprocess.run(
        [*argv, "Created-By: Packages"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    targets = {
        tuple(line.split())
        for line in said.splitlines()
        if line.startswith("Debian ") and line.endswith(" main")
    }
    if not targets:
        raise ChrootError(
            "apt knows no Debian mirror: has apt-get update run, with Debian's sources?"
        )
    ours = min((codename for _, _, codename, _ in targets), key=len)
    pockets = sorted(
        (codename[len(ours) :], uri) for _, uri, codename, _ in targets if codename.startswith(ours)
    )
    wanted = ("",) if suite in ROLLING else ("", "-updates", "-security")
    lines = [
        f"deb [signed-by={KEYRING}] {uri} {suite}{pocket} main"
        for pocket, uri in pockets
        if pocket in wanted
    ]
    return list(dict.fromkeys(lines))


@dataclass(frozen=True)
class Done:
    """A program that ran in a chroot."""

    argv: tuple[str, ...]
    status: int  # its exit status; -N: killed by signal N
    output: str  # what it said, on standard output and error as they came
    seconds: float

    def check(self) -> Done:
        """Itself, or an AssertionError with the end of what it said."""
        said = "\n".join(self.output.splitlines()[-100:])
        assert self.status == 0, f"{' '.join(self.argv)}: status {self.status}\n{said}"
        return self


@dataclass(frozen=True)
class Chroot:
    """A root directory; `chroot / "etc/passwd"` is a path in it, seen from outside."""

    root: Path
    env: Mapping[str, str] = field(default_factory=dict)
    # What an overlay is made of, the topmost first; none where the root is a plain directory.
    layers: tuple[Path, ...] = ()

    def __truediv__(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, content: str | bytes = b"", mode: int = 0o644) -> Path:
        target = self / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def copy(self, directory: Path) -> Chroot:
        """Another that starts where this one is now, in a second; this one must not change as long as it is used."""
        _make_room(directory)
        upper, work, root = (directory / name for name in ("upper", "work", "root"))
        for path in (upper, work, root):
            path.mkdir()
            path.chmod(0o755)
        lower = self.layers or (self.root,)
        words = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work},volatile"
        if _own_mounts() and _quietly("mount", "-t", "overlay", "-o", words, "overlay", str(root)):
            return Chroot(root, self.env, (upper, *lower))
        subprocess.run(["cp", "-a", "--reflink=auto", f"{self.root}/.", str(root)], check=True)
        return Chroot(root, self.env)

    def remove(self) -> None:
        """Delete it, with all that is in it."""
        for path in (self.root, self.root.parent):
            if path.is_mount():
                subprocess.run(["umount", "--lazy", str(path)], check=True)
        for path in (
            self.root,
            *(self.root.parent / name for name in ("upper", "work") if self.layers),
        ):
            if path.exists():
                shutil.rmtree(path)

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        network: bool = False,
        seconds: float = 300,
    ) -> Done:
        """Run a program to its end, standard input closed."""
        started = time.monotonic()
        process = self.start(*argv, env=env, network=network)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            output = kill(process)
            raise ChrootError(f"{' '.join(argv)}: not done after {seconds} s\n{output}") from None
        return Done(argv, process.returncode, output, time.monotonic() - started)

    def dry_run(self) -> Any:
        """What kexec-hook of this checkout makes of the root from outside: stage --dry-run --json."""
        argv = ["-m", "kexec_hook", "--root", str(self.root), "stage", "--dry-run", "--json"]
        done = subprocess.run([sys.executable, *argv], cwd=ROOT, text=True, capture_output=True)
        assert done.stdout, f"status {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def sh(
        self,
        script: str,
        env: Mapping[str, str] | None = None,
        network: bool = False,
        seconds: float = 300,
    ) -> Done:
        """Run lines of shell."""
        return self.run("/bin/sh", "-c", script, env=env, network=network, seconds=seconds)

    def start(
        self, *argv: str, env: Mapping[str, str] | None = None, network: bool = False
    ) -> subprocess.Popen[str]:
        """Start a program and return at once; `kill` ends it and everything it started."""
        namespaces = ["--mount", "--pid", "--ipc", "--uts", *([] if network else ["--net"])]
        outside = [
            *("unshare", *namespaces, "--fork", "--kill-child", "--"),
            *("sh", "-c", _ENTER, "enter", str(self.root), "host" if network else "none"),
        ]
        inside = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **self.env,
            **(env or {}),
        }
        return subprocess.Popen(
            [*outside, *argv],
            env=inside,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
        )


def kill(process: subprocess.Popen[str]) -> str:
    """Kill -9, and what they had said.  With the first process of a pid namespace all others die."""
    with contextlib.suppress(ProcessLookupError):
        # unshare and that first process: --kill-child of unshare ends where setpriv changes what it may do.
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def unpack(tar: Path, directory: Path) -> Chroot:
    """A root from its tarball; the directory is made, or has to be empty."""
    _make_room(directory)
    # Device nodes stay behind: /dev is made anew for each run.
    argv = [
        "tar",
        "--extract",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--file",
        str(tar),
        "--directory",
        str(directory),
    ]
    subprocess.run(argv, check=True)
    return Chroot(directory)


def _make_room(directory: Path) -> None:
    """A directory for a root: in memory if there is enough, where nothing waits for a disk."""
    directory.mkdir(parents=True, exist_ok=True)
    if _own_mounts() and _available() > 4 << 30:
        _quietly("mount", "-t", "tmpfs", "tmpfs", str(directory))
    directory.chmod(0o755)


def _available() -> int:
    """Bytes of memory that can be had."""
    found = re.search(
        r"^MemAvailable: *([0-9]+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE
    )
    return int(found[1]) << 10 if found else 0


@functools.cache
def _own_mounts() -> bool:
    """From here on nobody else sees what this process mounts, and when it ends, however it ends, all of it is gone."""
    new_namespace = 0x00020000  # CLONE_NEWNS of unshare(2)
    return ctypes.CDLL(None).unshare(new_namespace) == 0 and _quietly(
        "mount", "--make-rprivate", "/"
    )


def _quietly(*argv: str) -> bool:
    return subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time, of all that use this cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fast_directory() -> str:
    """Where a root is put together: in memory, if there is enough."""
    memory = Path("/dev/shm")
    enough = memory.is_dir() and min(shutil.disk_usage(memory).free, _available()) > 4 << 30
    return str(memory if enough else CACHE)


def _path() -> str:
    return "/usr/sbin:/usr/bin:/sbin:/bin"


if __name__ == "__main__":
    if sys.argv[1:] != ["--needs"]:
        sys.exit("usage: python3 -m tests.packages.chroot --needs")
    try:
        install_missing()
    except (ChrootError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
