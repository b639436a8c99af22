"""Packages made with rpmbuild, in a Debian chroot: kernels as Fedora's kernel-core, and kexec-hook from its own spec.

A kernel package carries Debian's own kernel image (the release in its header is replaced) and an initrd, and its
scriptlets call the real kernel-install, as those of Fedora's kernel-core do.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import tarfile
from pathlib import Path

from kexec_hook import __version__
from tests.packages.chroot import ROOT, Chroot, Recipe

MACROS = Path(__file__).with_name("rpm-debian.macros")

# What builds rpms, and the kernel image of Debian's cloud kernel.
BUILDER = Recipe(
    "bookworm",
    (
        *("dnf", "python3-dnf", "rpm", "createrepo-c", "systemd", "grub-common"),
        *(
            "python3-pluggy",
            "python3-packaging",
            "python3-pip",
            "python3-setuptools",
            "python3-wheel",
        ),
        *("python3-pytest", "python3-hypothesis", "rpmlint", "xz-utils", "file"),
    ),
    after=r"""
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
cd /var/tmp
apt-get download "$package"
mkdir image
dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x -C image --wildcards './boot/vmlinuz*'
mv image/boot/vmlinuz* /var/tmp/vmlinuz
rm -r image "$package"_*.deb
""",
    name="rpm",
)

KERNEL_SPEC = """\
Name: kernel-core
Version: {version}
Release: {release}
Summary: A kernel
License: GPL-2.0-only
# dnf 5 and dnf 4 keep packages that provide this side by side.
Provides: installonlypkg(kernel) kernel = %{{version}}-%{{release}} kernel-core-uname-r = {kver}
%global _binary_payload w.ufdio
%global __os_install_post %{{nil}}
%define debug_package %{{nil}}

%description
{kver}

%install
mkdir -p %{{buildroot}}/usr/lib/modules/{kver}
cp {files}/vmlinuz {files}/initrd %{{buildroot}}/usr/lib/modules/{kver}

%posttrans
kernel-install add {kver} /usr/lib/modules/{kver}/vmlinuz /usr/lib/modules/{kver}/initrd || exit $?
{posttrans}

%preun
{preun}
kernel-install remove {kver} || exit $?

%files
/usr/lib/modules/{kver}
"""

# What Debian brings as .deb packages, so that dnf sees it too.
DEBIAN_SPEC = """\
Name: debian-base
Version: 1
Release: 1
Summary: What the chroot has from Debian
License: MIT
BuildArch: noarch
Provides: /bin/sh /usr/bin/sh /usr/bin/python3 python(abi) = 3.11
Provides: python3.11dist(packaging) = 23 python3.11dist(pluggy) = 1
Provides: kexec-tools grub2-tools-minimal python3-dnf dnf5 libdnf5-plugin-actions

%description
Nothing.

%files
"""

# A package without any kernel.
PLAIN_SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: No kernel
License: MIT
BuildArch: noarch

%description
Nothing.

{scriptlets}

%files
"""


def kernel(release: str) -> tuple[str, str, str]:
    """Version, release and the whole name of a kernel: `6.9.12-200.fc40`."""
    version, _, tail = release.partition("-")
    return version, tail, f"{release}.x86_64"


def renamed(image: bytes, release: str) -> bytes:
    """A bzImage whose header gives another release (the x86 boot protocol's kernel_version)."""
    at = int.from_bytes(image[0x20E:0x210], "little") + 0x200
    end = image.index(b"\0", at)
    was = image[at:end]
    new = release.encode() + b" " + was.partition(b" ")[2]
    return image[:at] + new[: len(was)].ljust(len(was), b"\0") + image[end:]


def initrd(release: str) -> bytes:
    """A cpio archive with nothing but its end, different for each kernel."""
    name = b"TRAILER!!!\0"
    header = b"070701" + b"00000000" * 11 + b"%08x" % len(name) + b"00000000"
    data = header + name
    padded = (data + bytes(-len(data) % 4)).ljust(512, b"\0")
    buffer = io.BytesIO()
    with gzip.GzipFile(release, "wb", fileobj=buffer, mtime=0) as file:
        file.write(padded)
    return buffer.getvalue()


def build(chroot: Chroot, spec: str, *options: str) -> list[Path]:
    """The packages that rpmbuild makes of a spec."""
    name = re.search(r"^Name: *(\S+)", spec, re.MULTILINE)
    assert name
    chroot.write(f"build/{name[1]}.spec", spec)
    argv = ["rpmbuild", "--define", "_topdir /build", *options, "-bb", f"/build/{name[1]}.spec"]
    done = chroot.run(*argv, seconds=900).check()
    return [chroot / path for path in re.findall(r"^Wrote: (\S+)$", done.output, re.MULTILINE)]


def build_kernel(chroot: Chroot, release: str, posttrans: str = "", preun: str = "") -> Path:
    version, tail, kver = kernel(release)
    chroot.write("build/files/vmlinuz", renamed((chroot / "var/tmp/vmlinuz").read_bytes(), kver))
    chroot.write("build/files/initrd", initrd(kver))
    spec = KERNEL_SPEC.format(
        version=version,
        release=tail,
        kver=kver,
        files="/build/files",
        posttrans=posttrans,
        preun=preun,
    )
    return build(chroot, spec, "--target", "x86_64")[0]


def source_archive(path: Path, names: list[str]) -> None:
    """The checkout's files as the source archive that the spec names."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name in names:
            archive.add(ROOT / name, f"kexec-hook-{__version__}/{name}", recursive=False)


def build_kexec_hook(chroot: Chroot, *options: str) -> list[Path]:
    """The packages of packaging/rpm/kexec-hook.spec, from the files of this checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (chroot / "build/SOURCES").mkdir(parents=True, exist_ok=True)
    source_archive(
        chroot / f"build/SOURCES/kexec-hook-{__version__}.tar.gz", listed.stdout.splitlines()
    )
    chroot.write("build/debian.macros", MACROS.read_text())
    spec = (ROOT / "packaging/rpm/kexec-hook.spec").read_text()
    return build(
        chroot,
        spec,
        "--nodeps",
        "--load",
        "/build/debian.macros",
        *(options or ("--without", "tests")),
    )


def build_rest(chroot: Chroot) -> list[Path]:
    """Packages without a kernel: one that is well, two whose scriptlets fail, and one that stands for Debian's own."""
    return [
        *build(chroot, DEBIAN_SPEC),
        *build(chroot, PLAIN_SPEC.format(name="no-kernel", scriptlets="")),
        *build(chroot, PLAIN_SPEC.format(name="fails-before", scriptlets="%pre\nexit 1")),
        *build(chroot, PLAIN_SPEC.format(name="fails-after", scriptlets="%posttrans\nexit 1")),
    ]
