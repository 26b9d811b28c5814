"""What the first screen offers: recent networks, those in the box, and those of new runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from dnnlib import pretrained
from dnnlib.addresses import is_address
from viz import browse

MAX_OFFERED = 8  # in each list


def offers(recent: Sequence[str], browse_dirs: Sequence[Path]) -> dict[str, list[str]]:
    """Networks to choose from, by title; lists without a network are left out.

    Args:
        recent: Networks that were shown before, the last one first.
        browse_dirs: Folders of runs.
    """
    there = [name for name in recent if is_address(name) or os.path.exists(name)]
    runs = [str(path) for path in browse.newest_of_runs(browse_dirs, MAX_OFFERED)]
    lists = {
        "Recent": there[:MAX_OFFERED],
        "In the box": pretrained.addresses()[:MAX_OFFERED],
        f"Newest runs in {', '.join(map(str, browse_dirs))}": runs,
    }
    return {title: names for title, names in lists.items() if names}
