"""Toolkit of the viewer: window, textures, text, controls. Knows nothing of networks."""
