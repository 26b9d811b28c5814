"""Datasets: file names, formats, labels, fingerprints, decoding and loading."""
