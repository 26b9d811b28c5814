"""Frames of videos with tracks, against synthesis that is computed here, frame by frame."""

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import InputError
from generation import layers, tracks, videos
from tests.small_networks import stylegan2, stylegan3
from torch_utils import images, latents


@pytest.fixture
def G():
    """StyleGAN3 whose styles move the content, with a mean style that is not zero."""
    torch.manual_seed(0)
    G = stylegan3(c_dim=4)
    torch.nn.init.normal_(G.synthesis.input.affine.weight, std=2)
    torch.nn.init.normal_(G.mapping.w_avg)
    return G.requires_grad_(False)


def frames_of(G, folder, seeds=(0, 1), *, w_frames=2, **kwargs) -> np.ndarray:
    """Frames as PNG files hold them, `[N, H, W, C]`."""
    videos.gen_interp_video(G, None, list(seeds), None, w_frames, "linear", frames=folder, **kwargs)
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"frame{i:06d}.png" for i in range(len(paths))]
    return np.stack([np.asarray(PIL.Image.open(path)) for path in paths]).astype(int)


def styles(G, seed: int, class_idx: int | None = None, psi: float = 1) -> torch.Tensor:
    c = latents.label_from_class(class_idx, G.c_dim)
    return G.mapping(latents.z_from_seed(seed, G.z_dim).float(), c, truncation_psi=psi)


def drawn(G, *ws: torch.Tensor, matrices=None) -> np.ndarray:
    frames = []
    for i, style in enumerate(ws):
        with latents.content_transform(G, np.eye(3) if matrices is None else matrices[i]):
            img = G.synthesis(style, noise_mode="const")
        frames.append(images.to_uint8(img)[0].permute(1, 2, 0).numpy())
    return np.stack(frames).astype(int)


def test_truncation_track(G, tmp_path):
    got = frames_of(G, tmp_path / "f", class_idx=1, psi=tracks.parse("0..1"))
    between = [(styles(G, 0, 1, psi) + styles(G, 1, 1, psi)) / 2 for psi in (0.25, 0.75)]
    expected = drawn(G, styles(G, 0, 1, 0), between[0], styles(G, 1, 1, 0.5), between[1])
    np.testing.assert_allclose(got, expected, atol=1)
    assert np.ptp(got, axis=0).max() > 20  # the frames differ


def test_tracks_that_stay_are_plain_numbers(G, tmp_path):
    plain = frames_of(G, tmp_path / "a", class_idx=2, psi=0.7)
    constant = frames_of(
        G, tmp_path / "b", class_idx=tracks.constant(2), psi=tracks.parse("0.7..0.7")
    )
    np.testing.assert_array_equal(plain, constant)


def test_class_track(G, tmp_path):
    got = frames_of(G, tmp_path / "f", seeds=[5], w_frames=4, class_idx=tracks.parse("0..3", int))
    first, last = styles(G, 5, 0), styles(G, 5, 3)
    expected = drawn(G, *(first.lerp(last, share) for share in (0, 0.25, 0.5, 0.75)))
    np.testing.assert_allclose(got, expected, atol=1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("grid_dims", [(1, 1), (2, 1)])
def test_content_tracks(batch, grid_dims, G, tmp_path):
    content = tracks.content_matrices(rotate=tracks.parse("0..360"), zoom=tracks.parse("1..2"))
    seeds = [3, 4][: grid_dims[0]]
    got = frames_of(
        G,
        tmp_path / "f",
        seeds=seeds,
        w_frames=4,
        class_idx=0,
        content=content,
        batch=batch,
        grid_dims=grid_dims,
    )
    matrices = [latents.make_transform((0, 0), angle) for angle in (0, 90, 180, 270)]
    for matrix, zoom in zip(matrices, (1, 1.25, 1.5, 1.75), strict=True):
        matrix[:2, :2] *= zoom
    cells = [drawn(G, *[styles(G, seed, 0)] * 4, matrices=matrices) for seed in seeds]
    np.testing.assert_allclose(got, np.concatenate(cells, axis=2), atol=1)
    np.testing.assert_array_equal(G.synthesis.input.transform.numpy(), np.eye(3))


def test_transforms_of_keyframes_are_interpolated_below_the_content_tracks(G, tmp_path):
    """Seed 0 stays, the style of the file is turned by 90 degrees, and all content is shifted."""
    ws, turned = styles(G, 9, 0), latents.make_transform((0.2, 0), 90)
    shift = latents.make_transform((0.1, 0), 0)
    got = frames_of(
        G,
        tmp_path / "f",
        seeds=[0],
        class_idx=0,
        ws=ws,
        transforms=turned[None],
        content=tracks.content_matrices(tracks.constant((0.1, 0))),
        batch=4,
    )
    half = latents.make_transform((0.1, 0), 45)
    between = (styles(G, 0, 0) + ws) / 2
    matrices = [shift, shift @ half, shift @ turned, shift @ half]
    expected = drawn(G, styles(G, 0, 0), between, ws, between, matrices=matrices)
    np.testing.assert_allclose(got, expected, atol=1)


def test_directions_are_added(G, tmp_path):
    offset = torch.randn([G.num_ws, G.w_dim])
    got = frames_of(
        G, tmp_path / "f", seeds=[2], class_idx=0, directions=[(offset, tracks.parse("-2..2"))]
    )
    expected = drawn(G, styles(G, 2, 0) - 2 * offset, styles(G, 2, 0))
    np.testing.assert_allclose(got, expected, atol=1)


def test_stabilized_content_has_the_transform_of_the_mean_style(G, tmp_path):
    """Expected frames: a copy whose affine ignores styles, by the formula of the layer."""
    got = frames_of(G, tmp_path / "f", class_idx=0, stabilize=True)
    free = frames_of(G, tmp_path / "g", class_idx=0)
    affine, w_avg = G.synthesis.input.affine, G.mapping.w_avg
    bias = affine.weight @ w_avg / np.sqrt(G.w_dim) + affine.bias
    affine.weight.zero_()
    affine.bias.copy_(bias)
    expected = frames_of(G, tmp_path / "h", class_idx=0)
    np.testing.assert_allclose(got, expected, atol=1)
    assert np.abs(got - free).max() > 20


def test_layers_are_scaled_alike_in_all_frames(G, tmp_path):
    """Grey is the mean over all four frames, and 127 levels are three deviations."""
    name = G.synthesis.layer_names[1]
    got = frames_of(G, tmp_path / "f", class_idx=0, layer=name)
    ws = [styles(G, seed, 0) for seed in (0, 1)]
    ws = [ws[0], (ws[0] + ws[1]) / 2, ws[1], (ws[0] + ws[1]) / 2]
    x = torch.cat([layers.output_of(G.synthesis, name, style) for style in ws])[:, :3].double()
    mean, deviation = x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)
    expected = (x.permute(0, 2, 3, 1) - mean) / (3 * deviation) * 127.5 + 128
    factor = max(16 // x.shape[-1], 1)
    shown = got[:, ::factor, ::factor]
    np.testing.assert_allclose(shown, expected.clamp(0, 255).int().numpy(), atol=1)
    assert got.shape[1] == x.shape[-1] * factor


def test_scale_of_a_layer_is_that_of_frames_all_over_the_video(G, tmp_path, monkeypatch):
    """Of 80 frames, 32 are measured; all are different, though there is one keyframe."""
    measured = []

    def measure(outputs):
        measured.extend(outputs)
        return layers.Scale(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))

    monkeypatch.setattr(layers, "measure", measure)
    name, psi = G.synthesis.layer_names[1], tracks.parse("0..1")
    frames_of(G, tmp_path / "f", seeds=[7], w_frames=80, class_idx=0, psi=psi, layer=name)
    ws = [styles(G, 7, 0, psi=float(int(i * 80 / 32)) / 80) for i in range(32)]
    expected = torch.cat([layers.output_of(G.synthesis, name, style) for style in ws])
    torch.testing.assert_close(torch.cat(measured), expected, atol=1e-3, rtol=1e-3)


def test_damage_is_found_at_the_right_frame_while_a_layer_is_measured(G, tmp_path):
    """The third frame that is measured is frame 5 of 80."""
    name = G.synthesis.layer_names[1]
    amount = lambda t: np.where(t < 5 / 80, 0, np.inf)  # noqa: E731
    offset = torch.ones([G.num_ws, G.w_dim])
    with pytest.raises(InputError, match="frame 5, between seed 7 and seed 7"):
        frames_of(
            G,
            tmp_path / "f",
            seeds=[7],
            w_frames=80,
            class_idx=0,
            directions=[(offset, amount)],
            layer=name,
        )


def test_transparency_stays_in_png_files_beside_a_video(tmp_path, writers):
    torch.manual_seed(0)
    G = stylegan2(img_channels=4).requires_grad_(False)
    ws = torch.randn([1, G.num_ws, G.w_dim]) * 3
    videos.gen_interp_video(G, tmp_path / "x.mp4", None, w_frames=1, ws=ws, frames=tmp_path / "f")
    png = PIL.Image.open(tmp_path / "f" / "frame000000.png")
    assert png.mode == "RGBA" and np.ptp(np.asarray(png)[:, :, 3]) > 0
    np.testing.assert_array_equal(np.asarray(png), drawn(G, ws)[0])
    assert len(writers) == 1 and len(writers[0].frames) == 1


def test_old_frames_are_kept_and_refused(G, tmp_path):
    frames_of(G, tmp_path / "f", class_idx=0)
    before = {path: path.read_bytes() for path in (tmp_path / "f").iterdir()}
    with pytest.raises(
        InputError, match=r"has frames already, from frame000000\.png to frame000003"
    ):
        frames_of(G, tmp_path / "f", seeds=[7], class_idx=0)
    assert before == {path: path.read_bytes() for path in (tmp_path / "f").iterdir()}


def passes_of(G) -> list[int]:
    """A list that gets one entry for each pass of `G`."""
    passes: list[int] = []
    G.synthesis.register_forward_hook(lambda *args: passes.append(1))
    return passes


@pytest.mark.parametrize("zoom", [lambda t: 1 - 2 * t, tracks.parse("1..0.0005")])
def test_zooms_too_small_are_refused_before_the_first_frame(zoom, G, tmp_path):
    passes = passes_of(G)
    content = tracks.content_matrices(zoom=zoom)
    with pytest.raises(InputError, match=r"--zoom: a zoom must stay above 0\.001"):
        frames_of(G, tmp_path / "f", seeds=[0], w_frames=4000, class_idx=0, content=content)
    assert not (tmp_path / "f").exists() and len(passes) == 1  # the warm-up


def test_mirrored_keyframes_are_refused_before_the_first_frame(G, tmp_path):
    """Half way to a mirrored picture there is none; a frame there would have no content."""
    passes = passes_of(G)
    mirrored = np.diag([-1.0, 1, 1])[None]
    message = "frame 1, between seed 0 and style 0: the transform .* change the array 'transform'"
    with pytest.raises(InputError, match=message):
        frames_of(
            G, tmp_path / "f", seeds=[0], class_idx=0, ws=styles(G, 1, 0), transforms=mirrored
        )
    assert not (tmp_path / "f").exists() and len(passes) == 1


def test_classes_of_an_unconditional_network_only_warn(tmp_path):
    torch.manual_seed(0)
    G = stylegan2().requires_grad_(False)
    with pytest.warns(UserWarning, match="--class has no effect"):
        got = frames_of(G, tmp_path / "f", class_idx=tracks.parse("0..2", int))
    np.testing.assert_allclose(got, frames_of(G, tmp_path / "g"), atol=1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"content": tracks.content_matrices(zoom=tracks.parse("1..2"))}, "--zoom are for Style"),
        ({"stabilize": True}, "--stabilize is for StyleGAN3"),
        ({"layer": "L9"}, "no layer 'L9'; there are: b4.conv1, .*b16.torgb"),
    ],
)
def test_what_a_network_lacks_is_refused(kwargs, message, tmp_path):
    G = stylegan2().requires_grad_(False)
    with pytest.raises(InputError, match=message):
        videos.gen_interp_video(G, None, [0], w_frames=1, frames=tmp_path / "f", **kwargs)
    assert not (tmp_path / "f").exists()


def test_a_video_without_a_file_is_refused(G):
    with pytest.raises(InputError, match="give `mp4`, `frames`, or both"):
        videos.gen_interp_video(G, None, [0], class_idx=0)


def test_matrices_without_inverse_are_named(G, tmp_path):
    content = lambda t: np.zeros([len(t), 3, 3])  # noqa: E731
    with pytest.raises(InputError, match="frame 0, between seed 3 and seed 3: the transform"):
        frames_of(G, tmp_path / "f", seeds=[3], class_idx=0, content=content)
