"""Rules for the options of all commands: paths know home folders, numbers have plain errors."""

import json
import re
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import calc_metrics
import dataset_tool
import gen_video
import legacy
import train
from data.conversion import background_option
from dnnlib import cli
from generation import track_options
from metrics import detectors
from training import precompile

ROOT = Path(__file__).parent.parent
# Texts that are no paths.
NO_PATHS = ("train --desc", "gen_video --layer", "visualizer --layer", "visualizer --host")
NO_PATH_TYPES = (  # types that make no paths
    click.Choice,
    click.types.BoolParamType,
    click.types.UnprocessedParamType,  # --help, --version
    cli.DirectionAmount,
    track_options.ReactionType,
    track_options.TrackType,
    cli.FiniteFloat,
    cli.NameList,
    cli.SeedRange,
    cli.Size,
    cli.Vec2,
    cli.WholeNumber,
    gen_video.Bitrate,
    background_option.Colour,
    click.types.StringParamType,  # directions pictures --name
    precompile.Resolutions,
)


def find_commands() -> dict[str, click.Command]:
    """All commands of the project, by the names of their modules."""
    commands = {}
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").parts
        if module[0] in ("tests", "dnnlib") or module[0].startswith("."):
            continue
        if re.search(r"^@click\.(command|group)", path.read_text(encoding="utf-8"), re.MULTILINE):
            main = import_module(".".join(module)).main
            commands[".".join(module)] = main
            for name, command in getattr(main, "commands", {}).items():
                commands[f"{'.'.join(module)} {name}"] = command
    return commands


COMMANDS = find_commands()
PARAMS = {
    f"{name} {param.opts[0]}": param
    for name, command in COMMANDS.items()
    for param in command.params
}
NUMBERS = {
    name: param
    for name, param in PARAMS.items()
    if isinstance(param.type, (click.types.IntParamType, click.types.FloatParamType))
}
PATHS = {
    name: param
    for name, param in PARAMS.items()
    if isinstance(param.type, (cli.LocalPath, cli.Address, calc_metrics.DetectorSource))
}


def test_all_commands_are_here():
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert scripts | {"benchmarks.ops", "docs.pictures", "avg_spectra calc"} <= set(COMMANDS)
    assert len(PARAMS) > 150 and len(NUMBERS) > 60 and len(PATHS) > 25


@pytest.mark.parametrize("name", PARAMS)
def test_every_option_is_a_path_or_known_to_be_none(name):
    assert name in PATHS or name in NO_PATHS or isinstance(PARAMS[name].type, NO_PATH_TYPES), (
        f"{name}: options with paths take cli.LocalPath or cli.Address"
    )


@pytest.mark.parametrize("name", PATHS)
def test_every_path_knows_home_folders(name, monkeypatch, tmp_path):
    param = PATHS[name]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in (Path("x.mp4"), Path("~x.mp4")):  # some must exist
        path.mkdir() if not getattr(param.type, "file_okay", True) else path.touch()
    prefix = "vgg16=" if isinstance(param.type, calc_metrics.DetectorSource) else ""

    def convert(text):
        value = param.type.convert(prefix + text, param, None)
        return str(value[1] if prefix else value)

    assert convert("~/x.mp4") == str(tmp_path / "x.mp4")
    assert convert("./~x.mp4").removeprefix("./") == "~x.mp4"
    if not isinstance(param.type, cli.LocalPath):
        assert convert("https://example.com/~x.pkl") == "https://example.com/~x.pkl"
    with pytest.raises(click.BadParameter, match=r"there is no user 'x.mp4' with a home folder"):
        convert("~x.mp4")


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_says_in_plain_words_what_it_takes(name):
    param = NUMBERS[name]
    texts = ["0.5,0.7", "x", "", "1e999", "nan", "7-9", "½"]
    for text in texts if param.type.min is None else [*texts, "-99999999999"]:
        with pytest.raises(click.BadParameter) as info:
            param.type.convert(text, param, None)
        message = info.value.message
        assert re.match(rf"{text!r} is not a (whole |finite )?number\b", message)
        assert not re.search(r"valid|integer|float|range|[<>]", message)


@pytest.mark.parametrize(
    ("param_type", "text", "message"),
    [
        (cli.FiniteFloat(), "x", "'x' is not a number"),
        (
            cli.FiniteFloat(),
            "0.5,0.7",
            "'0.5,0.7' is not a number; give one number, with a point for decimals",
        ),
        (cli.FiniteFloat(min=0, max=1), "2", "'2' is not a number from 0 to 1"),
        (cli.FiniteFloat(min=0, min_open=True), "0", "'0' is not a number above 0"),
        (cli.FiniteFloat(min=0), "-inf", "'-inf' is not a finite number"),
        (cli.FiniteFloat(), "1e39", "'1e39' is too large a number"),
        (cli.FiniteFloat(), "-1e300", "'-1e300' is too large a number"),
        (cli.WholeNumber(), "0.5", "'0.5' is not a whole number"),
        (cli.WholeNumber(min=1), "0", "'0' is not a whole number from 1 on"),
        (cli.WholeNumber(1, 64), "65", "'65' is not a whole number from 1 to 64"),
        (cli.WholeNumber(max=9), "10", "'10' is not a whole number up to 9"),
    ],
)
def test_messages_of_numbers(param_type, text, message):
    with pytest.raises(click.BadParameter) as info:
        param_type.convert(text, None, None)
    assert info.value.message == message


def test_numbers_at_their_limits_are_taken():
    assert cli.FiniteFloat(min=0, max=1).convert("1", None, None) == 1.0
    assert cli.FiniteFloat(min=0, min_open=True).convert("1e-9", None, None) == 1e-9
    assert cli.WholeNumber(1, 64).convert("64", None, None) == 64
    assert type(cli.FiniteFloat().convert(1, None, None)) is float


def test_help_tells_limits_where_there_are_some():
    @click.command(cls=cli.Command)
    @click.option("--a", type=cli.FiniteFloat())
    @click.option("--b", type=cli.WholeNumber())
    @click.option("--c", type=cli.WholeNumber(min=1))
    def main(**options):
        pass

    text = " ".join(main.get_help(click.Context(main)).split())
    assert "--a FLOAT --b INTEGER --c INTEGER RANGE [x>=1]" in text


def run(main: click.Command, *args: str) -> str:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    return result.stderr + result.stdout


def test_commands_read_and_write_below_home(monkeypatch, tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(), elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(home))
    size = ("--resolution=16x16", "--max-images=4")
    run(dataset_tool.main, "--source=synthetic", "--dest=~/shapes", *size)
    images = sorted(path.relative_to(home / "shapes") for path in home.rglob("*.png"))
    rows = "".join(f"{path},{i % 2}\n" for i, path in enumerate(images))
    (home / "classes.csv").write_text(rows)
    said = run(dataset_tool.main, "--source=~/shapes", "--labels=~/classes.csv", "--dest=~/two.zip")
    assert "2 classes" in said
    run(dataset_tool.main, "--inspect=~/two.zip", "--dest=~/sheet.png")
    said = run(
        train.main,
        *[
            "--outdir=~/runs",
            "--data=~/two.zip",
            "--cfg=stylegan2",
            "--gpus=1",
            "--batch=4",
            "--gamma=1",
            "-n",
        ],
    )
    assert f"Output directory:    {home}/runs/00000-stylegan2-two-gpus1-batch4-gamma1" in said
    options = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert options["training_set_kwargs"]["path"] == str(home / "two.zip")
    made = {path.name for path in home.iterdir()}
    assert made == {"shapes", "classes.csv", "two.zip", "sheet.png"}
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("main", "args", "option"),
    [
        (train.main, ["--resume=~nobody-here/run"], "--resume"),
        (dataset_tool.main, ["--source=a", "--dest=b", "--labels=~nobody-here/l.csv"], "--labels"),
        (calc_metrics.main, ["--network=a", "--detector=vgg16=~nobody-here/v.pt"], "--detector"),
        (gen_video.main, ["--network=a", "--seeds=0", "--output=~nobody-here/v.mp4"], "--output"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unknown_users_are_refused_in_one_line(main, args, option):
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert f"'{option}'" in line and "there is no user 'nobody-here'" in line
    assert "./~nobody-here/" in line


def test_the_folder_of_detectors_may_be_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, "~/detectors")
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors" / "vgg16.pt").touch()
    found = detectors.find(detectors.URLS["vgg16"])
    assert found.location == str(tmp_path / "detectors" / "vgg16.pt")


def test_a_network_may_be_named_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("~x.pkl").write_bytes(b"no pickle")
    result = CliRunner().invoke(legacy.main, ["--source=./~x.pkl", "--dest=o.pkl"])
    assert "./~x.pkl: this is not a network pickle" in result.stderr


@pytest.mark.parametrize("name", sorted(name for name in PATHS if "--detector" not in name))
def test_names_that_no_file_system_takes_are_refused_at_once(name):
    param = PATHS[name]
    for text, size in (("n" * 256, 256), (f"missing/{'数' * 86}.mp4", 262)):
        with pytest.raises(click.BadParameter, match=rf"up to 255 bytes, and here one has {size}:"):
            param.type.convert(text, param, None)


def test_long_addresses_are_no_names():
    for text in ("https://example.com/" + "n" * 300, "file:///" + "n" * 300, "n/" * 300):
        assert cli.Address().convert(text, None, None) == text
