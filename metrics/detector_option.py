"""The option --detector, which several scripts have."""

from typing import Any

import click

from dnnlib.paths import HomeError
from metrics import detectors


class DetectorSource(click.ParamType):
    """A feature network and its file or folder: `inception=PATH`."""

    name = "name=path|url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        try:
            return detectors.parse(value)
        except (ValueError, HomeError) as error:
            self.fail(str(error), param, ctx)


detector_option = click.option(
    "--detector",
    "replacements",
    type=DetectorSource(),
    metavar="NAME=PATH|URL",
    multiple=True,
    help="Use another feature network: inception=..., vgg16=..., dinov2=... or clip=...; pickles "
    "and TorchScript need --allow-untrusted.",
)
