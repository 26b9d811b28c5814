"""The file format of latents."""

import numpy as np
import pytest
import torch

from dnnlib.errors import InputError
from generation import latent_files
from generation.latent_files import Latents
from tests.small_networks import stylegan2
from torch_utils import latents

WS = np.random.RandomState(0).randn(2, 5, 8).astype(np.float32)


def test_everything_comes_back(tmp_path):
    transforms = np.stack([latents.make_transform((0.1, 0), 5), np.eye(3)])
    given = Latents(torch.from_numpy(WS), transforms, torch.eye(3)[:2], ["a", "ü"], "abc")
    latent_files.save(tmp_path / "w.npz", given)
    found = latent_files.load(tmp_path / "w.npz")
    assert torch.equal(found.ws, given.ws) and torch.equal(found.labels, given.labels)
    np.testing.assert_array_equal(found.transforms, transforms)
    assert (found.names, found.network, len(found)) == (["a", "ü"], "abc", 2)


@pytest.mark.parametrize("w", [WS[0], WS[:1], WS[:1].astype(np.float64), WS[:1].astype(np.float16)])
def test_files_of_other_programs_are_read(tmp_path, w):
    np.savez(tmp_path / "w.npz", w=w)
    found = latent_files.load(tmp_path / "w.npz")
    assert found.ws.dtype == torch.float32 and found.ws.shape == (1, 5, 8)
    np.testing.assert_allclose(found.ws[0], WS[0], rtol=1e-3)
    assert (found.transforms, found.labels, found.names, found.network) == (None,) * 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(v=WS), "not an NPZ file with an array 'w'"),
        (dict(w=WS[0, 0]), r"'w' has shape \[8\], but must be \[N, num_ws, w_dim\]"),
        (dict(w=WS[:0]), r"'w' has shape \[0, 5, 8\]: there are no latents in the file"),
        (dict(w=WS[None]), r"'w' has shape \[1, 2, 5, 8\]"),
        (dict(w=WS.astype(int)), "'w' must hold floating-point numbers, not int64"),
        (dict(w=WS * np.nan), "'w' holds NaN or infinite values"),
        (dict(w=WS, transform=np.eye(3)), r"'transform' has shape \[1, 3, 3\], but .* \[2, 3, 3\]"),
        (dict(w=WS, transform=np.zeros([2, 3, 3])), "'transform' has a matrix without inverse"),
        (dict(w=WS, transform=np.full([2, 3, 3], np.inf)), "'transform' holds NaN or infinite"),
        (dict(w=WS, c=np.eye(3)), r"'c' has shape \[3, 3\], but must be \[2, c_dim\]"),
        (dict(w=WS, names=np.array(["a"])), "1 'names' do not fit 2 images"),
    ],
)
def test_malformed_files_are_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=message) as refused:
        latent_files.load(tmp_path / "w.npz")
    assert str(tmp_path / "w.npz") in str(refused.value)


def test_any_number_type_will_do_for_what_is_optional(tmp_path):
    transform = np.stack([np.eye(3, dtype=np.float16)] * 2)
    np.savez(tmp_path / "w.npz", w=WS, transform=transform, c=np.eye(2, dtype=int), network=[])
    found = latent_files.load(tmp_path / "w.npz")
    assert found.transforms.dtype == np.float64 and found.network is None
    assert torch.equal(found.labels, torch.eye(2))


def test_transforms_without_effect_are_said():
    G = stylegan2()
    given = Latents(torch.zeros([1, G.num_ws, G.w_dim]), np.eye(3)[None])
    with pytest.warns(UserWarning, match="the transforms have no effect"):
        latent_files.check(given, G, "--latents")


def test_arrays_that_are_ignored_are_named(tmp_path):
    np.savez(tmp_path / "w.npz", w=WS, noise=np.zeros(3), b=np.zeros(1))
    with pytest.warns(UserWarning, match="ignores the arrays 'b', 'noise'"):
        latent_files.load(tmp_path / "w.npz")


def test_latents_of_another_network_are_drawn_with_a_warning(recwarn):
    G = stylegan2()
    ws = torch.zeros([1, G.num_ws, G.w_dim])
    latent_files.check(Latents(ws, network=latent_files.network_hash(G)), G, "--latents")
    latent_files.check(Latents(ws), G, "--latents")
    assert not recwarn.list
    with pytest.warns(UserWarning, match="--latents: these latents belong to another network"):
        latent_files.check(Latents(ws, network="0" * 64), G, "--latents")
    with pytest.raises(InputError, match=r"styles \(--latents\) have shape \[1, 2, 8\]"):
        latent_files.check(Latents(ws[:, :2]), G, "--latents")


def test_hash_follows_the_parameters_alone():
    torch.manual_seed(0)
    G = stylegan2()
    before = latent_files.network_hash(G)
    G.mapping.w_avg.add_(1)
    assert latent_files.network_hash(G) == before
    with torch.no_grad():
        G.synthesis.b4.const[0, 0, 0] += 1e-3
    assert latent_files.network_hash(G) != before
