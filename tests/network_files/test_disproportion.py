"""Time and memory of the loader stay in proportion to the size of the file."""

import io

import pytest
import torch

import legacy
from network_files import proportion
from tests.network_files import disproportion, seeds

MAX_SECONDS = 5
MAX_BYTES = 200 << 20
MAX_COPIES = 4  # of a large file


@pytest.mark.parametrize("key", disproportion.FILES)
def test_small_files_are_refused_before_they_take_much(victim, key):
    report = victim.load(disproportion.FILES[key]())
    assert report.outcome == "refused", report
    assert report.complaint(MAX_SECONDS, MAX_BYTES) is None


@pytest.mark.parametrize("key", disproportion.SHARING)
def test_tensors_that_share_numbers_do_not_fill_the_memory(victim, key):
    data = disproportion.SHARING[key]()
    report = victim.load(data)
    assert report.outcome == "refused", report
    assert report.complaint(MAX_SECONDS, MAX_COPIES * len(data)) is None
    assert "its tensors are larger than what the file holds" in report.message


def load(data: bytes) -> dict:
    return legacy.load_network_pkl(io.BytesIO(data))


def test_one_network_of_several_names_is_built_once():
    net = seeds.generator()
    data = load(seeds.dumps({"G": net, "G_ema": net, "extra": net}))
    assert data["G"] is data["G_ema"] is data["extra"]


def test_networks_that_share_some_numbers_load():
    net = disproportion.sharing_network(1 << 10, num_names=2)
    got = load(seeds.dumps({"G_ema": net, "G": net}))["G_ema"]
    for name, value in net.state_dict().items():
        assert torch.equal(got.state_dict()[name], value)


@pytest.mark.parametrize("resolution", [4096, 8192, 65536])
def test_large_images_need_weights_in_proportion(resolution):
    net = torch.nn.Linear(1, 1)
    net.img_resolution, net.img_channels = resolution, 3
    if resolution == 4096:  # as large as any that were trained: whatever the weights are
        proportion.check_image_size(net)
        return
    size = f"{resolution}x{resolution}"
    with pytest.raises(ValueError, match=f"its images are {size} .* out of all proportion"):
        proportion.check_image_size(net)
    num_bytes = 4 * 3 * resolution**2
    num_floats = num_bytes // proportion.MAX_IMAGE_TO_WEIGHTS // 4
    net.weight = torch.nn.Parameter(torch.empty(num_floats, device="meta"))
    proportion.check_image_size(net)
