"""Videos of a generator: reference frames, and what an interruption leaves."""

import inspect

import imageio
import numpy as np
import pytest
import torch

from generation import videos
from tests import golden
from tests.small_networks import stylegan3

WRITER_ARGUMENTS = {"mode": "I", "fps": 60, "codec": "libx264", "bitrate": "12M"}


class StubGenerator:
    """The network of the reference: linear mapping, one layer of synthesis."""

    def __init__(self, case) -> None:
        self.meta, self.M, self.B = case.meta, golden.tensor(case, "M"), golden.tensor(case, "B")
        self.z_dim = case.meta["z_dim"]
        self.calls = []

    def mapping(self, z, c, truncation_psi):
        assert str(c) == self.meta["mapping_call"]["c"]
        assert str(z.dtype) == self.meta["mapping_call"]["z_dtype"]
        return truncation_psi * (z @ self.M).reshape(-1, self.meta["num_ws"], self.meta["w_dim"])

    def synthesis(self, ws, **kwargs):
        self.calls.append((ws.numpy(), kwargs))
        return torch.tanh(ws.flatten(1) @ self.B).reshape(-1, 3, 2, 2)


def gen_reference_video(case, tmp_path, **kwargs) -> StubGenerator:
    G = StubGenerator(case)
    videos.gen_interp_video(
        G,
        mp4=str(tmp_path / "x.mp4"),
        seeds=case.meta["seeds"],
        shuffle_seed=case.meta["shuffle_seed"],
        w_frames=case.meta["w_frames"],
        kind=case.meta["kind"],
        grid_dims=tuple(case.meta["grid_dims"]),
        num_keyframes=case.meta["num_keyframes_arg"],
        wraps=case.meta["wraps"],
        psi=case.meta["psi"],
        device=torch.device("cpu"),
        **kwargs,
    )
    return G


@pytest.mark.parametrize("name", golden.case_names("gen.npz", "video_"))
def test_video_matches_reference(name, writers, tmp_path):
    case = golden.load("gen.npz")[name]
    G = gen_reference_video(case, tmp_path)

    (warm_up_ws, warm_up_kwargs), *calls = G.calls
    assert warm_up_kwargs == {} and len(warm_up_ws) == 1
    assert all(len(ws) == 1 and kwargs == {"noise_mode": "const"} for ws, kwargs in calls)
    ws = np.concatenate([ws for ws, _ in calls]).reshape(case.arrays["ws"].shape)
    np.testing.assert_allclose(ws, case.arrays["ws"], atol=1e-8)

    (writer,) = writers
    assert writer.arguments == case.meta["writer_arguments"] == WRITER_ARGUMENTS
    assert writer.is_closed
    frames = np.stack(writer.frames).astype(int)
    np.testing.assert_allclose(frames, case.arrays["frames"].astype(int), atol=1)
    assert not list(tmp_path.iterdir())  # the writer wrote no file


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_batches_across_grid_and_time_give_the_same_frames(batch, writers, tmp_path):
    case = golden.load("gen.npz")["video_grid2x3_shuffle"]
    G = gen_reference_video(case, tmp_path, batch=batch)
    num_images = case.meta["total_frames"] * 6
    sizes = [len(ws) for ws, _ in G.calls[1:]]
    assert sizes == [min(batch, num_images - i) for i in range(0, num_images, batch)]
    frames = np.stack(writers[0].frames).astype(int)
    np.testing.assert_allclose(frames, case.arrays["frames"].astype(int), atol=1)


@pytest.mark.parametrize("name", golden.case_names("gen.npz", "layout_"))
def test_layout_grid_matches_reference(name):
    case = golden.load("gen.npz")[name]
    got = videos.layout_grid(golden.tensor(case, "img"), **case.meta["kwargs"])
    assert type(got).__name__ == case.meta["return_type"]
    np.testing.assert_array_equal(np.asarray(got), case.arrays["out"])
    assert np.asarray(got).dtype == case.arrays["out"].dtype


@pytest.mark.parametrize("error", [ValueError("--x is wrong"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif"])
def test_interruption_keeps_what_was_there(error, name, tmp_path):
    """Whether rendering fails or somebody stops it: no new file, and the old one is as it was."""
    G = stylegan3()
    forward, num_calls = G.synthesis.forward, 0

    def failing(*args, **kwargs):
        nonlocal num_calls
        num_calls += 1
        if num_calls == 20:
            raise error
        return forward(*args, **kwargs)

    G.synthesis.forward = failing
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(type(error)):
        videos.gen_interp_video(G, tmp_path / name, [0, 1], w_frames=30)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


def test_encoder_that_dies_is_noticed(tmp_path, monkeypatch):
    writer_type, frames = imageio.core.format.Format.Writer, 0
    append = writer_type.append_data

    def failing(self, im, meta=None):
        nonlocal frames
        frames += 1
        if frames == 5:
            raise OSError("Broken pipe\n\nFFMPEG COMMAND: ...")
        return append(self, im, meta or {})

    monkeypatch.setattr(writer_type, "append_data", failing)
    with pytest.raises(OSError, match=r"out\.mp4 was not written: the encoder stopped"):
        videos.gen_interp_video(stylegan3(), tmp_path / "out.mp4", [0], w_frames=200)
    assert not list(tmp_path.iterdir())


def test_published_signature():
    parameters = [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(videos.gen_interp_video).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    empty = inspect.Parameter.empty
    assert parameters == [
        *[(name, empty) for name in ("G", "mp4", "seeds")],
        *[("shuffle_seed", None), ("w_frames", 240), ("kind", "cubic"), ("grid_dims", (1, 1))],
        *[("num_keyframes", None), ("wraps", 2), ("psi", 1), ("device", None)],
    ]
