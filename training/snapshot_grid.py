"""Chooses the real images of a run's sheets, and with them the labels of the fake ones."""

from collections import defaultdict
from typing import Any

import numpy as np

from dnnlib import heartbeat

SHEET_WIDTH, SHEET_HEIGHT = 7680, 4320  # pixels; a sheet is 8K where the limits below allow it
COLUMNS, ROWS = (7, 32), (4, 32)  # fewest and most


def setup_snapshot_image_grid(
    training_set: Any, random_seed: int = 0
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Pick random images for a grid, the same for each seed; with labels, one label per row.

    Args:
        training_set: A dataset with `image_shape`, `has_labels`, a length,
            `get_details(idx).raw_label` and items `(image, label)`.
        random_seed: Seed of the choice.

    Returns:
        `(columns, rows)` of the grid, the images `[columns * rows, ...]` row by row, their labels.
    """
    _, height, width = training_set.image_shape
    columns = int(np.clip(SHEET_WIDTH // width, *COLUMNS))
    rows = int(np.clip(SHEET_HEIGHT // height, *ROWS))
    rnd = np.random.RandomState(random_seed)
    pick = _pick_by_label if training_set.has_labels else _pick_any
    items = []
    for idx in pick(training_set, columns, rows, rnd):
        items.append(training_set[idx])
        heartbeat.beat()  # otherwise the watchdog would consider this process stuck
    images, labels = zip(*items, strict=True)
    return (columns, rows), np.stack(images), np.stack(labels)


def _pick_any(training_set: Any, columns: int, rows: int, rnd: np.random.RandomState) -> list[int]:
    order = list(range(len(training_set)))
    rnd.shuffle(order)
    return [order[i % len(order)] for i in range(columns * rows)]


def _pick_by_label(
    training_set: Any, columns: int, rows: int, rnd: np.random.RandomState
) -> list[int]:
    groups = defaultdict(list)
    for idx in range(len(training_set)):
        raw_label = np.asarray(training_set.get_details(idx).raw_label)
        groups[tuple(raw_label.flat[::-1])].append(idx)
    labels = sorted(groups)  # vectors compare from their last element on
    for label in labels:
        rnd.shuffle(groups[label])
    picked = []
    for row in range(rows):
        # A further row of the same label continues where its last row stopped.
        group = groups[labels[row % len(labels)]]
        start = row // len(labels) * columns
        picked += [group[(start + i) % len(group)] for i in range(columns)]
    return picked
