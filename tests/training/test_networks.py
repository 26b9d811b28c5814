"""Generators and discriminator against reference numbers: names, schedules, outputs, gradients."""

import collections

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dnnlib
from tests import golden
from torch_utils import layers
from torch_utils.ops import upfirdn2d
from training import networks_stylegan2, networks_stylegan3

SCHEDULES = golden.load_json("layer_schedules.json")
FLOAT_FIELDS = ("cutoff", "half_width", "sampling_rate")


def build(net: str, kwargs: dict, mapping_lr_multiplier: float = 0.01) -> torch.nn.Module:
    """Construct a network of golden data, fill its weights, switch to evaluation."""
    network = dnnlib.util.construct_class_by_name(class_name=f"training.{net}", **kwargs)
    return golden.fill_weights(network, mapping_lr_multiplier).eval()


@pytest.mark.parametrize("name", golden.load_json("names_shapes.json"))
def test_names_shapes_and_order_match_golden(name):
    entry = golden.load_json("names_shapes.json")[name]
    with torch.device("meta"):  # the full-size networks take seconds to initialise
        network = dnnlib.util.construct_class_by_name(
            class_name=f"training.{entry['cls']}", **entry["kwargs"]
        )
    parameters = dict(network.named_parameters())
    got = [
        [key, list(value.shape), "param" if key in parameters else "buffer"]
        for key, value in network.state_dict().items()
    ]
    assert got == entry["entries"]


@pytest.mark.parametrize("name", [*SCHEDULES["schedules"], *SCHEDULES["variants"]])
def test_layer_schedule_matches_golden(name):
    want = {**SCHEDULES["schedules"], **SCHEDULES["variants"]}[name]
    with torch.device("meta"):
        network = networks_stylegan3.SynthesisNetwork(w_dim=8, **want["kwargs"])
    assert network.num_ws == want["num_ws"]
    source = network.input
    assert source.size == want["input"]["size"]
    assert source.channels == want["input"]["channels"]
    assert source.bandwidth == pytest.approx(want["input"]["bandwidth"], rel=1e-12)
    assert source.sampling_rate == want["input"]["sampling_rate"]
    assert network.layer_names == [layer["name"] for layer in want["layers"]]
    for layer in want["layers"]:
        got = getattr(network, layer["name"])
        for field, value in layer.items():
            if field == "name":
                continue
            if field.endswith("_shape"):
                taps = getattr(got, field.removesuffix("_shape"))
                assert value == (None if taps is None else list(taps.shape)), field
            elif field.endswith("_size"):
                assert getattr(got, field) == value, field
            elif field.endswith(FLOAT_FIELDS):
                assert getattr(got, field) == pytest.approx(value, rel=1e-12), field
            else:
                assert getattr(got, field) == value, field


@pytest.mark.parametrize("key", SCHEDULES["channels"])
def test_channel_counts_match_golden(key):
    resolution, base, maximum = (int(part.strip("basemx")) for part in key.split("/"))
    with torch.device("meta"):
        network = networks_stylegan3.SynthesisNetwork(
            8, resolution, 3, channel_base=base, channel_max=maximum
        )
    got = [getattr(network, name).out_channels for name in network.layer_names]
    assert got == SCHEDULES["channels"][key]
    assert network.input.channels == got[0]


@pytest.mark.parametrize("name", golden.case_names("filters_stylegan3.npz"))
def test_lowpass_filters_match_golden(name):
    case = golden.load("filters_stylegan3.npz")[name]
    f = networks_stylegan3.SynthesisLayer.design_lowpass_filter(**case.meta["kwargs"])
    if "f" not in case.arrays:
        assert f is None
        return
    assert f.dtype == torch.float32
    assert np.abs(f.numpy() - case.arrays["f"]).max() <= 6e-8 * max(
        1, np.abs(case.arrays["f"]).max()
    )


def test_lowpass_filter_refuses_bad_tap_counts():
    design = networks_stylegan3.SynthesisLayer.design_lowpass_filter
    for numtaps, radial in [(0, False), (7, True)]:
        with pytest.raises(ValueError, match=f"filter of {numtaps} taps"):
            design(numtaps, cutoff=1, width=1, fs=8, radial=radial)


@pytest.mark.parametrize("name", golden.case_names("nets_generator.npz"))
def test_generator_matches_golden(name):
    case = golden.load("nets_generator.npz")[name]
    meta = case.meta
    G = build(meta["net"], meta["kwargs"], meta["mapping_lr_multiplier"])
    z, c = (golden.tensor(case, key, requires_grad=True) for key in ("z", "c"))
    options = dict(noise_mode="const", force_fp32=True)

    def check(got: torch.Tensor, key: str, tolerance: float) -> None:
        error = golden.scaled_error(got, case.arrays[key])
        assert error < tolerance, f"{key}: {error}"

    ws = G.mapping(z, c)
    assert ws.shape == (z.shape[0], meta["num_ws"], G.w_dim)
    check(ws[:, 0], "ws", 5e-6)
    check(G.mapping(z, c, truncation_psi=0.5), "ws_psi05", 5e-6)
    check(G.mapping(z, c, truncation_psi=0.7, truncation_cutoff=4), "ws_psi07_cut4", 5e-6)

    rms = _record_rms(G, meta["layer_rms_names"])
    img = G(z, c, **options)
    check(img, "img", 3e-5)
    check(torch.stack([rms[key] for key in meta["layer_rms_names"]]), "layer_rms", 3e-5)
    inputs = [z] if c is None else [z, c]
    for key, grad in zip(
        ["dz", "dc"],
        torch.autograd.grad((img * golden.tensor(case, "r")).sum(), inputs),
        strict=False,
    ):
        check(grad, key, 1e-2)  # kinks of the leaky ReLU, see golden/README-model.md

    with torch.no_grad():
        if "img_psi05_cut4" in case.arrays:
            img = G(z, c, truncation_psi=0.5, truncation_cutoff=4, **options)
            check(img, "img_psi05_cut4", 3e-5)
        if "ws_rand" in case.arrays:
            check(G.synthesis(golden.tensor(case, "ws_rand"), **options), "img_ws_rand", 3e-5)
        if "img_none" in case.arrays:
            check(G(z, c, noise_mode="none", force_fp32=True), "img_none", 3e-5)
            check(G(z, c, fused_modconv=False, **options), "img_unfused", 3e-5)
        for key in [key for key in case.arrays if key.startswith("transform_")]:
            G.synthesis.input.transform.copy_(golden.tensor(case, key))
            check(G(z, c, **options), key.replace("transform", "img"), 3e-5)
            G.synthesis.input.transform.copy_(torch.eye(3))
        img = G.train()(z, c, update_emas=True, **options)
        check(G.mapping.w_avg, "w_avg_after", 5e-6)
        if "img_emas" in case.arrays:
            check(img, "img_emas", 3e-5)
        if "magnitude_ema_after" in case.arrays:
            buffers = dict(G.named_buffers())
            emas = torch.stack([buffers[key] for key in meta["magnitude_ema_names"]])
            check(emas, "magnitude_ema_after", 1e-6)


@pytest.mark.parametrize("name", golden.case_names("nets_generator.npz"))
def test_generator_in_double_precision_matches_golden_gradients(name):
    case = golden.load("nets_generator.npz")[name]
    G = build(case.meta["net"], case.meta["kwargs"], case.meta["mapping_lr_multiplier"]).double()
    z, c = (golden.tensor(case, key) for key in ("z", "c"))
    inputs = [value.double().requires_grad_(True) for value in (z, c) if value is not None]
    img = G(*inputs, *[None] * (2 - len(inputs)), noise_mode="const", force_fp32=True)
    assert img.dtype == torch.float64
    grads = torch.autograd.grad((img * golden.tensor(case, "r")).sum(), inputs)
    for key, grad in zip(["dz_f64", "dc_f64"], grads, strict=False):
        assert golden.scaled_error(grad, case.arrays[key]) < 1e-7, key


@pytest.mark.parametrize("name", golden.case_names("nets_discriminator.npz"))
def test_discriminator_in_double_precision_matches_golden(name):
    case = golden.load("nets_discriminator.npz")[name]
    D = build(case.meta["net"], case.meta["kwargs"], case.meta["mapping_lr_multiplier"]).double()
    img = golden.tensor(case, "img").double().requires_grad_(True)
    logits = D(img, golden.tensor(case, "c"), force_fp32=True)
    assert golden.scaled_error(logits, case.arrays["logits_f64"]) < 1e-7
    if "dimg_f64" in case.arrays:
        (dimg,) = torch.autograd.grad((logits * golden.tensor(case, "r")).sum(), img)
        assert golden.scaled_error(dimg, case.arrays["dimg_f64"]) < 1e-7


@pytest.mark.parametrize("name", golden.case_names("nets_discriminator.npz"))
def test_discriminator_matches_golden(name):
    case = golden.load("nets_discriminator.npz")[name]
    meta = case.meta
    D = build(meta["net"], meta["kwargs"], meta["mapping_lr_multiplier"])
    assert [key for key, _ in D.named_parameters()] == meta["parameter_names"]
    assert [key for key, _ in D.named_buffers()] == meta["buffer_names"]
    img, c = golden.tensor(case, "img", requires_grad=True), golden.tensor(case, "c")

    def check(got: torch.Tensor, key: str, tolerance: float = 2e-5) -> None:
        error = golden.scaled_error(got, case.arrays[key])
        assert error < tolerance, f"{key}: {error}"

    def norms(value: torch.Tensor) -> torch.Tensor:
        grads = torch.autograd.grad(
            value, list(D.parameters()), retain_graph=True, allow_unused=True
        )
        return torch.stack(
            [torch.zeros([]) if g is None else g.double().norm().float() for g in grads]
        )

    rms = _record_rms(D, meta["layer_rms_names"])
    logits = D(img, c, force_fp32=True)
    check(logits, "logits")
    check(torch.stack([rms[key] for key in meta["layer_rms_names"]]), "layer_rms")
    score = (logits * golden.tensor(case, "r")).sum()
    (dimg,) = torch.autograd.grad(score, img, create_graph=True)
    check(dimg, "dimg", 5e-5)
    check(norms(score), "param_grad_norms")
    if "r1" in case.arrays:
        r1 = dimg.square().sum([1, 2, 3])
        check(r1, "r1")
        check(norms(r1.sum()), "r1_param_grad_norms")


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "modconv2_"))
def test_stylegan2_modulated_convolution_matches_golden(name):
    case = golden.load("ops_misc.npz")[name]
    x, w, s = (golden.tensor(case, key, requires_grad=True) for key in "xws")
    for suffix, fused in [("", True), ("_unfused", False)]:
        y = networks_stylegan2.modulated_conv2d(
            x,
            w,
            s,
            noise=golden.tensor(case, "noise"),
            resample_filter=golden.tensor(case, "f"),
            fused_modconv=fused,
            **case.meta["kwargs"],
        )
        grads = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), [x, w, s])
        got = dict(zip(["y", "dx", "dw", "ds"], [y, *grads], strict=True))
        for key, value in got.items():
            if key + suffix in case.arrays:
                assert golden.scaled_error(value, case.arrays[key + suffix]) < 5e-6, key + suffix


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "modconv3_"))
def test_stylegan3_modulated_convolution_matches_golden(name):
    case = golden.load("ops_misc.npz")[name]
    x, w, s = (golden.tensor(case, key, requires_grad=True) for key in "xws")
    gain = golden.tensor(case, "input_gain")
    y = networks_stylegan3.modulated_conv2d(x, w, s, input_gain=gain, **case.meta["kwargs"])
    grads = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), [x, w, s])
    for key, value in zip(["y", "dx", "dw", "ds"], [y, *grads], strict=True):
        assert golden.scaled_error(value, case.arrays[key]) < 5e-6, key


@pytest.mark.parametrize("name", ["t32", "r32_cond", "s2_skip32", "s2_resnet32"])
def test_generator_in_half_precision_stays_close(name, monkeypatch):
    """On the CPU the networks never choose float16 by themselves."""
    monkeypatch.setattr(layers, "compute_dtype", _half_unless_forced)
    case = golden.load("nets_generator.npz")[name]
    kwargs = {**case.meta["kwargs"], "conv_clamp": 256}
    G = build(case.meta["net"], kwargs, case.meta["mapping_lr_multiplier"])
    z, c = golden.tensor(case, "z"), golden.tensor(case, "c")
    full = G(z, c, noise_mode="const", force_fp32=True)
    half = G(z, c, noise_mode="const")
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() / full.abs().max() < 0.02


def test_discriminator_in_half_precision_stays_close(monkeypatch):
    monkeypatch.setattr(layers, "compute_dtype", _half_unless_forced)
    case = golden.load("nets_discriminator.npz")["resnet32"]
    channels_last = {**case.meta["kwargs"], "block_kwargs": {"fp16_channels_last": True}}
    for kwargs in (case.meta["kwargs"], channels_last):
        D = build(case.meta["net"], kwargs)
        full = D(golden.tensor(case, "img"), None, force_fp32=True)
        half = D(golden.tensor(case, "img"), None)
        assert half.dtype == torch.float32
        assert 0 < (half - full).abs().max() / full.abs().max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 6, 148, 276), (2, 5, 4, 4), (1, 1, 1044, 1044)])
def test_mean_square_of_half_precision_is_that_of_double(shape, dtype):
    x = (torch.randn(shape) * 3e4).to(dtype)  # squares overflow float16
    got = networks_stylegan3._mean_square(x, torch.float32)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(x.double().square().mean()), rel=1e-4)


def test_magnitude_of_half_precision_is_tracked_without_a_copy_in_float32():
    layer = networks_stylegan3.SynthesisLayer(
        8, False, False, True, 16, 16, 36, 36, 16, 16, 4, 4, 4, 4
    ).to("meta")
    x = torch.empty(2, 16, 36, 36, dtype=torch.float16, device="meta")
    w = torch.empty(2, 8, device="meta")
    with _LargestByType() as largest, torch.no_grad():
        layer(x, w, update_emas=True)
    assert largest[torch.float16] >= x.numel()
    assert largest[torch.float32] < x.numel()


class _LargestByType(TorchDispatchMode):
    """Numbers of elements of the largest results of operations inside, by dtype."""

    def __enter__(self):
        super().__enter__()
        self.sizes = collections.Counter()
        return self.sizes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves(result):
            if isinstance(t, torch.Tensor):
                self.sizes[t.dtype] = max(self.sizes[t.dtype], t.numel())
        return result


def test_demodulation_keeps_large_styles_in_the_range_of_half_precision():
    x, w = torch.ones(1, 512, 4, 4).half() * 200, torch.ones(4, 512, 3, 3)
    y = networks_stylegan2.modulated_conv2d(x, w, torch.full([1, 512], 1e4), padding=1)
    assert y.isfinite().all()
    y = networks_stylegan3.modulated_conv2d(x, w, torch.full([1, 512], 1e4), padding=2)
    assert y.isfinite().all()


def test_minibatch_std_takes_batches_that_are_no_multiple_of_its_group():
    layer = networks_stylegan2.MinibatchStdLayer(group_size=4)
    x = torch.randn(6, 2, 3, 3)
    want = networks_stylegan2.MinibatchStdLayer(group_size=3)(x)
    torch.testing.assert_close(layer(x), want)


@pytest.mark.parametrize("module", [networks_stylegan2, networks_stylegan3])
def test_bad_arguments_are_named(module):
    with pytest.raises(
        ValueError, match="`img_resolution` must be a power of two from 4 on, got 24"
    ):
        module.Generator(8, 0, 8, img_resolution=24, img_channels=3)
    G = module.Generator(8, 0, 8, 16, 3, channel_base=64, channel_max=4)
    with pytest.raises(ValueError, match='must be "random", "const" or "none", got \'some\''):
        G(torch.zeros(1, 8), None, noise_mode="some")


def test_mapping_networks_have_their_own_depths():
    assert networks_stylegan3.MappingNetwork(8, 0, 8, num_ws=4).num_layers == 2
    assert networks_stylegan2.MappingNetwork(8, 0, 8, num_ws=4).num_layers == 8


def test_sizes_may_be_width_and_height():
    source = networks_stylegan3.SynthesisInput(8, 4, [6, 4], sampling_rate=4, bandwidth=1)
    x = source(torch.zeros(2, 8))
    assert x.shape == (2, 4, 4, 6)
    # Both axes are sampled alike: the middle of the wide one is what a narrow one would see.
    source.size = [4, 4]
    torch.testing.assert_close(source(torch.zeros(2, 8)), x[..., 1:5])


def test_filters_are_those_of_setup_filter():
    block = networks_stylegan2.SynthesisBlock(
        0, 4, 8, 4, 3, is_last=True, resample_filter=[1, 2, 1]
    )
    torch.testing.assert_close(block.resample_filter, upfirdn2d.setup_filter([1, 2, 1]))


def _half_unless_forced(
    weight: torch.Tensor, use_fp16: bool, force_fp32: bool, half_dtype: str
) -> torch.dtype:
    return torch.float16 if use_fp16 and not force_fp32 else weight.dtype


def _record_rms(network: torch.nn.Module, names: list[str]) -> dict[str, torch.Tensor]:
    """Record the magnitude of the (first) output of named submodules at the next forward pass."""
    rms: dict[str, torch.Tensor] = {}

    def record(name: str):
        def hook(_module, _inputs, output):
            first = output[0] if isinstance(output, tuple) else output
            rms[name] = first.detach().double().square().mean().sqrt().float()

        return hook

    modules = dict(network.named_modules())
    for name in names:
        modules[name].register_forward_hook(record(name))
    return rms
