"""Gradients that are not finite are replaced, counted, and finally stop the run."""

import pytest
import torch

from training.health import Health, TrainingDiedError

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def health() -> Health:
    return Health(["Gmain", "Dmain"], max_bad_steps=3, device=torch.device("cpu"))


@pytest.fixture
def network() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


def step(health: Health, phase: str, *values: float) -> torch.Tensor:
    return health.make_finite(phase, torch.tensor(values))


def test_gradients_become_finite_and_are_counted(health):
    assert step(health, "Gmain", NAN, INF, -INF, 2.5).tolist() == [0, 1e5, -1e5, 2.5]
    step(health, "Dmain", NAN, 1)
    assert health.take_num_replaced() == 4
    assert health.take_num_replaced() == 0


def test_few_overflows_are_no_reason_to_stop(health, network):
    for _ in range(10):
        step(health, "Gmain", INF, 1, 1, 1)
    health.check({"G": network})
    assert health.is_sound()


def test_losses_that_stay_nan_are(health, network):
    for _ in range(2):
        step(health, "Gmain", 1, 1)
        step(health, "Dmain", NAN, NAN)
    health.check({"D": network})
    assert not health.is_sound()
    step(health, "Dmain", NAN, NAN)
    with pytest.raises(TrainingDiedError, match="of Dmain have not been finite for 3 steps; all w"):
        health.check({"D": network})
    with torch.no_grad():
        network.bias[0] = NAN
    with pytest.raises(TrainingDiedError, match="the weights of D are not finite"):
        health.check({"G": torch.nn.Linear(1, 1), "D": network})


def test_one_good_step_starts_the_count_again(health, network):
    for _ in range(5):
        step(health, "Dmain", NAN, NAN)
        step(health, "Dmain", NAN, NAN)
        step(health, "Dmain", 1, 1)
    health.check({"D": network})
    assert health.is_sound()


def test_steps_known_to_be_finite_count_as_good(health, network):
    for _ in range(2):
        step(health, "Dmain", NAN, NAN)
    health.count_finite("Dmain")
    assert health.is_sound()
    assert health.take_num_replaced() == 2 * 2
