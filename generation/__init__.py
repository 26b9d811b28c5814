"""Images, videos and spectra from trained networks: what scripts, viewer and notebooks call."""

import dnnlib  # noqa: F401  finds the old names of modules that have moved, see `dnnlib.moved`
