"""StyleGAN2 beyond its reference numbers: arrangements, layouts, bfloat16, torch.compile."""

import pytest
import torch

from tests import golden
from torch_utils.ops import conv2d_gradfix
from torch_utils.ops.selection import force_reference
from training import networks_stylegan2 as stylegan2


def generator(img_resolution=32, **kwargs):
    """A small generator in whose output every weight matters."""
    args = dict(z_dim=16, c_dim=0, w_dim=16, img_resolution=img_resolution, img_channels=3)
    G = stylegan2.Generator(**args, channel_base=512, channel_max=32, **kwargs)
    return golden.fill_weights(G).eval().requires_grad_(False)


def styles(G, num=2):
    shape = [num, G.num_ws, G.w_dim]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", stylegan2.ARCHITECTURES)
def test_kernels_match_reference_ops(architecture):
    G = generator(architecture=architecture)
    ws = styles(G)
    with force_reference():
        want = G.synthesis(ws, noise_mode="const")
    got = G.synthesis(ws, noise_mode="const")
    assert golden.scaled_error(got, want.numpy()) < 1e-5


def test_image_does_not_depend_on_its_batch():
    """A batch of one scales the weights, and a larger one the activations."""
    G = generator()
    ws = styles(G)
    want = G.synthesis(ws, noise_mode="const")
    for i in range(len(ws)):
        got = G.synthesis(ws[i : i + 1], noise_mode="const")
        assert golden.scaled_error(got, want[i : i + 1].numpy()) < 1e-5


@pytest.mark.parametrize("num", [1, 2])
def test_gradients_match_those_of_reference_ops(num):
    G = generator().double().requires_grad_(True)
    ws = styles(G, num).double()

    def gradients():
        img = G.synthesis(ws, noise_mode="const")
        return torch.autograd.grad(img.square().sum(), list(G.synthesis.parameters()))

    with force_reference():
        want = gradients()
    for value, wanted in zip(gradients(), want, strict=True):
        assert golden.scaled_error(value, wanted.numpy()) < 1e-9


def test_bfloat16_stays_close_to_float32():
    G = generator()
    ws = styles(G)
    want = G.synthesis(ws, noise_mode="const")
    got = G.to(torch.bfloat16).synthesis(ws, noise_mode="const")
    assert got.dtype == torch.bfloat16
    assert (got - want).square().mean().sqrt() < 0.02 * want.square().mean().sqrt()


@pytest.mark.slow
def test_synthesis_compiles_without_graph_breaks():
    G = generator(img_resolution=8)
    ws = styles(G)
    want = G.synthesis(ws, noise_mode="const")
    got = torch.compile(G.synthesis, fullgraph=True)(ws, noise_mode="const")
    assert golden.scaled_error(got, want.numpy()) < 1e-5


@pytest.mark.slow
def test_gradients_of_compiled_synthesis():
    G = generator(img_resolution=8).requires_grad_(True)
    ws = styles(G)
    compiled = torch.compile(G.synthesis, fullgraph=True, backend="aot_eager")  # generates no code
    imgs = (synthesis(ws, noise_mode="const") for synthesis in (G.synthesis, compiled))
    weight = G.synthesis.b8.conv0.weight
    (want,), (got,) = (torch.autograd.grad(img.square().sum(), weight) for img in imgs)
    assert golden.scaled_error(got, want.numpy()) < 1e-4


def test_styles_of_one_image_get_gradients_without_those_of_weights():
    """Path length leaves out the gradients of weights, but needs those of styles."""
    G = generator()
    gradients = []
    for disable in (False, True):
        ws = styles(G, 1).requires_grad_(True)
        img = G.synthesis(ws, noise_mode="const")
        with conv2d_gradfix.no_weight_gradients(disable):
            gradients.append(torch.autograd.grad(img.square().sum(), ws)[0])
    torch.testing.assert_close(*gradients)
