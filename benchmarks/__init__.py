"""Benchmarks: how fast the parts of this project are, beside what the machine could do at best.

Each is a command of its own, for example `python -m benchmarks.synthesis --help`.
"""

from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
