"""What pyproject.toml cannot say: hooks and units go into the package, man pages and completions beside it."""
# SPDX-License-Identifier: GPL-3.0-or-later

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
GLUE = (
    "hooks",
    "systemd",
)  # as kexec_hook/data/hooks and so on, where kexec_hook/install.py finds them


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


class Source(sdist):
    def make_release_tree(self, base_dir: str, files: list) -> None:
        """Links stay links: the trees that the tests take for machines live by them."""
        super().make_release_tree(base_dir, files)
        for link in (Path(name) for name in files if Path(name).is_symlink()):
            copy = Path(base_dir) / link
            copy.unlink()
            copy.symlink_to(link.readlink())


setup(cmdclass={"build_py": Build, "sdist": Source})
