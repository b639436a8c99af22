"""sdist, wheel and pip: what a checkout becomes, what is inside, and what it says where pip has put it.

Needs pip, and what pip needs to get setuptools; nothing is installed but in directories of the test's own.
"""

from __future__ import annotations

import datetime
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kexec_hook import __version__

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "tests/roots/debian-12/tree"
TOP = (
    *(
        ".ci",
        "bench",
        "contrib",
        "docs",
        "hooks",
        "kexec_hook",
        "man",
        "packaging",
        "systemd",
        "tests",
    ),
    *(
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "Makefile",
        "NEWS.md",
        "README.md",
        "SECURITY.md",
        "pyproject.toml",
        "setup.py",
    ),
)
PIP = (
    sys.executable,
    "-m",
    "pip",
    "--disable-pip-version-check",
    "--quiet",
    "--no-input",
    "--retries=0",
)
NEXT = "The systemd units are not installed: `kexec-hook hooks install` puts them and the package hooks there."


def done(*argv: str | Path, cwd: Path | None = None) -> str:
    """What a program says that has to succeed."""
    ran = subprocess.run(
        [str(word) for word in argv], cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def venv(directory: Path, *packages: str) -> Path:
    """The python of a new virtual environment with these packages; skips where pip cannot get them."""
    if subprocess.run([*PIP, "--version"], capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    done(sys.executable, "-m", "venv", "--without-pip", directory)
    python = directory / "bin/python"
    install = [*PIP, "--timeout=10", f"--python={python}", "install", *packages]
    got = subprocess.run(install, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if got.returncode:
        pytest.skip(
            f"pip cannot get {' and '.join(packages)}: {got.stderr.strip().splitlines()[-1]}"
        )
    return python


def source(directory: Path) -> Path:
    """The checkout, where a build may leave its own files."""
    directory.mkdir()
    for name in TOP:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, directory / name, ignore=ignore, symlinks=True)
        else:
            shutil.copy(ROOT / name, directory)
    return directory


def backend(python: Path, tree: Path, call: str) -> str:
    """A call of PEP 517; its last line is what it made."""
    code = f"from setuptools import build_meta; print(); print(build_meta.{call})"
    return done(python, "-c", code, cwd=tree).splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The archive, and the python with setuptools that made it."""
    directory = tmp_path_factory.mktemp("sdist")
    python = venv(directory / "venv", "setuptools")
    return directory / backend(
        python, source(directory / "source"), f"build_sdist({str(directory)!r})"
    ), python


@pytest.fixture(scope="module")
def wheel(sdist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from the sdist alone, which therefore has all that it takes."""
    directory = tmp_path_factory.mktemp("wheel")
    archive, python = sdist
    done("tar", "-xzf", archive, "-C", directory)
    tree = directory / f"kexec_hook-{__version__}"
    if not tree.exists():  # setuptools before 69
        tree = directory / f"kexec-hook-{__version__}"
    return directory / backend(python, tree, f"build_wheel({str(directory)!r})")


def files(top: str) -> list[str]:
    """Those below a directory of the checkout, as paths below that."""
    found = (
        path
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    return sorted(str(path.relative_to(ROOT / top)) for path in found)


def test_sdist_has_everything_that_a_distribution_builds_from(sdist: tuple[Path, Path]) -> None:
    with tarfile.open(sdist[0]) as tar:
        inside = {name.partition("/")[2]: tar.getmember(name) for name in tar.getnames()}
    for top in (
        "kexec_hook",
        "hooks",
        "systemd",
        "man",
        "docs",
        "packaging",
        "tests/packages",
        "tests/roots",
    ):
        assert [name for name in files(top) if f"{top}/{name}" not in inside] == []
    assert {
        "LICENSE",
        "README.md",
        "NEWS.md",
        "Makefile",
        "pyproject.toml",
        "setup.py",
    } <= inside.keys()
    # The trees that the tests take for machines live by their links.
    link = next(path for path in TREE.rglob("*") if path.is_symlink())
    assert inside[str(link.relative_to(ROOT))].linkname == str(link.readlink())


def test_wheel_has_glue_units_manual_pages_completions_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    info, shared = (
        f"kexec_hook-{__version__}.dist-info",
        f"kexec_hook-{__version__}.data/data/share",
    )
    for top in ("hooks", "systemd"):
        assert [name for name in files(top) if f"kexec_hook/data/{top}/{name}" not in inside] == (
            ["dnf/README.md"] if top == "hooks" else []
        )
    assert {
        "kexec_hook/data/kexec-hook.conf",
        "kexec_hook/data/troubleshooting.md",
        "kexec_hook/py.typed",
        f"{shared}/man/man5/kexec-hook.conf.5",
        f"{shared}/man/man7/kexec-hook-plugins.7",
        f"{shared}/man/man8/kexec-hook.8",
        f"{shared}/bash-completion/completions/kexec-hook",
        f"{shared}/zsh/site-functions/_kexec-hook",
        f"{shared}/fish/vendor_completions.d/kexec-hook.fish",
    } <= inside
    assert {f"{info}/LICENSE", f"{info}/licenses/LICENSE"} & inside
    assert {name.partition("/")[0] for name in inside} == {
        "kexec_hook",
        info,
        f"kexec_hook-{__version__}.data",
    }


def test_status_after_pip_install_says_that_hooks_install_is_next(
    wheel: Path, tmp_path: Path
) -> None:
    program = venv(tmp_path / "venv", str(wheel)).with_name("kexec-hook")
    assert done(program, "--version", cwd=tmp_path) == f"kexec-hook {__version__}\n"
    # Another root than this machine's, which may have kexec-hook's units.
    assert NEXT in done(program, "--root", TREE, "status", cwd=tmp_path).splitlines()
    listed = done(program, "--root", TREE, "hooks", "list", cwd=tmp_path)
    assert "/etc/systemd/system/kexec-hook.service" in listed
    assert "/etc/apt/apt.conf.d/80kexec-hook" in listed


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="setuptools 61 does not run on Python 3.12 and newer"
)
def test_metadata_are_made_by_setuptools_61(tmp_path: Path) -> None:
    python = venv(tmp_path / "venv", "setuptools==61.0.0", "wheel")
    made = backend(
        python, source(tmp_path / "source"), f"prepare_metadata_for_build_wheel({str(tmp_path)!r})"
    )
    metadata = (tmp_path / made / "METADATA").read_text().splitlines()
    # The wheel that puts these down writes `pluggy (>=1.0)` or `pluggy >=1.0`.
    plain = {line.replace(" ", "").replace("(", "").replace(")", "") for line in metadata}
    assert {
        f"Version:{__version__}",
        "Requires-Python:>=3.9",
        "Requires-Dist:pluggy>=1.0",
        "Requires-Dist:packaging>=21",
    } <= plain
    assert (
        "kexec-hook = kexec_hook.__main__:run" in (tmp_path / made / "entry_points.txt").read_text()
    )


def program(name: str) -> dict[str, Any]:
    """What a program of packaging/ defines."""
    return runpy.run_path(str(ROOT / "packaging" / name))


def packagings(directory: Path) -> Path:
    """The files that publisher and release write, to be written."""
    for name in ("packaging", "kexec_hook/__init__.py", "NEWS.md", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, directory / name)
    return directory


def test_one_publisher_stands_in_all_packagings() -> None:
    assert program("publisher.py")["differing"]() == []


def test_another_publisher_gets_into_all_packagings(tmp_path: Path) -> None:
    tree = packagings(tmp_path)
    ini = tree / "packaging/publisher.ini"
    text = ini.read_text().replace("name = kexec-hook maintainers", "name = Ada Byron")
    ini.write_text(re.sub(r"(?m)^email = .*", "email = ada@kernel.org", text))
    older = " -- Somebody Else <else@debian.org>  Mon, 23 Nov 2026 12:00:00 +0000\n"
    changelog = tree / "packaging/debian/changelog"
    changelog.write_text(f"{changelog.read_text()}\nkexec-hook (0.0.9-1) unstable\n\n{older}")
    texts = program("publisher.py")["filled"](tree)
    who = "Ada Byron <ada@kernel.org>"
    assert f"\nMaintainer: {who}\n" in texts["packaging/debian/control"]
    assert f"\n -- {who}  Tue" in texts["packaging/debian/changelog"]
    assert texts["packaging/debian/changelog"].endswith(older)
    assert (
        'maintainers = [{ name = "Ada Byron", email = "ada@kernel.org" }]'
        in texts["pyproject.toml"]
    )
    assert re.search(rf"\n\* .* {who} - ", texts["packaging/rpm/kexec-hook.spec"])
    assert "email" not in program("publisher.py")["placeholders"](tree)


def test_placeholders_are_said_until_none_is_left(tmp_path: Path) -> None:
    tree = packagings(tmp_path)
    ini = tree / "packaging/publisher.ini"
    for host in ("kexec-hook.example", "users.noreply.r-seed-24d40c81.example"):
        assert "not for publication" in program("publisher.py")["warning"](tree)
        ini.write_text(ini.read_text().replace(host, "kernel.org"))
    assert program("publisher.py")["warning"](tree) == ""


WHEN = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.timezone.utc)


def test_release_puts_one_version_and_date_into_all_packagings(tmp_path: Path) -> None:
    tree = packagings(tmp_path)
    news = tree / "NEWS.md"
    news.write_text(news.read_text().replace("# News\n", "# News\n\n## 9.8 (not released)\n", 1))
    program("release.py")["prepare"](tree, "9.8", WHEN)
    assert "\n## 9.8 (2026-12-01)\n" in news.read_text()
    assert '\n__version__ = "9.8"\n' in (tree / "kexec_hook/__init__.py").read_text()
    debian = (tree / "packaging/debian/changelog").read_text()
    assert debian.startswith("kexec-hook (9.8-0upstream1) unstable; urgency=medium\n\n  * ")
    assert "  Tue, 01 Dec 2026 12:00:00 +0000\n\nkexec-hook (" in debian
    spec = (tree / "packaging/rpm/kexec-hook.spec").read_text()
    assert re.search(r"\nVersion: +9\.8\nRelease: +1%", spec)
    assert re.search(r"%changelog\n\* Tue Dec 01 2026 .*> - 9\.8-1\n- .*\n\n\* ", spec)
    assert program("publisher.py")["differing"](tree) == []


def test_release_of_a_version_that_has_its_entries_gives_them_its_date(tmp_path: Path) -> None:
    tree = packagings(tmp_path)
    changelog = tree / "packaging/debian/changelog"
    entries = changelog.read_text().count("\n -- ")
    program("release.py")["prepare"](tree, __version__, WHEN)
    assert changelog.read_text().count("\n -- ") == entries
    assert "  Tue, 01 Dec 2026 12:00:00 +0000\n" in changelog.read_text()
    assert "%changelog\n* Tue Dec 01 2026 " in (tree / "packaging/rpm/kexec-hook.spec").read_text()


@pytest.mark.parametrize("version", ["9.9", "1.0-rc1", "v1.0", ""])
def test_version_without_news_or_of_another_form_is_refused(version: str, tmp_path: Path) -> None:
    tree = packagings(tmp_path)
    release = program("release.py")
    with pytest.raises(release["Refused"]):
        release["prepare"](tree, version, WHEN)
    assert (tree / "NEWS.md").read_text() == (ROOT / "NEWS.md").read_text()


def test_units_start_only_what_selinux_lets_systemd_start() -> None:
    """Fedora's policy gives init_t no right to execute lib_t, as which /usr/lib/kexec-hook is labelled."""
    lines = [
        line for unit in (ROOT / "systemd").rglob("*") if unit.is_file()
        for line in unit.read_text().splitlines() if re.match("Exec.*=.", line)
    ]  # fmt: skip
    started = {line.partition("=")[2].lstrip("-").split()[0] for line in lines}
    assert started == {"/bin/sh", "/usr/bin/kexec-hook"}


def test_what_el_9_does_not_check_is_what_needs_hypothesis() -> None:
    """It has no hypothesis for the Python that kexec-hook runs on there."""
    spec = (ROOT / "packaging/rpm/kexec-hook.spec").read_text()
    left_out = re.findall(r"--ignore=(\S+)", next(re.finditer("%global unchecked .*", spec))[0])
    needs = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"(?m)^(from|import) hypothesis\b", path.read_text())
    ]
    assert [name for name in needs if not name.startswith(tuple(left_out))] == []
    assert all(any(name.startswith(left) for name in needs) for left in left_out)
