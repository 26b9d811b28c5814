"""The floor plan of docs/architecture.md: imports point down, never up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up. A package imports itself and lower floors.
FLOORS = (
    "dnnlib",
    "torch_utils",
    "data",
    "metrics",
    "network_files",
    "training",
    "reports",
    "generation",
    "editing",
    "gui_utils",
    "web_utils",
    "viz",
)
# These stand beside the house: they import any floor, and no floor imports them.
BESIDE = ("benchmarks", "demo", "docs", "tests")

# Imports that go up, and why: (importing module, imported module).
EXCEPTIONS: set[tuple[str, str]] = set()

# The text of these modules travels inside pickles. `dnnlib` and `torch_utils` open such a pickle.
PERSISTENT = (
    "torch_utils.layers",
    "torch_utils.persistence",
    "training.augment",
    "training.networks_stylegan2",
    "training.networks_stylegan3",
)
OPEN_A_PICKLE = {"dnnlib", "numpy", "scipy", "torch", "torch_utils"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, ast.Module]:
    """Syntax tree of every module of the project, by name; those of the tests are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []  # an archive without .git
    paths = [ROOT / name for name in names] or [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]
    return {
        module_name(path): ast.parse(path.read_bytes())
        for path in paths
        if path.is_file() and path.relative_to(ROOT).parts[0] != "tests"
    }


def imports_of(module: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Names of the modules that the import statements among `nodes` import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import: write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in sources() else str(node.module)


def all_imports(module: str) -> set[str]:
    """All modules that a module imports, inside of functions and for annotations, too."""
    return set(imports_of(module, ast.walk(sources()[module])))


def imports_at_start(module: str) -> set[str]:
    """The modules of the project that Python imports before it has finished importing `module`."""
    found = set(imports_of(module, iter(sources()[module].body)))
    return {name for name in found if name in sources()}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def height(module: str) -> int:
    """Floor of a module; scripts are above all packages, and what stands beside is higher still."""
    package = package_of(module)
    if package in BESIDE:
        return len(FLOORS) + 1
    return FLOORS.index(package) if package in FLOORS else len(FLOORS)


def test_every_package_has_a_floor():
    packages = {package_of(module) for module in sources() if "." in module}
    assert packages <= {*FLOORS, *BESIDE}
    assert set(FLOORS) <= packages


def test_no_module_imports_a_higher_floor():
    ours = {package_of(module) for module in sources()}
    upwards = {
        (module, imported)
        for module in sources()
        for imported in all_imports(module)
        if package_of(imported) in ours and height(imported) > height(module)
    }
    assert upwards - EXCEPTIONS == set()
    assert EXCEPTIONS - upwards == set(), "an exception that is not needed any more"


def test_scripts_do_not_import_one_another():
    scripts = {module for module in sources() if height(module) == len(FLOORS)}
    assert "train" in scripts
    between = {(a, b) for a in scripts for b in all_imports(a) & scripts}
    assert between == set()


def test_no_module_imports_itself_in_a_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in imports_at_start(module) - {module}:
                visit(imported, (*path, module))
            done.add(module)

    for module in sources():
        visit(module, ())


@pytest.mark.parametrize("module", PERSISTENT)
def test_text_that_travels_in_pickles_imports_only_what_opens_a_pickle(module):
    outside = {package_of(name) for name in all_imports(module)} - OPEN_A_PICKLE
    assert outside <= sys.stdlib_module_names


def test_dnnlib_does_without_torch_and_front_ends_without_networks():
    used = {
        package: {
            package_of(b) for a in sources() if package_of(a) == package for b in all_imports(a)
        }
        for package in ("dnnlib", "gui_utils", "web_utils")
    }
    assert "torch" not in used["dnnlib"]
    assert used["gui_utils"] & {*FLOORS} <= {"dnnlib", "gui_utils", "torch_utils"}
    assert used["web_utils"] & {*FLOORS, "torch"} <= {"dnnlib", "gui_utils", "web_utils"}
