"""`benchmarks.launches` counts what a GPU would launch: little besides networks and losses."""

import subprocess

import pytest
import torch
from click.testing import CliRunner

from benchmarks import launch_counts, launches
from benchmarks.launch_counts import CHUNK, META, OTHERS, LaunchCounter
from benchmarks.networks import Setup
from torch_utils.ops import bias_act
from training import ema, gradients
from training.health import Health

TINY = dict(resolution=16, batch=8, cbase=256, cmax=8)


def count(function, cuda: int = 13) -> int:
    counter = LaunchCounter(cuda)
    with counter, counter.activate():
        function()
    return sum(counter.counts.values())


def test_views_and_allocations_launch_nothing():
    x = torch.empty(4, 6, device=META)
    assert count(lambda: x.t().reshape(2, 3, 4)[:, 1].expand(5, 2, 4).detach()) == 0
    assert count(lambda: x.t().reshape(-1)) == 1
    assert count(lambda: torch.empty_like(x).split(2)) == 0
    assert count(lambda: (x[:0] + 1, torch.ones(3) + 1)) == 0  # nothing to do; on the CPU
    assert count(lambda: (x + 1).sum().mul_(2)) == 3
    assert count(lambda: bias_act.bias_act(x, torch.empty(6, device=META), act="lrelu")) == 1


def test_convolution_gradients_launch_one_kernel_each():
    x, w = torch.empty(2, 3, 8, 8, device=META), torch.empty(4, 3, 3, 3, device=META)
    w.requires_grad_()
    y = torch.nn.functional.conv2d(x, w).sum()
    assert count(lambda: torch.autograd.grad(y, w)) == 1 + 1  # the gradient of the sum: `ones_like`


@pytest.mark.parametrize(
    ("cuda", "sizes", "expected"),
    [
        (12, [1] * 64, 1),
        (12, [1] * 65, 2),
        (13, [1] * 448, 1),
        (13, [1] * 449, 2),
        (12, [CHUNK * 320], 1),
        (12, [CHUNK * 321], 2),
        (12, [CHUNK * 321] * 3, 4),
        (13, [CHUNK * 2240 + 1], 2),
    ],
)
def test_lists_are_cut_as_pytorch_cuts_them(cuda, sizes, expected):
    lists = [[torch.empty(size, device=META) for size in sizes] for _ in range(2)]
    assert count(lambda: torch._foreach_lerp_(*lists, 0.1), cuda) == expected


@pytest.mark.parametrize("cfg", ["stylegan3-t", "stylegan3-r", "stylegan2"])
def test_training_launches_few_kernels_besides_networks_and_losses(cfg):
    result = launch_counts.measure(cfg, **TINY, cuda=13, num_runs=1)
    by_place = {place: launches.per_iteration(result, [place]) for place in OTHERS}
    assert sum(by_place.values()) <= 40, by_place
    assert all(by_place.values()) and result["cpu_sec"] > 0
    assert launches.per_iteration(result, launch_counts.NETWORKS) > 500


def test_steps_take_as_many_launches_for_any_number_of_parameters():
    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(50))).to(META)
    average = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(50))).to(META)
    for param in net.parameters():
        param.grad = torch.empty_like(param)
    health = Health(["Gmain"], 3, META)

    def step() -> None:
        gradients.replace(net, health.make_finite("Gmain", gradients.join(net)))
        ema.update_ema(average, net, 0.9)

    assert count(step) <= 8 + 1


def test_command_prints_both_versions_side_by_side():
    options = ["--configs=stylegan2", "--resolution=16", "--batch=8", "--cbase=256", "--cmax=8"]
    checkout = f"--checkout={launches.PROJECT_DIR}"
    result = CliRunner().invoke(launches.main, [*options, "--repeat=1", checkout])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("stylegan2 ")]
    assert [row[1] for row in rows] == ["Gmain", "Greg", "Dmain", "Dreg", "iteration", "per"]
    assert all(row[-3] == row[-1] and row[-2] == ">" for row in rows)
    assert "(1.00x); others" in result.stdout


def test_checkout_that_cannot_be_measured_is_named(monkeypatch, tmp_path):
    done = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: no such name\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    result = CliRunner().invoke(launches.main, ["--configs=stylegan2", f"--checkout={tmp_path}"])
    assert result.exit_code != 0
    assert f"{tmp_path} cannot be measured: ImportError: no such name" in str(result.output)


def test_other_versions_of_cuda_are_refused():
    result = CliRunner().invoke(launches.main, ["--cuda=11"])
    assert result.exit_code == 2 and "must be 12 or 13, got 11" in result.output


def test_setup_of_the_benchmark_is_that_of_training():
    with launch_counts.meta_trainer(Setup("stylegan2", **TINY)) as trainer:
        assert trainer.ada is not None and trainer.augment_pipe is not None
        assert all(p.optimizer.param_groups[0]["fused"] for p in trainer.phases)
