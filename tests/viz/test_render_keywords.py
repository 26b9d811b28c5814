"""Arguments as other programs give them to `Renderer.render`, against views that mean the same."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.viz import networks
from torch_utils import latents
from viz import render_keywords
from viz.renderer import Renderer, View


@pytest.fixture(scope="module")
def pkls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    return {
        "t": str(networks.save(networks.stylegan3(), folder / "t.pkl")),
        "sg2": str(networks.save(networks.stylegan2(c_dim=3), folder / "sg2.pkl")),
    }


@pytest.fixture(scope="module")
def renderer():
    return Renderer(device="cpu")


def image(result) -> np.ndarray:
    assert result.error is None, result.details or result.error
    return result.image


@pytest.mark.parametrize(
    ("name", "keywords", "view"),
    [
        ("t", {}, {}),
        ("t", {"w0_seeds": [[7, 1]], "layer_name": None, "input_transform": None}, {"x": 7}),
        ("t", {"w0_seeds": [(3, 0.75), (4, 0.25)]}, {"x": 3.25}),
        ("t", {"w0_seeds": [[7, 1]], "trunc_psi": 0.5, "trunc_cutoff": 3}, "psi"),
        ("t", {"stylemix_idx": [1, 2], "stylemix_seed": 9}, {"mix_layers": (1, 2), "mix_seed": 9}),
        ("sg2", {"noise_mode": "random", "random_seed": 4}, "noise"),
        ("sg2", {"class_idx": 2, "force_fp32": True}, {"class_idx": 2, "force_fp32": True}),
        ("t", {"layer_name": "L1_20_8", "sel_channels": 1, "base_channel": 2}, "layer"),
        ("t", {"img_scale_db": -6, "img_normalize": True}, {"gain_db": -6, "normalize": True}),
        ("t", {"fft_show": True, "fft_range_db": 30, "fft_beta": 6, "fft_all": False}, "fft"),
        ("t", {"fft_show": True, "fft_range_db": (-30, 10)}, "fft of a range"),
    ],
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else str(value),
)
def test_keywords_mean_what_views_do(pkls, renderer, name, keywords, view):
    views = {
        "psi": {"x": 7, "truncation_psi": 0.5, "truncation_cutoff": 3},
        "noise": {"noise_mode": "random", "noise_seed": 4},
        "layer": {"layer": "L1_20_8", "num_channels": 1, "channel": 2},
        "fft": {"fft": True, "fft_range_db": (-30, 30), "fft_beta": 6, "fft_all": False},
        "fft of a range": {"fft": True, "fft_range_db": (-30, 10)},
    }
    if "layer_name" in keywords and keywords["layer_name"] is not None:
        layer = renderer.render(pkl=pkls[name]).layers[1].name
        keywords, views["layer"]["layer"] = {**keywords, "layer_name": layer}, layer
    view = views[view] if isinstance(view, str) else view
    got = renderer.render(pkl=pkls[name], **keywords)
    want = renderer.render(View(network=pkls[name], **view))
    np.testing.assert_array_equal(image(got), image(want))
    assert got.image.dtype == np.uint8 and got.image.ndim == 3
    assert got.layers == want.layers and got.stats == want.stats
    default = image(renderer.render(View(network=pkls[name])))
    is_default = not view or view == {"class_idx": 0}
    assert np.array_equal(got.image, default) == is_default


def test_a_generator_takes_the_place_of_a_file(pkls, renderer):
    G = renderer.load(pkls["t"])
    got = renderer.render(G=G, w0_seeds=[[5, 1]])
    np.testing.assert_array_equal(got.image, image(renderer.render(View(network=pkls["t"], x=5))))
    other = renderer.render(G=networks.stylegan2(), pkl=None)
    assert image(other).shape == (16, 16, 3) and other.network.has_noise
    again = renderer.render(pkl=pkls["t"])
    assert image(again).shape == (16, 16, 3) and not again.network.has_noise


@pytest.mark.parametrize("keyword", ["ws", "w", "dlatents"])
def test_styles_are_taken_as_they_are(pkls, renderer, keyword):
    G = renderer.load(pkls["t"])
    ws = G.mapping(latents.z_from_seed(8, G.z_dim).float(), None)
    want = image(renderer.render(pkl=pkls["t"], w0_seeds=[[8, 1]]))
    for given in (ws, ws[0], ws[0, :1], ws[0, 0], ws[:, :1], ws.double().numpy()):
        np.testing.assert_array_equal(image(renderer.render(G=G, **{keyword: given})), want)
    mixed = image(renderer.render(G=G, **{keyword: ws}, stylemix_idx=[1, 2], stylemix_seed=1))
    assert not np.array_equal(mixed, want)
    refused = renderer.render(G=G, **{keyword: ws[:, :2]})
    assert refused.error == f"the given styles are [1, 2, 8], this network has {list(ws.shape)}"


def test_weights_are_about_the_average(pkls, renderer):
    G = renderer.load(pkls["t"])
    ws = G.mapping(latents.z_from_seeds([1, 2], G.z_dim).float(), None)
    w = G.mapping.w_avg + 0.5 * (ws[0] - G.mapping.w_avg) - 0.2 * (ws[1] - G.mapping.w_avg)
    got = renderer.render(G=G, w0_seeds=[[1, 0.25], [2, -0.2], [1, 0.25]])
    want = image(renderer.render(G=G, ws=w)).astype(int)
    assert abs(image(got) - want).max() <= 1


@pytest.mark.parametrize("untransform", [False, True])
def test_any_affine_transformation(pkls, renderer, untransform):
    matrix = latents.make_transform((0.1, -0.2), 20)
    keywords = {"pkl": pkls["t"], "untransform": untransform}
    got = image(renderer.render(**keywords, input_transform=matrix.tolist()))
    view = View(network=pkls["t"], translate=(0.1, -0.2), rotate=20, untransform=untransform)
    np.testing.assert_array_equal(got, image(renderer.render(view)))
    scaled = image(renderer.render(**keywords, input_transform=np.diag([2.0, 2.0, 1.0])))
    assert not np.array_equal(scaled, image(renderer.render(**keywords)))
    assert renderer.render(**keywords, input_transform=np.zeros((3, 3))).error is not None


def test_a_view_says_what_keywords_do_not(pkls, renderer):
    view = View(network=pkls["t"], x=3, gain_db=2)
    want = renderer.render(View(network=pkls["t"], x=3, gain_db=2, truncation_psi=0.5))
    np.testing.assert_array_equal(image(renderer.render(view, trunc_psi=0.5)), image(want))


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"trunc_ps": 1}, TypeError, "unknown argument 'trunc_ps'; known are pkl, .*input_trans"),
        ({"pkl": "x.pkl", "G": 1}, TypeError, "give either `pkl` or `G`"),
        ({"ws": [1.0], "w0_seeds": [[1, 1]]}, TypeError, "give only one of w0_seeds, ws, w"),
        ({"ws": [1.0], "trunc_psi": 0.5}, TypeError, "`trunc_psi` has no effect on given styles"),
        ({"ws": 3.0}, ValueError, "`ws` cannot be used .*shape"),
        ({"w0_seeds": []}, ValueError, "`w0_seeds` cannot be used .it names no seed"),
        ({"w0_seeds": [7]}, ValueError, "`w0_seeds` cannot be used"),
        ({"sel_channels": 2}, ValueError, "`sel_channels` .*2 is not one of 1, 3"),
        ({"input_transform": [[1, 2], [3, 4]]}, ValueError, "`input_transform` .*3x3"),
        ({"stylemix_idx": 3}, ValueError, "`stylemix_idx` cannot be used"),
        ({"fft_range_db": None}, ValueError, "`fft_range_db` cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused(renderer, keywords, kind, message):
    with pytest.raises(kind, match=f"^render: {message}") as info:
        renderer.render(**keywords)
    assert "\n" not in str(info.value)


def test_without_a_network_the_result_says_so(renderer):
    assert renderer.render().error == renderer.render(View()).error == "no network: choose a file"


def test_keywords_name_fields_of_views():
    known = {field.name for field in fields(View)}
    assert {field for field, _ in render_keywords._FIELDS.values()} <= known
