"""Code shared by all packages above: operators, processes, images, statistics, persistence."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
