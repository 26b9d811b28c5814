"""Datasets as files: names, formats, labels, and what identifies them; no torch."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
