"""The interactive viewer: rendering, and one file for each pane of the window."""
