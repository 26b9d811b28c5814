"""A cache of the feature statistics of datasets, which are the same for all networks.

The names of its files cover all options that the statistics depend on. The dataset's own files are
compared when a cached file is read, so that a replaced dataset is noticed.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnnlib import ownership
from dnnlib.paths import shorten_name
from dnnlib.util import make_cache_dir_path
from metrics import detectors, feature_file
from metrics.feature_stats import FeatureStats

FOLDER = "gan-metrics"  # below the cache directory
SUFFIX = ".safetensors"
OLD_SUFFIX = ".pkl"  # in earlier versions, and in other programs


def cache_tag(
    dataset_name: str,
    dataset_kwargs: Mapping[str, Any],
    detector_url: str,
    detector_kwargs: Mapping[str, Any],
    stats_kwargs: Mapping[str, Any],
) -> str:
    """Name of the statistics of a whole dataset; it depends on the order of the options.

    Args:
        dataset_name: Short name of the dataset.
        dataset_kwargs: How the dataset is constructed.
        detector_url: Identity of the feature network.
        detector_kwargs: How the feature network is called.
        stats_kwargs: Kind of the statistics: `capture_all`, `capture_mean_cov`.
    """
    key = dict(
        dataset_kwargs=dict(dataset_kwargs),
        detector_kwargs=dict(detector_kwargs),
        detector_url=detector_url,
        stats_kwargs=dict(stats_kwargs),
    )
    digest = hashlib.md5(repr(sorted(key.items())).encode(), usedforsecurity=False).hexdigest()
    # File names have up to 255 bytes: leave room for the rest of this name.
    dataset_name = shorten_name(dataset_name, 120)
    return f"{dataset_name}-{shorten_name(detectors.stem(detector_url), 60)}-{digest}"


def cache_file(tag: str, num_items: int | None = None) -> Path:
    """The file of a tag; the first `num_items` images have a separate file."""
    name = tag if num_items is None else f"{tag}-first{num_items}"
    return Path(make_cache_dir_path(FOLDER)) / f"{name}{SUFFIX}"


def load(path: Path, num_items: int, files: str | None) -> FeatureStats | None:
    """Read statistics of these images, `None` if not cached; warn of a damaged or old file.

    Args:
        path: Result of `cache_file`.
        num_items: Number of images.
        files: Result of `describe_files`.
    """
    try:
        state = feature_file.read(path)
    except (FileNotFoundError, NotADirectoryError):
        _warn_of_old_file(path)
        return None
    except (OSError, ValueError) as error:
        message = f"{path} is damaged and will be made again ({error})"
        warnings.warn(message, stacklevel=2)
        return None
    if state["more"].get("dataset_files") != files or state["num_items"] != num_items:
        return None
    return FeatureStats.from_state(state)


def save(path: Path, stats: FeatureStats, dataset: Any, files: str | None) -> None:
    """Write statistics. If the cache cannot be written, a warning says so.

    Args:
        path: Result of `cache_file`.
        stats: The statistics.
        dataset: The dataset that they were computed from.
        files: Result of `describe_files` before the computation.
    """
    try:
        if describe_files(dataset) != files:
            warnings.warn(
                f"files of the dataset {dataset.name} have changed while its features were "
                "computed: the features are not kept, and may be those of old and new images",
                stacklevel=2,
            )
            return
        ownership.make_private(path.parent)
        stats.save(path, dataset_files=files)
    except OSError as error:
        warnings.warn(f"the dataset's features cannot be kept: {error}", stacklevel=2)


def describe_files(dataset: Any) -> str | None:
    """The state of a dataset's files, see `data.file_states`; `None` for other kinds of datasets.

    Raises:
        OSError: If a file is missing.
    """
    describe = getattr(dataset, "file_states", None)
    return None if describe is None else describe()


def _warn_of_old_file(path: Path) -> None:
    old = path.with_name(path.name.removesuffix(SUFFIX) + OLD_SUFFIX)
    if old.is_file():
        warnings.warn(
            f"{old} is of an older version and is not read; the features are computed again",
            stacklevel=3,
        )
