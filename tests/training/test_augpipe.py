"""`--augpipe` and `--aug-max`: what augmentation changes, how strongly; changes of both."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import train
from tests import golden
from tests.training.test_config import printed_options
from tests.training.test_continuation import make_run, make_trainer
from tests.training.test_fixed_augmentation import saved_state
from training import build, checkpoint
from training.augment import AugmentPipe
from training.config import AUGMENTATIONS, TrainConfig, TrainOptions, make_config

OPTIONS = TrainOptions(cfg="stylegan2", gpus=1, batch=4, gamma=1)
BLIT = {"xflip", "rotate90", "xint"}
GEOM = {"scale", "rotate", "aniso", "xfrac"}
COLOR = {"brightness", "contrast", "lumaflip", "hue", "saturation"}
EXPECTED = {
    "blit": BLIT,
    "geom": GEOM,
    "color": COLOR,
    "filter": {"imgfilter"},
    "noise": {"noise"},
    "cutout": {"cutout"},
    "bg": BLIT | GEOM,
    "bgc": BLIT | GEOM | COLOR,
    "bgcf": BLIT | GEOM | COLOR | {"imgfilter"},
    "bgcfn": BLIT | GEOM | COLOR | {"imgfilter", "noise"},
    "bgcfnc": BLIT | GEOM | COLOR | {"imgfilter", "noise", "cutout"},
}


def kwargs_of(**changes) -> dict:
    kwargs = dict(make_config(dataclasses.replace(OPTIONS, **changes), {}).augment_kwargs)
    assert kwargs.pop("class_name") == "training.augment.AugmentPipe"
    return kwargs


def test_all_pipes_are_tested():
    assert EXPECTED.keys() == AUGMENTATIONS.keys()
    assert kwargs_of() == kwargs_of(augpipe="bgc")


@pytest.mark.parametrize("aug", ["ada", "fixed"])
@pytest.mark.parametrize("name", EXPECTED)
def test_pipe_has_its_augmentations_and_no_others(name, aug):
    assert kwargs_of(augpipe=name, aug=aug) == dict.fromkeys(EXPECTED[name], 1)
    config = make_config(dataclasses.replace(OPTIONS, augpipe=name), {})
    pipe = build.build_augment_pipe(config)
    on = {each for each in EXPECTED["bgcfnc"] if getattr(pipe, each) > 0}
    assert on == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("bgc", ["bgc_p10", "bgc_p90", "bgc_gray_p70"]),
        ("bg", ["bg_p35"]),
        ("color", ["color_p65"]),
        ("filter", ["imgfilter_p10", "imgfilter_p90", "imgfilter_gray_p70"]),
        ("noise", ["noise_p60"]),
        ("cutout", ["cutout_p10", "cutout_rect_p80"]),
    ],
)
def test_pipe_is_that_of_golden_cases(name, cases):
    for case in cases:
        given = golden.load("augment.npz")[case].meta["kwargs"]
        built, expected = AugmentPipe(**kwargs_of(augpipe=name)), AugmentPipe(**given)
        settings = [
            {k: v for k, v in vars(p).items() if type(v) is float} for p in (built, expected)
        ]
        assert settings[0] == settings[1]


@pytest.mark.parametrize("percentile", [0.2, 0.7])
def test_whole_pipe_is_its_groups_in_order(percentile, monkeypatch):
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    x = expected = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for name in ("bg", "color", "filter", "noise", "cutout"):
        expected = AugmentPipe(**kwargs_of(augpipe=name))(expected, percentile)
    y = AugmentPipe(**kwargs_of(augpipe="bgcfnc"))(x, percentile)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    assert (y - AugmentPipe(**kwargs_of())(x, percentile)).abs().max() > 0.1


def test_no_limit_is_the_default():
    assert make_config(OPTIONS, {}).ada_max is None
    assert make_config(dataclasses.replace(OPTIONS, aug_max=0.7), {}).ada_max == 0.7
    assert make_config(dataclasses.replace(OPTIONS, aug_max=0.7, aug="fixed"), {}).ada_max is None


@pytest.mark.parametrize("value", ["0", "1.5", "-1", "x"])
def test_limit_that_makes_no_sense_is_refused(value):
    result = CliRunner().invoke(train.main, [f"--aug-max={value}"])
    assert result.exit_code == 2
    assert f"'--aug-max': {value!r} is not a number above 0 to 1" in result.output


@pytest.fixture
def dry_run(tmp_path):
    """Dry runs on images with an alpha channel."""
    for i in range(2):
        PIL.Image.fromarray(np.full([8, 8, 4], 99 + i, np.uint8)).save(tmp_path / f"{i}.png")
    options = ["--cfg=stylegan2", "--gpus=1", "--batch=4", "--gamma=1", "--outdir=runs"]

    def dry_run(*more: str):
        return CliRunner().invoke(train.main, [*options, f"--data={tmp_path}", "-n", *more])

    return dry_run


@pytest.mark.parametrize("name", EXPECTED)
def test_only_changes_of_colour_refuse_an_alpha_channel(name, dry_run):
    result = dry_run(f"--augpipe={name}")
    if COLOR & EXPECTED[name]:
        assert result.exit_code == 1
        message = f"Error: --aug=ada: the changes of colour in --augpipe={name} take no alpha "
        assert result.output.startswith(message)
        return
    kwargs = printed_options(result.output)["augment_kwargs"]
    assert kwargs.keys() - {"class_name"} == EXPECTED[name]
    pipe = AugmentPipe(**{key: kwargs[key] for key in EXPECTED[name]})
    assert pipe(torch.zeros([2, 4, 8, 8])).isfinite().all()


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("--aug=noaug --augpipe=bg", ["--augpipe"]),
        ("--aug=noaug --p=0.5 --target=0.5 --aug-max=0.5", ["--p", "--target", "--aug-max"]),
        ("--aug=fixed --p=0.5 --augpipe=bg", []),
        ("--aug=fixed --target=0.5 --aug-max=0.5 --augpipe=bg", ["--target", "--aug-max"]),
        ("--augpipe=bg --aug-max=0.5 --target=0.5", []),
        ("--augpipe=bg --p=0.5", ["--p"]),
        ("--aug=noaug", []),
    ],
)
def test_options_without_effect_are_noted(options, flags, dry_run):
    result = dry_run(*options.split())
    assert result.exit_code == 0, result.output
    notes = [line for line in result.output.splitlines() if "has no effect" in line]
    aug = printed_options(result.output)  # the run itself is the same
    assert (aug["augment_kwargs"] is None) == ("noaug" in options)
    assert [note.split()[1] for note in notes] == flags
    assert all(note.startswith("Note: ") and "with --aug=" in note for note in notes)


def started_run(tmp_path) -> tuple[TrainConfig, dict]:
    """A run with `bgc` at a strength of 0.5, and its state."""
    config = make_run(tmp_path / "run", "stylegan2")
    trainer = make_trainer(config)
    trainer.augment_pipe.p.fill_(0.5)
    trainer.log.close()
    checkpoint.save(tmp_path, saved_state(trainer), 0, 1)
    return config, checkpoint.load(checkpoint.states(tmp_path)[0])


@pytest.mark.parametrize("name", ["blit", "bgcfnc"])
def test_continued_run_takes_another_pipe_at_the_strength_of_the_old(name, tmp_path):
    config, state = started_run(tmp_path)
    options = dataclasses.replace(config.options, augpipe=name)
    after = dataclasses.replace(
        config, augment_kwargs=make_config(options, {}).augment_kwargs, options=options
    )
    trainer = make_trainer(after, state=state)
    assert float(trainer.augment_pipe.p) == 0.5
    on = {each for each in EXPECTED["bgcfnc"] if getattr(trainer.augment_pipe, each) > 0}
    assert on == EXPECTED[name]
    trainer._train_batch()
    trainer.log.close()
    assert all(value.isfinite().all() for value in trainer.G.state_dict().values())


def test_continued_run_comes_down_to_a_new_limit(tmp_path):
    config, state = started_run(tmp_path)
    trainer = make_trainer(dataclasses.replace(config, ada_max=0.1), state=state)
    for _ in range(config.ada_interval):
        trainer._train_batch()
    trainer.log.close()
    assert float(trainer.augment_pipe.p) <= np.float32(0.1)
