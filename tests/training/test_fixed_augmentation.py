"""`--aug=fixed`: no pipe for a probability of zero, and a new `--p` for a continued run."""

import dataclasses
from unittest import mock

import pytest
import torch

from tests.training.test_continuation import make_run, make_trainer
from torch_utils.distributed import Worker
from training import checkpoint, kernels, log
from training.augment import AugmentPipe

STARTED_WITH = 0.2  # the default of --p


def trainer_of(tmp_path, p: float, state=None):
    run_dir = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    config = make_run(run_dir, "stylegan3-t")
    assert config.augment_p == STARTED_WITH and config.ada_target is None
    trainer = make_trainer(dataclasses.replace(config, augment_p=p), state=state)
    trainer.log.close()
    return trainer


def saved_state(trainer) -> dict:
    with mock.patch.object(log.RunLog, "num_bytes", return_value=0):
        return trainer.state_dict()


@pytest.mark.parametrize(
    ("p", "ada_target", "expected"),
    [(0, None, False), (0.2, None, True), (1, None, True), (0, 0.6, True), (0, 0.0, True)],
)
def test_only_a_strength_makes_an_augmentation(p, ada_target, expected, tmp_path):
    config = make_run(tmp_path / "run", "stylegan3-t")
    config = dataclasses.replace(config, augment_p=p, ada_target=ada_target)
    assert config.is_augmented == expected
    assert not dataclasses.replace(config, augment_kwargs=None).is_augmented
    # The options in the folder of the run stay as published.
    assert config.to_dict()["augment_kwargs"]["class_name"] == "training.augment.AugmentPipe"


def test_probability_of_zero_runs_no_pipe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(AugmentPipe, "forward", None)  # would fail when called
    trainer = trainer_of(tmp_path, 0)
    assert "Augmentation: off" in capsys.readouterr().out
    trainer._train_batch()
    assert trainer.augment_pipe is None and "augment_pipe" not in saved_state(trainer)["networks"]
    config = dataclasses.replace(trainer.config, batch_gpu=2)
    kernels.launch_all(config, c_dim=0, img_resolution=8, img_channels=1)


def test_probability_of_zero_trains_as_without_augmentation(tmp_path):
    results = []
    for changes in (dict(augment_p=0), dict(augment_kwargs=None, augment_p=0)):
        config = make_run(tmp_path / f"run{len(results)}", "stylegan3-t")
        trainer = make_trainer(dataclasses.replace(config, **changes), Worker())
        trainer._train_batch()
        trainer.log.close()
        results.append((trainer.G.state_dict(), torch.get_rng_state()))
    (weights, generator), (weights_without, generator_without) = results
    assert torch.equal(generator, generator_without)  # nothing was drawn for a pipe
    assert all(torch.equal(weights[name], weights_without[name]) for name in weights)


@pytest.mark.parametrize("before", [0, STARTED_WITH])
@pytest.mark.parametrize("after", [0, STARTED_WITH, 0.7])
def test_continued_run_takes_the_new_probability(before, after, tmp_path):
    state = saved_state(trainer_of(tmp_path, before))
    path = tmp_path / "states"
    path.mkdir()
    checkpoint.save(path, state, 0, 1)
    trainer = trainer_of(tmp_path, after, checkpoint.load(checkpoint.states(path)[0]))
    trainer._train_batch()
    strength = 0.0 if trainer.augment_pipe is None else float(trainer.augment_pipe.p)
    assert strength == pytest.approx(after)
    assert (trainer.augment_pipe is None) == (after == 0)
