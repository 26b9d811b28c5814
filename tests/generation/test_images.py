"""Images of a generator: the transform, and what is left of it."""

import numpy as np
import torch

from generation.images import generate_images
from tests.small_networks import stylegan3
from torch_utils import latents


def test_transform_is_the_inverse_and_is_undone(tmp_path, monkeypatch):
    G = stylegan3()
    before = G.synthesis.input.transform.clone()
    seen = []
    synthesis = type(G.synthesis).forward

    def spy(self, *args, **kwargs):
        seen.append(self.input.transform.clone())
        return synthesis(self, *args, **kwargs)

    monkeypatch.setattr(type(G.synthesis), "forward", spy)
    generate_images(G, [0], tmp_path, translate=(0.25, -0.5), rotate=30)
    expected = np.linalg.inv(latents.make_transform((0.25, -0.5), 30))
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-6)
    torch.testing.assert_close(G.synthesis.input.transform, before, rtol=0, atol=0)
