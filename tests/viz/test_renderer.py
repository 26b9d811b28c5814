"""The renderer against gen_images, bit for bit, and every field of a view against what it means."""

import json
import pickle
from dataclasses import fields, replace

import numpy as np
import PIL.Image
import pytest
import torch

import gen_images
from tests.viz import networks
from torch_utils import images, latents
from viz import color_maps, loaded_networks, pixels
from viz.renderer import Renderer, View

SPECTRUM = [  # of `torch.randn([2, 4, 4])` with seed 0
    [[229, 223, 213, 223], [223, 223, 226, 227], [213, 227, 234, 227], [223, 227, 226, 223]],
    [[115, 105, 88, 105], [104, 105, 111, 111], [89, 111, 123, 111], [104, 111, 111, 105]],
    [[58, 63, 71, 63], [63, 63, 60, 59], [71, 59, 53, 59], [63, 59, 60, 63]],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    networks.save(networks.stylegan3(), folder / "t.pkl")
    networks.save(networks.stylegan3(64), folder / "t64.pkl")
    networks.save(networks.stylegan2(), folder / "sg2.pkl")
    networks.save(networks.stylegan2(c_dim=3), folder / "cond.pkl")
    networks.save(networks.stylegan2(img_channels=1), folder / "gray.pkl")
    networks.save(networks.stylegan2(img_channels=4), folder / "rgba.pkl")
    networks.save(networks.stylegan2(architecture="resnet"), folder / "resnet.pkl")
    (folder / "broken.pkl").write_bytes((folder / "t.pkl").read_bytes()[:1000])
    (folder / "hostile.pkl").write_bytes(pickle.dumps({"G_ema": print}))
    return folder


@pytest.fixture
def renderer():
    return Renderer(device="cpu")


@pytest.fixture
def render(renderer, folder):
    """Render one view of a network of `folder`, which must go well."""

    def render(name="t", **view):
        result = renderer.render(View(network=str(folder / f"{name}.pkl"), **view))
        assert result.error is None, result.details or result.error
        return result

    return render


@pytest.mark.parametrize("seed", [0, 7, 345])
@pytest.mark.parametrize("psi", [1, 0.6])
@pytest.mark.parametrize(
    ("name", "translate", "rotate"),
    [("t", (0, 0), 0), ("t", (0.25, -0.1), 0), ("t", (0.1, 0), 30), ("sg2", (0, 0), 0)],
)
def test_image_equals_gen_images(folder, render, tmp_path, name, translate, rotate, seed, psi):
    G = pickle.loads((folder / f"{name}.pkl").read_bytes())["G_ema"]
    (path,) = gen_images.generate_images(
        G, [seed], tmp_path, truncation_psi=psi, translate=translate, rotate=rotate
    )
    result = render(
        name,
        x=seed % 100,
        y=seed // 100,
        truncation_psi=psi,
        translate=translate,
        rotate=rotate,
    )
    np.testing.assert_array_equal(result.image, np.asarray(PIL.Image.open(path)))


@pytest.mark.parametrize("class_idx", [0, 2])
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_class_and_noise_equal_gen_images(folder, render, tmp_path, class_idx, noise_mode):
    G = pickle.loads((folder / "cond.pkl").read_bytes())["G_ema"]
    (path,) = gen_images.generate_images(
        G, [3], tmp_path, class_idx=class_idx, noise_mode=noise_mode
    )
    result = render("cond", x=3, class_idx=class_idx, noise_mode=noise_mode)
    np.testing.assert_array_equal(result.image, np.asarray(PIL.Image.open(path)))


@pytest.mark.parametrize(("name", "channels"), [("gray", 1), ("rgba", 4)])
def test_images_keep_their_channels(render, name, channels):
    assert render(name).image.shape == (16, 16, channels)


def test_order_of_views_does_not_matter(render):
    first = render(x=1).image
    for view in (
        {"translate": (0.3, 0), "rotate": 10},
        {"layer": "L2_36_8"},
        {"mix_layers": (0, 1)},
        {"fft": True},
    ):
        render(x=1, **view)
    np.testing.assert_array_equal(render(x=1).image, first)


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("t", {"x": 1}),
        ("t", {"x": 0.5}),
        ("t", {"y": 1}),
        ("t", {"mix_layers": (2, 3)}),
        ("t", {"mix_layers": (2, 3), "mix_seed": 5}),
        ("t", {"truncation_psi": 0.5}),
        ("t", {"truncation_psi": 0.5, "truncation_cutoff": 2}),
        ("t", {"translate": (0.25, 0)}),
        ("t", {"rotate": 45}),
        ("t", {"layer": "L1_36_8"}),
        ("t", {"layer": "L1_36_8", "channel": 3}),
        ("t", {"layer": "L1_36_8", "num_channels": 1}),
        ("t", {"normalize": True}),
        ("t", {"gain_db": 6}),
        ("t", {"layer": "L1_36_8", "num_channels": 1, "level": 0.5}),
        ("t", {"layer": "L1_36_8", "num_channels": 1, "window": 0.5}),
        ("t", {"layer": "L1_36_8", "num_channels": 1, "color_map": "viridis"}),
        ("t", {"fft": True, "color_map": "viridis"}),
        ("gray", {"color_map": "coolwarm"}),
        ("t", {"fft": True}),
        ("t", {"fft": True, "fft_beta": 0}),
        ("t", {"fft": True, "fft_range_db": (-60, 0)}),
        ("t", {"fft": True, "layer": "L1_36_8"}),
        ("t", {"fft": True, "layer": "L1_36_8", "fft_all": False}),
        ("sg2", {"noise_mode": "none"}),
        ("sg2", {"noise_mode": "random"}),
        ("sg2", {"noise_mode": "random", "noise_seed": 1}),
        ("cond", {"class_idx": 1}),
    ],
    ids=str,
)
def test_every_control_changes_the_image(render, name, view):
    """Also against the same view without its last entry."""
    without_last = dict(list(view.items())[:-1])
    changed = render(name, **view).image
    for other in (render(name).image, render(name, **without_last).image):
        assert changed.shape != other.shape or not np.array_equal(changed, other)
    np.testing.assert_array_equal(render(name, **view).image, changed)


def test_every_field_of_a_view_is_tested():
    tested = {"network", "untransform", "force_fp32", "x", "y", "mix_layers", "class_idx"}
    tested |= {"mix_seed", "truncation_psi", "truncation_cutoff", "translate", "rotate", "layer"}
    tested |= {"channel", "num_channels", "normalize", "gain_db", "noise_mode", "noise_seed"}
    tested |= {"level", "window", "color_map", "fft", "fft_beta", "fft_range_db", "fft_all"}
    tested |= {"latents", "latent_idx", "directions", "amounts", "direction_layers", "drag"}
    assert tested == {field.name for field in fields(View)}  # the last ones in test_styles.py


def test_fraction_interpolates_styles(folder, render):
    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    z = latents.z_from_seeds([2, 3, 102, 103], G.z_dim).float()
    with torch.no_grad():
        weights = torch.tensor([0.75 * 0.5, 0.25 * 0.5, 0.75 * 0.5, 0.25 * 0.5])
        ws = (G.mapping(z, None) * weights[:, None, None]).sum(0, keepdim=True)
        expected = images.to_uint8(G.synthesis(ws))[0].permute(1, 2, 0).numpy()
    image = render(x=2.25, y=0.5 + 0).image
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("x", "y", "seed"), [(105, 0, 105), (5, 1, 105), (-1, 0, 2**32 - 1)])
def test_plane_of_latents(folder, render, x, y, seed):
    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    z = latents.z_from_seed(seed, G.z_dim).float()
    with torch.no_grad():
        expected = images.to_uint8(G(z, None))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(render(x=x, y=y).image, expected)


def test_mixing_all_layers_gives_the_other_seed(render):
    mixed = render(x=0, mix_seed=9, mix_layers=tuple(range(6))).image
    np.testing.assert_array_equal(mixed, render(x=9).image)
    np.testing.assert_array_equal(render(mix_layers=(99,)).image, render().image)


@pytest.mark.parametrize("name", ["t", "sg2", "resnet"])
def test_layers_are_listed_and_shown(folder, render, name):
    G = pickle.loads((folder / f"{name}.pkl").read_bytes())["G_ema"]
    layers = render(name).layers
    outputs = {}
    for layer in layers:

        def keep(module, args, output, name=layer.name):
            outputs[name] = output[int(name[-2])] if name.endswith("]") else output

        G.synthesis.get_submodule(layer.name.partition("[")[0]).register_forward_hook(keep)
    with torch.no_grad():
        G(latents.z_from_seed(0, G.z_dim).float(), None, noise_mode="const")
    assert len(layers) >= 5
    assert len({id(output) for output in outputs.values()}) == len(layers)
    for layer in layers:
        result = render(name, layer=layer.name, channel=1, num_channels=1)
        x = outputs[layer.name][0]
        assert layer.shape == tuple(x.shape)
        assert layer.dtype == "float32"
        assert result.layers == layers
        np.testing.assert_array_equal(result.image, images.to_uint8(x[1])[..., None])
        expected = [x.mean(), x.std(correction=0), x.max()]
        got = [result.stats.mean, result.stats.std, result.stats.max]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
        got = [result.selected_stats.mean, result.selected_stats.max]
        np.testing.assert_allclose(got, [x[1].mean(), x[1].max()], rtol=1e-4, atol=1e-6)


def test_layer_view_stops_synthesis_early(folder, renderer):
    view = View(network=str(folder / "t.pkl"))
    names = [layer.name for layer in renderer.render(view).layers]
    ran = []
    for name in names:
        module = renderer.load(view.network).synthesis.get_submodule(name)
        module.register_forward_hook(lambda module, args, output, name=name: ran.append(name))
    renderer.render(replace(view, layer=names[1]))
    assert ran == names[:2]


def test_channels_beyond_the_last_show_the_last(render):
    last = render(layer="L1_36_8", channel=5).image
    np.testing.assert_array_equal(render(layer="L1_36_8", channel=99).image, last)


def test_gain_and_normalisation(folder, render):
    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    with torch.no_grad():
        img = G(latents.z_from_seed(0, G.z_dim).float(), None)[0]
    expected = images.to_uint8(img / img.abs().max() * 10 ** (-6 / 20)).permute(1, 2, 0)
    np.testing.assert_array_equal(render(normalize=True, gain_db=-6).image, expected)


def test_level_and_window_choose_what_becomes_black_and_white():
    x = torch.tensor([[[0.9, 1, 1.5, 2, 2.1]]])
    shown = pixels.to_pixels(x, View(level=1.5, window=1))
    assert shown.flatten().tolist() == [0, 0, 128, 255, 255]
    threshold = pixels.to_pixels(x, View(level=1.5, window=0))
    assert threshold.flatten().tolist() == [0, 0, 128, 255, 255]
    rgb = x.expand(3, 1, 5)
    np.testing.assert_array_equal(pixels.to_pixels(rgb, View(level=9)), images.to_uint8(rgb))


@pytest.mark.parametrize("layer", [None, "b16.conv1"])
def test_color_map_colors_one_channel(render, layer):
    view = {"layer": layer, "num_channels": 1, "gain_db": -6}
    grey = render("gray", **view).image
    colored = render("gray", **view, color_map="inferno").image
    np.testing.assert_array_equal(colored, color_maps.colors("inferno")[grey[..., 0]])


def test_spectrum_in_other_colors_is_the_same_spectrum(render):
    own = levels_of(render(fft=True).image, color_maps.SPECTRUM)
    other = levels_of(render(fft=True, color_map="cividis").image, "cividis")
    assert np.abs(own - other).max() <= 1
    assert np.ptp(own) > 100


def levels_of(image, color_map):
    """Which of the 256 colours the pixels have, or nearly have."""
    table = color_maps.colors(color_map).astype(int)
    return np.abs(image[..., None, :] - table).sum(-1).argmin(-1)


def test_default_spectrum_keeps_its_colors():
    """Numbers of the version before other colours could be chosen."""
    torch.manual_seed(0)
    rgb = pixels.spectrum(torch.randn([2, 4, 4]), View())
    assert rgb.tolist() == SPECTRUM


def test_content_width_is_that_of_the_image_without_margins(render):
    assert render("t64").content_width == render("t64", fft=True).content_width == 64
    assert render("sg2", layer="b8.conv1").content_width == 8
    result = render("t", layer="L1_36_8")
    assert (result.image.shape[1], result.content_width) == (36, 16)


def test_only_the_first_run_of_a_network_is_the_first(renderer, folder):
    view = View(network=str(folder / "t.pkl"))
    assert not renderer.render(replace(view, layer="L9")).is_first  # an error
    assert renderer.load(view.network)  # has not run
    renderer = Renderer("cpu")
    runs = [view, replace(view, x=1), replace(view, force_fp32=True), view]
    assert [renderer.render(run).is_first for run in runs] == [True, False, True, False]
    renderer.render(View(network=str(folder / "sg2.pkl")))
    assert renderer.render(view).is_first


def test_spectrum_of_a_wave_is_two_points(render):
    """What the FFT view shows of the network's Fourier features, whose frequencies are known."""
    result = render(layer="input", fft=True, fft_all=True, fft_range_db=(-20, 40))
    brightness = result.image.astype(int).sum(2)
    H, W = brightness.shape
    np.testing.assert_array_equal(brightness[1:, 1:], brightness[:0:-1, :0:-1])  # real signals
    inner = brightness[H // 4 : -H // 4, W // 4 : -W // 4]
    assert inner.max() == brightness.max() and brightness[:2].max() < inner.max() / 2


def test_white_noise_lies_at_zero_db(monkeypatch):
    torch.manual_seed(0)
    view = View(fft_range_db=(-1, 1), fft_beta=8)
    rgb = pixels.spectrum(torch.randn([4096, 32, 32]), view).float()
    grey = torch.tensor(color_maps.SPECTRUM_COLORS[2]).float()
    assert (rgb.mean((1, 2)) - grey).abs().max() < 12


def test_random_noise_leaves_the_generators_alone(render):
    state = torch.random.get_rng_state()
    render("sg2", noise_mode="random")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_force_fp32_changes_nothing_on_the_cpu(render):
    np.testing.assert_array_equal(render(force_fp32=True).image, render().image)


def test_untransform_undoes_the_transform(render):
    still = render("t64", normalize=True).image.astype(int)
    view = {"translate": (0.25, 0.125), "normalize": True}
    moved = render("t64", **view).image.astype(int)
    back = render("t64", **view, untransform=True).image.astype(int)
    centre = (slice(12, 40), slice(12, 40))
    error = np.abs(back[centre] - still[centre]).mean()
    assert error < np.abs(moved[centre] - still[centre]).mean() / 3
    assert (back[:, -12:] == 0).all() and (back[-4:] == 0).all()  # has left the image


@pytest.mark.parametrize("layer", ["input", "L1", "L4"])
def test_untransform_of_layers_knows_their_margins(render, layer):
    layers = [item.name for item in render("t64").layers]
    view = {"layer": next(name for name in layers if name.startswith(layer))}
    still = render("t64", **view).image.astype(int)
    view["translate"] = (0.125, 0)
    moved = render("t64", **view).image.astype(int)
    back = render("t64", **view, untransform=True).image.astype(int)
    centre = (slice(10, -10), slice(10, -16))
    error = np.abs(back[centre] - still[centre]).mean()
    assert error < np.abs(moved[centre] - still[centre]).mean() / 5


def test_untransform_without_input_transform_is_ignored(render):
    np.testing.assert_array_equal(
        render("sg2", untransform=True, translate=(0.5, 0)).image, render("sg2").image
    )


@pytest.mark.parametrize(
    ("name", "view", "message"),
    [
        ("missing", {}, "No such file"),
        ("broken", {}, "broken.pkl"),
        ("hostile", {}, "hostile.pkl"),
        ("cond", {"class_idx": 3}, "--class 3 does not exist"),
        ("t", {"layer": "L9"}, "no layer L9"),
        ("t", {"layer": "L9[0]"}, "no layer L9"),
        ("t", {"rotate": float("nan")}, "must be finite"),
        ("gray", {"level": float("nan")}, "level and window must be finite, got nan and 2"),
        ("gray", {"window": float("inf")}, "level and window must be finite, got 0 and inf"),
        ("gray", {"color_map": "jet"}, "no colour map 'jet', but grey, viridis"),
        ("t", {"fft": True, "color_map": "jet"}, "no colour map 'jet', but grey, viridis"),
    ],
)
def test_errors_are_values(renderer, folder, name, view, message):
    result = renderer.render(View(network=str(folder / f"{name}.pkl"), **view))
    assert result.image is None
    assert message in result.error
    assert result.details is None  # a reason, not a bug
    assert renderer.render(View(network=str(folder / "t.pkl"))).error is None


def test_no_network_is_an_error(renderer):
    assert "choose a file" in renderer.render(View()).error


def test_unforeseen_errors_and_lack_of_memory_are_values(renderer, folder, monkeypatch):
    view = View(network=str(folder / "t.pkl"))
    G = renderer.load(view.network)

    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(G.synthesis, "forward", fail)
    failure = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand so on")
    result = renderer.render(view)
    assert result.error == "out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    assert result.network.img_resolution == 16
    failure = KeyError("surprise")
    result = renderer.render(view)
    assert result.error == "KeyError: 'surprise'"
    assert "Traceback" in result.details


def test_overwritten_file_is_loaded_again(renderer, tmp_path):
    torch.manual_seed(1)
    path = networks.save(networks.stylegan3(), tmp_path / "a.pkl")
    before = renderer.render(View(network=str(path))).image
    networks.save(networks.stylegan3(), path)
    assert not np.array_equal(renderer.render(View(network=str(path))).image, before)


def test_network_whose_file_is_gone_stays(renderer, folder, tmp_path):
    path = tmp_path / "t.pkl"
    path.write_bytes((folder / "t.pkl").read_bytes())
    view = View(network=str(path))
    before = renderer.render(view)
    path.unlink()
    result = renderer.render(view)
    np.testing.assert_array_equal(result.image, before.image)
    assert (result.error, result.notice, result.is_first) == (None, None, False)
    assert "No such file" in Renderer("cpu").render(view).error
    path.write_bytes((folder / "sg2.pkl").read_bytes())
    result = renderer.render(view)
    assert result.network.has_noise and result.is_first


def test_network_stays_while_its_file_cannot_be_loaded(renderer, folder, tmp_path, monkeypatch):
    path = tmp_path / "t.pkl"
    whole = (folder / "t.pkl").read_bytes()
    path.write_bytes(whole)
    view = View(network=str(path))
    before = renderer.render(view)
    tries = []
    load_network = loaded_networks.load_network

    def load(*args, **kwargs):
        tries.append(args)
        return load_network(*args, **kwargs)

    monkeypatch.setattr(loaded_networks, "load_network", load)
    path.write_bytes(whole[:2000])
    for _ in range(3):
        result = renderer.render(view)
        np.testing.assert_array_equal(result.image, before.image)
        assert result.error is None and result.network == before.network
        assert result.notice.startswith("t.pkl has changed and cannot be loaded (the pickle is")
        assert result.notice.endswith("); this is the network as it was")
    assert len(tries) == 1
    assert renderer.render(replace(view, layer="L9")).notice == result.notice
    path.write_bytes(whole[:3000])
    assert renderer.render(view).notice is not None
    assert len(tries) == 2
    path.write_bytes(whole)
    result = renderer.render(view)
    assert (result.error, result.notice, len(tries)) == (None, None, 3)


def test_notice_ends_when_the_file_is_as_it_was(renderer, folder, tmp_path):
    path = tmp_path / "t.pkl"
    path.write_bytes((folder / "t.pkl").read_bytes())
    view = View(network=str(path))
    renderer.render(view)
    path.rename(tmp_path / "aside.pkl")
    path.mkdir()
    assert "is a folder" in renderer.render(view).notice
    path.rmdir()
    (tmp_path / "aside.pkl").rename(path)
    assert renderer.render(view).notice is None


def test_folder_is_no_network(renderer, folder):
    result = renderer.render(View(network=str(folder)))
    assert result.error == f"{folder} is a folder; choose a network in it, such as a .pkl file"
    assert result.details is None


def test_loading_is_told(folder):
    told = []
    renderer = Renderer("cpu", tell=told.append)
    for name in ("t", "t", "missing"):
        renderer.render(View(network=str(folder / f"{name}.pkl")))
    lines = [f"loading {folder}/{name}.pkl …" for name in ("t", "missing")]
    assert told == [lines[0], None, lines[1], None]


def test_network_knows_its_class_names(renderer, folder, tmp_path):
    labels = [[f"{i}.png", i] for i in range(3)]
    text = json.dumps({"labels": labels, "class_names": ["cat", "dog", "eel"]})
    (tmp_path / "dataset.json").write_text(text)
    data = pickle.loads((folder / "cond.pkl").read_bytes())
    data["training_set_kwargs"] = {"path": str(tmp_path)}
    path = tmp_path / "cond.pkl"
    path.write_bytes(pickle.dumps(data))
    assert renderer.render(View(network=str(path))).network.class_names == ("cat", "dog", "eel")
    elsewhere = Renderer("cpu", dataset_dirs=[folder])
    assert elsewhere.render(View(network=str(path))).network.class_names == ()


def test_network_info(render):
    info = render("cond").network
    assert (info.c_dim, info.num_ws, info.has_noise, info.has_transform) == (3, 6, True, False)
    assert (render().network.has_noise, render().network.has_transform) == (False, True)


def test_results_travel_between_processes(render):
    result = pickle.loads(pickle.dumps(render()))
    np.testing.assert_array_equal(result.image, render().image)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("is_fft", [False, True], ids=["image", "spectrum"])
@pytest.mark.parametrize("layer", [None, "L1_36_8"])
def test_picture_of_what_is_not_finite_is_black_with_a_notice(
    renderer, folder, tmp_path, value, is_fft, layer
):
    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    G.synthesis.input.weight[0, 0] = value
    path = tmp_path / "damaged.pkl"
    networks.save(G, path)
    view = View(network=str(path), fft=is_fft, layer=layer)
    with pytest.warns(UserWarning, match="NaN or infinite values in G_ema.synthesis.input.weight"):
        result = renderer.render(view)
    assert result.error is None, result.details
    what = "the image" if layer is None else f"the output of {layer}"
    assert f"values of {what} are NaN or infinite (black)" in result.notice
    if not is_fft:
        assert (result.image == 0).all()


def test_what_is_not_finite_is_black_in_colors_and_beside_small_values(renderer, folder):
    view = View(network=str(folder / "sg2.pkl"), layer="b16.conv1", num_channels=1)
    layer = renderer.load(view.network).synthesis.b16.conv1

    def damage(module, args, output):
        output = output * 1e-6
        output[:, :, 2, 3] = float("nan")
        return output

    handle = layer.register_forward_hook(damage)
    try:
        view = replace(view, color_map="coolwarm", normalize=True)
        image = renderer.render(view).image
    finally:
        handle.remove()
    assert (image.sum(-1) == 0).nonzero()[0].tolist() == [2]
    assert image.std() > 20  # what is finite has been normalised by itself


@pytest.mark.parametrize("view", [dict(), dict(layer="L1_36_8"), dict(fft=True)])
def test_sound_pictures_come_without_a_notice(render, view):
    assert render(**view).notice is None
