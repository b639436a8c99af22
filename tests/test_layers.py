"""Imports point one way, and two modules alone touch the world."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kexec_hook"

# Each line may import the lines above it, and nothing beside it.  A folder stands for all its modules, which may
# import each other; imports for types count as well.  grub/ may import nothing from outside itself, but what all may.
GRUB = [
    ["script"],
    ["errors", "disks", "grubenv", "vercmp", "regex"],
    ["numbers", "values", "fuel"],
    ["flavours"],
    ["environment", "packed"],
    ["files"],
    ["wildcard"],
    ["words"],
    ["machine"],
    ["bls", "menu"],
    ["commands"],
]
ROOMS = [
    ["errors"],
    ["grub", "system"],
    ["disks", "kernel"],
    ["state"],
    ["settings"],
    ["plugins"],
    ["decision", "install"],
    ["staging"],
    ["report"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
BY_ALL = {"kexec_hook", "kexec_hook.grub", "kexec_hook.tuples"}
# Who touches the world, and why these.
OPENS_FILES = {
    "kexec_hook.system.sysroot": "everything below the root",
    "kexec_hook.system.reach": "the directories on the way to it",
    "kexec_hook.system.subvolume": "the mounted btrfs that it asks",
    "kexec_hook.system.confine": "the root of its own in which a program is shut in",
    "kexec_hook.system.fstest": "the memory files with what grub-fstest prints",
    "kexec_hook.system.editenv": "GRUB's environment block, which it reads and puts in place",
    "kexec_hook.system.directory": "our own directories, which it locks and writes",
    "kexec_hook.system.process": "/dev/null, in the place of a closed standard file",
    "kexec_hook.system.kexec": "the kernel's count of loads, which it starts",
    "kexec_hook.plugins.asking": "what installed packages say they bring",
    "kexec_hook.install": "the files that the package brings along, and where `hooks install` puts them",
}
RUNS_PROGRAMS = {
    "kexec_hook.system.process": "everything",
    "kexec_hook.system.worker": "ourselves, in a process that may hang",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of what a module imports, also inside functions and for types."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    todo: list[ast.AST] = [parsed(path)]
    while todo:
        node = todo.pop()
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                # `from kexec_hook.grub import menu` is about the module menu
                yield (
                    node.lineno,
                    f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base,
                )


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def below(name: str, tops: list[str]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def climb(
    module: str, storeys: list[list[str]], prefix: str, known: list[str]
) -> Optional[list[str]]:
    """What a module of these storeys may import, or None where it is not one of them."""
    known = list(known)
    for storey in storeys:
        for name in storey:
            if below(module, [prefix + name]):
                package = (
                    [prefix + name] if (ROOT / (prefix + name).replace(".", "/")).is_dir() else []
                )
                return known + package
        known += [prefix + name for name in storey]
    return None


def allowed(module: str) -> list[str]:
    """Everything of ours that a module may import."""
    if module in BY_ALL:
        return []
    found = climb(module, GRUB, "kexec_hook.grub.", [])
    if found is None:
        found = climb(module, ROOMS, "kexec_hook.", [])
    if found is None:
        pytest.fail(f"{module} has no place in the table of tests/test_layers.py")
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    may = allowed(name_of(path))
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for line, name in imports(path)
        if below(name, ["kexec_hook"]) and name not in BY_ALL and not below(name, may)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "grub").rglob("*.py")), ids=name_of)
def test_grub_needs_only_the_standard_library(path: Path) -> None:
    known = getattr(sys, "stdlib_module_names", None)
    if known is None:
        pytest.skip("Python 3.9 does not list its modules")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for line, name in imports(path)
        if not below(name, ["kexec_hook.grub", "kexec_hook.tuples"])
        and name.split(".")[0] not in known
    ]
    assert wrong == []


def opens_files(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Calls that open, read, write or list files."""
    methods = {
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "iterdir",
        "touch",
        "unlink",
        "symlink_to",
    }
    functions = {
        "open",
        "fdopen",
        "listdir",
        "scandir",
        "walk",
        "readlink",
        "remove",
        "rename",
        "replace",
        "mkdir",
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield node.lineno, "open()"
        elif isinstance(called, ast.Attribute):
            if called.attr in methods:
                yield node.lineno, f".{called.attr}()"
            elif (
                isinstance(called.value, ast.Name)
                and called.value.id in {"os", "io"}
                and called.attr in functions
            ):
                if node.args and ast.unparse(node.args[0]) == "os.devnull":
                    continue
                yield node.lineno, f"{called.value.id}.{called.attr}()"


@pytest.mark.parametrize(
    "path", [p for p in modules() if name_of(p) not in OPENS_FILES], ids=name_of
)
def test_only_sysroot_opens_files(path: Path) -> None:
    assert [
        f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in opens_files(parsed(path))
    ] == []


@pytest.mark.parametrize(
    "path", [p for p in modules() if name_of(p) not in RUNS_PROGRAMS], ids=name_of
)
def test_only_process_runs_programs(path: Path) -> None:
    wrong = [
        f"imports {name}"
        for _, name in imports(path)
        if below(name, ["subprocess", "pty", "multiprocessing"])
    ]
    for node in ast.walk(parsed(path)):
        if not (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        ):
            continue
        if node.attr in {"system", "popen", "fork"} or node.attr.startswith(
            ("exec", "spawn", "posix_spawn")
        ):
            wrong.append(f"os.{node.attr}, line {node.lineno}")
    assert wrong == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in modules()
        if not below(
            name_of(path), [f"kexec_hook.{room}" for room in ("commands", "cli", "__main__")]
        )
    ],
    ids=name_of,
)
def test_only_commands_print_and_exit(path: Path) -> None:
    called = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert [
        f"{path.relative_to(ROOT)}:{function.lineno}"
        for function in called
        if ast.unparse(function) in {"print", "sys.exit", "exit", "sys.stdout.write"}
    ] == []


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_first_line_says_what_a_module_knows(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(('"""', 'r"""')), "the first line is a docstring"
    text = (ast.get_docstring(parsed(path)) or "").partition("\n\n")[0].rstrip()
    assert text.endswith((".", "?", ":")), "its first paragraph is a sentence"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem not in {"util", "utils", "helper", "helpers", "misc", "common", "manager"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_stay_readable(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if not line.startswith("# SPDX-")]) <= 400


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_functions_fit_on_a_screen(path: Path) -> None:
    """Their branches are counted by ruff (C901)."""
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]
    assert [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} has {lines} lines"
        for function in functions
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > 50
    ] == []


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_conditional_expression_stands_in_another(path: Path) -> None:
    choices = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.IfExp)]
    assert [
        f"{path.relative_to(ROOT)}:{inner.lineno}"
        for outer in choices
        for inner in ast.walk(outer)
        if isinstance(inner, ast.IfExp) and inner is not outer
    ] == []
