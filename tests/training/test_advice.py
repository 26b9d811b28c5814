"""`train.py` accepts all starting points, on any machine and for any size of images."""

import dataclasses
import itertools

import pytest

import train
from training import advice
from training.config import CFGS, TrainOptions, make_config, suggest_gamma


@pytest.mark.parametrize("cfg", CFGS)
def test_starting_points_are_runs(cfg):
    sizes, gpus = (8, 32, 128, 200, 256, 512, 1024, 4096), (0, 1, 2, 3, 6, 8, 12, 16, 100)
    for resolution, num_gpus in itertools.product(sizes, gpus):
        options = advice.starting_point(cfg, resolution, num_gpus)
        arguments = ["--outdir=runs", "--data=data.zip", *advice.as_arguments(options).split()]
        params = train.main.make_context("train", arguments).params
        names = {field.name for field in dataclasses.fields(TrainOptions)}
        config = make_config(TrainOptions(**{k: v for k, v in params.items() if k in names}), {})
        assert 0 < config.num_gpus <= max(num_gpus, 1)
        assert config.batch_gpu % config.D_kwargs["epilogue_kwargs"]["mbstd_group_size"] == 0
        gamma = suggest_gamma(cfg, resolution, config.batch_size)
        if num_gpus == 0:
            gamma = max(gamma, advice.CPU_MIN_GAMMA)
        assert config.loss_kwargs["r1_gamma"] == pytest.approx(gamma, rel=0.05)


def test_small_images_have_half_the_capacity():
    for cfg, gpus in itertools.product(CFGS, (1, 8)):
        assert advice.starting_point(cfg, 256, gpus)["cbase"] == "16384"
        assert "cbase" not in advice.starting_point(cfg, 512, gpus)
