"""The scalar rules of the training loop, against worked examples."""

from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests import golden
from torch_utils import training_stats
from training import ada, ema, phases
from training.config import TrainOptions, make_config

GOLDEN = golden.load_json("training_schedules.json")


def exactly(value: float | list[float]):
    return pytest.approx(value, rel=1e-12, abs=0)


class Pipe(torch.nn.Module):
    """The part of an augmentation pipe that the adaptation uses."""

    def __init__(self, p: float = 0) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p, dtype=torch.float32))


class Signs(dict):
    """The part of a collector that the adaptation uses."""

    def update(self) -> None:
        pass


def test_augmentation_strength_stays_when_the_discriminator_is_lost():
    assert ada.ada_step(float("nan"), 0.6, num_images=100, ada_kimg=1) == 0


@pytest.mark.parametrize("case", GOLDEN["ada"])
def test_augmentation_strength_steps_as_in_the_reference(case):
    num_images = case["batch_size"] * case["ada_interval"]
    step = ada.ada_step(case["mean_sign_real"], case["ada_target"], num_images, case["ada_kimg"])
    assert step == exactly(case["adjust"])

    pipe = Pipe(case["p"])
    adaptive = ada.AdaptiveAugment(
        pipe, target=case["ada_target"], interval=case["ada_interval"], kimg=case["ada_kimg"]
    )
    adaptive.signs = Signs({"Loss/signs/real": case["mean_sign_real"]})
    adaptive.after_batch(3 * case["ada_interval"], case["batch_size"])
    assert pipe.p.dtype == torch.float32
    assert float(pipe.p) == pytest.approx(case["new_p"], rel=1e-7, abs=0)


def test_augmentation_follows_the_signs_reported_since_the_last_adjustment():
    training_stats.Collector().update()  # forget the reports of other tests
    pipe = Pipe(0.5)
    adaptive = ada.AdaptiveAugment(pipe, target=0.6, interval=2, kimg=1)
    strengths = []
    for batch_idx, signs in enumerate([[1, 1], [1, 1], [1, -1], [1, 1], [-1, 1], [1, 1]], start=1):
        training_stats.report("Loss/signs/real", torch.tensor(signs))
        adaptive.after_batch(batch_idx, batch_size=10)
        strengths.append(float(pipe.p))
    # Means per two batches: 1, 0.5, 0.5; steps of 2 * 10 images in 1 kimg.
    assert strengths == pytest.approx([0.5, 0.52, 0.52, 0.5, 0.5, 0.48])


@pytest.mark.parametrize(
    ("start", "max_p", "expected"), [(0.5, 0.505, 0.505), (0.9, 0.3, 0.3), (1, None, 1.02)]
)
def test_augmentation_strength_stays_below_a_limit(start, max_p, expected):
    pipe = Pipe(start)
    adaptive = ada.AdaptiveAugment(pipe, target=0.6, interval=2, kimg=1, max_p=max_p)
    adaptive.signs = Signs({"Loss/signs/real": 1.0})
    adaptive.after_batch(2, batch_size=10)
    assert float(pipe.p) == pytest.approx(expected)


@pytest.mark.parametrize("case", GOLDEN["ema"])
def test_ema_beta_matches_reference(case):
    beta = ema.ema_beta(case["batch_size"], case["cur_nimg"], case["ema_kimg"], case["ema_rampup"])
    assert beta == exactly(case["ema_beta"])


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_parameters_are_averaged_and_buffers_copied(beta):
    average, current = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(average.weight, 8)
    torch.nn.init.constant_(current.weight, 4)
    current.running_mean.fill_(5)
    current.num_batches_tracked.fill_(7)
    ema.update_ema(average, current, beta)
    assert average.weight.tolist() == [8 * beta + 4 * (1 - beta)] * 3
    assert average.running_mean.tolist() == [5] * 3
    assert int(average.num_batches_tracked) == 7
    assert current.weight.tolist() == [4] * 3


class NewBytes(TorchDispatchMode):
    """Notes how many bytes the results of each operation take."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {t.data_ptr() for t in pytree.tree_leaves(args) if isinstance(t, torch.Tensor)}
        new = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        num_bytes = sum(t.nbytes for t in new if t.data_ptr() not in given)
        self.largest = max(self.largest, num_bytes)
        return result


@pytest.mark.parametrize("beta", [0, 0.5, 0.9])
def test_averaging_never_copies_all_weights_at_once(beta):
    average, current = (torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(9)) for _ in "ab")
    with NewBytes() as new:
        ema.update_ema(average, current, beta)
    assert new.largest <= current[0].weight.nbytes


@pytest.mark.parametrize("beta", [0, 0.3, 0.5, 0.5000001, 0.9, 0.99789, 1 - 1e-7, 1])
def test_average_has_the_bits_of_lerp(beta):
    torch.manual_seed(0)
    average, current = torch.nn.Linear(64, 65), torch.nn.Linear(64, 65)
    expected = [
        c.lerp(a, beta) for a, c in zip(average.parameters(), current.parameters(), strict=True)
    ]
    ema.update_ema(average, current, beta)
    for got, wanted in zip(average.parameters(), expected, strict=True):
        assert torch.equal(got, wanted)


def _adam(device: str, **options: Any) -> torch.optim.Adam:
    """An optimizer of one parameter on a device; `fused` as on CUDA, if given."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2, device=device))], lr=0.1)
    optimizer.param_groups[0].update(options)
    return optimizer


@pytest.mark.parametrize("is_saved_fused", [False, True])
@pytest.mark.parametrize("is_fused", [False, True])
def test_state_of_an_optimizer_goes_from_device_to_device(is_saved_fused, is_fused):
    """The meta device stands for CUDA, where steps are counted on the device."""
    saved = _adam("cpu", fused=is_saved_fused or None, lr=0.5)
    for _ in range(3):
        saved.param_groups[0]["params"][0].grad = torch.ones(2)
        saved.step()
    state = saved.state_dict()
    optimizer = _adam("meta" if is_fused else "cpu", fused=is_fused or None)
    phases.load_optimizer(optimizer, state)
    (group,) = optimizer.param_groups
    assert (group["fused"], group["lr"]) == (is_fused or None, 0.1)
    (moments,) = optimizer.state.values()
    assert moments["step"].dtype == torch.float32
    assert moments["step"].device.type == moments["exp_avg"].device.type
    if not is_fused:
        assert float(moments["step"]) == 3
        assert torch.equal(moments["exp_avg"], saved.state_dict()["state"][0]["exp_avg"])
        group["params"][0].grad = torch.ones(2)
        optimizer.step()


def test_steps_that_a_gpu_has_counted_come_back_to_the_cpu():
    saved = _adam("cpu")
    saved.param_groups[0]["params"][0].grad = torch.ones(2)
    saved.step()
    state = saved.state_dict()
    moved = []

    class OnGpu(torch.Tensor):
        def cpu(self):
            moved.append(True)
            return torch.tensor(float(self))

    state["state"][0]["step"] = state["state"][0]["step"].as_subclass(OnGpu)
    optimizer = _adam("cpu")
    phases.load_optimizer(optimizer, state)
    assert moved and type(optimizer.state_dict()["state"][0]["step"]) is torch.Tensor


def test_fused_optimizer_where_pytorch_has_one():
    assert phases.device_options(torch.device("cuda", 1)) == dict(fused=True)
    assert phases.device_options(torch.device("cpu")) == dict(fused=True)
    assert phases.device_options(torch.device("mps")) == {}


def test_fused_optimizer_takes_the_steps_of_the_usual_one():
    torch.manual_seed(0)
    start, grads = torch.randn(7, 5), torch.randn(10, 7, 5)
    results = []
    for fused in (None, True):
        param = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.Adam([param], lr=0.002, betas=(0.0, 0.99), eps=1e-8, fused=fused)
        for grad in grads:
            param.grad = grad.clone()
            optimizer.step()
        results.append(param.detach())
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["lazy_adam"])
def test_lazy_regularisation_matches_reference(case):
    opt_kwargs = dict(class_name="torch.optim.Adam", lr=case["lr"], betas=case["betas"], eps=1e-8)
    if case["reg_interval"] is not None:
        adjusted = phases.lazy_optimizer_kwargs(opt_kwargs, case["reg_interval"])
        assert adjusted["lr"] == exactly(case["new_lr"])
        assert adjusted["betas"] == exactly(case["new_betas"])
        assert (adjusted["class_name"], adjusted["eps"]) == ("torch.optim.Adam", 1e-8)

    module = torch.nn.Linear(2, 1)
    made = phases.make_phases("D", module, opt_kwargs, case["reg_interval"])
    assert [_describe(phase) for phase in made] == case["phases"]
    for phase in made:
        assert phase.module is module
        assert phase.optimizer is made[0].optimizer
    (group,) = made[0].optimizer.param_groups
    assert group["lr"] == exactly(case["new_lr"])
    assert list(group["betas"]) == exactly(case["new_betas"])
    assert opt_kwargs["betas"] == case["betas"]

    module(torch.ones(1, 2)).sum().backward()  # Adam accepts the betas when it steps, too
    made[0].optimizer.step()
    assert all(torch.isfinite(param).all() for param in module.parameters())


def _describe(phase: phases.Phase) -> str:
    kind = phase.name.removeprefix("D")
    gain = f", gain {phase.interval}" if kind == "reg" else ""  # the gain is the interval
    return f"{kind} (interval {phase.interval}{gain})"


@pytest.mark.parametrize("case", GOLDEN["derived"], ids=lambda case: f"batch{case['batch_size']}")
def test_values_derived_from_the_batch_size_match_reference(case):
    options = TrainOptions(cfg="stylegan3-r", gpus=1, batch=case["batch_size"], gamma=1)
    config = make_config(options, {})
    assert config.ema_kimg == exactly(case["ema_kimg"])
    assert config.G_kwargs["magnitude_ema_beta"] == exactly(case["magnitude_ema_beta"])
    assert config.loss_kwargs["blur_fade_kimg"] == exactly(case["blur_fade_kimg"])


def test_timer_measures_the_last_execution(monkeypatch):
    times = iter([10.0, 10.5, 20.0, 20.25])
    monkeypatch.setattr(phases, "_now", lambda: next(times))
    timer = phases.Timer()
    assert timer.ms is None
    for ms in (500, 250):
        with timer:
            pass
        assert timer.ms == pytest.approx(ms)
