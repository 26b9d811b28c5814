"""Datasets as files: names, formats, labels, and what identifies them; no torch."""
