"""Metrics of generators: FID, KID, precision and recall, path length, equivariance."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
