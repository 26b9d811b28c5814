"""Click types for tracks, and for reactions to sound."""

from typing import Any

import click

from dnnlib import cli
from dnnlib.errors import InputError
from generation import sound, tracks

MAX_REACTIONS = 3


class TrackType(click.ParamType):
    """A track, as `tracks.parse` reads it, whose values have a click type of their own."""

    name = "track"

    def __init__(self, value: click.ParamType) -> None:
        self.value = value

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tracks.Track:
        if isinstance(value, tracks.Track):
            return value
        try:
            return tracks.parse(value, lambda text: self.value.convert(text, param, ctx))
        except InputError as error:
            self.fail(str(error), param, ctx)


class ReactionType(click.ParamType):
    """A band, the name of the track that reacts to it, and how: `bass:zoom=1..1.2`."""

    name = "band:name=low..high"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> sound.Reaction:
        if isinstance(value, sound.Reaction):
            return value
        place, _, ends = value.rpartition("=")
        band, _, track = place.partition(":")
        low, dots, high = ends.partition("..")
        if not (track and dots):
            self.fail(f"{value!r} is not BAND:NAME=LOW..HIGH, such as bass:zoom=1..1.2", param, ctx)
        if band not in sound.BANDS:
            self.fail(f"{band!r} is no band; choose from {', '.join(sound.BANDS)}", param, ctx)
        number = cli.FiniteFloat()
        return sound.Reaction(
            band, track, number.convert(low, param, ctx), number.convert(high, param, ctx)
        )


def check_reactions(
    ctx: click.Context, param: click.Parameter, value: tuple[sound.Reaction, ...]
) -> tuple[sound.Reaction, ...]:
    """Callback that limits the number of reactions."""
    if len(value) > MAX_REACTIONS:
        raise click.BadParameter(f"{len(value)} reactions are too many; up to {MAX_REACTIONS} work")
    return value
