"""Training: from the options of a command line to networks, states and logs."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
