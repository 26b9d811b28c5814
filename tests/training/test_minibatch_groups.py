"""Groups of the minibatch standard deviation: refusals, notices and advice."""

import dataclasses
import re
import shutil
import zipfile

import pytest
import torch
from click.testing import CliRunner

import train
from tests import golden
from tests.training.states import small_state
from training import checkpoint, minibatch_groups, preflight
from training.config import TrainOptions, make_config
from training.networks_stylegan2 import MinibatchStdLayer, minibatch_group_size

SMALL = ("--cfg=stylegan2", "--gamma=1", "--cbase=64", "--cmax=4", "--metrics=none", "--aug=noaug")


def options_of(batch: int, **changes) -> TrainOptions:
    return TrainOptions(**{**dict(cfg="stylegan2", gpus=1, gamma=1, batch=batch), **changes})


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 5, None])
def test_group_is_the_largest_divisor_up_to_the_wanted_size(wanted):
    for num in range(1, 41):
        divisors = [n for n in range(1, (wanted or num) + 1) if num % n == 0]
        assert minibatch_group_size(num, wanted) == max(divisors)


@pytest.mark.parametrize("num", [5, 7, 11, 13])
def test_feature_of_single_samples_is_constant(num):
    """The refusals are right: in a group of one the feature does not depend on the samples."""
    x = torch.randn(num, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    feature = MinibatchStdLayer(4)(x)[:, -1]
    torch.testing.assert_close(feature, torch.full_like(feature, 1e-4))
    assert MinibatchStdLayer(4)(x[:4])[:, -1].min() > 0.1


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (dict(batch=5), "use --batch=4, or --mbstd-group=5"),
        (dict(batch=7), "use --batch=8, or --mbstd-group=7"),
        (dict(batch=11), "use --batch=12, or --mbstd-group=11"),
        (dict(batch=13), "use --batch=12, or --mbstd-group=13"),
        (dict(batch=26, gpus=2), "use --batch=24, or --mbstd-group=13"),
        (dict(batch=20, batch_gpu=5), "use --batch-gpu=4, or --mbstd-group=5"),
        (dict(batch=35, batch_gpu=7), "use --batch=36 --batch-gpu=4, or --mbstd-group=7"),
        (dict(batch=42, batch_gpu=7), r"use --batch-gpu=6 \(groups of 3\), or --mbstd-group=7"),
        (dict(batch=9, batch_gpu=3, mbstd_group=2), "use --batch=8 --batch-gpu=2, or"),
        (dict(batch=25, mbstd_group=3), "use --batch=24, or --mbstd-group=5"),
        (dict(batch=56, gpus=2, batch_gpu=7), "use --batch-gpu=4, or --mbstd-group=7"),
    ],
)
def test_groups_of_one_are_refused_with_the_nearest_way_out(changes, advice):
    with pytest.raises(ValueError, match=f"do not fall into groups .* would be off; {advice}"):
        make_config(options_of(**changes), {})


def test_every_advice_can_be_followed():
    num_refused = num_noticed = 0
    for batch in range(1, 61):
        for gpus, batch_gpu, wanted in (
            (gpus, batch_gpu, wanted)
            for gpus in (1, 2, 3)
            for batch_gpu in range(1, batch + 1)
            for wanted in (2, 3, 4)
            if batch % (gpus * batch_gpu) == 0 and batch_gpu >= wanted
        ):
            refusal = minibatch_groups.refusal(batch, gpus, batch_gpu, wanted)
            notice = minibatch_groups.notice(batch, gpus, batch_gpu, wanted, False)
            size = minibatch_group_size(batch_gpu, wanted)
            assert (refusal is not None) == (size == 1)
            assert (notice is not None) == (size < wanted)
            text = refusal or notice
            if text is None:
                continue
            num_refused += refusal is not None
            num_noticed += refusal is None
            new = _follow(text.rpartition("use ")[2].partition(", or ")[0], batch, gpus, batch_gpu)
            new_size = minibatch_group_size(new[2], wanted)
            assert new[0] % (new[1] * new[2]) == 0 and new[2] >= wanted, text
            groups = re.search(r"\(groups of (\d)\)", text)
            assert new_size == (wanted if groups is None else int(groups[1])) > size, text
            if refusal is not None:
                other = int(re.search(r", or --mbstd-group=(\d+)$", refusal)[1])
                assert minibatch_group_size(batch_gpu, other) == other > 1
    assert num_refused > 100 and num_noticed > 100


def _follow(advice: str, batch: int, gpus: int, batch_gpu: int) -> tuple[int, int, int]:
    values = dict(re.findall(r"--([a-z-]+)=(\d+)", advice))
    new_batch = int(values.get("batch", batch))
    whole = new_batch // gpus if batch_gpu == batch // gpus else batch_gpu
    return new_batch, gpus, int(values.get("batch-gpu", whole))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--gpus=1 --batch=8", None),
        ("--gpus=2 --batch=8", None),
        ("--gpus=1 --batch=6", "groups of 3, because 6 samples .* instead, use --batch=8."),
        ("--gpus=1 --batch=18 --batch-gpu=6", "groups of 3, .* use --batch=16 --batch-gpu=4."),
        ("--gpus=1 --batch=12 --batch-gpu=6", "groups of 3, .* instead, use --batch-gpu=4."),
        ("--gpus=2 --batch=20", "groups of 2, because 10 samples .* use --batch=16."),
        ("--gpus=1 --batch=5 --mbstd-group=1", "with --mbstd-group=1 .* is off."),
        ("--gpus=1 --batch=8 --mbstd-group=1", "with --mbstd-group=1 .* is off."),
        ("--gpus=1 --batch=5 --mbstd-group=5", None),
        ("--gpus=1 --batch=9 --mbstd-group=4", "groups of 3, .* use --batch=8."),
    ],
)
def test_dry_run_says_what_the_groups_are(arguments, expected, tmp_path, monkeypatch):
    result = _train(tmp_path, monkeypatch, *arguments.split(), "--dry-run")
    assert result.exit_code == 0, result.output
    notes = [line for line in result.output.splitlines() if "minibatch standard" in line]
    if expected is None:
        assert notes == []
    else:
        (note,) = notes
        assert re.fullmatch(f"Note: .*{expected}", note)


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("arguments", ["--gpus=1 --batch=7", "--gpus=2 --batch=10"])
def test_command_line_with_groups_of_one_is_refused(arguments, dry_run, tmp_path, monkeypatch):
    result = _train(tmp_path, monkeypatch, *arguments.split(), *dry_run)
    assert result.exit_code == 1
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert "keeps a generator from collapsing" in error and "use --batch=8" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("started", "given", "expected"),
    [
        (dict(batch=28), [], None),
        (dict(batch=28), ["--gpus=2"], "Note: .*groups of 2, .* instead, use --gpus=1."),
        (dict(batch=28), ["--gpus=4"], "Error: 7 samples .* off; use --gpus=1"),
        (dict(batch=28), ["--batch-gpu=7"], "Error: 7 samples .* off; use --batch-gpu=4"),
        (dict(batch=60), ["--gpus=12"], "Error: 5 samples .* off; use --gpus=5"),
        (dict(batch=7), [], "Note: .* is off, because 7 samples .*; another run with another"),
        (dict(batch=7), ["--kimg=9"], "Note: .* is off"),
        (dict(batch=20, batch_gpu=5), [], "Note: .* is off, .*; --batch-gpu=4 switches it on."),
        (dict(batch=20, batch_gpu=5), ["--batch-gpu=10"], "Note: .*groups of 2, .* --batch-gpu=4"),
    ],
)
def test_continued_run_is_told_about_its_groups(started, given, expected, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    data = _dataset(tmp_path)
    options = options_of(**started, cbase=64, cmax=4, metrics=(), aug="noaug")
    training_set = preflight.open_training_set(str(data), use_labels=False, aug="noaug")
    kwargs = train.training_set_kwargs(training_set, str(data), False, False, 0)
    networks = preflight.build_networks(make_config(options, kwargs, options), training_set)
    states = {name: net.to_empty(device="cpu").state_dict() for name, net in networks.items()}
    state = small_state(
        options=dataclasses.asdict(options),
        training_set_kwargs=kwargs,
        cur_nimg=0,
        networks={"G": {}, **states},
    )
    checkpoint.save(run_dir, state, 0, keep=1)
    result = CliRunner().invoke(train.main, [f"--resume={run_dir}", "--dry-run", *given])
    lines = [line for line in result.output.splitlines() if re.match("Note: .*minib|Error", line)]
    assert len(lines) == (expected is not None), result.output
    if expected is not None:
        assert re.match(expected, lines[0]), lines[0]
    assert result.exit_code == (1 if (expected or "").startswith("Error") else 0)


@pytest.mark.parametrize(
    ("per_process", "batch_gpu", "wanted", "expected"),
    [
        (20, 10, 4, 4),  # not 5, which is refused
        (12, 12, 4, 4),  # not 6, whose groups are smaller
        (16, 16, 4, 8),
        (18, 18, 4, 9),  # in groups of 3, like 6
        (20, 4, 4, None),
        (10, 10, 4, None),  # 5 is refused
        (10, 10, 1, 5),
        (7, 7, 1, 1),
    ],
)
def test_advice_on_full_memory_can_be_followed(per_process, batch_gpu, wanted, expected):
    assert minibatch_groups.smaller_batch_gpu(per_process, batch_gpu, wanted) == expected


def _dataset(tmp_path):
    path = tmp_path / "gray8.zip"
    shutil.copy(golden.DATA_DIR / "datasets" / "dataset_small_gray.zip", path)
    assert zipfile.is_zipfile(path)
    return path


def _train(tmp_path, monkeypatch, *arguments: str):
    monkeypatch.chdir(tmp_path)
    data = _dataset(tmp_path)
    return CliRunner().invoke(train.main, ["--outdir=runs", f"--data={data}", *SMALL, *arguments])
