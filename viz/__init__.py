"""The interactive viewer: rendering, and one file for each pane of the window."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
