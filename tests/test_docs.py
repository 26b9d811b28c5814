"""What README and docs show works: options are legal, Python runs, links lead somewhere."""

import ast
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
import torch

import gen_images
import legacy
from docs import help_texts, option_tables
from training import advice, config
from training.networks_stylegan3 import Generator

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {path.name: path.read_text() for path in PAGES}
COMMANDS = [
    line
    for text in TEXTS.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if re.search(r"\b\w+\.py ", line) and not line.startswith("#")
]
OPTIONS = [" ".join(row.split()) for row in re.findall(r"`(--cfg=[^`]+)`", TEXTS["configs.md"])]
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_docs_parse(command, tmp_path, monkeypatch):
    script, args = re.search(r"(\w+)\.py (.*)", command).groups()
    args, main = shlex.split(args), import_module(script).main
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"[^\s=:]+\.(?:npz|png|csv|wav)", command):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()  # arguments that are files must exist
    for name in re.findall(r"report\.py (\S+)", command):
        Path(name).mkdir(parents=True)  # and those that are folders
    if isinstance(main, click.Group):
        main, args = main.commands[args[0]], args[1:]
    context = main.make_context(script, args)
    assert context.params


@pytest.mark.parametrize("options", OPTIONS)
def test_option_tables_give_runs(options):
    args = [*options.split(), "--outdir=runs", "--data=data.zip"]
    params = import_module("train").main.make_context("train", args).params
    names = {field.name for field in config.dataclasses.fields(config.TrainOptions)}
    given = {name: value for name, value in params.items() if name in names}
    assert config.make_config(config.TrainOptions(**given), {})


def test_option_tables_follow_the_heuristic_for_gamma():
    rows = re.findall(r"\| (\d+)x\1 \|.*`(--cfg=[^`]+)`", TEXTS["configs.md"])
    assert len(rows) >= 15
    for resolution, options in rows:
        given = dict(re.findall(r"--(\w+)=(\S+)", options))
        suggested = config.suggest_gamma(given["cfg"], int(resolution), int(given["batch"]))
        assert float(given["gamma"]) == pytest.approx(suggested, rel=0.05)


def test_option_tables_are_those_of_the_advice():
    assert TEXTS["configs.md"].count("`make help-texts` writes this") == 4
    assert TEXTS["configs.md"] == option_tables.fill(TEXTS["configs.md"]), "run `make help-texts`"


# How long an example trains is its own business.
LENGTHS = {"kimg", "tick", "snap", "metrics"}
HELP = (help_texts.DOCS / "train-help.txt").read_text().replace("\\\n", " ")
EXAMPLES = [
    " ".join(line.split())
    for line in [*COMMANDS, *re.findall(r"^ +python train\.py .*", HELP, re.MULTILINE)]
    if "train.py" in line and "--cfg=" in line
]


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_of_training_follow_the_advice(command):
    given = dict(re.findall(r"--([\w-]+)=(\S+)", command))
    size = re.search(r"(\d+)x\1\.zip", given["data"])
    if size is None:
        assert given["data"] == "shapes.zip"  # for which the CPU suffices
    gpus = int(given.get("nnodes", 1)) * int(given.get("nproc-per-node") or given["gpus"])
    expected = advice.starting_point(
        given["cfg"], int(size[1]) if size else 32, gpus if size else 0
    )
    expected = {name: value for name, value in expected.items() if name not in LENGTHS}
    if "nnodes" in given:
        del expected["gpus"]
    assert {name: given.get(name) for name in expected} == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_with_examples(script, capsys):
    with pytest.raises(SystemExit) as info:
        import_module(script).main(["--help"])
    text = capsys.readouterr().out
    assert info.value.code == 0
    assert f"python {script}.py" in text


@pytest.mark.parametrize("script", help_texts.SCRIPTS)
def test_help_texts_are_current(script, monkeypatch):
    monkeypatch.setenv("COLUMNS", "133")  # the terminal does not matter
    written = (help_texts.DOCS / help_texts.SCRIPTS[script]).read_text(encoding="utf-8")
    assert written == help_texts.help_text(script), "run `make help-texts`"


def make_generator() -> Generator:
    """A tiny network."""
    torch.manual_seed(0)
    return Generator(8, 0, 8, 16, 3, channel_base=64, channel_max=4).eval().requires_grad_(False)


def test_python_example_in_readme_runs(monkeypatch):
    monkeypatch.setattr(legacy, "load_network", lambda name: {"G_ema": make_generator()})
    (example,) = re.findall(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL)
    names = {}
    exec(example, names)
    assert names["pixels"].shape == (1, 3, 16, 16)


@pytest.mark.slow
def test_python_examples_in_docs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # no g++
    data = dict(G=None, D=None, G_ema=make_generator(), augment_pipe=None, training_set_kwargs=None)
    legacy.save_networks(tmp_path / "network-snapshot-025000.pkl", data)
    names = {}
    for example in re.findall(r"```python\n(.*?)```", TEXTS["python.md"], re.DOTALL):
        exec(example, names)
    assert names["sheet"].shape == (3, 32, 32)
    assert names["path"].shape == (5, names["G"].num_ws, 8)
    assert np.load("projected_w.npz")["w"].shape == (1, names["G"].num_ws, 8)
    np.testing.assert_allclose(names["move"], gen_images.make_transform((0.25, 0), 15), rtol=1e-6)
    assert torch.equal(names["G"].synthesis.input.transform, torch.eye(3))
    assert np.isfinite(names["result"].results.eqt50k_int)


def test_links_in_docs_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_readme_leads_to_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name}" in TEXTS["README.md"], page.name


def test_files_that_docs_name_exist():
    for name, text in TEXTS.items():
        paths = re.findall(r"`((?:training|torch_utils|metrics|network_files)/[\w/]+\.py)`", text)
        for path in paths:
            assert (ROOT / path).is_file(), f"{name}: {path}"


def test_pieces_in_the_diagram_exist():
    for path in re.findall(r"\b(\w+(?:/\w+)*/\w+\.py|\w+_\w+\.py)\b", TEXTS["architecture.md"]):
        assert list(ROOT.glob(path)) or list(ROOT.glob(f"*/{path}")), path


def test_tests_that_docs_name_exist():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in ROOT.glob("docs/*.md"):
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in tests, f"{page.name}: {name}"


def _is_said(message: str, said: str) -> bool:
    """Whether a message that a page quotes is in the source, but for values and quotes."""
    values = r"…|'[^']*'|\d+x\d+|--[\w-]+=[\w/]+|[A-Z\d]+_[A-Z_\d]+|\S+\.zip|\w+\d+k_\w+|\d[\d.]*"
    parts = re.split(values, message)
    return all(re.sub(r"\s+", " ", part).strip(" ,:") in said for part in parts if part)


def test_each_promise_is_held_by_a_test_that_names_it():
    """A row of the table names a test; each test of faults begins with the fault of its row."""
    table = TEXTS["reliability.md"].partition("## What can go wrong")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    tests_of = {fault: re.findall(r"tests?[/_][\w/.]+", tests) for fault, _, _, tests in rows[2:]}
    assert len(tests_of) > 20 and all(tests_of.values())
    tree = ast.parse((ROOT / "tests/training/test_faults.py").read_text("utf-8"))
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    promised = {
        name: ast.get_docstring(function).splitlines()[0]
        for name, function in functions.items()
        if name.startswith("test_")
    }
    assert [name for name, fault in promised.items() if name not in tests_of[fault]] == []


def test_messages_in_troubleshooting_are_those_of_the_source():
    sources = [*ROOT.glob("*.py")]
    packages = "generation data dnnlib training torch_utils metrics data/conversion network_files"
    for package in packages.split():
        sources += (ROOT / package).rglob("*.py")
    literals = []
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "" for v in node.values]
                literals.append(re.sub(r"\s+", " ", "".join(parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.append(node.value)
    said = "\n".join(literals)
    rows = re.findall(r"^\| `([^`]+)`", TEXTS["troubleshooting.md"], re.MULTILINE)
    assert len(rows) > 20
    for message in rows:
        assert _is_said(message, said), message


# Small settings for the commands of docs/walkthrough.md, and a network that trains in seconds.
TINY = {
    "--resolution=32x32": "--resolution=16x16",
    "--max-images=2000": "--max-images=64",
    "--cbase=512 --cmax=32": "--cbase=64 --cmax=4",
    "--batch=4": "--batch=32",
    "-batch4-": "-batch32-",
    "--kimg=6": "--kimg=1",
    "--kimg=8": "--kimg=2",
    "000008.pkl": "000002.pkl",
    "--snap=2": "--snap=1 --workers=0 --device=cpu",
    "--w-frames=60": "--w-frames=2",
    "stylegan3-t": "stylegan2",
}


@pytest.mark.slow
def test_walkthrough_leads_to_a_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", TEXTS["walkthrough.md"], re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 6
    assert all(setting in "".join(commands) for setting in TINY)
    for command in commands:
        for setting, small in TINY.items():
            command = command.replace(setting, small)
        _, script, *args = shlex.split(command)
        import_module(Path(script).stem).main(args, standalone_mode=False)
    (run,) = Path("runs").iterdir()
    for path in (run / "reals.png", run / "fakes_init.png", Path("shapes.contact-sheet.png")):
        assert path.stat().st_size > 0
    for name in ("out/grid.png", "out/shapes.mp4"):
        assert Path(name).stat().st_size > 0


def pinned(path: Path) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==([\w.]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-metrics.txt", "requirements-dev.txt"]
)
def test_installed_packages_are_those_of_requirements(name):
    for package, version in pinned(ROOT / name).items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            assert sys.platform != "linux", package  # where some are not needed
        else:
            # 2.13.0+cpu and 2.13.0.0 are 2.13.0.
            assert re.match(rf"{re.escape(version)}(\.0)*(\+|$)", installed), package


def test_conda_and_docker_install_the_same_packages():
    conda, docker = (ROOT / "environment.yml").read_text(), (ROOT / "Dockerfile").read_text()
    assert "- -r requirements.txt" in conda
    assert "COPY requirements.txt" in docker and "-r /tmp/requirements.txt" in docker
    assert "==" not in conda + docker  # no second list of versions
    (conda_python,) = re.findall(r"- python=([\d.]+)", conda)
    (docker_python,) = re.findall(r"^FROM python:([\d.]+)-slim$", docker, re.MULTILINE)
    assert conda_python == docker_python


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_container_gives_each_user_a_cache_of_its_own(monkeypatch):
    """Code from a cache that users share would run as whoever finds it there."""
    text = (ROOT / "Dockerfile").read_text()
    (entrance,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    command = [*json.loads(entrance), "/bin/sh", "-c", 'echo "$DNNLIB_CACHE_DIR" "$@"', "sh", "a b"]

    def run() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    monkeypatch.delenv("DNNLIB_CACHE_DIR")
    assert run() == f"/cache/{os.geteuid()} a b\n"
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "/some where")
    assert run() == "/some where a b\n"
    assert 'VOLUME ["/cache"]' in text and "chmod 1777 /cache /work" in text
    assert "STYLEGAN3_KERNEL_CACHE_DIR" not in text  # one for all users
    assert text.index("USER user") < text.index("CMD")
