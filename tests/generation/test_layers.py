"""Layers of a running network: their names, outputs, and pictures."""

import pytest
import torch

from dnnlib.errors import InputError
from generation import layers
from tests.small_networks import stylegan2, stylegan3


@pytest.fixture(params=[stylegan2, stylegan3])
def synthesis(request):
    torch.manual_seed(0)
    return request.param().synthesis.requires_grad_(False)


def styles(synthesis, num: int = 2) -> torch.Tensor:
    return torch.randn([num, synthesis.num_ws, synthesis.w_dim])


def test_every_layer_that_is_listed_can_be_had(synthesis):
    ws = styles(synthesis)
    names = layers.names(synthesis, ws)
    assert len(names) == len(set(names)) >= 5
    for name in names:
        output = layers.output_of(synthesis, name, ws, noise_mode="const")
        assert output.ndim == 4 and len(output) == 2
    assert not any(module._forward_hooks for module in synthesis.modules())


def test_output_is_what_the_module_returned_and_later_layers_do_not_run():
    torch.manual_seed(0)
    synthesis = stylegan3().synthesis.requires_grad_(False)
    ws, calls = styles(synthesis), []
    first, second = (getattr(synthesis, name) for name in synthesis.layer_names[:2])
    second.register_forward_hook(lambda *args: calls.append(args))
    got = layers.output_of(synthesis, synthesis.layer_names[0], ws)
    assert not calls
    torch.testing.assert_close(got, first(synthesis.input(ws[:, 0]), ws[:, 1]))


def test_missing_layers_are_refused(synthesis):
    with pytest.raises(InputError, match="this network has no layer L99"):
        layers.output_of(synthesis, "L99", styles(synthesis))


def test_scale_puts_the_mean_on_grey_and_three_deviations_on_white():
    torch.manual_seed(0)
    outputs = [torch.randn([2, 5, 30, 30]) * 4 + 7 for _ in range(20)]
    scale = layers.measure(iter(outputs))
    shown = scale(torch.tensor([7.0, 7 + 12, 7 - 12, 0, 0]).reshape(1, 5, 1, 1))
    assert shown.shape == (1, 3, 1, 1)
    torch.testing.assert_close(shown.flatten(), torch.tensor([0.0, 1, -1]), atol=0.03, rtol=0)


def test_scale_of_few_and_of_equal_values():
    output = torch.full([1, 2, 4, 4], 3.0)
    shown = layers.measure([output])(output)
    assert shown.shape == (1, 1, 4, 4) and not shown.any()
