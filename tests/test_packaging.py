"""pyproject.toml: what `pip install` installs; the pinned versions lie within its bounds."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = {
    "requirements.txt": [],
    "requirements-gui.txt": ["gui"],
    "requirements-metrics.txt": ["metrics"],
    "requirements-wandb.txt": ["wandb"],
    "requirements-web.txt": ["web"],
    "requirements-dev.txt": ["dev", "lsun"],
}


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {requirement.name.lower(): requirement for requirement in found}


def test_every_script_is_installed():
    scripts = {path.stem for path in ROOT.glob("*.py")} - {"demo"}  # which only works in a clone
    assert set(SETTINGS["tool"]["setuptools"]["py-modules"]) == scripts


def test_data_files_of_packages_are_installed():
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    packages = [path for path in packages if path.name not in ("tests", "benchmarks", "docs")]
    for package in packages:
        own = [p for key in patterns if key.split(".")[0] == package.name for p in patterns[key]]
        suffixes = {p.removeprefix("*") for p in [*patterns["*"], *own]}
        for path in package.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.suffix in suffixes | {".py"}, path


@pytest.mark.parametrize("name", PINS)
def test_pinned_versions_are_within_the_bounds(name):
    project = SETTINGS["project"]
    extras = project["optional-dependencies"]
    bounds = _requirements(
        [line for extra in PINS[name] for line in extras[extra]] or project["dependencies"]
    )
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    pins = _requirements([line for line in lines if line and not line.startswith("-r")])
    assert pins.keys() == bounds.keys() - {project["name"]}
    for key, pin in pins.items():
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and bounds[key].specifier.contains(specifier.version)
        assert str(pin.marker) == str(bounds[key].marker)


@pytest.mark.parametrize("system", ["Linux", "Windows", "Darwin"])
def test_cuda_kernels_are_installed_where_there_are_nvidia_gpus(system):
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line.startswith(("cuda-", "nvidia-"))
    ]
    installed = {
        name
        for name, requirement in _requirements(lines).items()
        if requirement.marker is None or requirement.marker.evaluate({"platform_system": system})
    }
    assert (
        installed
        == {
            "Linux": {"cuda-core"},  # PyTorch brings the other two
            "Windows": {"cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc"},
            "Darwin": set(),
        }[system]
    )
