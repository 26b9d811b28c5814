"""What networks have learnt of the drawn shapes: the classifier, the figures, and refusals."""

import json
import pickle

import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import dataset_tool
from benchmarks import learning, nearest, shape_classifier, shape_judge
from benchmarks.shape_judge import Judge, generate, labels_of
from data.dataset import ImageFolderDataset
from tests.small_networks import stylegan2, stylegan3
from torch_utils.images import save_png

CPU = torch.device("cpu")
NUM = 60


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A classifier that has learnt next to nothing, in no time; a private cache."""
    monkeypatch.setattr(shape_classifier, "NUM_STEPS", 3)
    monkeypatch.setattr(shape_judge, "MIN_ACCURACY", 0)
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def shapes(tmp_path):
    """A dataset of drawn shapes."""
    path = tmp_path / "shapes.zip"
    args = ["--source=synthetic", f"--dest={path}", "--resolution=16x16", "--max-images=66"]
    dataset_tool.main(args, standalone_mode=False)
    return path


def write_network(path, G, data=None, xflip=False):
    kwargs = None if data is None else {"path": str(data), "xflip": xflip}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({"G_ema": G, "training_set_kwargs": kwargs}))
    return path


def measure(*args):
    return CliRunner().invoke(learning.main, [f"--num={NUM}", "--device=cpu", *args])


@pytest.mark.slow
def test_classifier_knows_shapes_and_doubts_the_rest(tmp_path):
    judge = Judge(16, True, 600, tmp_path, CPU)
    assert judge.accuracy > 0.99
    assert judge.held_out.is_sure.float().mean() > 0.95
    assert max(judge.sure_of_others.values()) < 0.1
    assert judge.of_drawings.precision > 0.8 and judge.of_drawings.recall > 0.8
    assert min(judge.of_drawings.class_shares.values()) > 0.14


def test_classifier_is_trained_once_and_the_same_every_time(quick, tmp_path):
    first, second = (shape_classifier.load_or_train(16, tmp_path / name, CPU) for name in "ab")
    (path,) = (tmp_path / "a").iterdir()
    saved_at = path.stat().st_mtime_ns
    third = shape_classifier.load_or_train(16, tmp_path / "a", CPU)
    assert path.stat().st_mtime_ns == saved_at
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
        assert torch.equal(value, third.state_dict()[name]), name


def test_damaged_file_of_the_classifier_is_replaced(quick, tmp_path, capsys):
    shape_classifier.load_or_train(16, tmp_path, CPU)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:100])
    shape_classifier.load_or_train(16, tmp_path, CPU)
    assert path.read_bytes() == content
    assert "is damaged; the classifier is trained again" in capsys.readouterr().out


@pytest.mark.parametrize("size", [8, 24])
def test_classifier_refuses_other_sizes(size, tmp_path):
    with pytest.raises(ValueError, match=f"32x32, 64x64 and so on, not of {size}x{size}"):
        shape_classifier.load_or_train(size, tmp_path, CPU)


def test_a_bad_classifier_judges_nothing(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(shape_judge, "MIN_ACCURACY", 0.99)
    with pytest.raises(RuntimeError, match="held-out drawings of 16x16; it must be right about 99"):
        Judge(16, False, NUM, tmp_path, CPU)


def test_large_images_are_averaged_down():
    classifier = shape_classifier.ShapeClassifier().eval()
    img, _ = shape_classifier.draw(range(2), 0, 64)
    enlarged = img.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(classifier(enlarged), classifier(img))


def test_pictures_do_not_depend_on_the_batch_and_classes_take_turns():
    torch.manual_seed(0)
    G = stylegan2(c_dim=6)
    one, other = (torch.cat(list(generate(G, 8, 1, batch, CPU))) for batch in (3, 8))
    assert one.shape == (8, 3, 16, 16)
    assert (one.int() - other.int()).abs().max() <= 1
    assert labels_of(G, 8).tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert labels_of(stylegan2(), 8) is None


def test_perfect_network_is_as_good_as_drawings(quick, tmp_path):
    judge = Judge(16, False, NUM, tmp_path, CPU)
    img, labels = shape_classifier.draw(range(NUM), shape_classifier.HELD_OUT_SEED, 16)
    findings = judge.judge(judge.look(img.split(20)), labels)
    assert findings.distance == pytest.approx(0, abs=1e-6)
    assert findings.precision == findings.recall == 1
    assert findings.right == judge.accuracy
    assert sum(findings.class_shares.values()) == pytest.approx(findings.sure)
    assert judge.of_drawings.distance == judge.floor > 0


def test_run_gives_table_records_and_curve(quick, shapes, tmp_path):
    run, outdir = tmp_path / "run", tmp_path / "out"
    for kimg in (0, 4, 8, 12):
        G = stylegan2(c_dim=6)
        write_network(run / f"network-snapshot-{kimg:06d}.pkl", G, shapes, xflip=True)
    result = measure(f"--run={run}", "--every=2", f"--outdir={outdir}")
    assert result.exit_code == 0, result.output
    header, _, *rows = result.stdout.split("\n\n")[1].splitlines()
    assert header.split() == " ".join(learning.HEADER).split()
    assert [row.split("  ")[0] for row in rows] == [
        "drawings, half of them mirrored",
        *("0 kimg", "8 kimg", "12 kimg"),
    ]
    records = [json.loads(line) for line in (outdir / "learning.jsonl").open()]
    assert [record["kimg"] for record in records] == [None, 0, 8, 12]
    assert all(set(record["class_shares"]) == set(shape_judge.CLASSES) for record in records)
    assert all(record["eqt_db"] is None for record in records[1:])  # StyleGAN2
    assert (outdir / "learning.png").stat().st_size > 0
    assert len(list(tmp_path.glob("cache/*/shape-classifier-16-*.safetensors"))) == 1


def test_networks_are_measured_with_their_equivariance(quick, shapes, tmp_path):
    torch.manual_seed(0)
    network = write_network(tmp_path / "t.pkl", stylegan3(), shapes)
    result = measure(f"--network={network}", f"--network={network}", "--eq-num=4", "--markdown")
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| t.pkl")]
    assert len(rows) == 2 and rows[0][:-1] == rows[1][:-1]  # but for the time
    assert float(rows[0][9]) > 20  # dB
    assert rows[0][6] == "-"  # no classes
    assert "Note:" not in result.stderr


def test_missing_dataset_is_said(quick, tmp_path):
    network = write_network(tmp_path / "t.pkl", stylegan2(c_dim=6), tmp_path / "gone.zip")
    result = measure(f"--network={network}")
    assert result.exit_code == 0, result.output
    assert "gone.zip). Whether its classes are the drawn shapes is not checked" in result.stderr


def test_network_that_may_draw_anything_is_refused(quick, shapes, tmp_path):
    network = write_network(tmp_path / "t.pkl", stylegan2())
    result = measure(f"--network={network}")
    assert result.exit_code == 1
    assert "has no classes, and its dataset is not here (its path is unknown)" in result.output
    assert measure(f"--network={network}", f"--data={shapes}").exit_code == 0


def test_networks_of_other_images_are_refused(quick, tmp_path):
    torch.manual_seed(0)
    for idx, img in enumerate(torch.randint(256, [20, 3, 16, 16], dtype=torch.uint8)):
        (tmp_path / "noise").mkdir(exist_ok=True)
        save_png(img, tmp_path / "noise" / f"{idx:02d}.png")
    network = write_network(tmp_path / "t.pkl", stylegan2(), tmp_path / "noise")
    result = measure(f"--network={network}")
    assert result.exit_code == 1
    assert "noise: its first 20 images are at a distance of" in result.output
    assert "calc_metrics.py measures others" in result.output


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"c_dim": 3}, "draws 3 channels of 3 classes; networks of the drawn shapes"),
        ({"img_channels": 1}, "draws 1 channels of 0 classes"),
        ({"c_dim": 6, "img_resolution": 8}, "not of 8x8"),
    ],
)
def test_networks_that_cannot_draw_shapes_are_refused(quick, kwargs, message, tmp_path):
    network = write_network(tmp_path / "x.pkl", stylegan2(**kwargs))
    result = measure(f"--network={network}")
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.splitlines()) <= 2


def test_options_that_name_nothing_to_measure_are_refused(tmp_path):
    for args in ([], [f"--run={tmp_path}", "--network=x.pkl"]):
        result = measure(*args)
        assert result.exit_code == 2
        assert "Give either --run or --network." in result.output
    result = measure(f"--run={tmp_path}")
    assert result.exit_code == 1
    assert "there is no network-snapshot-*.pkl in this folder" in result.output


def test_datasets_of_drawn_shapes_of_any_seed_are_accepted(quick, tmp_path):
    judge = Judge(16, False, NUM, tmp_path, CPU)
    for seed in (0, 7):
        path = tmp_path / f"{seed}.zip"
        args = ["--source=synthetic", f"--dest={path}", "--resolution=16x16", f"--seed={seed}"]
        dataset_tool.main([*args, "--max-images=120"], standalone_mode=False)
        judge.check_data(ImageFolderDataset(path))


# benchmarks.nearest


def test_nearest_prints_both_distances_and_writes_a_sheet(shapes, tmp_path):
    network = write_network(tmp_path / "t.pkl", stylegan2(), shapes, xflip=True)
    sheet = tmp_path / "sheets" / "nearest.png"
    args = [f"--network={network}", "--num=20", f"--save={sheet}", "--device=cpu"]
    result = CliRunner().invoke(nearest.main, args)
    assert result.exit_code == 0, result.output
    assert "20 generated pictures" in result.stdout and "66 training images" in result.stdout
    assert PIL.Image.open(sheet).size == (16 * 16, 4 * 16)


@pytest.mark.parametrize(
    ("G", "message"),
    [
        ({"img_channels": 1}, "images are [3, 16, 16], those of the network [1, 16, 16]"),
        ({}, "the network does not say what it was trained with; name it with --data"),
    ],
)
def test_nearest_refuses_what_it_cannot_compare(G, message, shapes, tmp_path):
    network = write_network(tmp_path / "t.pkl", stylegan2(**G), shapes if G else None)
    result = CliRunner().invoke(nearest.main, [f"--network={network}", "--device=cpu"])
    assert result.exit_code == 1
    assert message in result.output
