"""The interactive viewer: what it renders, and one file for each of its panes."""
