"""Formats that networks are stored in."""
