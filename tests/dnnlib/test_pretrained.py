"""Addresses of networks in the box, with a folder of two files in place of the box."""

import click
import pytest
from click.testing import CliRunner

from dnnlib import cli, options, pretrained, util
from dnnlib.addresses import is_address


@pytest.fixture
def box(monkeypatch, tmp_path):
    folder = tmp_path / "box"
    folder.mkdir()
    for name in ("shapes-t", "faces-stylegan2"):
        (folder / f"{name}.safetensors").write_bytes(name.encode())
    (folder / "shapes-t.md").write_text("a card")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return folder


def test_an_address_opens_its_file_from_any_folder(box):
    assert pretrained.addresses() == ["pretrained:faces-stylegan2", "pretrained:shapes-t"]
    with util.open_url("pretrained:shapes-t") as f:
        assert f.read() == b"shapes-t"
    path = util.open_url("pretrained:shapes-t", return_filename=True)
    assert path == str(box / "shapes-t.safetensors")


def test_addresses_are_neither_urls_nor_paths(box):
    assert is_address("pretrained:shapes-t") and not util.is_url("pretrained:shapes-t", True)
    assert is_address("https://example.com/x.pkl") and is_address("file:///x.pkl")
    assert not is_address("shapes-t") and not is_address("./pretrained:shapes-t")


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("pretrained:shape-t", "did you mean pretrained:shapes-t?"),
        ("pretrained:Shapes-T", "did you mean pretrained:shapes-t?"),
        ("pretrained:nothing-alike", "there is no such network."),
        ("pretrained:", "there is no such network"),
        ("pretrained:../box/shapes-t", "there is no such network"),
        ("pretrained:shapes-t.safetensors", "did you mean pretrained:shapes-t?"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_exist(address, hint, box):
    with pytest.raises(ValueError, match="In the box: ") as info:
        util.open_url(address)
    text = str(info.value)
    assert text.startswith(f"{address}: ") and hint in text and "\n" not in text
    assert text.endswith("In the box: pretrained:faces-stylegan2, pretrained:shapes-t")


def test_a_name_without_prefix_is_recognised_where_there_is_no_such_file(box):
    with pytest.raises(ValueError, match="shapes-t: no such file; did you mean pretrained:"):
        util.open_url("shapes-t")
    with open("shapes-t", "wb") as f:
        f.write(b"mine")
    with util.open_url("shapes-t") as f:
        assert f.read() == b"mine"
    with pytest.raises(FileNotFoundError):
        util.open_url("other")


def test_a_missing_network_option_says_what_is_in_the_box(box, monkeypatch):
    @click.command(cls=cli.Command)
    @options.network_option
    def command(network):
        pass

    result = CliRunner().invoke(command, [])
    assert result.exit_code == 2
    listed = "In the box: pretrained:faces-stylegan2, pretrained:shapes-t"
    assert f"Missing option '--network'. {listed}" in result.output
    monkeypatch.setattr(pretrained, "FOLDER", box / "nowhere")
    result = CliRunner().invoke(command, [])
    assert "Missing option '--network'." in result.output and "box" not in result.output
    with pytest.raises(ValueError, match="there is no network in "):
        util.open_url("pretrained:shapes-t")
