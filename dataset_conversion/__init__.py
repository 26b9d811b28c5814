"""The old name of `data.conversion`, for programs that import it before any other package."""

import importlib
import sys

import dnnlib  # noqa: F401  finds the old names of the modules below

sys.modules[__name__] = importlib.import_module("data.conversion")
