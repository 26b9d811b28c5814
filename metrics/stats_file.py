"""The file format of statistics of real images: what metrics need of a dataset without its images.

A safetensors file, which holds numbers and texts only. Each of the statistics is as in
`feature_file`, under the prefixes `0.`, `1.`, ...; its `more` is

    detector         name of the feature network
    identity         `detectors.identity` of its file
    detector_kwargs  how the feature network was called

Further tensors:

    labels           int64 [num_images] for classes, float32 [num_images, label_dim] for vectors;
                     missing if the dataset has no labels

The metadata item `real_statistics` is JSON:

    version          1
    name             short name of the dataset
    image_shape      [C, H, W]
    num_images       number of images, none of them mirrored
    fingerprint      see `data.fingerprint`
    num_statistics   number of prefixes
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from data import fingerprint
from data.dataset_json import MAX_LABEL_DIM
from dnnlib import strict_json
from dnnlib.errors import InputError
from dnnlib.text import one_line
from metrics import detectors, feature_file
from metrics.feature_stats import FeatureStats
from metrics.shared_passes import Request

VERSION = 1
METADATA_KEY = "real_statistics"
SUFFIX = ".stats"
LABELS = "labels"
MAX_STATISTICS = 1000
MAX_IMAGE_SIZE = 2**16
MAX_NAME = 1000  # characters


@dataclass(frozen=True)
class Entry:
    """The description of some statistics.

    Attributes:
        prefix: Where they are in the file.
        key: What they are statistics of, see `key_of`.
        identity: Identity of the feature network.
    """

    prefix: str
    key: dict[str, Any]
    identity: str

    @property
    def digest(self) -> str:
        """The hash of the feature network's file, whatever its name."""
        return self.identity.partition("/")[0]


@dataclass(frozen=True)
class Content:
    """A file, of which only the descriptions and the labels are in memory.

    Attributes:
        path: The file.
        name, image_shape, num_images, fingerprint: See the format.
        labels: See the format; `None` without.
        entries: The statistics.
    """

    path: str
    name: str
    image_shape: list[int]
    num_images: int
    fingerprint: dict[str, Any]
    labels: np.ndarray | None
    entries: list[Entry]

    def find(self, request: Request) -> Entry | None:
        """The statistics that answer a request for features of real images; `None` if missing."""
        key = key_of(request, self.num_images)
        return next((entry for entry in self.entries if entry.key == key), None)

    def load(self, request: Request, replacements: Mapping[str, str]) -> FeatureStats:
        """Read the statistics that answer a request.

        Args:
            request: The request.
            replacements: For `detectors.find`.

        Raises:
            ValueError: If the file has none, or of another feature network, or is damaged.
        """
        entry = self.find(request)
        if entry is None:
            raise InputError(f"--data: {self.path} has no statistics for this metric")
        self.check_detector(entry, request, replacements)
        return FeatureStats.from_state(feature_file.read(self.path, entry.prefix))

    def check_detector(
        self, entry: Entry, request: Request, replacements: Mapping[str, str]
    ) -> None:
        """Refuse statistics of another feature network than the one in use.

        Raises:
            ValueError: The message names both.
        """
        identity = identity_of(request, replacements)
        if entry.digest != identity.partition("/")[0]:
            raise InputError(
                f"--data: {self.path} has features of another feature network: of "
                f"{one_line(entry.identity, 200)}, and not of {identity}, which is in use; "
                "--detector names the file to use"
            )


def key_of(request: Request, num_images: int) -> dict[str, Any]:
    """What the answer to a request depends on, apart from the images and the network's file."""
    max_items = request.max_items
    return dict(
        detector=detectors.stem(request.detector_url),
        detector_kwargs=dict(request.detector_kwargs),
        num_items=num_images if max_items is None else min(num_images, max_items),
        **{"capture_all": False, "capture_mean_cov": False, **dict(request.stats_kwargs)},
    )


def identity_of(request: Request, replacements: Mapping[str, str]) -> str:
    """Identity of the feature network that answers a request."""
    return detectors.identity(detectors.find(request.detector_url, replacements))


def is_stats_file(path: Any) -> bool:
    """Whether a path is that of such a file, rather than of images."""
    is_path = isinstance(path, str | os.PathLike)
    return is_path and Path(path).suffix.lower() == SUFFIX and not Path(path).is_dir()


def write(
    f: IO[bytes],
    facts: Mapping[str, Any],
    labels: np.ndarray | None,
    answers: Sequence[tuple[Request, str, FeatureStats]],
) -> None:
    """Write a file.

    Args:
        f: A file, open for writing in binary mode.
        facts: `name`, `image_shape`, `num_images` and `fingerprint`.
        labels: See the format; `None` without.
        answers: Requests, identities of their feature networks, and the statistics.
    """
    parts = {}
    for idx, (request, identity, stats) in enumerate(answers):
        key = key_of(request, facts["num_images"])
        more = dict(
            identity=identity, **{name: key[name] for name in ("detector", "detector_kwargs")}
        )
        parts[f"{idx}."] = stats.state_dict(), more
    text = strict_json.dumps({"version": VERSION, **facts, "num_statistics": len(parts)})
    arrays = {} if labels is None else {LABELS: labels}
    feature_file.write_several(f, parts, {METADATA_KEY: text}, arrays)


def read(path: str | os.PathLike) -> Content:
    """Read the descriptions and the labels of a file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged or holds something else. Nothing larger than the file is
            allocated before.
    """
    with feature_file.opened(path, "statistics of real images") as f:
        metadata, names = f.metadata(), f.keys()
        fields = feature_file.parse_item(metadata, METADATA_KEY, VERSION, _FIELDS)
        entries = [_entry(metadata, f"{idx}.") for idx in range(fields["num_statistics"])]
        labels = _labels(f, fields["num_images"]) if LABELS in names else None
    facts = {name: fields[name] for name in ("name", "image_shape", "num_images", "fingerprint")}
    return Content(os.fspath(path), **facts, labels=labels, entries=entries)


def _entry(metadata: Mapping[str, str], prefix: str) -> Entry:
    """The description of the statistics of a prefix."""
    fields = feature_file.parse(metadata, prefix)
    more = fields["more"]
    names = ("detector", "identity")
    if not all(isinstance(more.get(name), str) for name in names) or not isinstance(
        more.get("detector_kwargs"), dict
    ):
        raise InputError("it does not say which feature network it used")
    kept = ("num_items", "capture_all", "capture_mean_cov")
    key = {name: fields[name] for name in kept}
    key |= {name: more[name] for name in ("detector", "detector_kwargs")}
    return Entry(prefix, key, more["identity"])


def _labels(f: Any, num_images: int) -> np.ndarray:
    """The labels, which must be such as a dataset has."""
    entry = f.get_slice(LABELS)
    dtype, shape = entry.get_dtype(), entry.get_shape()
    if dtype == "I64" and shape == [num_images]:
        labels = f.get_tensor(LABELS)
        is_good = (labels >= 0) & (labels < MAX_LABEL_DIM)
    elif dtype == "F32" and shape[:1] == [num_images] and len(shape) == 2:
        labels = f.get_tensor(LABELS)
        is_good = np.isfinite(labels) & (shape[1] <= MAX_LABEL_DIM)
    else:
        raise InputError(f"its labels are {dtype} {shape}")
    if not is_good.all():
        raise InputError("its labels are no labels of images")
    return labels


def _is_shape(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) == 3 and all(type(x) is int for x in value)
    return is_list and 1 <= value[0] <= 4 and all(1 <= x <= MAX_IMAGE_SIZE for x in value[1:])


_FIELDS = {
    "name": lambda value: isinstance(value, str) and len(value) <= MAX_NAME,
    "image_shape": _is_shape,
    "num_images": lambda value: feature_file.is_count(value) and value > 0,
    "fingerprint": lambda value: not fingerprint.is_unknown(value),
    "num_statistics": lambda value: type(value) is int and 0 <= value <= MAX_STATISTICS,
}
