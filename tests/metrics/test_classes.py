"""calc_metrics.py --subset and --per-class: metrics of single classes."""

import json

import numpy as np
import PIL.Image
import pytest

from data.dataset import ImageFolderDataset
from metrics import metric_utils
from tests.metrics import stand_ins
from tests.metrics.test_calc_metrics import compute, files, refuse, run
from tests.metrics.test_images import METRICS

files = files  # the fixture

NAMES = ["disc", "square", "triangle", "ring", "star", "cross"]


@pytest.fixture
def conditional(tmp_path, dataset_zip):
    return stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=6)


def images_of(dataset_zip, class_idx: int) -> list[np.ndarray]:
    dataset = ImageFolderDataset(dataset_zip, use_labels=True)
    items = (dataset[idx] for idx in range(len(dataset)))
    return [img.transpose(1, 2, 0) for img, label in items if label[class_idx] == 1]


def write(folder, imgs, labels=None, class_names=None):
    folder.mkdir()
    for idx, img in enumerate(imgs):
        PIL.Image.fromarray(img).save(folder / f"{idx:05d}.png")
    if labels is not None:
        entries = [[f"{idx:05d}.png", label] for idx, label in enumerate(labels)]
        metadata = {"labels": entries}
        if class_names is not None:
            metadata["class_names"] = class_names
        (folder / "dataset.json").write_text(json.dumps(metadata))
    return folder


def test_a_class_has_the_values_of_a_folder_of_its_images(dataset_zip, files, tmp_path):
    ones, others = images_of(dataset_zip, 2), images_of(dataset_zip, 4)
    mixed = write(
        tmp_path / "mixed", [*others, *ones, *others], [2] * len(others) + [4] * len(ones + others)
    )
    real, made = write(tmp_path / "real", ones), write(tmp_path / "made", others)
    options = [METRICS, *files]
    expected = compute(f"--images={made}", f"--data={real}", *options)
    options += [f"--images={mixed}", f"--data={dataset_zip}"]
    assert compute(*options, "--subset=2") == expected
    records, result = run(*options, "--subset=2")
    for record in records:
        assert record["subset"] == 2 and record["num"] == len(others)
        # These use as many real images as there are to judge, the others use all.
        is_full = record["metric"] not in ("fid50k", "kid50k", "pr50k3")
        num_real = len(ones) if is_full else min(len(ones), len(others))
        assert record.get("num_real") == (None if record["metric"] == "is50k" else num_real)
    assert f"Note: class 2 of {mixed} has {len(others)} images" in result.stderr


def test_a_network_draws_the_class_that_it_is_compared_with(
    dataset_zip, conditional, files, tmp_path, monkeypatch
):
    seen, labels = [], []
    original, get = metric_utils.detect, metric_utils.RandomLabels.get

    def detect(detector, img, kwargs):
        seen.extend(img.permute(0, 2, 3, 1).numpy())
        return original(detector, img, kwargs)

    def get_labels(self, start, stop):
        labels.append(get(self, start, stop))
        return labels[-1]

    with monkeypatch.context() as patch:
        patch.setattr(metric_utils, "detect", detect)
        patch.setattr(metric_utils.RandomLabels, "get", get_labels)
        compute(f"--network={conditional}", "--subset=3", "--metrics=is50k", "--num=20", *files)
    assert {tuple(label.tolist()) for part in labels for label in part} == {(0, 0, 0, 1, 0, 0)}
    made = write(tmp_path / "made", seen, [3] * len(seen))
    options = [METRICS, "--subset=3", *files]
    expected = compute(f"--images={made}", f"--data={dataset_zip}", *options)
    assert compute(f"--network={conditional}", "--num=20", *options) == expected


def test_path_length_of_a_class_needs_its_labels_only(conditional, files):
    options = [f"--network={conditional}", "--metrics=ppl2_wend", "--num=4", *files]
    values = [compute(*options, *more)["ppl2_wend"] for more in ([], ["--subset=0"])]
    assert values[0] != values[1]


def test_every_class_has_a_row(conditional, dataset_zip, files):
    sizes = ImageFolderDataset(dataset_zip, use_labels=True).class_sizes()
    assert sorted(sizes) == list(range(6)) and sum(sizes.values()) == 100
    options = [f"--network={conditional}", "--metrics=fid50k_full,kid50k_full", "--num=12", *files]
    records, result = run(*options, "--per-class")
    assert result.exit_code == 0, result.output
    assert [(one["subset"], one["num_real"]) for one in records] == [
        (idx, sizes[idx]) for idx in range(6) for _ in range(2)
    ]
    header, _, *rows = result.stderr.splitlines()[-8:]
    assert header.split() == ["network", "class", "num", "real", "fid50k_full", "kid50k_full"]
    for idx, row in enumerate(rows):
        assert row.split()[0] == str(conditional)
        assert row.split()[1:-4] == [str(idx), NAMES[idx]][: len(row.split()) - 5]
        assert row.split()[-4:-2] == ["12", str(sizes[idx])]
    one = compute(*options, "--subset=5")
    assert one == {key: value for r in records[-2:] for key, value in r["results"].items()}


def test_classes_that_one_side_lacks_are_left_out_and_said(dataset_zip, files, tmp_path):
    imgs = images_of(dataset_zip, 1)[:4]
    made = write(tmp_path / "made", imgs * 2, [1] * 4 + [7] * 4)
    options = [f"--images={made}", f"--data={dataset_zip}", "--metrics=fid50k_full", *files]
    records, result = run(*options, "--per-class")
    assert [record["subset"] for record in records] == [1]
    assert f"Note: left out are the classes 7, which only {made} has." in result.stderr
    assert f"classes 0, 2, 3, 4, 5, which only {dataset_zip} has" in result.stderr


def test_names_of_classes(dataset_zip, files, tmp_path):
    imgs = images_of(dataset_zip, 1)[:6]
    labels = [0, 1] * 3
    made = write(tmp_path / "made", imgs, labels, ["cat", "dog"])
    other = write(tmp_path / "other", imgs, labels, ["dog", "cat"])
    options = [f"--images={made}", "--metrics=fid50k_full", *files]
    by_name, by_number = (
        run(*options, f"--data={made}", f"--subset={subset}")[0] for subset in ("dog", "1")
    )
    assert by_name[0]["results"] == by_number[0]["results"] and by_name[0]["subset"] == 1
    error = refuse(*options, f"--data={made}", "--subset=cow")
    assert "neither the number nor the name of a class; there are cat, dog" in error
    error = refuse(*options, f"--data={other}", "--subset=cat")
    assert "number their classes in different ways" in error
    _, result = run(*options, f"--data={made}", "--per-class")
    assert "1 dog" in result.stderr.splitlines()[-1]


# Refusals.


def test_classes_that_are_not_there_are_refused(conditional, dataset_zip, files, tmp_path):
    error = refuse(f"--network={conditional}", "--subset=9", *files)
    assert "has no image of this class; it has the classes 0, 1, 2, 3, 4, 5" in error
    plain = stand_ins.save_network(tmp_path / "plain.pkl", dataset_zip)
    error = refuse(f"--network={plain}", "--per-class", *files)
    assert error == f"Error: --per-class: {plain} knows no classes; leave it out"
    imgs = images_of(dataset_zip, 1)[:4]
    for name, labels, what in (("none", None, "no labels"), ("vec", [[0.5]] * 4, "vectors")):
        made = write(tmp_path / name, imgs, labels)
        error = refuse(f"--images={made}", f"--data={dataset_zip}", "--subset=1", *files)
        assert what in error and "labels are in dataset.json" in error
    error = refuse(f"--images={dataset_zip}", f"--data={dataset_zip}", "--subset=1", "--num=50")
    assert "images of class 1" in error
    error = refuse(f"--images={dataset_zip}", "--subset=1", "--per-class")
    assert "leave out --subset" in error
