"""What README and docs/datasets.md show works: options and values are legal, Python runs."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

import legacy
from training.networks_stylegan3 import Generator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DATASETS = (ROOT / "docs/datasets.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README + DATASETS, re.DOTALL)
    for line in block.splitlines()
    if re.search(r"\b\w+\.py ", line) and not line.startswith("#")
]
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_docs_parse(command, tmp_path, monkeypatch):
    script, args = re.search(r"(\w+)\.py (.*)", command).groups()
    args, main = shlex.split(args), import_module(script).main
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\S+\.npz", command):
        Path(name).touch()  # arguments that are files must exist
    if isinstance(main, click.Group):
        main, args = main.commands[args[0]], args[1:]
    context = main.make_context(script, args)
    assert context.params


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_with_examples(script, capsys):
    with pytest.raises(SystemExit) as info:
        import_module(script).main(["--help"])
    text = capsys.readouterr().out
    assert info.value.code == 0
    assert f"python {script}.py" in text


def test_python_example_in_readme_runs(monkeypatch):
    G = Generator(8, 0, 8, 16, 3, channel_base=64, channel_max=4).eval().requires_grad_(False)
    monkeypatch.setattr(legacy, "load_network", lambda name: {"G_ema": G})
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example, names)
    assert names["pixels"].shape == (1, 3, 16, 16)


def test_links_in_docs_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_tests_that_docs_name_exist():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in ROOT.glob("docs/*.md"):
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in tests, f"{page.name}: {name}"
