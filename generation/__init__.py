"""Images, videos and spectra from trained networks: what scripts, viewer and notebooks call."""
