"""data.sampler: the order of images against reference sequences."""

from itertools import islice

import pytest
import torch

from data.sampler import InfiniteSampler
from tests import golden


@pytest.mark.parametrize("case", golden.case_names("sampler.npz"))
def test_sampler_matches_golden_sequence(case):
    case = golden.load("sampler.npz")[case]
    sampler = InfiniteSampler(range(case.meta["dataset_len"]), **case.meta["kwargs"])
    for _ in range(2):  # each iteration starts afresh
        assert list(islice(sampler, 200)) == case.arrays["indices"].tolist()


@pytest.mark.parametrize("case", golden.case_names("dataset.npz", "sampler_"))
def test_sampler_matches_golden_order(case):
    case = golden.load("dataset.npz")[case]
    sampler = InfiniteSampler(range(case.meta["len"]), **case.meta["kwargs"])
    order = case.arrays["order"].tolist()
    assert list(islice(sampler, len(order))) == order


@pytest.mark.parametrize("start", [0, 1, 5000])
def test_sampler_resumes_in_the_middle(start):
    kwargs = {"rank": 1, "num_replicas": 3, "seed": 4}
    whole = list(islice(InfiniteSampler(range(37), **kwargs), start + 50))
    rest = list(islice(InfiniteSampler(range(37), **kwargs, start=start), 50))
    assert rest == whole[start:]


def test_sampler_drives_a_data_loader():
    dataset = list(range(10))
    loader = torch.utils.data.DataLoader(
        dataset, sampler=InfiniteSampler(dataset, shuffle=False), batch_size=8
    )
    assert [batch.tolist() for batch in islice(loader, 2)] == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [8, 9, 0, 1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize(
    "size, kwargs, message",
    [
        (0, {}, "empty"),
        (5, {"rank": 2, "num_replicas": 2}, "no part 2 of 2"),
        (5, {"window_size": 1.5}, "window_size"),
        (5, {"start": -1}, "start"),
    ],
)
def test_sampler_refuses_bad_arguments(size, kwargs, message):
    with pytest.raises(ValueError, match=message):
        InfiniteSampler(range(size), **kwargs)
