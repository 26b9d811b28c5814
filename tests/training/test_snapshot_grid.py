"""The choice of real images for a sheet, against the reference."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.dataset import ImageFolderDataset
from tests import golden
from training.snapshot_grid import setup_snapshot_image_grid


class FakeDataset:
    """Item `i` is the image [i]; labels are whatever the test gives."""

    def __init__(self, size, image_shape, raw_labels=None):
        self.size, self.image_shape, self.raw_labels = size, image_shape, raw_labels
        self.has_labels = raw_labels is not None

    def __len__(self):
        return self.size

    def __getitem__(self, idx):
        return np.array([idx]), np.zeros(0, dtype=np.float32)

    def get_details(self, idx):
        return SimpleNamespace(raw_label=np.array(self.raw_labels[idx]))


def check(case, grid_size, indices):
    assert grid_size == (case.meta["grid_w"], case.meta["grid_h"])
    np.testing.assert_array_equal(indices, case.arrays["indices"])


@pytest.mark.parametrize("name", golden.case_names("dataset.npz", "grid_fake_"))
def test_choice_matches_reference(name):
    case = golden.load("dataset.npz")[name]
    raw_labels = case.meta.get("raw_labels")
    dataset = FakeDataset(len(raw_labels or range(50)), [3, 1024, 1024], raw_labels)
    grid_size, images, labels = setup_snapshot_image_grid(dataset)
    check(case, grid_size, images[:, 0])
    assert list(labels.shape) == case.meta["labels_shape"]


@pytest.mark.parametrize(
    "name", [n for n in golden.case_names("dataset.npz", "grid_") if "fake" not in n]
)
def test_choice_matches_reference_on_real_datasets(name, monkeypatch):
    case = golden.load("dataset.npz")[name]
    kwargs = {key: case.meta[key] for key in ("use_labels", "xflip") if key in case.meta}
    dataset = ImageFolderDataset(path=str(golden.DATA_DIR / case.meta["dataset"]), **kwargs)
    fetched = []
    get = ImageFolderDataset.__getitem__
    monkeypatch.setattr(
        ImageFolderDataset, "__getitem__", lambda self, idx: fetched.append(idx) or get(self, idx)
    )
    seed = case.meta.get("random_seed", 0)
    grid_size, images, labels = setup_snapshot_image_grid(dataset, random_seed=seed)
    check(case, grid_size, fetched)
    assert list(images.shape) == case.meta["images_shape"]
    assert images.dtype == np.uint8
    assert list(labels.shape) == case.meta["labels_shape"]


def test_grid_dimensions_match_reference():
    facts = golden.load_json("dataset_facts.json")
    sizes = {
        (int(size), int(size)): dims for size, dims in facts["grid_dims_by_resolution"].items()
    }
    for text, dims in facts["grid_dims_HxW_nonsquare"].items():
        height, width = text.split("x")
        sizes[int(height), int(width)] = dims
    for (height, width), dims in sizes.items():
        grid_size, _, _ = setup_snapshot_image_grid(FakeDataset(3, [3, height, width]))
        assert list(grid_size) == dims, (height, width)
