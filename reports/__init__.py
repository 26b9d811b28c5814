"""Reports of training runs: what run folders hold, as one page for a browser."""
