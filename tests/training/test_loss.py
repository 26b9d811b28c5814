"""The training phases against reference gradients, statistics and states."""

import numpy as np
import pytest
import torch

import dnnlib
from tests import golden
from torch_utils import training_stats
from torch_utils.ops import selection
from training.augment import AugmentPipe
from training.loss import StyleGAN2Loss
from training.networks_stylegan2 import Discriminator, Generator

FILE = "loss.npz"
CASES = [name for name in golden.case_names(FILE) if not name.endswith("/data")]


@pytest.mark.parametrize("name", CASES)
def test_phase_matches_golden(name):
    case = golden.load(FILE)[name]
    group, phase = name.split("/")
    data = golden.load(FILE)[f"{group}/data"]
    meta = data.meta
    G, D = _networks(meta)
    trained = G if phase.startswith("G") else D
    trained.requires_grad_(True)
    augment_kwargs = meta.get("augment_kwargs")
    pipe = None if augment_kwargs is None else AugmentPipe(**augment_kwargs).train()
    loss = StyleGAN2Loss(torch.device("cpu"), G, D, augment_pipe=pipe, **meta["loss_kwargs"])
    training_stats.Collector().update()  # forgets the reports of earlier tests
    collector = training_stats.Collector(regex="Loss/.*", keep_previous=False)

    torch.manual_seed(0)
    inputs = {key: golden.tensor(data, key) for key in ("real_img", "real_c", "gen_z", "gen_c")}
    for _ in range(meta["calls"]):
        loss.accumulate_gradients(
            phase, gain=case.meta["gain"], cur_nimg=meta["cur_nimg"], **inputs
        )
    collector.update()

    params = dict(trained.named_parameters())
    got_names = {key for key, p in params.items() if p.grad is not None}
    grads = {key: p.grad for key, p in params.items()}
    if case.meta["grads_none"] == "all":
        assert not got_names
    else:
        names = case.meta["grad_norm_names"]
        # Adam takes a step for a gradient of zero, and none without a gradient.
        missing = [key for key in names if key not in got_names]
        assert got_names <= set(names)
        if "pl" in group and meta["G"].startswith("networks_stylegan3"):
            # Gradients of filtered_lrelu, which keeps no output, may be missing in place of zero.
            missing = [key for key in missing if case.arrays["grad_norms"][names.index(key)] > 0]
            grads |= {key: torch.zeros_like(p) for key, p in params.items() if p.grad is None}
        assert not missing
        for key, want in zip(names, case.arrays["grad_norms"], strict=True):
            rel = 1e-3 if "noise_strength" in key or grads[key].numel() == 1 else 2e-4
            assert grads[key].double().norm().item() == pytest.approx(want, rel=rel, abs=1e-9), key
    for key in [key for key in case.arrays if key.startswith("grad:")]:
        is_loose = "noise_strength" in key or "pl" in group or phase in ("Greg", "Gboth")
        error = golden.scaled_error(grads[key.removeprefix("grad:")], case.arrays[key])
        assert error < (1e-3 if is_loose else 5e-4), f"{key}: {error}"

    for key, (num, mean, std) in _stats(case.meta["stats"]).items():
        assert collector.num(key) == num, key
        np.testing.assert_allclose(collector.mean(key), mean, rtol=1e-4, atol=1e-4, err_msg=key)
        np.testing.assert_allclose(collector.std(key), std, rtol=1e-3, atol=1e-3, err_msg=key)
    got_stats = {key for key in collector.names() if collector.num(key) > 0}
    assert got_stats == set(case.meta["stats"])
    assert loss.pl_mean.item() == pytest.approx(case.meta["pl_mean_after"], rel=1e-5)
    if "w_avg_after" in case.arrays:
        assert golden.scaled_error(G.mapping.w_avg, case.arrays["w_avg_after"]) < 5e-6
    if "magnitude_ema_after" in case.arrays:
        emas = [v for key, v in G.named_buffers() if key.endswith("magnitude_ema")]
        assert golden.scaled_error(torch.stack(emas), case.arrays["magnitude_ema_after"]) < 1e-6


TORGB_BIASES = [f"synthesis.b{res}.torgb.bias" for res in (4, 8, 16)]


@pytest.mark.parametrize("is_reference", [False, True], ids=["kernels", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("conv_clamp", [256, 0.5, None])
@pytest.mark.parametrize("fused", [True, "inference_only"])
@pytest.mark.parametrize(
    ("phase", "none", "zero"),
    [
        ("Gmain", [], []),
        ("Greg", TORGB_BIASES, []),
        ("Gboth", [], []),
        ("Dmain", [], []),
        ("Dreg", ["b4.out.bias"], ["b4.conv.bias", "b4.fc.bias"]),
        ("Dboth", [], []),
    ],
)
def test_parameters_without_influence_get_no_gradient_or_zeros_as_published(
    phase, none, zero, fused, conv_clamp, dtype, is_reference
):
    torch.manual_seed(0)
    common = dict(channel_base=64, channel_max=8, num_fp16_res=0, conv_clamp=conv_clamp)
    G = Generator(
        8, 0, 8, 16, 3, mapping_kwargs=dict(num_layers=2), fused_modconv_default=fused, **common
    )
    D = Discriminator(0, 16, 3, **common)
    G, D = (net.to(dtype).train().requires_grad_(False) for net in (G, D))
    trained = (G if phase.startswith("G") else D).requires_grad_(True)
    loss = StyleGAN2Loss(torch.device("cpu"), G, D, pl_weight=2, pl_no_weight_grad=True)
    loss.pl_mean = loss.pl_mean.to(dtype)
    img, z = torch.randn(4, 3, 16, 16, dtype=dtype), torch.randn(4, 8, dtype=dtype)
    c = torch.zeros(4, 0, dtype=dtype)
    with selection.force_reference(is_reference):
        loss.accumulate_gradients(phase, img, c, z, c, gain=1, cur_nimg=0)
    grads = {name: param.grad for name, param in trained.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None] == none
    found = [name for name, grad in grads.items() if grad is not None and not grad.any()]
    assert found == zero


def test_adam_leaves_biases_alone_where_the_path_length_does_not_depend_on_them():
    torch.manual_seed(0)
    G = Generator(8, 0, 8, 16, 3, channel_base=64, channel_max=8, num_fp16_res=0, conv_clamp=256)
    D = Discriminator(0, 16, 3, channel_base=64, channel_max=8, num_fp16_res=0)
    D.requires_grad_(False)
    optimizer = torch.optim.Adam(G.parameters(), betas=(0.0, 0.99))
    loss = StyleGAN2Loss(torch.device("cpu"), G, D, pl_weight=2)
    z, c = torch.randn(4, 8), torch.zeros(4, 0)
    for phase in ("Gmain", "Greg", "Greg"):
        loss.accumulate_gradients(phase, None, None, z, c, gain=1, cur_nimg=0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    steps = {name: int(optimizer.state[p]["step"]) for name, p in G.named_parameters()}
    assert {name for name, num in steps.items() if num == 1} == set(TORGB_BIASES)
    assert set(steps.values()) == {1, 3}


@pytest.mark.parametrize("example", golden.load_json("training_schedules.json")["blur"])
def test_blur_schedule_matches_golden(example):
    loss = StyleGAN2Loss(
        torch.device("cpu"),
        G=None,
        D=lambda img, c, update_emas: img,
        blur_init_sigma=example["blur_init_sigma"],
        blur_fade_kimg=example["blur_fade_kimg"],
    )
    sigma = loss.blur_sigma(example["cur_nimg"])
    assert sigma == pytest.approx(example["sigma"], rel=1e-12)
    # An impulse shows the taps of the filter before the discriminator.
    size = 2 * example["half_size"] + 5
    impulse = torch.zeros(1, 1, size, size)
    impulse[0, 0, size // 2, size // 2] = 1
    blurred = loss._run_D(impulse, None, sigma)
    assert (blurred[0, 0].amax(dim=0) > 0).sum() == max(example["num_taps"], 1)
    if example["taps"] is not None:
        want = np.outer(example["taps"], example["taps"])
        np.testing.assert_allclose(blurred[0, 0, 2:-2, 2:-2].numpy(), want, rtol=1e-5, atol=1e-8)


def test_path_length_of_a_single_sample_is_finite():
    data = golden.load(FILE)["s2_16_pl/data"]
    G, D = _networks(data.meta)
    loss = StyleGAN2Loss(torch.device("cpu"), G.requires_grad_(True), D, pl_weight=2)
    z, c = golden.tensor(data, "gen_z")[:1], golden.tensor(data, "gen_c")[:1]
    loss.accumulate_gradients("Greg", None, None, z, c, gain=4, cur_nimg=0)
    assert loss.pl_mean.isfinite() and loss.pl_mean > 0


def test_unknown_phase_is_refused():
    loss = StyleGAN2Loss(torch.device("cpu"), G=None, D=None)
    with pytest.raises(ValueError, match="`phase` must be one of"):
        loss.accumulate_gradients("Gsome", None, None, None, None, gain=1, cur_nimg=0)


def _networks(meta: dict) -> tuple[torch.nn.Module, torch.nn.Module]:
    G = dnnlib.util.construct_class_by_name(class_name=f"training.{meta['G']}", **meta["G_kwargs"])
    D = dnnlib.util.construct_class_by_name(
        class_name="training.networks_stylegan2.Discriminator", **meta["D_kwargs"]
    )
    golden.fill_weights(G, meta["G_mapping_lr_multiplier"])
    golden.fill_weights(D, 0.01)
    return G.train().requires_grad_(False), D.train().requires_grad_(False)


def _stats(stats: dict) -> dict[str, tuple[int, float, float]]:
    return {
        key: (v["num"], v["mean"], v["std"]) if isinstance(v, dict) else tuple(v)
        for key, v in stats.items()
    }
