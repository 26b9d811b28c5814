"""The option --background, which several scripts have."""

from typing import Any

import click

from data.conversion.background import Background, parse_colour


class Colour(click.ParamType):
    """A colour, as `data.conversion.background.parse_colour` reads it."""

    name = "colour"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Background:
        if isinstance(value, Background):
            return value
        try:
            return parse_colour(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


background_option = click.option(
    "--background",
    type=Colour(),
    help="Put transparent images on this colour (white, skyblue, #87ceeb, ...) before anything"
    " else.  [default: transparent images are refused]",
)
