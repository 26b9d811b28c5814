"""The environment variable that lets code in files run: which words switch it on and off."""

import io
import pickle

import click
import pytest
from click.testing import CliRunner

import legacy
from dnnlib import cli, trust
from dnnlib.options import allow_untrusted_option

ON = ["1", "true", "TRUE", "yes", "Yes", "on", " on "]
OFF = ["", "0", "false", "False", "no", "NO", "off"]
NEITHER = ["maybe", "2", "t", "-1", "enable\x1b[2J"]


class Code:
    """Pickles as a call of a function that networks do not need."""

    def __reduce__(self):
        return dict, ((("G_ema", None),),)


@click.command(cls=cli.Command)
@allow_untrusted_option
def show(allow_untrusted: bool) -> None:
    click.echo(f"allowed: {allow_untrusted}")


def load(allow_untrusted: bool | None = None) -> None:
    data = io.BytesIO(pickle.dumps(Code()))
    legacy.load_network_pkl(data, name="file", allow_untrusted=allow_untrusted)


@pytest.mark.parametrize("value", [*ON, *OFF])
def test_option_and_loader_agree_on_the_variable(value, monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, value)
    is_on = value in ON
    assert trust.is_allowed_by_environment() == is_on
    assert CliRunner().invoke(show).output == f"allowed: {is_on}\n"
    if is_on:
        with pytest.warns(UserWarning, match="Running the code"), pytest.raises(ValueError):
            load()
    else:
        with pytest.raises(ValueError, match=r"it asks for builtins\.dict"):
            load()


@pytest.mark.parametrize("value", NEITHER)
def test_other_values_of_the_variable_are_refused_in_one_line(value, monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, value)
    with pytest.raises(ValueError, match="means neither on nor off"):
        load()
    result = CliRunner().invoke(show)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {trust.VARIABLE}=") and line.isprintable()


def test_an_argument_or_the_option_counts_more_than_the_variable(monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, "off")
    assert CliRunner().invoke(show, ["--allow-untrusted"]).output == "allowed: True\n"
    monkeypatch.setenv(trust.VARIABLE, "on")
    with pytest.raises(ValueError, match=r"it asks for builtins\.dict"):
        load(allow_untrusted=False)
    monkeypatch.delenv(trust.VARIABLE)
    assert CliRunner().invoke(show).output == "allowed: False\n"
