"""The launches that are planned for filtered_lrelu: what CUDA requires of them."""

import itertools
import re

import pytest
import torch

from torch_utils.ops.cuda.filtered_lrelu_plan import FACTORS, READ_MASK, Call, make_plan

SHAPES = [((n,), (n,)) for n in (1, 6, 9, 24, 32)]
SHAPES += [((23, 23), (25,)), ((12, 12), (12,)), ((32, 32), (32,)), ((12,), (12, 12))]


@pytest.mark.parametrize("is_channels_last", [False, True])
@pytest.mark.parametrize(("fu", "fd"), SHAPES, ids=str)
def test_blocks_are_whole_warps_for_which_the_kernel_is_compiled(fu, fd, is_channels_last):
    for up, down, size in itertools.product(FACTORS, FACTORS, (1, 9, 40, 129)):
        memory_format = torch.channels_last if is_channels_last else torch.contiguous_format
        x = torch.empty([2, 5, size, size], device="meta", memory_format=memory_format)
        layout = torch.float16, x.shape, x.stride(), fu, fd
        plan = make_plan(
            Call(READ_MASK, *layout, up, down, (40,) * 4, (0,) * 4, 1.0, 0.2, 0.0, False)
        )
        if plan.name is None:
            continue
        (most,) = re.findall(r"Tile<.*?(\d+)>", plan.name)  # `kThreads`, the last parameter
        assert plan.block[0] <= int(most) <= 1024
        assert plan.block[0] % 32 == 0 and plan.block[1:] == (1, 1)
