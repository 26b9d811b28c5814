"""Each option is declared once, as a field of `TrainOptions`; the rest follows."""

import dataclasses

import pytest

import train
from training import options
from training.options import TrainOptions

PARAMS = {param.name: param for param in train.main.params}
DEFAULTS = train.main.make_context("train.py", []).params


@pytest.mark.parametrize("field", dataclasses.fields(TrainOptions), ids=lambda field: field.name)
def test_every_field_is_an_option_of_the_command_line(field):
    param = PARAMS[field.name]
    assert options.flag_of(field.name) in param.opts
    default = DEFAULTS[field.name]
    if field.default is dataclasses.MISSING:
        assert default is None and "[required" in param.help
    else:
        assert field.default == (tuple(default) if isinstance(default, list) else default)


def test_help_shows_options_in_the_order_of_the_fields():
    assert [name for name in PARAMS if name in options.NAMES] == list(options.NAMES)


def test_continued_run_may_change_what_does_not_make_it_another_run():
    settled = set(options.NAMES) - options.CHANGEABLE
    assert settled == {
        *("cfg", "batch", "mirror", "aug", "resume", "freezed", "cbase", "cmax", "map_depth"),
        *("d_cbase", "d_cmax", "d_map_depth", "mbstd_group", "seed", "fp32", "precision"),
    }
