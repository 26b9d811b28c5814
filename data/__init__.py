"""Datasets: file names, formats, labels, fingerprints, decoding and loading."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
