"""`memo`: against the definitions in float64, and through the script, with planted copies."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import calc_metrics
from data.dataset import ImageFolderDataset
from metrics import memorization, memorization_sheet, metric_main, metric_utils, neighbours
from metrics.metric_utils import MetricOptions
from tests.metrics import stand_ins
from tests.metrics.test_calc_metrics import compute, files, refuse, run
from tests.metrics.test_classes import images_of, write
from tests.metrics.test_images import convert
from tests.metrics.test_oracle import draw_features
from tests.metrics.test_shared_passes import counts, fresh_cache, options
from torch_utils import layout
from torch_utils.distributed import Worker

files, options, fresh_cache, counts = files, options, fresh_cache, counts  # the fixtures

NUM_MADE, NUM_PLANTED = 480, 20


def compare(gen: np.ndarray, *views: np.ndarray, rows: int = 64, columns: int = 50):
    opts = MetricOptions(worker=Worker())
    tensors = [torch.from_numpy(view) for view in views]
    return memorization.compare_features(opts, tensors, torch.from_numpy(gen), rows, columns)


def by_definition(gen: np.ndarray, *views: np.ndarray) -> dict:
    """The definitions in float64, one image after the other."""
    gen, views = gen.astype(np.float64), [view.astype(np.float64) for view in views]

    def distances_to_training(x: np.ndarray) -> np.ndarray:
        return np.min([np.linalg.norm(view - x, axis=1) for view in views], axis=0)

    kept: list[int] = []
    for idx, x in enumerate(views[0]):
        if not kept or distances_to_training(x)[kept].min() > 0:
            kept.append(idx)
    own = {i: min(distances_to_training(views[0][i])[[j for j in kept if j != i]]) for i in kept}
    idx, ratios, copies = [], [], []
    for x in gen:
        first, second = sorted(kept, key=distances_to_training(x).__getitem__)[:2]
        distance = distances_to_training(x)
        idx.append(first)
        ratios.append(distance[first] / own[first])
        copies.append(distance[first] < distance[second] / 3)
    return dict(
        idx=idx,
        ratios=ratios,
        authentic=100 * np.mean([ratio > 1 for ratio in ratios]),
        copies=100 * np.mean(copies),
        num_repeats=len(views[0]) - len(kept),
    )


def check(found, expected: dict) -> None:
    assert found.nearest.idx.tolist() == expected["idx"]
    np.testing.assert_allclose(found.ratios.numpy(), expected["ratios"], rtol=1e-3, atol=1e-6)
    assert found.authentic_percent == pytest.approx(expected["authentic"], rel=1e-12)
    assert found.copies_percent == pytest.approx(expected["copies"], rel=1e-12)
    assert int(found.training.is_repeat.sum()) == expected["num_repeats"]


def near_copies(real: np.ndarray, num: int, amount: float) -> np.ndarray:
    rng = np.random.RandomState(5)
    noise = amount * rng.randn(num, real.shape[1]).astype(np.float32)
    return real[rng.randint(len(real), size=num)] + noise


SIZES = {"many": (300, 250, 64), "few": (60, 90, 32), "two": (2, 9, 3)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_values_are_those_of_the_definitions(size):
    num_real, num_gen, dim = size
    real = draw_features(num_real, dim, 0)
    gen = np.concatenate([draw_features(num_gen, dim, 1), near_copies(real, 30, 0.05), real[:2]])
    expected = by_definition(gen, real)
    assert 0 < expected["authentic"] < 100 and 0 < expected["copies"] < 100
    check(compare(gen, real), expected)


def test_equal_training_images_count_once():
    real = draw_features(80, 16, 0)
    real = np.concatenate([real, real[:30], real[:10], real[70:75]])
    real = real[np.random.RandomState(2).permutation(len(real))]
    gen = np.concatenate([draw_features(60, 16, 1), real[:40], near_copies(real, 40, 0.02)])
    expected = by_definition(gen, real)
    assert expected["num_repeats"] == 45
    check(compare(gen, real), expected)
    # As the paper counts, with copies as neighbours, each of these images would be authentic.
    assert compare(near_copies(real, 40, 0.02), real).authentic_percent == 0


def test_equal_images_need_no_equal_bits():
    """Networks round differently in batches of different sizes."""
    real = draw_features(50, 16, 0)
    twins = (real[:20] * (1 + 1e-6 * np.random.RandomState(0).randn(20, 16))).astype(np.float32)
    assert not (twins == real[:20]).all(axis=1).any()
    found = compare(near_copies(real, 30, 0.02), np.concatenate([real, twins]))
    assert int(found.training.is_repeat.sum()) == 20
    assert found.authentic_percent == 0 and (found.nearest.idx < 50).all()


def test_mirrored_training_images_are_further_views_of_the_same_images():
    real, mirrored = draw_features(70, 16, 0), draw_features(70, 16, 3)
    real[7] = mirrored[7]  # looks the same in a mirror, and is no other image
    real[9], mirrored[9] = mirrored[4], real[4]  # the mirrored copy of another image
    gen = np.concatenate(
        [draw_features(60, 16, 1), near_copies(real, 20, 0.02), near_copies(mirrored, 20, 0.02)]
    )
    found, expected = compare(gen, real, mirrored), by_definition(gen, real, mirrored)
    assert expected["num_repeats"] == 1
    check(found, expected)
    distances = [np.linalg.norm(gen - x[expected["idx"]], axis=1) for x in (real, mirrored)]
    assert found.nearest.view.tolist() == (distances[1] < distances[0]).tolist()
    assert {pair.is_mirrored for pair in found.closest(40)} == {True, False}


@pytest.mark.parametrize("dim", [8, 512])
def test_noisy_copies_are_counted_and_hardly_any_new_samples_are(dim):
    rng = np.random.RandomState(0)
    real, gen = (rng.randn(num, dim).astype(np.float32) for num in (1000, 2000))
    honest = compare(gen, real, rows=1000, columns=1000)
    assert honest.copies_percent <= 0.1 and 50 < honest.authentic_percent < 90
    gen[:100] = near_copies(real, 100, 0.02)
    caught = compare(gen, real, rows=1000, columns=1000)
    assert 5 <= caught.copies_percent <= 5.1
    assert caught.authentic_percent < honest.authentic_percent
    assert {pair.generated for pair in caught.closest(100)} == set(range(100))


def test_blocks_do_not_matter():
    real, mirrored = draw_features(90, 16, 0), draw_features(90, 16, 3)
    real[50:55] = real[:5]
    mirrored[50:55] = mirrored[:5]
    gen = np.concatenate([draw_features(110, 16, 1), real[40:60]])
    expected = compare(gen, real, mirrored, rows=10000, columns=10000)
    assert int(expected.training.is_repeat.sum()) == 5
    for rows, columns in ((37, 23), (1, 1000), (90, 1)):
        found = compare(gen, real, mirrored, rows=rows, columns=columns)
        torch.testing.assert_close(found.ratios, expected.ratios)
        torch.testing.assert_close(vars(found.nearest), vars(expected.nearest))


def test_no_more_distances_than_a_block_are_computed_at_a_time(monkeypatch):
    sizes, original = [], neighbours.distances.pairwise

    def pairwise(x, y, center):
        sizes.append((len(x), len(y)))
        return original(x, y, center)

    monkeypatch.setattr(neighbours.distances, "pairwise", pairwise)
    compare(draw_features(90, 8, 1), draw_features(70, 8, 0), rows=30, columns=20)
    assert max(sizes) == (30, 20) and len(sizes) == (3 + 3) * 4


def test_training_images_that_cannot_be_compared_are_refused():
    x = draw_features(3, 8, 0)
    with pytest.raises(ValueError, match="all 3 images are equal"):
        compare(x, np.repeat(x[:1], 3, axis=0))
    with pytest.raises(ValueError, match="a single training image"):
        compare(x, x[:1])


def test_closest_pairs_are_in_order_and_equal_ones_by_number():
    real = draw_features(40, 8, 0)
    gen = np.concatenate([draw_features(5, 8, 1), real[[3, 2]], near_copies(real, 3, 0.01)])
    pairs = compare(gen, real).closest(6)
    assert [pair.generated for pair in pairs[:2]] == [5, 6]
    assert [pair.training for pair in pairs[:2]] == [3, 2]
    assert {pair.generated for pair in pairs[2:5]} == {7, 8, 9}
    assert [pair.ratio for pair in pairs] == sorted(pair.ratio for pair in pairs)


# Through the script.


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, Path, dict[str, str]]:
    """Training images; a folder with 20 of them, exact and changed, among 480 others; the pairs."""
    folder = tmp_path_factory.mktemp("planted")
    data = stand_ins.save_dataset(folder / "data.zip", 200)
    real = ImageFolderDataset(data)
    size = f"--max-images={NUM_MADE}"
    convert("synthetic", folder / "made", "--resolution=16x16", "--seed=7", size)
    rng, pairs = np.random.RandomState(0), {}
    for number, idx in enumerate(rng.permutation(len(real))[:NUM_PLANTED].tolist()):
        pixels = real[idx][0].transpose(1, 2, 0).astype(int)
        if number % 2 == 1:  # as a camera or a lossy file would change it
            pixels = pixels + rng.randint(-4, 5, size=pixels.shape)
        path = folder / "made" / f"{number:05d}" / "planted.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        pairs[path.relative_to(folder / "made").as_posix()] = real.name_of(idx)
    return data, folder / "made", pairs


def test_planted_training_images_are_found_and_shown(planted, files, tmp_path):
    """As users run the command."""
    data, made, pairs = planted
    sheet = tmp_path / "new" / "closest.png"
    options = [f"--images={made}", f"--data={data}", "--metrics=memo", f"--memo-sheet={sheet}"]
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", *options, *files]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert {pair["generated"]: pair["training"] for pair in record["closest"]} == pairs
    ratios = [pair["ratio"] for pair in record["closest"]]
    assert ratios == sorted(ratios) and ratios[0] < 1e-3 and ratios[-1] < 0.2
    assert not any(pair["mirrored"] for pair in record["closest"])
    # Of images of one distribution, half are further away than training images are.
    assert 30 < record["results"]["memo_authpct"] < 60
    assert record["results"]["memo_copypct"] >= 100 * NUM_PLANTED / (NUM_MADE + NUM_PLANTED)
    assert record["equal_training_images"] == 0
    assert list(record["ratios"]) == ["1%", "10%", "50%", "90%"]
    made, real = (by_name(ImageFolderDataset(path)) for path in (made, data))
    assert_shows(sheet, record["closest"], made, real)


def by_name(dataset: ImageFolderDataset) -> dict[str, np.ndarray]:
    """All images, `[H, W, C]`."""
    count = range(len(dataset))
    return {dataset.name_of(idx): dataset[idx][0].transpose(1, 2, 0) for idx in count}


def assert_shows(
    sheet: Path, closest: list[dict], made: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> None:
    """The images of all pairs are where the sheet should have them."""
    picture = np.array(PIL.Image.open(sheet))
    caption = layout.FONT_SIZE + layout.GAP
    side = memorization_sheet.MIN_SIDE
    factor, top = side // 16, len(memorization_sheet.TITLE) * caption
    for number, pair in enumerate(closest):
        row, column = divmod(number, memorization_sheet.COLUMNS)
        y = top + row * (side + 2 * caption)
        x = column * (2 * (side + layout.GAP) + layout.GAP)
        for img in (made[pair["generated"]], real[pair["training"]]):
            shown = picture[y : y + side : factor, x : x + side : factor]
            assert np.array_equal(shown, img)
            x += side + layout.GAP


@pytest.fixture
def network(tmp_path, dataset_zip) -> Path:
    return stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=6)


def test_images_of_a_network_are_made_again_as_the_metric_saw_them(
    network, dataset_zip, files, tmp_path, monkeypatch
):
    seen, sheet = [], tmp_path / "sheet.png"
    original = metric_utils.detect

    def detect(detector, img, kwargs):
        seen.extend(img.numpy())
        return original(detector, img, kwargs)

    options = [f"--network={network}", "--metrics=memo", "--num=70", *files]
    compute(*options)  # the features of training images are in the cache now
    monkeypatch.setattr(metric_utils, "detect", detect)
    records, result = run(*options, f"--memo-sheet={sheet}")
    assert result.exit_code == 0, result.output
    assert len(seen) == 70
    made = {f"sample {idx}": img.transpose(1, 2, 0) for idx, img in enumerate(seen)}
    assert_shows(sheet, records[0]["closest"], made, by_name(ImageFolderDataset(dataset_zip)))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_give_the_record_and_the_sheet_of_one(network, files, tmp_path, monkeypatch):
    options = [f"--network={network}", "--metrics=memo", "--num=41", "--mirror=1", *files]
    (one,), _ = run(*options, f"--memo-sheet={tmp_path / '1.png'}")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "other-cache"))
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", "--gpus=2", *options]
    script.append(f"--memo-sheet={tmp_path / '2.png'}")
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    for name in ("results", "ratios", "closest"):
        assert two[name] == one[name]
    assert (tmp_path / "2.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_mirrored_copies_are_found_if_the_training_images_are_mirrored(
    dataset_zip, files, tmp_path
):
    real = ImageFolderDataset(dataset_zip)
    mirrored = [real[idx][0].transpose(1, 2, 0)[:, ::-1] for idx in range(10)]
    made = write(tmp_path / "made", mirrored)
    sheet = tmp_path / "sheet.png"
    options = [f"--images={made}", f"--data={dataset_zip}", "--metrics=memo", *files]
    assert compute(*options)["memo_copypct"] < 100
    records, result = run(*options, "--mirror=1", f"--memo-sheet={sheet}")
    assert result.exit_code == 0, result.output
    assert records[0]["results"] == dict(memo_authpct=0, memo_copypct=100)
    closest = {pair["generated"]: pair for pair in records[0]["closest"]}
    assert [closest[f"{idx:05d}.png"]["training"] for idx in range(10)] == [
        real.name_of(idx) for idx in range(10)
    ]
    assert all(pair["mirrored"] for pair in closest.values())
    flipped = {name: img[:, ::-1] for name, img in by_name(real).items()}
    assert_shows(sheet, records[0]["closest"], by_name(ImageFolderDataset(made)), flipped)


def test_each_class_is_compared_with_its_own_training_images(dataset_zip, files, tmp_path):
    disc, star = images_of(dataset_zip, 0), images_of(dataset_zip, 4)
    made = write(tmp_path / "made", [*disc, *disc], [0] * len(disc) + [4] * len(disc))
    options = [f"--images={made}", f"--data={dataset_zip}", "--metrics=memo", *files]
    records, _ = run(*options, "--per-class")
    assert [record["subset"] for record in records] == [0, 4]
    assert records[0]["results"] == dict(memo_authpct=0, memo_copypct=100)
    assert records[1]["results"]["memo_copypct"] < 50 and records[1]["num_real"] == len(star)


def test_what_is_left_out_is_said(dataset_zip, files, tmp_path, monkeypatch):
    imgs = [img for idx in range(3) for img in images_of(dataset_zip, idx)]
    real = write(tmp_path / "real", [*imgs, *imgs[:2], *imgs[:2]])
    options = [f"--images={real}", f"--data={real}", "--metrics=memo", *files]
    records, result = run(*options)
    assert records[0]["equal_training_images"] == 4
    assert f"4 of {len(imgs) + 4} training images are equal to an earlier one" in result.stderr
    original = memorization.compute_memo

    def compute_few(opts, max_real, **kwargs):
        return original(opts, max_real=30, **kwargs)

    monkeypatch.setattr(memorization, "compute_memo", compute_few)
    for more in ([], ["--mirror=1"]):
        _, result = run(*options, *more)
        assert f"the first 30 of {len(imgs) + 4} training images" in result.stderr


def test_images_are_shared_with_other_metrics(options, fresh_cache, counts):
    names = ["pr50k3_full", "memo", "dc50k5_full"]
    apart = [metric_main.calc_metric(name, **options) for name in names]
    fresh_cache()
    counts.update(images=0, batches=0)
    passes = metric_main.plan(names, **options)
    records = [metric_main.calc_metric(name, passes=passes, **options) for name in names]
    assert [record.results for record in records] == [record.results for record in apart]
    assert records[1].closest == apart[1].closest
    assert counts == dict(images=40, batches=-(-100 // 16) + -(-40 // 16))


@pytest.mark.parametrize(
    ("options", "named", "exit_code"),
    [
        (["--metrics=fid50k_full", "--memo-sheet=x.png"], "needs the metric memo", 2),
        (["--metrics=memo", "--memo-sheet=x.jpg"], "x.jpg is no .png", 2),
        (["--metrics=memo", "--memo-sheet=x.png", "--per-class"], "there are 6: name one of", 1),
        (["--metrics=memo", "--memo-sheet={tmp}/file/x.png"], "--memo-sheet: ", 1),
    ],
)
def test_sheets_that_cannot_be_drawn_are_refused(
    options, named, exit_code, network, files, tmp_path
):
    (tmp_path / "file").touch()
    options = [option.format(tmp=tmp_path) for option in options]
    assert named in refuse(f"--network={network}", *options, *files, exit_code=exit_code)


def test_a_sheet_needs_a_seed(options):
    with pytest.raises(ValueError, match="needs a `seed`"):
        metric_main.calc_metric("memo", seed=None, memo_sheet=Path("x.png"), **options)


def test_large_images_are_made_smaller_on_the_sheet():
    side = 2 * memorization_sheet.MAX_SIDE
    assert memorization_sheet._scale(np.zeros([side, side, 3], np.uint8)).shape == (256, 256, 3)
