"""Hostile files, through every entrance of the scripts: `python -m tests.attack --help`."""
