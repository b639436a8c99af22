"""What pyproject.toml cannot say: hooks and units go into the package, man pages and completions beside it.

And the same sources make the same archives, byte by byte, whoever builds them, when and where.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

import gzip
import io
import os
import runpy
import shutil
import tarfile
from email.utils import parsedate_to_datetime
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
GLUE = (
    "hooks",
    "systemd",
)  # as kexec_hook/data/hooks and so on, where kexec_hook/install.py finds them

# A file that setuptools makes gets the mode that the caller's umask leaves, and archives keep it.
os.umask(0o022)


def release_date() -> int:
    """Seconds since 1970: of the newest entry in debian/changelog."""
    changelog = (ROOT / "packaging/debian/changelog").read_text(encoding="utf-8")
    stamp = next(line for line in changelog.splitlines() if line.startswith(" -- "))
    return int(parsedate_to_datetime(stamp.partition(">  ")[2]).timestamp())


# wheel's own archive asks for it too.
os.environ.setdefault("SOURCE_DATE_EPOCH", str(release_date()))


def plain(directory: Path) -> None:
    """Modes that tell nothing of the umask under which the sources were unpacked."""
    for path in directory.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


class Build(build_py):
    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return  # the checkout has them all
        for name in GLUE:
            target = Path(self.build_lib) / "kexec_hook" / "data" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "README.md")
            )
        shutil.copy(ROOT / "docs/troubleshooting.md", Path(self.build_lib) / "kexec_hook" / "data")
        prefix = Path(self.build_lib).parent / "prefix"
        make = runpy.run_path(str(ROOT / "man/make.py"))
        shutil.rmtree(prefix, ignore_errors=True)
        make["write"](prefix)
        files = [file for file in sorted(prefix.rglob("*")) if file.is_file()]
        placed = [(str(file.parent.relative_to(prefix)), [str(file)]) for file in files]
        self.distribution.data_files = [*(self.distribution.data_files or []), *placed]
        plain(Path(self.build_lib))
        say_placeholders(self)


class Source(sdist):
    def make_release_tree(self, base_dir: str, files: list) -> None:
        """Links stay links: the trees that the tests take for machines live by them."""
        super().make_release_tree(base_dir, files)
        for link in (Path(name) for name in files if Path(name).is_symlink()):
            copy = Path(base_dir) / link
            copy.unlink()
            copy.symlink_to(link.readlink())
        say_placeholders(self)

    def make_archive(self, base_name: str, format: str, *args, base_dir: str, **kwargs) -> str:
        """Members in the order of their names, of nobody, with the date of the release."""
        if format != "gztar":
            return super().make_archive(base_name, format, *args, base_dir=base_dir, **kwargs)
        name = f"{base_name}.tar.gz"
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in (Path(base_dir), *sorted(Path(base_dir).rglob("*"))):
                tar.add(path, recursive=False, filter=member)
        Path(name).write_bytes(gzip.compress(content.getvalue(), mtime=0))
        return name


def member(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info


def say_placeholders(command) -> None:
    """Nobody is to publish what names a maintainer that cannot be reached."""
    warning = runpy.run_path(str(ROOT / "packaging/publisher.py"))["warning"]()
    if warning:
        command.warn(warning)


setup(cmdclass={"build_py": Build, "sdist": Source})
