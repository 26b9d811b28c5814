"""Modules that stand in for the sources inside published pickles.

Each calls `torch_utils` in exactly the ways that `tests/data/api_surface.json` lists for one of
them, and has nothing else in common with it.
"""
