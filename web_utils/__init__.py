"""Panes and pictures in a browser, drawn with NiceGUI; knows no networks."""
