"""Networks from pickles become this project's classes, or are refused with the differences."""

import io
import pickle
import sys
import warnings

import numpy as np
import pytest
import torch

import legacy
from network_files import own_classes, rebuild
from tests.network_files import pickles
from torch_utils import persistence
from training import networks_stylegan2, networks_stylegan3
from training.augment import AugmentPipe

SIZES = {"c_dim": 2, "img_resolution": 16, "img_channels": 3}
SMALL = {"channel_base": 64, "channel_max": 8}


def new_networks() -> dict:
    torch.manual_seed(0)
    layers = {"num_layers": 4, "num_critical": 1}
    networks = {
        "stylegan3-t": networks_stylegan3.Generator(8, w_dim=8, **SIZES, **SMALL, **layers),
        "stylegan3-r": networks_stylegan3.Generator(
            8, w_dim=8, **SIZES, **SMALL, **layers, conv_kernel=1, use_radial_filters=True
        ),
        "stylegan2": networks_stylegan2.Generator(8, w_dim=8, **SIZES, **SMALL),
        "discriminator": networks_stylegan2.Discriminator(
            **SIZES, **SMALL, block_kwargs={"freeze_layers": 2}, epilogue_kwargs={}
        ),
        "augment": AugmentPipe(xflip=1, scale=0.5, imgfilter_bands=[1, 0, 1, 1]),
    }
    for net in networks.values():
        for tensor in net.buffers():
            tensor.copy_(torch.rand(tensor.shape))  # none as constructed
    return networks


NETWORKS = new_networks()


@pytest.fixture
def G() -> torch.nn.Module:
    return new_networks()["stylegan2"]


def load(data: bytes, **kwargs) -> dict:
    return legacy.load_network_pkl(io.BytesIO(data), name="net.pkl", **kwargs)


def assert_same_network(got: torch.nn.Module, expected: torch.nn.Module) -> None:
    assert type(got) is type(expected)
    torch.testing.assert_close(got.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert [m.training for m in got.modules()] == [m.training for m in expected.modules()]
    for ours, theirs in zip(got.parameters(), expected.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad


@torch.no_grad()
def image(G: torch.nn.Module) -> torch.Tensor:
    z = torch.from_numpy(np.random.RandomState(0).randn(2, G.z_dim))
    return G(z, torch.eye(2), truncation_psi=0.7, noise_mode="const")


@pytest.mark.parametrize("name", NETWORKS)
def test_own_pickle_is_rebuilt_without_comment(name):
    net = NETWORKS[name]
    net.train(name == "discriminator").requires_grad_(name == "discriminator")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(pickle.dumps({"G_ema": NETWORKS["stylegan2"], "other": net}))
    assert_same_network(data["other"], net)


@pytest.mark.parametrize("name", NETWORKS)
def test_unknown_source_is_not_executed_and_noticed(name):
    with pytest.warns(
        UserWarning, match=r"net.pkl was written by a version .* not known"
    ) as record:
        data = load(pickles.dumps({"G_ema": NETWORKS["stylegan2"], "other": NETWORKS[name]}))
    assert len(record) == 1
    assert_same_network(data["other"], NETWORKS[name])
    assert not any("was executed" in text for text in persistence._texts.values())


@pytest.mark.parametrize("name", ["stylegan3-t", "stylegan3-r", "stylegan2"])
@pytest.mark.filterwarnings("ignore:net.pkl was written")
def test_rebuilt_generator_draws_the_same_image(name):
    G = load(pickles.dumps({"G_ema": NETWORKS[name]}))["G_ema"]
    torch.testing.assert_close(image(G), image(NETWORKS[name]), rtol=0, atol=0)


def test_known_source_is_loaded_without_comment(monkeypatch):
    digest = rebuild._sha256("# a published version\n")
    monkeypatch.setattr(rebuild, "_known_sources", lambda: {digest: "published"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Line ends and the byte order mark do not matter.
        load(
            pickles.dumps(
                {"G_ema": NETWORKS["stylegan2"]}, source="\ufeff# a published version\r\n"
            )
        )


def nest_options(meta: dict) -> None:
    """As StyleGAN2-ADA's generator has its arguments."""
    if meta["class_name"] == "Generator":
        kwargs = dict(meta["state"]["_init_kwargs"])
        synthesis_kwargs = {key: kwargs.pop(key) for key in (*SMALL, "num_fp16_res", "conv_clamp")}
        # What equals the defaults of StyleGAN2-ADA was often not stated.
        for key, default in dict(num_fp16_res=0, conv_clamp=None).items():
            if synthesis_kwargs[key] == default:
                del synthesis_kwargs[key]
        meta["state"]["_init_kwargs"] = {**kwargs, "synthesis_kwargs": synthesis_kwargs}


@pytest.mark.parametrize(
    "precision", [dict(num_fp16_res=0, conv_clamp=None), dict(num_fp16_res=2, conv_clamp=256)]
)
@pytest.mark.filterwarnings("ignore:net.pkl was written")
def test_stylegan2_ada_nests_options_and_has_other_defaults(precision):
    mapping_kwargs = {"num_layers": 2, "w_avg_beta": 0.995}
    G = networks_stylegan2.Generator(
        8, w_dim=8, mapping_kwargs=mapping_kwargs, **SIZES, **SMALL, **precision
    )

    def edit(meta):
        nest_options(meta)
        if meta["class_name"] == "Generator":
            meta["state"]["_init_kwargs"]["mapping_kwargs"] = {"num_layers": 2}
        if meta["class_name"] == "SynthesisNetwork":
            del meta["state"]["num_fp16_res"]

    got = load(pickles.dumps({"G_ema": G}, edit=edit))["G_ema"]
    assert_same_network(got, G)
    assert got.mapping.w_avg_beta == 0.995
    options = {key: got.init_kwargs[key] for key in precision}
    assert options == precision
    for path, layer in G.synthesis.named_modules():
        for key in ("conv_clamp", "use_fp16"):
            assert getattr(layer, key, None) == getattr(
                got.synthesis.get_submodule(path), key, None
            )
    # Written again, it is a native pickle.
    again = load(pickle.dumps({"G_ema": got}))["G_ema"]
    torch.testing.assert_close(image(again), image(G), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:net.pkl was written")
def test_discriminator_of_stylegan2_ada_has_no_half_precision_by_default():
    D = networks_stylegan2.Discriminator(**SIZES, **SMALL, num_fp16_res=0, conv_clamp=None)

    def edit(meta):
        for key in ("num_fp16_res", "conv_clamp"):
            meta["state"].get("_init_kwargs", {}).pop(key, None)

    got = load(pickles.dumps({"G_ema": NETWORKS["stylegan2"], "D": D}, edit=edit))["D"]
    assert got.b16.conv0.conv_clamp is None
    assert not got.b16.use_fp16


def change_shape(meta: dict) -> None:
    if meta["class_name"] == "MappingNetwork":
        meta["state"]["_buffers"] = {"w_avg": torch.zeros(9)}


def add_tensor(meta: dict) -> None:
    if meta["class_name"] == "MappingNetwork":
        meta["state"]["_buffers"] = {**meta["state"]["_buffers"], "extra": torch.zeros(1)}


def remove_tensor(meta: dict) -> None:
    if meta["class_name"] == "MappingNetwork":
        meta["state"]["_buffers"] = {}


def rename_layer(meta: dict) -> None:
    if meta["class_name"] == "ToRGBLayer":
        meta["class_name"] = "ToHSVLayer"


def unknown_option(meta: dict) -> None:
    if meta["class_name"] == "Generator":
        meta["state"]["_init_kwargs"] = {**meta["state"]["_init_kwargs"], "use_magic": True}


def rename_network(meta: dict) -> None:
    if meta["class_name"] == "Generator":
        meta["class_name"] = "TriPlaneGenerator"


def whole_numbers(meta: dict) -> None:
    if meta["class_name"] == "MappingNetwork":
        meta["state"]["_buffers"] = {"w_avg": torch.zeros(8, dtype=torch.int32)}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change_shape, r"mapping.w_avg is \[9\] in the file and \[8\] here"),
        (add_tensor, "mapping.extra is unknown here"),
        (remove_tensor, "mapping.w_avg is missing"),
        (rename_layer, "synthesis.b4.torgb is a ToHSVLayer in the file and a ToRGBLayer here"),
        (unknown_option, "its options are refused .*use_magic"),
        (rename_network, "this project has no class 'TriPlaneGenerator'"),
        (whole_numbers, "mapping.w_avg is torch.int32 in the file and torch.float32 here"),
    ],
)
def test_networks_that_differ_are_refused_with_the_differences(edit, message, G):
    with pytest.raises(ValueError, match=f"net.pkl: G_ema cannot be rebuilt: .*{message}") as info:
        load(pickles.dumps({"G_ema": G}, edit=edit))
    assert "--allow-untrusted" in str(info.value)
    assert "\n" not in str(info.value)


OWN_LAYER = """
import torch
from torch_utils import persistence

EXECUTED = True

@persistence.persistent_class
class MyGenerator(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(size))
        self.mapping = self.synthesis = None
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of networks that a user of this project has added."""
    path = tmp_path / "networks_of_mine.py"
    path.write_text(OWN_LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(own_classes, "texts", lambda: {"networks_of_mine": OWN_LAYER})
    import networks_of_mine

    yield networks_of_mine
    del sys.modules["networks_of_mine"]


def test_class_of_a_module_that_is_here_with_the_very_source_is_used(own_module):
    net = own_module.MyGenerator(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = load(pickle.dumps({"G_ema": net}))["G_ema"]
    assert type(got) is own_module.MyGenerator
    assert torch.equal(got.weight, net.weight)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_embedded_source_runs_when_it_is_allowed(how, own_module, monkeypatch):
    data = pickle.dumps({"G_ema": own_module.MyGenerator(3)}).replace(b"EXECUTED", b"executed")
    monkeypatch.setattr(own_classes, "texts", dict)
    with pytest.raises(ValueError, match="no class 'MyGenerator'"):
        load(data)
    if how == "environment":
        monkeypatch.setenv("STYLEGAN3_ALLOW_UNTRUSTED", "1")
    with pytest.warns(UserWarning, match="Running the code in the file"):
        got = load(data, allow_untrusted=True if how == "argument" else None)["G_ema"]
    assert sys.modules[type(got).__module__].executed
    if how == "environment":
        with pytest.raises(ValueError, match="no class 'MyGenerator'"):
            load(data, allow_untrusted=False)


@pytest.mark.parametrize(
    "options",
    [
        {"channel_base": 1 << 40},
        {"channel_max": 1 << 30},
        {"mapping_kwargs": {"num_layers": 10**9}},
        {"block_kwargs": [10**12]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_out_of_proportion_are_refused_at_once(options, G):
    def edit(meta):
        if meta["class_name"] == "Generator":
            meta["state"]["_init_kwargs"] = {**meta["state"]["_init_kwargs"], **options}

    with pytest.raises(ValueError, match="is out of range"):
        load(pickles.dumps({"G_ema": G}, edit=edit))


def test_dataset_of_another_package_is_refused(G):
    kwargs = {"class_name": "os.system", "command": "true"}
    with pytest.raises(ValueError, match=r"names 'os.system' as the class of its dataset"):
        load(pickle.dumps({"G_ema": G, "training_set_kwargs": kwargs}))
