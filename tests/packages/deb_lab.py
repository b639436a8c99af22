"""The Debian package, and a Debian machine that apt upgrades: two real kernels, GRUB's own grub-mkconfig, a recorder.

What a chroot has not got is stood in for: grub-probe and grub-mkrelpath answer for a disk that is not there,
systemd-detect-virt says that this is no container, kexec notes its words in /var/log/kexec, and in /srv/kexec_loaded
whether an image would be loaded now.  kexec-hook's program notes in /var/log/decisions that it was called and what lay
in /boot then, and goes on as the real one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kexec_hook import __version__
from tests.packages import chroot as chroots
from tests.packages.chroot import ROOT, Chroot, Done, Recipe

SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "testing": "Debian testing"}

BUILD_TOOLS = (
    *(
        "debhelper",
        "dh-python",
        "dpkg-dev",
        "pybuild-plugin-pyproject",
        "python3",
        "python3-setuptools",
    ),
    *("lintian", "piuparts"),
    *("python3-hypothesis", "python3-packaging", "python3-pluggy", "python3-pytest"),
    *("cpio", "e2fsprogs", "grub-common", "lz4", "zstd"),
)

# What the package is made of: as long as this is the same, so is the package.
CONTENT = (
    *("kexec_hook", "hooks", "systemd", "man", "docs", "packaging", "contrib"),
    *("LICENSE", "MANIFEST.in", "NEWS.md", "README.md", "pyproject.toml", "setup.py"),
)

_STAND_INS = r"""
# The script itself sees to it that it is in its chroot.
[ "$0" = /root/hook.sh ]
stand_in() { # PROGRAM, its text on standard input
    dpkg-divert --quiet --local --rename --divert "$1.real" --add "$1"
    { echo '#!/bin/sh'; cat; } > "$1"
    chmod 755 "$1"
}
stand_in /usr/sbin/grub-probe << 'END'
while [ $# -gt 0 ]; do
    case $1 in
        --target=*) target=${1#*=} ;;
        -t | --target) target=$2; shift ;;
    esac
    shift
done
case $target in
    device) echo /dev/vda1 ;;
    fs) echo ext2 ;;
    fs_uuid) echo 3b6c5f0e-7d0a-4a57-9e21-5b7d0c9e4a11 ;;
    partmap) echo gpt ;;
    drive) echo '(hd0,gpt1)' ;;
    compatibility_hint) echo hd0,gpt1 ;;
    hints_string) echo --hint-bios=hd0,gpt1 ;;
    abstraction | fs_label | partuuid) ;;
    *) exit 1 ;;
esac
END
stand_in /usr/bin/grub-mkrelpath << 'END'
echo "$1"
END
stand_in /usr/bin/systemd-detect-virt << 'END'
exit 1
END
stand_in /usr/sbin/kexec << 'END'
echo "$*" >> /var/log/kexec
case "$*" in
    *--unload*) echo 0 ;;
    *) echo 1 ;;
esac > /srv/kexec_loaded
END
echo 0 > /srv/kexec_loaded
dpkg-divert --quiet --local --rename --divert /usr/bin/kexec-hook.real --add /usr/bin/kexec-hook
cat > /usr/bin/kexec-hook << 'END'
#!/bin/sh
{ echo "== $*"; cd /boot; sha256sum vmlinuz-* initrd.img-* grub/grub.cfg 2> /dev/null; } |
    grep -v '[.]dpkg-bak$' >> /var/log/decisions # update-initramfs's, gone in a moment
exec /usr/bin/kexec-hook.real "$@"
END
chmod 755 /usr/bin/kexec-hook
"""

# For an older kernel, where the suite has but one.
_STABLE_TOO = r"""
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null | sed -n 's/ testing / trixie /p' > /root/stable
mv /root/stable /etc/apt/sources.list.d/stable.list
apt-get update
"""

_KERNELS = r"""
newer=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
known=$(apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9].*-cloud-amd64$' | sort -V)
older=$(echo "$known" | grep -B 1 -x "$newer" | head -n 1)
[ "$older" ] && [ "$older" != "$newer" ]
mkdir -p /boot/grub /srv/repo
cp /usr/share/grub/default/grub /etc/default/grub
grub-editenv /boot/grub/grubenv create
update-grub
apt-get install -y "$older"
apt-mark auto "$older"
cd /srv/repo
# And what only that needs.
apt-get -o APT::Sandbox::User=root download $(apt-get --simulate install "$newer" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
deb() { # NAME VERSION DEPENDS [POSTINST]
    mkdir -p tree/DEBIAN
    printf '%s\n' "Package: $1" "Version: $2" 'Architecture: all' 'Description: for a test' \
        'Maintainer: nobody <nobody@localhost>' > tree/DEBIAN/control
    [ -z "$3" ] || echo "Depends: $3" >> tree/DEBIAN/control
    if [ "$4" ]; then
        printf '%s\n' '#!/bin/sh' "$4" > tree/DEBIAN/postinst
        chmod 755 tree/DEBIAN/postinst
    fi
    dpkg-deb --build tree "$1_$2_all.deb"
    rm -r tree
}
deb test-kernel 1 "$older"
dpkg -i test-kernel_1_all.deb
deb test-kernel 2 "$newer"
deb test-nothing 1
deb test-initrd 1 '' 'update-initramfs -u'
deb test-library 1 '' 'ldconfig'
deb test-broken 1 '' 'exit 1'
apt-ftparchive packages . > Packages
apt-ftparchive -o APT::FTPArchive::Release::Origin=Test -o APT::FTPArchive::Release::Suite=test release . > Release.new
mv Release.new Release
rm /etc/apt/sources.list /etc/apt/sources.list.d/* || true
echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list
apt-get update
echo "${older#linux-image-} ${newer#linux-image-}" > /srv/kernels
"""


# What judges packages, in their newest versions: those of unstable.
JUDGES = ("autopkgtest", "python3-all", "rpm", "rpmlint")


def builder(suite: str) -> Recipe:
    more = JUDGES if suite == "unstable" else ()
    return Recipe(suite, (*BUILD_TOOLS, *more), name="builder")


def base(suite: str) -> Recipe:
    """Nothing but apt."""
    return Recipe(suite, name="base")


def machine(suite: str) -> Recipe:
    return Recipe(
        suite,
        (
            *(
                "apt-utils",
                "grub2-common",
                "grub-pc-bin",
                "initramfs-tools",
                "kexec-tools",
                "kmod",
                "systemd",
                "zstd",
            ),
            *("python3", "python3-packaging", "python3-pluggy", "unattended-upgrades"),
        ),
        before=r"""
mkdir -p /etc/initramfs-tools/conf.d /usr/share/initramfs-tools/modules.d
printf 'MODULES=list\nBUSYBOX=n\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n' > /etc/initramfs-tools/conf.d/test
""",
        after=_STAND_INS + (_STABLE_TOO if suite == "testing" else "") + _KERNELS,
        name="machine",
    )


def files(content: Sequence[str]) -> list[str]:
    """Those of the checkout that are no product of a build."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *content],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return sorted(
        name for name in names if name and ((ROOT / name).is_symlink() or (ROOT / name).exists())
    )


def source(directory: Path) -> Path:
    """The checkout as an unpacked source package with its orig.tar.gz beside it."""
    version = upstream()
    tree = directory / f"kexec-hook-{version}"
    for name in files(()):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    with tarfile.open(directory / f"kexec-hook_{version}.orig.tar.gz", "w:gz") as tar:
        tar.add(tree, tree.name)
    shutil.copytree(ROOT / "packaging/debian", tree / "debian")
    return tree


def upstream() -> str:
    """The version that debian/changelog is about, which has to be the project's."""
    first = (ROOT / "packaging/debian/changelog").read_text().partition("\n")[0]
    version = re.match(r"kexec-hook \(([^-)]+)-[^-)]+\) ", first)
    assert version is not None
    assert version[1] == __version__, f"packaging/debian/changelog begins with {first!r}"
    return version[1]


def build(
    chroot: Chroot, *, check: bool = True, directory: str = "build", umask: str = "0022"
) -> Path:
    """Build the package; its .changes file."""
    source(chroot / directory)
    # As a user: what a package's build may not do, root would not notice.
    chroot.run("chown", "-R", "1000:1000", f"/{directory}").check()
    options = "" if check else "nocheck"
    tree = f"/{directory}/kexec-hook-{upstream()}"
    command = (
        f"umask {umask} && cd {tree} && dpkg-checkbuilddeps -I && dpkg-buildpackage -d -us -uc"
    )
    chroot.run(
        *("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "env", f"HOME=/{directory}"),
        *(f"DEB_BUILD_OPTIONS={options}", "sh", "-c", command),
        seconds=1800,
    ).check()
    [changes] = (chroot / directory).glob("*.changes")
    return changes


def package(directory: Path) -> Path:
    """The package of this checkout, put there: made by Debian 12 for all that are newer, once for the same content."""
    chroots.install_missing()
    recipe = builder("bookworm")
    with tempfile.TemporaryDirectory(prefix="kexec-hook-source.") as name:
        digest = hashlib.sha256(recipe.key.encode())
        for file in files(CONTENT):
            digest.update(repr((file, (ROOT / file).read_bytes())).encode())
        with chroots.lock("package"):
            made = chroots.CACHE / f"package-{digest.hexdigest()[:16]}.deb"
            if not made.exists():
                chroot = chroots.unpack(chroots.tarball(recipe), Path(name, "root"))
                try:
                    [deb] = build(chroot, check=False).parent.glob("*.deb")
                    shutil.copy(deb, made.with_suffix(".new"))
                finally:
                    chroot.remove()
                made.with_suffix(".new").rename(made)
                chroots.forget_others("package-*", made.stem)
            return Path(shutil.copy(made, directory / f"kexec-hook_{upstream()}_all.deb"))


@dataclass(frozen=True)
class Decision:
    """One start of /usr/bin/kexec-hook: its words, and the checksums of what lay in /boot then."""

    words: str
    boot: dict[str, str]


class DebianChroot:
    """A machine with its older kernel and kexec-hook; /srv/repo offers the newer kernel and more."""

    def __init__(self, chroot: Chroot) -> None:
        self.chroot = chroot
        self.older, self.newer = (chroot / "srv/kernels").read_text().split()

    def apt(self, *words: str, env: dict[str, str] | None = None) -> Done:
        options = ("-qq", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Protect-Kernels=false")
        return self.chroot.run("apt-get", *options, *words, env=env)

    def install(self, package: Path) -> Done:
        """A package from outside, by apt."""
        shutil.copy(package, self.chroot / "srv")
        return self.apt("install", "--allow-downgrades", f"/srv/{package.name}").check()

    def forget(self) -> None:
        """What follows counts."""
        # `said`: a reason to decline that was told is not told again.
        for path in ("var/log/decisions", "var/log/kexec", "run/kexec-hook/said"):
            (self.chroot / path).unlink(missing_ok=True)

    def decisions(self) -> list[Decision]:
        log = self.chroot / "var/log/decisions"
        found: list[Decision] = []
        for line in log.read_text().splitlines() if log.exists() else []:
            if line.startswith("== "):
                found.append(Decision(line[3:], {}))
            else:
                checksum, name = line.split()
                found[-1].boot[name] = checksum
        return found

    def boot(self) -> dict[str, str]:
        """What lies in /boot now, as a decision notes it."""
        boot = self.chroot / "boot"
        files = [*boot.glob("vmlinuz-*"), *boot.glob("initrd.img-*"), boot / "grub/grub.cfg"]
        return {
            str(file.relative_to(boot)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }

    def kexecs(self) -> list[str]:
        log = self.chroot / "var/log/kexec"
        return log.read_text().splitlines() if log.exists() else []

    def loaded(self) -> bool:
        """Whether the kernel would say that it holds an image."""
        return (self.chroot / "srv/kexec_loaded").read_text() == "1\n"

    def pretend_staged(self) -> None:
        """As if kexec-hook had loaded an image, and had approved of the jump."""
        self.chroot.write("srv/kexec_loaded", "1\n")
        self.chroot.write("run/kexec-hook/staged.json", "{}")
        self.chroot.write("run/kexec-hook/approved")

    def would_stage(self) -> tuple[str, list[str]]:
        """Kernel and initrds that a dry run from outside finds."""
        answer = self.chroot.dry_run()
        assert answer["outcome"] == "would-stage", answer["objections"]
        return answer["kernel"], answer["initrds"]


def apt_seconds(runs: int, directory: Path) -> tuple[list[float], list[float]]:
    """How long apt takes, with kexec-hook and without, to install once more what changes nothing that boots.

    On a Debian 12 whose root was made before (make packages): ChrootError where it was not.
    """
    if (
        not chroots.cached(machine("bookworm")).exists()
        or not chroots.cached(builder("bookworm")).exists()
    ):
        raise chroots.ChrootError("no root of Debian 12 is in .cache; `make packages` makes one")
    if chroots.missing():
        raise chroots.ChrootError(chroots.missing())
    start = DebianChroot(chroots.unpack(chroots.tarball(machine("bookworm")), directory / "start"))
    start.chroot.run("apt-get", "-qq", "update").check()
    start.apt("install", "test-nothing").check()
    # Two overlays, which are slower than what they are made of.
    ours, without = (
        DebianChroot(start.chroot.copy(directory / name)) for name in ("ours", "without")
    )
    try:
        ours.install(package(directory))
        time.sleep(2)  # a decision that is younger is not believed
        for each in (ours, without):
            each.apt("install", "--reinstall", "test-nothing").check()
        ours.forget()
        pairs = [(_apt_once(ours), _apt_once(without)) for _ in range(runs)]
        assert ours.decisions() == [], "something seems to have changed"
    finally:
        for each in (ours, without, start):
            each.chroot.remove()
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _apt_once(machine: DebianChroot) -> float:
    """Seconds, as seen from inside: entering a chroot takes its time too."""
    script = "s=$(date +%s%N); apt-get -qq -y install --reinstall test-nothing && echo took $(($(date +%s%N) - s))"
    found = re.search("^took ([0-9]+)$", machine.chroot.sh(script).check().output, re.MULTILINE)
    assert found
    return int(found[1]) / 1e9


def said(done: Done) -> list[str]:
    """The lines of kexec-hook's in what a package manager printed."""
    return [line for line in done.output.splitlines() if line.startswith("kexec-hook:")]


def kernel_files(release: str) -> tuple[str, list[str]]:
    return f"/boot/vmlinuz-{release}", [f"/boot/initrd.img-{release}"]


def repacked(
    package: Path, directory: Path, version: str, contents: Mapping[str, str] | None = None
) -> Path:
    """The same package with another version, and other contents of these files."""
    tree = directory / version
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text()))
    for name, content in (contents or {}).items():
        [file] = [*tree.glob(name), *tree.glob(f"usr/{name}")]
        file.write_text(content)
    new = directory / f"kexec-hook_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(new)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return new
