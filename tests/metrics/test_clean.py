"""FID and KID of images that Pillow's filter has resized (Parmar et al. 2022)."""

import numpy as np
import pytest
import scipy.linalg
import torch

from data.dataset import ImageFolderDataset
from metrics import metric_main, metric_utils
from metrics.inception import InceptionV3
from tests import golden
from tests.metrics import stand_ins
from tests.metrics.test_calc_metrics import compute, files
from tests.metrics.test_images import folder
from tests.metrics.test_pillow_resize import by_pillow
from torch_utils.distributed import Worker

NAMES = ["fid50k_full_clean", "kid50k_full_clean"]

files, folder = files, folder  # fixtures


def clean(images: np.ndarray) -> torch.Tensor:
    """Images `[N, C, H, W]` as they enter Inception, by Pillow itself."""
    return torch.from_numpy(by_pillow(images, 299).clip(0, 255))


def test_inception_sees_the_pictures_of_pillow():
    torch.manual_seed(0)
    network = InceptionV3().prepare()
    img = torch.randint(0, 2, [2, 3, 24, 24], dtype=torch.uint8) * 255
    with torch.no_grad():
        got = metric_utils.detect(network, img, metric_utils.CLEAN_FEATURES)
        expected = network(clean(img.numpy()), return_features=True)
        other = metric_utils.detect(network, img, metric_utils.FEATURES)
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (got - other).abs().max() > 1e-2 * expected.abs().max()


def test_inception_looks_once_at_images_of_each_kind():
    torch.manual_seed(0)
    network, counts = InceptionV3().prepare(), []
    network.Mixed_7c.register_forward_hook(lambda *_: counts.append(1))
    img = torch.randint(256, [2, 3, 16, 16], dtype=torch.uint8)
    calls = [dict(metric_utils.FEATURES), dict(metric_utils.CLEAN_FEATURES), {}]
    calls.append(dict(no_output_bias=True, clean=True))
    with torch.no_grad():
        expected = [metric_utils.detect(network, img, call) for call in calls]
        counts.clear()
        found = metric_utils.detect_all(network, img, calls)
    assert len(counts) == 2
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_values_are_those_of_pillow_and_scipy(dataset_zip, folder, files):
    network = stand_ins.Inception()
    kinds = []
    for path in (dataset_zip, folder):
        dataset = ImageFolderDataset(path)
        images = np.stack([dataset[idx][0] for idx in range(len(dataset))])
        with torch.no_grad():
            kinds.append(network(clean(images), return_features=True).numpy().astype(np.float64))
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(axis=0), np.cov(x.T, bias=True)) for x in kinds)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    fid = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root)
    options = [f"--images={folder}", f"--data={dataset_zip}", *files]
    values = compute(*options, f"--metrics=fid50k_full,{','.join(NAMES)}")
    assert values["fid50k_full_clean"] == pytest.approx(fid, rel=1e-4)
    assert abs(values["fid50k_full_clean"] - values["fid50k_full"]) > 1e-3 * fid
    again = compute(*options, f"--metrics={NAMES[1]}")  # the features come from the cache
    assert again["kid50k_full_clean"] == values["kid50k_full_clean"]


def test_shared_passes_keep_both_kinds_apart(detector_files, dataset_zip):
    options = dict(
        G=stand_ins.build_generator(),
        dataset_kwargs=dict(class_name="training.dataset.ImageFolderDataset", path=dataset_zip),
        worker=Worker(),
        num=12,
        cache=False,
        detectors=dict(inception=str(detector_files["inception"])),
        allow_untrusted=True,  # TorchScript
    )
    names = ["is50k", *NAMES, "kid50k_full"]
    separate, together = {}, {}
    passes = metric_main.plan(names, **options)
    for name in names:
        separate |= metric_main.calc_metric(name, **options).results
        together |= metric_main.calc_metric(name, passes=passes, **options).results
    assert together == separate


def test_grey_images(files, tmp_path):
    data = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"
    network = stand_ins.save_network(tmp_path / "gray.pkl", data, resolution=8, channels=1)
    values = compute(f"--network={network}", f"--metrics={','.join(NAMES)}", "--num=12", *files)
    assert list(values) == NAMES
