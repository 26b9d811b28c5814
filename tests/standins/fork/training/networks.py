"""A network of this program, which has nothing to do with those of the same name elsewhere."""

import torch

from torch_utils import misc, persistence


@persistence.persistent_class
class Generator(torch.nn.Module):
    """A closed path through styles: circular weights between keys `[num_keys, w_dim]`."""

    def __init__(self, keys):
        super().__init__()
        self.register_buffer("keys", torch.as_tensor(keys))

    def forward(self, t):
        """Styles at times in [0, 1): `[N]` to `[N, w_dim]`."""
        num_keys = self.keys.shape[0]
        at = t * num_keys
        left = at.floor().long()
        weight = (at - left)[:, None]
        weight = weight * weight * (3 - 2 * weight)
        w = self.keys[left % num_keys].lerp(self.keys[(left + 1) % num_keys], weight)
        misc.assert_shape(w, [t.shape[0], self.keys.shape[1]])
        return w
