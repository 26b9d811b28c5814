"""The table of the submodules of a network."""

import pytest
import torch

from dnnlib import util
from tests import golden
from torch_utils.module_summary import print_module_summary


class Pair(torch.nn.Module):
    """Returns several things, one of them straight from a part."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Sequential(torch.nn.Linear(2, 3))
        self.scale = torch.nn.Parameter(torch.ones([]))
        self.register_buffer("offset", torch.zeros(4))

    def forward(self, x):
        y = self.fc(x)
        return y * self.scale, None, {"y": y.half()}


def summary_rows(text: str) -> list[list[str]]:
    """Cells of a printed table without its rules."""
    rows = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.split("\n")
    ]
    return [row for row in rows if row and row[0] != "---"]


def test_summary_counts_each_tensor_once(capsys):
    net = torch.nn.Sequential(Pair())
    x = torch.ones(5, 2)
    outputs = print_module_summary(net, [x])
    torch.testing.assert_close(outputs, net(x))
    out = capsys.readouterr().out
    assert summary_rows(out) == [
        ["Sequential", "Parameters", "Buffers", "Output shape", "Datatype"],
        ["0.fc.0", "9", "-", "[5, 3]", "float32"],
        ["0:0", "1", "4", "[5, 3]", "float32"],
        ["0:1", "-", "-", "[5, 3]", "float16"],
        ["Total", "10", "4", "-", "-"],
    ]
    lines = out.strip("\n").split("\n")
    assert len({line.rstrip().find("Parameters") for line in lines[:1]}) == 1
    assert lines[2].index("9") == lines[3].index("1", 4) == lines[0].index("Parameters")


def test_summary_shows_redundant_calls_on_request(capsys):
    print_module_summary(torch.nn.Sequential(Pair()), [torch.ones(5, 2)], skip_redundant=False)
    names = [row[0] for row in summary_rows(capsys.readouterr().out)]
    expected = ["0.fc.0", "0.fc", "0:0", "0:1", "<top-level>:0", "<top-level>:1"]
    assert names == ["Sequential", *expected, "Total"]


def test_summary_counts_hidden_parts_for_those_above(capsys):
    net = torch.nn.Sequential(Pair())
    for nesting, expected in [(1, ["0:0", "0:1"]), (0, ["<top-level>:0", "<top-level>:1"])]:
        print_module_summary(net, [torch.ones(5, 2)], max_nesting=nesting)
        rows = summary_rows(capsys.readouterr().out)
        assert [row[0] for row in rows[1:-1]] == expected
        assert rows[1][1:3] == rows[-1][1:3] == ["10", "4"]


def test_summary_takes_its_hooks_away_after_an_error():
    net = torch.nn.Sequential(Pair())
    with pytest.raises(RuntimeError):
        print_module_summary(net, [torch.ones(5, 7)])
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("run", ["stylegan2", "stylegan3-r"])
def test_summary_of_networks_matches_golden_tables(run, capsys):
    run_data = golden.load_json("run_artifacts.json")["runs"][run]
    version = run.removesuffix("-r")
    G = util.construct_class_by_name(
        class_name=f"training.networks_{version}.Generator", **run_data["G_init_kwargs"]
    )
    D = util.construct_class_by_name(
        class_name="training.networks_stylegan2.Discriminator", **run_data["D_init_kwargs"]
    )
    z, c = torch.randn(8, G.z_dim), torch.zeros(8, G.c_dim)
    with torch.no_grad():
        img = print_module_summary(G, [z, c])
        rows_of_G = summary_rows(capsys.readouterr().out)
        print_module_summary(D, [img, c])
        rows_of_D = summary_rows(capsys.readouterr().out)
    assert rows_of_G[1:] == run_data["module_summary_table"]["Generator"]
    assert rows_of_D[1:] == run_data["module_summary_table"]["Discriminator"]
