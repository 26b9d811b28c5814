"""TensorFlow pickles: reference networks, every arrangement of our own there and back, refusals."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import legacy
from network_files.tensorflow import MAX_DEPTH, TensorFlowNetwork, convert
from tests import golden
from training.networks_stylegan2 import ARCHITECTURES, Discriminator, Generator

PICKLES = golden.DATA_DIR / "legacy_tf"
LOD_CASE = "tf_v4_toplevel_torgb_lod_8"


class RestrictedUnpickler(pickle.Unpickler):
    """Knows what TensorFlow pickles name, in NumPy 1 and 2, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dnnlib.tflib.network", "Network"):
            return TensorFlowNetwork
        assert module in ("numpy", "numpy.core.multiarray")
        assert name in ("_reconstruct", "ndarray", "dtype", "scalar")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(case: str) -> tuple[TensorFlowNetwork, ...]:
    with open(PICKLES / f"{case}.pkl", "rb") as f:
        return RestrictedUnpickler(f).load()


@cache
def reference() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is known of each case, and the arrays `<case>/<array>`."""
    with np.load(golden.DATA_DIR / "legacy_tf.npz") as npz:
        arrays = dict(npz)
    return json.loads(str(arrays.pop("meta"))), arrays


CONVERTED = [case for case, meta in reference()[0].items() if "official_result" not in meta]


@pytest.fixture(scope="module", params=CONVERTED)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def data(case) -> dict[str, Any]:
    return convert(unpickle(case))


def array(case: str, name: str) -> torch.Tensor:
    return torch.from_numpy(reference()[1][f"{case}/{name}"])


def assert_close(got: torch.Tensor, case: str, name: str) -> None:
    want = array(case, name)
    assert got.dtype == torch.float32
    assert got.shape == want.shape
    assert bool(((got - want).abs() <= 1e-4 * want.abs().clamp(min=1)).all())


# Reference networks


def test_result_has_all_fields(case, data):
    meta = reference()[0][case]
    assert sorted(data) == meta["result_keys"]
    assert data["training_set_kwargs"] is data["augment_pipe"] is None
    networks = [data[key] for key in ("G", "D", "G_ema")]
    assert [type(net).__name__ for net in networks] == meta["classes"]
    assert [net.training for net in networks] == meta["training_mode"]
    has_gradients = [any(p.requires_grad for p in net.parameters()) for net in networks]
    assert has_gradients == meta["requires_grad_any"]


def test_constructor_arguments_are_exact(case, data):
    meta = reference()[0][case]
    assert data["G"].init_args == data["D"].init_args == ()
    assert data["G"].init_kwargs == data["G_ema"].init_kwargs == meta["G_init_kwargs"]
    assert data["D"].init_kwargs == meta["D_init_kwargs"]


@pytest.mark.parametrize("key", ["G_ema", "D"])
def test_state_is_exact(case, data, key):
    prefix = f"{case}/{key}.sd/"
    want = {name[len(prefix) :]: x for name, x in reference()[1].items() if name.startswith(prefix)}
    got = data[key].state_dict()
    assert list(got) == list(want)
    for name, value in got.items():
        assert value.dtype == torch.float32
        assert value.device.type == "cpu"
        np.testing.assert_array_equal(value.numpy(), want[name], strict=True)


@pytest.mark.parametrize(
    ("key", "noise_mode", "name"),
    [
        ("G_ema", "const", "G_ema_img"),
        ("G_ema", "none", "G_ema_img_nonoise"),
        ("G", "const", "G_img"),
    ],
)
def test_images_match(case, data, key, noise_mode, name):
    z, c = array(case, "z"), array(case, "c")
    assert_close(data[key](z, c, noise_mode=noise_mode, force_fp32=True), case, name)


def test_styles_and_logits_match(case, data):
    ws = data["G_ema"].mapping(array(case, "z"), array(case, "c"), truncation_psi=0.7)
    assert_close(ws, case, "G_ema_ws_psi07")
    logits = data["D"](array(case, "D_in"), array(case, "D_c"), force_fp32=True)
    assert_close(logits, case, "D_logits")


def test_converted_networks_can_be_pickled(case, data):
    for key in ("G", "D", "G_ema"):
        again = pickle.loads(pickle.dumps(data[key]))
        torch.testing.assert_close(again.state_dict(), data[key].state_dict(), rtol=0, atol=0)


def test_to_rgb_of_the_generator_itself_is_used():
    networks = unpickle(LOD_CASE)
    data = convert(networks)
    for key, network in (("G", networks[0]), ("G_ema", networks[2])):
        G = data[key]
        assert G.init_kwargs["architecture"] == "orig"
        assert not hasattr(G.synthesis.b4, "torgb")
        own = dict(network.variables)
        torgb = G.synthesis.b8.torgb
        weight = torch.from_numpy(own["ToRGB_lod0/weight"]).permute(3, 2, 0, 1)
        assert torch.equal(torgb.weight, weight)
        assert torch.equal(torgb.affine.bias, torch.from_numpy(own["ToRGB_lod0/mod_bias"]) + 1)
        img = G(torch.ones([2, 4]), None, noise_mode="const")
        assert img.shape == (2, 3, 8, 8)
        assert bool(img.isfinite().all())


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("tf_v3_rejected_8", "network G: version 3 of the format is not supported"),
        ("tf_v4_unknown_kwarg_8", "network G: unknown options: 'some_new_option'"),
    ],
)
def test_reference_cases_that_are_refused(case, message):
    assert reference()[0][case]["official_result"] == "raises ValueError"
    with pytest.raises(ValueError, match=message):
        convert(unpickle(case))


def test_conversion_leaves_random_numbers_and_the_pickle_alone():
    networks = unpickle(CONVERTED[0])
    before = torch.get_rng_state()
    data = convert(networks)
    assert torch.equal(torch.get_rng_state(), before)
    state = copy.deepcopy(data["G"].state_dict())
    for part in (networks[0], *networks[0].components.values()):
        for _, value in part.variables:
            if isinstance(value, np.ndarray):
                value.fill(7)
    torch.testing.assert_close(data["G"].state_dict(), state, rtol=0, atol=0)


# Our networks, written as TensorFlow would


def network(
    variables: dict[str, Any], components: dict | None = None, **static_kwargs
) -> TensorFlowNetwork:
    net = TensorFlowNetwork()
    net.__setstate__(
        {
            "version": 5,
            "name": "net",
            "static_kwargs": static_kwargs,
            "components": components or {},
            "build_module_src": "raise SystemExit",
            "build_func_name": "net_main",
            "variables": [
                (name, x.numpy().copy() if isinstance(x, torch.Tensor) else x)
                for name, x in variables.items()
            ],
        }
    )
    return net


def dense(layer: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {"weight": layer.weight.T, "bias": layer.bias}


def conv(layer: torch.nn.Module, flip: bool = False) -> dict[str, torch.Tensor]:
    weight = layer.weight.flip([2, 3]) if flip else layer.weight
    arrays = {"weight": weight.permute(2, 3, 1, 0)}
    return arrays if layer.bias is None else {**arrays, "bias": layer.bias}


def modulated(layer: torch.nn.Module, flip: bool = False) -> dict[str, torch.Tensor]:
    arrays = {"mod_weight": layer.affine.weight.T, "mod_bias": layer.affine.bias - 1}
    if hasattr(layer, "noise_strength"):
        arrays["noise_strength"] = layer.noise_strength
    return {**conv(layer, flip), **arrays}


def flat(layers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{layer}/{name}": x for layer, arrays in layers.items() for name, x in arrays.items()}


def synthesis_layers(G: Generator, rgb_name: Callable[[int], str]) -> dict[str, dict]:
    layers = {}
    for res in G.synthesis.block_resolutions:
        block = getattr(G.synthesis, f"b{res}")
        if res == 4:
            layers["4x4/Const"] = {"const": block.const[None]}
            layers["4x4/Conv"] = modulated(block.conv1)
        else:
            layers[f"{res}x{res}/Conv0_up"] = modulated(block.conv0, flip=True)
            layers[f"{res}x{res}/Conv1"] = modulated(block.conv1)
        if hasattr(block, "skip"):
            layers[f"{res}x{res}/Skip"] = conv(block.skip, flip=True)
        if hasattr(block, "torgb"):
            layers[rgb_name(res)] = modulated(block.torgb)
    return layers


def noise_images(G: Generator) -> dict[str, torch.Tensor]:
    layers = [G.synthesis.b4.conv1]
    for res in G.synthesis.block_resolutions[1:]:
        block = getattr(G.synthesis, f"b{res}")
        layers += [block.conv0, block.conv1]
    return {f"noise{i}": layer.noise_const[None, None] for i, layer in enumerate(layers)}


def by_resolution(layer: str) -> Callable[[int], str]:
    return lambda res: f"{res}x{res}/{layer}"


def by_level(layer: str, img_resolution: int) -> Callable[[int], str]:
    return lambda res: f"{layer}_lod{(img_resolution // res).bit_length() - 1}"


def as_tensorflow(
    net: Generator | Discriminator, rgb_name: Callable[[int], str] | None = None, **static_kwargs
) -> TensorFlowNetwork:
    net = copy.deepcopy(net).requires_grad_(False)
    mapping = getattr(net, "mapping", None)
    embed = {"LabelEmbed": dense(mapping.embed)} if net.c_dim > 0 else {}
    num_layers = mapping.num_layers if mapping is not None else 0
    fcs = [dense(getattr(mapping, f"fc{i}")) for i in range(num_layers)]
    if isinstance(net, Generator):
        mapped = {**embed, **{f"Dense{i}": fc for i, fc in enumerate(fcs)}}
        layers = synthesis_layers(net, rgb_name or by_resolution("ToRGB"))
        has_noise = net.synthesis.b4.conv1.use_noise
        components = {
            "mapping": network(flat(mapped)),
            "synthesis": network({**flat(layers), **(noise_images(net) if has_noise else {})}),
        }
        return network({"dlatent_avg": mapping.w_avg}, components, **static_kwargs)
    rgb_name = rgb_name or by_resolution("FromRGB")
    layers = {**embed, **{f"Mapping{i}": fc for i, fc in enumerate(fcs)}}
    for res in net.block_resolutions:
        block = getattr(net, f"b{res}")
        if hasattr(block, "fromrgb"):
            layers[rgb_name(res)] = conv(block.fromrgb)
        layers[f"{res}x{res}/Conv0"] = conv(block.conv0)
        layers[f"{res}x{res}/Conv1_down"] = conv(block.conv1)
        if hasattr(block, "skip"):
            layers[f"{res}x{res}/Skip"] = conv(block.skip)
    if hasattr(net.b4, "fromrgb"):
        layers[rgb_name(4)] = conv(net.b4.fromrgb)
    layers.update(
        {"4x4/Conv": conv(net.b4.conv), "4x4/Dense0": dense(net.b4.fc), "Output": dense(net.b4.out)}
    )
    return network(flat(layers), **static_kwargs)


COMMON = dict(img_resolution=16, img_channels=3, channel_base=64, channel_max=8)
TF_COMMON = dict(resolution=16, fmap_base=32, fmap_max=8)


def generator(c_dim: int = 0, mapping: dict | None = None, **kwargs) -> Generator:
    mapping = dict(num_layers=2, w_avg_beta=0.995) if mapping is None else mapping
    kwargs = {**COMMON, "num_fp16_res": 0, "conv_clamp": None, **kwargs}
    G = Generator(z_dim=7, c_dim=c_dim, w_dim=6, mapping_kwargs=mapping, **kwargs)
    return golden.fill_weights(G, mapping.get("lr_multiplier", 0.01)).eval()


def discriminator(c_dim: int = 0, mapping: dict | None = None, **kwargs) -> Discriminator:
    kwargs = {**COMMON, "num_fp16_res": 0, "conv_clamp": None, **kwargs}
    kwargs.setdefault("epilogue_kwargs", dict(mbstd_group_size=None))
    mapping = dict(num_layers=0, lr_multiplier=0.1) if mapping is None else mapping
    D = Discriminator(c_dim=c_dim, mapping_kwargs=mapping, **kwargs)
    return golden.fill_weights(D, mapping.get("lr_multiplier", 0.1)).eval()


TF_GENERATOR = dict(**TF_COMMON, latent_size=7, dlatent_size=6, mapping_layers=2)


@cache
def plain() -> tuple[TensorFlowNetwork, TensorFlowNetwork]:
    """A generator and a discriminator that convert, to stand beside those of a test."""
    G = as_tensorflow(generator(), **TF_GENERATOR)
    return G, as_tensorflow(discriminator(), **TF_COMMON)


def converted(net: TensorFlowNetwork, key: str) -> torch.nn.Module:
    G, D = plain()
    return convert((G, net, G) if key == "D" else (net, D, G))[key]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def assert_same(got: torch.nn.Module, want: torch.nn.Module) -> None:
    """The same state, up to the rounding of the biases of styles, and the same outputs."""
    assert list(got.state_dict()) == list(want.state_dict())
    for name, value in want.state_dict().items():
        tolerance = 1e-6 if name.endswith("affine.bias") else 0
        torch.testing.assert_close(got.state_dict()[name], value, rtol=0, atol=tolerance)
    c = random(4, want.c_dim)
    if isinstance(want, Generator):
        inputs, kwargs = (random(4, want.z_dim), c), dict(noise_mode="const", truncation_psi=0.7)
    else:
        size = want.img_resolution
        inputs, kwargs = (random(4, want.img_channels, size, size), c), {}
    with torch.no_grad():
        expected = want(*inputs, **kwargs)
        error = golden.scaled_error(got(*inputs, **kwargs), expected.numpy())
    assert expected.std() > 0
    assert error < 1e-5


@pytest.mark.parametrize("c_dim", [0, 5], ids=["unconditional", "conditional"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generators_come_back(architecture, c_dim):
    G = generator(c_dim, architecture=architecture)
    net = as_tensorflow(G, architecture=architecture, label_size=c_dim, **TF_GENERATOR)
    assert_same(converted(net, "G"), G)


@pytest.mark.parametrize("num_layers", [0, 2])
@pytest.mark.parametrize("c_dim", [0, 5], ids=["unconditional", "conditional"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_discriminators_come_back(architecture, c_dim, num_layers):
    mapping = dict(num_layers=num_layers, lr_multiplier=0.1)
    D = discriminator(c_dim, mapping, architecture=architecture)
    options = dict(architecture=architecture, label_size=c_dim, mapping_layers=num_layers)
    assert_same(converted(as_tensorflow(D, **options, **TF_COMMON), "D"), D)


def test_other_options_of_generators_come_back():
    mapping = dict(
        num_layers=3,
        embed_features=4,
        layer_features=9,
        activation="relu",
        lr_multiplier=0.1,
        w_avg_beta=0.5,
    )
    G = generator(
        3,
        mapping,
        img_resolution=32,
        img_channels=1,
        num_fp16_res=2,
        conv_clamp=0.5,
        resample_filter=[1, 2, 4],
        use_noise=False,
        activation="swish",
        architecture="skip",
    )
    net = as_tensorflow(
        G,
        resolution=np.int64(32),
        num_channels=1,
        label_size=3,
        fmap_base=32,
        fmap_max=8,
        latent_size=7,
        dlatent_size=6,
        num_fp16_res=2,
        conv_clamp=np.float64(0.5),
        resample_kernel=(1, 2, 4),
        use_noise=False,
        nonlinearity="swish",
        mapping_layers=3,
        label_fmaps=4,
        mapping_fmaps=9,
        mapping_nonlinearity="relu",
        mapping_lrmul=0.1,
        w_avg_beta=0.5,
    )
    got = converted(net, "G")
    assert got.init_kwargs == G.init_kwargs
    assert_same(got, G)


def test_other_options_of_discriminators_come_back():
    activation = dict(activation="elu")
    D = discriminator(
        3,
        dict(num_layers=2, embed_features=9, layer_features=9, lr_multiplier=0.2, **activation),
        img_channels=1,
        num_fp16_res=1,
        conv_clamp=0.5,
        cmap_dim=9,
        architecture="skip",
        block_kwargs=dict(resample_filter=[1, 2, 4], freeze_layers=4, **activation),
        epilogue_kwargs=dict(mbstd_group_size=2, mbstd_num_channels=2, **activation),
    )
    net = as_tensorflow(
        D,
        num_channels=1,
        label_size=3,
        num_fp16_res=1,
        conv_clamp=0.5,
        architecture="skip",
        resample_kernel=np.float32([1, 2, 4]),
        nonlinearity="elu",
        freeze_layers=4,
        mapping_layers=2,
        mapping_fmaps=9,
        mapping_lrmul=0.2,
        mbstd_group_size=2,
        mbstd_num_features=2,
        **TF_COMMON,
    )
    got = converted(net, "D")
    assert got.init_kwargs == D.init_kwargs
    assert_same(got, D)


def test_generators_come_back_with_rgb_layers_by_level():
    G = generator(architecture="orig")
    net = as_tensorflow(G, by_level("ToRGB", 16), **TF_GENERATOR)
    synthesis = net.components["synthesis"]
    assert "ToRGB_lod0/weight" in dict(synthesis.variables)
    # Layers of lower resolutions, and how much is still to grow.
    synthesis.variables += [("ToRGB_lod1/weight", np.ones(3)), ("4x4/ToRGB/bias", np.ones(3))]
    synthesis.variables += [("lod", np.float32(0)), ("8x8/ToRGB/weight", np.ones(2))]
    assert_same(converted(net, "G"), G)


def test_discriminators_come_back_with_rgb_layers_by_level():
    D = discriminator(architecture="orig")
    net = as_tensorflow(D, by_level("FromRGB", 16), **TF_COMMON)
    net.variables += [("FromRGB_lod2/weight", np.ones(3)), ("lod", np.float32(0))]
    assert_same(converted(net, "D"), D)


def test_values_of_other_dtypes_become_float32():
    class Subclass(np.ndarray):
        pass

    G, D = plain()
    net = copy.deepcopy(D)
    dtypes = ["<f8", ">f4", "<f2", "<i4"]
    for i, (name, x) in enumerate(net.variables):
        net.variables[i] = (name, (x * 4).astype(dtypes[i % 4]).view(Subclass))
    net.variables[0] = (net.variables[0][0], np.full_like(net.variables[0][1], 1e300, dtype="f8"))
    got = convert((G, net, G))["D"].state_dict()
    assert {x.dtype for x in got.values()} == {torch.float32}
    variables = dict(net.variables)
    assert bool(got["b16.fromrgb.weight"].isposinf().all())
    for ours, theirs in (
        ("b16.fromrgb.bias", "16x16/FromRGB/bias"),
        ("b4.out.bias", "Output/bias"),
    ):
        np.testing.assert_array_equal(got[ours].numpy(), variables[theirs].astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0])
def test_values_are_copied_as_they_are(value):
    G, D = plain()
    net = replaced(D, "Output/bias", np.float32([value]))
    got = convert((G, net, G))["D"].b4.out.bias
    assert got.numpy().tobytes() == np.float32([value]).tobytes()
    networks = unpickle(LOD_CASE)
    net = replaced(networks[0], "synthesis/8x8/ToRGB/bias", None)
    net.variables.append(("ToRGB_lod0/bias", np.float32([value] * 3)))
    got = convert((net, *networks[1:]))["G"].synthesis.b8.torgb.bias
    assert got.numpy().tobytes() == np.float32([value] * 3).tobytes()


# Options of forks

SQUARE = "they must be equal, since the networks here are square"


@pytest.mark.parametrize(
    "options",
    [
        dict(resolution_w=16, resolution_h=16),
        dict(resolution_h=np.int64(16)),
        dict(resolution_w=16.0),
        dict(dtype="float32", fmap_decay=1.0, fmap_min=np.int32(1)),
        dict(use_bfloat16=np.bool_(False)),
    ],
    ids=lambda options: ",".join(options),
)
def test_options_that_change_nothing_are_accepted(options):
    G, D = plain()
    expected = convert((G, D, G))
    got = convert(tuple(with_option(net, **options) for net in (G, D, G)))
    for key in ("G", "D", "G_ema"):
        assert got[key].init_kwargs == expected[key].init_kwargs
        assert_equal_states(got[key], expected[key])


@pytest.mark.parametrize(
    "options", [dict(randomize_noise=False), dict(randomize_noise=True, normalize_latents=True)]
)
def test_options_of_generators_that_change_nothing_are_accepted(options):
    G, D = plain()
    got = convert((with_option(G, **options), D, with_option(G, **options)))
    assert_equal_states(got["G_ema"], convert((G, D, G))["G_ema"])
    assert_refused((G, with_option(D, **options), G), "network D: unknown options: ")


def assert_equal_states(net: torch.nn.Module, expected: torch.nn.Module) -> None:
    state, wanted = net.state_dict(), expected.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(resolution_w=64), f"option 'resolution_w' is 64, but 'resolution' is 16: {SQUARE}"),
        (
            dict(resolution_w=16, resolution_h=8),
            f"option 'resolution_h' is 8, but 'resolution' is 16: {SQUARE}",
        ),
        (
            dict(resolution_w=64, resolution_h=64),
            f"option 'resolution_w' is 64, but 'resolution' is 16: {SQUARE}",
        ),
        (dict(resolution_h="16"), "option 'resolution_h' is '16', but 'resolution' is 16"),
        (dict(resolution_h=None), "option 'resolution_h' is None, but 'resolution' is 16"),
        (dict(resolution_w=10**5000), "option 'resolution_w' is a very large number, but"),
        (
            dict(resolution_w=np.ones([2])),
            "option 'resolution_w' is a list, but 'resolution' is 16",
        ),
        (dict(dtype="float16"), "option 'dtype' must be 'float32', found 'float16'"),
        (dict(use_bfloat16=True), "option 'use_bfloat16' must be False, found True"),
        (dict(use_bfloat16=0), "option 'use_bfloat16' must be False, found 0"),
        (dict(fmap_decay=0.5), "option 'fmap_decay' must be 1, found 0.5"),
        (dict(fmap_min=True), "option 'fmap_min' must be 1, found True"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
@pytest.mark.parametrize("is_generator", [True, False], ids=["G", "D"])
def test_options_that_would_change_something_are_refused(options, message, is_generator):
    G, D = plain()
    if is_generator:
        assert_refused((with_option(G, **options), D, G), f"network G: {message}")
    else:
        assert_refused((G, with_option(D, **options), G), f"network D: {message}")


def test_latents_that_are_not_normalised_are_refused():
    G, D = plain()
    net = with_option(G, normalize_latents=False)
    assert_refused((net, D, G), "option 'normalize_latents' must be True, found False")


def test_the_default_resolution_counts_where_the_pickle_has_none():
    G, D = plain()
    net = with_option(G, resolution_w=16)
    del net.static_kwargs["resolution"]
    assert_refused((net, D, G), "'resolution_w' is 16, but 'resolution' is 1024")


def test_legacy_rewrites_a_pickle_of_such_a_fork(tmp_path):
    path = PICKLES / "tf_v4_plain_32.pkl"
    code = """
import pickle, sys, types

class Network:
    def __setstate__(self, state):
        self.__dict__.update(state)

Network.__module__ = "dnnlib.tflib.network"
names = ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network")
sys.modules.update({name: types.ModuleType(name) for name in names})
sys.modules["dnnlib.tflib.network"].Network = Network
with open(sys.argv[1], "rb") as f:
    networks = pickle.load(f)
for network in networks:
    network.static_kwargs.update(resolution_w=32, resolution_h=32)
with open(sys.argv[2], "wb") as f:
    pickle.dump(networks, f)
"""
    fork, dest = tmp_path / "fork.pkl", tmp_path / "out.pkl"
    subprocess.run([sys.executable, "-c", code, path, fork], check=True)
    result = CliRunner().invoke(legacy.main, [f"--source={fork}", f"--dest={dest}"])
    assert result.exit_code == 0, result.output
    expected = convert(unpickle("tf_v4_plain_32"))
    assert_equal_states(legacy.load_network(dest)["G_ema"], expected["G_ema"])


# Refusals


def replaced(net: TensorFlowNetwork, name: str, value: Any) -> TensorFlowNetwork:
    """A copy with another value of a variable, `None` to leave it out."""
    net = copy.deepcopy(net)
    component, _, rest = name.partition("/")
    part = net.components.get(component, net)
    own = rest if part is not net else name
    variables = {**dict(part.variables), own: value}
    part.variables = [(key, x) for key, x in variables.items() if x is not None]
    return net


def changed(net: TensorFlowNetwork, **attributes) -> TensorFlowNetwork:
    net = copy.deepcopy(net)
    for name, value in attributes.items():
        setattr(net, name, value)
    return net


def with_option(net: TensorFlowNetwork, **options) -> TensorFlowNetwork:
    return changed(net, static_kwargs={**net.static_kwargs, **options})


def assert_refused(networks: Any, message: str) -> None:
    with pytest.raises(ValueError) as info:
        convert(networks)
    text = str(info.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("networks", [(), (1, 2), [1, 2, 3], None, {"G": 1}], ids=repr)
def test_anything_but_three_networks_is_refused(networks):
    assert_refused(networks, "TensorFlow pickle: must hold three networks, found ")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_other_objects_in_place_of_networks_are_refused(index):
    networks = [plain()[0], plain()[1], plain()[0]]
    label = ("G", "D", "G_ema")[index]
    networks[index] = np.zeros(3)
    assert_refused(tuple(networks), f"network {label}: this is no network, but a ndarray")
    networks[index] = TensorFlowNetwork()
    assert_refused(tuple(networks), f"network {label}: has no state")


def test_swapped_networks_are_refused():
    G, D = plain()
    assert_refused((D, G, G), "network G: ")
    assert_refused((G, G, D), "network D: unknown options: 'dlatent_size', 'latent_size'")


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("G_style", "StyleGAN1"),
        ("D_basic", "StyleGAN1"),
        ("G_paper", "Progressive GAN"),
        ("D_paper", "Progressive GAN"),
    ],
)
@pytest.mark.parametrize("attribute", ["build_func_name", "name"])
def test_older_generations_are_refused_by_name(attribute, name, generation):
    net = changed(plain()[0], version=3, **{attribute: name})
    message = f"{generation} pickles are not supported"
    assert_refused((net, plain()[1], plain()[0]), f"network G: {message}")
    net = changed(plain()[1], **{attribute: name})
    assert_refused((plain()[0], net, plain()[0]), f"network D: {message}")


def test_generators_without_modulated_convolutions_are_refused():
    net = copy.deepcopy(plain()[0])
    synthesis = net.components["synthesis"]
    synthesis.variables = [x for x in synthesis.variables if not x[0].endswith("mod_weight")]
    assert_refused((net, *plain()[::-1]), "network G: StyleGAN1 pickles are not supported")


@pytest.mark.parametrize("version", [-(10**5000), 1, 3], ids=["huge", "1", "3"])
def test_older_versions_are_refused(version):
    net = changed(plain()[0], version=version)
    assert_refused((*plain(), net), "network G_ema: version ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(new=1), "unknown options: 'new'"),
        (dict(a=1, b=2, c=3, d=4), "unknown options: 'a', 'b', 'c', ..."),
        ({"a\nb" * 1000: 1}, r"unknown options: 'a\nba"),
        (
            dict(resolution=17),
            "option 'resolution' must be a power of two from 4 to 65536, found 17",
        ),
        (dict(resolution=10**5000), "'resolution' must be a power of two"),
        (dict(resolution="16"), "'resolution' must be a power of two from 4 to 65536, found '16'"),
        (dict(latent_size=True), "option 'latent_size' must be a whole number from 1 to 65536"),
        (dict(latent_size=7.0), "option 'latent_size' must be"),
        (dict(dlatent_size=10**9), "option 'dlatent_size' must be"),
        (dict(label_size=-1), "option 'label_size' must be a whole number from 0"),
        (dict(fmap_base=None), "option 'fmap_base' must be"),
        (dict(fmap_base=1), "leaves no channels"),
        (dict(mapping_layers=0), "option 'mapping_layers' must be"),
        (dict(mapping_lrmul=float("nan")), "'mapping_lrmul' must be a positive number, found nan"),
        (dict(mapping_lrmul=10**5000), "'mapping_lrmul' must be a positive number, found a very"),
        (dict(w_avg_beta=1.5), "option 'w_avg_beta' must be a number from 0 to 1 or None"),
        (dict(conv_clamp=-1), "option 'conv_clamp' must be a positive number or None"),
        (dict(use_noise=1), "option 'use_noise' must be True or False"),
        (dict(architecture="new"), "'architecture' must be one of orig, skip, resnet, found 'new'"),
        (dict(architecture=["orig"]), "'architecture' must be one of orig, skip, resnet, found a"),
        (dict(nonlinearity="x" * 10**6), "option 'nonlinearity' must be one of linear, relu"),
        (dict(resample_kernel=None), "option 'resample_kernel' must be a list of numbers"),
        (dict(resample_kernel=[1, -1]), "option 'resample_kernel' must be a list of numbers"),
        (dict(resample_kernel=[[1, 2], [2, 1]]), "option 'resample_kernel' must be"),
        (dict(resample_kernel=["x"]), "option 'resample_kernel' must be"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value))[:20],
)
def test_unknown_options_and_values_are_refused(options, message):
    G, D = plain()
    assert_refused((with_option(G, **options), D, G), message)


def test_options_of_the_other_network_are_refused():
    G, D = plain()
    assert_refused((with_option(G, freeze_layers=1), D, G), "unknown options: 'freeze_layers'")
    assert_refused((G, with_option(D, style_mixing_prob=1), G), "options: 'style_mixing_prob'")


def test_discriminators_that_are_too_small_are_refused():
    G, D = plain()
    assert_refused((G, with_option(D, resolution=4), G), "network D: `img_resolution` must be")


@pytest.mark.parametrize("options", ["structure", "conditioning"])
def test_ignored_options_can_have_any_value(options):
    G, D = plain()
    convert((with_option(G, **{options: object()}), with_option(D, **{options: [1]}), G))


def test_missing_and_unknown_variables_are_counted_and_named():
    G, D = plain()
    net = replaced(G, "synthesis/8x8/Conv1/weight", None)
    assert_refused((net, D, G), "G: missing variables (1): 'synthesis/8x8/Conv1/weight'")
    net = replaced(net, "synthesis/8x8/Conv2/weight", np.zeros(3))
    assert_refused(
        (net, D, G),
        "missing variables (1): 'synthesis/8x8/Conv1/weight'; "
        "unknown variables (1): 'synthesis/8x8/Conv2/weight'",
    )
    net = changed(D, variables=[("a\nb" * 1000, np.zeros(1))] * 2)
    assert_refused(
        (G, net, G),
        "missing variables (18): '16x16/FromRGB/weight', '16x16/FromRGB/bias', "
        "'16x16/Conv0/weight', ...; unknown variables (1): 'a\\nba",
    )
    net = with_option(D, architecture="orig")
    assert_refused((G, net, G), "unknown variables (2): '16x16/Skip/weight', '8x8/Skip/weight'")
    net = with_option(D, architecture="skip")
    assert_refused((G, net, G), "missing variables (4): '8x8/FromRGB/weight', ")


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("synthesis/16x16/Conv0_up/weight", [3, 3, 4, 8], [3, 3, 8, 4]),
        ("synthesis/16x16/Conv0_up/weight", [288], [3, 3, 8, 4]),
        ("synthesis/16x16/Conv0_up/noise_strength", [1], []),
        ("synthesis/noise3", [16, 16], [1, 1, 16, 16]),
        ("synthesis/noise3", [2, 1, 16, 16], [1, 1, 16, 16]),
        ("synthesis/4x4/Const/const", [0, 8, 4, 4], [1, 8, 4, 4]),
        ("synthesis/4x4/Const/const", [], [1, 8, 4, 4]),
        ("mapping/Dense0/weight", [6, 7], [7, 6]),
        ("dlatent_avg", [6, 1], [6]),
    ],
)
def test_wrong_shapes_are_refused(name, shape, expected):
    G, D = plain()
    net = replaced(G, name, np.zeros(shape, np.float32))
    message = f"variable '{name}' has the shape {shape}, expected {expected}"
    assert_refused((net, D, G), message)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.array([None] * 6), "an array of 'object'"),
        (np.array(["x"] * 6), "an array of '<U1'"),
        (np.zeros(6, bool), "an array of 'bool'"),
        (np.zeros(6, complex), "an array of 'complex128'"),
        (np.zeros(6, "M8[s]"), "an array of 'datetime64[s]'"),
        (np.zeros(6, [("a", "f4")]), "an array of \"[('a', '<f4')]\""),
        ([0.0] * 6, "a list"),
        ("\n", r"'\n'"),
        (10**5000, "an array of 'object'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_no_numbers_are_refused(value, found):
    G, D = plain()
    net = replaced(G, "dlatent_avg", value)
    assert_refused((net, D, G), f"variable 'dlatent_avg' must hold numbers, found {found}")


def test_rgb_layers_with_two_names_must_agree():
    networks = unpickle(LOD_CASE)
    G = networks[0]
    net = replaced(G, "synthesis/8x8/ToRGB/bias", np.float32([1, 2, 3]))
    message = "'ToRGB_lod0/bias' and 'synthesis/8x8/ToRGB/bias' have different values"
    assert_refused((net, *networks[1:]), message)


def test_networks_that_still_grow_are_refused():
    G, D = plain()
    net = changed(D, variables=[*D.variables, ("lod", np.float32(0.5))])
    assert_refused((G, net, G), "network D: 'lod' is not 0")


def test_components_must_form_a_tree():
    G, D = plain()
    net = copy.deepcopy(G)
    net.components["synthesis"].components["again"] = net
    assert_refused((net, D, G), "component 'synthesis/again/' occurs twice, or inside of itself")
    net = changed(G, components={**G.components, "x": G.components["mapping"]})
    assert_refused((net, D, G), "component 'x/' occurs twice")
    net = network({})
    for _ in range(MAX_DEPTH + 1):
        net = network({}, {"x": net})
    assert_refused((net, D, G), "components lie more than")
    net = changed(G, components={**G.components, "x": TensorFlowNetwork()})
    assert_refused((net, D, G), "network G: component 'x/' has no state")


GOOD_STATE = dict(
    version=4,
    name="G",
    static_kwargs={"resolution": 8},
    components={},
    build_module_src="",
    build_func_name="G_main",
    variables=[("dlatent_avg", np.zeros(3, np.float32))],
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(version="4"), "'version' must be a whole number, found '4'"),
        (dict(version=True), "'version' must be a whole number, found True"),
        (dict(version=None), "'version' must be a whole number, found None"),
        (dict(name=b"G"), "'name' must be a text, found a bytes"),
        (dict(static_kwargs=[("a", 1)]), "'static_kwargs' must be a dictionary by name"),
        (dict(static_kwargs={1: 1}), "'static_kwargs' must be a dictionary by name"),
        (dict(components=None), "'components' must be a dictionary of networks by name"),
        (dict(components={"x": {}}), "'components' must be a dictionary of networks by name"),
        (
            dict(components={3: TensorFlowNetwork()}),
            "'components' must be a dictionary of networks by name",
        ),
        (dict(build_module_src=3), "'build_module_src' must be a text, found 3"),
        (dict(build_func_name=None), "'build_func_name' must be a text, found None"),
        (dict(variables={"a": 1}), "'variables' must be a list of names and values, found a dict"),
        (dict(variables=[("a",)]), "'variables' must be a list of names and values"),
        (dict(variables=["ab"]), "'variables' must be a list of names and values"),
        (dict(variables=[(1, 2)]), "'variables' must be a list of names and values"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_states_of_other_types_are_refused(change, message):
    with pytest.raises(ValueError) as info:
        TensorFlowNetwork().__setstate__({**GOOD_STATE, **change})
    assert str(info.value).startswith(f"TensorFlow network: {message}")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("state", [None, [], (None, {"version": 4}), "x\n" * 1000, 3])
def test_states_that_are_no_dictionary_are_refused(state):
    with pytest.raises(
        ValueError, match=r"^TensorFlow network: its state is no dict, but "
    ) as info:
        TensorFlowNetwork().__setstate__(state)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("key", [key for key in GOOD_STATE if key != "components"])
def test_incomplete_states_are_refused(key):
    state = {name: value for name, value in GOOD_STATE.items() if name != key}
    with pytest.raises(ValueError, match=f"^TensorFlow network: its state lacks '{key}'$"):
        TensorFlowNetwork().__setstate__(state)


def test_states_are_copied_and_other_keys_left_out():
    state = {**copy.deepcopy(GOOD_STATE), "__class__": int, "convert": 3}
    pair = ["a", np.float32(1)]
    state["variables"].append(pair)
    del state["components"]
    net = TensorFlowNetwork()
    net.__setstate__(state)
    state["static_kwargs"]["more"] = 1
    state["variables"].append(3)
    pair[:] = []
    assert type(net) is TensorFlowNetwork
    assert set(vars(net)) == set(GOOD_STATE)
    assert net.static_kwargs == {"resolution": 8}
    assert net.components == {}
    assert [name for name, _ in net.variables] == ["dlatent_avg", "a"]
