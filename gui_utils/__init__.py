"""Toolkit of the viewer: window, textures, text, controls. It knows nothing of networks."""
