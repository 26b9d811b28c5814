"""Images of a network to measure."""

import numpy as np
import torch

from generation import sources
from tests.small_networks import stylegan2
from torch_utils import images, latents


def test_images_of_a_network_have_seeds_and_drawn_classes():
    G = stylegan2(c_dim=3)
    got = torch.cat(list(sources.generated_images(G, 5, 10, 2, torch.device("cpu"))))
    classes = set()
    for i in range(5):
        rng = np.random.RandomState(10 + i)
        z = torch.from_numpy(rng.randn(1, G.z_dim)).to(torch.float32)
        class_idx = rng.randint(G.c_dim)
        classes.add(class_idx)
        with torch.no_grad():
            img = G(z, latents.label_from_class(class_idx, 3), noise_mode="const")
        expected = images.to_uint8(img)[0].to(int)
        assert (got[i].to(int) - expected).abs().max() <= 1
    assert len(classes) > 1
