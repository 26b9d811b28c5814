"""File formats of networks."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
